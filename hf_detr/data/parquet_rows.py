"""Rows in Parquet files, here or far away: annotations are read at once, pictures a stretch of rows at a time."""

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from hf_detr.data.files import RETRY_AFTER_SECONDS, StorageError
from hf_detr.data.hub_rows import base_names, picture_of
from hf_detr.errors import DatasetError

if TYPE_CHECKING:
    from datasets import Features

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_THREADS = 16  # files in the network answer slowly, but many at a time
_LEAST_ROWS = 100  # row groups are read together until they have so many: each request takes its time


class ParquetRows:
    """The rows of one split in Parquet files.

    Args:
        files: paths or URLs, in order.
        features: of the data set as it describes itself; None to take the description in the files.
        window: see `ParquetPictures`.

    Raises:
        DatasetError: a file cannot be read, or does not have the columns of the first one.
    """

    def __init__(self, files: Sequence[str], *, features: "Features | None" = None, window: int = 1000):
        from datasets import Features

        self.files = list(files)
        self.window = window
        opened = self._of_all_files(_read_footer, "opening files")
        self.schema: pa.Schema = opened[0][0]
        for file, (schema, _, _) in zip(self.files, opened, strict=True):
            if schema.names != self.schema.names:
                raise DatasetError(
                    f"{file}: has the columns {', '.join(schema.names)}, unlike {self.files[0]}, which has "
                    f"{', '.join(self.schema.names)}."
                )
        self.features = features or Features.from_arrow_schema(self.schema)
        self._group_rows = [rows for _, rows, _ in opened]
        self._bytes = sum(stored for *_, stored in opened)

    def __len__(self) -> int:
        return sum(map(sum, self._group_rows))

    def read(self, columns: Sequence[str]) -> pa.Table:
        wanted = list(columns)
        parts = self._of_all_files(lambda file: pq.ParquetFile(_open(file)).read(wanted), "reading annotations")
        return pa.concat_tables(parts, promote_options="permissive")

    def pictures(self, column: str) -> "ParquetPictures":
        is_struct = pa.types.is_struct(self.schema.field(column).type)
        names = [""] * len(self)
        if is_struct:
            paths = self.read([f"{column}.path"]).column(column)
            names = base_names(path["path"] if path else None for path in paths.to_pylist())
        pictures = ParquetPictures(self.files, column, self._group_rows, names, window=self.window)
        held = min(pictures.most_rows, len(self)) * self._bytes / max(len(self), 1) / 1e6
        logger.info(
            "Streaming %s pictures, %.1f GB, from %s files; each loader process holds up to %.0f MB of them "
            "(--shuffle_window %d, in stretches of up to %d rows)",
            f"{len(self):,}",
            self._bytes / 1e9,
            f"{len(self.files):,}",
            held,
            self.window,
            np.diff(pictures.first_row).max(initial=0),
        )
        return pictures

    def _of_all_files(self, function: Callable[[str], Result], what: str) -> list[Result]:
        with ThreadPoolExecutor(_THREADS) as pool:
            results = pool.map(lambda file: _patiently(file, lambda: function(file)), self.files)
            return list(
                tqdm(results, what, len(self.files), unit=" files", disable=None if len(self.files) > 10 else True)
            )


