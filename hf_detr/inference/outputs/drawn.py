"""Results to look at: pictures and videos with boxes drawn in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hf_detr.inference.outputs.seen import Seen
from hf_detr.inference.sound import add_sound
from hf_detr.inference.video import VideoWriter

PICTURES_FOLDER = "pictures"
VIDEOS_FOLDER = "videos"
FRAMES_FOLDER = "frames"


class DrawnPictures:
    """Pictures with boxes, as JPEG; frames of videos are none."""

    def __init__(self, folder: Path, id2label: Mapping[int, str]):
        self._folder = folder / PICTURES_FOLDER

    def __enter__(self) -> "DrawnPictures":
        return self

    def __exit__(self, *_: Any) -> None: ...

    def write(self, seen: Seen) -> None:
        if seen.video is None:
            save_jpeg(seen.found.draw(seen.image), self._folder / seen.name)


class DrawnFrames(DrawnPictures):
    """Frames of videos with boxes, as JPEG, in a folder for each video."""

    def __init__(self, folder: Path, id2label: Mapping[int, str]):
        self._folder = folder / FRAMES_FOLDER

    def write(self, seen: Seen) -> None:
        if seen.video is not None:
            save_jpeg(seen.found.draw(seen.image), self._folder / seen.frame_name)


class DrawnVideos:
    """Videos with boxes, as MP4 with the times of the frames, and with their sound where they come from a file."""

    def __init__(self, folder: Path, id2label: Mapping[int, str]):
        self._folder = folder / VIDEOS_FOLDER
        self._last: Seen | None = None
        self._writer: VideoWriter | None = None

    def __enter__(self) -> "DrawnVideos":
        return self

    def write(self, seen: Seen) -> None:
        if seen.video is None:
            return
        if self._last is None or self._last.video is not seen.video:
            self._finish()
            path = beside(self._folder / seen.name, ".mp4")
            path.parent.mkdir(parents=True, exist_ok=True)
            reader = seen.video
            self._writer = VideoWriter(path, reader.fps / reader.every, reader.size_hw).__enter__()
        self._last = seen
        self._writer.write(seen.found.draw(seen.image), seen.found.seconds)

    def __exit__(self, error_type: type | None, *_: Any) -> None:
        if error_type is None:
            self._finish()
        elif self._writer is not None:
            self._writer.__exit__(error_type)

    def _finish(self) -> None:
        if self._writer is None:
            return
        self._writer.__exit__(None)
        written, self._writer = self._writer.path, None
        source = self._last.found.path
        if isinstance(source, Path):
            add_sound(written, source)


def save_jpeg(image: np.ndarray, path: Path) -> Path:
    """Write a picture, ``uint8 (H, W, 3)`` RGB, as ``path`` with ``.jpg`` added; returns where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    target = beside(path, ".jpg")
    Image.fromarray(image).save(target, quality=92)
    return target


def beside(path: Path, ending: str) -> Path:
    """The path with an ending added, also where its name has a dot."""
    return path.with_name(path.name + ending)
