"""``data.yaml`` of a YOLO data set: which pictures belong to which split, and the names of the classes.

What it may hold is what Ultralytics' trainers take (https://docs.ultralytics.com/datasets/detect/): a `path` or none,
splits that are folders, lists of folders, or text files that list pictures, and names as a list or a mapping.
"""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_detr.data.folders import SPLIT_WORDS, find_class_list, folder_with, pictures_below, read_class_list, read_text
from hf_detr.errors import DatasetError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class YoloDescription:
    """The content of a ``data.yaml``.

    Attributes:
        path: the file.
        root: the folder that its paths start from.
        parts: entries of each split by the key it has in the file, as they are written.
        names: class names by the number that labels have for them.
        keypoint_dims: numbers for each keypoint after the box, x y or x y v; 0 where labels have none.
    """

    path: Path
    root: Path
    parts: dict[str, tuple[str, ...]]
    names: dict[int, str]
    keypoint_dims: int


def read_description(path: Path) -> YoloDescription:
    """Read a ``data.yaml``.

    Raises:
        DatasetError: not YAML, no splits in it, pictures that are nowhere, or classes that make no sense.
    """
    content = read_yaml(path)
    parts = parts_of(content)
    if not parts:
        raise DatasetError(
            f"{path}: names no pictures. A YOLO data set needs `train: FOLDER`, and `val:` if there is."
        )
    return YoloDescription(
        path, _root(path, content, parts), parts, names_of(path, content), keypoint_dims_of(content)
    )


def keypoint_dims_of(content: dict[str, Any]) -> int:
    """How many numbers a keypoint has by ``kpt_shape``, number of keypoints and dims; 0 where there is no such key."""
    if "kpt_shape" not in content:
        return 0
    shape = content["kpt_shape"]
    return 2 if isinstance(shape, list) and shape[1:] == ["2"] else 3


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file with every value as the text it is, so that a class `no` stays one; empty if it is no mapping.

    Raises:
        DatasetError: it is not YAML.
    """
    import yaml

    try:
        content = yaml.load(read_text(path), Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise DatasetError(f"{path}: not YAML: {getattr(error, 'problem', error)}{where}.") from error
    return content if isinstance(content, dict) else {}


def split_pictures(description: YoloDescription, part: str) -> tuple[Path, list[str]]:
    """The folder that the file names of a split start from, and its pictures as paths below it.

    Raises:
        DatasetError: a folder or list that is not there.
    """
    entries = [entry_path(description.root, entry) for entry in description.parts[part]]
    missing = [entry for path, entry in zip(entries, description.parts[part], strict=True) if path is None]
    if missing:
        raise DatasetError(
            f"{description.path}: `{part}: {missing[0]}` is not in {description.root}. Correct the file; its paths "
            "start from `path`, or from the folder it lies in."
        )
    if len(entries) == 1 and entries[0].is_dir():
        return entries[0], pictures_below(entries[0])
    start = description.root
    found = [picture for path in entries for picture in _pictures_of_entry(path, start)]
    return start, sorted({os.path.relpath(picture, start) for picture in found})


def parts_of(content: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """The entries of each split; none where a file describes something else."""
    parts = {key: value for key, value in content.items() if key in SPLIT_WORDS and value}
    if not all(isinstance(value, str) or _is_list_of_text(value) for value in parts.values()):
        return {}
    return {key: (value,) if isinstance(value, str) else tuple(value) for key, value in parts.items()}


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _root(path: Path, content: dict[str, Any], parts: dict[str, tuple[str, ...]]) -> Path:
    """The folder that the paths start from: the first candidate below which a split is found."""
    written = content.get("path")
    candidates = [path.parent]
    if isinstance(written, str) and written:
        # Ultralytics starts from the working folder and from a folder `datasets`; a moved data set from neither.
        candidates = [path.parent / written, Path(written), Path("datasets") / written, Path("../datasets") / written]
        candidates.append(path.parent)
    entries = [entry for listed in parts.values() for entry in listed]
    for root in candidates:
        if any(entry_path(root, entry) for entry in entries):
            if root != candidates[0]:
                logger.info("%s: `path: %s` is not there; its paths start from %s", path, written, root)
            return root
    looked_for = "\n".join(f"  {root / entries[0]}" for root in dict.fromkeys(candidates))
    raise DatasetError(
        f"{path}: none of its pictures is there. Looked for `{next(iter(parts))}: {entries[0]}` in:\n{looked_for}\n"
        "Correct `path`, or leave it out if the file lies in the folder of the data set. Nothing is downloaded."
    )


def entry_path(root: Path, entry: str) -> Path | None:
    """The folder or list that an entry of a split means, None where it is not there.

    Roboflow writes ``../train/images`` for what lies beside the file.
    """
    beside = [root / entry.removeprefix("../")] if entry.startswith("../") else []
    return next((path for path in (root / entry, *beside) if path.exists()), None)


def _pictures_of_entry(path: Path, root: Path) -> list[Path]:
    if path.is_dir():
        return [path / picture for picture in pictures_below(path)]
    listed = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    return [(folder_with(line, (path.parent, root)) or path.parent) / line for line in listed]


def names_of(path: Path, content: dict[str, Any]) -> dict[int, str]:
    """Class names by number, from `names` and `nc`, or from a list of classes beside the file.

    Raises:
        DatasetError: no names, numbers that are none, or another number of names than `nc` says.
    """
    names, count = content.get("names"), _count(path, content.get("nc"))
    if _is_list_of_text(names):
        by_number = dict(enumerate(names))
    elif isinstance(names, dict) and all(key.isdecimal() and isinstance(names[key], str) for key in names):
        by_number = {int(key): names[key] for key in sorted(names, key=int)}
    elif names is not None:
        raise DatasetError(f"{path}: `names` has to be a list or a mapping like `0: cat`; it is {names!r:.60}.")
    elif (listed := find_class_list([path.parent])) is not None:
        by_number = dict(enumerate(read_class_list(listed)))
    elif count is not None:
        by_number = {number: f"class{number}" for number in range(count)}
        logger.info("%s: has no `names`; the classes are called class0, class1, ...", path)
    else:
        raise DatasetError(f"{path}: does not name the classes. Add `names: [cat, dog]`, in the order of the labels.")
    if count not in (None, len(by_number), max(by_number, default=-1) + 1):
        raise DatasetError(
            f"{path}: `nc: {count}`, but there are {len(by_number)} names: {', '.join(by_number.values())}. "
            "Correct one of them; with a name too many or too few, objects are called by the wrong one."
        )
    return by_number


def _count(path: Path, written: Any) -> int | None:
    if written is None or (isinstance(written, str) and written.isdecimal()):
        return None if written is None else int(written)
    raise DatasetError(f"{path}: `nc` has to be the number of classes; it is {written!r:.60}.")
