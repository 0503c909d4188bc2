"""What may be given as a picture: files, URLs, PIL pictures and arrays."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from hf_detr.data.images import UnreadableImageError, decode_image, orient_image, picture_to_rgb, read_image
from hf_detr.inference.fetch import fetch, is_web_address

ImageSource = str | os.PathLike | Image.Image | np.ndarray


def load_picture(source: ImageSource) -> tuple[np.ndarray, Path | str | None]:
    """A picture as ``uint8 (H, W, 3)`` RGB, upright, and its file or URL if it has one.

    Raises:
        UnreadableImageError: a file or URL cannot be read.
        ValueError: an array of another shape or type.
    """
    if isinstance(source, str) and is_web_address(source):
        return _from_web(source), source
    if isinstance(source, str | os.PathLike):
        return read_image(Path(source)), Path(source)
    if isinstance(source, Image.Image):
        return picture_to_rgb(source), None
    return _checked_array(source), None


def _from_web(url: str) -> np.ndarray:
    content = fetch(url)
    try:
        return orient_image(*decode_image(content))
    except UnreadableImageError as error:
        raise UnreadableImageError(f"{url}: cannot read this picture: {error.reason}", error.reason) from error


def _checked_array(image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(
            f"Pictures as arrays must be uint8 of shape (height, width, 3), RGB, got {image.dtype} of {image.shape}."
        )
    return np.ascontiguousarray(image)
