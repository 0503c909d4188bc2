"""Data sets of every format in Python: one split as a data set to train on (with a transform) or to evaluate on."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from hf_detr.data.csv_layouts import find_csv_splits
from hf_detr.data.splits import Split, load_index
from hf_detr.data.voc_layouts import find_voc_splits
from hf_detr.data.yolo_layouts import find_yolo_splits
from hf_detr.errors import DatasetError

if TYPE_CHECKING:
    from hf_detr.data.dataset import DetectionDataset


class LoadOptions(TypedDict, total=False):
    """What there is to choose when a split is loaded, see `load_split`."""

    transform: Callable | None
    class_names: Sequence[str] | None
    seed: int
    on_unreadable: str


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


def load_yolo(data: str | Path, split: str = "train", **options: Unpack[LoadOptions]) -> "DetectionDataset":
    """One split of a YOLO data set.

    >>> train = load_yolo("my_data/data.yaml")  # doctest: +SKIP

    Args:
        data: a ``data.yaml``, or a folder with one, or with ``images/train`` and ``labels/train``.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        options: those of `load_split`.

    Raises:
        DatasetError: no such split, or as `hf_detr.data.splits.load_index`.
    """
    return _load(find_yolo_splits, "YOLO", data, split, options)


def load_voc(data: str | Path, split: str = "train", **options: Unpack[LoadOptions]) -> "DetectionDataset":
    """One split of a Pascal VOC data set. Objects marked as difficult are left out of training, and not counted in AP.

    >>> train = load_voc("VOCdevkit")  # doctest: +SKIP

    Args:
        data: a folder with ``ImageSets/Main``, one with several of these, or one with XML files in ``train``.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        options: those of `load_split`.

    Raises:
        DatasetError: no such split, or as `hf_detr.data.splits.load_index`.
    """
    return _load(find_voc_splits, "Pascal VOC", data, split, options)


def load_csv(data: str | Path, split: str = "train", **options: Unpack[LoadOptions]) -> "DetectionDataset":
    """One split of a data set whose boxes are rows of CSV files.

    >>> train = load_csv("my_data/train.csv")  # doctest: +SKIP

    Args:
        data: a CSV file, or a folder with one, with one for each split, or with ``train/_annotations.csv``.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        options: those of `load_split`.

    Raises:
        DatasetError: no such split, or as `hf_detr.data.splits.load_index`.
    """
    return _load(find_csv_splits, "CSV", data, split, options)


def _load(
    find: Callable[[Path], Mapping[str, Split]], title: str, data: str | Path, split: str, options: LoadOptions
) -> "DetectionDataset":
    if not Path(data).exists():
        raise DatasetError(f"{data}: no such file or folder.")
    splits = find(Path(data))
    if split not in splits:
        there = f"It has: {', '.join(splits)}." if splits else f"No {title} data set was found there."
        raise DatasetError(f"{data}: no split {split!r}. {there}")
    return load_split(splits[split], **options)
