"""A YOLO split as columns.

Boxes are fractions of the picture as tools show it, upright: Ultralytics divides by the size after EXIF, and OpenCV,
which it reads pictures with, turns them. So sizes are read from the headers of all pictures, and are those upright.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_detr.boxes import cxcywh_to_xyxy, xyxy_to_xywh
from hf_detr.data.findings import Finding, counted, shortlist
from hf_detr.data.folders import CLASS_LISTS, PICTURE_SUFFIXES, pictures_below
from hf_detr.data.headers import upright_size_hw
from hf_detr.data.parallel import for_each_file
from hf_detr.data.row_findings import about_places
from hf_detr.data.table import AnnotationTable, Split, table_of_boxes
from hf_detr.data.yolo_extras import yolo_extras
from hf_detr.data.yolo_labels import BadLine, YoloObject, parse_labels
from hf_detr.data.yolo_layouts import class_names_near, label_paths
from hf_detr.data.yolo_yaml import keypoint_dims_of, names_of, read_description, read_yaml, split_pictures
from hf_detr.errors import DatasetError

_FARTHEST = 1.5  # from the middle of the picture, in fractions of it; a number beyond was never meant as one


@dataclass(frozen=True)
class YoloSource:
    """What a split is made of.

    Attributes:
        start: the folder that messages name label files from.
        images_dir: the folder that the paths of pictures start from.
        pictures: N paths below it.
        label_paths: N files, whether they are there or not.
        names: class names by the number that labels have for them.
        keypoint_dims: numbers for each keypoint after the box, x y or x y v; 0 where labels have none.
    """

    start: Path
    images_dir: Path
    pictures: Sequence[str]
    label_paths: Sequence[Path]
    names: dict[int, str]
    keypoint_dims: int = 0


@dataclass(frozen=True)
class _Read:
    """One picture: its size (0, 0 if it cannot be read), the lines of its labels, and why these cannot be read."""

    size_hw: tuple[int, int]
    objects: Sequence[YoloObject] = ()
    bad_lines: Sequence[BadLine] = ()
    trouble: str = ""


def read_yolo_table(split: Split) -> AnnotationTable:
    """Read the labels of a split into columns. A picture without a label file has no objects.

    Raises:
        DatasetError: a ``data.yaml`` that cannot be used, or no names of classes.
    """
    source = yolo_source(split)
    present = _present_labels(source.label_paths)
    paths = [path if path in present else None for path in source.label_paths]
    read = for_each_file(
        lambda pair: _read(*pair, source.keypoint_dims > 0),
        [(source.images_dir / picture, path) for picture, path in zip(source.pictures, paths, strict=True)],
        title=f"reading labels and sizes of {split.name}",
    )
    sizes_hw = np.array([one.size_hw for one in read], np.int32).reshape(-1, 2)
    category_of_number = {number: category for category, number in enumerate(source.names)}
    known = [
        (image, found) for image, one in enumerate(read) for found in one.objects if found.class_id in source.names
    ]
    image_of = np.array([image for image, _ in known], np.int64)
    lines = np.array([found.line for _, found in known], np.int32)

    def locate(annotation: int) -> dict[str, Any]:
        return _place(source, int(image_of[annotation]), int(lines[annotation]))

    boxes_norm = np.array([found.box_cxcywh_norm for _, found in known], np.float64).reshape(-1, 4)
    return table_of_boxes(
        split,
        file_names=source.pictures,
        sizes_hw=sizes_hw,
        class_names=list(source.names.values()),
        class_ids=list(source.names),
        image_of=image_of,
        category_of=np.array([category_of_number[found.class_id] for _, found in known], np.int64),
        boxes_xywh=_boxes_xywh(boxes_norm, sizes_hw[image_of]),
        locate=locate,
        extras=yolo_extras(source.label_paths, image_of, lines, sizes_hw, keypoint_dims=source.keypoint_dims),
        findings=[
            *_line_findings(split, source, read),
            *_range_findings(split, boxes_norm, locate),
            *_file_findings(split, source, present),
        ],
    )


def yolo_source(split: Split) -> YoloSource:
    """The pictures, label files and classes of a split.

    Raises:
        DatasetError: as `read_yolo_table`.
    """
    path, images_dir = split.annotations_path, split.images_dir
    if path.is_dir():
        pictures = pictures_below(images_dir)
        names = split.class_names or class_names_near(path, path.parent, path.parent.parent, images_dir)
        if names is None:
            raise DatasetError(
                f"{path}: nothing names the classes of these labels. Write them into {path / 'classes.txt'}, one a "
                "line in the order of their numbers."
            )
        return YoloSource(path, images_dir, pictures, label_paths(images_dir, pictures, path), dict(enumerate(names)))
    if split.part is None:
        content = read_yaml(path)
        pictures, names, keypoint_dims = pictures_below(images_dir), names_of(path, content), keypoint_dims_of(content)
    else:
        description = read_description(path)
        images_dir, pictures = split_pictures(description, split.part)
        names, keypoint_dims = description.names, description.keypoint_dims
    return YoloSource(path.parent, images_dir, pictures, label_paths(images_dir, pictures), names, keypoint_dims)


def _read(picture: Path, labels: Path | None, has_keypoints: bool) -> _Read:
    size_hw = upright_size_hw(picture)
    if labels is None:
        return _Read(size_hw)
    try:
        content = labels.read_bytes()
    except OSError as error:
        return _Read(size_hw, trouble=str(error.strerror))
    return _Read(size_hw, *parse_labels(content, has_keypoints=has_keypoints))


def _boxes_xywh(boxes_cxcywh_norm: np.ndarray, sizes_hw: np.ndarray) -> np.ndarray:
    """Pixels. Boxes of a picture that cannot be read stay fractions; nothing can use them."""
    widths_heights = np.where(sizes_hw > 0, sizes_hw, 1)[:, ::-1]
    return xyxy_to_xywh(cxcywh_to_xyxy(boxes_cxcywh_norm) * np.tile(widths_heights, 2))


def _present_labels(paths: Sequence[Path]) -> set[Path]:
    """Those of the label files that exist: listing folders is faster than asking for each."""
    return {
        folder / name
        for folder in {path.parent for path in paths}
        if folder.is_dir()
        for name in os.listdir(folder)
        if name.endswith(".txt")
    }


def _place(source: YoloSource, image: int, line: int | None = None) -> dict[str, Any]:
    place = {"file": source.pictures[image], "labels": _shown(source, source.label_paths[image])}
    return place if line is None else place | {"line": line}


def _shown(source: YoloSource, labels: Path) -> str:
    """A label file as messages name it: from the folder of the data set, where it is in there."""
    start = source.start.absolute()
    return labels.absolute().relative_to(start).as_posix() if labels.absolute().is_relative_to(start) else str(labels)


def _line_findings(split: Split, source: YoloSource, read: Sequence[_Read]) -> list[Finding]:
    bad = [
        _place(source, image, line.line) | {"value": f"{line.text!r:.60}: {line.reason}"}
        for image, one in enumerate(read)
        for line in one.bad_lines
    ]
    unknown = [
        _place(source, image, found.line) | {"value": f"class {found.class_id}"}
        for image, one in enumerate(read)
        for found in one.objects
        if found.class_id not in source.names
    ]
    unreadable = [_place(source, image) | {"value": one.trouble} for image, one in enumerate(read) if one.trouble]
    listed = shortlist((f"{number} {name}" for number, name in source.names.items()), most=8)
    return [
        *about_places(
            split,
            "label.malformed",
            "error",
            bad,
            f"{counted(len(bad), 'line')} of labels that cannot be read",
            "A line is `class cx cy width height` or `class x y x y x y ...`, in fractions of the picture.",
        ),
        *about_places(
            split,
            "label.unknown_class",
            "error",
            unknown,
            f"{counted(len(unknown), 'object')} of a class without a name",
            f"There are {len(source.names)} names: {listed}. Classes count "
            "from 0: labels that count from 1 are off by one everywhere.",
        ),
        *about_places(
            split,
            "label.unreadable",
            "error",
            unreadable,
            f"{counted(len(unreadable), 'label file')} that cannot be read",
            "Look at the rights of these files, or copy them again.",
        ),
    ]


def _range_findings(split: Split, boxes_norm: np.ndarray, locate: Any) -> list[Finding]:
    far = np.flatnonzero((np.abs(boxes_norm - 0.5) > _FARTHEST).any(1))
    places = [locate(row) | {"value": " ".join(f"{side:g}" for side in boxes_norm[row])} for row in far.tolist()]
    return about_places(
        split,
        "label.not_fractions",
        "error",
        places,
        f"{counted(len(places), 'box')} far beyond the picture, which reaches from 0 to 1",
        "YOLO boxes are fractions. Divide cx and width by the picture's width, cy and height by its height.",
    )


def _file_findings(split: Split, source: YoloSource, present: set[Path]) -> list[Finding]:
    expected = set(source.label_paths)
    if source.pictures and not expected & present:
        example = _place(source, 0)
        return about_places(
            split,
            "label.none",
            "error" if split.name == "train" else "warning",
            [example],
            f"{counted(len(source.pictures), 'picture')}, and not one label file",
            "Labels lie as pictures do, with the folder `images` called `labels`, or beside their pictures.",
        )
    start = source.images_dir.absolute()
    folders = {
        ((start / picture).parent, path.parent)
        for picture, path in zip(source.pictures, source.label_paths, strict=True)
    }
    with_picture = {
        labels / f"{os.path.splitext(name)[0]}.txt"
        for pictures, labels in folders
        for name in os.listdir(pictures)
        if os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES
    }
    lost = sorted(path for path in present - with_picture - expected if path.name not in CLASS_LISTS)
    return about_places(
        split,
        "label.without_picture",
        "warning",
        [{"labels": _shown(source, path)} for path in lost],
        f"{counted(len(lost), 'label file')} without a picture of that name",
        "These objects are lost. Is the picture missing, or its name another?",
    )
