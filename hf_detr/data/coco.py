"""COCO annotations: from a folder or a file to an index or a data set.

Class ids are contiguous from 0: categories with numbers as ids in the order of these numbers, categories with text as
ids in the order of the file. Two splits whose files number their categories differently agree by name: load the second
with the ``class_names`` of the first.
"""

import logging
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hf_detr.data.coco_layouts import CocoSplit, find_coco_splits
from hf_detr.data.coco_table import CocoTable, Id, read_coco_json, read_table
from hf_detr.data.findings import render_findings
from hf_detr.data.index import DetectionIndex, PackedStrings
from hf_detr.data.record_checks import structural_findings
from hf_detr.errors import DatasetError

if TYPE_CHECKING:
    from hf_detr.data.dataset import DetectionDataset

__all__ = ["CocoSplit", "find_coco_splits", "load_coco", "load_coco_index", "read_coco_json"]

logger = logging.getLogger(__name__)


def load_coco(
    images_dir: str | Path,
    annotations_path: str | Path | None = None,
    *,
    transform: Callable | None = None,
    name: str | None = None,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
    on_unreadable: str = "skip",
) -> "DetectionDataset":
    """The pictures and boxes of one split, as a data set for training (with a transform) or evaluation (without).

    >>> train = load_coco("data/train", "data/train.json")  # doctest: +SKIP

    Args:
        images_dir: the folder that the file names in the annotations start from.
        annotations_path: the COCO file; by default ``_annotations.coco.json`` or ``annotations.json`` in the folder of
            pictures, or a file named like it beside it (``train.json`` beside ``train/``).
        transform: see `DetectionDataset`.
        name: what messages call the split; by default the name of the folder.
        class_names: see `load_coco_index`.
        seed: of the transform's randomness.
        on_unreadable: ``"skip"`` or ``"raise"`` on a picture that cannot be read, see `DetectionDataset`.

    Raises:
        DatasetError: as `load_coco_index`, and where no annotation file is found.
    """
    from hf_detr.data.dataset import DetectionDataset

    images_dir = Path(images_dir)
    path = _annotations_of(images_dir) if annotations_path is None else Path(annotations_path)
    index = load_coco_index(images_dir, path, name=name or images_dir.name, class_names=class_names)
    return DetectionDataset(index, transform=transform, seed=seed, on_unreadable=on_unreadable)


def load_coco_index(
    images_dir: str | Path,
    annotations_path: str | Path,
    *,
    name: str,
    class_names: Sequence[str] | None = None,
) -> DetectionIndex:
    """The annotations of one split as arrays. Whether the pictures exist is not looked at.

    Args:
        images_dir: the folder that file names start from.
        annotations_path: the COCO file.
        name: what messages call the split, e.g. ``"train"``.
        class_names: classes to use, in this order, in place of the file's own order: those of the training split, or
            of a model. Categories of the file without objects may be missing from it. A class that the file does not
            list gets an id that no category of the file has.

    Raises:
        DatasetError: no such folder, the file is not COCO, it has errors that leave no way to read it (all of them are
            listed), or it has objects of classes that are not in `class_names`.
    """
    images_dir = Path(images_dir)
    if not images_dir.is_dir():
        raise DatasetError(f"{images_dir}: no such folder of pictures (for {annotations_path}).")
    table = read_table(CocoSplit(name, images_dir, Path(annotations_path)))
    findings = structural_findings(table)
    if findings:
        raise DatasetError(f"{annotations_path} cannot be used:\n\n{render_findings(findings)}")
    return _index(table, class_names)


def _annotations_of(images_dir: Path) -> Path:
    candidates = [
        images_dir / "_annotations.coco.json",
        images_dir / "annotations.json",
        images_dir.with_name(images_dir.name + ".json"),
    ]
    found = [path for path in candidates if path.is_file()]
    if len(found) != 1:
        trouble = "several annotation files" if found else "no annotation file"
        listed = "\n".join(f"  {path}" for path in found or candidates)
        raise DatasetError(f"{images_dir}: {trouble} for these pictures:\n{listed}\nName it as the second argument.")
    return found[0]


