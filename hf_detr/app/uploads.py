"""Pictures from strangers: looked at from outside before they are opened."""

from pathlib import Path

import numpy as np
from PIL import Image

from hf_detr.app.limits import AppLimits
from hf_detr.data.images import UnreadableImageError, read_header, read_image
from hf_detr.errors import AppError


class UploadError(AppError):
    """A picture or a video that a visitor gave cannot be used; the message is for that visitor."""


def read_upload(path: Path, limits: AppLimits) -> np.ndarray:
    """An uploaded picture as ``uint8 (H, W, 3)`` RGB, upright.

    Raises:
        UploadError: it is empty, no picture, damaged, or has more pixels than the limits say; in the last case nothing
            of it has been decoded.
    """
    try:
        if not path.stat().st_size:
            raise UploadError(f"{path.name} is empty (0 bytes).")
        require_pixels(path.name, read_header(path)[0], limits)
        return read_image(path)
    except FileNotFoundError as error:
        raise UploadError(f"{path.name} is not here any more. Please give it again.") from error
    except UnreadableImageError as error:
        if isinstance(error.__cause__, Image.DecompressionBombError):
            raise UploadError(_too_many_pixels(path.name, "far more", limits)) from error
        raise UploadError(f"{path.name} cannot be read: {error.reason}.") from error


def require_pixels(name: str, size_hw: tuple[int, int], limits: AppLimits) -> None:
    """Refuse a picture, or the frames of a video, with more pixels than the limits say.

    Raises:
        UploadError: it has more.
    """
    megapixels = size_hw[0] * size_hw[1] / 1e6
    if megapixels > limits.max_megapixels:
        raise UploadError(_too_many_pixels(name, f"{megapixels:.0f} megapixels", limits))


def _too_many_pixels(name: str, how_many: str, limits: AppLimits) -> str:
    return f"{name} has {how_many}; this page takes up to {limits.max_megapixels:g} megapixels."
