"""How much a page takes on: sizes of uploads, length of videos, visitors who wait."""

import dataclasses
from dataclasses import dataclass

from hf_detr.errors import AppError

MEGABYTE = 1_000_000
# A faster video is looked at in every second, third ... frame, so that a minute is never more work than this.
MAX_FRAMES_PER_SECOND = 30


@dataclass(frozen=True)
class AppLimits:
    """What the page of a model accepts. Everything beyond is refused in one sentence, and costs the server nothing.

    Attributes:
        max_upload_mb: megabytes of an uploaded file; a larger one is refused while it comes in.
        max_megapixels: of a picture or of a frame of a video, read from the header before anything is decoded.
        max_video_seconds: length of a video.
        max_waiting: requests that may wait for the model; the next one is told to come back.
        max_sessions: visitors whose last picture is kept for moving the threshold, at 3 MB. When one more comes,
            whoever has been idle longest has to give the picture again.
        keep_minutes: how long files that were uploaded or made stay on the disk.

    Raises:
        AppError: a value is not above zero.
    """

    max_upload_mb: float = 50
    max_megapixels: float = 64
    max_video_seconds: float = 60
    max_waiting: int = 32
    max_sessions: int = 200
    keep_minutes: float = 60

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if value <= 0:
                raise AppError(f"{name} must be above 0, got {value}.")

    @property
    def max_upload_bytes(self) -> int:
        return round(self.max_upload_mb * MEGABYTE)
