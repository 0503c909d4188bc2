"""A COCO file as columns."""

from collections.abc import Callable, Sequence
from itertools import chain, repeat
from typing import Any

import numpy as np

from hf_detr.data.coco_file import CocoContent, in_pieces, open_coco, parse_coco
from hf_detr.data.coco_layouts import OBJECTS365, objects365_name
from hf_detr.data.coco_numbers import AnnotationNumbers, parse_numbers
from hf_detr.data.json_lists import OtherLayoutError
from hf_detr.data.table import AnnotationTable, CocoRecords, Extras, Id, Split, is_id, shown_id

_NUMBER_TYPES = frozenset({int, float})
_ID_TYPES = frozenset({int, str})
_NO_BOX = (np.nan,) * 4


def read_coco_table(split: Split) -> AnnotationTable:
    """Read the COCO file of a split into columns.

    Raises:
        DatasetError: as `hf_detr.data.coco_file.read_coco_json`.
    """
    try:
        return _table(split, open_coco(split.annotations_path))
    except OtherLayoutError:
        return _table(split, parse_coco(split.annotations_path))


def _table(split: Split, content: CocoContent) -> AnnotationTable:
    categories = [_record(row) for row in content.categories]
    images = _Images(split, content)
    columns = _Annotations(content, _Positions(images.ids), _Positions([row.get("id") for row in categories]))
    records = CocoRecords(
        images=_Records(content.images),
        annotations=_Records(content.annotations),
        categories=categories,
        annotation_ids=columns.ids,
        **{name: np.array(rows, np.int64) for name, rows in columns.odd.items()},
    )
    extras = Extras(
        image=records.images.__getitem__,
        annotation=records.annotations.__getitem__,
        categories=categories,
        header=content.others,
        annotation_ids=columns.ids,
    )
    image_of = columns.image_of
    return AnnotationTable(
        split=split,
        image_ids=images.ids,
        file_names=images.file_names,
        sizes_hw=images.sizes_hw,
        category_ids=[row.get("id") for row in categories],
        category_names=[str(row.get("name")) for row in categories],
        image_of=image_of,
        category_of=columns.category_of,
        boxes_xywh=columns.boxes_xywh,
        areas=columns.areas,
        is_crowd=columns.is_crowd,
        locate=lambda annotation: _place(records, annotation, is_placed=image_of[annotation] >= 0),
        records=records,
        extras=extras,
    )


class _Records(Sequence[dict[str, Any]]):
    """The values of a list as records: ``{}`` in place of one that is no object."""

    def __init__(self, values: Sequence[Any]):
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, position: int) -> dict[str, Any]:
        return _record(self._values[position])


