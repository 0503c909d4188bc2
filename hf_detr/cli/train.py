"""`hf-detr train`: from a recipe and a folder of annotated pictures to a detector, its numbers and its card."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_detr.cli.train_command import parse_train_command, split_flags
from hf_detr.cli.train_help import train_help, train_help_all
from hf_detr.errors import DatasetError, RecipeError, TrainingError

if TYPE_CHECKING:
    from hf_detr.data.coco_layouts import CocoSplit
    from hf_detr.recipes import Recipe
    from hf_detr.training.arguments import DetrTrainingArguments

logger = logging.getLogger(__name__)

RECIPE_FILE = "recipe.yaml"
EXIT_INTERRUPTED = 130

# Settings of the run as a whole, which Transformers would act upon in the middle of it.
_HUB_FIELDS = ("push_to_hub", "hub_model_id", "hub_token", "hub_private_repo")


def main(argv: list[str] | None = None) -> int:
    """Train as the command line says. Returns 0, or 130 when interrupted.

    Raises:
        HfDetrError: anything the user can mend, before the first step wherever it can be known by then.
    """
    argv = sys.argv[1:] if argv is None else argv
    if {"-h", "--help"} & set(argv):
        print(train_help())
        return 0
    if {"--help_all", "--help-all"} & set(argv):
        print(train_help_all())
        return 0
    return train(parse_train_command(with_saved_recipe(argv)))


def with_saved_recipe(argv: list[str]) -> list[str]:
    """`--resume --output_dir RUN` is enough to continue: the recipe is the one that the run saved."""
    recipe, flags = split_flags(argv)
    if recipe is None and "resume" in flags and flags.get("output_dir"):
        saved = Path(flags["output_dir"][0]) / RECIPE_FILE
        if saved.is_file():
            return [str(saved), *argv]
    return argv


def train(recipe: "Recipe") -> int:
    """Train, evaluate, save and, if asked, publish. Returns the exit code."""
    from transformers import set_seed

    from hf_detr.training.trainer import DetrTrainer

    args, hub = training_arguments(recipe)
    is_main = args.process_index == 0
    checkpoint = checkpoint_to_resume(args)
    if hub["push_to_hub"] and is_main:
        from hf_detr.hub.publish import check_login

        hub["hub_model_id"] = check_login(
            hub["hub_model_id"] or Path(args.output_dir).name, token=hub["hub_token"], private=hub["hub_private_repo"]
        )
    splits = find_splits(recipe)
    if recipe.data.check_data and is_main:
        refuse_bad_data(splits, recipe)
    train_set, valid_set = load_datasets(splits, recipe, args)
    set_seed(args.seed)
    model, processor = build_model(recipe, train_set.id2label, checkpoint)
    trainer = DetrTrainer(
        model,
        args,
        processing_class=processor,
        train_dataset=train_set,
        eval_dataset=valid_set,
        data_collator=build_collator(recipe, args, len(train_set)),
    )
    if is_main:
        Path(args.output_dir).mkdir(parents=True, exist_ok=True)
        (Path(args.output_dir) / RECIPE_FILE).write_text(recipe.to_yaml(), encoding="utf-8")
        print(describe_run(recipe, trainer, checkpoint), file=sys.stderr)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)

    if trainer.interrupt.interrupted:
        if is_main:
            print(
                f"\nStopped at step {trainer.state.global_step} of {trainer.state.max_steps}. To continue:\n"
                f"  hf-detr train --resume --output_dir {args.output_dir}",
                file=sys.stderr,
            )
        return EXIT_INTERRUPTED
    trainer.save_model()
    trainer.save_state()
    if is_main:
        finish(recipe, trainer, hub)
    return 0


def training_arguments(recipe: "Recipe") -> "tuple[DetrTrainingArguments, dict[str, Any]]":
    """The recipe's `train` section as arguments, and apart from it what concerns the Hub.

    Raises:
        RecipeError: values that cannot go together.
    """
    from hf_detr.training.arguments import DetrTrainingArguments

    values = dict(recipe.train)
    hub = {name: values.pop(name, None) for name in _HUB_FIELDS}
    if values.get("output_dir") is None:
        data = Path(recipe.data.data or recipe.data.train_images or "data").name
        values["output_dir"] = f"runs/{'-'.join(Path(recipe.name).parts[-2:])}-{data}"
    try:
        return DetrTrainingArguments(**values), hub
    except ValueError as error:
        raise RecipeError(str(error)) from error


def checkpoint_to_resume(args: "DetrTrainingArguments") -> Path | None:
    """The checkpoint to continue from, None to start afresh.

    Raises:
        TrainingError: the folder holds a run and `resume` was not asked for.
    """
    from hf_detr.training.checkpoints import last_complete_checkpoint, require_fresh

    if not args.resume:
        if args.process_index == 0:
            require_fresh(args.output_dir)
        return None
    checkpoint = last_complete_checkpoint(args.output_dir)
    if checkpoint is None:
        logger.warning("%s holds no complete checkpoint: starting from the beginning.", args.output_dir)
    return checkpoint


def find_splits(recipe: "Recipe") -> "dict[str, CocoSplit]":
    """Where the training and, if there is one, the validation split lie.

    Raises:
        DatasetError: no data given, half of a pair given, or nothing found.
    """
    from hf_detr.data.coco_layouts import CocoSplit, find_coco_splits

    data = recipe.data
    splits = find_coco_splits(data.data) if data.data else {}
    for name, images, annotations in (
        ("train", data.train_images, data.train_annotations),
        ("valid", data.valid_images, data.valid_annotations),
    ):
        if (images is None) != (annotations is None):
            raise DatasetError(f"--{name}_images and --{name}_annotations go together; one of them is missing.")
        if images is not None:
            splits[name] = CocoSplit(name, Path(images), Path(annotations))
    if "train" not in splits:
        found = f"{data.data} has only: {', '.join(splits)}." if splits else "No data set was given."
        raise DatasetError(f"{found} Give --data DIR with a train split, or --train_images and --train_annotations.")
    return splits


def refuse_bad_data(splits: "dict[str, CocoSplit]", recipe: "Recipe") -> None:
    """Report what `hf-detr check --fast` finds.

    Raises:
        DatasetError: something cannot be trained on.
    """
    from hf_detr.data.checks import check_fast
    from hf_detr.data.findings import errors_of, render_findings

    used = {name: split for name, split in splits.items() if name in ("train", "valid")}
    findings = check_fast(used, num_queries=recipe.model.num_queries, image_size_hw=image_size_hw(recipe))
    # A file of 0 bytes is no worse than one that is cut off, which only reading it can tell.
    skipped = {"file.empty"} if recipe.data.on_unreadable == "skip" else set()
    errors = [finding for finding in errors_of(findings) if finding.check not in skipped]
    if errors:
        where = recipe.data.data or used["train"].annotations_path
        raise DatasetError(
            f"{where} cannot be trained on:\n\n{render_findings(errors)}\n\n"
            "`hf-detr check` shows everything; --check_data false trains all the same."
        )
    warnings = [finding for finding in findings if finding.severity == "warning" or finding.check in skipped]
    if warnings:
        logger.warning("Training goes on with this data, but:\n%s", render_findings(warnings))


def load_datasets(splits: "dict[str, CocoSplit]", recipe: "Recipe", args: "DetrTrainingArguments"):
    """The training and validation data sets; without a validation split the run does without evaluations.

    Raises:
        DatasetError: annotations that cannot be used, or fewer pictures than one batch.
    """
    from transformers.trainer_utils import IntervalStrategy, SaveStrategy

    from hf_detr.data.augment import build_augmentation
    from hf_detr.data.coco import load_coco_index
    from hf_detr.data.dataset import DetectionDataset

    augment, on_unreadable = recipe.augment, recipe.data.on_unreadable
    train_index = load_coco_index(splits["train"].images_dir, splits["train"].annotations_path, name="train")
    batch = args.train_batch_size * args.world_size
    if len(train_index) < batch:
        raise DatasetError(
            f"{train_index.annotations_path} has {len(train_index)} pictures, fewer than one batch of {batch}. "
            f"Use --per_device_train_batch_size {max(1, len(train_index) // args.world_size)} or less."
        )
    augmentation = build_augmentation(
        photometric_prob=augment.photometric_prob,
        zoom_out_prob=augment.zoom_out_prob,
        iou_crop_prob=augment.iou_crop_prob,
        flip_prob=augment.flip_prob,
        min_box_side=augment.min_box_side,
        stop_epoch=stop_epoch(args, len(train_index)),
    )
    train_set = DetectionDataset(train_index, transform=augmentation, seed=args.seed, on_unreadable=on_unreadable)
    if "valid" not in splits:
        logger.warning("No validation split: nothing is evaluated, and the last weights are kept, not the best.")
        args.eval_strategy, args.load_best_model_at_end = IntervalStrategy.NO, False
        if args.save_strategy == SaveStrategy.BEST:
            args.save_strategy = SaveStrategy.EPOCH
        return train_set, None
    valid_index = load_coco_index(
        splits["valid"].images_dir,
        splits["valid"].annotations_path,
        name="valid",
        class_names=train_index.class_names,
    )
    return train_set, DetectionDataset(valid_index, on_unreadable=on_unreadable)


def stop_epoch(args: "DetrTrainingArguments", num_images: int) -> float | None:
    """From this epoch on there is no heavy augmentation and no multi-scale; None for never."""
    if args.no_aug_epochs <= 0:
        return None
    return args.stages(num_images).stop


def image_size_hw(recipe: "Recipe") -> tuple[int, int]:
    """Height and width of the model's input in pixels.

    Raises:
        RecipeError: neither one number nor two.
    """
    size = recipe.data.image_size
    if len(size) not in (1, 2):
        raise RecipeError(f"image_size takes one number, or height and width; got {' '.join(map(str, size))}")
    return size[0], size[-1]


def build_model(recipe: "Recipe", id2label: dict[int, str], checkpoint: Path | None):
    """The model to train and its processor: from the run's own checkpoint, from scratch, or from a pretrained one.

    Raises:
        RecipeError: neither a checkpoint nor `from_scratch`.
        CheckpointError: it cannot be loaded, or does not fit the data or the image size.
    """
    from hf_detr.models.loading import load_detector, load_for_finetuning, load_from_scratch

    choice = recipe.model
    if checkpoint is not None:
        model, processor = load_detector(checkpoint)
        if model.config.id2label != id2label:
            raise TrainingError(
                f"{checkpoint} was trained on other classes than the data has now: "
                f"{list(model.config.id2label.values())} against {list(id2label.values())}. Resume with the same data."
            )
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


def build_collator(recipe: "Recipe", args: "DetrTrainingArguments", num_images: int):
    """What makes batches: at `image_size`, or at a size drawn around it."""
    from hf_detr.data.collate import DetectionCollator, multi_scale_sizes

    size_hw = image_size_hw(recipe)
    augment = recipe.augment
    return DetectionCollator(
        size_hw,
        train_sizes_hw=multi_scale_sizes(size_hw, augment.multi_scale_repeat) if augment.multi_scale else None,
        stop_epoch=stop_epoch(args, num_images),
        min_box_side=augment.min_box_side,
        seed=args.seed,
    )


def describe_run(recipe: "Recipe", trainer: Any, checkpoint: Path | None) -> str:
    """What is about to happen, on one screen."""
    from hf_detr import __version__
    from hf_detr.training.schedule import fit_warmup

    args, config = trainer.args, trainer.model.config
    index = trainer.train_dataset.index
    batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    steps = args.total_steps(len(index))
    stages = args.stages(len(index))
    parameters = sum(p.numel() for p in trainer.model.parameters())
    trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    start = str(checkpoint or recipe.model.model_name_or_path or "random weights")
    valid = f"; valid {len(trainer.eval_dataset):,} pictures" if trainer.eval_dataset is not None else ""
    height, width = image_size_hw(recipe)
    precision = "bfloat16" if args.bf16 else "float16" if args.fp16 else "float32"
    rate = f"lr {args.learning_rate:.1e} (backbone {args.learning_rate * args.backbone_lr_ratio:.1e})"
    warmup = f"warm-up {fit_warmup(args.warmup_steps, steps)} steps"
    schedule = {
        "flat_cosine": f"flat to epoch {stages.flat:g}, {args.lr_floor:g} times that from epoch {stages.stop:g}",
        "constant": "then constant",
        "transformers": f"{args.lr_scheduler_type.value}",
    }[args.lr_schedule]
    augmented = f"until epoch {stages.stop:g}" if args.no_aug_epochs > 0 else "always"
    curves = f" (curves: tensorboard --logdir {args.output_dir})" if "tensorboard" in args.report_to else ""
    rows = [
        ("data", f"train {len(index):,} pictures, {index.objects_per_image.sum():,} objects, "
                 f"{len(index.class_names)} classes{valid}"),
        ("model", f"{config.model_type}, {parameters / 1e6:.1f} M parameters ({trained / parameters:.0%} trained), "
                  f"{config.num_queries} queries, from {start}"),
        ("input", f"{height} x {width} px{', multi-scale' * recipe.augment.multi_scale}; augmented {augmented}"),
        ("batch", f"{batch} = {args.train_batch_size} per device x {args.world_size} processes x "
                  f"{args.gradient_accumulation_steps} accumulated"),
        ("length", f"{stages.total:g} epochs, {steps:,} steps"),
        ("rate", f"{rate}, {warmup}, {schedule}"),
        ("average", f"EMA {args.ema_decay:g}, warm-up {args.ema_warmup_steps:g}" if args.ema else "none"),
        ("device", f"{args.device}, {precision}, {args.dataloader_num_workers} loader processes"),
        ("results", f"{args.output_dir}{curves}"),
    ]  # fmt: skip
    return "\n".join([f"hf_detr {__version__} · {recipe.name}", *(f"  {name:<8} {text}" for name, text in rows), ""])


def finish(recipe: "Recipe", trainer: Any, hub: dict[str, Any]) -> None:
    """Evaluate what was saved, as `hf-detr evaluate` does, write the model card, and publish if asked."""
    from hf_detr.evaluation.report import evaluate_to_folder, render_metrics
    from hf_detr.hub.card import write_model_card, write_run_facts
    from hf_detr.hub.publish import push_folder
    from hf_detr.inference.detector import Detector
    from hf_detr.training.facts import run_facts

    args, run = trainer.args, Path(trainer.args.output_dir)
    if trainer.unreadable:
        listed = "".join(f"\n  {path}: {reason}" for path, reason in trainer.unreadable.items())
        logger.warning("%d pictures could not be read and were skipped:%s", len(trainer.unreadable), listed)
    if trainer.eval_dataset is not None:
        metrics = evaluate_to_folder(
            Detector.from_pretrained(run, device=args.device),
            trainer.eval_dataset,
            run,
            model_name=str(run),
            batch_size=args.per_device_eval_batch_size,
            max_detections=args.max_detections,
            backend=args.eval_backend,
        )
        print(f"\n{run} on {trainer.eval_dataset.index.annotations_path} (valid)\n\n{render_metrics(metrics)}\n")
    dataset = Path(recipe.data.data).resolve().name if recipe.data.data else ""
    write_run_facts(run, run_facts(trainer, dataset))
    write_model_card(run, hub["hub_model_id"] if hub["push_to_hub"] else None)
    print(f"The detector is in {run}. To see it at work:\n  hf-detr predict {run} PICTURES --output_dir seen")
    if hub["push_to_hub"]:
        print(f"Published: {push_folder(run, hub['hub_model_id'], token=hub['hub_token'])}")
