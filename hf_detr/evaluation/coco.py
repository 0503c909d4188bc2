"""The COCO numbers of a detector, equal to pycocotools' to the last digit and per class."""

import contextlib
import io
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hf_detr.boxes import xyxy_to_xywh
from hf_detr.errors import CheckpointError, DatasetError

if TYPE_CHECKING:
    from hf_detr.data.index import DetectionIndex

logger = logging.getLogger(__name__)

EVAL_BACKENDS = ("hotcoco", "pycocotools")

# The axes of the curves, as COCO defines them.
RECALL_LEVELS = np.linspace(0.0, 1.0, 101)
_IOU_50, _IOU_75 = 0, 5  # of 0.50, 0.55, ..., 0.95
_AREAS = {"all": 0, "s": 1, "m": 2, "l": 3}  # up to 32² px, up to 96² px, above

_UNSEEN, _EVALUATED, _UNREADABLE = 0, 1, 2


class Curves(NamedTuple):
    """What COCO's evaluation accumulates, -1 where a class has no object of that area.

    Attributes:
        precision: ``(T, 101, K, A, M)`` highest precision at each recall level or beyond, for each IoU threshold,
            class, area range and limit of detections per image.
        recall: ``(T, K, A, M)`` highest recall.
        scores: ``(T, 101, K, A, M)`` confidence at which each recall level is reached, 0 where it never is.
    """

    precision: np.ndarray
    recall: np.ndarray
    scores: np.ndarray


