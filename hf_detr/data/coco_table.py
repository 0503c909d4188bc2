"""A COCO file as columns."""

import gc
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np

from hf_detr.data.coco_layouts import OBJECTS365, objects365_name
from hf_detr.data.table import AnnotationTable, CocoRecords, Id, Split, is_id, shown_id
from hf_detr.errors import DatasetError

_SECTIONS = ("images", "annotations", "categories")
_NUMBER_TYPES = frozenset({int, float})
_ID_TYPES = frozenset({int, str})
_NO_BOX = (np.nan,) * 4
_HALF_A_CHARACTER = re.compile(rb"\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F]")


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


def read_coco_table(split: Split) -> AnnotationTable:
    """Read the COCO file of a split into columns.

    Raises:
        DatasetError: as `read_coco_json`.
    """
    content = read_coco_json(split.annotations_path, keep_outlines=False)
    images, annotations, categories = (_records(content[key]) for key in _SECTIONS)
    boxes_xywh, malformed_box = _boxes_xywh(annotations)
    image_of = _positions(annotations, "image_id", images)
    return AnnotationTable(
        split=split,
        image_ids=[row.get("id") for row in images],
        file_names=[_file_name(row, is_objects365=split.format == OBJECTS365) for row in images],
        sizes_hw=_sizes_hw(images),
        category_ids=[row.get("id") for row in categories],
        category_names=[str(row.get("name")) for row in categories],
        image_of=image_of,
        category_of=_positions(annotations, "category_id", categories),
        boxes_xywh=boxes_xywh,
        areas=_areas(annotations, boxes_xywh),
        is_crowd=np.fromiter((row.get("iscrowd") in (1, True) for row in annotations), bool, len(annotations)),
        locate=lambda annotation: _place(annotations[annotation], annotation, is_placed=image_of[annotation] >= 0),
        records=CocoRecords(images, annotations, categories, malformed_box),
    )


def _file_name(row: dict[str, Any], *, is_objects365: bool) -> str:
    name = row.get("file_name")
    if not isinstance(name, str):
        return ""
    return objects365_name(name) if is_objects365 else name


def _place(row: dict[str, Any], annotation: int, *, is_placed: bool) -> dict[str, Any]:
    """The id of an annotation, and of its image where the file does not list that."""
    image = {} if is_placed else {"image_id": shown_id(row.get("image_id"))}
    return image | {"annotation_id": shown_id(row.get("id", f"#{annotation}"))}


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