def _index(table: CocoTable, class_names: Sequence[str] | None) -> DetectionIndex:
    category_ids = tuple(_exact_id(row["id"]) for row in table.category_rows)
    order = class_order(category_ids)
    if class_names is None:
        class_of_category = np.argsort(order)
        category_ids = tuple(category_ids[position] for position in order)
        class_names = tuple(table.category_names[position] for position in order)
    else:
        class_names = tuple(class_names)
        class_of_category = _classes_by_name(table, class_names)
        category_ids = _category_ids_by_class(category_ids, class_of_category, class_names)
    by_image = np.argsort(table.image_of, kind="stable")
    return DetectionIndex(
        name=table.split.name,
        images_dir=table.split.images_dir,
        annotations_path=table.split.annotations_path,
        file_names=PackedStrings(table.file_names),
        image_ids=_packed_ids([row["id"] for row in table.image_rows]),
        sizes_hw=table.sizes_hw,
        first=np.searchsorted(table.image_of[by_image], np.arange(len(table.image_rows) + 1)),
        boxes_xywh=table.boxes_xywh[by_image],
        class_ids=class_of_category[table.category_of[by_image]].astype(np.int32),
        areas=table.areas[by_image],
        is_crowd=table.is_crowd[by_image],
        category_ids=category_ids,
        class_names=class_names,
    )


def class_order(category_ids: Sequence[Id]) -> list[int]:
    """Positions of categories by class id: by number, or as they are if any id is text.

    >>> class_order([7, 2, 5]), class_order(["b", "a"])
    ([1, 2, 0], [0, 1])
    """
    positions = list(range(len(category_ids)))
    if any(isinstance(value, str) for value in category_ids):
        return positions
    return sorted(positions, key=category_ids.__getitem__)


def _exact_id(value: int | float | str) -> Id:
    return value if isinstance(value, str) else int(value)


def _packed_ids(ids: Sequence[int | float | str]) -> np.ndarray | PackedStrings:
    if any(isinstance(value, str) for value in ids):
        return PackedStrings(ids)
    return np.fromiter(map(int, ids), np.int64, len(ids))


def _classes_by_name(table: CocoTable, class_names: tuple[str, ...]) -> np.ndarray:
    """``(K,)`` class of each category of the file, -1 for one without objects that is not among the classes."""
    class_of_name = {class_name: number for number, class_name in enumerate(class_names)}
    shared = [name for name in set(table.category_names) if table.category_names.count(name) > 1]
    if shared or len(class_of_name) < len(class_names):
        raise DatasetError(
            f"{table.split.annotations_path}: classes can only be matched by name where no name is used twice: "
            f"{', '.join(map(repr, sorted(shared))) or 'the classes asked for repeat a name'}."
        )
    classes = np.array([class_of_name.get(category_name, -1) for category_name in table.category_names])
    unknown = classes < 0
    used = np.bincount(table.category_of, minlength=len(classes)) > 0
    if (unknown & used).any():
        named = ", ".join(repr(table.category_names[position]) for position in np.flatnonzero(unknown & used))
        raise DatasetError(
            f"{table.split.annotations_path}: has objects of classes that are not among the {len(class_names)} "
            f"classes to be used: {named}. Those are: {_shortlist(class_names)}. Rename or remove them."
        )
    if unknown.any():
        named = ", ".join(repr(table.category_names[position]) for position in np.flatnonzero(unknown))
        logger.info("%s: left out categories without objects: %s", table.split.annotations_path, named)
    return classes


def _category_ids_by_class(
    category_ids: tuple[Id, ...], class_of_category: np.ndarray, class_names: tuple[str, ...]
) -> tuple[Id, ...]:
    """The file's id of each class; where it lists none, the next free number (the name, where ids are text)."""
    id_of_class = {int(number): category_ids[k] for k, number in enumerate(class_of_category) if number >= 0}
    if any(isinstance(value, str) for value in category_ids):
        return tuple(id_of_class.get(number, class_name) for number, class_name in enumerate(class_names))
    free = count(max(category_ids) + 1)
    return tuple(id_of_class[number] if number in id_of_class else next(free) for number in range(len(class_names)))


def _shortlist(names: Sequence[str], most: int = 10) -> str:
    listed = ", ".join(map(repr, names[:most]))
    return f"{listed} and {len(names) - most} more" if len(names) > most else listed
