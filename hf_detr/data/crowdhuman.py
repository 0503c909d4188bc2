"""CrowdHuman: a JSON object a line for each picture (``annotation_train.odgt``), pictures in ``Images``.

Of the three boxes of a person the one of the full body (`fbox`) is taken, hidden parts included, as the benchmark does
(https://arxiv.org/abs/1805.00123). It may reach out of the picture. What is to be ignored (`extra.ignore`, and the tag
`mask`: groups, reflections, figures) is a crowd: left out of training, and not counted in evaluation.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hf_detr.data.findings import counted
from hf_detr.data.folders import EXPLICIT, folder_with, pictures_by_stem, read_text, split_named
from hf_detr.data.row_findings import about_places
from hf_detr.data.table import AnnotationTable, Extras, Split, splits_by_name, table_of_boxes
from hf_detr.errors import DatasetError

CROWDHUMAN_LAYOUTS_TEXT = (
    "  DIR/annotation_train.odgt                   pictures in DIR/Images/ or DIR/train/  (CrowdHuman)"
)
CLASS_NAMES = ("person",)


class _Box(NamedTuple):
    """A person: `text` is the whole line, shared by all who are in it."""

    image: int
    box_xywh: tuple[float, ...]
    is_ignored: bool
    line: int
    number: int
    text: str


def find_crowdhuman_splits(data: Path) -> dict[str, Split]:
    """The splits of a folder, or of one ``.odgt`` file; empty where there is none.

    Raises:
        DatasetError: no folder with its pictures, or two files for one split.
    """
    files = [data] if data.is_file() else sorted([*data.glob("*.odgt"), *data.glob("*/*.odgt")])
    return splits_by_name(data, [_find_split(path, data) for path in files])


def read_crowdhuman_table(split: Split) -> AnnotationTable:
    """Read the lines of a split into columns.

    Raises:
        DatasetError: not text in UTF-8.
    """
    stems: list[str] = []
    boxes: list[_Box] = []
    bad: list[dict[str, Any]] = []
    for line, text in enumerate(read_text(split.annotations_path).splitlines(), 1):
        if text.strip():
            try:
                stem, found = _parse_line(text, len(stems), line)
            except ValueError as error:
                bad.append({"line": line, "value": str(error)})
            else:
                stems.append(stem)
                boxes += found
    by_stem = pictures_by_stem(split.images_dir)
    by_name = {Path(stem).name: picture for stem, picture in by_stem.items()}  # Images, or a folder for each archive
    return table_of_boxes(
        split,
        file_names=[by_name.get(stem, f"{stem}.jpg") for stem in stems],
        sizes_hw=np.zeros((len(stems), 2), np.int32),
        class_names=CLASS_NAMES,
        image_of=np.array([box.image for box in boxes], np.int64),
        category_of=np.zeros(len(boxes), np.int64),
        boxes_xywh=np.array([box.box_xywh for box in boxes], np.float64),
        is_crowd=np.array([box.is_ignored for box in boxes], bool),
        locate=lambda annotation: {"line": boxes[annotation].line, "object": boxes[annotation].number},
        extras=Extras(annotation=lambda annotation: _others(boxes[annotation])),
        findings=about_places(
            split,
            "label.malformed",
            "error",
            bad,
            f"{counted(len(bad), 'line')} that cannot be read",
            'A line is {"ID": ..., "gtboxes": [{"tag": "person", "fbox": [x, y, width, height], ...}, ...]}.',
        ),
    )


def _find_split(path: Path, data: Path) -> Split:
    start = path.parent if data.is_file() else data
    name = split_named(path.stem.rpartition("_")[2]) or "train"
    words = {"train": ["train"], "valid": ["val", "valid"], "test": ["test"]}[name]
    folders = [start / below for below in ("Images", "images", *words, *(f"images/{word}" for word in words))]
    folders += [path.parent / "Images", path.parent]
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline()
    try:
        picture = f"{_parse_line(first, 0, 1)[0]}.jpg"
    except ValueError:  # reading the split reports it
        picture = None
    images_dir = folder_with(picture, folders) or next((folder for folder in folders[:-1] if folder.is_dir()), None)
    if images_dir is None:
        raise DatasetError(f"{path}: no folder with its pictures, such as {start / 'Images'}. {EXPLICIT}")
    return Split(name, images_dir, path, "crowdhuman")


def _parse_line(text: str, image: int, line: int) -> tuple[str, list[_Box]]:
    """The name of a picture without its ending, and its boxes.

    Raises:
        ValueError: not JSON, or not what CrowdHuman has.
    """
    import orjson

    try:
        record = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from error
    if not (isinstance(record, dict) and isinstance(record.get("ID"), str) and record["ID"]):
        raise ValueError("it has no ID")
    objects = record.get("gtboxes", [])
    if not isinstance(objects, list):
        raise ValueError("gtboxes is no list")
    return record["ID"], [_box(found, image, line, number, text) for number, found in enumerate(objects, 1)]


def _box(found: Any, image: int, line: int, number: int, text: str) -> _Box:
    box = found.get("fbox") if isinstance(found, dict) else None
    if not (isinstance(box, list) and len(box) == 4 and all(type(side) in (int, float) for side in box)):
        raise ValueError(f"object {number} has no fbox of four numbers")
    extra = found.get("extra")
    is_ignored = found.get("tag") != "person" or (isinstance(extra, dict) and extra.get("ignore") == 1)
    return _Box(image, tuple(box), is_ignored, line, number, text)


def _others(box: _Box) -> dict[str, Any]:
    """What is said of a person beside the full body: ``hbox`` of the head, ``vbox`` of what is visible, and so on."""
    import orjson

    found = orjson.loads(box.text)["gtboxes"][box.number - 1]
    return {key: value for key, value in found.items() if key != "fbox"}
