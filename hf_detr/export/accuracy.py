"""COCO AP of a model before and after its export, and how much of it an export may cost."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hf_detr.errors import ExportError
from hf_detr.evaluation.loop import average_precision

if TYPE_CHECKING:
    from hf_detr.data.dataset import DetectionDataset
    from hf_detr.inference.detector import Detector

# AP that an export may cost, by precision.
MAX_AP_DROP = {"float32": 0.001, "float16": 0.005, "bfloat16": 0.005, "int8": 0.01}


@dataclass(frozen=True)
class Accuracy:
    """COCO AP, 0 to 1, on one set of pictures.

    Attributes:
        data: name of the set.
        pictures: how many it has.
        before: AP of the model in PyTorch.
        after: AP of the exported model.
        max_drop: by how much `after` may be below `before`.
    """

    data: str
    pictures: int
    before: float
    after: float
    max_drop: float

    def describe(self) -> str:
        """One line for people."""
        return (
            f"COCO AP on the {self.pictures} pictures of {self.data}: {self.before:.4f} in PyTorch, {self.after:.4f} "
            f"exported ({self.after - self.before:+.4f})"
        )


def require_average_precision(detector: "Detector", dataset: "DetectionDataset") -> float:
    """COCO AP of a detector.

    Raises:
        CheckpointError: model and data do not have the same classes.
        ExportError: the data has no objects, so that there is no AP.
    """
    measured = average_precision(detector, dataset)
    if measured is None:
        raise ExportError(f"{dataset.index.name} has no objects to measure AP on; choose another --data or --split.")
    return measured


def require_accuracy(accuracy: Accuracy, precision: str) -> None:
    """Refuse an export that costs too much AP.

    Raises:
        ExportError: it does.
    """
    if accuracy.before - accuracy.after > accuracy.max_drop:
        raise ExportError(
            f"{precision} costs too much: {accuracy.describe()}; at most {accuracy.max_drop:g} may be lost. Nothing "
            "was written. Choose another --precision, or allow more with --max_ap_drop."
        )
