"""Pascal VOC: ``Annotations/0001.xml``, ``JPEGImages/0001.jpg`` and the splits in ``ImageSets/Main/train.txt``."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from hf_detr.boxes import xywh_to_xyxy
from hf_detr.data.export.pictures import PictureWriter
from hf_detr.data.export.sourced import SourcedIndex
from hf_detr.data.export.yolo import FOLDER_OF

CLASSES_FILE = "label_list.txt"
IMAGE_TAGS = ("source", "owner", "segmented")
OBJECT_TAGS = ("pose", "truncated", "occluded", "part", "actions", "point")


def write_voc(folder: Path, splits: Mapping[str, SourcedIndex], pictures: PictureWriter) -> None:
    """Write pictures, XML files, lists of the splits, and the classes in order, one a line in ``label_list.txt``.

    VOC counts pixels from 1, the last one included: `xmin` and `ymin` are one more than the left and upper edge.
    Fractions of pixels are kept, to 12 digits. Crowds become difficult objects: VOC's evaluation leaves those out, as
    COCO's does with crowds. What the source calls like one of VOC's tags is written as that, see `IMAGE_TAGS` and
    `OBJECT_TAGS`.
    """
    (folder / "Annotations").mkdir()
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    for name, index in splits.items():
        pictures.write(index, folder / "JPEGImages")
        stems = [PurePosixPath(index.file_names[image]).stem for image in range(len(index))]
        for image, stem in enumerate(stems):
            root = _annotation(index, image)
            ElementTree.indent(root)
            ElementTree.ElementTree(root).write(folder / "Annotations" / f"{stem}.xml", encoding="utf-8")
        listed = folder / "ImageSets" / "Main" / f"{FOLDER_OF.get(name, name)}.txt"
        listed.write_text("".join(f"{stem}\n" for stem in stems), encoding="utf-8")
    class_names = next(iter(splits.values())).class_names
    (folder / CLASSES_FILE).write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")


def _annotation(index: SourcedIndex, image: int) -> ElementTree.Element:
    height, width = index.sizes_hw[image].tolist()
    root = ElementTree.Element("annotation")
    _add(root, {"folder": "JPEGImages", "filename": index.file_names[image]})
    _add(root, _known(index.image_extras(image), IMAGE_TAGS))
    _add(ElementTree.SubElement(root, "size"), {"width": width, "height": height, "depth": 3})
    for row in range(index.first[image], index.first[image + 1]):
        left, top, right, bottom = xywh_to_xyxy(index.boxes_xywh[row]).tolist()
        found = ElementTree.SubElement(root, "object")
        tags = {"truncated": 0} | _known(index.annotation_extras(image, row), OBJECT_TAGS)
        _add(found, {"name": index.class_names[index.class_ids[row]]} | tags | {"difficult": int(index.is_crowd[row])})
        corners = {"xmin": left + 1, "ymin": top + 1, "xmax": right, "ymax": bottom}
        _add(ElementTree.SubElement(found, "bndbox"), {side: f"{value:.12g}" for side, value in corners.items()})
    return root


def _known(extras: Mapping[str, Any], tags: Sequence[str]) -> dict[str, Any]:
    """Those of VOC's tags that a source has something for."""
    return {tag: extras[tag] for tag in tags if extras.get(tag) is not None}


def _add(parent: ElementTree.Element, values: Mapping[str, Any]) -> None:
    for tag, value in values.items():
        for one in value if isinstance(value, list) else [value]:
            element = ElementTree.SubElement(parent, tag)
            if isinstance(one, dict):
                _add(element, one)
            else:
                element.text = str(int(one) if isinstance(one, bool) else one)
