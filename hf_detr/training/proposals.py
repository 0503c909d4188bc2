"""What the data suggests to set otherwise, one sentence each. Nothing here changes a setting: the user decides."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_detr.data.annotation_checks import other_shape
from hf_detr.data.sampling import class_shares, repeat_factors
from hf_detr.models.families import num_anchors

if TYPE_CHECKING:
    from hf_detr.data.dataset import DetectionDataset
    from hf_detr.data.index import DetectionIndex
    from hf_detr.training.arguments import DetrTrainingArguments

# Rules of thumb. The fine-tuning recipes warm up for 500 steps: in a run of fewer than 1,000 little else happens.
_FEW_STEPS = 1000
_SMALLEST_BATCH = 4
_MOST_LEFT_OVER = 0.2  # share of the pictures that an epoch leaves out
_RARE_IMAGES = 100  # a class in no more pictures than this is not "frequent" in LVIS
_UNBALANCED = 10  # times as many pictures of the most frequent class as of the rarest
_MOST_BACKGROUND = 0.5
_MANY_GROUPS = 30
_GROUPS = 10
_TINY_SIDE = 8.0  # pixels of the input: a cell of the finest feature level
_MANY_TINY = 0.25
_MUCH_LARGER = 4.0  # times as many pixels as the input


def propose(
    dataset: "DetectionDataset", args: "DetrTrainingArguments", config: Any, image_size_hw: tuple[int, int]
) -> list[str]:
    """What to think about before this run; nothing where all is ordinary.

    Args:
        dataset: the training pictures.
        args: the run's settings.
        config: the model's configuration.
        image_size_hw: height and width of the model's input in pixels.
    """
    index = dataset.index
    return [
        *propose_length(args, dataset.epoch_length),
        *propose_queries(index, config, image_size_hw),
        *([] if dataset.repeats is not None else propose_sampling(index)),
        *propose_denoising(index, config),
        *propose_image_size(index, image_size_hw),
        *propose_tiles(index, image_size_hw),
    ]


def propose_length(args: "DetrTrainingArguments", num_images: int) -> Iterator[str]:
    """Smaller batches and more epochs for a run of very few steps; other batches where many pictures are left out."""
    batch, steps = args.total_batch_size, args.total_steps(num_images)
    if args.max_steps > 0:
        return
    if steps < _FEW_STEPS:
        divisor = 1
        while batch // (2 * divisor) >= _SMALLEST_BATCH and args.train_batch_size % (2 * divisor) == 0:
            if args.num_train_epochs * (num_images // (batch // divisor)) >= _FEW_STEPS:
                break
            divisor *= 2
        per_epoch = max(1, num_images // (batch // divisor))
        epochs = max(math.ceil(args.num_train_epochs), math.ceil(_FEW_STEPS / per_epoch))
        flags = [f"--per_device_train_batch_size {args.train_batch_size // divisor}"] * (divisor > 1)
        flags += [f"--num_train_epochs {epochs}"] * (epochs > args.num_train_epochs)
        rate = f"{args.rates().learning_rate / divisor:.2g}"
        if args.reference_batch_size is None:
            flags += [f"--learning_rate {rate}"] * (divisor > 1)
            follows = ""
        else:
            follows = f"; the learning rate is {rate} then" * (divisor > 1)
        yield f"{steps:,} steps are few: {' '.join(flags)} makes about {epochs * per_epoch:,}{follows}"
    elif num_images % batch > _MOST_LEFT_OVER * num_images:
        yield (
            f"every epoch leaves out {num_images % batch} of {num_images} pictures, which do not fill a batch of "
            f"{batch}: choose a smaller --per_device_train_batch_size"
        )


def propose_queries(index: "DetectionIndex", config: Any, image_size_hw: tuple[int, int]) -> Iterator[str]:
    """More queries, or tiles, where pictures have more objects than the model can find."""
    objects = index.objects_per_image
    crowded = int((objects > config.num_queries).sum())
    if not crowded:
        return
    most, anchors = int(objects.max()), num_anchors(config, image_size_hw)
    found = f"{crowded:,} pictures have more objects (up to {most:,}) than the model has queries, {config.num_queries}"
    if most <= anchors:
        yield f"{found}, and the rest cannot be found: --num_queries {min(math.ceil(most / 50) * 50, anchors)}"
    else:
        yield f"{found}; an input of this size allows {anchors:,} at most: take a larger --image_size"


def propose_sampling(index: "DetectionIndex") -> Iterator[str]:
    """Repeat-factor sampling where a class is rare, a share of background where most pictures are without objects."""
    shares = class_shares(index)
    present = np.flatnonzero(shares)
    if len(present) > 1:
        rarest, most = present[shares[present].argmin()], present[shares[present].argmax()]
        pictures = round(shares[rarest] * len(index))
        if pictures <= _RARE_IMAGES and shares[most] >= _UNBALANCED * shares[rarest]:
            threshold = float(f"{shares[most] / _UNBALANCED:.1g}")
            factors = repeat_factors(index, threshold)
            yield (
                f"{index.class_names[rarest]!r} is in {pictures} of {len(index):,} pictures, "
                f"{index.class_names[most]!r} in {round(shares[most] * len(index)):,}: --repeat_factor_threshold "
                f"{threshold:g} shows it {math.sqrt(threshold / shares[rarest]):.1f} times as often "
                f"(epochs become {factors.mean() - 1:.0%} longer)"
            )
    background = int((index.objects_per_image == 0).sum())
    if background > _MOST_BACKGROUND * len(index):
        yield (
            f"{background:,} of {len(index):,} pictures are without objects: --background_share 0.2 takes others of "
            "them in every epoch, and makes epochs shorter"
        )


def propose_denoising(index: "DetectionIndex", config: Any) -> Iterator[str]:
    """Fewer denoising queries where pictures have so few objects that each is repeated many times."""
    most = int(index.objects_per_image.max(initial=0))
    if most and config.num_denoising // most > _MANY_GROUPS:
        fewer = _GROUPS * most
        yield (
            f"with {most} object{'s' * (most > 1)} a picture at most, each is denoised {config.num_denoising // most} "
            f"times in every step, by {2 * (config.num_denoising // most) * most} queries beside the model's "
            f"{config.num_queries}: --config_overrides '{{\"num_denoising\": {fewer}}}' makes it {_GROUPS} times, by "
            f"{2 * fewer} queries"
        )


def propose_image_size(index: "DetectionIndex", image_size_hw: tuple[int, int]) -> Iterator[str]:
    """A rectangle of equal area where the pictures have quite another shape than the input."""
    size_hw = other_shape(index.sizes_hw, image_size_hw)
    if size_hw is not None:
        height, width = np.median(index.sizes_hw[index.sizes_hw.min(axis=1) > 0], axis=0)
        yield (
            f"pictures are {height:.0f} x {width:.0f} px (median): --image_size {size_hw[0]} {size_hw[1]} keeps their "
            "shape at the same cost"
        )


def propose_tiles(index: "DetectionIndex", image_size_hw: tuple[int, int]) -> Iterator[str]:
    """Tiles where pictures are much larger than the input, and many of their objects tiny once resized to it."""
    input_area = image_size_hw[0] * image_size_hw[1]
    areas = index.sizes_hw.astype(np.float64).prod(axis=1)
    if not len(areas) or np.median(areas) < _MUCH_LARGER * input_area:
        return
    scales = np.sqrt(input_area / np.maximum(areas, 1))
    sides = np.sqrt(index.boxes_xywh[:, 2:].clip(0).prod(axis=1)) * np.repeat(scales, np.diff(index.first))
    tiny = sides[~index.is_crowd] < _TINY_SIDE
    if len(tiny) and tiny.mean() > _MANY_TINY:
        height, width = image_size_hw
        yield (
            f"{tiny.mean():.0%} of the objects are smaller than {_TINY_SIDE:g} px once pictures are resized to "
            f"{height} x {width} px: --tile_size {height} {width} cuts them into tiles instead"
        )
