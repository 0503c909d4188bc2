"""Ways to spoil a data set, and what the doctor says of each way to spoil its annotations."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

NAN, INFINITY = float("nan"), float("inf")


def first(content: dict[str, Any], **values: Any) -> None:
    """Change the first annotation."""
    content["annotations"][0].update(values)


def drop(content: dict[str, Any], key: str) -> None:
    del content["annotations"][0][key]


def only_outline(content: dict[str, Any]) -> None:
    drop(content, "bbox")
    first(content, segmentation=[[1, 1, 5, 1, 5, 5]])


def spoilt(path: Path, data: bytes | Callable[[bytes], bytes]) -> None:
    """Change the bytes of a file."""
    path.write_bytes(data if isinstance(data, bytes) else data(path.read_bytes()))


def text_image_ids(content: dict[str, Any]) -> None:
    for row in content["annotations"]:
        row["image_id"] = str(row["image_id"])


def empty_training(content: dict[str, Any]) -> None:
    content["annotations"] = []


def only_crowds(content: dict[str, Any]) -> None:
    for row in content["annotations"]:
        row["iscrowd"] = 1


def as_corners(content: dict[str, Any]) -> None:
    for row in content["annotations"]:
        x, y, w, h = row["bbox"]
        row["bbox"] = [x, y, x + w, y + h]
    content["annotations"] += [
        {"id": 900 + k, "image_id": 1, "category_id": 1, "bbox": [60 + k, 50 + k, 120, 90]} for k in range(30)
    ]


def as_fractions(content: dict[str, Any]) -> None:
    for row in content["annotations"]:
        row["bbox"] = [value / 128 for value in row["bbox"]]


def supercategory(content: dict[str, Any]) -> None:
    content["categories"].insert(0, {"id": 0, "name": "shapes", "supercategory": "none"})
    for row in content["categories"][1:]:
        row["supercategory"] = "shapes"


# trouble -> finding, severity, what its first example says
TROUBLES: dict[str, tuple[Callable[[dict], Any], str, str, dict[str, Any]]] = {
    "unknown category": (
        lambda c: first(c, category_id=77),
        "annotation.unknown_category",
        "error",
        {"image_id": 1, "annotation_id": 1, "file": "0000.jpg", "value": "category_id 77"},
    ),
    "category of no type": (
        lambda c: first(c, category_id=[1]),
        "annotation.unknown_category",
        "error",
        {"value": "category_id [1]"},
    ),
    "true is not category 1": (
        lambda c: first(c, category_id=True),
        "annotation.unknown_category",
        "error",
        {"value": "category_id True"},
    ),
    "unknown image": (
        lambda c: first(c, image_id=99),
        "annotation.unknown_image",
        "error",
        {"image_id": 99, "annotation_id": 1},
    ),
    "no image": (lambda c: drop(c, "image_id"), "annotation.unknown_image", "error", {"image_id": None}),
    "annotation that is no object": (
        lambda c: c["annotations"].append(7),
        "annotation.unknown_image",
        "error",
        {"image_id": None},
    ),
    "ids of another type": (text_image_ids, "annotation.unknown_image", "error", {"image_id": "1"}),
    "no box": (lambda c: drop(c, "bbox"), "box.missing", "error", {"annotation_id": 1}),
    "outline without box": (only_outline, "box.only_segmentation", "error", {"annotation_id": 1}),
    "box of three": (lambda c: first(c, bbox=[1, 2, 3]), "box.malformed", "error", {"value": "[1, 2, 3]"}),
    "box of text": (lambda c: first(c, bbox=["1", 2, 3, 4]), "box.malformed", "error", {"annotation_id": 1}),
    "box null": (lambda c: first(c, bbox=None), "box.malformed", "error", {"value": "None"}),
    "box NaN": (lambda c: first(c, bbox=[1, 2, NAN, 4]), "box.not_finite", "error", {"annotation_id": 1}),
    "box astronomic": (lambda c: first(c, bbox=[1, 2, 1e308, 1e308]), "box.not_finite", "error", {"annotation_id": 1}),
    "box infinite": (lambda c: first(c, bbox=[1, 2, 3, INFINITY]), "box.not_finite", "error", {"annotation_id": 1}),
    "width 0": (lambda c: first(c, bbox=[5, 6, 0, 7]), "box.degenerate", "warning", {"value": "[5, 6, 0, 7]"}),
    "negative": (lambda c: first(c, bbox=[5, 6, 7, -8]), "box.degenerate", "warning", {"value": "[5, 6, 7, -8]"}),
    "sticks out": (
        lambda c: first(c, bbox=[100, 10, 50, 20]),
        "box.outside",
        "warning",
        {"value": "[100, 10, 50, 20] in a picture of 128 x 96"},
    ),
    "left of the picture": (lambda c: first(c, bbox=[-9, 1, 20, 9]), "box.outside", "warning", {"annotation_id": 1}),
    "beyond": (lambda c: first(c, bbox=[128, 10, 5, 5]), "box.fully_outside", "warning", {"annotation_id": 1}),
    "thin": (
        lambda c: first(c, bbox=[5, 6, 1.5, 20]),
        "box.tiny",
        "warning",
        {"value": "1.5 x 20 px, 0.75 px after resizing"},
    ),
    "corners": (as_corners, "box.corners", "error", {"annotation_id": 1}),
    "fractions": (as_fractions, "box.normalised", "error", {"annotation_id": 1}),
    "box twice": (
        lambda c: c["annotations"].append(c["annotations"][0] | {"id": 500}),
        "box.duplicate",
        "warning",
        {"annotation_id": 500},
    ),
    "annotation id twice": (
        lambda c: c["annotations"][1].update(id=1),
        "annotation.duplicate_id",
        "warning",
        {"annotation_id": 1},
    ),
    "strange crowd": (
        lambda c: first(c, iscrowd="0"),
        "annotation.bad_iscrowd",
        "warning",
        {"value": "iscrowd '0'"},
    ),
    "strange area": (lambda c: first(c, area="big"), "annotation.bad_area", "warning", {"value": "area 'big'"}),
    "image without id": (lambda c: c["images"][7].pop("id"), "image.malformed", "error", {"image_id": "#7"}),
    "image without file": (lambda c: c["images"][7].pop("file_name"), "image.malformed", "error", {"image_id": 8}),
    "image of strange file": (
        lambda c: c["images"][7].update(file_name=3),
        "image.malformed",
        "error",
        {"image_id": 8},
    ),
    "image that is no object": (lambda c: c["images"].append("x.jpg"), "image.malformed", "error", {"image_id": "#8"}),
    "image id twice": (lambda c: c["images"][7].update(id=1), "image.duplicate_id", "error", {"file": "0007.jpg"}),
    "mixed ids": (lambda c: c["images"][7].update(id="8"), "image.mixed_ids", "error", {"image_id": "8"}),
    "file twice": (
        lambda c: c["images"].append(c["images"][0] | {"id": 70}),
        "image.duplicate_file",
        "warning",
        {"image_id": 70, "file": "0000.jpg"},
    ),
    "no size": (lambda c: c["images"][0].pop("width"), "image.no_size", "info", {"image_id": 1}),
    "category without name": (lambda c: c["categories"][0].pop("name"), "category.malformed", "error", {}),
    "category that is no object": (lambda c: c["categories"].append("x"), "category.malformed", "error", {}),
    "category id twice": (
        lambda c: c["categories"].append({"id": 1, "name": "pink"}),
        "category.duplicate_id",
        "error",
        {"value": "id 1: red, pink"},
    ),
    "category name twice": (
        lambda c: c["categories"].append({"id": 9, "name": "red"}),
        "category.duplicate_name",
        "warning",
        {"value": "'red': ids 1, 9"},
    ),
    "no categories": (lambda c: c["categories"].clear(), "category.none", "error", {}),
    "empty class": (
        lambda c: c["categories"].append({"id": 9, "name": "pink"}),
        "category.empty",
        "warning",
        {"value": "pink (id 9)"},
    ),
    "supercategory row": (supercategory, "category.supercategory_row", "warning", {"value": "shapes (id 0)"}),
    "no objects": (empty_training, "split.no_objects", "error", {}),
    "only crowds": (only_crowds, "split.no_objects", "error", {}),
    "no images": (lambda c: c.update(images=[], annotations=[]), "split.no_images", "error", {}),
    "image without objects": (
        lambda c: c["annotations"].__setitem__(slice(None), [a for a in c["annotations"] if a["image_id"] != 3]),
        "image.no_objects",
        "info",
        {"image_id": 3, "file": "0002.jpg"},
    ),
}


IMPOSSIBLE = [
    name
    for name, (_, check, severity, _) in TROUBLES.items()
    if severity == "error" and check.startswith("annotation")
]
IMPOSSIBLE += ["no box", "outline without box", "box NaN", "box of three", "image without id", "image id twice"]
IMPOSSIBLE += ["mixed ids", "category without name", "category id twice", "no categories"]
