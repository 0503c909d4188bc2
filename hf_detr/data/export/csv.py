"""CSV, as TensorFlow's object detection tools and Roboflow write it: ``train/_annotations.csv`` among the pictures."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from hf_detr.boxes import xywh_to_xyxy
from hf_detr.data.export.pictures import PictureWriter
from hf_detr.data.export.sourced import SourcedIndex

COLUMNS = ("filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax", "area", "iscrowd")
ANNOTATIONS_FILE, CLASSES_FILE = "_annotations.csv", "classes.txt"


def write_csv(folder: Path, splits: Mapping[str, SourcedIndex], pictures: PictureWriter) -> None:
    """Write pictures, a table for each split, and the classes in order, one a line in ``classes.txt``.

    A row is one object, its box in pixels from 0, to the last digit. A picture without objects has one row, without a
    class and a box.
    """
    for name, index in splits.items():
        pictures.write(index, folder / name)
        with (folder / name / ANNOTATIONS_FILE).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(_rows(index))
    class_names = next(iter(splits.values())).class_names
    (folder / CLASSES_FILE).write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")


def _rows(index: SourcedIndex) -> Iterator[tuple]:
    for image, (height, width) in enumerate(index.sizes_hw.tolist()):
        picture = (index.file_names[image], width, height)
        rows = range(index.first[image], index.first[image + 1])
        if not rows:
            yield (*picture, *[""] * 7)
        for row in rows:
            box_xyxy = xywh_to_xyxy(index.boxes_xywh[row]).tolist()
            class_name = index.class_names[index.class_ids[row]]
            yield (*picture, class_name, *box_xyxy, float(index.areas[row]), int(index.is_crowd[row]))
