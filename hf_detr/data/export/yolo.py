"""YOLO: ``data.yaml``, ``images/train/0001.jpg`` and ``labels/train/0001.txt``, as Ultralytics' trainers take it."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import yaml

from hf_detr.boxes import normalise_boxes, xywh_to_xyxy, xyxy_to_cxcywh
from hf_detr.data.export.pictures import PictureWriter
from hf_detr.data.index import DetectionIndex

FOLDER_OF = {"valid": "val"}  # what others call it
_DIGITS = 8  # in a picture of 100,000 pixels a corner is read back within 1e-3 pixels


def write_yolo(folder: Path, splits: Mapping[str, DetectionIndex], pictures: PictureWriter) -> None:
    """Write pictures, labels and ``data.yaml`` below ``folder``. Sizes of all pictures must be known.

    A line is the class and ``cx cy w h`` as fractions of the picture, to 8 digits. Crowds are left out: readers would
    take them for objects. A picture without objects has an empty file. ``path`` is left out of ``data.yaml``: readers
    then start from the folder the file is in, wherever that is moved.
    """
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
            path.write_text(_lines(index, image), encoding="utf-8")
        content["names"] = dict(enumerate(index.class_names))
    content["names"] = content.pop("names", {})  # after the splits
    (folder / "data.yaml").write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _lines(index: DetectionIndex, image: int) -> str:
    rows = np.arange(index.first[image], index.first[image + 1])
    rows = rows[~index.is_crowd[rows]]
    boxes = boxes_cxcywh_norm(index.boxes_xywh[rows], tuple(index.sizes_hw[image]))
    return "".join(
        f"{class_id} {' '.join(f'{value:.{_DIGITS}f}' for value in box)}\n"
        for class_id, box in zip(index.class_ids[rows].tolist(), boxes.tolist(), strict=True)
    )


def boxes_cxcywh_norm(boxes_xywh: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Boxes ``(n, 4)`` in pixels as centre, width and height in fractions of their picture."""
    return normalise_boxes(xyxy_to_cxcywh(xywh_to_xyxy(boxes_xywh)), size_hw)


def count_refused(index: DetectionIndex) -> int:
    """Pictures with a number below 0 or above 1 in their labels, which Ultralytics' loader drops without a stop."""
    counts = np.diff(index.first)
    heights, widths = np.repeat(index.sizes_hw.astype(np.float64), counts, axis=0).T
    boxes = boxes_cxcywh_norm(index.boxes_xywh, (heights, widths))
    refused = ((boxes < 0) | (boxes > 1)).any(1) & ~index.is_crowd
    return len(np.unique(np.repeat(np.arange(len(index)), counts)[refused]))
