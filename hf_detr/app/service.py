"""A detector that several visitors use at once."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from hf_detr.app.found import Found, coco_list, select
from hf_detr.app.limits import AppLimits
from hf_detr.app.uploads import read_upload
from hf_detr.inference.detections import Detections
from hf_detr.inference.detector import Detector
from hf_detr.inference.thresholds import require_classes

T = TypeVar("T")
_END = object()


class Service:
    """What the page asks of a detector.

    Pictures are read and drawn side by side; the model, whose runtime may not bear two calls at once, takes turns. A
    video holds it for one batch of frames at a time, so that pictures get in between.

    Args:
        detector: finds the objects.
        limits: what visitors may ask for.
        batch_size: tiles or frames that go through the model at once.
    """

    def __init__(self, detector: Detector, limits: AppLimits, batch_size: int = 8):
        self.detector = detector
        self.limits = limits
        self.batch_size = batch_size
        self._turn = Lock()

    @property
    def id2label(self) -> Mapping[int, str]:
        return self.detector.id2label

    def find(self, picture: Path) -> Found:
        """Everything there is in an uploaded picture.

        Raises:
            UploadError: it cannot be used.
        """
        image = read_upload(picture, self.limits)
        with self._turn:
            everything = self.detector(image, threshold=0.0, batch_size=self.batch_size)
        return Found.of(picture.name, image, everything)

    def select(
        self,
        everything: Detections,
        threshold: float | None,
        classes: Collection[str] = (),
        max_detections: int | None = None,
    ) -> Detections:
        """The best of these above a threshold; None for the thresholds stored with the model.

        Raises:
            HfDetrError: the model knows no such class.
        """
        require_classes(classes, self.id2label)
        return select(everything, self.detector.thresholds(threshold), classes, max_detections)

    def detect(
        self, picture: Path, threshold: float | None, classes: Collection[str], max_detections: int | None
    ) -> list[dict[str, Any]]:
        """COCO results of an uploaded picture, for programs; see `find` and `select`."""
        everything = self.find(picture).everything
        return coco_list(picture.name, self.select(everything, threshold, classes, max_detections))

    def by_turns(self, steps: Iterator[T]) -> Iterator[T]:
        """The items of an iterator that runs the model for some of them, other calls of the model in between."""
        while True:
            with self._turn:
                item = next(steps, _END)
            if item is _END:
                return
            yield item
