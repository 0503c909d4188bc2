"""Indices cut and put together: pictures chosen, several sources made one, classes united by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hf_detr.data.index import DetectionIndex, PackedStrings


@dataclass(frozen=True)
class ChosenPictures:
    """Pictures of several indices in an order of their own.

    Attributes:
        sources: the indices.
        source_of: ``(N,)`` which of them each picture is from.
        position_of: ``(N,)`` its position there.
    """

    sources: tuple[DetectionIndex, ...]
    source_of: np.ndarray
    position_of: np.ndarray

    def read(self, image: int) -> Path | bytes:
        """The file of picture number ``image``, or its content."""
        return self.sources[self.source_of[image]].picture(int(self.position_of[image]))


def take_images(index: DetectionIndex, images: np.ndarray) -> DetectionIndex:
    """The index of some pictures: of those at the positions ``images``, in this order, with their annotations."""
    counts = np.diff(index.first)[images]
    first = np.concatenate([[0], np.cumsum(counts)])
    rows = np.repeat(index.first[:-1][images] - first[:-1], counts) + np.arange(first[-1])
    return replace(
        index,
        file_names=PackedStrings([index.file_names[image] for image in images]),
        image_ids=pack_ids([index.image_id(image) for image in images]),
        sizes_hw=index.sizes_hw[images],
        first=first,
        pictures=ChosenPictures((index,), np.zeros(len(images), dtype=np.int64), np.asarray(images)),
        **{name: getattr(index, name)[rows] for name in _COLUMNS},
    )


def rename_pictures(index: DetectionIndex, file_names: Sequence[str]) -> DetectionIndex:
    """The index with other names for its pictures, which stay where they are."""
    here = np.arange(len(index))
    pictures = ChosenPictures((index,), np.zeros_like(here), here)
    return replace(index, file_names=PackedStrings(file_names), pictures=pictures)


def take_annotations(index: DetectionIndex, kept: np.ndarray) -> DetectionIndex:
    """The same pictures with fewer annotations: those where ``kept (M,)`` is true."""
    before = np.concatenate([[0], np.cumsum(kept)])
    return replace(index, first=before[index.first], **{name: getattr(index, name)[kept] for name in _COLUMNS})


def concatenate(indices: Sequence[DetectionIndex], name: str) -> DetectionIndex:
    """The pictures of all indices, which must have the same classes, as one split called ``name``."""
    counts = [len(index) for index in indices]
    offsets = np.cumsum([0, *(index.first[-1] for index in indices)])
    starts = [index.first[:-1] + offset for index, offset in zip(indices, offsets, strict=False)]
    return replace(
        indices[0],
        name=name,
        file_names=PackedStrings([index.file_names[image] for index in indices for image in range(len(index))]),
        image_ids=pack_ids([index.image_id(image) for index in indices for image in range(len(index))]),
        sizes_hw=np.concatenate([index.sizes_hw for index in indices]),
        first=np.concatenate([*starts, offsets[-1:]]),
        pictures=ChosenPictures(
            tuple(indices),
            np.repeat(np.arange(len(indices)), counts),
            np.concatenate([np.arange(count) for count in counts]),
        ),
        **{column: np.concatenate([getattr(index, column) for index in indices]) for column in _COLUMNS},
    )


_COLUMNS = ("boxes_xywh", "class_ids", "areas", "is_crowd")  # of a DetectionIndex: one row for each annotation


def pack_ids(ids: Sequence[int | str]) -> np.ndarray | PackedStrings:
    """Ids as an index keeps them: numbers in an array; where one is text, all as text."""
    if any(isinstance(value, str) for value in ids):
        return PackedStrings(map(str, ids))
    return np.array(ids, dtype=np.int64)


def unite_classes(indices: Sequence[DetectionIndex]) -> list[DetectionIndex]:
    """The same pictures, all with the classes of all indices: by name, in the order in which they come up.

    A class keeps the category id of the first index that has it. Where two classes would have one id, or some ids
    are numbers and others text, the ids become 1 to K.
    """
    id_of: dict[str, int | str] = {}
    for index in indices:
        for class_name, category_id in zip(index.class_names, index.category_ids, strict=True):
            id_of.setdefault(class_name, category_id)
    names, ids = tuple(id_of), tuple(id_of.values())
    if len(set(ids)) < len(ids) or len(set(map(type, ids))) > 1:
        ids = tuple(range(1, len(names) + 1))
    return [with_classes(index, names, ids, dict(zip(names, names, strict=True))) for index in indices]


def with_classes(
    index: DetectionIndex,
    class_names: tuple[str, ...],
    category_ids: tuple[int | str, ...],
    new_of: Mapping[str, str],
) -> DetectionIndex:
    """The same annotations with other classes: ``new_of`` has the new name of each old one that has annotations."""
    number_of = {class_name: number for number, class_name in enumerate(class_names)}
    new_class = [number_of.get(new_of.get(class_name, ""), -1) for class_name in index.class_names]
    return replace(
        index,
        class_ids=np.array(new_class, dtype=np.int32)[index.class_ids],
        class_names=class_names,
        category_ids=category_ids,
    )
