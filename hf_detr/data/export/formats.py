"""The formats that data can be converted to, what each can hold, and what is lost on the way."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hf_detr.data.export.coco import merged_header, write_coco
from hf_detr.data.export.csv import column_keys as csv_keys
from hf_detr.data.export.csv import write_csv
from hf_detr.data.export.hub import column_keys, write_hub
from hf_detr.data.export.outlines import MASK, POLYGONS, UNKNOWN
from hf_detr.data.export.pictures import PictureWriter
from hf_detr.data.export.sourced import SourcedIndex
from hf_detr.data.export.survey import Survey, survey
from hf_detr.data.export.voc import IMAGE_TAGS, OBJECT_TAGS, write_voc
from hf_detr.data.export.yolo import count_beyond, write_yolo, write_yolo_outlines
from hf_detr.data.findings import counted, shortlist

Splits = Mapping[str, SourcedIndex]
Writer = Callable[[Path, Splits, PictureWriter], None]


@dataclass(frozen=True)
class TargetFormat:
    """A format to write.

    Attributes:
        title: what messages call it.
        write: puts pictures and annotations of all splits below a folder.
        flat_names: it has no folders of pictures within a split, and no spaces in names.
        names_by_stem: it knows pictures by their names without ending.
        shared_names: the pictures of all splits are in one folder.
        trimmed_classes: names of classes lose the spaces around them.
        upright: it does not say which size a box was drawn on, so boxes must be those of the upright pictures.
        sizes: it has a size for each picture.
        ids, category_ids, areas, crowds, everything: whether it holds ids of pictures and annotations, those of
            categories, areas, crowds, and whatever else COCO may say.
        outlines: which outlines it holds: ``""`` for none, ``"single"`` for those of one polygon, ``"all"``.
        headers: whether it holds what is said of classes and of all pictures.
        image_keys, annotation_keys: what else it holds, of what there is.
    """

    title: str
    write: Writer
    flat_names: bool = False
    names_by_stem: bool = False
    shared_names: bool = False
    trimmed_classes: bool = False
    upright: bool = False
    sizes: bool = True
    ids: bool = False
    category_ids: bool = False
    areas: bool = False
    crowds: bool = False
    everything: bool = False
    outlines: str = ""
    headers: bool = False
    image_keys: Callable[[Survey], Iterable[str]] = lambda found: ()
    annotation_keys: Callable[[Survey], Iterable[str]] = lambda found: ()


FORMATS = {
    "coco": TargetFormat(
        "COCO", write_coco, sizes=False, ids=True, category_ids=True, areas=True, crowds=True, everything=True
    ),
    "yolo": TargetFormat("YOLO", write_yolo, names_by_stem=True, upright=True),
    "yolo-outlines": TargetFormat("YOLO", write_yolo_outlines, names_by_stem=True, upright=True, outlines="single"),
    "voc": TargetFormat(
        "VOC",
        write_voc,
        flat_names=True,
        names_by_stem=True,
        shared_names=True,
        trimmed_classes=True,
        crowds=True,
        image_keys=lambda found: IMAGE_TAGS,
        annotation_keys=lambda found: OBJECT_TAGS,
    ),
    "csv": TargetFormat("CSV", write_csv, trimmed_classes=True, areas=True, crowds=True, annotation_keys=csv_keys),
    "hub": TargetFormat(
        "Hugging Face",
        write_hub,
        flat_names=True,
        upright=True,
        ids=True,
        category_ids=True,
        areas=True,
        crowds=True,
        outlines="all",
        headers=True,
        image_keys=lambda found: column_keys(found)[0],
        annotation_keys=lambda found: column_keys(found)[1],
    ),
}


def losses(to: TargetFormat, splits: Splits) -> list[str]:
    """What the format cannot hold, and what cannot follow pictures that are turned or scaled, a sentence each."""
    is_moved = any(index.drawn_hw.any() for index in splits.values())
    if to.everything and not is_moved:
        return _header_losses(splits)
    found = survey(splits)
    if to.everything:
        return _header_losses(splits) + _movement_losses(found)
    return [
        *_outline_losses(to, found),
        *(_movement_losses(found) if to.outlines == "all" else []),
        *(_header_losses(splits) if to.headers else []),
        *_key_losses(to, splits, found),
        *_column_losses(to, list(splits.values())),
    ]


def _header_losses(splits: Splits) -> list[str]:
    keys = dict.fromkeys(key for index in splits.values() for key in merged_header(index)[1])
    return [f"Of the sources' {', '.join(keys)}, which differ, the first is kept."] if keys else []


def _movement_losses(found: Survey) -> list[str]:
    sentences = []
    if found.moved_masks:
        masks = counted(found.moved_masks, "object")
        sentences.append(f"The masks of {masks} follow their pictures pixel by pixel, by the nearest one.")
    if found.immovable:
        objects = counted(found.immovable, "object")
        sentences.append(f"Outlines or keypoints of {objects} left out: they are none of their picture's size.")
    return sentences


def _outline_losses(to: TargetFormat, found: Survey) -> list[str]:
    polygons, others = found.outlines[POLYGONS], found.outlines[MASK] + found.outlines[UNKNOWN]
    lost = {"": polygons + others, "single": polygons - found.single + others, "all": 0}[to.outlines]
    if not lost:
        return []
    objects = counted(lost, "object")
    if to.outlines == "single":
        return [f"{objects} with masks, or outlines of several parts, written as boxes: a line holds one polygon."]
    way_out = f"; --outlines writes {found.single:,} of them" if to.write is write_yolo and found.single else ""
    return [f"The outlines of {objects} are left out: boxes alone are converted{way_out}."]


def _key_losses(to: TargetFormat, splits: Splits, found: Survey) -> list[str]:
    """One sentence about all that is known beyond boxes, and goes."""
    of_classes = set(found.categories) if to.headers else set()
    kept_keys = (set(to.annotation_keys(found)), set(to.image_keys(found)), of_classes)
    counts = (found.annotations, found.images, found.categories)
    parts = [
        f"{key} of {counted(number, noun)}"
        for noun, of, kept in zip(("object", "picture", "class"), counts, kept_keys, strict=True)
        for key, number in of.items()
        if number and key not in kept
    ]
    if not to.headers:
        parts += Counter(key for index in splits.values() for key, value in merged_header(index)[0].items() if value)
    return [f"Left out, as {to.title} has no place for it: {shortlist(parts, 20)}."] if parts else []


def _column_losses(to: TargetFormat, indices: list[SourcedIndex]) -> list[str]:
    crowds = sum(int(index.is_crowd.sum()) for index in indices)
    areas = sum(_own_areas(index) for index in indices)
    found = []
    if crowds and not to.crowds:
        found.append(f"{counted(crowds, 'crowd region')} left out: {to.title} has none.")
    if areas and not to.areas:
        found.append(f"The areas of {counted(areas, 'object')} become width times height: {to.title} has no areas.")
    if not to.ids and any(isinstance(index.image_ids, np.ndarray) for index in indices):
        found.append(f"Ids of pictures and objects are not kept: {to.title} knows pictures by their file names.")
    category_ids = indices[0].category_ids
    if not to.category_ids and category_ids not in (tuple(range(len(category_ids))), indices[0].class_names):
        found.append(f"Category ids are not kept: {to.title} has classes in order, from 0.")
    if to.names_by_stem and to.upright and (beyond := sum(map(count_beyond, indices))):
        found.append(
            f"{counted(beyond, 'picture')} with boxes that stick out: numbers below 0 or above 1, which YOLO trainers "
            "may refuse."
        )
    return found


def _own_areas(index: SourcedIndex) -> int:
    """Objects whose area is not that of their box, such as the area of an outline."""
    of_box = index.boxes_xywh[:, 2] * index.boxes_xywh[:, 3]
    return int((~np.isclose(index.areas, of_box, rtol=1e-6) & ~index.is_crowd).sum())
