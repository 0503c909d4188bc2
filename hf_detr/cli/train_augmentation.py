"""What happens to the pictures of a training run on their way into a batch, as its recipe says."""

from typing import TYPE_CHECKING

from hf_detr.errors import RecipeError

if TYPE_CHECKING:
    from hf_detr.data.augment import Augmentation
    from hf_detr.data.collate import DetectionCollator
    from hf_detr.data.policy import Policy
    from hf_detr.recipes import Recipe
    from hf_detr.training.arguments import DetrTrainingArguments


def image_size_hw(recipe: "Recipe") -> tuple[int, int]:
    """Height and width of the model's input in pixels.

    Raises:
        RecipeError: neither one number nor two.
    """
    size = recipe.data.image_size
    if len(size) not in (1, 2):
        raise RecipeError(f"image_size takes one number, or height and width; got {' '.join(map(str, size))}")
    return size[0], size[-1]


def train_sizes_hw(recipe: "Recipe") -> list[tuple[int, int]]:
    """Height and width in pixels that the sizes of batches are drawn from."""
    from hf_detr.data.collate import multi_scale_sizes

    size_hw, augment = image_size_hw(recipe), recipe.augment
    return multi_scale_sizes(size_hw, augment.multi_scale_repeat) if augment.multi_scale else [size_hw]


def stop_epoch(args: "DetrTrainingArguments", num_images: int) -> float | None:
    """From this epoch on there is no heavy augmentation and no multi-scale; None for never."""
    if args.no_aug_epochs <= 0:
        return None
    return args.stages(num_images).stop


def augmentation_policy(recipe: "Recipe", args: "DetrTrainingArguments", num_images: int) -> "Policy":
    """Which augmentations are on in which epochs.

    Raises:
        RecipeError: epochs that are no range.
    """
    from hf_detr.data.policy import plan_policy

    stages, augment = args.stages(num_images), recipe.augment
    return plan_policy(
        stages.total,
        flat=stages.flat,
        stop=stop_epoch(args, num_images),
        plain_start=max(augment.mosaic_prob, augment.mixup_prob, augment.copyblend_prob) > 0,
        augment_epochs=augment.augment_epochs,
        mosaic_epochs=augment.mosaic_epochs,
        mixup_epochs=augment.mixup_epochs,
        copyblend_epochs=augment.copyblend_epochs,
    )


def build_transform(recipe: "Recipe", args: "DetrTrainingArguments", num_images: int) -> "Augmentation":
    """What changes the training pictures one by one; the tiles of a mosaic have half of the input size."""
    from hf_detr.data.augment import build_augmentation
    from hf_detr.data.custom import load_albumentations

    augment, policy = recipe.augment, augmentation_policy(recipe, args, num_images)
    heights, widths = zip(*train_sizes_hw(recipe), strict=True)
    start, stop = policy.augment
    return build_augmentation(
        photometric_prob=augment.photometric_prob,
        zoom_out_prob=augment.zoom_out_prob,
        iou_crop_prob=augment.iou_crop_prob,
        flip_prob=augment.flip_prob,
        min_box_side=augment.min_box_side,
        start_epoch=start,
        stop_epoch=stop,
        mosaic_prob=augment.mosaic_prob,
        mosaic_side=min(image_size_hw(recipe)) // 2,
        mosaic_epochs=policy.mosaic,
        largest_hw=(max(heights), max(widths)),
        custom=None if augment.albumentations is None else load_albumentations(augment.albumentations),
    )


def build_collator(recipe: "Recipe", args: "DetrTrainingArguments", num_images: int) -> "DetectionCollator":
    """What makes batches: at `image_size`, or at a size drawn around it, and their pictures mixed or not."""
    from hf_detr.data.collate import DetectionCollator
    from hf_detr.data.mixing import BatchMixing

    size_hw = image_size_hw(recipe)
    augment, policy = recipe.augment, augmentation_policy(recipe, args, num_images)
    return DetectionCollator(
        size_hw,
        train_sizes_hw=train_sizes_hw(recipe),
        stop_epoch=stop_epoch(args, num_images),
        min_box_side=augment.min_box_side,
        mixing=BatchMixing(
            mixup_prob=augment.mixup_prob,
            copyblend_prob=augment.copyblend_prob,
            mixup_epochs=policy.mixup,
            copyblend_epochs=policy.copyblend,
        ),
        seed=args.seed,
    )
