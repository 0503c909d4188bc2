"""What pictures are called in the target: below its folder, and no two alike."""

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from hf_detr.data.export.gather import rename_pictures
from hf_detr.data.export.sourced import SourcedIndex
from hf_detr.data.folders import PICTURE_SUFFIXES
from hf_detr.data.images import suffix_of


def name_pictures(
    splits: Mapping[str, SourcedIndex], *, flat: bool, by_stem: bool, shared: bool
) -> tuple[dict[str, SourcedIndex], int]:
    """The splits with names that the target can hold, and how many pictures had to be called otherwise.

    Names stay as they are, folders included, but lead out of the target nowhere, and end as pictures do. Of pictures
    with the same name (upper and lower case alike, for other file systems) all but the first get a number:
    ``0001-2.jpg``. Pictures without a name are called by their position.

    Args:
        splits: the pictures.
        flat: the target has no folders, and no spaces in names: ``a/b c.jpg`` becomes ``a_b_c.jpg``.
        by_stem: the target knows pictures by their name without ending.
        shared: all splits are in one folder.
    """
    taken: set[str] = set()
    named, changed = {}, 0
    for name, index in splits.items():
        taken = taken if shared else set()
        names = []
        for image in range(len(index)):
            inside = _below(index.file_names[image], flat) or f"{image + 1:06}"
            if PurePosixPath(inside).suffix.lower() not in PICTURE_SUFFIXES:
                inside += suffix_of(index.picture(image))
            names.append(_free(inside, taken, _stem if by_stem else str))
            changed += names[-1] != index.file_names[image]
        named[name] = rename_pictures(index, names)
    return named, changed


def _below(file_name: str, flat: bool) -> str:
    parts = [part for part in file_name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    parts = [part.replace(":", "_") for part in parts]
    return re.sub(r"[/\s]", "_", "/".join(parts)) if flat else "/".join(parts)


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()


def _free(name: str, taken: set[str], key: Callable[[str], str]) -> str:
    path, number = PurePosixPath(name), 1
    while key(name).casefold() in taken:
        number += 1
        name = path.with_stem(f"{path.stem}-{number}").as_posix()
    taken.add(key(name).casefold())
    return name
