"""The formats that data can be converted to, what each can hold, and what is lost on the way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hf_detr.data.export.coco import write_coco
from hf_detr.data.export.csv import write_csv
from hf_detr.data.export.hub import write_hub
from hf_detr.data.export.pictures import PictureWriter
from hf_detr.data.export.voc import write_voc
from hf_detr.data.export.yolo import count_refused, write_yolo
from hf_detr.data.findings import counted
from hf_detr.data.index import DetectionIndex

Writer = Callable[[Path, Mapping[str, DetectionIndex], PictureWriter], None]


@dataclass(frozen=True)
class TargetFormat:
    """A format to write.

    Attributes:
        title: what messages call it.
        write: puts pictures and annotations of all splits below a folder.
        flat_names: it has no folders of pictures within a split, and no spaces in names.
        names_by_stem: it knows pictures by their names without ending.
        shared_names: the pictures of all splits are in one folder.
        upright: it does not say which size a box was drawn on, so boxes must be those of the upright pictures.
        sizes: it has a size for each picture.
        image_ids, category_ids, areas, crowds: whether it holds them.
    """

    title: str
    write: Writer
    flat_names: bool = False
    names_by_stem: bool = False
    shared_names: bool = False
    upright: bool = False
    sizes: bool = True
    image_ids: bool = False
    category_ids: bool = False
    areas: bool = False
    crowds: bool = False


FORMATS = {
    "coco": TargetFormat("COCO", write_coco, sizes=False, image_ids=True, category_ids=True, areas=True, crowds=True),
    "yolo": TargetFormat("YOLO", write_yolo, names_by_stem=True, upright=True),
    "voc": TargetFormat("VOC", write_voc, flat_names=True, names_by_stem=True, shared_names=True, crowds=True),
    "csv": TargetFormat("CSV", write_csv, areas=True, crowds=True),
    "hub": TargetFormat(
        "Hugging Face", write_hub, flat_names=True, upright=True, image_ids=True, areas=True, crowds=True
    ),
}


def losses(to: TargetFormat, splits: Mapping[str, DetectionIndex]) -> list[str]:
    """What the format cannot hold of these pictures and boxes, a sentence each."""
    indices = list(splits.values())
    crowds = sum(int(index.is_crowd.sum()) for index in indices)
    areas = sum(_own_areas(index) for index in indices)
    found = []
    if crowds and not to.crowds:
        found.append(f"{counted(crowds, 'crowd region')} left out: {to.title} has none.")
    if areas and not to.areas:
        found.append(f"The areas of {counted(areas, 'object')} become width times height: {to.title} has no areas.")
    if not to.image_ids and any(isinstance(index.image_ids, np.ndarray) for index in indices):
        found.append(f"Image ids are not kept: {to.title} knows pictures by their file names.")
    category_ids = indices[0].category_ids
    if not to.category_ids and category_ids not in (tuple(range(len(category_ids))), indices[0].class_names):
        found.append(f"Category ids are not kept: {to.title} has classes in order, from 0.")
    if to.write is write_yolo and (refused := sum(map(count_refused, indices))):
        found.append(
            f"{counted(refused, 'picture')} with boxes that stick out so far that Ultralytics drops the picture."
        )
    return found


def _own_areas(index: DetectionIndex) -> int:
    """Objects whose area is not that of their box, such as the area of an outline."""
    of_box = index.boxes_xywh[:, 2] * index.boxes_xywh[:, 3]
    return int((~np.isclose(index.areas, of_box, rtol=1e-6) & ~index.is_crowd).sum())
