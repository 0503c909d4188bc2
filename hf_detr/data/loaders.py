"""Data sets of every format in Python: one split as a data set to train on (with a transform) or to evaluate on."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hf_detr.data.csv_layouts import find_csv_splits
from hf_detr.data.splits import Split, load_index
from hf_detr.data.voc_layouts import find_voc_splits
from hf_detr.data.yolo_layouts import find_yolo_splits
from hf_detr.errors import DatasetError

if TYPE_CHECKING:
    from hf_detr.data.dataset import DetectionDataset


def load_split(
    split: Split,
    *,
    transform: Callable | None = None,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
    on_unreadable: str = "skip",
) -> "DetectionDataset":
    """The pictures and boxes of one split of any format.

    >>> train = load_split(find_splits("my_data")["train"])  # doctest: +SKIP

    Args:
        split: one of `hf_detr.data.splits.find_splits`.
        transform: see `DetectionDataset`.
        class_names: see `hf_detr.data.splits.load_index`.
        seed: of the transform's randomness.
        on_unreadable: ``"skip"`` or ``"raise"`` on a picture that cannot be read, see `DetectionDataset`.

    Raises:
        DatasetError: as `hf_detr.data.splits.load_index`.
    """
    from hf_detr.data.dataset import DetectionDataset

    index = load_index(split, class_names)
    return DetectionDataset(index, transform=transform, seed=seed, on_unreadable=on_unreadable)


def load_yolo(
    data: str | Path,
    split: str = "train",
    *,
    transform: Callable | None = None,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
    on_unreadable: str = "skip",
) -> "DetectionDataset":
    """One split of a YOLO data set.

    >>> train = load_yolo("my_data/data.yaml")  # doctest: +SKIP

    Args:
        data: a ``data.yaml``, or a folder with one, or with ``images/train`` and ``labels/train``.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        transform: see `DetectionDataset`.
        class_names: see `hf_detr.data.splits.load_index`.
        seed: of the transform's randomness.
        on_unreadable: ``"skip"`` or ``"raise"`` on a picture that cannot be read, see `DetectionDataset`.

    Raises:
        DatasetError: no such split, or as `hf_detr.data.splits.load_index`.
    """
    found = _one_of(find_yolo_splits(_existing(data)), split, data, "YOLO")
    return load_split(found, transform=transform, class_names=class_names, seed=seed, on_unreadable=on_unreadable)


def load_voc(
    data: str | Path,
    split: str = "train",
    *,
    transform: Callable | None = None,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
    on_unreadable: str = "skip",
) -> "DetectionDataset":
    """One split of a Pascal VOC data set. Objects marked as difficult are left out of training, and not counted in AP.

    >>> train = load_voc("VOCdevkit")  # doctest: +SKIP

    Args:
        data: a folder with ``ImageSets/Main``, one with several of these, or one with XML files in ``train``.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        transform: see `DetectionDataset`.
        class_names: see `hf_detr.data.splits.load_index`.
        seed: of the transform's randomness.
        on_unreadable: ``"skip"`` or ``"raise"`` on a picture that cannot be read, see `DetectionDataset`.

    Raises:
        DatasetError: no such split, or as `hf_detr.data.splits.load_index`.
    """
    found = _one_of(find_voc_splits(_existing(data)), split, data, "Pascal VOC")
    return load_split(found, transform=transform, class_names=class_names, seed=seed, on_unreadable=on_unreadable)


def load_csv(
    data: str | Path,
    split: str = "train",
    *,
    transform: Callable | None = None,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
    on_unreadable: str = "skip",
) -> "DetectionDataset":
    """One split of a data set whose boxes are rows of CSV files.

    >>> train = load_csv("my_data/train.csv")  # doctest: +SKIP

    Args:
        data: a CSV file, or a folder with one, with one for each split, or with ``train/_annotations.csv``.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        transform: see `DetectionDataset`.
        class_names: see `hf_detr.data.splits.load_index`.
        seed: of the transform's randomness.
        on_unreadable: ``"skip"`` or ``"raise"`` on a picture that cannot be read, see `DetectionDataset`.

    Raises:
        DatasetError: no such split, or as `hf_detr.data.splits.load_index`.
    """
    found = _one_of(find_csv_splits(_existing(data)), split, data, "CSV")
    return load_split(found, transform=transform, class_names=class_names, seed=seed, on_unreadable=on_unreadable)


def _existing(data: str | Path) -> Path:
    if not Path(data).exists():
        raise DatasetError(f"{data}: no such file or folder.")
    return Path(data)


def _one_of(splits: Mapping[str, Split], name: str, data: str | Path, format_title: str) -> Split:
    if name not in splits:
        there = f"It has: {', '.join(splits)}." if splits else f"No {format_title} data set was found there."
        raise DatasetError(f"{data}: no split {name!r}. {there}")
    return splits[name]
