"""What a Hugging Face data set has beside boxes and classes, read when it is asked for."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from hf_detr.data.hub_annotations import flat_fields, is_text, known_fields
from hf_detr.data.hub_columns import RowColumns, is_list
from hf_detr.data.hub_rows import RowSource
from hf_detr.data.table import Extras


def row_extras(
    rows: RowSource, columns: RowColumns, parsed: Mapping[str, pa.ChunkedArray], ids: Sequence[Any] | None
) -> Extras:
    """All columns and fields of objects whose values are what JSON has, beside those that are read in any case.

    Args:
        rows: of one split.
        columns: which is which.
        parsed: columns that are JSON text in the data, read.
        ids: of the objects; None for none.
    """
    known = (columns.image, *columns.annotations, *parsed)
    names = [field.name for field in rows.schema if field.name not in known and _holds_values(field.type)]

    @cache
    def of_objects() -> dict[str, pa.Array]:
        if columns.objects is None:
            return {}
        return _fields(pa.table(dict(parsed)) if columns.objects in parsed else rows.read([columns.objects]), columns)

    @cache
    def of_pictures() -> dict[str, pa.ChunkedArray]:
        return {name: rows.read([name]).column(name) for name in names}

    return Extras(
        image=lambda image: _values(of_pictures(), image),
        annotation=lambda annotation: _values(of_objects(), annotation),
        annotation_ids=None if ids is None else _packed_ids(ids),
    )


def _fields(table: pa.Table, columns: RowColumns) -> dict[str, pa.Array]:
    """Values over all objects, as `read_annotations` counts these."""
    kind = table.column(columns.objects).type
    is_dict_of_lists = pa.types.is_struct(kind)
    parts = kind if is_dict_of_lists else kind.value_type
    known = known_fields(columns)
    more = [
        part.name
        for part in parts
        if part.name not in known and _holds_values(part.type) and (is_list(part.type) or not is_dict_of_lists)
    ]
    fields = flat_fields(table, columns, more)[1]
    return {name: fields[name] for name in more}


def _holds_values(kind: pa.DataType) -> bool:
    """Whether a column, or a list of one value for each object, holds what JSON has, or JSON itself."""
    return _is_json(kind) or _is_plain(kind) or (is_list(kind) and _is_json(kind.value_type))


def _is_plain(kind: pa.DataType) -> bool:
    """Whether values are what JSON has."""
    if pa.types.is_struct(kind):
        return all(_is_plain(part.type) for part in kind)
    if is_list(kind):
        return _is_plain(kind.value_type)
    plain = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_null, is_text)
    return any(is_kind(kind) for is_kind in plain)


def _is_json(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.JsonType)


def _values(columns: Mapping[str, pa.Array | pa.ChunkedArray], row: int) -> dict[str, Any]:
    values = {name: column[row].as_py() for name, column in columns.items()}
    return {name: _parsed(value, columns[name].type) for name, value in values.items() if value is not None}


def _parsed(value: Any, kind: pa.DataType) -> Any:
    """A value of a column, or values in a list, that are JSON in the data."""
    if _is_json(kind):
        return json.loads(value)
    if is_list(kind) and _is_json(kind.value_type):
        return [None if one is None else json.loads(one) for one in value]
    return value


def _packed_ids(ids: Sequence[Any]) -> np.ndarray:
    if {int}.issuperset(map(type, ids)):
        return np.array(ids, np.int64)
    packed = np.empty(len(ids), object)
    packed[:] = ids
    return packed
