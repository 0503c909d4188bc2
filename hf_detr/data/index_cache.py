"""Annotations of large files are read once: afterwards their arrays are mapped from a folder, in a moment.

The folder is ``$HF_DETR_CACHE``, else ``~/.cache/hf_detr``. An entry holds for a file of one path, size and time of
change, so that another file is read anew; entries of the same path that hold no longer are removed. Entries are made
beside and renamed: whoever reads sees a whole one, and of several who write one wins. A damaged one is made anew.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_detr.cache import cache_folder
from hf_detr.data.coco_layouts import OBJECTS365
from hf_detr.data.index import DetectionIndex, PackedStrings
from hf_detr.data.table import Split

logger = logging.getLogger(__name__)

LARGE_FILE_BYTES = 50_000_000  # a file as large takes a second to read
_VERSION = 1  # of the layout, and of what readers make of a file
_DESCRIPTION = "index.json"
_ARRAYS = ("sizes_hw", "first", "boxes_xywh", "class_ids", "areas", "is_crowd")
_STRINGS = ("file_names", "image_ids")


def cached_index(
    split: Split, class_names: Sequence[str] | None, read: Callable[[], DetectionIndex]
) -> DetectionIndex:
    """What ``read`` gives, from the cache where it is there already, and put there where the file is large.

    Arrays from the cache are mapped: processes share them, and what is not looked at is not read.

    Args:
        split: whose annotations are read.
        class_names: as for `hf_detr.data.splits.load_index`.
        read: what reads them.
    """
    entry = _entry_of(split, class_names)
    if entry is None:
        return read()
    if entry.folder.is_dir():
        try:
            return _open(entry.folder, split)
        except (OSError, ValueError, KeyError) as error:
            logger.warning("%s is read anew, for its cache is damaged: %s", split.annotations_path, error)
            shutil.rmtree(entry.folder, ignore_errors=True)
    index = read()
    if index.pictures is not None:
        return index
    try:
        _write(index, entry)
    except OSError as error:
        logger.warning(
            "%s: cannot be cached in %s (%s); it will be read again next time. HF_DETR_CACHE names another folder.",
            split.annotations_path,
            entry.folder.parent,
            error.strerror,
        )
        return index
    return _open(entry.folder, split)


def is_cached(split: Split, class_names: Sequence[str] | None = None) -> bool:
    """Whether the annotations of a split have been read, and hence checked, before, and not changed since."""
    entry = _entry_of(split, class_names)
    return entry is not None and (entry.folder / _DESCRIPTION).is_file()


# Other formats look at the pictures too, for their names or sizes.
_FROM_THE_FILE_ALONE = frozenset({"coco", OBJECTS365})


@dataclass(frozen=True)
class _Entry:
    """``folder`` is named by a file, its state and what was asked for; the other two are how such names begin."""

    folder: Path
    same_path: str
    same_file: str


def _entry_of(split: Split, class_names: Sequence[str] | None) -> _Entry | None:
    """Where the cache of a split is; None if it is not kept in one large file."""
    path = Path(split.annotations_path)
    if split.format not in _FROM_THE_FILE_ALONE or not path.is_file():
        return None
    status = path.stat()
    if status.st_size < LARGE_FILE_BYTES:
        return None
    path_hash = _hash([str(path.resolve())])
    file_hash = _hash([_VERSION, status.st_size, status.st_mtime_ns])
    asked = _hash([split.format, split.part, split.class_names, None if class_names is None else list(class_names)])
    folder = cache_folder() / "annotations" / f"{path_hash}-{file_hash}-{asked}"
    return _Entry(folder, f"{path_hash}-", f"{path_hash}-{file_hash}-")


def _hash(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _write(index: DetectionIndex, entry: _Entry) -> None:
    entry.folder.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix="making-", dir=entry.folder.parent))
    try:
        arrays = {name: getattr(index, name) for name in _ARRAYS}
        strings = [name for name in _STRINGS if isinstance(getattr(index, name), PackedStrings)]
        for name in _STRINGS:
            values = getattr(index, name)
            if isinstance(values, PackedStrings):
                arrays |= dict(zip(_string_arrays(name), values.arrays, strict=True))
            else:
                arrays[name] = values
        for name, array in arrays.items():
            with (making / f"{name}.npy").open("wb") as file:
                np.save(file, array)
                file.flush()
                os.fsync(file.fileno())
        description = {
            "arrays": {name: (making / f"{name}.npy").stat().st_size for name in arrays},
            "strings": strings,
            "category_ids": index.category_ids,
            "class_names": index.class_names,
        }
        (making / _DESCRIPTION).write_text(json.dumps(description), encoding="utf-8")
        try:
            making.rename(entry.folder)
        except OSError:
            if not (entry.folder / _DESCRIPTION).is_file():
                raise  # another process was faster where there is one
    finally:
        shutil.rmtree(making, ignore_errors=True)
    for old in entry.folder.parent.glob(f"{entry.same_path}*"):
        if not old.name.startswith(entry.same_file):
            shutil.rmtree(old, ignore_errors=True)


def _open(folder: Path, split: Split) -> DetectionIndex:
    """An entry as an index.

    Raises:
        OSError, ValueError, KeyError: it is damaged.
    """
    description = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
    for name, size in description["arrays"].items():
        if (folder / f"{name}.npy").stat().st_size != size:
            raise ValueError(f"{name}.npy has not its {size} bytes")
    values: dict[str, Any] = {name: _map(folder / f"{name}.npy") for name in _ARRAYS}
    for name in _STRINGS:
        if name in description["strings"]:
            values[name] = PackedStrings.of_arrays(*(_map(folder / f"{part}.npy") for part in _string_arrays(name)))
        else:
            values[name] = _map(folder / f"{name}.npy")
    first, classes = values["first"], values["class_ids"]
    if first[-1] != len(classes) or (np.diff(first) < 0).any():
        raise ValueError("first.npy does not count the annotations")
    if len(classes) and not 0 <= classes.min() <= classes.max() < len(description["class_names"]):
        raise ValueError("class_ids.npy has numbers of no class")
    return DetectionIndex(
        name=split.name,
        images_dir=split.images_dir,
        annotations_path=split.annotations_path,
        category_ids=tuple(description["category_ids"]),
        class_names=tuple(description["class_names"]),
        **values,
    )


def _string_arrays(name: str) -> tuple[str, str]:
    return f"{name}_bytes", f"{name}_offsets"


class MappedArray(np.ndarray):
    """An array mapped from a file, read-only. Handed to a spawned process, it is mapped there again, not copied."""

    path: str | None = None  # None for what is made of it, such as a part

    def __reduce__(self):
        return np.asarray(self).__reduce__() if self.path is None else (_map, (self.path,))


def _map(path: str | Path) -> MappedArray:
    array = np.load(path, mmap_mode="r").view(MappedArray)
    array.path = str(path)
    return array
