"""Pictures of a batch mixed with each other: MixUp, and the CopyBlend of DEIMv2.

Both are part of Dense O2O (https://huggingface.co/papers/2412.04234, https://huggingface.co/papers/2509.20787). They
work on pictures of one size, ``uint8 (B, H, W, 3)``, and change neither what they are given nor the type.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from hf_detr.data.policy import ALWAYS, Epochs, within

SHARE_RANGE = (0.45, 0.55)  # how much of a pixel is the picture's own


class Targets(NamedTuple):
    """What is in a picture: boxes ``(n, 4)`` float32 cxcywh, as fractions of it, and classes ``(n,)`` int64."""

    boxes_cxcywh_norm: np.ndarray
    class_ids: np.ndarray


@dataclass(frozen=True)
class BatchMixing:
    """MixUp with chance ``mixup_prob``; CopyBlend with chance ``copyblend_prob`` where there was no MixUp.

    Attributes:
        mixup_prob: chance of `mix_up` for a batch.
        copyblend_prob: chance of `copy_blend` for a batch that was not mixed.
        mixup_epochs: epochs with MixUp.
        copyblend_epochs: epochs with CopyBlend.
    """

    mixup_prob: float = 0.0
    copyblend_prob: float = 0.0
    mixup_epochs: Epochs = ALWAYS
    copyblend_epochs: Epochs = ALWAYS

    def __call__(
        self, pixels_bhwc: np.ndarray, targets: Sequence[Targets], rng: np.random.Generator, epoch: int
    ) -> tuple[np.ndarray, Sequence[Targets]]:
        if within(epoch, self.mixup_epochs) and rng.random() < self.mixup_prob:
            return mix_up(pixels_bhwc, targets, rng)
        if within(epoch, self.copyblend_epochs) and rng.random() < self.copyblend_prob:
            return copy_blend(pixels_bhwc, targets, rng)
        return pixels_bhwc, targets


def mix_up(
    pixels_bhwc: np.ndarray, targets: Sequence[Targets], rng: np.random.Generator
) -> tuple[np.ndarray, list[Targets]]:
    """Blend each picture with the one before it, the first with the last; it keeps the boxes of both.

    MixUp (https://huggingface.co/papers/1710.09412) as in DEIM: one share for the whole batch, 0.45 to 0.55. A batch
    of one picture has nothing to be mixed with and stays as it is.
    """
    if len(pixels_bhwc) == 1:
        return pixels_bhwc, list(targets)
    share = rng.uniform(*SHARE_RANGE)
    mixed = np.empty_like(pixels_bhwc)
    both = []
    for k in range(len(pixels_bhwc)):  # k - 1 is -1, the last one, for the first
        mixed[k] = cv2.addWeighted(pixels_bhwc[k], share, pixels_bhwc[k - 1], 1 - share, 0)
        both.append(_joined(targets[k], targets[k - 1]))
    return mixed, both


def copy_blend(
    pixels_bhwc: np.ndarray,
    targets: Sequence[Targets],
    rng: np.random.Generator,
    *,
    objects: int = 3,
    min_area: float = 100.0,
    expand: tuple[float, float] = (0.1, 0.25),
) -> tuple[np.ndarray, list[Targets]]:
    """Blend ``objects`` objects of the batch into each picture, at random places and at their own size.

    Objects are drawn without replacement from those of all pictures, its own among them, that have at least
    ``min_area`` square pixels; all of them where there are fewer. A margin around each, a share of its sides drawn
    from ``expand``, is blended along as far as both pictures reach; the box that is added is without the margin. One
    share of own pixels holds for the whole batch, 0.45 to 0.55. A batch without such objects stays as it is.
    """
    height, width = pixels_bhwc.shape[1:3]
    picture_of = np.repeat(np.arange(len(targets)), [len(target.class_ids) for target in targets])
    boxes = np.concatenate([target.boxes_cxcywh_norm for target in targets])
    class_ids = np.concatenate([target.class_ids for target in targets])
    pool = np.flatnonzero(boxes[:, 2].astype(np.float64) * boxes[:, 3] * height * width >= min_area)
    if not len(pool):
        return pixels_bhwc, list(targets)

    share = rng.uniform(*SHARE_RANGE)
    blended = pixels_bhwc.copy()
    extended = []
    for picture, target in enumerate(targets):
        chosen = rng.choice(pool, size=min(objects, len(pool)), replace=False)
        placed = boxes[chosen].copy()
        for row, k in enumerate(chosen):
            source = _pixel_columns_and_rows(boxes[k], (height, width))
            shift_xy = _blend_object(blended[picture], pixels_bhwc[picture_of[k]], source, share, expand, rng)
            placed[row, :2] += np.array(shift_xy) / (width, height)
        extended.append(_joined(target, Targets(placed, class_ids[chosen])))
    return blended, extended


def _joined(first: Targets, second: Targets) -> Targets:
    return Targets(*(np.concatenate(parts) for parts in zip(first, second, strict=True)))


class _Stretch(NamedTuple):
    """Pixels of a row or column, and how many there are in it altogether."""

    begin: int
    end: int
    length: int


def _pixel_columns_and_rows(box_cxcywh_norm: np.ndarray, size_hw: tuple[int, int]) -> tuple[_Stretch, _Stretch]:
    """The whole pixels that a box touches."""
    stretches = []
    for centre, side, length in zip(box_cxcywh_norm[:2], box_cxcywh_norm[2:], reversed(size_hw), strict=True):
        # Fractions are float32: a border that is meant to be on a pixel's edge may be a hundred-thousandth beside it.
        begin = math.floor(float(centre - side / 2) * length + 1e-3)
        end = math.ceil(float(centre + side / 2) * length - 1e-3)
        stretches.append(_Stretch(max(begin, 0), min(end, length), length))
    return stretches[0], stretches[1]


def _blend_object(
    target: np.ndarray,
    source: np.ndarray,
    stretches: tuple[_Stretch, _Stretch],
    share: float,
    expand: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[int, int]:
    """Blend a part of ``source`` into ``target``, which is changed in place, where it fits whole.

    Returns:
        By how many pixels it moved, in x and y.
    """
    margin = rng.uniform(*expand)
    shifts, slices = [], []
    for begin, end, length in stretches:
        at = int(rng.integers(length - (end - begin) + 1))
        wanted = int((end - begin) * margin)
        before = min(wanted, begin, at)
        after = min(wanted, length - end, length - (at + end - begin))
        shifts.append(at - begin)
        slices.append((slice(begin - before, end + after), slice(at - before, at + end - begin + after)))
    (from_x, to_x), (from_y, to_y) = slices
    target[to_y, to_x] = cv2.addWeighted(target[to_y, to_x], share, source[from_y, from_x], 1 - share, 0)
    return shifts[0], shifts[1]
