"""Random changes to training samples: D-FINE's augmentation (https://huggingface.co/papers/2410.13842).

An operation is any picklable ``operation(sample, rng) -> sample`` that keeps boxes and classes with their pixels, see
`hf_detr.data.dataset` for samples. An `Augmentation` runs operations in order; some of them only until a given epoch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from hf_detr.data.dataset import Sample
from hf_detr.data.geometry import (
    Crop,
    Frame,
    flip_boxes_xyxy,
    flip_image,
    frame_boxes_xyxy,
    frame_image,
    iou_crop,
    zoom_out_frame,
)
from hf_detr.data.photometric import distort_colours

# Data loaders work in processes. OpenCV's threads in each would fight over the cores, and a fork may hang on them.
cv2.setNumThreads(0)

Operation = Callable[[Sample, np.random.Generator], Sample]


@dataclass(frozen=True)
class Augmentation:
    """A transform for `DetectionDataset`.

    Attributes:
        heavy: operations that run in the epochs before ``stop_epoch``.
        always: operations that run in all epochs, after the heavy ones.
        stop_epoch: first epoch without the heavy ones; None for never.
    """

    heavy: Sequence[Operation] = ()
    always: Sequence[Operation] = ()
    stop_epoch: float | None = None

    def __call__(self, sample: Sample, rng: np.random.Generator, epoch: int) -> Sample:
        stopped = self.stop_epoch is not None and epoch >= self.stop_epoch
        for operation in (*(() if stopped else self.heavy), *self.always):
            sample = operation(sample, rng)
        return sample


def build_augmentation(
    *,
    photometric_prob: float = 0.5,
    zoom_out_prob: float = 0.5,
    iou_crop_prob: float = 0.8,
    flip_prob: float = 0.5,
    min_box_side: float = 1.0,
    stop_epoch: float | None = None,
) -> Augmentation:
    """Colours, zoom-out, IoU crop and flip with D-FINE's chances; ``AugmentArguments`` says what each is.

    Colours, zoom-out and crop stop at ``stop_epoch``; the flip goes on.
    """
    return Augmentation(
        heavy=(RandomColours(photometric_prob), RandomFrame(zoom_out_prob, iou_crop_prob)),
        always=(DropThinBoxes(min_box_side), RandomFlip(flip_prob)),
        stop_epoch=stop_epoch,
    )


@dataclass(frozen=True)
class RandomColours:
    """Brightness, contrast, saturation, hue and channel order with chance ``prob``, see `distort_colours`."""

    prob: float

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= self.prob:
            return sample
        return sample | {"image": distort_colours(sample["image"], rng)}


@dataclass(frozen=True)
class RandomFrame:
    """Zoom-out and IoU crop, each with its own chance, see `zoom_out_frame` and `iou_crop`.

    Only the crop's frame on the zoomed-out canvas is ever filled with pixels.
    """

    zoom_out_prob: float
    iou_crop_prob: float

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        size_hw, boxes_xyxy = sample["image"].shape[:2], sample["boxes_xyxy"]
        canvas = zoom_out_frame(size_hw, rng) if rng.random() < self.zoom_out_prob else Frame.around(size_hw)
        boxes_xyxy = frame_boxes_xyxy(boxes_xyxy, canvas)
        if rng.random() < self.iou_crop_prob:
            crop = iou_crop(canvas.size_hw, boxes_xyxy, rng)
        else:
            crop = Crop(Frame.around(canvas.size_hw), np.ones(len(boxes_xyxy), dtype=bool))
        return sample | {
            "image": frame_image(sample["image"], crop.frame.within(canvas)),
            "boxes_xyxy": frame_boxes_xyxy(boxes_xyxy[crop.kept], crop.frame),
            "class_ids": sample["class_ids"][crop.kept],
        }


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
