"""Ids and names that the target can hold: unique, and as far as possible those of the source."""

from dataclasses import replace

import numpy as np

from hf_detr.data.export.gather import NewClass, with_classes
from hf_detr.data.export.sources import NEW_CATEGORY_IDS, Splits
from hf_detr.data.findings import shortlist
from hf_detr.data.table import is_id
from hf_detr.errors import DatasetError


def with_usable_ids(splits: Splits, notes: list[str]) -> Splits:
    """Category ids in the order of the classes, and ids of images and annotations unique within each split."""
    category_ids = next(iter(splits.values())).category_ids
    numbers = [value for value in category_ids if not isinstance(value, str)]
    if numbers and numbers != sorted(set(category_ids)):
        category_ids = tuple(range(1, len(category_ids) + 1))
        notes.append(NEW_CATEGORY_IDS)
    splits = {name: replace(index, category_ids=category_ids) for name, index in splits.items()}
    return _with_annotation_ids(_with_image_ids(splits, notes), notes)


def _with_image_ids(splits: Splits, notes: list[str]) -> Splits:
    ids = {name: [index.image_id(image) for image in range(len(index))] for name, index in splits.items()}
    if all(len(set(own)) == len(own) for own in ids.values()):
        return splits
    notes.append("Image ids are new, numbers from 1: some came up twice in one split.")
    ends = np.cumsum([len(index) for index in splits.values()])
    return {
        name: replace(index, image_ids=np.arange(end - len(index), end) + 1)
        for (name, index), end in zip(splits.items(), ends, strict=True)
    }


def _with_annotation_ids(splits: Splits, notes: list[str]) -> Splits:
    if all(_are_unique(index.annotation_ids) for index in splits.values()):
        return splits
    if any((index.annotation_ids != None).any() for index in splits.values()):  # noqa: E711 - each of an array
        notes.append("Ids of annotations are new, numbers from 1: some came up twice in one split, or were missing.")
    ends = np.cumsum([len(index.class_ids) for index in splits.values()])
    return {
        name: replace(index, annotation_ids=np.arange(end - len(index.class_ids), end) + 1)
        for (name, index), end in zip(splits.items(), ends, strict=True)
    }


def _are_unique(ids: np.ndarray) -> bool:
    if ids.dtype == object:
        return all(map(is_id, ids)) and len(set(ids)) == len(ids)
    return len(np.unique(ids)) == len(ids)


def with_trimmed_classes(splits: Splits, title: str, notes: list[str]) -> Splits:
    """Class names without the spaces around them, for formats whose readers take these away.

    Raises:
        DatasetError: names that would be the same, or none, or that are more than one line.
    """
    index = next(iter(splits.values()))
    trimmed = {name: name.strip() for name in index.class_names}
    spaced = [name for name, new in trimmed.items() if name != new]
    for name, new in trimmed.items():
        others = [other for other in trimmed if trimmed[other] == new and other != name]
        if not new or len(new.splitlines()) > 1 or others:
            reason = f"it would be the same as {others[0]!r}" if others else "a name is one line of text"
            raise DatasetError(
                f"{title} cannot hold the class {name!r}: {reason}. Give it another name with --rename."
            )
    if not spaced:
        return splits
    notes.append(f"Names of classes lose the spaces around them: {shortlist(map(repr, spaced))}.")
    classes = {
        trimmed[name]: NewClass(category_id, extras)
        for name, category_id, extras in zip(index.class_names, index.category_ids, index.category_extras, strict=True)
    }
    return {name: with_classes(one, classes, trimmed) for name, one in splits.items()}
