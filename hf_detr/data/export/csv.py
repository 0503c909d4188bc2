"""CSV, as TensorFlow's object detection tools and Roboflow write it: ``train/_annotations.csv`` among the pictures."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hf_detr.boxes import xywh_to_xyxy
from hf_detr.data.csv_columns import find_columns
from hf_detr.data.export.pictures import PictureWriter
from hf_detr.data.export.sourced import SourcedIndex
from hf_detr.data.export.survey import Survey, survey
from hf_detr.data.table import COCO_KEYS

COLUMNS = ("filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax", "area", "iscrowd")
ANNOTATIONS_FILE, CLASSES_FILE = "_annotations.csv", "classes.txt"


def write_csv(folder: Path, splits: Mapping[str, SourcedIndex], pictures: PictureWriter) -> None:
    """Write pictures, a table for each split, and the classes in order, one a line in ``classes.txt``.

    A row is one object, its box in pixels from 0, to the last digit. A picture without objects has one row, without a
    class and a box. What else is known of objects is in further columns where it is a number or text, see
    `column_keys`.
    """
    keys = column_keys(survey(splits))
    for name, index in splits.items():
        pictures.write(index, folder / name)
        with (folder / name / ANNOTATIONS_FILE).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*COLUMNS, *keys])
            writer.writerows(_rows(index, keys))
    class_names = next(iter(splits.values())).class_names
    (folder / CLASSES_FILE).write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")


def column_keys(found: Survey) -> list[str]:
    """What is known of objects that can be columns: numbers, or text, whose name readers take for nothing else."""
    keys: list[str] = []
    for key, kind in found.annotation_kinds.items():
        if kind in ("int64", "float64", "string") and key not in COCO_KEYS and _are_others([*keys, key]):
            keys.append(key)
    return keys


def _are_others(names: Sequence[str]) -> bool:
    """Together: with the width and height of the picture x and y would be a second box, and neither is alone."""
    try:
        return find_columns([*COLUMNS, *names]) == find_columns(COLUMNS)
    except ValueError:
        return False


def _rows(index: SourcedIndex, keys: Sequence[str]) -> Iterator[tuple]:
    for image, (height, width) in enumerate(index.sizes_hw.tolist()):
        picture = (index.file_names[image], width, height)
        rows = range(index.first[image], index.first[image + 1])
        if not rows:
            yield (*picture, *[""] * (7 + len(keys)))
        for row in rows:
            box_xyxy = xywh_to_xyxy(index.boxes_xywh[row]).tolist()
            extras = index.annotation_extras(image, row)
            class_name = index.class_names[index.class_ids[row]]
            columns = (class_name, *box_xyxy, float(index.areas[row]), int(index.is_crowd[row]))
            yield (*picture, *columns, *(extras.get(key, "") for key in keys))
