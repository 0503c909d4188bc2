"""The numbers of COCO annotations, parsed into columns in several threads where all is as it should be.

Records as Python objects take several times as long. What this parser refuses, and any value that needs a word with
the user, is left to those.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.json as pj

_SCHEMA = pa.schema(
    {
        "id": pa.int64(),
        "image_id": pa.int64(),
        "category_id": pa.int64(),
        "bbox": pa.list_(pa.float64()),
        "area": pa.float64(),
        "iscrowd": pa.int64(),
    }
)
_BLOCK_BYTES = 1 << 20  # what a thread takes at a time


@dataclass(frozen=True)
class AnnotationNumbers:
    """M annotations.

    Attributes:
        ids, image_ids, category_ids: ``(M,)`` int64.
        boxes_xywh: ``(M, 4)`` float64 in pixels, finite.
        areas: ``(M,)`` float64 in pixels², -1 where none is given.
        is_crowd: ``(M,)`` bool.
    """

    ids: np.ndarray
    image_ids: np.ndarray
    category_ids: np.ndarray
    boxes_xywh: np.ndarray
    areas: np.ndarray
    is_crowd: np.ndarray


def parse_numbers(lines: bytes, count: int) -> AnnotationNumbers | None:
    """The columns of COCO annotations, or None where any record is not complete and of the usual types.

    Args:
        lines: JSON lines.
        count: of the records in them.
    """
    try:
        str(lines, "utf-8")  # which the parser does not look at
        table = pj.read_json(
            pa.BufferReader(lines),
            read_options=pj.ReadOptions(block_size=_BLOCK_BYTES),
            parse_options=pj.ParseOptions(explicit_schema=_SCHEMA, unexpected_field_behavior="ignore"),
        )
    except (UnicodeDecodeError, pa.ArrowException):
        return None
    if len(table) != count:
        return None
    columns = {name: table.column(name).combine_chunks() for name in _SCHEMA.names}
    boxes, areas, crowds = (columns.pop(name) for name in ("bbox", "area", "iscrowd"))
    sides = boxes.flatten()
    if any(column.null_count for column in (*columns.values(), boxes, sides)):
        return None
    ends = boxes.offsets.to_numpy()
    has_area = areas.is_valid().to_numpy(zero_copy_only=False)
    sides, areas, crowds = sides.to_numpy(), areas.fill_null(-1.0).to_numpy(), crowds.fill_null(0).to_numpy()
    are_boxes = np.isfinite(sides).all() and (np.diff(ends) == 4).all()
    are_areas = (~has_area | (np.isfinite(areas) & (areas >= 0))).all()
    are_crowds = ((crowds == 0) | (crowds == 1)).all()
    if not (are_boxes and are_areas and are_crowds):
        return None
    return AnnotationNumbers(
        ids=columns["id"].to_numpy(),
        image_ids=columns["image_id"].to_numpy(),
        category_ids=columns["category_id"].to_numpy(),
        boxes_xywh=sides.reshape(-1, 4),
        areas=areas,
        is_crowd=crowds == 1,
    )
