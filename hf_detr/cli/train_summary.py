"""What `hf-detr train` says before the first step."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_detr import __version__
from hf_detr.cli.train_augmentation import augmentation_policy, image_size_hw

if TYPE_CHECKING:
    from hf_detr.data.arguments import AugmentArguments
    from hf_detr.data.policy import Policy
    from hf_detr.recipes import Recipe
    from hf_detr.training.arguments import DetrTrainingArguments


def describe_run(recipe: "Recipe", trainer: Any, checkpoint: Path | None) -> str:
    """What is about to happen, on one screen."""
    from hf_detr.training.proposals import propose

    args, config = trainer.args, trainer.model.config
    index = trainer.train_dataset.index
    rates = args.rates()
    num_images = trainer.train_dataset.epoch_length
    steps, per_epoch = args.total_steps(num_images), args.steps_per_epoch(num_images)
    stages = args.stages(num_images)
    change_epoch = args.matcher_change(num_images)
    parameters = sum(p.numel() for p in trainer.model.parameters())
    trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    start = str(checkpoint or recipe.model.model_name_or_path or "random weights")
    kind = "tiles" if recipe.data.tile_size else "pictures"
    valid = f"; valid {len(trainer.eval_dataset):,} {kind}" if trainer.eval_dataset is not None else ""
    height, width = image_size_hw(recipe)
    precision = "bfloat16" if args.bf16 else "float16" if args.fp16 else "float32"
    rate = f"lr {rates.learning_rate:.1e} (backbone {rates.learning_rate * args.backbone_lr_ratio:.1e})"
    warmup = describe_warmup(args, steps)
    schedule = {
        "flat_cosine": f"flat to epoch {stages.flat:g}, {args.lr_floor:g} times that from epoch {stages.stop:g}",
        "constant": "then constant",
        "transformers": f"{args.lr_scheduler_type.value}",
    }[args.lr_schedule]
    curves = f" (curves: tensorboard --logdir {args.output_dir})" if "tensorboard" in args.report_to else ""
    rows = [
        ("data", f"train {len(index):,} {kind}, {index.objects_per_image.sum():,} objects, "
                 f"{len(index.class_names)} classes{valid}"),
        *describe_tiles(recipe, trainer.train_dataset),
        *describe_sampling(recipe, trainer.train_dataset),
        ("model", f"{config.model_type}, {parameters / 1e6:.1f} M parameters ({trained / parameters:.0%} trained), "
                  f"{config.num_queries} queries, from {start}"),
        *describe_teacher(recipe, trainer),
        ("input", f"{height} x {width} px{', multi-scale' * recipe.augment.multi_scale}"),
        ("augment", describe_policy(recipe.augment, augmentation_policy(recipe, args, num_images))),
        ("batch", f"{args.total_batch_size} = {args.train_batch_size} per device x {args.world_size} processes x "
                  f"{args.gradient_accumulation_steps} accumulated"),
        *describe_scaling(args),
        ("length", f"{stages.total:g} epochs of {per_epoch:,} steps, {steps:,} in all"),
        ("rate", f"{rate}, {warmup}, {schedule}"),
        *([("matcher", f"score and IoU alone from epoch {change_epoch:g}")] if change_epoch is not None else []),
        ("average", f"EMA {rates.ema_decay:g}, warm-up {rates.ema_warmup_steps:g}" if args.ema else "none"),
        ("device", f"{args.device}, {precision}, {args.dataloader_num_workers} loader processes"),
        ("results", f"{args.output_dir}{curves}"),
        *(("propose", proposal) for proposal in propose(trainer.train_dataset, args, config, (height, width))),
    ]  # fmt: skip
    return "\n".join([f"hf_detr {__version__} · {recipe.name}", *(f"  {name:<8} {text}" for name, text in rows), ""])


def describe_tiles(recipe: "Recipe", dataset: Any) -> list[tuple[str, str]]:
    """A row that says how pictures are cut into tiles; none where they are not."""
    if recipe.data.tile_size is None:
        return []
    height, width = dataset.index.sizes_hw[0]
    pictures, empty = len(dataset.pictures), (dataset.index.objects_per_image == 0).mean()
    return [
        ("tiles", f"{len(dataset):,} of {pictures:,} pictures, {height} x {width} px, overlap "
                  f"{recipe.data.tile_overlap:g}; {empty:.0%} without objects")
    ]  # fmt: skip


def describe_teacher(recipe: "Recipe", trainer: Any) -> list[tuple[str, str]]:
    """A row that says from whom the model learns, and how much; none without a teacher."""
    if trainer.distillation is None:
        return []
    distill, teacher = recipe.distill, trainer.distillation.teacher
    often = "in every step" if distill.teacher_every == 1 else f"every {distill.teacher_every} steps"
    weight = f"weight {distill.distill_weight:g}"
    if distill.distill_target_share is not None:
        share, tolerance = distill.distill_target_share, distill.distill_tolerance
        weight += f", adapted to {share:g} ± {tolerance:g} % of the gradient in the encoder"
    if distill.distill_final_weight is not None:
        weight += f", {distill.distill_final_weight:g} after the first epoch of the last stage"
    precision = str(teacher.dtype).removeprefix("torch.")
    return [("teacher", f"{distill.teacher}, {teacher.feature_dim} channels, {precision}, {often}; {weight}")]


def describe_sampling(recipe: "Recipe", dataset: Any) -> list[tuple[str, str]]:
    """A row that says what an epoch consists of; none where it is every picture once."""
    if dataset.repeats is None:
        return []
    background = dataset.index.objects_per_image == 0
    share = dataset.repeats[background].sum() / dataset.repeats.sum()
    most = dataset.repeats[~background].max(initial=1)
    rule = f", those with rare classes up to {most:.1f} times" if recipe.data.repeat_factor_threshold else ""
    return [("epoch", f"{dataset.epoch_length:,} pictures, {share:.0%} of them without objects{rule}")]


def describe_warmup(args: "DetrTrainingArguments", steps: int) -> str:
    """The warm-up, and what it was before it was fitted into the run."""
    fitted, given = args.get_warmup_steps(steps), args.rates().warmup_steps
    cut = f" (a tenth of the run; {given:g} do not fit)" if given >= 1 and fitted < int(given) else ""
    return f"warm-up {fitted} steps{cut}"


def describe_scaling(args: "DetrTrainingArguments") -> list[tuple[str, str]]:
    """A row that says how learning rate, EMA and warm-ups were scaled; none if they were not."""
    reference = args.reference_batch_size
    if reference is None or reference == args.total_batch_size:
        return []
    factor = args.total_batch_size / reference
    return [
        ("scaled", f"for {args.total_batch_size} pictures a step instead of {reference}: learning rate and 1 - EMA "
                   f"times {factor:g}, warm-ups by {1 / factor:g} (from lr {args.learning_rate:g}, "
                   f"EMA {args.ema_decay:g})")
    ]  # fmt: skip


def describe_policy(augment: "AugmentArguments", policy: "Policy") -> str:
    """What changes the pictures, and when; epochs are counted from 0, as elsewhere."""
    chances = {"mosaic": augment.mosaic_prob, "mixup": augment.mixup_prob, "copyblend": augment.copyblend_prob}
    own = ", your albumentations" if augment.albumentations is not None else ""
    ranges = {f"colours, zoom-out, crop{own}": policy.augment}
    ranges |= {f"{name} {chance:g}": getattr(policy, name) for name, chance in chances.items() if chance > 0}
    spans = {epochs: [name for name, other in ranges.items() if other == epochs] for epochs in ranges.values()}
    return "; ".join(f"{', '.join(names)} {_span(*epochs)}" for epochs, names in spans.items())


def _span(first: float, end: float) -> str:
    begin = [f"from epoch {first:g}"] if first > 0 else []
    until = [f"until epoch {end:g}"] if math.isfinite(end) else []
    return " ".join(begin + until) or "always"
