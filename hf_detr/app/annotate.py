"""A video with boxes drawn in, made frame by frame."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

from hf_detr.app.limits import MAX_FRAMES_PER_SECOND, AppLimits
from hf_detr.app.service import Service
from hf_detr.app.uploads import UploadError, require_pixels
from hf_detr.draw import draw_boxes
from hf_detr.inference.video import VideoReader, VideoWriter, detect_video
from hf_detr.inference.video_source import UnreadableVideoError

WRITTEN_SIDES = 640, 1280  # least and most pixels of the longer side of the video that is made
COUNT_HEADERS = ("class", "frames with it", "most at once", "per frame")


@dataclass
class Counts:
    """What was found in the frames so far, by class id.

    Attributes:
        frames: looked at.
        total: of these there will be, or None where the file does not tell.
        objects: in all frames together.
        frames_with: frames in which the class occurs.
        most: objects of the class in one frame.
    """

    frames: int = 0
    total: int | None = None
    objects: Counter[int] = field(default_factory=Counter)
    frames_with: Counter[int] = field(default_factory=Counter)
    most: Counter[int] = field(default_factory=Counter)

    def add(self, in_frame: Counter[int]) -> None:
        """Count the objects of one more frame."""
        self.frames += 1
        self.objects += in_frame
        self.frames_with += Counter(in_frame.keys())
        self.most |= in_frame

    def rows(self, id2label: Mapping[int, str]) -> list[list[Any]]:
        """A row for each class that occurs, the most frequent first, under `COUNT_HEADERS`."""
        return [
            [id2label[k], self.frames_with[k], self.most[k], round(objects / self.frames, 2)]
            for k, objects in self.objects.most_common()
        ]


def annotate_video(
    service: Service,
    video: Path,
    target: Path,
    *,
    threshold: float | None = None,
    classes: Collection[str] = (),
    max_detections: int | None = None,
) -> Iterator[Counts]:
    """Draw what is found in each frame of an uploaded video; of fast videos in every second, third ... frame.

    Args:
        service: the detector.
        video: the file that was uploaded.
        target: the ``.mp4`` to write: there when the iterator has come to its end, and not where it is left before.
        threshold: least confidence; by default what is stored with the model.
        classes: names of the classes wanted; none means all.
        max_detections: the best so many of each frame.

    Yields:
        The counts after each frame; always the same object.

    Raises:
        UploadError: the file is no video, or is longer or larger than the limits say.
        HfDetrError: the model knows no such class.
    """
    with _for_visitors(video), ExitStack() as stack:
        every = _step(video, service.limits)
        reader = stack.enter_context(VideoReader(video, every))
        counts = Counts(total=None if reader.num_frames is None else ceil(reader.num_frames / every))
        frames = detect_video(
            service.detector,
            reader,
            threshold=threshold,
            classes=classes or None,
            max_detections=max_detections,
            batch_size=service.batch_size,
        )
        writer = None
        for _, image, found in service.by_turns(frames):
            # Files need not tell their length, nor the truth about it.
            _require_length(video, found.seconds, service.limits)
            side = min(max(*image.shape[:2], WRITTEN_SIDES[0]), WRITTEN_SIDES[1])
            drawn = draw_boxes(image, found.boxes_xyxy, found.captions(), found.class_ids, longer_side=side)
            if writer is None:
                writer = stack.enter_context(VideoWriter(target, reader.fps / every, drawn.shape[:2]))
            writer.write(drawn, found.seconds)
            counts.add(Counter(found.class_ids.tolist()))
            yield counts


def _step(video: Path, limits: AppLimits) -> int:
    """Which frames to look at: every first, second ... one.

    Raises:
        UploadError: the header says that the video is longer or larger than it may be.
    """
    with VideoReader(video) as probe:
        require_pixels(video.name, probe.size_hw, limits)
        if probe.num_frames is not None:
            _require_length(video, (probe.num_frames - 1) / probe.fps, limits)
        return ceil(probe.fps / MAX_FRAMES_PER_SECOND)


def _require_length(video: Path, seconds: float, limits: AppLimits) -> None:
    if seconds > limits.max_video_seconds:
        raise UploadError(
            f"{video.name} is longer than {limits.max_video_seconds:g} seconds, which is what this page takes."
        )


@contextmanager
def _for_visitors(video: Path) -> Iterator[None]:
    """Errors of reading with the name that the visitor knows, not with our path."""
    try:
        yield
    except UnreadableVideoError as error:
        raise UploadError(str(error).replace(str(video), video.name)) from error
