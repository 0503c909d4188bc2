"""A `datasets.Dataset` in Python as a data set for training or evaluation."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset

    from hf_detr.data.dataset import DetectionDataset


def load_hf_dataset(
    dataset: "Dataset",
    *,
    transform: Callable | None = None,
    name: str = "train",
    class_names: Sequence[str] | None = None,
    box_format: str | None = None,
    seed: int = 0,
    on_unreadable: str = "skip",
) -> "DetectionDataset":
    """A split of a Hugging Face data set, for training (with a transform) or evaluation (without).

    >>> train = load_hf_dataset(datasets.load_dataset("me/cats", split="train"))  # doctest: +SKIP

    Args:
        dataset: with a column of pictures and one of objects, see docs/data.md. Pictures stay where they are and are
            read one by one; formats and transforms set on it do not matter.
        transform: see `DetectionDataset`.
        name: what messages call the split.
        class_names: classes to use, in this order: those of the training split for all others.
        box_format: how boxes are written, one of ``xywh``, ``xyxy``, ``cxcywh`` and the same with ``_norm``; by
            default it is found out, and logged.
        seed: of the transform's randomness.
        on_unreadable: ``"skip"`` or ``"raise"`` on a picture that cannot be read, see `DetectionDataset`.

    Raises:
        DatasetError: columns, boxes or classes that are not understood or have errors; all of them are listed.
    """
    from hf_detr.data.dataset import DetectionDataset
    from hf_detr.data.hub_rows import ArrowRows
    from hf_detr.data.hub_tables import RowTables
    from hf_detr.data.splits import load_index

    source = dataset.info.dataset_name or "dataset"
    split = RowTables(source, {name: ArrowRows(dataset)}, box_format=box_format).splits()[name]
    index = load_index(split, class_names)
    return DetectionDataset(index, transform=transform, seed=seed, on_unreadable=on_unreadable)
