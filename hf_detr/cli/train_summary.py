"""What `hf-detr train` says before the first step."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_detr import __version__
from hf_detr.cli.train_setup import image_size_hw

if TYPE_CHECKING:
    from hf_detr.recipes import Recipe


def describe_run(recipe: "Recipe", trainer: Any, checkpoint: Path | None) -> str:
    """What is about to happen, on one screen."""
    from hf_detr.training.schedule import fit_warmup

    args, config = trainer.args, trainer.model.config
    index = trainer.train_dataset.index
    batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    steps = args.total_steps(len(index))
    stages = args.stages(len(index))
    change_epoch = args.matcher_change(len(index))
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
        *([("matcher", f"score and IoU alone from epoch {change_epoch:g}")] if change_epoch is not None else []),
        ("average", f"EMA {args.ema_decay:g}, warm-up {args.ema_warmup_steps:g}" if args.ema else "none"),
        ("device", f"{args.device}, {precision}, {args.dataloader_num_workers} loader processes"),
        ("results", f"{args.output_dir}{curves}"),
    ]  # fmt: skip
    return "\n".join([f"hf_detr {__version__} · {recipe.name}", *(f"  {name:<8} {text}" for name, text in rows), ""])
