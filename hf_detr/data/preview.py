"""A look at a data set: some of its pictures with their boxes, as they are and as a detector will see them."""

from collections.abc import Iterator, Mapping

import numpy as np
from PIL import Image

from hf_detr.boxes import cxcywh_to_xyxy
from hf_detr.data.collate import DetectionCollator
from hf_detr.data.dataset import DetectionDataset
from hf_detr.data.index import DetectionIndex
from hf_detr.data.splits import Split, load_index
from hf_detr.draw import draw_boxes, image_grid
from hf_detr.errors import DatasetError

_CELL_SIDE = 320


def preview_grid(splits: Mapping[str, Split], *, count: int = 12, seed: int = 0) -> Image.Image | None:
    """Pictures with their boxes from every split whose annotations can be used; None if there is nothing to draw.

    Args:
        splits: the splits by name; colours go by the classes of the first.
        count: how many pictures, shared out among the splits.
        seed: of the choice.
    """
    indices: list[DetectionIndex] = []
    for split in splits.values():
        names = indices[0].class_names if indices else None
        try:
            index = load_index(split, names)
        except DatasetError:  # the doctor's report says why, in more detail
            continue
        indices.append(index)
    images, titles = [], []
    for number, index in enumerate(indices):
        share = count // len(indices) + (number < count % len(indices))
        for picture, title in _drawn(index, share, seed):
            images.append(picture)
            titles.append(title)
    return image_grid(images, columns=4, titles=titles, cell_side=_CELL_SIDE) if images else None


def training_grid(
    dataset: DetectionDataset, collator: DetectionCollator, *, epoch: int, count: int = 12, batch_size: int = 4
) -> Image.Image | None:
    """Pictures and boxes of an epoch exactly as a model is trained on them; None if no picture has objects.

    Args:
        dataset: with the transform of the training; it is set to ``epoch``.
        collator: that of the training; multi-scale shows as pictures of different size.
        epoch: counted from 0.
        count: how many pictures, those of `images_of_all_classes`.
        batch_size: pictures per batch. Where pictures are mixed, they are with others of their batch.
    """
    dataset.set_epoch(epoch)
    names = dataset.index.class_names
    chosen = images_of_all_classes(dataset.index, dataset.seed)[:count]
    images, titles = [], []
    for begin in range(0, len(chosen), batch_size):
        batch = collator([dataset[image] for image in chosen[begin : begin + batch_size]])
        for pixels_chw, label in zip(batch["pixel_values"], batch["labels"], strict=True):
            height, width = pixels_chw.shape[1:]
            boxes_xyxy = cxcywh_to_xyxy(label["boxes"].numpy()) * (width, height, width, height)
            class_ids = label["class_labels"].tolist()
            labels = [names[class_id] for class_id in class_ids]
            images.append(draw_boxes(pixels_chw.permute(1, 2, 0).numpy(), boxes_xyxy, labels, class_ids))
            titles.append(f"{dataset.index.file_names[int(label['image_index'])]}, {height} x {width}")
    return image_grid(images, columns=4, titles=titles, cell_side=_CELL_SIDE) if images else None


def _drawn(index: DetectionIndex, count: int, seed: int) -> Iterator[tuple[np.ndarray, str]]:
    dataset = DetectionDataset(index)
    left = count
    for image in images_of_all_classes(index, seed):
        if left == 0:
            return
        sample = dataset[image]
        if sample["readable"]:
            left -= 1
            class_ids = sample["class_ids"].tolist()
            labels = [index.class_names[class_id] for class_id in class_ids]
            picture = draw_boxes(sample["image"], sample["boxes_xyxy"], labels, class_ids, longer_side=_CELL_SIDE)
            yield picture, f"{index.name}: {index.file_names[image]}"


def images_of_all_classes(index: DetectionIndex, seed: int) -> list[int]:
    """All images with objects in random order, but first one for each class, the rarest class first."""
    rng = np.random.default_rng(seed)
    image_of = np.repeat(np.arange(len(index)), np.diff(index.first))
    counts = np.bincount(index.class_ids[~index.is_crowd], minlength=len(index.class_names))
    chosen: dict[int, None] = {}
    shown: set[int] = set()
    for class_id in np.argsort(counts, kind="stable").tolist():
        if counts[class_id] and class_id not in shown:
            image = int(rng.choice(image_of[(index.class_ids == class_id) & ~index.is_crowd]))
            chosen[image] = None
            shown.update(index.class_ids[index.first[image] : index.first[image + 1]].tolist())
    rest = np.flatnonzero(index.objects_per_image > 0)
    return list(chosen | dict.fromkeys(rng.permutation(rest).tolist()))
