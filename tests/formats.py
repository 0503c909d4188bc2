"""The data sets of `tests.synthetic` in other formats, written by hand so that no reader is tested by our writers."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from tests.synthetic import annotation_file, images_folder

SPLITS = ("train", "valid")


def images_of(coco: Path, split: str) -> Iterator[tuple[Path, dict[str, Any], list[tuple[str, list[float], bool]]]]:
    """Every picture of a COCO folder: its file, its record, and its objects as class, xywh box and crowd."""
    content = json.loads(annotation_file(coco, split).read_text())
    names = {row["id"]: row["name"] for row in content["categories"]}
    for image in content["images"]:
        objects = [
            (names[row["category_id"]], row["bbox"], bool(row.get("iscrowd")))
            for row in content["annotations"]
            if row["image_id"] == image["id"]
        ]
        yield images_folder(coco, split) / image["file_name"], image, objects


def class_names(coco: Path) -> list[str]:
    """Names in the order of the ids."""
    categories = json.loads(annotation_file(coco).read_text())["categories"]
    return [row["name"] for row in sorted(categories, key=lambda row: row["id"])]


def make_yolo(coco: Path, folder: Path, *, yaml: str = "path: .\n", decimals: int = 8) -> Path:
    """YOLO twin of a COCO folder; no label file for a picture without objects."""
    names = class_names(coco)
    for split in SPLITS:
        (folder / "images" / split).mkdir(parents=True)
        (folder / "labels" / split).mkdir(parents=True)
        for picture, image, objects in images_of(coco, split):
            shutil.copy(picture, folder / "images" / split)
            width, height = image["width"], image["height"]
            lines = [
                f"{names.index(name)} {(x + w / 2) / width:.{decimals}f} {(y + h / 2) / height:.{decimals}f} "
                f"{w / width:.{decimals}f} {h / height:.{decimals}f}\n"
                for name, (x, y, w, h), crowd in objects
                if not crowd
            ]
            if lines:
                (folder / "labels" / split / picture.with_suffix(".txt").name).write_text("".join(lines))
    listed = "".join(f"  {number}: {name}\n" for number, name in enumerate(names))
    (folder / "data.yaml").write_text(
        f"{yaml}train: images/train\nval: images/valid\nnc: {len(names)}\nnames:\n{listed}"
    )
    return folder


def voc_xml(file_name: str, size_hw: tuple[int, int], objects: list[tuple[str, list[float], bool]]) -> str:
    """One annotation file; coordinates count from 1, crowds are marked as difficult."""
    rows = "".join(
        f"<object><name>{escape(name)}</name><difficult>{int(crowd)}</difficult><bndbox><xmin>{x + 1}</xmin>"
        f"<ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>\n"
        for name, (x, y, w, h), crowd in objects
    )
    height, width = size_hw
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>{escape(file_name)}</filename>{size}\n{rows}</annotation>\n"


def make_voc(coco: Path, folder: Path) -> Path:
    """Pascal VOC twin of a COCO folder, laid out as the challenge; pictures are called train_0000.jpg."""
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    for split in SPLITS:
        stems = []
        for picture, image, objects in images_of(coco, split):
            stem = f"{split}_{picture.stem}"
            shutil.copy(picture, folder / "JPEGImages" / f"{stem}.jpg")
            xml = voc_xml(f"{stem}.jpg", (image["height"], image["width"]), objects)
            (folder / "Annotations" / f"{stem}.xml").write_text(xml)
            stems.append(stem)
        listed = folder / "ImageSets" / "Main" / f"{'val' if split == 'valid' else split}.txt"
        listed.write_text("".join(f"{stem}\n" for stem in stems))
    return folder


def make_csv(coco: Path, folder: Path) -> Path:
    """CSV twin of a COCO folder, as Roboflow writes it; a picture without objects has a row without a box."""
    for split in SPLITS:
        (folder / split).mkdir(parents=True)
        with (folder / split / "_annotations.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"])
            for picture, image, objects in images_of(coco, split):
                shutil.copy(picture, folder / split)
                start = [picture.name, image["width"], image["height"]]
                boxes = [(name, box) for name, box, crowd in objects if not crowd]
                writer.writerows([*start, name, x, y, x + w, y + h] for name, (x, y, w, h) in boxes)
                if not boxes:
                    writer.writerow([*start, "", "", "", "", ""])
    return folder
