"""Rows of a Hugging Face data set as tables for the doctor and the index: format of the boxes found, classes named."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from hf_detr.data.box_formats import BOX_FORMATS, boxes_to_xywh, choose_box_format
from hf_detr.data.findings import Finding, counted
from hf_detr.data.hub_annotations import (
    RowAnnotations,
    is_text,
    parse_json_column,
    read_annotations,
)
from hf_detr.data.hub_columns import OBJECT_NAMES, RowColumns, find_columns
from hf_detr.data.hub_extras import row_extras
from hf_detr.data.hub_info import HubInfo
from hf_detr.data.hub_rows import RowPictures, RowSource
from hf_detr.data.hub_sources import ROWS
from hf_detr.data.table import AnnotationTable, Split, is_id
from hf_detr.errors import DatasetError

logger = logging.getLogger(__name__)

ONLY_CLASS = "object"

# Where the data does not say how large its pictures are, so many of them are looked at to tell the format of boxes:
# this many runs of neighbouring rows, which lie together in files, of this many rows each.
_RUNS, _RUN_LENGTH = 10, 20


@dataclass(frozen=True)
class _Part:
    """What was read of one split."""

    rows: RowSource
    columns: RowColumns
    annotations: RowAnnotations
    pictures: RowPictures
    parsed: Mapping[str, pa.ChunkedArray]  # columns that are JSON text, read


class RowTables:
    """The splits of one data set as tables. They have one box format and one list of classes.

    Args:
        source: what messages call the data: its name on the Hub, or its folder.
        rows: the splits by name.
        box_format: one of `BOX_FORMATS`; None to find it out.
        info: what is said of classes and splits beside the rows.
    """

    def __init__(
        self,
        source: str,
        rows: Mapping[str, RowSource],
        *,
        box_format: str | None = None,
        info: HubInfo | None = None,
    ):
        if box_format is not None and box_format not in BOX_FORMATS:
            raise DatasetError(f"box_format must be one of {', '.join(BOX_FORMATS)}; got {box_format!r}.")
        self.source = source
        self.rows = rows
        self.box_format = box_format
        self.info = info or HubInfo()
        self._parts: dict[str, _Part] = {}
        self._tables: dict[str, AnnotationTable] = {}

    def splits(self) -> dict[str, "RowSplit"]:
        """The splits, to be read when they are used."""
        path = Path(self.source)
        return {name: RowSplit(name, path / name, path, format=ROWS, tables=self) for name in self.rows}

    def table(self, split: "RowSplit") -> AnnotationTable:
        """The annotations of a split.

        Raises:
            DatasetError: columns or boxes that are not understood.
        """
        if not self._parts:
            parts = {name: self._read(name) for name in self.rows}
            if self.box_format is None:
                self.box_format = self._find_box_format(parts)
            self._parts = parts
        if split.name not in self._tables:
            self._tables[split.name] = self._make_table(split)
        return self._tables[split.name]

    def _read(self, name: str) -> _Part:
        rows, source = self.rows[name], f"{self.source} ({name})"
        as_text = [field.name for field in rows.schema if field.name in OBJECT_NAMES and is_text(field.type)]
        parsed = {text: parse_json_column(rows.read([text]).column(text), text, source) for text in as_text}
        schema = pa.schema(
            [pa.field(field.name, parsed[field.name].type) if field.name in parsed else field for field in rows.schema]
        )
        columns = find_columns(schema, source)
        table = rows.read([column for column in columns.annotations if column not in parsed])
        for text, column in parsed.items():
            table = table.append_column(text, column)
        annotations = read_annotations(table, columns, rows.features, source)
        return _Part(rows, columns, annotations, rows.pictures(columns.image), parsed)

    def _find_box_format(self, parts: Mapping[str, _Part]) -> str:
        """By the boxes of all splits together."""
        sizes = {name: _known_sizes(part) for name, part in parts.items()}
        box_format, sentence = choose_box_format(
            np.concatenate([part.annotations.boxes for part in parts.values()]),
            np.concatenate([sizes[name][part.annotations.row_of] for name, part in parts.items()]),
            source=self.source,
        )
        logger.info("%s", sentence)
        return box_format

    def _make_table(self, split: "RowSplit") -> AnnotationTable:
        part = self._parts[split.name]
        annotations, row_of = part.annotations, part.annotations.row_of
        sizes_hw = annotations.sizes_hw
        if self.box_format.endswith("_norm") and (sizes_hw == 0).any():
            sizes_hw = _read_sizes(part.pictures, sizes_hw, np.flatnonzero((sizes_hw == 0).any(1)), progress=True)
        boxes_xywh = boxes_to_xywh(annotations.boxes, self.box_format, sizes_hw[row_of])
        image_ids = self._image_ids(part, split.name)
        category_ids, category_names = self._categories()
        categories = self.info.categories_of(category_names)
        if categories:
            category_ids, category_names = ([record[key] for record in categories] for key in ("id", "name"))
        return AnnotationTable(
            split=split,
            image_ids=image_ids,
            file_names=_file_names(part.pictures),
            sizes_hw=sizes_hw,
            category_ids=category_ids,
            category_names=category_names,
            image_of=row_of,
            category_of=_category_of(_labels(annotations), category_ids, category_names),
            boxes_xywh=boxes_xywh,
            areas=_areas(annotations, boxes_xywh, sizes_hw[row_of], self.box_format),
            is_crowd=annotations.is_crowd,
            locate=_Locate(annotations.annotation_ids, np.cumsum(annotations.counts) - annotations.counts, row_of),
            findings=(*_uneven_findings(split, part), *self._unnamed_findings(split, category_ids)),
            extras=replace(
                row_extras(part.rows, part.columns, part.parsed, annotations.annotation_ids),
                categories=categories,
                header=self.info.headers.get(split.name, {}),
            ),
            pictures=part.pictures,
        )

    def _image_ids(self, part: _Part, name: str) -> Sequence[Any]:
        ids = part.annotations.image_ids
        if ids is None:
            return range(len(part.rows))
        if all(map(is_id, ids)) and len(set(map(type, ids))) == 1 and len(set(ids)) == len(ids):
            return ids
        logger.info(
            "%s (%s): pictures go by their row: %r is not a whole number, or text, of its own for each of them.",
            self.source,
            name,
            part.columns.image_id,
        )
        return range(len(part.rows))

    def _unnamed_findings(self, split: Split, category_ids: Sequence[int | str]) -> list[Finding]:
        """Classes that nobody will recognise."""
        is_named = any(part.annotations.class_names for part in self._parts.values())
        if is_named or not category_ids or isinstance(category_ids[0], str):
            return []
        return [
            Finding(
                "category.unnamed",
                "warning",
                f"Classes are numbers without names: {counted(len(category_ids), 'class')}.",
                str(split.annotations_path),
                split.name,
                len(category_ids),
                tuple({"value": value} for value in category_ids),
                "They are called by their numbers, in the model too. Make the column a ClassLabel to give them names.",
            )
        ]

    def _categories(self) -> tuple[Sequence[int | str], Sequence[str]]:
        """Ids and names of the classes of all splits.

        Raises:
            DatasetError: text in one place, and numbers without names in another.
        """
        all_annotations = [part.annotations for part in self._parts.values()]
        if all(annotations.categories is None for annotations in all_annotations):
            return [ONLY_CLASS], [ONLY_CLASS]
        listed = dict.fromkeys(name for annotations in all_annotations for name in annotations.class_names or ())
        used = {value for annotations in all_annotations for value in pc.unique(_labels(annotations)).to_pylist()}
        others = used - listed.keys() - {None}
        if len({type(value) for value in (*listed, *others)}) > 1:
            raise DatasetError(
                f"{self.source}: classes are text in some splits and numbers without names in others. Give all splits "
                "the same features, such as a ClassLabel."
            )
        values = [*listed, *sorted(others)]
        return range(len(values)) if listed else values, [str(value) for value in values]


@dataclass(frozen=True, eq=False)
class RowSplit(Split):
    """One split of a Hugging Face data set.

    Attributes:
        tables: the data set it belongs to.
    """

    tables: RowTables | None = None


@dataclass(frozen=True)
class _Locate:
    """Where an object is: its id, else its number within its row."""

    ids: Sequence[Any] | None
    first_of_row: np.ndarray
    row_of: np.ndarray

    def __call__(self, annotation: int) -> dict[str, Any]:
        if self.ids is not None and is_id(self.ids[annotation]):
            return {"annotation_id": self.ids[annotation]}
        return {"annotation_id": f"#{annotation - self.first_of_row[self.row_of[annotation]]}"}


def _labels(annotations: RowAnnotations) -> pa.Array:
    """M classes as text where they have names, else as they are; None for one that is missing or has no name."""
    values, names = annotations.categories, annotations.class_names
    if values is None:
        return pa.array([ONLY_CLASS] * len(annotations.boxes), pa.string())
    if is_text(values.type):
        return values.cast(pa.string())
    if names is None:
        return values.cast(pa.int64())
    numbers = pc.fill_null(values, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    has_name = (numbers >= 0) & (numbers < len(names))
    return pa.array(names, pa.string()).take(pa.array(numbers, mask=~has_name))


def _category_of(labels: pa.Array, category_ids: Sequence[int | str], category_names: Sequence[str]) -> np.ndarray:
    """``(M,)`` int64 position of each object's class, -1 for none."""
    known = category_names if pa.types.is_string(labels.type) else category_ids
    places = pc.index_in(labels, pa.array(list(known), labels.type), skip_nulls=True)
    return pc.fill_null(places, -1).to_numpy(zero_copy_only=False).astype(np.int64)


