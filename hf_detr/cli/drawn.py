"""Where commands put the pictures they draw."""

from pathlib import Path
from typing import TYPE_CHECKING

from hf_detr.errors import DatasetError

if TYPE_CHECKING:
    from PIL import Image


def save_beside(picture: "Image.Image", path: Path, *, way_out: str) -> Path:
    """Save a picture under a name that no file has: `path`, or that with a number before its ending. Returns it.

    Raises:
        DatasetError: it cannot be written; the message ends with ``way_out``.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free, number = path, 1
        while free.exists():
            number += 1
            free = path.with_stem(f"{path.stem}-{number}")
        picture.save(free)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be written: {error.strerror}. {way_out}") from error
    return free
