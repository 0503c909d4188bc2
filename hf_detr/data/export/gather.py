"""Indices cut and put together: pictures chosen, several sources made one, classes united by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hf_detr.data.export.sourced import SourcedIndex
from hf_detr.data.index import PackedStrings

_ANNOTATION_COLUMNS = ("boxes_xywh", "class_ids", "areas", "is_crowd", "annotation_rows", "annotation_ids")
_IMAGE_COLUMNS = ("sizes_hw", "source_of", "image_rows", "drawn_hw", "orientations")


@dataclass(frozen=True)
class ChosenPictures:
    """Pictures of several indices in an order of their own.

    Attributes:
        sources: the indices.
        source_of: ``(N,)`` which of them each picture is from.
        position_of: ``(N,)`` its position there.
    """

    sources: tuple[SourcedIndex, ...]
    source_of: np.ndarray
    position_of: np.ndarray

    def read(self, image: int) -> Path | bytes:
        """The file of picture number ``image``, or its content."""
        return self.sources[self.source_of[image]].picture(int(self.position_of[image]))


def take_images(index: SourcedIndex, images: np.ndarray) -> SourcedIndex:
    """The index of some pictures: of those at the positions ``images``, in this order, with their annotations."""
    counts = np.diff(index.first)[images]
    first = np.concatenate([[0], np.cumsum(counts)])
    rows = np.repeat(index.first[:-1][images] - first[:-1], counts) + np.arange(first[-1])
    return replace(
        index,
        file_names=PackedStrings([index.file_names[image] for image in images]),
        image_ids=pack_ids([index.image_id(image) for image in images]),
        first=first,
        pictures=ChosenPictures((index,), np.zeros(len(images), dtype=np.int64), np.asarray(images)),
        **{name: getattr(index, name)[images] for name in _IMAGE_COLUMNS},
        **{name: getattr(index, name)[rows] for name in _ANNOTATION_COLUMNS},
    )


def rename_pictures(index: SourcedIndex, file_names: Sequence[str]) -> SourcedIndex:
    """The index with other names for its pictures, which stay where they are."""
    here = np.arange(len(index))
    pictures = ChosenPictures((index,), np.zeros_like(here), here)
    return replace(index, file_names=PackedStrings(file_names), pictures=pictures)


def take_annotations(index: SourcedIndex, kept: np.ndarray) -> SourcedIndex:
    """The same pictures with fewer annotations: those where ``kept (M,)`` is true."""
    before = np.concatenate([[0], np.cumsum(kept)])
    columns = {name: getattr(index, name)[kept] for name in _ANNOTATION_COLUMNS}
    return replace(index, first=before[index.first], **columns)


def concatenate(indices: Sequence[SourcedIndex], name: str) -> SourcedIndex:
    """The pictures of all indices, which must have the same classes, as one split called ``name``."""
    counts = [len(index) for index in indices]
    offsets = np.cumsum([0, *(index.first[-1] for index in indices)])
    starts = [index.first[:-1] + offset for index, offset in zip(indices, offsets, strict=False)]
    columns = {
        column: np.concatenate([getattr(index, column) for index in indices])
        for column in (*_IMAGE_COLUMNS, *_ANNOTATION_COLUMNS)
    }
    num_sources = np.cumsum([0, *(len(index.sources) for index in indices[:-1])])
    columns["source_of"] += np.repeat(num_sources, counts).astype(np.int32)
    return replace(
        indices[0],
        name=name,
        sources=tuple(source for index in indices for source in index.sources),
        file_names=PackedStrings([index.file_names[image] for index in indices for image in range(len(index))]),
        image_ids=pack_ids([index.image_id(image) for index in indices for image in range(len(index))]),
        first=np.concatenate([*starts, offsets[-1:]]),
        pictures=ChosenPictures(
            tuple(indices),
            np.repeat(np.arange(len(indices)), counts),
            np.concatenate([np.arange(count) for count in counts]),
        ),
        **columns,
    )


def pack_ids(ids: Sequence[int | str]) -> np.ndarray | PackedStrings:
    """Ids as an index keeps them: numbers in an array; where one is text, all as text."""
    if any(isinstance(value, str) for value in ids):
        return PackedStrings(map(str, ids))
    return np.array(ids, dtype=np.int64)


def unite_classes(indices: Sequence[SourcedIndex]) -> list[SourcedIndex]:
    """The same pictures, all with the classes of all indices: by name, in the order in which they come up.

    A class keeps the category id of the first index that has it. Where two classes would have one id, or some ids
    are numbers and others text, the ids become 1 to K.
    """
    classes: dict[str, NewClass] = {}
    for index in indices:
        for class_name, category_id, extras in zip(
            index.class_names, index.category_ids, index.category_extras, strict=True
        ):
            classes.setdefault(class_name, NewClass(category_id, extras))
    ids = [one.category_id for one in classes.values()]
    if len(set(ids)) < len(ids) or len(set(map(type, ids))) > 1:
        numbered = enumerate(classes.items(), 1)
        classes = {class_name: NewClass(number, one.extras) for number, (class_name, one) in numbered}
    same = {class_name: class_name for class_name in classes}
    return [with_classes(index, classes, same) for index in indices]


class NewClass(NamedTuple):
    """What a class is in the target: its id, and what else is known of it."""

    category_id: int | str
    extras: dict[str, Any]


def with_classes(index: SourcedIndex, classes: Mapping[str, NewClass], new_of: Mapping[str, str]) -> SourcedIndex:
    """The same annotations with other classes: ``new_of`` has the new name of each old one that has annotations."""
    number_of = {class_name: number for number, class_name in enumerate(classes)}
    new_class = [number_of.get(new_of.get(class_name, ""), -1) for class_name in index.class_names]
    return replace(
        index,
        class_ids=np.array(new_class, dtype=np.int32)[index.class_ids],
        class_names=tuple(classes),
        category_ids=tuple(one.category_id for one in classes.values()),
        category_extras=tuple(one.extras for one in classes.values()),
    )
