"""A detector that several visitors use at once."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from hf_detr.app.found import Found, coco_list, select
from hf_detr.app.limits import AppLimits
from hf_detr.app.uploads import UploadError, read_upload
from hf_detr.inference.detector import Detector

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
        self.turn = Lock()

    @property
    def id2label(self) -> Mapping[int, str]:
        return self.detector.id2label

    def find(self, picture: Path) -> Found:
        """Everything there is in an uploaded picture.

        Raises:
            UploadError: it cannot be used.
        """
        image = read_upload(picture, self.limits)
        with self.turn:
            rows = self.detector.detect_picture(image, batch_size=self.batch_size)
        return Found.of(picture.name, image, rows)

    def detect(
        self, picture: Path, threshold: float, classes: Collection[str], max_detections: int | None
    ) -> list[dict[str, Any]]:
        """COCO results of an uploaded picture, for programs.

        Raises:
            UploadError: it cannot be used, or the model knows no such class.
        """
        self.require_classes(classes)
        found = self.find(picture)
        kept = select(
            found.rows,
            found.size_hw,
            self.id2label,
            threshold=threshold,
            classes=classes,
            max_detections=max_detections,
        )
        return coco_list(found, kept)

    def by_turns(self, steps: Iterator[T]) -> Iterator[T]:
        """The items of an iterator that runs the model for some of them, other calls of the model in between."""
        while True:
            with self.turn:
                item = next(steps, _END)
            if item is _END:
                return
            yield item

    def require_classes(self, classes: Collection[str]) -> None:
        """Refuse names that the model does not know.

        Raises:
            UploadError: there is one.
        """
        known = list(self.id2label.values())
        for name in classes:
            if name not in known:
                raise UploadError(f"This model knows no class {name!r}, only: {', '.join(known[:50])}.")