class CocoEvaluator:
    """Collects detections picture by picture and computes the COCO numbers.

    The ground truth is the split's annotation file as it stands: crowds are honoured, sizes are the file's ``area``.
    A picture handed over twice counts once (samplers repeat pictures to fill the last batch of several processes),
    and one that could not be read is left out, objects and all.

    Args:
        index: annotations of the split.
        max_detections: most detections per image and class that count. Default: COCO's 100, or the number of objects
            in the fullest picture where that is larger; dense scenes could not be found completely otherwise.
        backend: ``"hotcoco"`` matches each batch when it comes and keeps no boxes; ``"pycocotools"`` is the reference
            implementation, which keeps everything and takes 60 to 90 times as long.
    """

    def __init__(self, index: "DetectionIndex", *, max_detections: int | None = None, backend: str = "hotcoco"):
        if max_detections is None:
            max_detections = max(100, int(index.objects_per_image.max(initial=0)))
        if max_detections < 1:
            raise DatasetError(f"max_detections must be 1 or more, got {max_detections}")
        if backend not in EVAL_BACKENDS:
            raise DatasetError(f"The evaluation backend must be one of {', '.join(EVAL_BACKENDS)}, got {backend!r}")
        self.index = index
        self.max_detections = max_detections
        self.backend = backend
        # pycocotools goes through pictures and classes in the order of their ids. That decides between equal scores,
        # and the last digit of a mean: so we count both from 1 in that order.
        self._image_number = _ranks([index.image_id(image) for image in range(len(index))]) + 1
        self._class_number = _ranks(index.category_ids) + 1
        self.reset()

    def reset(self) -> None:
        """Forget all detections, for the next evaluation."""
        matcher_class = _HotcocoMatcher if self.backend == "hotcoco" else _PycocotoolsMatcher
        self._matcher = matcher_class(len(self.index.class_names), self._limits)
        self._state = np.full(len(self.index), _UNSEEN, dtype=np.int8)
        self._result: dict[str, Any] | None = None

    @property
    def _limits(self) -> list[int]:
        """Detections per image that AR1, AR10, AR100 stand for."""
        return sorted({min(limit, self.max_detections) for limit in (1, 10)} | {self.max_detections})

    @property
    def unreadable(self) -> list[int]:
        """Positions of the pictures that could not be read and are left out."""
        return np.flatnonzero(self._state == _UNREADABLE).tolist()

    def update(self, image_indices: Any, detections: Any) -> None:
        """Add a batch.

        Args:
            image_indices: ``(B,)`` integers, positions in the index; ``-1 - i`` says that picture ``i`` is unreadable.
            detections: ``(B, Q, 6)`` score, class id, left, top, right, bottom in pixels of the original picture;
                rows with a negative score are padding.

        Both may be torch tensors or numpy arrays.

        Raises:
            CheckpointError: the model predicts numbers that are not finite, or classes that the data does not have.
        """
        if self._result is not None:
            raise RuntimeError("The numbers of this evaluation are computed; call reset() before the next one.")
        image_indices = np.asarray(to_numpy(image_indices), dtype=np.int64)
        detections = np.asarray(to_numpy(detections), dtype=np.float64)
        if image_indices.ndim != 1 or detections.ndim != 3 or detections.shape[::2] != (len(image_indices), 6):
            raise ValueError(
                f"Expected image_indices (B,) and detections (B, Q, 6), got {image_indices.shape} and "
                f"{detections.shape}"
            )
        images, annotations, rows = [], [], [np.empty((0, 7))]
        for index, found in zip(image_indices.tolist(), detections, strict=True):
            image = index if index >= 0 else -1 - index
            if self._state[image] != _UNSEEN:
                continue
            if index < 0:
                self._state[image] = _UNREADABLE
                continue
            self._state[image] = _EVALUATED
            found = found[~(found[:, 0] < 0)]  # not `>= 0`, which would drop NaN without a word
            self._check(image, found)
            number = int(self._image_number[image])
            images.append({"id": number})
            annotations += self._annotations(image)
            classes = self._class_number[found[:, 1].astype(np.int64)]
            rows.append(
                np.column_stack([np.full(len(found), number), xyxy_to_xywh(found[:, 2:]), found[:, 0], classes])
            )
        if images:
            self._matcher.add(images, annotations, np.concatenate(rows))

    def _check(self, image: int, found: np.ndarray) -> None:
        path = self.index.image_path(image)
        if not np.isfinite(found).all():
            raise CheckpointError(
                f"{path}: the model predicts scores or boxes that are not finite numbers. Its weights are broken, "
                "which happens when training diverges: go back to an earlier checkpoint, lower the learning rate, or "
                "train without fp16."
            )
        known = len(self.index.class_names)
        if len(found) and not (0 <= found[:, 1].min() and found[:, 1].max() < known):
            unknown = found[(found[:, 1] < 0) | (found[:, 1] >= known), 1]
            raise CheckpointError(
                f"{path}: the model predicts class {int(unknown[0])}, but {self.index.annotations_path} has "
                f"{known} classes, 0 to {known - 1}. Model and data do not belong together."
            )

    def _annotations(self, image: int) -> list[dict[str, Any]]:
        """The annotations of one picture under ids of our own.

        They start from 1: pycocotools takes a match with annotation id 0 for no match.
        """
        index = self.index
        return [
            {
                "id": row + 1,
                "image_id": int(self._image_number[image]),
                "category_id": int(self._class_number[index.class_ids[row]]),
                "bbox": index.boxes_xywh[row].tolist(),
                "area": float(index.areas[row]),
                "iscrowd": int(index.is_crowd[row]),
            }
            for row in range(index.first[image], index.first[image + 1])
        ]

    def compute(self) -> dict[str, Any]:
        """The numbers over all pictures seen since the last reset; None where no object could be found.

        Returns:
            ``AP``, ``AP50``, ``AP75``, ``APs``, ``APm``, ``APl``; ``AR1``, ``AR10``, ``AR100`` (named after the limits
            of detections in use, so ``AR300`` with ``max_detections=300``), ``ARs``, ``ARm``, ``ARl``; ``F1`` and
            ``threshold``, see `suggest_threshold`; ``max_detections``, ``images``, ``skipped_images`` (unreadable),
            ``objects``, ``objects_beyond_limit`` (those of a picture and class beyond ``max_detections``: no detector
            could find them); and ``per_class``, a list of ``class``, ``category_id``, ``AP``, ``AP50``, ``AP75``,
            ``AR``, ``F1``, ``threshold``, ``objects``.
        """
        if self._result is None:
            evaluated = self._state == _EVALUATED
            if not evaluated.any():
                raise DatasetError(
                    f"{self.index.annotations_path}: nothing to evaluate, none of the {len(self.index)} pictures of "
                    f"split '{self.index.name}' could be read."
                )
            if (self._state == _UNSEEN).any():
                logger.warning(
                    "Split '%s' has %d pictures that were not evaluated; the numbers are those of the other %d.",
                    self.index.name,
                    (self._state == _UNSEEN).sum(),
                    evaluated.sum(),
                )
            self._result = self._summarise(self._matcher.curves(), evaluated)
        return self._result

    def _summarise(self, curves: Curves, evaluated: np.ndarray) -> dict[str, Any]:
        index = self.index
        counted = np.repeat(evaluated, np.diff(index.first)) & ~index.is_crowd
        objects = np.bincount(index.class_ids[counted], minlength=len(index.class_names))
        precision = {name: curves.precision[..., area, -1] for name, area in _AREAS.items()}
        recall = {name: curves.recall[..., area, -1] for name, area in _AREAS.items()}
        precision_50, scores_50 = precision["all"][_IOU_50], curves.scores[_IOU_50, ..., 0, -1]
        overall_f1, overall_threshold = suggest_threshold(precision_50, scores_50)
        per_class = []
        for class_id, (name, category_id) in enumerate(zip(index.class_names, index.category_ids, strict=True)):
            column = self._class_number[class_id] - 1
            this = slice(column, column + 1)
            f1, threshold = suggest_threshold(precision_50[:, this], scores_50[:, this])
            per_class.append(
                {
                    "class": name,
                    "category_id": category_id,
                    "AP": _mean_of_defined(precision["all"][..., column]),
                    "AP50": _mean_of_defined(precision["all"][_IOU_50, :, column]),
                    "AP75": _mean_of_defined(precision["all"][_IOU_75, :, column]),
                    "AR": _mean_of_defined(recall["all"][..., column]),
                    "F1": f1,
                    "threshold": threshold,
                    "objects": int(objects[class_id]),
                }
            )
        return {
            "AP": _mean_of_defined(precision["all"]),
            "AP50": _mean_of_defined(precision["all"][_IOU_50]),
            "AP75": _mean_of_defined(precision["all"][_IOU_75]),
            **{f"AP{area}": _mean_of_defined(precision[area]) for area in "sml"},
            **{
                f"AR{limit}": _mean_of_defined(curves.recall[..., _AREAS["all"], position])
                for position, limit in enumerate(self._limits)
            },
            **{f"AR{area}": _mean_of_defined(recall[area]) for area in "sml"},
            "F1": overall_f1,
            "threshold": overall_threshold,
            "max_detections": self.max_detections,
            "images": int(evaluated.sum()),
            "skipped_images": len(self.unreadable),
            "objects": int(objects.sum()),
            "objects_beyond_limit": self._objects_beyond_limit(counted),
            "per_class": per_class,
        }

    def _objects_beyond_limit(self, counted: np.ndarray) -> int:
        index = self.index
        image_of = np.repeat(np.arange(len(index)), np.diff(index.first))[counted]
        groups = image_of * len(index.class_names) + index.class_ids[counted]
        _, of_group = np.unique(groups, return_counts=True)
        return int((of_group - self.max_detections).clip(0).sum())