class ParquetPictures:
    """Pictures in a column of Parquet files, read by stretches of at least a hundred rows.

    Each process keeps the stretches it used last, as many as `nearby_order` needs with its ``window``.

    Attributes:
        first_row: ``(C + 1,)`` int64 first row of each stretch, and the number of rows.
        window: rows that are drawn from at a time, see `hf_detr.data.streaming.nearby_order`.
        most_rows: rows that a process keeps.
    """

    def __init__(
        self, files: Sequence[str], column: str, group_rows: Sequence[Sequence[int]], names: list[str], *, window: int
    ):
        self._files = files
        self._column = column
        self._names = names
        stretches = [(file, *stretch) for file, rows in enumerate(group_rows) for stretch in join_groups(rows)]
        self._groups = [(file, range(first, end)) for file, first, end, _ in stretches]
        rows = np.array([rows for *_, rows in stretches], np.int64)
        self.first_row = np.concatenate([[0], np.cumsum(rows)])
        self.window = window
        self.most_rows = window + 3 * int(rows.max(initial=0))
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._opened: OrderedDict[int, pq.ParquetFile] = OrderedDict()
        self._stretches: OrderedDict[int, pa.ChunkedArray] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        own = ("_process", "_lock", "_opened", "_stretches")
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def __len__(self) -> int:
        return int(self.first_row[-1])

    def read(self, image: int) -> Path | bytes:
        if self._process != os.getpid():
            self._reset()  # a forked process must not read through the handles of its parent
        stretch = self._stretch_of(image)
        with self._lock:
            values = self._stretches.pop(stretch, None)
            if values is None:
                values = self._load(stretch)
            self._stretches[stretch] = values
        return picture_of(values[image - int(self.first_row[stretch])])

    def near(self, image: int) -> range:
        """Rows that are in memory together with this one."""
        stretch = self._stretch_of(image)
        return range(int(self.first_row[stretch]), int(self.first_row[stretch + 1]))

    def file_names(self) -> list[str]:
        return self._names

    def file_sizes(self) -> np.ndarray:
        return np.ones(len(self), np.int64)  # it takes reading them

    def _stretch_of(self, image: int) -> int:
        return int(np.searchsorted(self.first_row, image, side="right")) - 1

    def _load(self, stretch: int) -> pa.ChunkedArray:
        while self._stretches and sum(map(len, self._stretches.values())) > self.most_rows:
            self._stretches.popitem(last=False)
        number, groups = self._groups[stretch]
        file = self._files[number]

        def load() -> pa.ChunkedArray:
            parquet = self._opened.pop(number, None) or pq.ParquetFile(_open(file))
            # A handle that failed is not kept; nor are more than a few, of thousands of files.
            table = parquet.read_row_groups(list(groups), columns=[self._column], use_threads=False)
            self._opened[number] = parquet
            if len(self._opened) > _THREADS:
                self._opened.popitem(last=False)[1].close()
            return table.column(self._column)

        return _patiently(file, load)


def join_groups(group_rows: Sequence[int]) -> list[tuple[int, int, int]]:
    """Neighbouring row groups joined until there are rows enough: first group, first one that is not part, rows.

    >>> join_groups([60, 60, 500, 10])
    [(0, 2, 120), (2, 4, 510)]
    """
    joined: list[tuple[int, int, int]] = []
    first, rows = 0, 0
    for group, more in enumerate(group_rows):
        rows += more
        if rows >= _LEAST_ROWS:
            joined.append((first, group + 1, rows))
            first, rows = group + 1, 0
    if rows and joined:
        start, _, before = joined.pop()
        return [*joined, (start, len(group_rows), before + rows)]
    return [(first, len(group_rows), rows)] if rows else joined


def _open(file: str) -> Any:
    """Something pyarrow reads from: a path here, an open file elsewhere."""
    if "://" not in file:
        return file
    import fsspec

    return fsspec.open(file, "rb").open()


def _read_footer(file: str) -> tuple[pa.Schema, list[int], int]:
    """Columns, rows of each row group, and bytes of all of them."""
    with pq.ParquetFile(_open(file)) as parquet:
        groups = [parquet.metadata.row_group(k) for k in range(parquet.metadata.num_row_groups)]
        stored = sum(group.column(k).total_uncompressed_size for group in groups for k in range(group.num_columns))
        return parquet.schema_arrow, [group.num_rows for group in groups], stored


def _patiently(file: str, attempt: Callable[[], Result]) -> Result:
    """The result of an attempt to read a file; where disk or network do not answer, of one of a few more.

    Raises:
        DatasetError: there is no such file, or it is no Parquet file.
        StorageError: the last attempt failed as well.
    """
    for pause in (*RETRY_AFTER_SECONDS, None):
        try:
            return attempt()
        except pa.ArrowInvalid as error:
            raise DatasetError(f"{file}: not a Parquet file, or a damaged one: {error}") from error
        except FileNotFoundError as error:
            raise DatasetError(f"{file}: no such file, though the data set lists it.") from error
        except Exception as error:
            if not isinstance(error, OSError) and "://" not in file:
                raise  # what clients of a network raise is not always an OSError; here it is a mistake of ours
            if pause is None:
                raise StorageError(
                    f"{file}: cannot be read: {error}; {len(RETRY_AFTER_SECONDS) + 1} tries within "
                    f"{sum(RETRY_AFTER_SECONDS)} seconds. Does the network, or the disk, still answer? A run goes on "
                    "with --resume."
                ) from error
            logger.warning("%s: %s; another try in %d s", file, error, pause)
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")
