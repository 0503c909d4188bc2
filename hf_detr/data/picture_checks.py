"""Checks that decode every picture: unreadable files, sizes that disagree, the same picture in two places."""

import hashlib
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from hf_detr.data.findings import Finding, counted
from hf_detr.data.images import UnreadableImageError, decode_image, orient_image
from hf_detr.data.row_findings import about_images
from hf_detr.data.table import AnnotationTable

_PLAIN_MODES = ("RGB", "L")


@dataclass(frozen=True)
class Picture:
    """What a file turned out to hold.

    Attributes:
        reason: why it cannot be read; empty if it can, and the rest counts only then.
        stored_hw: height and width as stored.
        upright_hw: the same once the EXIF orientation is applied.
        orientation: EXIF orientation, 1 for none.
        mode: Pillow's name for the kind of pixels, e.g. ``"RGBA"``.
        digest: hash of the upright pixels.
    """

    reason: str = ""
    stored_hw: tuple[int, int] = (0, 0)
    upright_hw: tuple[int, int] = (0, 0)
    orientation: int = 1
    mode: str = ""
    digest: bytes = b""


def inspect_picture(picture: Path | bytes) -> Picture:
    """Read one file, or the content of one, as training will, and describe it."""
    try:
        pixels, orientation = decode_image(picture)
    except UnreadableImageError as error:
        return Picture(reason=error.reason)
    with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as opened:
        mode = opened.mode
    upright = np.ascontiguousarray(orient_image(pixels, orientation))
    digest = hashlib.blake2b(upright, digest_size=16, salt=f"{upright.shape[0]}x{upright.shape[1]}".encode()[:16])
    return Picture(
        stored_hw=pixels.shape[:2],
        upright_hw=upright.shape[:2],
        orientation=orientation,
        mode=mode,
        digest=digest.digest(),
    )


def inspect_pictures(places: Sequence[tuple[AnnotationTable, int]], *, progress: bool) -> list[Picture]:
    """`inspect_picture` of many images, in threads; with a progress bar where the terminal can show one."""
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        pictures = pool.map(lambda place: inspect_picture(place[0].picture(place[1])), places)
        bar = tqdm(pictures, "reading pictures", len(places), unit=" pictures", disable=None if progress else True)
        return list(bar)
    finally:
        pool.shutdown(cancel_futures=True)


def picture_findings(
    tables: Sequence[AnnotationTable], present: Sequence[np.ndarray], *, progress: bool = False
) -> list[Finding]:
    """Decode the pictures of all splits and compare them with their annotations and with each other.

    Args:
        tables: the splits.
        present: for each split the positions of the images whose files are there and not empty.
        progress: show a progress bar.
    """
    places = [(table, int(image)) for table, images in zip(tables, present, strict=True) for image in images]
    pictures = inspect_pictures(places, progress=progress)
    findings = []
    for table in tables:
        own = {image: picture for (of, image), picture in zip(places, pictures, strict=True) if of is table}
        findings += _check_pictures(table, own)
    return findings + _check_repeated_pictures(places, pictures)


def _check_pictures(table: AnnotationTable, pictures: dict[int, Picture]) -> list[Finding]:
    readable = {image: picture for image, picture in pictures.items() if not picture.reason}

    def annotated_hw(image: int) -> tuple[int, int]:
        return tuple(table.sizes_hw[image].tolist())

    differing = [
        image
        for image, picture in readable.items()
        if annotated_hw(image) not in ((0, 0), picture.stored_hw, picture.upright_hw)
    ]
    return [
        *about_images(
            table,
            "file.unreadable",
            "error",
            [image for image, picture in pictures.items() if picture.reason],
            "that cannot be read",
            "Training would leave them out. Get the files again, or remove these images and their annotations.",
            value=lambda image: pictures[image].reason,
        ),
        *about_images(
            table,
            "file.size_differs",
            "error",
            differing,
            "whose annotated width and height are not those of the file",
            "Probably the picture was resized after it was annotated, and its boxes are elsewhere. Use the originals, "
            "or scale the boxes and correct `width` and `height`.",
            value=lambda image: "annotated {1} x {0}, file {3} x {2}".format(
                *annotated_hw(image), *readable[image].upright_hw
            ),
        ),
        *about_images(
            table,
            "file.exif_orientation",
            "info",
            [image for image, picture in readable.items() if picture.orientation != 1],
            "stored turned or mirrored, with a note in the file how to show it (EXIF)",
            "We turn it upright, and its boxes too where the annotated size is that of the stored picture. Many "
            "other tools ignore the note.",
            value=lambda image: f"orientation {readable[image].orientation}",
        ),
        *about_images(
            table,
            "file.mode",
            "info",
            [image for image, picture in readable.items() if picture.mode not in _PLAIN_MODES],
            "neither RGB nor grey with 8 bits",
            "Converted to RGB: transparency is dropped, 16 bits are scaled to 8.",
            value=lambda image: readable[image].mode,
        ),
    ]


def _check_repeated_pictures(
    places: Sequence[tuple[AnnotationTable, int]], pictures: Sequence[Picture]
) -> list[Finding]:
    same: dict[bytes, list[tuple[AnnotationTable, int]]] = {}
    for place, picture in zip(places, pictures, strict=True):
        if not picture.reason:
            same.setdefault(picture.digest, []).append(place)
    groups = [group for group in same.values() if len(group) > 1]
    across = [group for group in groups if len({table.split.name for table, _ in group}) > 1]
    findings = []
    if across:
        splits = list(dict.fromkeys(table.split.name for group in across for table, _ in group))
        files = dict.fromkeys(str(table.split.annotations_path) for group in across for table, _ in group)
        findings.append(
            Finding(
                "split.same_picture",
                "error",
                f"{counted(len(across), 'picture')} in more than one split.",
                ", ".join(files),
                ", ".join(splits),
                len(across),
                tuple(_place_in_splits(group) for group in across),
                "A picture that was trained on measures memory, not skill. Keep each picture in one split only.",
            )
        )
    return findings + _repeated_within(groups)


def _place_in_splits(group: Sequence[tuple[AnnotationTable, int]]) -> dict[str, str]:
    first, *others = dict.fromkeys(f"{table.file_names[image]} in {table.split.name}" for table, image in group)
    return {"file": first, "value": "also " + ", ".join(others)}


def _repeated_within(groups: Sequence[Sequence[tuple[AnnotationTable, int]]]) -> list[Finding]:
    """Equal pictures in files of different names within one split."""
    repeats: dict[int, list[tuple[int, str]]] = {}
    tables: dict[int, AnnotationTable] = {}
    for group in groups:
        first: dict[int, str] = {}
        for table, image in group:
            tables[id(table)] = table
            name = first.setdefault(id(table), table.file_names[image])
            if name != table.file_names[image]:
                repeats.setdefault(id(table), []).append((image, name))
    findings = []
    for key, found in repeats.items():
        original = dict(found)
        findings += about_images(
            tables[key],
            "file.same_picture",
            "warning",
            original,
            "with the same pixels as an earlier one of another name",
            "It weighs twice in training and in the numbers. Remove one of them, with its annotations.",
            value=lambda image, original=original: f"same as {original[image]}",
        )
    return findings
