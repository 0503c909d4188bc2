"""A COCO file as columns. Reading never fails on a bad record: it leaves a mark in the column, and checks find it."""

import gc
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np

from hf_detr.data.coco_layouts import CocoSplit
from hf_detr.errors import DatasetError

_SECTIONS = ("images", "annotations", "categories")
_NUMBER_TYPES = frozenset({int, float})
_ID_TYPES = frozenset({int, str})
_NO_BOX = (np.nan,) * 4
_LARGEST_COORDINATE = 1e9  # beyond it sums and areas overflow sooner or later, and no picture is as large
_HALF_A_CHARACTER = re.compile(rb"\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F]")

Id = int | str


# An outline's numbers: most of a file like instances_train2017.json, and nothing that a detector uses. The closing
# quote makes it a key: inside of a text it would have a backslash before it.
_OUTLINE = re.compile(rb'"segmentation"\s*:\s*\[\[[0-9eE+\-.,\s\[\]]*\]\]')


def read_coco_json(path: str | Path, *, keep_outlines: bool = True) -> dict[str, Any]:
    """The content of a COCO file: a dict with the lists images, annotations and categories.

    Args:
        path: the file.
        keep_outlines: False puts ``[0]`` in the place of each polygon: four times as fast on COCO, in half the memory.

    Raises:
        DatasetError: missing, not JSON (with line and column), or JSON that is not COCO.
    """
    import orjson

    path = Path(path)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot read this annotation file: {error.strerror}") from error
    if not text.strip():
        raise DatasetError(f"{path}: the annotation file is empty. Copy or export it again.")
    try:
        with _no_garbage_collection():
            content = orjson.loads(text if keep_outlines else _OUTLINE.sub(b'"segmentation":[0]', text))
    except orjson.JSONDecodeError:
        content = _parse_leniently(path, text)
    _require_coco(path, content)
    return content


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """While millions of objects are made and none is dropped, the collector only looks at them again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _parse_leniently(path: Path, text: bytes) -> Any:
    """With Python's own parser: NaN, Infinity and a byte order mark too, and the place where the text is wrong."""

    def parse_int(digits: str) -> int | float:
        return int(digits) if len(digits) < 19 else float(digits)

    half = _HALF_A_CHARACTER.search(text)
    if half:  # Python would read it, and fail to print it or to open a file of that name
        raise DatasetError(f"{path}: not Unicode: half a character ({half[0][:6].decode()}) at byte {half.start():,}.")
    try:
        return json.loads(text, parse_int=parse_int)
    except json.JSONDecodeError as error:
        raise DatasetError(
            f"{path}: not JSON, or cut short: {error.msg} at line {error.lineno}, column {error.colno} "
            f"(byte {error.pos:,} of {len(text):,}). Copy or export the file again."
        ) from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not text in UTF-8: {error.reason} at byte {error.start:,}.") from error
    except RecursionError as error:
        raise DatasetError(f"{path}: JSON nested too deeply to be COCO.") from error


def _require_coco(path: Path, content: Any) -> None:
    if isinstance(content, list):
        raise DatasetError(
            f"{path}: a JSON list, not a COCO annotation file. A list of detections is what a model predicted; "
            "the annotations are a file with the keys images, annotations and categories."
        )
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: not a COCO annotation file: it holds only {content!r:.80}.")
    missing = [key for key in _SECTIONS if key not in content]
    if missing:
        there = ", ".join(sorted(map(str, content))[:12]) or "nothing"
        raise DatasetError(
            f"{path}: not a COCO annotation file: no {' and no '.join(repr(key) for key in missing)}. "
            f"It has: {there}. A file without objects still needs the key with an empty list."
        )
    for key in _SECTIONS:
        if not isinstance(content[key], list):
            raise DatasetError(f"{path}: {key!r} is a {type(content[key]).__name__}, and COCO has a list there.")


