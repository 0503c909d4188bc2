"""Reading and resizing pictures: files of any kind to ``uint8 (H, W, 3)`` RGB, the same on every machine.

The decisions are those of ``transformers.pipeline`` where it has made one, so that training sees what inference will:

- EXIF orientation is applied, once, by us, after decoding.
- Transparency is dropped: the colours stored beneath it are taken, as ``Image.convert("RGB")`` does.
- Grey pictures of 16 or 32 bits are scaled by 1/256 to 8 bits (Pillow would clip all but 255 of their greys to white).
- CMYK, YCbCr and palettes are converted by Pillow. Pictures of floats have no agreed range and are refused.
- A file that ends too early is unreadable: nobody wants to train on its grey lower half.
"""

import functools
import io
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from hf_detr.data.files import StorageError, read_file
from hf_detr.errors import DatasetError


class UnreadableImageError(DatasetError):
    """A picture cannot be decoded. The message names the file and the reason.

    Attributes:
        reason: the message without the file; the whole message where the error comes from another process, since
            ``torch.utils.data`` rebuilds errors of its workers from their text alone.
    """

    def __init__(self, message: str, reason: str | None = None):
        super().__init__(message)
        self.reason = reason or message


def read_image(path: str | Path) -> np.ndarray:
    """Picture as ``uint8 (H, W, 3)`` RGB, upright.

    Raises:
        UnreadableImageError: missing, empty, damaged, cut short, or of a kind nobody here can decode.
    """
    image, orientation = decode_image(path)
    return orient_image(image, orientation)


class StoredPicture(NamedTuple):
    """A picture as it is stored, not turned by its EXIF orientation.

    Attributes:
        pixels: ``uint8 (h, w, 3)`` RGB, at the size of the file, or at a half, a quarter or an eighth of it.
        orientation: the EXIF orientation, 1 (upright already) to 8.
        size_hw: height and width of the file.
    """

    pixels: np.ndarray
    orientation: int
    size_hw: tuple[int, int]


def decode_image(picture: str | Path | bytes) -> tuple[np.ndarray, int]:
    """Picture as stored, ``uint8 (H, W, 3)`` RGB, and its EXIF orientation, 1 (upright already) to 8.

    Args:
        picture: its file, or the content of one.

    Raises:
        UnreadableImageError: as `read_image`.
    """
    stored = decode_stored(picture)
    return stored.pixels, stored.orientation


