"""YOLO: ``data.yaml``, ``images/train/0001.jpg`` and ``labels/train/0001.txt``, as Ultralytics' trainers take it."""

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import yaml

from hf_detr.boxes import normalise_boxes, xywh_to_xyxy, xyxy_to_cxcywh
from hf_detr.data.export.coco import movement_of
from hf_detr.data.export.outlines import POLYGONS, moved, outline_kind
from hf_detr.data.export.pictures import PictureWriter
from hf_detr.data.export.sourced import SourcedIndex

FOLDER_OF = {"valid": "val"}  # what others call it
_DIGITS = 8  # in a picture of 100,000 pixels a corner is read back within 1e-3 pixels


def write_yolo(folder: Path, splits: Mapping[str, SourcedIndex], pictures: PictureWriter) -> None:
    """Write pictures, labels and ``data.yaml`` below ``folder``. Sizes of all pictures must be known.

    A line is the class and ``cx cy w h`` as fractions of the picture, to 8 digits. Crowds are left out: readers would
    take them for objects. A picture without objects has an empty file. ``path`` is left out of ``data.yaml``: readers
    then start from the folder the file is in, wherever that is moved.
    """
    _write(folder, splits, pictures, with_outlines=False)


def write_yolo_outlines(folder: Path, splits: Mapping[str, SourcedIndex], pictures: PictureWriter) -> None:
    """As `write_yolo`, but an object whose outline is one polygon is the line ``class x y x y x y ...``."""
    _write(folder, splits, pictures, with_outlines=True)


def _write(folder: Path, splits: Mapping[str, SourcedIndex], pictures: PictureWriter, *, with_outlines: bool) -> None:
    content: dict[str, object] = {}
    for name, index in splits.items():
        split = FOLDER_OF.get(name, name)
        content[split] = f"images/{split}"
        pictures.write(index, folder / "images" / split)
        labels = folder / "labels" / split
        labels.mkdir(parents=True, exist_ok=True)
        for image in range(len(index)):
            path = labels / PurePosixPath(index.file_names[image]).with_suffix(".txt")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_lines(index, image, with_outlines), encoding="utf-8")
        content["names"] = dict(enumerate(index.class_names))
    content["names"] = content.pop("names", {})  # after the splits
    (folder / "data.yaml").write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _lines(index: SourcedIndex, image: int, with_outlines: bool) -> str:
    rows = np.arange(index.first[image], index.first[image + 1])
    rows = rows[~index.is_crowd[rows]]
    boxes = boxes_cxcywh_norm(index.boxes_xywh[rows], tuple(index.sizes_hw[image]))
    lines = []
    for row, class_id, box in zip(rows.tolist(), index.class_ids[rows].tolist(), boxes.tolist(), strict=True):
        numbers: Iterable[float] = box
        if with_outlines and (polygon := _only_polygon(index, image, row)) is not None:
            numbers = (polygon / index.sizes_hw[image, ::-1]).ravel()
        lines.append(f"{class_id} {' '.join(f'{value:.{_DIGITS}f}' for value in numbers)}\n")
    return "".join(lines)


def _only_polygon(index: SourcedIndex, image: int, row: int) -> np.ndarray | None:
    """The corners ``(n, 2)`` in pixels of an outline that is one polygon; None for any other, and none."""
    extras = index.annotation_extras(image, row)
    if outline_kind(extras.get("segmentation")) != POLYGONS or len(extras["segmentation"]) != 1:
        return None
    if index.is_moved(image):
        extras = moved(extras, movement_of(index, image))
    polygon = np.array(extras["segmentation"][0], np.float64).reshape(-1, 2)
    return polygon if len(polygon) > 2 else None  # two corners would be read as a box


def boxes_cxcywh_norm(boxes_xywh: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Boxes ``(n, 4)`` in pixels as centre, width and height in fractions of their picture."""
    return normalise_boxes(xyxy_to_cxcywh(xywh_to_xyxy(boxes_xywh)), size_hw)


def count_beyond(index: SourcedIndex) -> int:
    """Pictures whose boxes have a number below 0 or above 1, which YOLO trainers may refuse."""
    counts = np.diff(index.first)
    heights, widths = np.repeat(index.sizes_hw.astype(np.float64), counts, axis=0).T
    boxes = boxes_cxcywh_norm(index.boxes_xywh, (heights, widths))
    is_beyond = ((boxes < 0) | (boxes > 1)).any(1) & ~index.is_crowd
    return len(np.unique(np.repeat(np.arange(len(index)), counts)[is_beyond]))
