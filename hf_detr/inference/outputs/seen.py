"""What outputs are given: a picture or a frame of a video, and what was found in it."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from hf_detr.inference.detections import Detections
from hf_detr.inference.video import VideoReader


@dataclass(frozen=True)
class Seen:
    """A picture or a frame.

    Attributes:
        image: ``uint8 (H, W, 3)`` RGB.
        found: what is in it.
        image_id: number of the picture or frame in the whole run.
        name: of what is written about it, below a folder and without an ending; of a frame that of its video.
        video: the video of a frame; None for a picture.
    """

    image: np.ndarray
    found: Detections
    image_id: int
    name: Path
    video: VideoReader | None = None

    @property
    def frame_name(self) -> Path:
        """`name` where each frame has one of its own: ``street/000123``."""
        return self.name if self.video is None else self.name / f"{self.found.frame:06d}"


class Output(AbstractContextManager, Protocol):
    """A kind of result. It is complete when its ``with`` block ends."""

    def __init__(self, folder: Path, id2label: Mapping[int, str]): ...

    def write(self, seen: Seen) -> None:
        """Add a picture or frame; frames of a video come in their order, and together."""
