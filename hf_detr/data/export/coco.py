"""COCO, in the layout of Roboflow's exports: ``train/_annotations.coco.json`` among the pictures of ``train/``."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import orjson

from hf_detr.data.export.pictures import PictureWriter
from hf_detr.data.index import DetectionIndex

ANNOTATIONS_FILE = "_annotations.coco.json"


def write_coco(folder: Path, splits: Mapping[str, DetectionIndex], pictures: PictureWriter) -> None:
    """Write pictures and annotations of all splits below ``folder``.

    Ids of images and categories are those of the index, annotations are numbered from 1. Numbers are written to the
    last digit, so that they are read back equal.
    """
    for name, index in splits.items():
        pictures.write(index, folder / name)
        with (folder / name / ANNOTATIONS_FILE).open("wb") as file:
            _write_content(file, index)


def _write_content(file: IO[bytes], index: DetectionIndex) -> None:
    """One record a line, none kept: files of millions of boxes are larger than their memory."""
    categories = [
        {"id": category_id, "name": class_name, "supercategory": "none"}
        for category_id, class_name in zip(index.category_ids, index.class_names, strict=True)
    ]
    file.write(b'{"categories": ')
    _write_list(file, categories)
    file.write(b',\n"images": ')
    _write_list(file, _image_records(index))
    file.write(b',\n"annotations": ')
    _write_list(file, _annotation_records(index))
    file.write(b"}\n")


def _write_list(file: IO[bytes], records: Iterable[dict[str, Any]]) -> None:
    separator = b"[\n"
    for record in records:
        file.write(separator + orjson.dumps(record))
        separator = b",\n"
    file.write(b"\n]" if separator == b",\n" else b"[]")


def _image_records(index: DetectionIndex) -> Iterator[dict[str, Any]]:
    for image, (height, width) in enumerate(index.sizes_hw.tolist()):
        size = {"width": width, "height": height} if height else {}
        yield {"id": index.image_id(image), "file_name": index.file_names[image], **size}


def _annotation_records(index: DetectionIndex) -> Iterator[dict[str, Any]]:
    number = 0
    for image in range(len(index)):
        rows = slice(index.first[image], index.first[image + 1])
        columns = (index.class_ids[rows], index.boxes_xywh[rows], index.areas[rows], index.is_crowd[rows])
        for class_id, box_xywh, area, is_crowd in zip(*(column.tolist() for column in columns), strict=True):
            number += 1
            yield {
                "id": number,
                "image_id": index.image_id(image),
                "category_id": index.category_ids[class_id],
                "bbox": box_xywh,
                "area": area,
                "iscrowd": int(is_crowd),
            }
