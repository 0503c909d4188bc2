"""From samples to a batch: one size for all pictures, boxes as fractions of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info

from hf_detr.boxes import normalise_boxes, xyxy_to_cxcywh
from hf_detr.data.dataset import Sample
from hf_detr.data.images import resize_image
from hf_detr.data.mixing import BatchMixing, Targets

STRIDE = 32  # input sizes are multiples of the coarsest feature level's stride

SizeHW = tuple[int, int]

_SIZE_DRAWS, _MIXING_DRAWS = 1, 2


def multi_scale_sizes(image_size_hw: SizeHW, repeat: int) -> list[SizeHW]:
    """Sizes (height, width) to draw a batch's size from: 75 % to 125 % in steps of 32 px, the base ``repeat`` times.

    The list of the official D-FINE, DEIM and RT-DETR code for squares. For rectangles the longer side takes the
    official steps, and the shorter one follows in proportion, rounded to 32 px.

    >>> sorted({height for height, width in multi_scale_sizes((640, 640), repeat=20)})
    [480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800]
    >>> multi_scale_sizes((96, 128), repeat=1)
    [(64, 96), (96, 128), (128, 160)]
    """
    base = max(image_size_hw)
    lowest = max(int(base * 0.75) // STRIDE, 1) * STRIDE
    highest = int(base * 1.25) // STRIDE * STRIDE
    steps = (base - lowest) // STRIDE
    smaller = [lowest + STRIDE * i for i in range(steps)]
    larger = [highest - STRIDE * i for i in range(steps)]
    return [_scaled(image_size_hw, side / base) for side in [*smaller, *[base] * repeat, *larger]]


def _scaled(size_hw: SizeHW, factor: float) -> SizeHW:
    height, width = (max(round(side * factor / STRIDE), 1) * STRIDE for side in size_hw)
    return height, width


class DetectionCollator:
    """Resize the pictures of a batch to one size and put boxes in the form DETR models are trained on.

    Returns a dict:

    - ``pixel_values``: ``uint8 (B, 3, H, W)``, channels last in memory. Rescaling and normalising is left to the
      device, for bytes are a quarter of what floats would send through worker, pinned memory and bus.
    - ``labels``: per picture ``class_labels`` ``(n,)`` int64, ``boxes`` ``(n, 4)`` float32 cxcywh normalised,
      ``image_index`` int64, ``orig_size_hw`` ``(2,)`` int64, ``readable`` bool
    - ``unreadable``: list of ``(path, reason)``, only where there are any

    Args:
        image_size_hw: height and width of the model's input in pixels.
        train_sizes_hw: sizes to draw from, see `multi_scale_sizes`; None for always ``image_size_hw``. Repeated
            entries are drawn more often. The size depends on seed, epoch and the first picture of the batch alone,
            hence not on the number of workers.
        stop_epoch: from this epoch on (the samples know theirs) only ``image_size_hw``.
        min_box_side: drop boxes thinner than this many pixels of ``image_size_hw``; 0 keeps all.
        mixing: what mixes the pictures of a batch, see `BatchMixing`; None for nothing. Its draws depend on the same
            three as the size.
        seed: other seeds draw other sizes and mixtures.
    """

    def __init__(
        self,
        image_size_hw: SizeHW,
        *,
        train_sizes_hw: Sequence[SizeHW] | None = None,
        stop_epoch: float | None = None,
        min_box_side: float = 0.0,
        mixing: BatchMixing | None = None,
        seed: int = 0,
    ):
        self.image_size_hw = image_size_hw
        self.train_sizes_hw = list(train_sizes_hw) if train_sizes_hw else [image_size_hw]
        self.stop_epoch = float("inf") if stop_epoch is None else stop_epoch
        self.min_box_side = min_box_side
        self.mixing = mixing or BatchMixing()
        self.seed = seed
        for size_hw in [image_size_hw, *self.train_sizes_hw]:
            if any(side <= 0 or side % STRIDE for side in size_hw):
                raise ValueError(f"input sizes must be multiples of {STRIDE} pixels, got {tuple(size_hw)}")

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        epoch, first_image = samples[0]["epoch"], samples[0]["image_index"]
        size_hw = self.batch_size_hw(epoch, first_image)
        pixels_bhwc, targets = self.mixing(
            np.stack([resize_image(sample["image"], size_hw) for sample in samples]),
            [self._targets(sample) for sample in samples],
            self._rng(epoch, first_image, _MIXING_DRAWS),
            epoch,
        )
        pixels = torch.from_numpy(pixels_bhwc)
        if get_worker_info() is not None:
            # It goes there anyway. Where there is no room, an error here reaches the trainer; the thread that would do
            # it later only prints one, and the trainer would wait for ever.
            pixels.share_memory_()
        batch = {
            "pixel_values": pixels.permute(0, 3, 1, 2),
            "labels": [_label(sample, target) for sample, target in zip(samples, targets, strict=True)],
        }
        unreadable = [failure for sample in samples for failure in sample["unreadable"]]
        return batch | ({"unreadable": unreadable} if unreadable else {})

    def for_evaluation(self) -> "DetectionCollator":
        """The collator of an evaluation beside this one: always ``image_size_hw``, all boxes."""
        return DetectionCollator(self.image_size_hw)

    def batch_size_hw(self, epoch: int, first_image: int) -> SizeHW:
        """Height and width of the batch that begins with picture ``first_image``."""
        if epoch >= self.stop_epoch:
            return self.image_size_hw
        rng = self._rng(epoch, first_image, _SIZE_DRAWS)
        return self.train_sizes_hw[rng.integers(len(self.train_sizes_hw))]

    def _rng(self, epoch: int, first_image: int, draws: int) -> np.random.Generator:
        # the fourth number keeps this apart from `sample_rng`, which draws from the other three
        return np.random.default_rng(np.random.SeedSequence((self.seed, epoch, first_image, draws)))

    def _targets(self, sample: Sample) -> Targets:
        boxes_cxcywh_norm = xyxy_to_cxcywh(normalise_boxes(sample["boxes_xyxy"], sample["image"].shape[:2]))
        height, width = self.image_size_hw
        kept = (boxes_cxcywh_norm[:, 2:] * (width, height) >= self.min_box_side).all(-1)
        return Targets(boxes_cxcywh_norm[kept].astype(np.float32), sample["class_ids"][kept])


def _label(sample: Sample, targets: Targets) -> dict[str, torch.Tensor]:
    return {
        "class_labels": torch.from_numpy(targets.class_ids),
        "boxes": torch.from_numpy(targets.boxes_cxcywh_norm),
        "image_index": torch.tensor(sample["image_index"], dtype=torch.int64),
        "orig_size_hw": torch.tensor(sample["orig_size_hw"], dtype=torch.int64),
        "readable": torch.tensor(sample["readable"]),
    }
