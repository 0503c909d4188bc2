"""What was found in one picture."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_detr.boxes import normalise_boxes, xyxy_to_xywh
from hf_detr.draw import draw_boxes
from hf_detr.evaluation.results import coco_results


@dataclass(frozen=True)
class Detections:
    """The n objects found in one picture or frame of a video, best first.

    Attributes:
        scores: ``(n,)`` float32 confidence, 0 to 1.
        class_ids: ``(n,)`` int64.
        labels: n class names.
        boxes_xyxy: ``(n, 4)`` float32 left, top, right, bottom in pixels of the original picture.
        image_size_hw: height and width of that picture.
        path: its file or URL, that of the video for a frame; None where it did not come from one.
        frame: number of the frame in its video, from 0; None for pictures.
        seconds: time of the frame since the first one; None for pictures.
        track_ids: ``(n,)`` int64, the same number for the same object in every frame, -1 for objects that are not
            followed (yet); None where nothing is.
    """

    scores: np.ndarray
    class_ids: np.ndarray
    labels: tuple[str, ...]
    boxes_xyxy: np.ndarray
    image_size_hw: tuple[int, int]
    path: Path | str | None = None
    frame: int | None = None
    seconds: float | None = None
    track_ids: np.ndarray | None = None

    @classmethod
    def from_rows(
        cls,
        rows: np.ndarray,
        id2label: Mapping[int, str],
        image_size_hw: tuple[int, int],
        *,
        threshold: float | np.ndarray = 0.0,
        path: Path | str | None = None,
    ) -> "Detections":
        """From ``(n, 6)`` score, class id, left, top, right, bottom.

        Only scores above the threshold are kept: a number, or ``(K,)`` one for each class.
        """
        rows = rows[_above(rows[:, 0], rows[:, 1].astype(np.int64), threshold)]
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

    def above(self, threshold: float | np.ndarray) -> "Detections":
        """Those with a score above the threshold: a number, or ``(K,)`` one for each class."""
        return self.take(np.flatnonzero(_above(self.scores, self.class_ids, threshold)))

    def of_classes(self, names: Collection[str]) -> "Detections":
        """Those of the classes named."""
        return self.take(np.flatnonzero([label in names for label in self.labels]))

    def take(self, rows: np.ndarray) -> "Detections":
        """Those with these numbers, in their order."""
        return dataclasses.replace(
            self,
            scores=self.scores[rows],
            class_ids=self.class_ids[rows],
            labels=tuple(self.labels[row] for row in rows),
            boxes_xyxy=self.boxes_xyxy[rows],
            track_ids=None if self.track_ids is None else self.track_ids[rows],
        )

    def captions(self) -> list[str]:
        """Class, score, and number of the track where there is one: ``"car 0.91 #3"``."""
        numbers = ["" if track is None else f" #{track}" for track in self.tracks()]
        captioned = zip(self.labels, self.scores, numbers, strict=True)
        return [f"{label} {score:.2f}{number}" for label, score, number in captioned]

    def tracks(self) -> list[int | None]:
        """Number of the track of each object, None where it has none."""
        if self.track_ids is None:
            return [None] * len(self)
        return [track if track >= 0 else None for track in self.track_ids.tolist()]

    def draw(self, image: np.ndarray) -> np.ndarray:
        """The picture, ``uint8 (H, W, 3)`` RGB, with boxes and captions."""
        return draw_boxes(image, self.boxes_xyxy, self.captions(), self.class_ids)

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
            tracker_id=self.track_ids,
            data={"class_name": np.array(self.labels, dtype=str)},
        )

    def to_fiftyone(self) -> Any:
        """As `fiftyone.Detections`, for a field of a FiftyOne sample or frame (needs the `fiftyone` package)."""
        try:
            import fiftyone
        except ImportError as error:
            raise ImportError("to_fiftyone() needs the fiftyone package: pip install fiftyone") from error
        return fiftyone.Detections(
            detections=[
                fiftyone.Detection(label=label, bounding_box=box, confidence=score, index=track)
                for label, box, score, track in zip(
                    self.labels, self.relative_boxes_xywh().tolist(), self.scores.tolist(), self.tracks(), strict=True
                )
            ]
        )

    def relative_boxes_xywh(self) -> np.ndarray:
        """``(n, 4)`` float64 left, top, width, height as shares of the picture's width and height."""
        return normalise_boxes(xyxy_to_xywh(self.boxes_xyxy.astype(np.float64)), self.image_size_hw)


def _above(scores: np.ndarray, class_ids: np.ndarray, threshold: float | np.ndarray) -> np.ndarray:
    return scores > (threshold if np.ndim(threshold) == 0 else np.asarray(threshold)[class_ids])
