"""What lies in the folders of a data set: pictures, lists of classes, and which split a name stands for."""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from hf_detr.data.findings import shortlist
from hf_detr.errors import DatasetError

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})

# What people call the splits -> what we call them.
SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "valid",
    "valid": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
}
_SPLIT_NAME = re.compile("(" + "|".join(sorted(SPLIT_WORDS, key=len, reverse=True)) + r")(?:\d{4})?", re.IGNORECASE)
# One class a line: of many tools, of darknet and CVAT, of Roboflow's export for darknet, of PaddleDetection.
CLASS_LISTS = ("classes.txt", "obj.names", "_darknet.labels", "labels.txt", "label_list.txt")

EXPLICIT = "Or name both yourself: --images FOLDER --annotations FILE (train: --train_images, --train_annotations)."


def split_named(name: str) -> str | None:
    """Our name of the split that a folder or file is named after, with or without a year; None if it is not.

    >>> split_named("val2017"), split_named("Test"), split_named("labels")
    ('valid', 'test', None)
    """
    match = _SPLIT_NAME.fullmatch(name)
    return SPLIT_WORDS[match[1].lower()] if match else None


def pictures_below(folder: Path) -> list[str]:
    """Pictures in a folder and the folders in it, as sorted paths below it; told by the endings of their names."""
    start = os.path.join(folder, "")
    return sorted(
        os.path.join(parent, name).removeprefix(start)
        for parent, _, names in os.walk(start)
        for name in names
        if os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES
    )


def pictures_by_stem(folder: Path) -> dict[str, str]:
    """`pictures_below` by their paths without the ending."""
    return {os.path.splitext(picture)[0]: picture for picture in pictures_below(folder)}


def has_pictures(folder: Path) -> bool:
    """Whether there is a picture in the folder or in those in it; stops at the first."""
    return any(
        os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES for _, _, names in os.walk(folder) for name in names
    )


def folder_with(file_name: str | None, candidates: Iterable[Path]) -> Path | None:
    """The first of the folders that holds the file; None if none does."""
    if file_name is None:
        return None
    # unlike Path.is_file also False for a name too long for a file
    return next((folder for folder in candidates if os.path.isfile(os.path.join(folder, file_name))), None)


def listing(folder: Path, most: int = 12) -> str:
    """The names in a folder on one line, folders with a slash."""
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    return shortlist(names, most) or "nothing"


def find_class_list(folders: Iterable[Path]) -> Path | None:
    """The first file with names of classes in the folders, such as ``classes.txt``."""
    return next((folder / name for folder in folders for name in CLASS_LISTS if (folder / name).is_file()), None)


def read_class_list(path: Path) -> tuple[str, ...]:
    """Names of classes, one a line, in the order of their numbers; empty lines at the end are left out.

    Raises:
        DatasetError: not text, a name twice, or an empty line in between.
    """
    names: dict[str, None] = {}
    for number, line in enumerate(read_text(path).rstrip().splitlines(), 1):
        name = line.strip()
        if not name or name in names:
            raise DatasetError(
                f"{path}: line {number}: {f'the class {name!r} a second time' if name else 'an empty line'}. Every "
                "line is the name of one class, the first line that of class 0."
            )
        names[name] = None
    return tuple(names)


def listed_classes(folders: Iterable[Path], otherwise: Callable[[], Iterable[str]]) -> tuple[str, ...]:
    """The classes in a list in one of the folders, see `find_class_list`; where there is none, those of ``otherwise``.

    Raises:
        DatasetError: as `read_class_list`.
    """
    listed = find_class_list(folders)
    return read_class_list(listed) if listed else tuple(otherwise())


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises:
        DatasetError: it cannot be read, or is no such text.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DatasetError(f"{path}: cannot read this file: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}: not text in UTF-8: {error.reason} at byte {error.start:,}. Save the file as UTF-8."
        ) from error
