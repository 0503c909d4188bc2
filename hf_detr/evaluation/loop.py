"""From a detector and a data set to COCO numbers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from hf_detr.errors import CheckpointError
from hf_detr.evaluation.coco import CocoEvaluator
from hf_detr.models.decoding import EVALUATED_DETECTIONS
from hf_detr.models.loading import match_classes

if TYPE_CHECKING:
    from hf_detr.data.dataset import DetectionDataset, Sample
    from hf_detr.data.index import DetectionIndex
    from hf_detr.inference.detector import Detector


def evaluate_detector(
    detector: "Detector",
    dataset: "DetectionDataset",
    evaluator: CocoEvaluator,
    *,
    batch_size: int = 8,
    num_workers: int = 0,
    class_of: np.ndarray | None = None,
    on_batch: Callable[[np.ndarray, np.ndarray], None] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Run a detector over a split.

    Args:
        detector: on any runtime.
        dataset: without a transform, so that each picture comes as it is.
        evaluator: of the same annotations; it is reset first.
        batch_size: pictures, or tiles of one, at once.
        num_workers: processes that read and resize pictures; 0 does it here.
        class_of: ``(K,)`` class id in the data of each class of the model, see `match_model_classes`; by default they
            are the same.
        on_batch: called with picture numbers ``(B,)`` (``-1 - i`` for an unreadable picture i) and detections
            ``(B, Q, 6)``, class ids those of the data, negative scores for padding.
        progress: show a bar where there is a terminal.

    Returns:
        What `CocoEvaluator.compute` returns.
    """
    evaluator.reset()
    at_least = max(EVALUATED_DETECTIONS, evaluator.max_detections)
    detected = _of_pictures if detector.tiling is None else _of_tiles
    with tqdm(total=len(dataset), desc="evaluating", unit=" images", disable=None if progress else True) as bar:
        for images, detections in detected(detector, dataset, at_least, batch_size, num_workers):
            if class_of is not None:
                detections = rename_classes(detections, class_of)
            evaluator.update(images, detections)
            if on_batch is not None:
                on_batch(images, detections)
            bar.update(len(images))
    return evaluator.compute()


def average_precision(detector: "Detector", dataset: "DetectionDataset", *, progress: bool = True) -> float | None:
    """COCO AP, 0 to 1, of a detector on a split; classes are matched by name. None where the split has no objects.

    Raises:
        CheckpointError: model and data do not have the same classes.
    """
    class_of = match_model_classes(detector.id2label, dataset.index)
    evaluator = CocoEvaluator(dataset.index)
    return evaluate_detector(detector, dataset, evaluator, class_of=class_of, progress=progress)["AP"]


def _of_pictures(
    detector: "Detector", dataset: "DetectionDataset", at_least: int, batch_size: int, num_workers: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Numbers ``(B,)``, ``-1 - i`` for the unreadable picture i, and detections ``(B, Q, 6)`` of each batch."""
    loader = DataLoader(
        _Prepared(dataset, detector.prepare),
        batch_size=batch_size,
        num_workers=num_workers,
        pin_memory=detector.backend.device.type == "cuda",
    )
    for prepared, sizes_hw, images in loader:
        yield images.numpy(), detector.detect(prepared, sizes_hw, at_least=at_least).cpu().numpy()


def _of_tiles(
    detector: "Detector", dataset: "DetectionDataset", at_least: int, batch_size: int, num_workers: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """As `_of_pictures`, one picture at a time and its tiles as batches."""
    for sample in DataLoader(dataset, batch_size=None, num_workers=num_workers, collate_fn=_as_it_is):
        if sample["readable"]:
            rows = detector.detect_picture(sample["image"], at_least, batch_size)
            yield np.array([sample["image_index"]]), rows[None]
        else:
            yield np.array([-1 - sample["image_index"]]), np.empty((1, 0, 6))


def _as_it_is(sample: "Sample") -> "Sample":
    return sample


class _Prepared(Dataset):
    """Model input, original size and number of each picture; ``-1 - i`` where picture i is unreadable."""

    def __init__(self, dataset: "DetectionDataset", prepare: Callable[[np.ndarray], Tensor]):
        self.dataset = dataset
        self.prepare = prepare

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, image: int) -> tuple[Tensor, Tensor, int]:
        sample = self.dataset[image]
        number = image if sample["readable"] else -1 - image
        return self.prepare(sample["image"]), torch.tensor(sample["orig_size_hw"]), number


def rename_classes(detections: np.ndarray, class_of: np.ndarray) -> np.ndarray:
    """Detections ``(..., 6)`` with class ids looked up in ``class_of``; where that is -1 they become padding."""
    renamed = detections.copy()
    renamed[..., 1] = class_of[detections[..., 1].astype(np.int64)]
    renamed[renamed[..., 1] < 0, 0] = -1
    return renamed


def match_model_classes(
    id2label: Mapping[int, str],
    index: "DetectionIndex",
    *,
    class_map: Sequence[str] = (),
    ignore_extra: bool = False,
) -> np.ndarray:
    """Which class of the data each class of the model is, by name: their order may differ.

    Names are equal if they are the same but for case, spaces and underscores.

    Args:
        id2label: the model's classes.
        index: the data. Classes that it has no objects of may be unknown to the model.
        class_map: ``"model name:data name"`` for classes that are called differently.
        ignore_extra: leave out classes that only the model knows.

    Returns:
        ``(K,)`` class id in the data for each class of the model, -1 for those left out.

    Raises:
        CheckpointError: a class has no partner on the other side.
    """
    model_names, class_names = [id2label[class_id] for class_id in range(len(id2label))], index.class_names
    if model_names == list(class_names):
        return np.arange(len(model_names))
    model_class = match_classes(id2label, dict(enumerate(class_names)), class_map)
    class_of = np.full(len(model_names), -1)
    class_of[list(model_class.values())] = list(model_class.keys())
    present = np.bincount(index.class_ids, minlength=len(class_names)) > 0
    unknown = [name for class_id, name in enumerate(class_names) if present[class_id] and class_id not in class_of]
    extra = [name for name, class_id in zip(model_names, class_of, strict=True) if class_id < 0]
    if unknown or (extra and not ignore_extra):
        advice = "Classes that are only called differently are matched with --class_map model-name:data-name."
        if not unknown:
            advice += " To leave out what only the model knows: --ignore_extra_classes."
        raise CheckpointError(
            "Model and data do not have the same classes.\n"
            f"  model, {len(model_names)} classes: {', '.join(model_names)}\n"
            f"  data, {len(class_names)} classes: {', '.join(class_names)}\n"
            f"  only in the model: {', '.join(extra) or '-'}\n"
            f"  only in the data: {', '.join(unknown) or '-'}\n"
            f"{advice}"
        )
    return class_of
