"""The pictures of a conversion: measured, turned upright, scaled, and put where the target wants them."""

import errno
import io
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
from PIL import Image

from hf_detr.boxes import xywh_to_xyxy, xyxy_to_xywh
from hf_detr.data.dataset import annotated_as_stored
from hf_detr.data.export.sourced import SourcedIndex
from hf_detr.data.images import (
    UnreadableImageError,
    decode_image,
    orient_boxes_xyxy,
    orient_image,
    orient_size_hw,
    read_header,
)
from hf_detr.data.index import DetectionIndex
from hf_detr.data.parallel import for_each_file
from hf_detr.errors import DatasetError

Result = TypeVar("Result")

PICTURE_MODES = ("copy", "link", "symlink", "none")
JPEG_QUALITY = 95
# What is written again in its own format; any other picture becomes a PNG.
_REWRITABLE = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


def for_each_picture(work: Callable[[DetectionIndex, int], Result], index: DetectionIndex, what: str) -> list[Result]:
    """``work(index, image)`` of every picture, in order, by several threads; a bar says ``what`` is done."""
    return for_each_file(lambda image: work(index, image), range(len(index)), title=f"{index.name}: {what}")


def missing_pictures(index: DetectionIndex) -> list[int]:
    """Positions of the pictures that are not there; nothing is opened."""
    return _where_not(_is_there, index)


def unreadable_pictures(index: DetectionIndex, *, decode: bool) -> list[int]:
    """Positions of the pictures that are not there, or no pictures; to ``decode``, also those cut short or damaged."""
    return _where_not(_is_decodable if decode else _has_header, index)


def _where_not(is_fine: Callable[[DetectionIndex, int], bool], index: DetectionIndex) -> list[int]:
    fine = for_each_picture(is_fine, index, "looking for the pictures")
    return [image for image, is_so in enumerate(fine) if not is_so]


def _is_there(index: DetectionIndex, image: int) -> bool:
    picture = index.picture(image)
    return len(picture) > 0 if isinstance(picture, bytes) else picture.is_file()


def _has_header(index: DetectionIndex, image: int) -> bool:
    try:
        read_header(index.picture(image))
    except UnreadableImageError:
        return False
    return True


def _is_decodable(index: DetectionIndex, image: int) -> bool:
    try:
        decode_image(index.picture(image))
    except UnreadableImageError:
        return False
    return True


def turn_upright(index: SourcedIndex) -> SourcedIndex:
    """The index with the sizes of the upright pictures, and boxes that were drawn on a picture as stored turned.

    For targets that do not say which size a box was drawn on, and for pictures that are written anew.

    Raises:
        DatasetError: a picture cannot be read, or has another size than its annotations say.
    """
    headers = for_each_picture(lambda index, image: read_header(index.picture(image)), index, "measuring")
    sizes_hw = np.array([orient_size_hw(*header) for header in headers], dtype=np.int32).reshape(-1, 2)
    boxes_xywh = index.boxes_xywh.copy()
    drawn_hw, orientations = sizes_hw.copy(), index.orientations.copy()
    for image, (stored_hw, orientation) in enumerate(headers):
        annotated_hw = tuple(index.sizes_hw[image])
        if annotated_as_stored(annotated_hw, stored_hw, orientation):
            rows = slice(index.first[image], index.first[image + 1])
            turned = orient_boxes_xyxy(xywh_to_xyxy(boxes_xywh[rows]), orientation, stored_hw)
            boxes_xywh[rows] = xyxy_to_xywh(turned)
            drawn_hw[image], orientations[image] = stored_hw, orientation
        elif annotated_hw not in ((0, 0), tuple(sizes_hw[image])):
            raise DatasetError(
                f"{index.annotations_path}: {index.file_names[image]} is {_shown(sizes_hw[image])} and annotated as "
                f"{_shown(annotated_hw)}. It is not known what its boxes were drawn on: `hf-detr check` lists all "
                "such pictures (file.size_differs); correct or remove them."
            )
    return replace(index, sizes_hw=sizes_hw, boxes_xywh=boxes_xywh, drawn_hw=drawn_hw, orientations=orientations)


def _shown(size_hw: Sequence[int]) -> str:
    return f"{size_hw[1]} x {size_hw[0]}"


