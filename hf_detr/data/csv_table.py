"""A CSV split as columns."""

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from hf_detr.boxes import cxcywh_to_xyxy, xyxy_to_xywh
from hf_detr.data.csv_layouts import class_names_of
from hf_detr.data.csv_rows import BadRow, CsvContent, CsvRow, read_csv
from hf_detr.data.findings import Finding, counted, shortlist
from hf_detr.data.folders import PICTURE_SUFFIXES, pictures_by_stem
from hf_detr.data.headers import upright_sizes_hw
from hf_detr.data.row_findings import about_places
from hf_detr.data.table import COCO_KEYS, AnnotationTable, Extras, Split, table_of_boxes

logger = logging.getLogger(__name__)


def read_csv_table(split: Split) -> AnnotationTable:
    """Read the rows of a split into columns. A row without a box is a picture without objects.

    Boxes that all lie between 0 and 1 are fractions: as pixels all objects would lie in the first one.

    Raises:
        DatasetError: as `read_csv`.
    """
    content = read_csv(split.annotations_path)
    rows = [row for row, part in zip(content.rows, content.parts, strict=True) if split.part in (None, part)]
    image_of_file = {file: image for image, file in enumerate(dict.fromkeys(row.file for row in rows))}
    file_names = _with_endings(split, list(image_of_file))
    names = split.class_names or class_names_of([content])
    category_of_label = _category_of_label(names, rows)
    boxed = [row for row in rows if row.box is not None]
    known = [row for row in boxed if row.label in category_of_label]
    image_of = np.array([image_of_file[row.file] for row in known], np.int64)
    boxes = np.array([row.box for row in known], np.float64).reshape(-1, 4)
    sizes_hw = np.zeros((len(file_names), 2), np.int32)
    for row in rows:
        sizes_hw[image_of_file[row.file]] = np.maximum(sizes_hw[image_of_file[row.file]], row.size_hw)
    in_fractions = len(boxes) > 0 and bool(((boxes >= 0) & (boxes <= 1)).all())
    if in_fractions:
        unsized = np.flatnonzero((sizes_hw == 0).any(1))
        sizes_hw[unsized] = upright_sizes_hw([split.images_dir / file_names[image] for image in unsized.tolist()])
    logger.info(
        "%s: %s, in %s", split.annotations_path, content.description, "fractions" if in_fractions else "pixels"
    )

    def place(row: CsvRow | BadRow) -> dict[str, Any]:
        file = {"file": file_names[image_of_file[row.file]]} if isinstance(row, CsvRow) else {}
        return file | {"line": row.line}

    return table_of_boxes(
        split,
        file_names=file_names,
        sizes_hw=sizes_hw,
        class_names=names,
        image_of=image_of,
        category_of=np.array([category_of_label[row.label] for row in known], np.int64),
        boxes_xywh=_boxes_xywh(boxes, content, sizes_hw[image_of] if in_fractions else None),
        areas=np.array([row.area for row in known], np.float64),
        is_crowd=np.array([row.is_crowd for row in known], bool),
        locate=lambda annotation: {"line": known[annotation].line},
        extras=Extras(annotation=lambda annotation: _others(known[annotation], content.more)),
        findings=_findings(
            split,
            malformed=[place(row) | {"value": f"{row.text!r:.60}: {row.reason}"} for row in content.bad_rows],
            unknown=[place(row) | {"value": repr(row.label)} for row in boxed if row.label not in category_of_label],
            names=names,
        ),
    )


def _others(row: CsvRow, names: Sequence[str]) -> dict[str, Any]:
    """What other columns say of an object: numbers where they are written as we would, else text.

    What COCO has under the name of a column is not replaced by it.
    """
    values = zip(names, row.more, strict=True)
    return {f"csv_{name}" if name in COCO_KEYS else name: _value(text) for name, text in values if text}


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if str(number) == text and abs(number) < 2**63:  # more is no number in JSON, nor are NaN and infinity
            return number
    return text


def _with_endings(split: Split, files: Sequence[str]) -> list[str]:
    """Names of files; the ending is looked up where a column has only the name before it."""
    if all(os.path.splitext(file)[1].lower() in PICTURE_SUFFIXES for file in files):
        return list(files)
    by_stem = pictures_by_stem(split.images_dir)
    return [by_stem.get(file, file) for file in files]


def _category_of_label(names: Sequence[str], rows: Sequence[CsvRow]) -> dict[str, int]:
    """Classes by what the rows call them: their names, or their numbers in a list of classes that has other names."""
    by_name = {name: category for category, name in enumerate(names)}
    labels = {row.label for row in rows if row.label}
    if labels and all(map(str.isdecimal, labels)) and not labels & by_name.keys():
        return {str(category): category for category in range(len(names))}
    return by_name


def _boxes_xywh(boxes: np.ndarray, content: CsvContent, sizes_hw: np.ndarray | None) -> np.ndarray:
    """Pixels, from numbers as the columns have them; in fractions of pictures of ``sizes_hw`` if that is given."""
    if sizes_hw is not None:
        boxes = boxes * np.tile(np.where(sizes_hw > 0, sizes_hw, 1)[:, ::-1], 2)
    match content.columns.kind:
        case "xyxy":
            return xyxy_to_xywh(boxes)
        case "cxcywh":
            return xyxy_to_xywh(cxcywh_to_xyxy(boxes))
        case _:
            return boxes


def _findings(
    split: Split, *, malformed: Sequence[dict[str, Any]], unknown: Sequence[dict[str, Any]], names: Sequence[str]
) -> list[Finding]:
    return [
        *about_places(
            split,
            "label.malformed",
            "error",
            malformed,
            f"{counted(len(malformed), 'row')} that cannot be read",
            "A row has a picture, a class and a box of four numbers; the box is empty for a picture without objects.",
        ),
        *about_places(
            split,
            "label.unknown_class",
            "error",
            unknown,
            f"{counted(len(unknown), 'object')} of a class that the list of classes lacks",
            f"The list has: {shortlist(names)}. Add the class there, or correct the objects.",
        ),
    ]
