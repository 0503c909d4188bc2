"""Where videos come from: files, streams and webcams, opened with PyAV or refused with a reason."""

import os
import re
from pathlib import Path
from typing import Any

from hf_detr.errors import HfDetrError

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
# Seconds to wait for a connection, and for the next piece of a stream.
_TIMEOUTS = (10.0, 30.0)
# What FFmpeg also opens, and nobody means by a video: text as ANSI art, still pictures, lists of other files.
_NOT_VIDEOS = {"tty", "image2", "hls", "concat", "lavfi"}


class UnreadableVideoError(HfDetrError):
    """A video, stream or webcam cannot be opened or has no frames. The message names it and the reason."""


def is_stream(text: str) -> bool:
    """Whether it is a URL, of whatever protocol."""
    return _URL.match(text) is not None


def open_video(source: str | os.PathLike | int) -> tuple[Path | str, Any]:
    """A file, the URL of a file or stream, or the number of a webcam.

    Returns:
        What it is called, a path, a URL or ``"webcam:0"``, and its `av` container.

    Raises:
        UnreadableVideoError: it cannot be opened, or is not a video.
        HfDetrError: PyAV is not installed.
    """
    if isinstance(source, int):
        return f"webcam:{source}", _open_webcam(source)
    if isinstance(source, str) and is_stream(source):
        # Without user and password: the name goes into messages and results.
        name = re.sub("//[^/@]*@", "//", source)
        return name, _open(name, source)
    return Path(source), _open_file(Path(source))


def import_av() -> Any:
    """PyAV.

    Raises:
        HfDetrError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise HfDetrError("Videos need the av package: pip install 'hf_detr[video]'") from error
    return av


def reason_of(error: Exception) -> str:
    """What FFmpeg or the system says, without the name of the file."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _open_file(path: Path) -> Any:
    if not path.is_file():
        raise UnreadableVideoError(f"{path}: no such file.")
    if path.stat().st_size == 0:
        raise UnreadableVideoError(f"{path}: the file is empty (0 bytes).")
    # A file may be a list of others: let it name none that come from the network.
    container = _open(path, str(path), options={"protocol_whitelist": "file"})
    if _formats(container) & _NOT_VIDEOS:
        container.close()
        raise UnreadableVideoError(f"{path}: this is not a video.")
    return container


def _open_webcam(number: int) -> Any:
    device = Path(f"/dev/video{number}")
    if not device.exists():
        others = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*")))
        raise UnreadableVideoError(
            f"webcam:{number}: there is no {device}. This machine has {others or 'no webcam that Linux shows'}."
        )
    return _open(f"webcam:{number}", str(device), format="v4l2")


def _open(name: Path | str, file: str, **options: Any) -> Any:
    av = import_av()
    try:
        container = av.open(file, timeout=_TIMEOUTS, **options)
    except av.error.InvalidDataError as error:
        raise UnreadableVideoError(f"{name}: this is not a video, or it is damaged.") from error
    except av.error.EOFError as error:
        raise UnreadableVideoError(f"{name}: the video has no frames.") from error
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise UnreadableVideoError(f"{name}: cannot be opened: {reason_of(error)}.") from error
    if any(format_name.endswith("_pipe") for format_name in _formats(container)):
        container.close()
        raise UnreadableVideoError(f"{name}: this is a picture, not a video.")
    return container


def _formats(container: Any) -> set[str]:
    return set(container.format.name.split(","))