def scaled(index: SourcedIndex, resize: Sequence[int]) -> SourcedIndex:
    """The index of upright pictures at other sizes, boxes and areas with them; see `scaled_hw`."""
    sizes_hw = np.array([scaled_hw(tuple(size_hw), resize) for size_hw in index.sizes_hw.tolist()], dtype=np.int32)
    sizes_hw = sizes_hw.reshape(-1, 2)
    factors_hw = np.repeat(sizes_hw / index.sizes_hw, np.diff(index.first), axis=0)
    return replace(
        index,
        sizes_hw=sizes_hw,
        boxes_xywh=index.boxes_xywh * factors_hw[:, [1, 0, 1, 0]],
        areas=index.areas * factors_hw.prod(1),
    )


def scaled_hw(size_hw: tuple[int, int], resize: Sequence[int]) -> tuple[int, int]:
    """Height and width to write a picture at, in pixels.

    Args:
        size_hw: what it has.
        resize: one number: the longer side becomes at most that, in proportion, and smaller pictures stay (what D-FINE
            does to Objects365, rounding down). Or two: height and width, whatever the proportions were.

    >>> scaled_hw((1080, 1920), [640]), scaled_hw((300, 400), [640]), scaled_hw((300, 400), [640, 640])
    ((360, 640), (300, 400), (640, 640))
    """
    if len(resize) == 2:
        return resize[0], resize[1]
    longer = max(size_hw)
    if longer <= resize[0]:
        return size_hw
    return max(1, size_hw[0] * resize[0] // longer), max(1, size_hw[1] * resize[0] // longer)


def rewritable_name(file_name: str) -> str:
    """What a picture is called when it is written anew: the same, or ``.png`` where its own kind cannot be written."""
    path = PurePosixPath(file_name)
    return file_name if path.suffix.lower() in _REWRITABLE else path.with_suffix(".png").as_posix()


@dataclass(frozen=True)
class PictureWriter:
    """Puts pictures below the folder of a target.

    Attributes:
        mode: ``"copy"``, ``"link"`` (hard link), ``"symlink"``, or ``"none"`` for no pictures at all. What has no file
            of its own is written in any mode but the last.
        rescale: pictures get the size that the index says, upright, by Lanczos filtering. Those that have it already
            stay byte by byte.
    """

    mode: str = "copy"
    rescale: bool = False

    def write(self, index: DetectionIndex, folder: Path) -> None:
        """Put every picture where the index says: ``folder / file_name``.

        Raises:
            DatasetError: a picture cannot be read, or not be linked from there.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if self.mode != "none":
            for parent in {PurePosixPath(index.file_names[image]).parent for image in range(len(index))}:
                (folder / parent).mkdir(parents=True, exist_ok=True)
            for_each_picture(lambda index, image: self._put(index, image, folder), index, "writing pictures")

    def content(self, index: DetectionIndex, image: int) -> bytes:
        """What the file of a picture is to hold."""
        picture = index.picture(image)
        rescaled = self._rescaled(picture, index, image)
        if rescaled is not None:
            return rescaled
        return picture if isinstance(picture, bytes) else picture.read_bytes()

    def _put(self, index: DetectionIndex, image: int, folder: Path) -> None:
        picture, target = index.picture(image), folder / index.file_names[image]
        rescaled = self._rescaled(picture, index, image)
        if rescaled is not None or isinstance(picture, bytes):
            target.write_bytes(picture if rescaled is None else rescaled)
        elif self.mode == "symlink":
            target.symlink_to(picture.resolve())
        elif self.mode == "link":
            _hard_link(picture, target)
        else:
            shutil.copyfile(picture, target)

    def _rescaled(self, picture: Path | bytes, index: DetectionIndex, image: int) -> bytes | None:
        """The picture at the size of the index, encoded; None where it has that size already."""
        height, width = index.sizes_hw[image].tolist()
        if not self.rescale or orient_size_hw(*read_header(picture)) == (height, width):
            return None
        pixels = orient_image(*decode_image(picture))
        scaled_picture = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        kind = Image.registered_extensions()[PurePosixPath(index.file_names[image]).suffix.lower()]
        scaled_picture.save(buffer, kind, quality=JPEG_QUALITY)
        return buffer.getvalue()


def _hard_link(picture: Path, target: Path) -> None:
    try:
        os.link(picture.resolve(), target)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK):
            raise DatasetError(
                f"{picture}: no hard link to it from there ({error.strerror}). Use --pictures copy, or symlink."
            ) from error
        raise
