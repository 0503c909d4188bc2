"""Which pictures an epoch consists of, and in which order: those of rare classes more often, background as asked."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from torch.utils.data import Sampler

from hf_detr.errors import DatasetError

if TYPE_CHECKING:
    from hf_detr.data.dataset import DetectionDataset
    from hf_detr.data.index import DetectionIndex

_ORDER_DRAWS = 3  # beside the draws of `hf_detr.data.collate`


def class_shares(index: "DetectionIndex") -> np.ndarray:
    """Share of the pictures ``(K,)`` that each class occurs in, crowds left out."""
    single = ~index.is_crowd
    image_of = np.repeat(np.arange(len(index)), np.diff(index.first))[single]
    pairs = np.unique(image_of * len(index.class_names) + index.class_ids[single])
    counts = np.bincount(pairs % len(index.class_names), minlength=len(index.class_names))
    return counts / max(len(index), 1)


def repeat_factors(index: "DetectionIndex", threshold: float) -> np.ndarray:
    """How many times ``(N,)`` each picture should come in an epoch by the rule of LVIS: 1 or more.

    A class that occurs in a share ``f`` of the pictures below the threshold ``t`` is shown ``sqrt(t / f)`` times as
    often, and a picture as often as its rarest class asks for (https://huggingface.co/papers/1908.03195, appendix B).
    """
    of_class = np.sqrt(threshold / np.maximum(class_shares(index), 1 / max(len(index), 1))).clip(1)
    factors = np.ones(len(index))
    image_of = np.repeat(np.arange(len(index)), np.diff(index.first))
    single = ~index.is_crowd
    np.maximum.at(factors, image_of[single], of_class[index.class_ids[single]])
    return factors


def plan_repeats(
    index: "DetectionIndex", *, repeat_factor_threshold: float | None = None, background_share: float | None = None
) -> np.ndarray | None:
    """How many times ``(N,)`` each picture comes in an epoch, in the mean over epochs; None for once each.

    Args:
        index: the training pictures.
        repeat_factor_threshold: see `repeat_factors`.
        background_share: this share of an epoch, from 0 to below 1, are pictures without objects. Where there are more
            of them, each epoch takes others; where there are fewer, they are repeated.

    Raises:
        DatasetError: a number out of range, or a share of background where no picture is without objects.
    """
    if repeat_factor_threshold is not None and not 0 < repeat_factor_threshold <= 1:
        raise DatasetError(
            f"repeat_factor_threshold is a share of the pictures, above 0 and up to 1; got {repeat_factor_threshold:g}"
        )
    if background_share is not None and not 0 <= background_share < 1:
        raise DatasetError(f"background_share is a share of an epoch, from 0 to below 1; got {background_share:g}")
    if repeat_factor_threshold is None and background_share is None:
        return None
    if repeat_factor_threshold is None:
        repeats = np.ones(len(index))
    else:
        repeats = repeat_factors(index, repeat_factor_threshold)
    if background_share is not None:
        background = index.objects_per_image == 0
        if background_share > 0 and not background.any():
            raise DatasetError(
                f"{index.annotations_path}: background_share is {background_share:g}, but every picture has objects. "
                "Leave it out, or add pictures of what is not to be found, without annotations."
            )
        wanted = repeats[~background].sum() * background_share / (1 - background_share)
        repeats[background] = wanted / max(background.sum(), 1)
    return repeats


def epoch_length(repeats: np.ndarray | None, num_images: int) -> int:
    """Pictures in an epoch, the same for every epoch."""
    return num_images if repeats is None else math.ceil(repeats.sum() - 1e-9 * num_images)


class EpochSampler(Sampler):
    """The pictures of an epoch in random order: a function of seed and epoch alone, equal on all processes.

    The epoch is that of the data set. So it does not matter how many samplers and loaders are wrapped around this
    one: a run resumed in the middle of an epoch, or split over processes, sees the order it would have seen.

    Yields positions in the index; for the second and further times a picture comes, ``(position, repetition)``, which
    `DetectionDataset` augments otherwise.

    Args:
        dataset: whose ``repeats``, ``epoch_length`` and ``epoch`` are used.
        seed: another seed, another order.
    """

    def __init__(self, dataset: "DetectionDataset", *, seed: int = 0):
        self.dataset = dataset
        self.seed = seed

    def __len__(self) -> int:
        return self.dataset.epoch_length

    def __iter__(self) -> Iterator[int | tuple[int, int]]:
        rng = np.random.default_rng(np.random.SeedSequence((self.seed, self.dataset.epoch, 0, _ORDER_DRAWS)))
        counts = draw_counts(self.dataset.repeats, len(self.dataset), rng)
        images = np.repeat(np.arange(len(counts)), counts)
        repetitions = np.arange(len(images)) - np.repeat(np.cumsum(counts) - counts, counts)
        for position in self.order(images, rng).tolist():
            image, repetition = int(images[position]), int(repetitions[position])
            yield (image, repetition) if repetition else image

    def order(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Positions ``(n,)`` in the ``images`` ``(n,)`` of an epoch, which are in ascending order."""
        return rng.permutation(len(images))


def draw_counts(repeats: np.ndarray | None, num_images: int, rng: np.random.Generator) -> np.ndarray:
    """How often ``(N,)`` each picture comes in one epoch: ``epoch_length`` in all, and its repeats in the mean.

    Systematic sampling: the repeats are laid end to end in random order, and a comb with teeth one apart is laid over
    them. Each picture comes as often as it is hit: its repeats rounded up or down.
    """
    if repeats is None:
        return np.ones(num_images, dtype=np.int64)
    length = epoch_length(repeats, num_images)
    order = rng.permutation(num_images)
    ends = np.cumsum(repeats[order])
    teeth = np.floor(ends * (length / ends[-1]) + rng.random()).astype(np.int64)
    teeth[-1] = length  # rounding may have it one tooth off
    counts = np.empty(num_images, dtype=np.int64)
    counts[order] = np.diff(teeth, prepend=0)
    return counts
