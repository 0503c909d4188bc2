"""The data sets of `make_coco` as Hugging Face data sets, in the many ways people write them."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features, List, Value
from datasets import Image as ImageFeature
from PIL import Image

from hf_detr.boxes import xywh_to_xyxy, xyxy_to_cxcywh
from hf_detr.data.coco_file import read_coco_json
from tests.synthetic import annotation_file, images_folder

CLASS_NAMES = ("red", "green", "blue")


def written_boxes(
    boxes_xywh: Sequence[Sequence[float]], box_format: str, size_hw: tuple[int, int]
) -> list[list[float]]:
    """Boxes in pixels, xywh, written in another format."""
    boxes = np.asarray(boxes_xywh, np.float64).reshape(-1, 4)
    match box_format.removesuffix("_norm"):
        case "xyxy":
            boxes = xywh_to_xyxy(boxes)
        case "cxcywh":
            boxes = xyxy_to_cxcywh(xywh_to_xyxy(boxes))
    if box_format.endswith("_norm"):
        boxes = boxes / (*size_hw[::-1], *size_hw[::-1])
    return boxes.tolist()


def coco_rows(
    folder: Path,
    split: str = "train",
    *,
    box_format: str = "xywh",
    categories: str = "label",
    objects_as: str = "dict",
    with_sizes: bool = True,
) -> Dataset:
    """A split of `make_coco` with its pictures inside, a row each.

    Args:
        folder: what `make_coco` made, in the layout "roboflow".
        split: among those that are there.
        box_format: one of `BOX_FORMATS`.
        categories: "label" (a `ClassLabel`), "names" or "numbers" (the ids in the file, without names).
        objects_as: "dict" of lists, "list" of dicts; pictures without objects have None in their place.
        with_sizes: write the columns width and height.
    """
    content = read_coco_json(annotation_file(folder, split))
    name_of = {category["id"]: category["name"] for category in content["categories"]}
    rows = []
    for image in content["images"]:
        found = [row for row in content["annotations"] if row["image_id"] == image["id"]]
        size_hw = image["height"], image["width"]
        objects = {
            "bbox": written_boxes([row["bbox"] for row in found], box_format, size_hw),
            "category": [
                row["category_id"] if categories == "numbers" else name_of[row["category_id"]] for row in found
            ],
            "area": [row["area"] for row in found],
            "iscrowd": [row["iscrowd"] for row in found],
        }
        if objects_as == "list":
            objects = [dict(zip(objects, values, strict=True)) for values in zip(*objects.values(), strict=True)]
        picture = {
            "bytes": (images_folder(folder, split) / image["file_name"]).read_bytes(),
            "path": image["file_name"],
        }
        row = {"image": picture, "image_id": image["id"], "objects": objects if found else None}
        rows.append(row | ({"width": image["width"], "height": image["height"]} if with_sizes else {}))
    return Dataset.from_list(rows, features=_features(rows, categories, objects_as, with_sizes))


def _features(rows: list[dict[str, Any]], categories: str, objects_as: str, with_sizes: bool) -> Features:
    kinds = {"label": ClassLabel(names=list(CLASS_NAMES)), "names": Value("string"), "numbers": Value("int64")}
    fields = {
        "bbox": List(Value("float64"), length=4),
        "category": kinds[categories],
        "area": Value("float64"),
        "iscrowd": Value("bool"),
    }
    objects = List(fields) if objects_as == "list" else {name: List(kind) for name, kind in fields.items()}
    sizes = {"width": Value("int32"), "height": Value("int32")} if with_sizes else {}
    image_id = Value("string" if isinstance(rows[0]["image_id"], str) else "int64")
    return Features({"image": ImageFeature(), "image_id": image_id, "objects": objects, **sizes})


def write_imagefolder(folder: Path, split: str = "train", *, metadata: str = "jsonl") -> None:
    """Put a ``metadata.jsonl`` or ``metadata.csv`` beside the pictures of `make_coco`, in place of its COCO file."""
    pictures = images_folder(folder, split)
    rows = coco_rows(folder, split, categories="names")
    annotation_file(folder, split).unlink()
    records = [
        {"file_name": row["image"]["path"], "objects": row["objects"]}
        for row in rows.cast_column("image", ImageFeature(decode=False))
    ]
    if metadata == "jsonl":
        (pictures / "metadata.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        return
    lines = ["file_name,objects"]
    for record in records:
        text = json.dumps(record["objects"]).replace('"', '""') if record["objects"] else ""
        lines.append(f'{record["file_name"]},"{text}"')
    (pictures / "metadata.csv").write_text("\n".join(lines) + "\n")


def write_parquet(dataset: Dataset, path: Path, *, rows_per_group: int = 3) -> None:
    """One Parquet file with its pictures inside."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.to_parquet(path, batch_size=rows_per_group)


def png(colour: tuple[int, int, int] = (0, 0, 0), size_wh: tuple[int, int] = (40, 30)) -> bytes:
    """A picture of one colour as the content of a file."""
    buffer = io.BytesIO()
    Image.new("RGB", size_wh, colour).save(buffer, "PNG")
    return buffer.getvalue()
