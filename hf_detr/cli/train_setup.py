"""The parts of a training run, made from its recipe."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_detr.cli.flags import hub_options
from hf_detr.errors import DatasetError, RecipeError, TrainingError

if TYPE_CHECKING:
    from hf_detr.data.arguments import DataArguments
    from hf_detr.data.augment import Augmentation
    from hf_detr.data.collate import DetectionCollator
    from hf_detr.data.dataset import DetectionDataset
    from hf_detr.data.index import DetectionIndex
    from hf_detr.data.memory import PictureCache
    from hf_detr.data.policy import Policy
    from hf_detr.data.splits import Split
    from hf_detr.data.tiles import Tiles
    from hf_detr.distillation.teacher import Teacher
    from hf_detr.recipes import Recipe
    from hf_detr.training.arguments import DetrTrainingArguments
    from hf_detr.training.trainer import DetrTrainer

logger = logging.getLogger(__name__)

# Settings of the run as a whole, which Transformers would act upon in the middle of it.
_HUB_FIELDS = ("push_to_hub", "hub_model_id", "hub_token", "hub_private_repo")


def training_arguments(recipe: "Recipe") -> "tuple[DetrTrainingArguments, dict[str, Any]]":
    """The recipe's `train` section as arguments, and apart from it what concerns the Hub.

    Raises:
        RecipeError: values that cannot go together.
    """
    from hf_detr.training.arguments import DetrTrainingArguments

    values = dict(recipe.train)
    hub = {name: values.pop(name, None) for name in _HUB_FIELDS}
    if values.get("output_dir") is None:
        data = Path(recipe.data.data or recipe.data.train_images or "data")
        name = data.stem if data.is_file() else data.name
        values["output_dir"] = f"runs/{'-'.join(Path(recipe.name).parts[-2:])}-{name}"
    try:
        return DetrTrainingArguments(**values), hub
    except ValueError as error:
        raise RecipeError(str(error)) from error


def find_splits(recipe: "Recipe") -> "dict[str, Split]":
    """Where the training and, if there is one, the validation split lie.

    Raises:
        DatasetError: no data given, half of a pair given, or nothing found.
        RecipeError: as `refuse_what_cannot_be_streamed`.
    """
    from hf_detr.data import splits as data_splits

    data = recipe.data
    if data.streaming:
        refuse_what_cannot_be_streamed(data)
    hub = replace(hub_options(data), streaming=data.streaming, shuffle_window=data.shuffle_window)
    splits = data_splits.find_splits(data.data, hub) if data.data else {}
    for name, images, annotations in (
        ("train", data.train_images, data.train_annotations),
        ("valid", data.valid_images, data.valid_annotations),
    ):
        if (images is None) != (annotations is None):
            raise DatasetError(f"--{name}_images and --{name}_annotations go together; one of them is missing.")
        if images is not None:
            splits[name] = data_splits.explicit_split(name, Path(images), Path(annotations))
    if "train" not in splits:
        found = f"{data.data} has only: {', '.join(splits)}." if splits else "No data set was given."
        raise DatasetError(f"{found} Give --data DIR with a train split, or --train_images and --train_annotations.")
    return splits


def refuse_what_cannot_be_streamed(data: "DataArguments") -> None:
    """Streaming goes with Parquet files and pictures as they are.

    Raises:
        RecipeError: with anything else.
    """
    from hf_detr.data.hub_sources import is_hub_data

    if not data.data or not is_hub_data(data.data):
        raise RecipeError(f"streaming is for --data with Parquet files, on the Hub or in a folder; got {data.data}.")
    if data.tile_size is not None:
        raise RecipeError("streaming and tile_size do not go together: each tile would fetch its picture again.")
    if data.cache_images != "none":
        raise RecipeError("streaming and cache_images do not go together: streaming is for what does not fit.")
    if data.shuffle_window < 1:
        raise RecipeError(f"shuffle_window must be 1 or more, got {data.shuffle_window}")


def refuse_bad_data(splits: "dict[str, Split]", recipe: "Recipe") -> None:
    """Report what `hf-detr check --fast` finds.

    Raises:
        DatasetError: something cannot be trained on.
    """
    from hf_detr.data.checks import check_fast
    from hf_detr.data.findings import errors_of, render_findings
    from hf_detr.data.index_cache import is_cached

    used = {name: split for name, split in splits.items() if name in ("train", "valid")}
    for name in [name for name, split in used.items() if is_cached(split)]:
        path = used.pop(name).annotations_path
        logger.info("%s is not checked: it is large, and has not changed since it was read before.", path)
    size_hw = image_size_hw(recipe)
    if recipe.data.tile_size is None:
        findings = check_fast(used, num_queries=recipe.model.num_queries, image_size_hw=size_hw)
    else:  # whole pictures are neither resized nor searched
        findings = check_fast(used)
    # A file of 0 bytes is no worse than one that is cut off, which only reading it can tell.
    skipped = {"file.empty"} if recipe.data.on_unreadable == "skip" else set()
    errors = [finding for finding in errors_of(findings) if finding.check not in skipped]
    if errors:
        where = recipe.data.data or splits["train"].annotations_path
        raise DatasetError(
            f"{where} cannot be trained on:\n\n{render_findings(errors)}\n\n"
            "`hf-detr check` shows everything; --check_data false trains all the same."
        )
    warnings = [finding for finding in findings if finding.severity == "warning" or finding.check in skipped]
    if warnings:
        logger.warning("Training goes on with this data, but:\n%s", render_findings(warnings))


def load_datasets(splits: "dict[str, Split]", recipe: "Recipe", args: "DetrTrainingArguments"):
    """The training and validation data sets; without a validation split the run does without evaluations.

    Raises:
        DatasetError: annotations that cannot be used, or fewer pictures than one batch.
    """
    from transformers.trainer_utils import IntervalStrategy, SaveStrategy

    from hf_detr.data.dataset import DetectionDataset
    from hf_detr.data.splits import load_index
    from hf_detr.data.tiles import TiledDataset

    train_set = load_train_set(splits["train"], recipe, args)
    train_index = train_set.index
    batch = args.train_batch_size * args.world_size
    if train_set.epoch_length < batch:
        raise DatasetError(
            f"{train_index.annotations_path} has {train_set.epoch_length} pictures, fewer than one batch of {batch}. "
            f"Use --per_device_train_batch_size {max(1, train_set.epoch_length // args.world_size)} or less."
        )
    if recipe.data.cache_images == "ram":
        source = train_set.pictures if isinstance(train_set, TiledDataset) else train_set
        source.cache = shared_cache(source.index, recipe, args)
    if "valid" not in splits:
        logger.warning("No validation split: nothing is evaluated, and the last weights are kept, not the best.")
        args.eval_strategy, args.load_best_model_at_end = IntervalStrategy.NO, False
        if args.save_strategy == SaveStrategy.BEST:
            args.save_strategy = SaveStrategy.EPOCH
        return train_set, None
    valid_index = load_index(splits["valid"], train_index.class_names)
    tiles = cut_into_tiles(valid_index, recipe)
    if tiles is not None:
        return train_set, TiledDataset(tiles, on_unreadable=recipe.data.on_unreadable)
    return train_set, DetectionDataset(valid_index, on_unreadable=recipe.data.on_unreadable)


def load_train_set(split: "Split", recipe: "Recipe", args: "DetrTrainingArguments") -> "DetectionDataset":
    """The training pictures, changed as the recipe says.

    Raises:
        DatasetError: annotations that cannot be used.
    """
    from hf_detr.data.dataset import DetectionDataset
    from hf_detr.data.sampling import epoch_length, plan_repeats
    from hf_detr.data.splits import load_index
    from hf_detr.data.tiles import TiledDataset

    pictures = load_index(split)
    tiles = cut_into_tiles(pictures, recipe)
    index = pictures if tiles is None else tiles.index
    repeats = plan_repeats(
        index,
        repeat_factor_threshold=recipe.data.repeat_factor_threshold,
        background_share=recipe.data.background_share,
    )
    options = {
        "transform": build_transform(recipe, args, epoch_length(repeats, len(index))),
        "seed": args.seed,
        "on_unreadable": recipe.data.on_unreadable,
        "repeats": repeats,
    }
    if tiles is not None:
        return TiledDataset(tiles, **options)
    return DetectionDataset(
        index,
        **options,
        decode_side=recipe.data.decode_side,
    )


def shared_cache(index: "DetectionIndex", recipe: "Recipe", args: "DetrTrainingArguments") -> "PictureCache":
    """The training pictures in memory, once for all processes of a machine: the first one of each reads them.

    Raises:
        DatasetError: they do not fit.
    """
    import socket

    from accelerate.utils import gather_object

    from hf_detr.data.memory import cache_pictures, open_cache

    is_first = args.local_process_index == 0
    cache = cache_pictures(index, least_side=recipe.data.decode_side) if is_first else None
    if args.world_size == 1:
        return cache
    addresses = dict(gather_object([(socket.gethostname(), cache.address)] if is_first else []))
    return open_cache(addresses[socket.gethostname()]) if cache is None else cache


def cut_into_tiles(index: "DetectionIndex", recipe: "Recipe") -> "Tiles | None":
    """The tiles of a split as the recipe asks for them, None for whole pictures.

    Raises:
        RecipeError: settings that no tile can have.
    """
    from hf_detr.data.tiles import tile_index
    from hf_detr.tiles import Tiling

    data = recipe.data
    tiling = Tiling.of(data.tile_size, data.tile_overlap)
    if tiling is None:
        return None
    if data.decode_side is not None:
        raise RecipeError("decode_side reads pictures reduced, and tiles are cut from whole ones: leave one of them.")
    return tile_index(index, tiling, min_visible=data.tile_min_visible)


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


def build_model(recipe: "Recipe", id2label: dict[int, str], checkpoint: Path | None):
    """The model to train and its processor: from the run's own checkpoint, from scratch, or from a pretrained one.

    Raises:
        RecipeError: neither a checkpoint nor `from_scratch`.
        CheckpointError: it cannot be loaded, or does not fit the data or the image size.
    """
    from hf_detr.models.loading import freeze_like_paper, load_detector, load_for_finetuning, load_from_scratch

    choice = recipe.model
    if checkpoint is not None:
        model, processor = load_detector(checkpoint)
        if model.config.id2label != id2label:
            raise TrainingError(
                f"{checkpoint} was trained on other classes than the data has now: "
                f"{list(model.config.id2label.values())} against {list(id2label.values())}. Resume with the same data."
            )
        if not choice.from_scratch:
            freeze_like_paper(model)
        return model, processor
    if choice.from_scratch:
        return load_from_scratch(
            choice.family,
            choice.size,
            id2label=id2label,
            image_size_hw=image_size_hw(recipe),
            config_overrides=choice.config_overrides,
            num_queries=choice.num_queries,
        )
    if choice.model_name_or_path is None:
        raise RecipeError(
            "What shall be trained? Give a recipe (`hf-detr recipe list`), --model_name_or_path with a Hub id or "
            "folder, or --from_scratch with --family and --size."
        )
    return load_for_finetuning(
        choice.model_name_or_path,
        id2label=id2label,
        image_size_hw=image_size_hw(recipe),
        class_map=choice.class_map,
        num_queries=choice.num_queries,
        config_overrides=choice.config_overrides,
        revision=choice.revision,
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


def build_trainer(
    recipe: "Recipe", args: "DetrTrainingArguments", splits: "dict[str, Split]", checkpoint: Path | None = None
) -> "DetrTrainer":
    """The trainer of a run, with its data, model and teacher; ``checkpoint`` is the one that the run goes on from.

    Raises:
        HfDetrError: as `load_datasets`, `load_run_teacher` and `build_model`.
    """
    from transformers import set_seed

    from hf_detr.training.trainer import DetrTrainer

    train_set, valid_set = load_datasets(splits, recipe, args)
    teacher = load_run_teacher(recipe)
    set_seed(args.seed)
    model, processor = build_model(recipe, train_set.id2label, checkpoint)
    return DetrTrainer(
        model,
        args,
        processing_class=processor,
        train_dataset=train_set,
        eval_dataset=valid_set,
        data_collator=build_collator(recipe, args, train_set.epoch_length),
        teacher=teacher,
        distillation=recipe.distill,
    )


def load_run_teacher(recipe: "Recipe") -> "Teacher | None":
    """The teacher of a recipe; None where it has none, or one whose term would always have the weight 0.

    Raises:
        CheckpointError: it cannot be loaded, or gives no features that a student can be compared with.
    """
    from hf_detr.distillation.teacher import load_teacher
    from hf_detr.errors import CheckpointError

    distill = recipe.distill
    if distill.teacher is None or not distill.ever_weighs:
        return None
    try:
        return load_teacher(
            distill.teacher,
            revision=distill.teacher_revision,
            dtype=distill.teacher_dtype,
            compile=distill.teacher_compile,
        )
    except CheckpointError as error:
        raise CheckpointError(f"{error}\nTo train without a teacher: --teacher none") from error
