"""COCO, in the layout of Roboflow's exports: ``train/_annotations.coco.json`` among the pictures of ``train/``."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson
from tqdm import tqdm

from hf_detr.data.export.outlines import Movement, moved
from hf_detr.data.export.pictures import PictureWriter
from hf_detr.data.export.sourced import SourcedIndex
from hf_detr.data.parallel import BAR_AFTER_SECONDS
from hf_detr.data.table import Extras

ANNOTATIONS_FILE = "_annotations.coco.json"


def write_coco(folder: Path, splits: Mapping[str, SourcedIndex], pictures: PictureWriter) -> None:
    """Write pictures and annotations of all splits below ``folder``.

    Ids are those of the index, and everything that a COCO source says of pictures, annotations, categories and all of
    them stays as it is. Numbers are written to the last digit, so that they are read back equal.
    """
    for name, index in splits.items():
        pictures.write(index, folder / name)
        with (folder / name / ANNOTATIONS_FILE).open("wb") as file:
            _write_content(file, index)


def _write_content(file: IO[bytes], index: SourcedIndex) -> None:
    """One record a line, none kept: files of millions of boxes are larger than their memory.

    Pictures come first: the name of one near the beginning tells readers where they are.
    """
    file.write(b'{"images": ')
    _write_list(file, (image_record(index, image) for image in range(len(index))))
    file.write(b',\n"annotations": ')
    _write_list(file, _annotation_records(index))
    file.write(b',\n"categories": ')
    _write_list(file, category_records(index))
    for key, value in merged_header(index)[0].items():
        file.write(b",\n" + dumped(key) + b": " + dumped(value))
    file.write(b"}\n")


def _write_list(file: IO[bytes], records: Iterable[dict[str, Any]]) -> None:
    separator = b"[\n"
    for record in records:
        file.write(separator + dumped(record))
        separator = b",\n"
    file.write(b"\n]" if separator == b",\n" else b"[]")


def dumped(value: Any) -> bytes:
    """JSON, numbers to the last digit; NaN and Infinity as Python writes and reads them."""
    text = orjson.dumps(value)
    if b"null" in text:  # which is also what it makes of NaN and Infinity
        return json.dumps(value, ensure_ascii=False).encode()
    return text


def image_record(index: SourcedIndex, image: int) -> dict[str, Any]:
    """A picture as COCO has it."""
    extras = index.image_extras(image)
    record = {"id": index.image_id(image), "file_name": index.file_names[image]}
    height, width = index.sizes_hw[image].tolist()
    if height and (index.is_moved(image) or "width" not in extras or "height" not in extras):
        record |= {"width": width, "height": height}
    return extras | record


def _annotation_records(index: SourcedIndex) -> Iterator[dict[str, Any]]:
    """In the order of their source, which is not always that of the pictures."""
    image_of = np.repeat(np.arange(len(index)), np.diff(index.first))
    order = np.lexsort((index.annotation_rows, index.source_of[image_of]))
    title = f"{index.name}: writing annotations"
    for row in tqdm(order, title, unit=" annotations", delay=BAR_AFTER_SECONDS, disable=None):
        yield annotation_record(index, int(image_of[row]), int(row))


def annotation_record(index: SourcedIndex, image: int, row: int) -> dict[str, Any]:
    """An annotation of a picture as COCO has it."""
    extras = index.annotation_extras(image, row)
    record = {
        "id": int(index.annotation_ids[row]) if index.annotation_ids.dtype != object else index.annotation_ids[row],
        "image_id": index.image_id(image),
        "category_id": index.category_ids[index.class_ids[row]],
    }
    is_moved, is_coco = index.is_moved(image), "bbox" in extras
    if is_moved:
        extras = moved(extras, movement_of(index, image))
    if is_moved or not is_coco:
        record["bbox"] = index.boxes_xywh[row].tolist()
    if not is_coco or (is_moved and "area" in extras):
        record["area"] = float(index.areas[row])
    if not is_coco:
        record["iscrowd"] = int(index.is_crowd[row])
    return extras | record


def movement_of(index: SourcedIndex, image: int) -> Movement:
    """What annotations of a picture went through."""
    drawn_hw, size_hw = index.drawn_hw[image].tolist(), index.sizes_hw[image].tolist()
    return Movement(tuple(drawn_hw), int(index.orientations[image]), tuple(size_hw))


def category_records(index: SourcedIndex) -> list[dict[str, Any]]:
    """Categories as COCO has them.

    They are in the order of the first source where that says nothing, that is where ids are numbers.
    """
    records = [
        (extras or {"supercategory": "none"}) | {"id": category_id, "name": class_name}
        for category_id, class_name, extras in zip(
            index.category_ids, index.class_names, index.category_extras, strict=True
        )
    ]
    if not index.sources or any(isinstance(category_id, str) for category_id in index.category_ids):
        return records
    place_of = {extras.get("name"): place for place, extras in enumerate(index.sources[0].categories)}
    places = [place_of.get(extras.get("name"), len(place_of)) for extras in index.category_extras]
    return [records[number] for number in np.argsort(places, kind="stable")]


def merged_header(index: SourcedIndex) -> tuple[dict[str, Any], list[str]]:
    """What the sources of an index say of all their pictures, as one, and the keys of which not all could be kept.

    Lists, such as ``licenses``, are put together where ids in them stay what they are. Of anything else that differs
    the first counts.
    """
    merged: dict[str, Any] = {}
    differing: list[str] = []
    for source in _used_sources(index):
        for key, value in source.header.items():
            known = merged.setdefault(key, value)
            if known == value:
                continue
            both = _both_lists(known, value)
            if both is None:
                differing.append(key)
            else:
                merged[key] = both
    return merged, list(dict.fromkeys(differing))


def _used_sources(index: SourcedIndex) -> Sequence[Extras]:
    return [index.sources[number] for number in np.unique(index.source_of).tolist()]


def _both_lists(one: Any, other: Any) -> list[Any] | None:
    """The entries of both lists, equal ones once; None where an id would stand for two of them."""
    if not isinstance(one, list) or not isinstance(other, list):
        return None
    both = one + [entry for entry in other if entry not in one]
    ids = [repr(entry["id"]) for entry in both if isinstance(entry, dict) and "id" in entry]
    return both if len(set(ids)) == len(ids) else None
