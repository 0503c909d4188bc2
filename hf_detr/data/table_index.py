"""From a table to an index: annotations sorted by picture, and categories numbered as classes.

Class ids are contiguous from 0: categories with numbers as ids in the order of these numbers, categories with text as
ids in the order of the source. Two splits that number their categories differently agree by name: the second takes the
names of the first.
"""

import logging
from collections.abc import Sequence
from itertools import count

import numpy as np

from hf_detr.data.findings import shortlist
from hf_detr.data.index import DetectionIndex, PackedStrings
from hf_detr.data.table import AnnotationTable, Id
from hf_detr.errors import DatasetError

logger = logging.getLogger(__name__)


def index_of_table(
    table: AnnotationTable, class_names: Sequence[str] | None = None, *, use_up: bool = False
) -> DetectionIndex:
    """The index of a table without structural findings.

    Args:
        table: which has the columns.
        class_names: see `hf_detr.data.splits.load_index`.
        use_up: sort the columns of the table where they are, without a copy; it cannot be used any more.

    Raises:
        DatasetError: objects of classes that are not in `class_names`, see `hf_detr.data.splits.load_index`.
    """
    category_ids = tuple(map(_exact_id, table.category_ids))
    order = class_order(category_ids)
    if class_names is None:
        class_of_category = np.argsort(order)
        category_ids = tuple(category_ids[position] for position in order)
        class_names = tuple(table.category_names[position] for position in order)
    else:
        class_names = tuple(class_names)
        class_of_category = _classes_by_name(table, class_names)
        category_ids = _category_ids_by_class(category_ids, class_of_category, class_names)
    by_image = annotation_order(table)
    return DetectionIndex(
        name=table.split.name,
        images_dir=table.split.images_dir,
        annotations_path=table.split.annotations_path,
        file_names=PackedStrings(table.file_names),
        image_ids=_packed_ids(table.image_ids),
        sizes_hw=table.sizes_hw,
        first=np.concatenate([[0], np.cumsum(np.bincount(table.image_of, minlength=len(table.file_names)))]),
        boxes_xywh=_ordered(table.boxes_xywh, by_image, use_up),
        class_ids=class_of_category.astype(np.int32)[_ordered(table.category_of, by_image, use_up)],
        areas=_ordered(table.areas, by_image, use_up),
        is_crowd=_ordered(table.is_crowd, by_image, use_up),
        category_ids=category_ids,
        class_names=class_names,
        pictures=table.pictures,
    )


def annotation_order(table: AnnotationTable) -> np.ndarray | slice:
    """``(M,)`` the annotations of a table by picture, those of each as they are; a slice where all are so already."""
    if (table.image_of[1:] >= table.image_of[:-1]).all():
        return slice(None)  # which copies nothing
    return np.argsort(table.image_of, kind="stable")


def _ordered(column: np.ndarray, order: np.ndarray | slice, in_place: bool) -> np.ndarray:
    if isinstance(order, slice) or not in_place:
        return column[order]
    for part in column.T if column.ndim == 2 else [column]:  # a quarter of the boxes at a time
        part[:] = part[order]
    return column


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


def _classes_by_name(table: AnnotationTable, class_names: tuple[str, ...]) -> np.ndarray:
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
            f"classes to be used: {named}. Those are: {shortlist(map(repr, class_names))}. Rename or remove them."
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
