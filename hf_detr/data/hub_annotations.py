"""The annotations of a Hugging Face data set as flat arrays, read column by column without touching a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hf_detr.data.hub_columns import RowColumns
from hf_detr.errors import DatasetError

if TYPE_CHECKING:
    from datasets import Features


@dataclass(frozen=True)
class RowAnnotations:
    """The annotations of one split as they are written. N rows, one picture each, and M objects.

    Attributes:
        counts: ``(N,)`` int64 objects of each row.
        boxes: ``(M, 4)`` float64 in the data's own format and unit; NaN where there are not four numbers.
        categories: M values, numbers or text, None for a missing one; no array at all where objects have no class.
        class_names: the names of classes that are numbered 0 to K - 1; None where the data does not say.
        areas: ``(M,)`` float64, NaN where there is none.
        is_crowd: ``(M,)`` bool.
        annotation_ids: M ids; None where there are none.
        image_ids: N ids; None where there are none.
        sizes_hw: ``(N, 2)`` int32 height and width; 0, 0 where there is none.
        uneven_rows: rows whose lists of boxes, classes, … differ in length; their objects are left out.
    """

    counts: np.ndarray
    boxes: np.ndarray
    categories: pa.Array | None
    class_names: tuple[str, ...] | None
    areas: np.ndarray
    is_crowd: np.ndarray
    annotation_ids: Sequence[Any] | None
    image_ids: Sequence[Any] | None
    sizes_hw: np.ndarray
    uneven_rows: np.ndarray

    @property
    def row_of(self) -> np.ndarray:
        """``(M,)`` int64 row of each object."""
        return np.repeat(np.arange(len(self.counts)), self.counts)


def parse_json_column(column: pa.ChunkedArray, name: str, source: str) -> pa.ChunkedArray:
    """Objects that are written as JSON text, as in a ``metadata.csv``, made into dicts; empty text is no object.

    Raises:
        DatasetError: not JSON, or dicts of different kinds.
    """
    import orjson

    parsed = []
    for row, text in enumerate(column.to_pylist()):
        try:
            parsed.append(orjson.loads(text) if text else None)
        except orjson.JSONDecodeError as error:
            raise DatasetError(f"{source}: row {row}: column {name!r} is not JSON: {error}: {text[:60]!r}.") from error
    try:
        return pa.chunked_array([pa.array(parsed)])
    except pa.ArrowException as error:
        raise DatasetError(f"{source}: column {name!r} does not hold the same in every row: {error}.") from error


def read_annotations(table: pa.Table, columns: RowColumns, features: "Features | None", source: str) -> RowAnnotations:
    """Everything but the pictures.

    Args:
        table: at least the columns `RowColumns.annotations`.
        columns: which is which.
        features: of the data set, for the names of its classes.
        source: what messages call the data.

    Raises:
        DatasetError: boxes or classes of a kind that cannot be read.
    """
    counts, fields, uneven = flat_fields(table, columns)
    boxes = _boxes(fields[columns.box], columns.box, source)
    numbers = len(boxes)
    categories = fields.get(columns.category)
    if categories is not None and not _names_or_numbers(categories.type):
        raise DatasetError(f"{source}: classes in {columns.category!r} are {categories.type}; use numbers or text.")
    areas, crowds, ids = (fields.get(name) for name in (columns.area, columns.is_crowd, columns.annotation_id))
    return RowAnnotations(
        counts=counts,
        boxes=boxes,
        categories=categories,
        class_names=_class_names(features, columns),
        areas=np.full(numbers, np.nan) if areas is None else _floats(areas),
        is_crowd=np.zeros(numbers, bool) if crowds is None else _floats(crowds) == 1,
        annotation_ids=None if ids is None else ids.to_pylist(),
        image_ids=None if columns.image_id is None else table.column(columns.image_id).to_pylist(),
        sizes_hw=_sizes_hw(table, columns),
        uneven_rows=uneven,
    )


def _names_or_numbers(kind: pa.DataType) -> bool:
    return any(is_kind(kind) for is_kind in (pa.types.is_integer, is_text, pa.types.is_null))


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds text."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def known_fields(columns: RowColumns) -> list[str]:
    """The fields of objects that there are columns for."""
    fields = (columns.box, columns.category, columns.area, columns.is_crowd, columns.annotation_id)
    return [name for name in fields if name is not None]


def flat_fields(
    table: pa.Table, columns: RowColumns, more: Sequence[str] = ()
) -> tuple[np.ndarray, dict[str, pa.Array], np.ndarray]:
    """Objects of each row ``(N,)``, the values of each field over all objects, and rows with uneven lists.

    Lists of ``more`` fields may be of any length.
    """
    names = [*known_fields(columns), *more]
    if columns.objects is not None:
        objects = _one_array(table.column(columns.objects))
        if not pa.types.is_struct(objects.type):
            counts = _lengths(objects)
            flat = objects.flatten()
            return counts, {name: pc.struct_field(flat, name) for name in names}, np.zeros(0, np.int64)
        lists = {name: pc.struct_field(objects, name) for name in names}
    else:
        lists = {name: _one_array(table.column(name)) for name in names}
    lengths = {name: _lengths(values) for name, values in lists.items()}
    wanted = lengths[columns.box]
    even = np.logical_and.reduce(
        [
            (lengths[name] == wanted) | pc.is_null(values).to_numpy(False)
            for name, values in lists.items()
            if name not in more
        ]
    )
    counts = np.where(even, wanted, 0)
    fields = {name: _aligned(values, lengths[name], counts) for name, values in lists.items()}
    return counts, fields, np.flatnonzero(~even)


def _aligned(lists: pa.Array, lengths: np.ndarray, counts: np.ndarray) -> pa.Array:
    """The first ``counts`` values of each list, end to end; None for those of a list that is not there."""
    row_of = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(row_of)) - np.repeat(np.cumsum(counts) - counts, counts)
    places = (np.cumsum(lengths) - lengths)[row_of] + within
    return lists.flatten().take(pa.array(places, mask=within >= lengths[row_of]))


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _lengths(lists: pa.Array) -> np.ndarray:
    """``(N,)`` int64 length of each list, 0 for one that is missing."""
    return pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)


def _boxes(lists: pa.Array, name: str, source: str) -> np.ndarray:
    boxes = np.full((len(lists), 4), np.nan)
    if pa.types.is_null(lists.type):
        return boxes
    if not hasattr(lists.type, "value_type") or not (
        pa.types.is_floating(lists.type.value_type)
        or pa.types.is_integer(lists.type.value_type)
        or pa.types.is_null(lists.type.value_type)
    ):
        raise DatasetError(f"{source}: boxes in {name!r} are {lists.type}; a box is a list of four numbers.")
    of_four = _lengths(lists) == 4
    boxes[of_four] = _floats(lists.filter(pa.array(of_four)).flatten()).reshape(-1, 4)
    return boxes


def _floats(values: pa.Array) -> np.ndarray:
    """float64, NaN for what is missing."""
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.uint8())
    return values.cast(pa.float64()).to_numpy(zero_copy_only=False)


def _sizes_hw(table: pa.Table, columns: RowColumns) -> np.ndarray:
    if columns.width is None or columns.height is None:
        return np.zeros((table.num_rows, 2), np.int32)
    sides = [_floats(_one_array(table.column(name))) for name in (columns.height, columns.width)]
    sizes_hw = np.nan_to_num(np.stack(sides, axis=1), nan=0.0, posinf=0.0, neginf=0.0)
    usable = ((sizes_hw > 0) & (sizes_hw < 2**31)).all(1)
    return np.where(usable[:, None], sizes_hw, 0).astype(np.int32)


def _class_names(features: "Features | None", columns: RowColumns) -> tuple[str, ...] | None:
    """The names of a ``ClassLabel``, however deep it lies in lists."""
    if features is None or columns.category is None:
        return None
    feature: Any = features if columns.objects is None else _inside_lists(features.get(columns.objects))
    feature = _inside_lists(feature.get(columns.category)) if isinstance(feature, dict) else None
    names = getattr(feature, "names", None)
    return None if names is None else tuple(names)


def _inside_lists(feature: Any) -> Any:
    while hasattr(feature, "feature"):
        feature = feature.feature
    return feature
