"""Classes renamed, merged and dropped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hf_detr.data.export.gather import NewClass, take_annotations, take_images, with_classes
from hf_detr.data.export.sourced import SourcedIndex
from hf_detr.data.findings import shortlist
from hf_detr.errors import DatasetError, did_you_mean


@dataclass(frozen=True)
class ClassEdits:
    """What becomes of the classes. All names are those of the data as it is; what is not named stays.

    Attributes:
        rename: old name to new name.
        merge: (old names, the name of the class they become).
        drop: names of classes whose objects go.
        keep: names of the only classes that stay; empty for all.
        class_map: old name to new name, or to None to drop it; several old names may have the same new one.
    """

    rename: tuple[tuple[str, str], ...] = ()
    merge: tuple[tuple[tuple[str, ...], str], ...] = ()
    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    class_map: Mapping[str, str | None] | None = None


def read_class_map(path: Path) -> dict[str, str | None]:
    """The mapping in a YAML file, old name to new name or to nothing.

    Raises:
        DatasetError: the file cannot be read, or holds something else.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DatasetError(f"{path}: cannot read this class map: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(new, str | None) for new in content.values()):
        raise DatasetError(f"{path}: expected lines such as `old name: new name`, or `old name:` to drop a class.")
    return {str(old): new for old, new in content.items()}


def new_names(class_names: Sequence[str], edits: ClassEdits) -> dict[str, str | None]:
    """The new name of every class, None for one that is dropped.

    Raises:
        DatasetError: a class that is not there, one that is named twice, one renamed to another one that stays, or
            nothing left.
    """
    merges = [(old, new) for olds, new in edits.merge for old in olds]
    requests: list[tuple[str, str | None]] = [*edits.rename, *merges, *((old, None) for old in edits.drop)]
    requests += (edits.class_map or {}).items()
    for old in [old for old, _ in requests] + list(edits.keep):
        if old not in class_names:
            listed = shortlist(map(repr, class_names), 20)
            raise DatasetError(f"There is no class {old!r}.{did_you_mean(old, class_names)} There are: {listed}.")
    wanted = dict(requests)
    for old in wanted:
        if sum(old == other for other, _ in requests) > 1:
            raise DatasetError(f"What shall become of the class {old!r}? It is named more than once.")
    new_of = {name: wanted.get(name, None if edits.keep and name not in edits.keep else name) for name in class_names}
    for old, new in edits.rename:
        others = [name for name, other in new_of.items() if other == new and name != old]
        if others:
            joined = f"--merge {','.join([old, *others])}={new}"
            raise DatasetError(f"--rename {old}={new}: {new!r} would be two classes. To make them one: {joined}")
    if class_names and not any(new is not None for new in new_of.values()):
        raise DatasetError("No class would be left.")
    return new_of


def edit_classes(index: SourcedIndex, new_of: Mapping[str, str | None]) -> SourcedIndex:
    """The index with its classes renamed, merged and dropped as ``new_of`` says; pictures stay, also without objects.

    A merged class stands where the first of its parts stood. It has the category id, and what else is known, of the
    part that has its name already, else of the first.
    """
    classes: dict[str, NewClass] = {}
    for old, category_id, extras in zip(index.class_names, index.category_ids, index.category_extras, strict=True):
        new = new_of[old]
        if new is not None and (new not in classes or old == new):
            classes[new] = NewClass(category_id, extras)
    dropped = np.array([new_of[name] is None for name in index.class_names], dtype=bool)
    left = take_annotations(index, ~dropped[index.class_ids]) if dropped.any() else index
    names = {old: new for old, new in new_of.items() if new is not None}
    return with_classes(left, classes, names)


def without_emptied(before: SourcedIndex, after: SourcedIndex) -> SourcedIndex:
    """``after`` without the pictures that have no annotations any more, and had some ``before``."""
    emptied = (np.diff(after.first) == 0) & (np.diff(before.first) > 0)
    return take_images(after, np.flatnonzero(~emptied)) if emptied.any() else after