@dataclass(frozen=True)
class CocoTable:
    """A COCO file as columns. N images, M annotations, K categories, in the order of the file.

    Attributes:
        split: where it was read from.
        image_rows, annotation_rows, category_rows: the records, ``{}`` for one that is no object.
        file_names: N paths below the folder of pictures, ``""`` where the record has none.
        sizes_hw: ``(N, 2)`` int32 annotated height and width; 0, 0 where there is none.
        image_of: ``(M,)`` int64 image of each annotation, -1 for an unknown one.
        category_of: ``(M,)`` int64 category of each annotation, -1 for an unknown one.
        boxes_xywh: ``(M, 4)`` float64 pixels; NaN where the record has no list of four numbers.
        malformed_box: ``(M,)`` bool such records.
        areas: ``(M,)`` float64 pixels², the file's where it is a number, else width times height.
        is_crowd: ``(M,)`` bool.
    """

    split: CocoSplit
    image_rows: Sequence[dict[str, Any]]
    annotation_rows: Sequence[dict[str, Any]]
    category_rows: Sequence[dict[str, Any]]
    file_names: Sequence[str]
    sizes_hw: np.ndarray
    image_of: np.ndarray
    category_of: np.ndarray
    boxes_xywh: np.ndarray
    malformed_box: np.ndarray
    areas: np.ndarray
    is_crowd: np.ndarray

    @property
    def category_names(self) -> list[str]:
        """K names, of those that are not text their JSON."""
        return [str(row.get("name")) for row in self.category_rows]

    @property
    def is_finite(self) -> np.ndarray:
        """``(M,)`` bool boxes of four numbers that one can calculate with."""
        return (np.abs(self.boxes_xywh) < _LARGEST_COORDINATE).all(1)

    @property
    def objects_per_image(self) -> np.ndarray:
        """``(N,)`` annotations of each image that are not crowds."""
        counted = self.image_of[(self.image_of >= 0) & ~self.is_crowd]
        return np.bincount(counted, minlength=len(self.image_rows))

    @property
    def objects_per_category(self) -> np.ndarray:
        """``(K,)`` annotations of each category that are not crowds."""
        counted = self.category_of[(self.category_of >= 0) & ~self.is_crowd]
        return np.bincount(counted, minlength=len(self.category_rows))

    def image_path(self, image: int) -> Path:
        """The file of image number `image`."""
        return self.split.images_dir / self.file_names[image]


def read_table(split: CocoSplit) -> CocoTable:
    """Read the annotation file of a split into columns.

    Raises:
        DatasetError: as `read_coco_json`.
    """
    content = read_coco_json(split.annotations_path, keep_outlines=False)
    image_rows, annotation_rows, category_rows = (_records(content[key]) for key in _SECTIONS)
    boxes_xywh, malformed_box = _boxes_xywh(annotation_rows)
    return CocoTable(
        split=split,
        image_rows=image_rows,
        annotation_rows=annotation_rows,
        category_rows=category_rows,
        file_names=[name if isinstance(name := row.get("file_name"), str) else "" for row in image_rows],
        sizes_hw=_sizes_hw(image_rows),
        image_of=_positions(annotation_rows, "image_id", image_rows),
        category_of=_positions(annotation_rows, "category_id", category_rows),
        boxes_xywh=boxes_xywh,
        malformed_box=malformed_box,
        areas=_areas(annotation_rows, boxes_xywh),
        is_crowd=np.fromiter((row.get("iscrowd") in (1, True) for row in annotation_rows), bool, len(annotation_rows)),
    )


def is_id(value: Any) -> bool:
    """Whether `value` can name an image or a category: text, or a whole number of at most 63 bits (1.0 is 1)."""
    return isinstance(value, str) or (type(value) in _NUMBER_TYPES and -(2**63) <= value < 2**63 and value % 1 == 0)


def _records(rows: list[Any]) -> list[dict[str, Any]]:
    return [row if isinstance(row, dict) else {} for row in rows]


def _positions(rows: Sequence[dict], key: str, named: Sequence[dict]) -> np.ndarray:
    """``(len(rows),)`` position in `named` of the record whose id `rows` have under `key`; the first of equal ids."""
    position_of: dict[Id, int] = {}
    for position, row in enumerate(named):
        if is_id(value := row.get("id")):
            position_of.setdefault(value, position)
    values = [row.get(key) for row in rows]
    if not _ID_TYPES.issuperset(map(type, values)):
        values = [value if is_id(value) else None for value in values]  # a list cannot be looked up, True would be 1
    return np.fromiter(map(position_of.get, values, repeat(-1)), np.int64, len(rows))


def _boxes_xywh(rows: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
    boxes = [row.get("bbox") for row in rows]
    well_formed = [
        isinstance(box, list) and len(box) == 4 and _NUMBER_TYPES.issuperset(map(type, box)) for box in boxes
    ]
    sides = chain.from_iterable(box if good else _NO_BOX for box, good in zip(boxes, well_formed, strict=True))
    array = np.fromiter(sides, np.float64, 4 * len(rows)).reshape(-1, 4)
    return array, ~np.fromiter(well_formed, bool, len(rows))


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


def _areas(rows: Sequence[dict], boxes_xywh: np.ndarray) -> np.ndarray:
    given = np.fromiter((area if is_area(area := row.get("area")) else -1.0 for row in rows), np.float64, len(rows))
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(given >= 0, given, boxes_xywh[:, 2] * boxes_xywh[:, 3])


def positions_where(rows: Sequence[dict], is_bad: Callable[[dict], bool]) -> np.ndarray:
    """Positions of the records that `is_bad` is true of."""
    return np.flatnonzero(np.fromiter((is_bad(row) for row in rows), bool, len(rows)))
