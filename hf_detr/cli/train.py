"""`hf-detr train`: from a recipe and a folder of annotated pictures to a detector, its numbers and its card."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_detr.cli import train_data, train_setup
from hf_detr.cli.train_command import parse_train_command, split_flags
from hf_detr.cli.train_help import train_help, train_help_all
from hf_detr.cli.train_summary import describe_run

if TYPE_CHECKING:
    from hf_detr.recipes import Recipe
    from hf_detr.training.arguments import DetrTrainingArguments

logger = logging.getLogger(__name__)

RECIPE_FILE = "recipe.yaml"
EXIT_INTERRUPTED = 130


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
    args, hub = train_setup.training_arguments(recipe)
    is_main = args.process_index == 0
    checkpoint = checkpoint_to_resume(args)
    if hub["push_to_hub"] and is_main:
        from hf_detr.hub.publish import check_login

        hub["hub_model_id"] = check_login(
            hub["hub_model_id"] or Path(args.output_dir).name, token=hub["hub_token"], private=hub["hub_private_repo"]
        )
    splits = train_data.find_splits(recipe)
    if recipe.data.check_data and is_main:
        splits = train_data.refuse_bad_data(splits, recipe)
    trainer = train_setup.build_trainer(recipe, args, splits, checkpoint)
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
    save_result(trainer)
    if is_main:
        finish(recipe, trainer, hub)
    return 0


def checkpoint_to_resume(args: "DetrTrainingArguments") -> Path | None:
    """The checkpoint to continue from, None to start afresh.

    Raises:
        TrainingError: the folder holds a run and `resume` was not asked for.
    """
    from hf_detr.training.checkpoints import holds_a_run, last_complete_checkpoint, require_fresh

    if not args.resume:
        if args.process_index == 0:
            require_fresh(args.output_dir)
        return None
    checkpoint = last_complete_checkpoint(args.output_dir)
    if checkpoint is None and holds_a_run(args.output_dir):
        logger.warning("%s holds no complete checkpoint: starting from the beginning.", args.output_dir)
    return checkpoint


def save_result(trainer: Any) -> None:
    """Write the final model beside the checkpoints: completely, or not at all."""
    from hf_detr.training.checkpoints import saving

    run = Path(trainer.args.output_dir)
    with saving(run) as staging:
        trainer.save_model(str(staging))
        trainer.save_state()
        if trainer.is_world_process_zero():
            for path in staging.iterdir():
                path.replace(run / path.name)
            staging.rmdir()


def finish(recipe: "Recipe", trainer: Any, hub: dict[str, Any]) -> None:
    """Evaluate what was saved, as `hf-detr evaluate` does, write the model card, and publish if asked."""
    from hf_detr.evaluation.report import evaluate_to_folder, render_metrics
    from hf_detr.hub.card import write_model_card, write_run_facts
    from hf_detr.hub.publish import push_folder
    from hf_detr.inference.detector import Detector
    from hf_detr.tiles import Tiling
    from hf_detr.training.facts import run_facts

    args, run = trainer.args, Path(trainer.args.output_dir)
    if trainer.unreadable:
        listed = "".join(f"\n  {path}: {reason}" for path, reason in trainer.unreadable.items())
        logger.warning("%d pictures could not be read and were skipped:%s", len(trainer.unreadable), listed)
    tiling = Tiling.of(recipe.data.tile_size, recipe.data.tile_overlap)
    if trainer.eval_dataset is not None:
        detector = Detector.from_pretrained(run, device=args.device)
        detector.tiling = tiling
        valid_set = trainer.eval_dataset if tiling is None else trainer.eval_dataset.pictures
        metrics = evaluate_to_folder(
            detector,
            valid_set,
            run,
            model_name=str(run),
            batch_size=args.per_device_eval_batch_size,
            max_detections=args.max_detections,
            backend=args.eval_backend,
        )
        print(f"\n{run} on {valid_set.index.annotations_path} (valid)\n\n{render_metrics(metrics)}\n")
    dataset = Path(recipe.data.data).resolve().name if recipe.data.data else ""
    write_run_facts(run, run_facts(trainer, dataset))
    write_model_card(run, hub["hub_model_id"] if hub["push_to_hub"] else None)
    cut = (
        "" if tiling is None else f" --tile {tiling.size_hw[0]} {tiling.size_hw[1]} --tile_overlap {tiling.overlap:g}"
    )
    print(f"The detector is in {run}. To see it at work:\n  hf-detr predict {run} PICTURES --output_dir seen{cut}")
    if hub["push_to_hub"]:
        print(f"Published: {push_folder(run, hub['hub_model_id'], token=hub['hub_token'])}")
