"""Random evaluation problems, and the same problem the way pycocotools wants it."""

import contextlib
import io
from pathlib import Path

import numpy as np

from hf_detr.boxes import xywh_to_xyxy, xyxy_to_xywh
from hf_detr.data.index import DetectionIndex, PackedStrings

STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def make_index(images: list[list[dict]], num_classes: int) -> DetectionIndex:
    """An index of hand-written objects: dicts of ``bbox`` (xywh), ``class_id``, and maybe ``area`` and ``crowd``."""
    objects = [item for objects in images for item in objects]
    boxes_xywh = np.array([item["bbox"] for item in objects], dtype=np.float64).reshape(-1, 4)
    return DetectionIndex(
        name="valid",
        images_dir=Path("pictures"),
        annotations_path=Path("valid.json"),
        file_names=PackedStrings(f"{i}.png" for i in range(len(images))),
        image_ids=(np.arange(len(images)) * 7 + 3) % 53,  # unsorted
        sizes_hw=np.full((len(images), 2), 400, dtype=np.int32),
        first=np.cumsum([0, *map(len, images)]),
        boxes_xywh=boxes_xywh,
        class_ids=np.array([item["class_id"] for item in objects], dtype=np.int32),
        areas=np.array(
            [item.get("area", box[2] * box[3]) for item, box in zip(objects, boxes_xywh, strict=True)],
            dtype=np.float64,
        ),
        is_crowd=np.array([item.get("crowd", False) for item in objects], dtype=bool),
        category_ids=tuple(90 - 3 * class_id for class_id in range(num_classes)),  # sparse and descending
        class_names=tuple(f"class {class_id}" for class_id in range(num_classes)),
    )


def random_problem(
    seed: int, *, images: int = 12, num_classes: int = 4, most_objects: int = 12, queries: int = 60
) -> tuple[DetectionIndex, np.ndarray]:
    """Ground truth and ``(images, queries, 6)`` detections of middling quality.

    With crowds, objects of all areas, areas that are not the box's, empty pictures, padding, tied scores, and one
    class without objects.
    """
    rng = np.random.default_rng(seed)
    truth, detections = [], np.full((images, queries, 6), -1.0, dtype=np.float32)
    for image in range(images):
        count = rng.integers(0, most_objects + 1)
        corners = rng.uniform(0, 300, (count, 2))
        sides = np.exp(rng.uniform(np.log(4), np.log(300), (count, 2)))
        classes = rng.integers(0, num_classes - 1, count)
        truth.append(
            [
                {
                    "bbox": [*corner, *side],
                    "class_id": class_id,
                    "area": side.prod() * rng.choice([1.0, 0.6]),
                    "crowd": rng.random() < 0.1,
                }
                for corner, side, class_id in zip(corners, sides, classes, strict=True)
            ]
        )
        found = rng.integers(0, queries + 1)
        if count == 0:
            boxes_xywh, labels = rng.uniform(1, 200, (found, 4)), rng.integers(0, num_classes, found)
        else:
            copied = rng.integers(0, count, found)
            boxes_xywh = np.hstack([corners, sides])[copied] * rng.uniform(0.8, 1.25, (found, 4))
            labels = np.where(rng.random(found) < 0.8, classes[copied], rng.integers(0, num_classes, found))
        detections[image, :found, 0] = rng.integers(0, 40, found) / 40
        detections[image, :found, 1] = labels
        detections[image, :found, 2:] = xywh_to_xyxy(boxes_xywh)
    return make_index(truth, num_classes), detections


def as_coco_json(index: DetectionIndex) -> dict:
    """The annotation file this index could have been read from."""
    image_of = np.repeat(np.arange(len(index)), np.diff(index.first))
    return {
        "images": [{"id": index.image_id(i), "file_name": index.file_names[i]} for i in range(len(index))],
        "categories": [
            {"id": id_, "name": name} for id_, name in zip(index.category_ids, index.class_names, strict=True)
        ],
        "annotations": [
            {
                "id": row + 1,
                "image_id": index.image_id(image_of[row]),
                "category_id": index.category_ids[index.class_ids[row]],
                "bbox": index.boxes_xywh[row].tolist(),
                "area": float(index.areas[row]),
                "iscrowd": int(index.is_crowd[row]),
            }
            for row in range(len(index.class_ids))
        ],
    }


def pycocotools_stats(coco_json: dict, results: list[dict], max_detections: int = 100) -> dict[str, float]:
    """The twelve numbers as pycocotools itself computes and prints them."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = coco_json
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.params.maxDets = [1, 10, max_detections]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(STATS, evaluation.stats.tolist(), strict=True))


def as_coco_results(index: DetectionIndex, detections: np.ndarray) -> list[dict]:
    """``(images, queries, 6)`` detections as a COCO results list."""
    return [
        {
            "image_id": index.image_id(image),
            "category_id": index.category_ids[int(row[1])],
            "bbox": xyxy_to_xywh(row[2:]).tolist(),
            "score": float(row[0]),
        }
        for image, rows in enumerate(detections.astype(np.float64))
        for row in rows
        if row[0] >= 0
    ]
