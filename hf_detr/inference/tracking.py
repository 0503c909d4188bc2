"""The same number for the same object in every frame, by the trackers of the `trackers` package."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from hf_detr.errors import HfDetrError
from hf_detr.inference.detections import Detections

_SAME_OBJECT_IOU = 0.8
# The border between strong and weak detections, as `_relative_confidence` bends their scores.
_HALF = {"track_activation_threshold": 0.5, "high_conf_det_threshold": 0.5}


class _Kind(NamedTuple):
    """A class of the `trackers` package, and whether it goes on with weak detections: of objects half hidden."""

    class_name: str
    uses_weak: bool
    options: dict[str, float]


_TRACKERS = {
    "bytetrack": _Kind("ByteTrackTracker", True, _HALF),
    "sort": _Kind("SORTTracker", False, {"track_activation_threshold": 0.5}),
    "ocsort": _Kind("OCSORTTracker", False, {"high_conf_det_threshold": 0.5}),
    "botsort": _Kind("BoTSORTTracker", True, _HALF),
}
TRACKERS = tuple(_TRACKERS)
# Weaker detections are not looked at: the number of ByteTrack's authors.
WEAKEST = 0.1


class Tracker:
    """Follows objects through the frames of one video.

    A detection above its threshold can begin a track; those below, down to 0.1, only go on with one. Tracks are told
    by position alone, whatever the class: a car that looks like a lorry for a frame keeps its number. A track has
    one from its second or third frame on, which keeps false alarms of single frames from having one.

        tracker = Tracker("bytetrack", fps=reader.fps)
        for image in images:
            found = tracker.update(detector(image, threshold=0.1))

    Args:
        name: ``"bytetrack"`` (https://huggingface.co/papers/2110.06864), ``"sort"``
            (https://huggingface.co/papers/1602.00763), ``"ocsort"`` (https://huggingface.co/papers/2203.14360) or
            ``"botsort"`` (https://huggingface.co/papers/2206.14651), which makes up for a moving camera.
        fps: frames per second that `update` gets: a track is kept for a second without its object.
        threshold: a number, or ``(K,)`` one for each class.

    Raises:
        HfDetrError: there is no such tracker, or the `trackers` package is not installed.
    """

    def __init__(self, name: str = "bytetrack", *, fps: float = 30.0, threshold: float | np.ndarray = 0.5):
        if name not in _TRACKERS:
            raise HfDetrError(f"There is no tracker {name!r}. There are: {', '.join(TRACKERS)}.")
        self._kind = _TRACKERS[name]
        self.threshold = threshold
        self._sees_motion = name == "botsort"
        self._tracker = _build(self._kind, fps)

    def update(self, found: Detections, image: np.ndarray | None = None) -> Detections:
        """The detections of the next frame with `track_ids`.

        Args:
            found: all detections above 0.1.
            image: the frame, ``uint8 (H, W, 3)`` RGB; BoT-SORT sees by it how the camera moves.

        Returns:
            Those above the threshold, and those below it that belong to a track. Of detections with an IoU above 0.8
            only the best is there: one query of a DETR can stand for several classes, and two for one object.
        """
        found = found.take(_without_doubles(found))
        if not self._kind.uses_weak:
            found = found.above(self.threshold)
        given = found.to_supervision()
        given.confidence = self._relative_confidence(found)
        given.data = {"row": np.arange(len(found))}
        bgr = None if image is None or not self._sees_motion else image[..., ::-1]
        tracked = self._tracker.update(given, frame=bgr)
        track_ids = np.full(len(found), -1, np.int64)
        if len(tracked):
            track_ids[tracked.data["row"]] = tracked.tracker_id
        limit = _of_each(self.threshold, found)
        kept = np.flatnonzero((found.scores > limit) | (track_ids >= 0))
        return dataclasses.replace(found, track_ids=track_ids).take(kept)

    def _relative_confidence(self, found: Detections) -> np.ndarray:
        """Scores bent so that each class has its threshold at 0.5, where the trackers tell strong from weak."""
        limit = np.clip(_of_each(self.threshold, found), 1e-6, 1 - 1e-6)
        strong = 0.5 + 0.5 * (found.scores - limit) / (1 - limit)
        return np.where(found.scores > limit, strong, 0.5 * found.scores / limit - 1e-6).astype(np.float32)


def _without_doubles(found: Detections) -> np.ndarray:
    """Numbers of the best detection of each object, best first."""
    import torch  # seconds to import, as is the next
    from torchvision.ops import nms

    return nms(torch.from_numpy(found.boxes_xyxy), torch.from_numpy(found.scores), _SAME_OBJECT_IOU).numpy()


def _of_each(threshold: float | np.ndarray, found: Detections) -> np.ndarray:
    limits = np.asarray(threshold)
    return limits[found.class_ids] if limits.ndim else np.broadcast_to(limits, len(found))


def _build(kind: _Kind, fps: float) -> Any:
    try:
        import trackers
    except ImportError as error:
        raise HfDetrError("Tracking needs the trackers package: pip install 'hf_detr[track]'") from error
    return getattr(trackers, kind.class_name)(frame_rate=fps, **kind.options)
