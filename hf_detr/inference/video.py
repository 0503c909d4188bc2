"""Videos, streams and webcams frame by frame, and H.264 files of what was seen in them."""

import dataclasses
import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hf_detr.inference.ahead import iterate_ahead
from hf_detr.inference.detections import Detections
from hf_detr.inference.thresholds import Threshold
from hf_detr.inference.tracking import WEAKEST, Tracker
from hf_detr.inference.video_source import UnreadableVideoError, import_av, open_video, reason_of

if TYPE_CHECKING:
    from hf_detr.inference.detector import Detector

logger = logging.getLogger(__name__)

# Ticks a second of what is written: all usual frame rates are whole numbers of them.
_TICKS = 90_000


class VideoFrame(NamedTuple):
    """A frame of a video.

    Attributes:
        number: counted from 0, over all frames of the video.
        seconds: since the first frame, by the time stamps of the video.
        image: ``uint8 (H, W, 3)`` RGB, upright.
    """

    number: int
    seconds: float
    image: np.ndarray


class VideoReader:
    """A video that is read once, from its first frame to its last.

        with VideoReader("street.mp4", every=5) as reader:
            for number, image in reader:
                ...

    Frames are turned upright as the file asks for, and all have the size of the first one. Memory does not depend on
    the length. Damaged parts are left out; the log says how much is missing.

    Args:
        source: a file, the URL of a file or stream (``rtsp://``, ``http://`` …), or the number of a webcam.
        every: take one frame of so many.

    Attributes:
        path: the file, the URL, or ``"webcam:0"``.
        fps: frames per second on average, as the source states it. Times come from its time stamps, so the frame rate
            may vary.
        num_frames: frames in the file, before ``every``; from its duration where it does not count them, and None
            where it states neither.
        size_hw: height and width of the frames in pixels.

    Raises:
        UnreadableVideoError: it cannot be opened, is not a video or has no frames.
    """

    def __init__(self, source: str | os.PathLike | int, every: int = 1):
        if every < 1:
            raise ValueError(f"every must be 1 or more, got {every}")
        self.every = every
        self._av = import_av()
        self.path, self._container = open_video(source)
        try:
            if not self._container.streams.video:
                raise UnreadableVideoError(f"{self.path}: there is no video in it.")
            self._stream = self._container.streams.video[0]
            self._stream.thread_type = "AUTO"
            self._frames = self._decode()
            first = next(self._frames, None)
            if first is None:
                raise UnreadableVideoError(f"{self.path}: the video has no frames.")
            self._first = first
            self.size_hw = _upright(first, None).shape[:2]
            # Streams may not state a rate; their frames have time stamps.
            self.fps = float(self._stream.average_rate or self._stream.guessed_rate or 25)
            self.num_frames = None if isinstance(source, int) else self._count()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Close the file or stream."""
        self._container.close()

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        """Number and picture, ``uint8 (H, W, 3)`` RGB, of each frame that is taken."""
        return ((frame.number, frame.image) for frame in self.frames())

    def frames(self) -> Iterator[VideoFrame]:
        """The frames that are taken, with their times."""
        start, number, frame = self._first.time, 0, self._first
        while frame is not None:
            if number % self.every == 0:
                known = frame.time is not None and start is not None
                seconds = frame.time - start if known else number / self.fps
                yield VideoFrame(number, seconds, _upright(frame, self.size_hw))
            number += 1
            frame = next(self._frames, None)
        # A count that comes from the duration is good to a few frames.
        if self.num_frames is not None and number < 0.9 * self.num_frames:
            logger.warning("%s: only %d of %d frames can be read.", self.path, number, self.num_frames)

    def _decode(self) -> Iterator[Any]:
        """All frames; what cannot be decoded is left out and counted."""
        damaged = 0
        try:
            for packet in self._container.demux(self._stream):
                try:
                    yield from packet.decode()
                except self._av.error.InvalidDataError:
                    damaged += 1
        except self._av.error.FFmpegError as error:
            raise UnreadableVideoError(f"{self.path}: reading stopped: {reason_of(error)}.") from error
        finally:
            if damaged:
                logger.warning("%s: %d damaged pieces of it are left out.", self.path, damaged)

    def _count(self) -> int | None:
        if self._stream.frames:
            return self._stream.frames
        if self._container.duration is None:
            return None
        return max(1, round(self._container.duration / self._av.time_base * self.fps))


class VideoWriter:
    """An H.264 file, .mp4, that browsers and phones play.

    It appears under its name when the ``with`` block ends well; else nothing is left behind. Where a side is odd the
    last row or column comes twice, since the format has even sides only.

    Args:
        path: the file, ending in ``.mp4``; replaced if it is there.
        fps: frames per second, for frames that come without a time.
        size_hw: height and width of the frames in pixels.
    """

    def __init__(self, path: str | os.PathLike, fps: float, size_hw: tuple[int, int]):
        self.path, self.size_hw = Path(path), size_hw
        self.fps = Fraction(fps).limit_denominator(1001)
        self._staging = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        self._av = import_av()

    def __enter__(self) -> "VideoWriter":
        # The index goes to the front of the file: playing starts before all of it is there.
        self._container = self._av.open(
            str(self._staging), "w", format="mp4", container_options={"movflags": "faststart"}
        )
        self._stream = self._container.add_stream("libx264", rate=self.fps, options={"preset": "veryfast"})
        self._stream.height, self._stream.width = (side + side % 2 for side in self.size_hw)
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _TICKS)
        self._last_tick, self._next_tick = -1, 0
        return self

    def write(self, image: np.ndarray, seconds: float | None = None) -> None:
        """Add a frame.

        Args:
            image: ``uint8 (H, W, 3)`` RGB of the size given.
            seconds: when it is shown, later than the one before; by default one frame after it.
        """
        if image.shape != (*self.size_hw, 3) or image.dtype != np.uint8:
            raise ValueError(f"Frames must be uint8 of {(*self.size_hw, 3)}, got {image.dtype} of {image.shape}.")
        even = np.pad(image, [(0, side % 2) for side in self.size_hw] + [(0, 0)], mode="edge")
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        # Time stamps must grow, those of a damaged video may not.
        tick = self._next_tick if seconds is None else max(round(seconds * _TICKS), self._last_tick + 1)
        frame.pts, frame.time_base = tick, Fraction(1, _TICKS)
        self._last_tick, self._next_tick = tick, tick + round(_TICKS / self.fps)
        self._container.mux(self._stream.encode(frame))

    def __exit__(self, error_type: type | None, *_: Any) -> None:
        try:
            if error_type is None:
                self._container.mux(self._stream.encode(None))
            self._container.close()
            if error_type is None:
                self._staging.replace(self.path)
        finally:
            self._staging.unlink(missing_ok=True)


def detect_video(
    detector: "Detector",
    reader: VideoReader,
    *,
    threshold: Threshold = None,
    classes: Iterable[str] | None = None,
    max_detections: int | None = None,
    batch_size: int = 8,
    track: str | None = None,
) -> Iterator[tuple[int, np.ndarray, Detections]]:
    """Detect objects in each frame, a batch at a time while the next ones are decoded in a thread.

    Args:
        detector: on any runtime.
        reader: the video; its ``every`` says which frames.
        threshold: as for a call of the detector.
        classes: as for a call of the detector.
        max_detections: as for a call of the detector.
        batch_size: as for a call of the detector. 1 answers soonest, for live pictures.
        track: follow objects with this tracker, see `hf_detr.inference.tracking.Tracker`; by default not at all.

    Yields:
        Number of the frame, the frame, ``uint8 (H, W, 3)`` RGB, and what is in it.
    """
    tracker, looked_for = None, threshold
    if track is not None:
        limits = detector.thresholds(threshold)
        tracker = Tracker(track, fps=reader.fps / reader.every, threshold=limits)
        weak = np.minimum(limits, WEAKEST).tolist()
        looked_for = {label: weak[class_id] for class_id, label in detector.id2label.items()}
    ahead: deque[VideoFrame] = deque()

    def images() -> Iterator[np.ndarray]:
        for frame in iterate_ahead(reader.frames(), 2 * batch_size):
            ahead.append(frame)
            yield frame.image

    stream = detector.stream(
        images(), threshold=looked_for, classes=classes, max_detections=max_detections, batch_size=batch_size
    )
    for image, found in stream:
        frame = ahead.popleft()
        found = dataclasses.replace(found, path=reader.path, frame=frame.number, seconds=frame.seconds)
        yield frame.number, image, found if tracker is None else tracker.update(found, image)


def _upright(frame: Any, size_hw: tuple[int, int] | None) -> np.ndarray:
    """A decoded frame as ``uint8 (H, W, 3)`` RGB, turned as its display matrix says; of another size if given."""
    quarters = round(frame.rotation / 90)  # counterclockwise, as NumPy counts
    width, height = None, None
    if size_hw is not None:
        height, width = size_hw if quarters % 2 == 0 else size_hw[::-1]
    image = frame.to_ndarray(format="rgb24", height=height, width=width)
    return np.ascontiguousarray(np.rot90(image, quarters))
