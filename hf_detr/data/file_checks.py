"""Checks of the picture files that annotations name, as far as the file system tells: nothing is opened."""

import os
import stat
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from hf_detr.data.findings import Finding, counted
from hf_detr.data.folders import pictures_below
from hf_detr.data.row_findings import about_images
from hf_detr.data.table import AnnotationTable

_THREADS = 16  # a file system in the network answers many questions at a time, each slowly
_MISSING = -1
_HINTS = 20


def file_sizes(table: AnnotationTable) -> np.ndarray:
    """``(N,)`` int64 bytes of each picture, -1 for one that is missing (or is no file)."""
    if table.pictures is not None:
        return table.pictures.file_sizes()
    paths = [os.path.join(table.split.images_dir, name) for name in table.file_names]
    sizes = np.empty(len(paths), np.int64)
    with ThreadPoolExecutor(_THREADS) as pool:
        for start, part in enumerate(pool.map(_sizes_of, (paths[start::_THREADS] for start in range(_THREADS)))):
            sizes[start::_THREADS] = part
    return sizes


def _sizes_of(paths: Sequence[str]) -> list[int]:
    return [_size_of(path) for path in paths]


def _size_of(path: str) -> int:
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return _MISSING
    return status.st_size if stat.S_ISREG(status.st_mode) else _MISSING


def file_findings(table: AnnotationTable, sizes: np.ndarray) -> list[Finding]:
    """Pictures that are missing or empty, given `file_sizes`."""
    named = np.array([bool(name) for name in table.file_names], bool)
    missing, empty = np.flatnonzero(named & (sizes == _MISSING)), np.flatnonzero(sizes == 0)
    hints = {}
    if table.pictures is None:
        similar = ((int(image), _similar_file(table.image_path(int(image)))) for image in missing[:_HINTS])
        hints = {image: hint for image, hint in similar if hint}
    if table.pictures is None and len(missing) == len(table.file_names):
        advice = "Not one of them is there: probably this is not the folder that the file names start from."
    else:
        advice = "Add the files, or remove these images and their annotations."
    return [
        *about_images(
            table,
            "file.missing",
            "error",
            missing,
            f"without a file in {table.split.images_dir}" if table.pictures is None else "without a picture",
            advice,
            value=lambda image: hints.get(image, "not there"),
        ),
        *about_images(
            table,
            "file.empty",
            "error",
            empty,
            "with a file of 0 bytes",
            "The copy or download broke off. Get the files again, or remove these images and their annotations.",
        ),
    ]


def unmentioned_findings(tables: Iterable[AnnotationTable]) -> list[Finding]:
    """Pictures in the folders of the splits that none of the splits mentions."""
    tables = [table for table in tables if table.pictures is None]
    mentioned = {
        os.path.normpath(os.path.join(table.split.images_dir, name)) for table in tables for name in table.file_names
    }
    findings = []
    for folder in dict.fromkeys(table.split.images_dir for table in tables):
        extra = [name for name in pictures_below(folder) if os.path.normpath(folder / name) not in mentioned]
        if extra:
            names = ", ".join(table.split.name for table in tables if table.split.images_dir == folder)
            findings.append(
                Finding(
                    "file.unmentioned",
                    "info",
                    f"{counted(len(extra), 'picture')} on disk that no annotation file lists.",
                    str(folder),
                    names,
                    len(extra),
                    tuple({"file": name} for name in extra),
                    "They are not used, not even as background. List them (COCO: under `images`) to use them so.",
                )
            )
    return findings


def _similar_file(path: Path) -> str | None:
    """A file beside `path` with the same name but for case and ending."""
    if not os.path.isdir(path.parent):  # unlike Path.is_dir also False for a name too long for a folder
        return f"the folder {path.parent} is not there"
    stem = path.stem.lower()
    for entry in sorted(os.listdir(path.parent)):
        if Path(entry).stem.lower() == stem:
            return f"not there, but {entry} is"
    return None
