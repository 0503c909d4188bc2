"""The data sets of a training run, found, checked and opened as its recipe says."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hf_detr.cli.flags import hub_options
from hf_detr.cli.train_augmentation import build_transform, image_size_hw
from hf_detr.errors import DatasetError, RecipeError

if TYPE_CHECKING:
    from hf_detr.data.arguments import DataArguments
    from hf_detr.data.dataset import DetectionDataset
    from hf_detr.data.index import DetectionIndex
    from hf_detr.data.memory import PictureCache
    from hf_detr.data.splits import Split
    from hf_detr.data.tiles import Tiles
    from hf_detr.recipes import Recipe
    from hf_detr.training.arguments import DetrTrainingArguments

logger = logging.getLogger(__name__)


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


def refuse_bad_data(splits: "dict[str, Split]", recipe: "Recipe") -> "dict[str, Split]":
    """Report what `hf-detr check --fast` finds; the splits with the annotations that have been read for it.

    Raises:
        DatasetError: something cannot be trained on.
    """
    from hf_detr.data.checks import check_fast
    from hf_detr.data.findings import errors_of, render_findings
    from hf_detr.data.index_cache import is_cached
    from hf_detr.data.splits import read_splits

    used = {name: split for name, split in splits.items() if name in ("train", "valid")}
    for name in [name for name, split in used.items() if is_cached(split)]:
        path = used.pop(name).annotations_path
        logger.info("%s is not checked: it is large, and has not changed since it was read before.", path)
    used = read_splits(used)
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
    return splits | used


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
