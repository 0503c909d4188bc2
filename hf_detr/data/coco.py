"""COCO data sets in Python: a folder of pictures and a file of annotations as a data set."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hf_detr.data.coco_layouts import coco_split
from hf_detr.data.splits import load_index
from hf_detr.errors import DatasetError

if TYPE_CHECKING:
    from hf_detr.data.dataset import DetectionDataset


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
        class_names: see `hf_detr.data.splits.load_index`.
        seed: of the transform's randomness.
        on_unreadable: ``"skip"`` or ``"raise"`` on a picture that cannot be read, see `DetectionDataset`.

    Raises:
        DatasetError: as `hf_detr.data.splits.load_index`, and where no annotation file is found.
    """
    from hf_detr.data.dataset import DetectionDataset

    images_dir = Path(images_dir)
    path = _annotations_of(images_dir) if annotations_path is None else Path(annotations_path)
    index = load_index(coco_split(name or images_dir.name, images_dir, path), class_names)
    return DetectionDataset(index, transform=transform, seed=seed, on_unreadable=on_unreadable)


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
