"""The rows of a Hugging Face data set: annotations by the column, pictures one by one, both without decoding."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hf_detr.data.table import KnownPictures

if TYPE_CHECKING:
    from datasets import Dataset, Features

MISSING = -1


class RowPictures(KnownPictures, Protocol):
    """The pictures of rows, and what they were called before."""

    def file_names(self) -> list[str]:
        """N names that the pictures had as files, ``""`` where nothing is known."""
        ...


class RowSource(Protocol):
    """One split of a data set.

    Attributes:
        schema: names and types of its columns, pictures undecoded.
        features: the same as `datasets` describes it, with the names of classes; None where there is no description.
    """

    schema: pa.Schema
    features: "Features | None"

    def __len__(self) -> int: ...

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Columns over all rows."""
        ...

    def pictures(self, column: str) -> RowPictures:
        """The pictures in a column."""
        ...


class ArrowRows:
    """Rows of a `datasets.Dataset`: in Arrow files, which all processes share through the operating system."""

    def __init__(self, dataset: "Dataset"):
        self.dataset = dataset
        self.schema = dataset.data.schema
        self.features = dataset.features

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, columns: Sequence[str]) -> pa.Table:
        table = self.dataset.data.table.select(list(columns))
        rows = _selected_rows(self.dataset)
        return table if rows is None else table.take(pa.array(rows))

    def pictures(self, column: str) -> "ArrowPictures":
        return ArrowPictures(self.dataset, column)


def _selected_rows(dataset: "Dataset") -> np.ndarray | None:
    """``(N,)`` rows of the Arrow table that are left after `select`, `shuffle` and the like; None for all, in order.

    No public way leads to them but through a copy of the rows, pictures and all.
    """
    return None if dataset._indices is None else dataset._indices.column(0).to_numpy()


class ArrowPictures:
    """Pictures in a column of a `datasets.Dataset`: their bytes, or the files they are in.

    It can be pickled: the copy opens the same Arrow files.
    """

    def __init__(self, dataset: "Dataset", column: str):
        self._dataset = dataset
        self._column = column
        self._open()

    def _open(self) -> None:
        self._values = self._dataset.data.column(self._column)
        self._rows = _selected_rows(self._dataset)

    def __getstate__(self) -> dict[str, Any]:
        return {"_dataset": self._dataset, "_column": self._column}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def read(self, image: int) -> Path | bytes:
        return picture_of(self._values[image if self._rows is None else int(self._rows[image])])

    def file_names(self) -> list[str]:
        paths = self._part("path")
        return [""] * len(self._dataset) if paths is None else base_names(paths)

    def file_sizes(self) -> np.ndarray:
        contents = self._values if _is_binary(self._values.type) else pc.struct_field(self._values, "bytes")
        lengths = self._picked(pc.fill_null(pc.binary_length(contents), MISSING))
        sizes = lengths.to_numpy().astype(np.int64)
        paths = self._part("path")
        if paths is not None:
            for image in np.flatnonzero(sizes == MISSING):
                path = paths[image]
                sizes[image] = os.stat(path).st_size if path and os.path.isfile(path) else MISSING
        return sizes

    def _part(self, name: str) -> list[Any] | None:
        if _is_binary(self._values.type):
            return None
        return self._picked(pc.struct_field(self._values, name)).to_pylist()

    def _picked(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        return values if self._rows is None else values.take(pa.array(self._rows))


def base_names(paths: Iterable[str | None]) -> list[str]:
    """Names of files without their folders, ``""`` for none."""
    return [os.path.basename(path or "") for path in paths]


def _is_binary(kind: pa.DataType) -> bool:
    return not pa.types.is_struct(kind)


def picture_of(value: pa.Scalar) -> Path | bytes:
    """A picture as `datasets` stores it: its bytes if they are there, else its file; no bytes at all for neither."""
    stored = value.as_py()
    if isinstance(stored, dict):
        if stored["bytes"] is not None:
            return stored["bytes"]
        return Path(stored["path"]) if stored["path"] else b""
    return stored or b""
