"""Which pictures of an evaluation to look at, and predictions beside ground truth."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from hf_detr.boxes import area_xyxy, intersection_xyxy
from hf_detr.draw import draw_boxes, image_grid
from hf_detr.evaluation.loop import rename_classes

if TYPE_CHECKING:
    from hf_detr.data.dataset import DetectionDataset
    from hf_detr.data.index import DetectionIndex
    from hf_detr.inference.detector import Detector

# Errors are counted at these confidences while the detections pass by; which one is of interest is known at the end.
_THRESHOLDS = np.arange(0.05, 1.0, 0.05)

_CELL_SIDE = 320  # pixels of a picture in the grid


class ErrorCounts:
    """Misses and false alarms of each picture at an IoU of 0.5, in a few bytes per picture.

    Args:
        index: the ground truth.
    """

    def __init__(self, index: "DetectionIndex"):
        self._index = index
        self._missed = np.full((len(index), len(_THRESHOLDS)), -1, dtype=np.int32)
        self._false = np.zeros_like(self._missed)

    def add(self, image_indices: np.ndarray, detections: np.ndarray) -> None:
        """Count a batch: picture numbers ``(B,)``, negative for unreadable ones, and detections ``(B, Q, 6)``."""
        for image, rows in zip(image_indices.tolist(), detections, strict=True):
            if image >= 0:
                boxes_xyxy, class_ids = self._index.objects(image)
                rows = rows[rows[:, 0] > _THRESHOLDS[0]]
                rows = rows[np.argsort(-rows[:, 0], kind="stable")]
                hits = find_hits(rows[:, 2:], rows[:, 1], boxes_xyxy, class_ids)
                confident = rows[:, :1] > _THRESHOLDS
                self._missed[image] = len(boxes_xyxy) - (confident & hits[:, None]).sum(axis=0)
                self._false[image] = (confident & ~hits[:, None]).sum(axis=0)

    def at(self, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """Misses ``(N,)`` and false alarms ``(N,)`` near this confidence; -1 misses where nothing was counted."""
        nearest = int(np.abs(_THRESHOLDS - threshold).argmin())
        return self._missed[:, nearest], self._false[:, nearest]

    def choose(self, threshold: float, count: int, seed: int = 0) -> tuple[list[int], list[int]]:
        """Pictures to look at: the ``count // 2`` with most errors, and as many as fill up ``count`` at random."""
        missed, false = self.at(threshold)
        counted = np.flatnonzero(missed >= 0)
        order = counted[np.argsort(-(missed + false)[counted], kind="stable")]
        worst = order[: count // 2][(missed + false)[order[: count // 2]] > 0]
        others = np.setdiff1d(counted, worst)
        random = np.random.default_rng(seed).permutation(others)[: count - len(worst)]
        return sorted(random.tolist()), worst.tolist()


def find_hits(
    boxes_xyxy: np.ndarray, class_ids: np.ndarray, true_boxes_xyxy: np.ndarray, true_class_ids: np.ndarray
) -> np.ndarray:
    """Which detections ``(n,)``, best first, find an object of their class that none before them has found (IoU 0.5).

    The matching of COCO's evaluation, without its crowds.
    """
    hits = np.zeros(len(boxes_xyxy), dtype=bool)
    if len(true_boxes_xyxy) == 0:
        return hits
    shared = intersection_xyxy(boxes_xyxy[:, None], true_boxes_xyxy[None])
    union = area_xyxy(boxes_xyxy)[:, None] + area_xyxy(true_boxes_xyxy)[None] - shared
    iou = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    iou[class_ids[:, None] != true_class_ids[None]] = 0
    for detection in range(len(iou)):
        best = int(iou[detection].argmax())
        if iou[detection, best] >= 0.5:
            hits[detection] = True
            iou[:, best] = 0
    return hits


def comparison_grid(
    detector: "Detector",
    dataset: "DetectionDataset",
    errors: ErrorCounts,
    threshold: float,
    *,
    class_of: np.ndarray | None = None,
    count: int = 12,
    seed: int = 0,
) -> Image.Image:
    """Ground truth and, to the right of it, predictions; first pictures chosen at random, then those gone most wrong.

    Args:
        detector: the one that was evaluated.
        dataset: the evaluated split.
        errors: counted while it was evaluated.
        threshold: predictions above this confidence are drawn.
        class_of: see `hf_detr.evaluation.loop.evaluate_detector`.
        count: how many pictures.
        seed: of the random choice.
    """
    names = dataset.index.class_names
    panels, titles = [], []
    at_random, worst = errors.choose(threshold, count, seed)
    for image, why in [*((image, "at random") for image in at_random), *((image, "most errors") for image in worst)]:
        picture = dataset[image]["image"]
        found = detector.detect_picture(picture)
        rows = found if class_of is None else rename_classes(found, class_of)
        rows = rows[rows[:, 0] > threshold]
        boxes_xyxy, class_ids = dataset.index.objects(image)
        hits = int(find_hits(rows[:, 2:], rows[:, 1], boxes_xyxy, class_ids).sum())
        labels = [f"{names[int(class_id)]} {score:.2f}" for score, class_id in rows[:, :2]]
        true_labels = [names[class_id] for class_id in class_ids]
        panels.append(draw_boxes(picture, boxes_xyxy, true_labels, class_ids, longer_side=_CELL_SIDE))
        panels.append(draw_boxes(picture, rows[:, 2:], labels, rows[:, 1].astype(np.int64), longer_side=_CELL_SIDE))
        titles.append(f"truth: {len(class_ids)}, {Path(dataset.index.file_names[image]).name}, {why}")
        titles.append(f"above {threshold:.2f}: {hits} found, {len(class_ids) - hits} missed, {len(rows) - hits} false")
    return image_grid(panels, columns=4, titles=titles, cell_side=_CELL_SIDE)
