"""From any format to any other, with other splits, classes and sizes: what `hf-detr data convert` does."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from hf_detr.data.aside import written_aside
from hf_detr.data.export.classes import ClassEdits, edit_classes, new_names, without_emptied
from hf_detr.data.export.duplicates import picture_groups
from hf_detr.data.export.formats import TargetFormat, losses
from hf_detr.data.export.gather import concatenate, rename_pictures, take_images
from hf_detr.data.export.ids import with_trimmed_classes, with_usable_ids
from hf_detr.data.export.names import name_pictures
from hf_detr.data.export.partition import stratified_partition
from hf_detr.data.export.pictures import (
    PictureWriter,
    missing_pictures,
    rewritable_name,
    scaled,
    turn_upright,
    unreadable_pictures,
)
from hf_detr.data.export.sources import SPLIT_NAMES, Splits, read_sources
from hf_detr.data.export.target import require_free, write_manifest
from hf_detr.data.export.wishes import Conversion, NewSplits, Wishes
from hf_detr.data.findings import counted
from hf_detr.data.images import UnreadableImageError
from hf_detr.data.splits import Split
from hf_detr.errors import DatasetError


@contextmanager
def _way_out_named() -> Iterator[None]:
    """A picture that cannot be read inside of the `with` block stops the conversion with what to do about it."""
    try:
        yield
    except UnreadableImageError as error:
        raise DatasetError(
            f"{error}. `hf-detr check` lists all such pictures; --on_unreadable skip leaves them out."
        ) from error


@_way_out_named()
def convert_dataset(sources: Sequence[Mapping[str, Split]], target: str | Path, wishes: Wishes) -> Conversion:
    """Read data sets and write them as one. The target appears when it is complete.

    Args:
        sources: the splits of each data set, as `find_splits` gives them. Splits of the same name become one.
        target: the folder to write, new or empty.
        wishes: what it is to be.

    Raises:
        DatasetError: data that cannot be used, a target that is not free, or wishes that do not go together.
    """
    target, notes = Path(target), []
    places = [place for source in sources for s in source.values() for place in (s.images_dir, s.annotations_path)]
    require_free(target, overwrite=wishes.overwrite, sources=places)
    wishes.refuse_contradictions()
    writer = PictureWriter(wishes.pictures, rescale=wishes.resize is not None)
    splits = _wished_splits(sources, wishes, notes)
    splits = _with_free_names(splits, wishes.format, writer, notes)
    splits = with_usable_ids(splits, notes if wishes.format.ids else [])
    if wishes.format.trimmed_classes:
        splits = with_trimmed_classes(splits, wishes.format.title, notes)
    splits = _with_sizes(splits, wishes)
    notes += losses(wishes.format, splits)
    try:
        with written_aside(target) as folder:
            wishes.format.write(folder, splits, writer)
            write_manifest(folder)
    except OSError as error:
        raise DatasetError(f"{target}: cannot be written: {error.strerror or error}") from error
    return _summary(target, wishes.to, splits, notes)


def _wished_splits(sources: Sequence[Mapping[str, Split]], wishes: Wishes, notes: list[str]) -> Splits:
    """The pictures and annotations that are wished for, in their splits."""
    splits = read_sources(sources, notes)
    if wishes.classes is not None:
        splits = _with_edited_classes(splits, wishes.classes, wishes.keep_emptied, notes)
    is_decoded = wishes.resize is not None or (wishes.split is not None and wishes.split.near_duplicates)
    splits = _without_unreadable(splits, wishes.on_unreadable, is_decoded, notes)
    if wishes.valid_size is not None:
        splits = _with_valid_of(splits, wishes.valid_size)
    return splits if wishes.split is None else _split_anew(splits, wishes.split, notes)


def _with_sizes(splits: Splits, wishes: Wishes) -> Splits:
    to = wishes.format
    if wishes.resize is not None or to.upright or (to.sizes and _has_unknown_sizes(splits)):
        splits = {name: turn_upright(index) for name, index in splits.items()}
    if wishes.resize is not None:
        splits = {name: scaled(index, wishes.resize) for name, index in splits.items()}
    return splits


def _with_edited_classes(splits: Splits, classes: ClassEdits, keep_emptied: bool, notes: list[str]) -> Splits:
    class_names = next(iter(splits.values())).class_names
    new_of = new_names(class_names, classes)
    if all(old == new for old, new in new_of.items()):
        return splits
    edited = {name: edit_classes(index, new_of) for name, index in splits.items()}
    gone = sum(len(splits[name].class_ids) - len(index.class_ids) for name, index in edited.items())
    left = {name: without_emptied(splits[name], index) for name, index in edited.items()}
    emptied = sum(len(edited[name]) - len(index) for name, index in left.items())
    if gone:
        dropped = sum(new is None for new in new_of.values())
        stays, goes = ("stays", "is") if emptied == 1 else ("stay", "are")
        fate = f"{stays} as background" if keep_emptied else f"{goes} left out"
        notes.append(
            f"{counted(gone, 'annotation')} of {counted(dropped, 'class')} dropped; "
            f"{counted(emptied, 'picture')} without any other {fate}."
        )
    return edited if keep_emptied else left


def _without_unreadable(splits: Splits, on_unreadable: str, is_decoded: bool, notes: list[str]) -> Splits:
    if on_unreadable == "raise":
        bad = {name: missing_pictures(index) for name, index in splits.items()}
    else:
        bad = {name: unreadable_pictures(index, decode=is_decoded) for name, index in splits.items()}
    count = sum(map(len, bad.values()))
    if not count:
        return splits
    shown = [str(splits[name].file_names[image]) for name, images in bad.items() for image in images[:3]][:3]
    listed = ", ".join(shown) + (" ..." if count > len(shown) else "")
    if on_unreadable == "raise":
        raise DatasetError(
            f"The files of {counted(count, 'picture')} are not there: {listed}. `hf-detr check` lists them all; "
            "--on_unreadable skip leaves these pictures out."
        )
    notes.append(f"{counted(count, 'picture')} left out with their objects, as they cannot be read: {listed}")
    return {
        name: take_images(index, np.setdiff1d(np.arange(len(index)), np.array(bad[name], dtype=np.int64)))
        for name, index in splits.items()
    }


def _with_valid_of(splits: Splits, valid_size: int) -> Splits:
    if "valid" not in splits or valid_size >= len(splits["valid"]):
        there = len(splits["valid"]) if "valid" in splits else "no"
        raise DatasetError(f"--valid_size {valid_size}: there are {there} validation pictures to take it from.")
    order = np.arange(len(splits["valid"]))
    moved = take_images(splits["valid"], order[valid_size:])
    train = concatenate([splits["train"], moved], "train") if "train" in splits else replace(moved, name="train")
    return splits | {"train": train, "valid": take_images(splits["valid"], order[:valid_size])}


def _split_anew(splits: Splits, wish: NewSplits, notes: list[str]) -> Splits:
    if len(splits) > 1:
        notes.append(f"Split anew, put together before: {', '.join(splits)}.")
    pool = concatenate(list(splits.values()), "all")
    groups = picture_groups(pool, pattern=wish.group_by, near_duplicates=wish.near_duplicates)
    sizes = np.bincount(groups)
    if (sizes > 1).any():
        notes.append(
            f"{counted(int(sizes[sizes > 1].sum()), 'picture')} stay together in "
            f"{counted(int((sizes > 1).sum()), 'group')}, the largest of {sizes.max():,}."
        )
    split_of = stratified_partition(pool, groups, wish.shares, seed=wish.seed)
    return {
        name: replace(take_images(pool, np.flatnonzero(split_of == number)), name=name)
        for number, name in enumerate(SPLIT_NAMES[: len(wish.shares)])
    }


def _with_free_names(splits: Splits, to: TargetFormat, writer: PictureWriter, notes: list[str]) -> Splits:
    if writer.rescale:
        splits = {
            name: rename_pictures(index, [rewritable_name(index.file_names[image]) for image in range(len(index))])
            for name, index in splits.items()
        }
    named, changed = name_pictures(splits, flat=to.flat_names, by_stem=to.names_by_stem, shared=to.shared_names)
    if changed:
        notes.append(f"{counted(changed, 'picture')} have new names: others had them, or the format has no folders.")
    return named


def _has_unknown_sizes(splits: Splits) -> bool:
    return any((index.sizes_hw == 0).any() for index in splits.values())


def _summary(target: Path, to: str, splits: Splits, notes: list[str]) -> Conversion:
    return Conversion(
        target=target,
        format=to,
        num_pictures={name: len(index) for name, index in splits.items()},
        num_objects={name: int((~index.is_crowd).sum()) for name, index in splits.items()},
        class_names=next(iter(splits.values())).class_names,
        notes=tuple(notes),
    )
