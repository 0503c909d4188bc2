"""The index of a conversion: of each picture and annotation it knows where it came from, and what it was there."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from hf_detr.data.index import DetectionIndex
from hf_detr.data.table import AnnotationTable, Extras
from hf_detr.data.table_index import annotation_order, class_order, index_of_table


@dataclass(frozen=True, kw_only=True)
class SourcedIndex(DetectionIndex):
    """A `DetectionIndex` and, for its pictures and annotations, the rows of the tables it was made of.

    Attributes:
        sources: what these tables have beyond their columns.
        source_of: ``(N,)`` int32 which of them each picture is from.
        image_rows: ``(N,)`` int64 its position there.
        annotation_rows: ``(M,)`` int64 position of each annotation there.
        annotation_ids: ``(M,)`` int64; any values, None for none, where they are not all such numbers.
        category_extras: K mappings, what is known of each class beside name and id.
        drawn_hw: ``(N, 2)`` int32 size in pixels of what annotations were drawn on, before they were turned and scaled
            to ``sizes_hw``; 0, 0 while they are where they were.
        orientations: ``(N,)`` int8 EXIF orientation that they were turned by.
    """

    sources: tuple[Extras, ...]
    source_of: np.ndarray
    image_rows: np.ndarray
    annotation_rows: np.ndarray
    annotation_ids: np.ndarray
    category_extras: tuple[dict[str, Any], ...]
    drawn_hw: np.ndarray
    orientations: np.ndarray

    def image_extras(self, image: int) -> dict[str, Any]:
        """What its source says of a picture, in COCO's words; nothing in particular is among it."""
        return dict(self.sources[self.source_of[image]].image(int(self.image_rows[image])))

    def annotation_extras(self, image: int, row: int) -> dict[str, Any]:
        """What its source says of an annotation of a picture, as it was there: neither turned nor scaled."""
        return dict(self.sources[self.source_of[image]].annotation(int(self.annotation_rows[row])))

    def is_moved(self, image: int) -> bool:
        """Whether annotations of a picture have been turned or scaled."""
        drawn_hw = self.drawn_hw[image]
        return bool(drawn_hw.any() and (self.orientations[image] != 1 or (drawn_hw != self.sizes_hw[image]).any()))


def sourced_index(table: AnnotationTable) -> SourcedIndex:
    """The index of a table without structural findings, with what is known beyond it."""
    index, extras = index_of_table(table), table.extras
    pictures, annotations = len(index), len(index.class_ids)
    rows = np.arange(annotations)[annotation_order(table)]
    ids = np.full(annotations, None) if extras.annotation_ids is None else extras.annotation_ids[rows]
    order = class_order(table.category_ids)
    return SourcedIndex(
        **{field.name: getattr(index, field.name) for field in fields(index)},
        sources=(extras,),
        source_of=np.zeros(pictures, np.int32),
        image_rows=np.arange(pictures),
        annotation_rows=rows,
        annotation_ids=ids,
        category_extras=tuple(extras.categories[position] if extras.categories else {} for position in order),
        drawn_hw=np.zeros((pictures, 2), np.int32),
        orientations=np.ones(pictures, np.int8),
    )