def _record(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


class _Images:
    """The columns of pictures: ``ids``, ``file_names`` and ``sizes_hw``, see `AnnotationTable`."""

    def __init__(self, split: Split, content: CocoContent):
        self.ids: list[Any] = []
        self.file_names: list[str] = []
        self.sizes_hw = np.zeros((len(content.images), 2), np.int32)
        for piece in in_pieces(content.images, f"reading the images of {split.name}"):
            rows = [_record(value) for value in piece.values()]
            self.ids += [row.get("id") for row in rows]
            self.file_names += [_file_name(row, is_objects365=split.format == OBJECTS365) for row in rows]
            self.sizes_hw[piece.first : piece.first + len(rows)] = _sizes_hw(rows)


class _Annotations:
    """The columns of annotations, filled piece by piece; see `AnnotationTable` and, for ``odd``, `CocoRecords`."""

    def __init__(self, content: CocoContent, images: "_Positions", categories: "_Positions"):
        number = len(content.annotations)
        self.image_of, self.category_of = np.empty(number, np.int32), np.empty(number, np.int32)
        self.boxes_xywh, self.areas = np.empty((number, 4)), np.empty(number)
        self.is_crowd = np.empty(number, bool)
        self.ids = np.empty(number, np.int64)
        names = ("without_box", "only_outline", "malformed_box", "bad_crowd", "bad_area")
        self.odd: dict[str, list[int]] = {name: [] for name in names}
        for piece in in_pieces(content.annotations, "reading annotations"):
            here = slice(piece.first, piece.first + len(piece))
            lines = piece.lines()
            numbers = None if lines is None else parse_numbers(lines, len(piece))
            if numbers is None:
                self._add_records(here, [_record(value) for value in piece.values()], images, categories)
            else:
                self._add_numbers(here, numbers, images, categories)

    def _add_numbers(
        self, here: slice, numbers: AnnotationNumbers, images: "_Positions", categories: "_Positions"
    ) -> None:
        self.image_of[here] = images.of_numbers(numbers.image_ids)
        self.category_of[here] = categories.of_numbers(numbers.category_ids)
        self.boxes_xywh[here] = numbers.boxes_xywh
        self.areas[here] = _given_or_box(numbers.areas, numbers.boxes_xywh)
        self.is_crowd[here] = numbers.is_crowd
        self.ids[here] = numbers.ids

    def _add_records(self, here: slice, rows: Sequence[dict], images: "_Positions", categories: "_Positions") -> None:
        self.image_of[here] = images.of([row.get("image_id") for row in rows])
        self.category_of[here] = categories.of([row.get("category_id") for row in rows])
        self.boxes_xywh[here] = self._boxes_xywh(here.start, rows)
        self.areas[here] = self._areas(here.start, rows, self.boxes_xywh[here])
        self.is_crowd[here] = self._crowds(here.start, rows)
        self._add_ids(here, [row.get("id") for row in rows])

    def _boxes_xywh(self, begin: int, rows: Sequence[dict]) -> np.ndarray:
        boxes = [row.get("bbox") for row in rows]
        if not _are_all_boxes(boxes):
            for position, box in enumerate(boxes):
                if not _are_all_boxes([box]):
                    boxes[position] = _NO_BOX
                    self._add_odd_box(begin + position, rows[position])
        return np.fromiter(chain.from_iterable(boxes), np.float64, 4 * len(rows)).reshape(-1, 4)

    def _add_odd_box(self, annotation: int, row: dict[str, Any]) -> None:
        self.odd["malformed_box"].append(annotation)
        if "bbox" not in row:
            self.odd["only_outline" if row.get("segmentation") else "without_box"].append(annotation)

    def _areas(self, begin: int, rows: Sequence[dict], boxes_xywh: np.ndarray) -> np.ndarray:
        areas = [row.get("area") for row in rows]
        usable = list(map(is_area, areas))
        if not all(usable):
            self._note("bad_area", begin, areas, lambda area: area is not None and not is_area(area))
            areas = [area if good else -1.0 for area, good in zip(areas, usable, strict=True)]
        return _given_or_box(np.fromiter(areas, np.float64, len(rows)), boxes_xywh)

    def _crowds(self, begin: int, rows: Sequence[dict]) -> np.ndarray:
        crowds = [row.get("iscrowd") for row in rows]
        if {0, 1}.issuperset(crowds if {int}.issuperset(map(type, crowds)) else (None,)):
            return np.fromiter(crowds, bool, len(rows))
        self._note("bad_crowd", begin, crowds, lambda crowd: crowd not in (0, 1, None))
        return np.fromiter((crowd in (1, True) for crowd in crowds), bool, len(rows))

    def _note(self, name: str, begin: int, values: Sequence[Any], is_bad: Callable[[Any], bool]) -> None:
        self.odd[name] += [begin + position for position, value in enumerate(values) if is_bad(value)]

    def _add_ids(self, here: slice, ids: list[Any]) -> None:
        """Whole numbers as such; where anything else comes up, all as they are."""
        if self.ids.dtype != object:
            try:
                if {int}.issuperset(map(type, ids)):
                    self.ids[here] = np.fromiter(ids, np.int64, len(ids))
                    return
            except OverflowError:
                pass
            self.ids = self.ids.astype(object)
        for position, value in enumerate(ids, here.start):
            self.ids[position] = value


class _Positions:
    """Where records are by their ids.

    Args:
        ids: of all records, of any type where they are wrong.
    """

    def __init__(self, ids: Sequence[Any]):
        self._ids = ids
        self._position_of: dict[Id, int] | None = None
        self._sorted: np.ndarray | None = None
        if ids and {int}.issuperset(map(type, ids)):
            try:
                numbers = np.fromiter(ids, np.int64, len(ids))
            except OverflowError:
                return
            self._order = np.argsort(numbers, kind="stable")
            self._sorted = numbers[self._order]

    def of(self, values: list[Any]) -> np.ndarray:
        """``(len(values),)`` positions of the records with these ids, -1 for none; the first of equal ids."""
        if self._sorted is not None and {int}.issuperset(map(type, values)):
            try:
                return self.of_numbers(np.fromiter(values, np.int64, len(values)))
            except OverflowError:
                pass
        return self._looked_up(values)

    def of_numbers(self, wanted: np.ndarray) -> np.ndarray:
        """The same of ``(n,)`` int64."""
        if self._sorted is None:
            return self._looked_up(wanted.tolist())
        places = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        return np.where(self._sorted[places] == wanted, self._order[places], -1)

    def _looked_up(self, values: list[Any]) -> np.ndarray:
        if self._position_of is None:
            self._position_of = {}
            for position, value in enumerate(self._ids):
                if is_id(value):
                    self._position_of.setdefault(value, position)
        if not _ID_TYPES.issuperset(map(type, values)):
            values = [
                value if is_id(value) else None for value in values
            ]  # a list cannot be looked up, True would be 1
        return np.fromiter(map(self._position_of.get, values, repeat(-1)), np.int64, len(values))


def _given_or_box(areas: np.ndarray, boxes_xywh: np.ndarray) -> np.ndarray:
    """``(n,)`` areas, those of the boxes where none is given."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(areas >= 0, areas, boxes_xywh[:, 2] * boxes_xywh[:, 3])


def _are_all_boxes(boxes: Sequence[Any]) -> bool:
    """Whether each of them is a list of four numbers."""
    return (
        {list}.issuperset(map(type, boxes))
        and {4}.issuperset(map(len, boxes))
        and _NUMBER_TYPES.issuperset(map(type, chain.from_iterable(boxes)))
    )


def _file_name(row: dict[str, Any], *, is_objects365: bool) -> str:
    name = row.get("file_name")
    if not isinstance(name, str):
        return ""
    return objects365_name(name) if is_objects365 else name


def _place(records: CocoRecords, annotation: int, *, is_placed: bool) -> dict[str, Any]:
    """The id of an annotation, and of its image where the file does not list that."""
    value = records.annotation_ids[annotation]
    if isinstance(value, np.integer):
        value = int(value)
    elif value is None and "id" not in records.annotations[annotation]:
        value = f"#{annotation}"
    image = {} if is_placed else {"image_id": shown_id(records.annotations[annotation].get("image_id"))}
    return image | {"annotation_id": shown_id(value)}


def _sizes_hw(rows: Sequence[dict]) -> np.ndarray:
    def side(value: Any) -> int:
        return int(value) if type(value) in _NUMBER_TYPES and 0 < value < 2**31 else 0

    sides = chain.from_iterable((side(row.get("height")), side(row.get("width"))) for row in rows)
    sizes_hw = np.fromiter(sides, np.int32, 2 * len(rows)).reshape(-1, 2)
    sizes_hw[(sizes_hw == 0).any(1)] = 0
    return sizes_hw


def is_area(value: Any) -> bool:
    """Whether `value` can be the area of an object, in pixels²."""
    return type(value) in _NUMBER_TYPES and 0 <= value < float("inf")
