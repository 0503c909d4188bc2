"""A Pascal VOC split as columns. Objects marked as difficult become crowds, which evaluation ignores as VOC's does."""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hf_detr.boxes import xyxy_to_xywh
from hf_detr.data.findings import Finding, counted, shortlist
from hf_detr.data.folders import pictures_by_stem
from hf_detr.data.parallel import for_each_file
from hf_detr.data.row_findings import about_places
from hf_detr.data.table import AnnotationTable, Extras, Split, table_of_boxes
from hf_detr.data.voc_layouts import annotation_files
from hf_detr.data.voc_xml import VocAnnotation, extras_of, parse_annotation


def read_voc_table(split: Split) -> AnnotationTable:
    """Read the XML files of a split into columns. Its pictures are those that have one.

    Raises:
        DatasetError: a list of pictures that cannot be read.
    """
    files = annotation_files(split)
    read = for_each_file(_read, [path for path, _ in files], title=f"reading annotations of {split.name}")
    annotations = [one if isinstance(one, VocAnnotation) else VocAnnotation("", (0, 0), [], []) for one in read]
    pictures = pictures_by_stem(split.images_dir)
    file_names = [
        _picture_name(pictures, stem, annotation) for (_, stem), annotation in zip(files, annotations, strict=True)
    ]
    names = split.class_names or tuple(sorted({found.name for one in annotations for found in one.objects}))
    category_of_name = {name: category for category, name in enumerate(names)}
    placed = [(image, found) for image, one in enumerate(annotations) for found in one.objects]
    known = [(image, found) for image, found in placed if found.name in category_of_name]
    unknown = [(image, found) for image, found in placed if found.name not in category_of_name]
    boxes_xyxy = np.array([found.box_xyxy for _, found in known], np.float64).reshape(-1, 4)

    def place(image: int, number: int | None = None) -> dict[str, Any]:
        labels = Path(os.path.relpath(files[image][0], split.annotations_path)).as_posix()
        return {"file": file_names[image], "labels": labels} | ({} if number is None else {"object": number})

    return table_of_boxes(
        split,
        file_names=file_names,
        sizes_hw=np.array([one.size_hw for one in annotations], np.int32).reshape(-1, 2),
        class_names=names,
        image_of=np.array([image for image, _ in known], np.int64),
        category_of=np.array([category_of_name[found.name] for _, found in known], np.int64),
        boxes_xywh=xyxy_to_xywh(boxes_xyxy),
        is_crowd=np.array([found.is_difficult for _, found in known], bool),
        locate=lambda annotation: place(known[annotation][0], known[annotation][1].number),
        extras=_extras([path for path, _ in files], [(image, found.number) for image, found in known]),
        findings=_findings(
            split,
            unreadable=[place(image) | {"value": one} for image, one in enumerate(read) if isinstance(one, str)],
            malformed=[
                place(image, bad.number) | {"value": bad.reason}
                for image, one in enumerate(annotations)
                for bad in one.bad_objects
            ],
            unknown=[place(image, found.number) | {"value": repr(found.name)} for image, found in unknown],
            names=names,
        ),
    )


def _extras(paths: Sequence[Path], objects: Sequence[tuple[int, int]]) -> Extras:
    """What the files say beyond boxes, read again when it is asked for, picture by picture."""

    @lru_cache(maxsize=1)
    def of_file(image: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        return extras_of(paths[image].read_bytes())

    def of_object(annotation: int) -> dict[str, Any]:
        image, number = objects[annotation]
        return of_file(image)[1][number - 1]

    return Extras(image=lambda image: of_file(image)[0], annotation=of_object)


def _read(path: Path) -> VocAnnotation | str:
    """The content of a file, or why it cannot be read."""
    try:
        return parse_annotation(path.read_bytes())
    except FileNotFoundError:
        return "there is no such file"
    except OSError as error:
        return str(error.strerror)
    except ValueError as error:
        return str(error)


def _picture_name(pictures: dict[str, str], stem: str, annotation: VocAnnotation) -> str:
    """The picture named like the XML file; where there is none, the one that it names itself."""
    if stem in pictures:
        return pictures[stem]
    own = os.path.basename(annotation.file_name.replace("\\", "/"))
    return (Path(stem).parent / own).as_posix() if own else f"{stem}.jpg"


def _findings(
    split: Split,
    *,
    unreadable: Sequence[dict[str, Any]],
    malformed: Sequence[dict[str, Any]],
    unknown: Sequence[dict[str, Any]],
    names: Sequence[str],
) -> list[Finding]:
    return [
        *about_places(
            split,
            "label.unreadable",
            "error",
            unreadable,
            f"{counted(len(unreadable), 'annotation file')} that cannot be read",
            "Export them again, or remove them together with their pictures.",
        ),
        *about_places(
            split,
            "label.malformed",
            "error",
            malformed,
            f"{counted(len(malformed), 'object')} that cannot be read",
            "An object needs a <name> and a <bndbox> with <xmin>, <ymin>, <xmax> and <ymax> in pixels.",
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