def suggest_threshold(precision: np.ndarray, scores: np.ndarray) -> tuple[float | None, float | None]:
    """The confidence above which detections are best kept: the highest F1, averaged over classes.

    F1 is read off the precision-recall curve at 101 recall levels, so both numbers are good to about 0.01.

    Args:
        precision: ``(101, K)`` at one IoU threshold, -1 for classes without objects.
        scores: ``(101, K)`` confidence at which each recall level is reached, 0 where it never is.

    Returns:
        F1 and the threshold, or None and None where no object is found.
    """
    defined = precision[0] > -1
    precision, scores = precision[:, defined], scores[:, defined]
    thresholds = np.linspace(0.0, 0.99, 100)
    reached = (scores > thresholds[:, None, None]).sum(axis=1)  # (100, K) recall levels reached above each threshold
    level = np.maximum(reached - 1, 0)
    kept_precision = np.where(reached > 0, np.take_along_axis(precision, level, axis=0), 0.0)
    kept_recall = np.where(reached > 0, RECALL_LEVELS[level], 0.0)
    total = kept_precision + kept_recall
    f1 = np.divide(2 * kept_precision * kept_recall, total, out=np.zeros_like(total), where=total > 0)
    mean_f1 = f1.mean(axis=1) if defined.any() else np.zeros(len(thresholds))
    best = int(mean_f1.argmax())
    return (float(mean_f1[best]), float(thresholds[best].round(2))) if mean_f1[best] > 0 else (None, None)


