"""What was found in one picture."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_detr.evaluation.results import coco_results


@dataclass(frozen=True)
class Detections:
    """The n objects found in one picture, best first.

    Attributes:
        scores: ``(n,)`` float32 confidence, 0 to 1.
        class_ids: ``(n,)`` int64.
        labels: n class names.
        boxes_xyxy: ``(n, 4)`` float32 left, top, right, bottom in pixels of the original picture.
        image_size_hw: height and width of that picture.
        path: its file, or None where it did not come from one.
    """

    scores: np.ndarray
    class_ids: np.ndarray
    labels: tuple[str, ...]
    boxes_xyxy: np.ndarray
    image_size_hw: tuple[int, int]
    path: Path | None = None

    @classmethod
    def from_rows(
        cls,
        rows: np.ndarray,
        id2label: Mapping[int, str],
        image_size_hw: tuple[int, int],
        *,
        threshold: float = 0.0,
        path: Path | None = None,
    ) -> "Detections":
        """From ``(n, 6)`` score, class id, left, top, right, bottom; only scores above the threshold are kept."""
        rows = rows[rows[:, 0] > threshold]
        class_ids = rows[:, 1].astype(np.int64)
        return cls(
            scores=rows[:, 0],
            class_ids=class_ids,
            labels=tuple(id2label[class_id] for class_id in class_ids.tolist()),
            boxes_xyxy=rows[:, 2:],
            image_size_hw=image_size_hw,
            path=path,
        )

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, threshold: float) -> "Detections":
        """Those with a score above the threshold."""
        kept = np.flatnonzero(self.scores > threshold)
        return dataclasses.replace(
            self,
            scores=self.scores[kept],
            class_ids=self.class_ids[kept],
            labels=tuple(self.labels[i] for i in kept),
            boxes_xyxy=self.boxes_xyxy[kept],
        )

    def to_coco(
        self, image_id: int | str, category_ids: Sequence[int | str] | Mapping[int, int | str] | None = None
    ) -> list[dict[str, Any]]:
        """As COCO results, one dict per object.

        Args:
            image_id: what the picture is called in the annotation file.
            category_ids: category id of each class id; the class ids themselves by default.
        """
        rows = np.column_stack([self.scores, self.class_ids, self.boxes_xyxy])
        return coco_results(rows, image_id, category_ids)

    def to_supervision(self) -> Any:
        """As `supervision.Detections`, for its annotators, trackers and zones (needs the `supervision` package)."""
        try:
            import supervision
        except ImportError as error:
            raise ImportError("to_supervision() needs the supervision package: pip install supervision") from error
        return supervision.Detections(
            xyxy=self.boxes_xyxy,
            confidence=self.scores,
            class_id=self.class_ids,
            data={"class_name": np.array(self.labels)},
        )
