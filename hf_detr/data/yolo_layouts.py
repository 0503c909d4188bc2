"""Where a YOLO data set keeps its pictures and labels: as ``data.yaml`` says, or in folders that need none."""

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from hf_detr.data.folders import (
    SPLIT_WORDS,
    find_class_list,
    has_pictures,
    pictures_below,
    read_class_list,
    split_named,
)
from hf_detr.data.table import Split, splits_by_name
from hf_detr.data.yolo_yaml import entry_path, names_of, parts_of, read_description, read_yaml, split_pictures
from hf_detr.errors import DatasetError

logger = logging.getLogger(__name__)

YOLO_LAYOUTS_TEXT = """\
  DIR/data.yaml                               names the folders of pictures, and the classes  (YOLO)
  DIR/images/train/ and DIR/labels/train/     classes in DIR/classes.txt  (YOLO; also train/images/, train/labels/)"""

_CVAT_FOLDER = re.compile(r"obj_(\w+)_data")  # obj_train_data
_LOOKED_AT = 20  # pictures that are tried for a label beside them


def find_yolo_splits(data: Path) -> dict[str, Split]:
    """The splits of a ``data.yaml`` or of a folder; empty where the folder is no YOLO data set.

    Raises:
        DatasetError: several files like ``data.yaml``, or one that leads nowhere.
    """
    if data.is_file():
        return _described_splits(data)
    descriptions = [path for path in _yaml_files(data) if parts_of(read_yaml(path))]
    if len(descriptions) > 1:
        listed = "\n".join(f"  {path}" for path in descriptions)
        raise DatasetError(
            f"{data}: several files describe a YOLO data set:\n{listed}\nName one of them: --data FILE."
        )
    if descriptions:
        return _described_splits(descriptions[0])
    return splits_by_name(data, _split_folders(data))


def label_paths(images_dir: Path, pictures: Sequence[str], labels_dir: Path | None = None) -> list[Path]:
    """Where the label file of each picture is looked for.

    Args:
        images_dir: the folder that the paths of pictures start from.
        pictures: their paths.
        labels_dir: where labels lie as pictures lie in ``images_dir``. None for YOLO's rule: as the picture, with the
            last folder ``images`` of its path called ``labels``; beside the picture where there is no such folder.
    """
    if labels_dir is not None:
        return [labels_dir / Path(picture).with_suffix(".txt") for picture in pictures]
    start = images_dir.absolute()
    folder_of: dict[Path, Path] = {}
    paths = []
    for picture in pictures:
        path = start / picture
        if path.parent not in folder_of:
            folder_of[path.parent] = _labels_folder(path.parent)
        paths.append(folder_of[path.parent] / f"{path.stem}.txt")
    return paths


def class_names_near(*folders: Path) -> tuple[str, ...] | None:
    """Classes from ``classes.txt`` or a YAML file with `names` in one of the folders; None if there is none.

    Raises:
        DatasetError: a list that makes no sense.
    """
    for folder in folders:
        path = find_class_list([folder])
        if path is not None:
            return read_class_list(path)
        for path in _yaml_files(folder):
            content = read_yaml(path)
            if "names" in content:
                names = names_of(path, content)
                if list(names) != list(range(len(names))):
                    raise DatasetError(f"{path}: `names` has to number the classes 0, 1, 2, ... without a gap.")
                return tuple(names.values())
    return None


def _described_splits(path: Path) -> dict[str, Split]:
    description = read_description(path)
    found = []
    for part, entries in description.parts.items():
        name = SPLIT_WORDS[part]
        absent = [entry for entry in entries if entry_path(description.root, entry) is None]
        if absent and name == "test":  # exported without it more often than not
            logger.info("%s: `%s: %s` is not there; there is no test split", path, part, absent[0])
            continue
        found.append(Split(name, split_pictures(description, part)[0], path, "yolo", part=part))
    return splits_by_name(path, found)


def _split_folders(data: Path) -> Iterator[Split]:
    """Splits that folders with labels show, without any ``data.yaml``."""
    pairs = [(folder, data / "labels" / folder.name) for folder in _folders(data / "images")]
    pairs += [(folder / "images", folder / "labels") for folder in _folders(data)]
    pairs += [(folder, folder) for folder in _folders(data)]
    for images_dir, labels_dir in pairs:
        named = images_dir.parent if images_dir.name == "images" else images_dir
        cvat = _CVAT_FOLDER.fullmatch(named.name)
        name = split_named(cvat[1] if cvat else named.name)
        if name and images_dir.is_dir() and _has_labels(images_dir, labels_dir):
            yield _folder_split(name, images_dir, labels_dir, data)
    if _are_flat(data / "images", data / "labels"):
        yield _folder_split("train", data / "images", data / "labels", data)


def _are_flat(images_dir: Path, labels_dir: Path) -> bool:
    """Whether pictures and labels lie in these folders themselves, not in one for each split."""
    if not (images_dir.is_dir() and labels_dir.is_dir()):
        return False
    return any(path.is_file() for path in images_dir.iterdir()) and any(labels_dir.glob("*.txt"))


def _folder_split(name: str, images_dir: Path, labels_dir: Path, data: Path) -> Split:
    names = class_names_near(data, labels_dir, labels_dir.parent)
    return Split(name, images_dir, labels_dir, "yolo", class_names=names)


def _has_labels(images_dir: Path, labels_dir: Path) -> bool:
    if labels_dir != images_dir:
        return labels_dir.is_dir() and has_pictures(images_dir)
    some = pictures_below(images_dir)[:_LOOKED_AT]
    return any((images_dir / picture).with_suffix(".txt").is_file() for picture in some)


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _yaml_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml")) if folder.is_dir() else []


def _labels_folder(folder: Path) -> Path:
    parts = folder.parts
    if "images" not in parts:
        return folder
    last = len(parts) - 1 - parts[::-1].index("images")
    labels = Path(*parts[:last], "labels", *parts[last + 1 :])
    return labels if labels.is_dir() else folder