class _HotcocoMatcher:
    """Matches each batch when it comes, and keeps a score and a few bits per detection."""

    def __init__(self, num_classes: int, limits: list[int]):
        import hotcoco

        params = hotcoco.Params("bbox")
        params.max_dets = limits
        self._stream = hotcoco.StreamingEval(_categories(num_classes), params=params)

    def add(self, images: list[dict], annotations: list[dict], detections: np.ndarray) -> None:
        self._stream.update(images, annotations, detections)

    def curves(self) -> Curves:
        evaluation = self._stream.finalize()
        evaluation.accumulate()
        return Curves(*(evaluation.eval[name] for name in Curves._fields))


class _PycocotoolsMatcher:
    """Keeps everything and lets pycocotools do all the work at the end."""

    def __init__(self, num_classes: int, limits: list[int]):
        self._categories = _categories(num_classes)
        self._limits = limits
        self._images: list[dict] = []
        self._annotations: list[dict] = []
        self._detections: list[np.ndarray] = []

    def add(self, images: list[dict], annotations: list[dict], detections: np.ndarray) -> None:
        self._images += images
        self._annotations += annotations
        self._detections.append(detections)

    def curves(self) -> Curves:
        from pycocotools.cocoeval import COCOeval

        # Not COCO.loadRes, which fails where nothing at all is detected.
        found = [
            {
                "id": number,
                "image_id": int(image_id),
                "category_id": int(category_id),
                "bbox": [x, y, width, height],
                "area": width * height,
                "score": score,
                "iscrowd": 0,
            }
            for number, (image_id, x, y, width, height, score, category_id) in enumerate(
                np.concatenate(self._detections).tolist(), start=1
            )
        ]
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
            evaluation = COCOeval(self._as_coco(self._annotations), self._as_coco(found), "bbox")
            evaluation.params.maxDets = self._limits
            evaluation.evaluate()
            evaluation.accumulate()
        return Curves(*(evaluation.eval[name] for name in Curves._fields))

    def _as_coco(self, annotations: list[dict]) -> Any:
        from pycocotools.coco import COCO

        coco = COCO()
        coco.dataset = {"images": self._images, "categories": self._categories, "annotations": annotations}
        coco.createIndex()
        return coco


def _ranks(ids: Sequence[int | str]) -> np.ndarray:
    """Position of each id in sorted order, numbers before text."""
    order = sorted(range(len(ids)), key=lambda position: (isinstance(ids[position], str), ids[position]))
    ranks = np.empty(len(ids), dtype=np.int64)
    ranks[order] = np.arange(len(ids))
    return ranks


def _categories(num_classes: int) -> list[dict[str, Any]]:
    return [{"id": class_id + 1, "name": str(class_id)} for class_id in range(num_classes)]


def _mean_of_defined(values: np.ndarray) -> float | None:
    """Mean of the numbers that are not -1, COCO's sign for "there was nothing to find"."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None


def to_numpy(values: Any) -> np.ndarray:
    """A torch tensor of any device and precision, or anything numpy takes, as a numpy array."""
    return values.detach().cpu().double().numpy() if hasattr(values, "detach") else np.asarray(values)