def decode_stored(picture: str | Path | bytes, least_side: int | None = None) -> StoredPicture:
    """Picture as stored, reduced as far as its shorter side keeps ``least_side`` pixels, see `reduction`.

    JPEG decodes at a reduced size in less time than at its own. Other formats are decoded and then resized.

    Raises:
        UnreadableImageError: as `read_image`.
    """
    with _unreadable_by_name(picture):
        encoded = picture if isinstance(picture, bytes) else read_file(picture)
        if not encoded:
            raise ValueError("the file is empty (0 bytes)")
        with Image.open(io.BytesIO(encoded)) as opened:
            orientation, size_hw = _exif_orientation(opened), (opened.height, opened.width)
            factor = reduction(size_hw, least_side)
            jpeg = opened.format in ("JPEG", "MPO") and opened.mode in ("L", "RGB")
            pixels = _decode_jpeg(encoded, size_hw, factor) if jpeg else None
            if pixels is None:
                if jpeg and factor > 1:
                    opened.draft(None, tuple(max(side // factor, 1) for side in opened.size))
                pixels = _to_rgb(opened)
        reduced_hw = reduce_size_hw(size_hw, factor)
        pixels = pixels if pixels.shape[:2] == reduced_hw else resize_image(pixels, reduced_hw)
        return StoredPicture(pixels, orientation, size_hw)


def reduction(size_hw: tuple[int, int], least_side: int | None) -> int:
    """By how much a picture can be reduced: 8, 4, 2, or 1 for not at all (also where ``least_side`` is None).

    >>> reduction((3000, 4000), 640), reduction((480, 640), 640)
    (4, 1)
    """
    if least_side is None:
        return 1
    return next((factor for factor in (8, 4, 2) if min(size_hw) // factor >= least_side), 1)


def reduce_size_hw(size_hw: tuple[int, int], factor: int) -> tuple[int, int]:
    """Height and width of a picture reduced by a factor: rounded up, as JPEG does."""
    height, width = (-(-side // factor) for side in size_hw)
    return height, width


def read_header(picture: str | Path | bytes) -> tuple[tuple[int, int], int]:
    """Height and width of a picture as stored, and its EXIF orientation, without decoding it.

    An orientation that a PNG notes behind its pixels is not seen.

    Raises:
        UnreadableImageError: missing, empty or not a picture; one that is damaged or cut short passes.
    """
    with _opened(picture) as opened:
        return (opened.height, opened.width), _exif_orientation(opened, behind_pixels=False)


def suffix_of(picture: str | Path | bytes) -> str:
    """How the name of a picture's file should end, by its content: ``".jpg"``, ``".png"``.

    Raises:
        UnreadableImageError: as `read_header`.
    """
    with _opened(picture) as opened:
        return ".jpg" if opened.format in ("JPEG", "MPO") else f".{opened.format.lower()}"


def read_reduced(picture: str | Path | bytes, least_side: int) -> np.ndarray:
    """Picture as ``uint8 (H, W, 3)`` RGB, upright; a JPEG smaller, where that is faster, but not below ``least_side``.

    Raises:
        UnreadableImageError: as `read_image`.
    """
    with _opened(picture) as opened:
        opened.draft("RGB", (least_side, least_side))
        return picture_to_rgb(opened)


@contextmanager
def _opened(picture: str | Path | bytes) -> Iterator[Image.Image]:
    source = io.BytesIO(picture) if isinstance(picture, bytes) else picture
    with _unreadable_by_name(picture), Image.open(source) as opened:
        yield opened


@contextmanager
def _unreadable_by_name(picture: str | Path | bytes) -> Iterator[None]:
    """Whatever goes wrong with a picture becomes an error that names it."""
    name = f"a picture of {len(picture):,} bytes" if isinstance(picture, bytes) else picture
    try:
        yield
    except (MemoryError, StorageError):
        raise  # says nothing about the picture
    except UnidentifiedImageError as error:
        reason = "it is not a picture in any format that Pillow knows"
        raise UnreadableImageError(f"{name}: cannot read this picture: {reason}", reason) from error
    except Exception as error:  # Pillow's decoders raise almost anything on a damaged file
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        raise UnreadableImageError(f"{name}: cannot read this picture: {reason}", reason) from error


def picture_to_rgb(picture: Image.Image) -> np.ndarray:
    """An opened picture as ``uint8 (H, W, 3)`` RGB, upright: what `read_image` gives for its file."""
    return orient_image(_to_rgb(picture), _exif_orientation(picture))


@functools.cache
def _jpeg_decoder() -> Callable[..., np.ndarray] | None:
    """simplejpeg's decoder where it is installed: 1.7 times as fast as Pillow's, same pixels."""
    try:
        import simplejpeg
    except ImportError:
        return None
    return functools.partial(simplejpeg.decode_jpeg, colorspace="RGB", strict=True)


def _decode_jpeg(encoded: bytes, size_hw: tuple[int, int], factor: int) -> np.ndarray | None:
    """Fast path for JPEGs, reduced by a factor; None where Pillow has to decide.

    In strict mode simplejpeg refuses harmless oddities (stray bytes between segments) along with files cut short.
    Pillow reads the former and refuses the latter: what is readable does not depend on simplejpeg being installed.
    """
    decode = _jpeg_decoder()
    if decode is None:
        return None
    height, width = reduce_size_hw(size_hw, factor)
    try:
        return decode(encoded) if factor == 1 else decode(encoded, min_height=height, min_width=width)
    except ValueError:
        return None


def _to_rgb(opened: Image.Image) -> np.ndarray:
    if opened.mode == "F":
        raise ValueError("its pixels are 32-bit floats, which have no agreed range; save it with 8 or 16 bits")
    if opened.mode == "I" or opened.mode.startswith("I;16"):
        grey = (np.asarray(opened).clip(0, 65535) // 256).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.array(opened.convert("RGB"))


def _exif_orientation(opened: Image.Image, *, behind_pixels: bool = True) -> int:
    """EXIF (or XMP) orientation; 1 where there is none, or none that makes sense.

    Args:
        opened: the picture.
        behind_pixels: decode a PNG without EXIF in its header, to see whether there is some at its end.
    """
    getexif = opened.getexif if behind_pixels else functools.partial(Image.Image.getexif, opened)
    try:
        orientation = getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, KeyError, OSError, struct.error):
        return 1  # a damaged tag block says nothing about the pixels, which may be fine
    return orientation if orientation in _ORIENTED else 1


# EXIF orientation -> (swap rows and columns, then mirror left-right, then mirror top-bottom)
_ORIENTED = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


def orient_image(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn a picture ``(H, W, C)`` upright, given its EXIF orientation."""
    swap, mirror_x, mirror_y = _ORIENTED[orientation]
    upright = image.swapaxes(0, 1) if swap else image
    upright = upright[:, ::-1] if mirror_x else upright
    upright = upright[::-1] if mirror_y else upright
    return np.ascontiguousarray(upright)


def orient_size_hw(size_hw: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Height and width of a picture after `orient_image`."""
    height, width = size_hw
    return (width, height) if _ORIENTED[orientation][0] else (height, width)


def orient_boxes_xyxy(boxes_xyxy: np.ndarray, orientation: int, size_hw: tuple[int, int]) -> np.ndarray:
    """Turn boxes ``(n, 4)`` in pixels with their picture, whose size before turning is ``size_hw``."""
    swap, mirror_x, mirror_y = _ORIENTED[orientation]
    height, width = orient_size_hw(size_hw, orientation)
    boxes_xyxy = boxes_xyxy[:, [1, 0, 3, 2]] if swap else boxes_xyxy
    x0, y0, x1, y1 = boxes_xyxy.T
    if mirror_x:
        x0, x1 = width - x1, width - x0
    if mirror_y:
        y0, y1 = height - y1, height - y0
    return np.stack([x0, y0, x1, y1], axis=-1)


def resize_image(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Resize ``uint8 (H, W, 3)`` to ``uint8 (*size_hw, 3)``, aspect ratio not kept.

    Antialiased bilinear on uint8, which is what the stock ``RTDetrImageProcessor`` does: equal to it bit by bit.
    Channels-last is the memory layout in which torch does this 3.6 times as fast as in channels-first.
    """
    import torch  # seconds to import, as is the next: reading pictures need not wait for them
    from torchvision.transforms.v2 import functional as tv

    pixels_chw = torch.from_numpy(image).permute(2, 0, 1)
    resized_chw = tv.resize(pixels_chw, list(size_hw), interpolation=tv.InterpolationMode.BILINEAR, antialias=True)
    return resized_chw.permute(1, 2, 0).contiguous().numpy()
