"""Random changes to training samples: D-FINE's augmentation (https://huggingface.co/papers/2410.13842), and DEIM's.

An operation is any picklable ``operation(sample, rng) -> sample`` that keeps boxes and classes with their pixels, see
`hf_detr.data.dataset` for samples. An `Augmentation` runs operations in order; some of them only in certain epochs.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from hf_detr.data.custom import CheckedOperation
from hf_detr.data.dataset import Sample
from hf_detr.data.geometry import (
    Crop,
    Frame,
    flip_boxes_xyxy,
    flip_image,
    frame_boxes_xyxy,
    iou_crop,
    show_frame,
    zoom_out_frame,
)
from hf_detr.data.mosaic import Mosaic
from hf_detr.data.photometric import distort_colours
from hf_detr.data.policy import ALWAYS, Epochs, within

# Data loaders work in processes. OpenCV's threads in each would fight over the cores, and a fork may hang on them.
cv2.setNumThreads(0)

Operation = Callable[[Sample, np.random.Generator], Sample]


@dataclass(frozen=True)
class Augmentation:
    """A transform for `DetectionDataset`.

    Attributes:
        heavy: operations that run in ``heavy_epochs``.
        always: operations that run in all epochs, after the heavy ones.
        dense: operations that run in ``dense_epochs`` in place of the heavy ones, with chance ``dense_prob``.
        dense_prob: chance of the dense ones.
        heavy_epochs: epochs of the heavy ones.
        dense_epochs: epochs of the dense ones.
    """

    heavy: Sequence[Operation] = ()
    always: Sequence[Operation] = ()
    dense: Sequence[Operation] = ()
    dense_prob: float = 0.0
    heavy_epochs: Epochs = ALWAYS
    dense_epochs: Epochs = ALWAYS

    def __call__(self, sample: Sample, rng: np.random.Generator, epoch: int) -> Sample:
        for operation in (*self._drawn(rng, epoch), *self.always):
            sample = operation(sample, rng)
        return sample

    def _drawn(self, rng: np.random.Generator, epoch: int) -> Sequence[Operation]:
        # No number is drawn where the dense ones are off: they leave what the others draw as it was.
        if self.dense_prob > 0 and within(epoch, self.dense_epochs) and rng.random() < self.dense_prob:
            return self.dense
        return self.heavy if within(epoch, self.heavy_epochs) else ()


def build_augmentation(
    *,
    photometric_prob: float = 0.5,
    zoom_out_prob: float = 0.5,
    iou_crop_prob: float = 0.8,
    flip_prob: float = 0.5,
    min_box_side: float = 1.0,
    start_epoch: float = 0.0,
    stop_epoch: float | None = None,
    mosaic_prob: float = 0.0,
    mosaic_side: int = 320,
    mosaic_epochs: Epochs = ALWAYS,
    largest_hw: tuple[int, int] | None = None,
    custom: Operation | None = None,
) -> Augmentation:
    """Colours, zoom-out, IoU crop and flip with D-FINE's chances, and DEIM's mosaic; ``AugmentArguments`` explains.

    Colours, zoom-out and crop are on from ``start_epoch`` until before ``stop_epoch``, None for the end; the flip is
    always on. A mosaic, of tiles with a shorter side of ``mosaic_side`` pixels, takes the place of zoom-out and crop.
    Zoomed-out pictures and mosaics are made no larger than ``largest_hw``, the largest size batches are resized to.
    ``custom`` comes after them, in the same epochs: an operation of your own, such as an `AlbumentationsPipeline`.
    """
    colours, drop_thin = RandomColours(photometric_prob), DropThinBoxes(min_box_side)
    own = () if custom is None else (drop_thin, CheckedOperation(custom))
    return Augmentation(
        heavy=(colours, RandomFrame(zoom_out_prob, iou_crop_prob, largest_hw), *own),
        always=(drop_thin, RandomFlip(flip_prob)),
        dense=(Mosaic(mosaic_side, largest_hw=largest_hw), colours, *own),
        dense_prob=mosaic_prob,
        heavy_epochs=(start_epoch, math.inf if stop_epoch is None else stop_epoch),
        dense_epochs=mosaic_epochs,
    )


@dataclass(frozen=True)
class RandomColours:
    """Brightness, contrast, saturation, hue and channel order, each with chance ``prob``, see `distort_colours`."""

    prob: float

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return sample | {"image": distort_colours(sample["image"], rng, prob=self.prob)}


@dataclass(frozen=True)
class RandomFrame:
    """Zoom-out and IoU crop, each with its own chance, see `zoom_out_frame` and `iou_crop`.

    Only the crop's frame on the zoomed-out canvas is ever filled with pixels, and no more of them than
    ``largest_hw``, if given: see `show_frame`.
    """

    zoom_out_prob: float
    iou_crop_prob: float
    largest_hw: tuple[int, int] | None = None

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        size_hw, boxes_xyxy = sample["image"].shape[:2], sample["boxes_xyxy"]
        canvas = zoom_out_frame(size_hw, rng) if rng.random() < self.zoom_out_prob else Frame.around(size_hw)
        boxes_xyxy = frame_boxes_xyxy(boxes_xyxy, canvas)
        if rng.random() < self.iou_crop_prob:
            crop = iou_crop(canvas.size_hw, boxes_xyxy, rng)
        else:
            crop = Crop(Frame.around(canvas.size_hw), np.ones(len(boxes_xyxy), dtype=bool))
        image, boxes_xyxy = show_frame(
            sample["image"],
            frame_boxes_xyxy(boxes_xyxy[crop.kept], crop.frame),
            crop.frame.within(canvas),
            self.largest_hw,
        )
        return sample | {"image": image, "boxes_xyxy": boxes_xyxy, "class_ids": sample["class_ids"][crop.kept]}


@dataclass(frozen=True)
class DropThinBoxes:
    """Leave out boxes with a side of less than ``min_side`` pixels."""

    min_side: float

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        sides = sample["boxes_xyxy"][:, 2:] - sample["boxes_xyxy"][:, :2]
        kept = (sides >= self.min_side).all(-1)
        return sample | {"boxes_xyxy": sample["boxes_xyxy"][kept], "class_ids": sample["class_ids"][kept]}


@dataclass(frozen=True)
class RandomFlip:
    """Mirror left to right with chance ``prob``."""

    prob: float

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= self.prob:
            return sample
        width = sample["image"].shape[1]
        return sample | {
            "image": flip_image(sample["image"]),
            "boxes_xyxy": flip_boxes_xyxy(sample["boxes_xyxy"], width),
        }