def _file_names(pictures: RowPictures) -> list[str]:
    """The row of each picture, which is how to find it again, and its own name where it has one."""
    names = pictures.file_names()
    return [f"row-{row}-{name}" if name else f"row-{row}" for row, name in enumerate(names)]


def _areas(annotations: RowAnnotations, boxes_xywh: np.ndarray, sizes_hw: np.ndarray, box_format: str) -> np.ndarray:
    """``(M,)`` pixels², the data's where it has any."""
    given = annotations.areas
    if box_format.endswith("_norm") and np.nanmax(given, initial=0.0) <= 1:
        given = given * sizes_hw.prod(1)  # fractions like the boxes
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(np.isfinite(given) & (given >= 0), given, boxes_xywh[:, 2] * boxes_xywh[:, 3])


def _known_sizes(part: _Part) -> np.ndarray:
    """``(N, 2)`` annotated sizes; without any, those of a sample of pictures with objects."""
    sizes_hw = part.annotations.sizes_hw
    if sizes_hw.any():
        return sizes_hw
    with_objects = np.flatnonzero(part.annotations.counts)
    starts = np.linspace(0, max(len(with_objects) - _RUN_LENGTH, 0), _RUNS).astype(int)
    sample = np.unique([with_objects[start : start + _RUN_LENGTH] for start in starts]) if len(with_objects) else []
    return _read_sizes(part.pictures, sizes_hw, np.asarray(sample, np.int64), progress=False)


def _read_sizes(pictures: RowPictures, sizes_hw: np.ndarray, rows: np.ndarray, *, progress: bool) -> np.ndarray:
    """The sizes with those of some pictures looked up; 0, 0 stays where a picture cannot be read."""
    from hf_detr.data.images import UnreadableImageError, orient_size_hw, read_header  # loads torch

    sizes_hw = sizes_hw.copy()
    for row in tqdm(rows.tolist(), "reading sizes", unit=" pictures", disable=None if progress else True):
        try:
            stored_hw, orientation = read_header(pictures.read(row))
        except UnreadableImageError:  # training and the doctor name it; it cannot help here
            continue
        sizes_hw[row] = orient_size_hw(stored_hw, orientation)
    return sizes_hw


def _uneven_findings(split: Split, part: _Part) -> list[Finding]:
    rows = part.annotations.uneven_rows
    if not len(rows):
        return []
    return [
        Finding(
            "annotation.uneven_lists",
            "error",
            f"{counted(len(rows), 'row')} whose lists of boxes, classes and so on differ in length.",
            str(split.annotations_path),
            split.name,
            len(rows),
            tuple({"file": f"row-{row}"} for row in rows.tolist()),
            "Nobody can tell which class is which box's. Correct these rows.",
        )
    ]
