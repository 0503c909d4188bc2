"""Whether our augmentation teaches as much as the papers': the same training with ours and with torchvision's.

    python scripts/make_digits.py demo/digits
    python benchmarks/augmentation_ap.py demo/digits OUT                          # all runs that OUT does not have yet
    python benchmarks/augmentation_ap.py demo/digits OUT --arms ours --seeds 0    # one of them, e.g. one per core
    python benchmarks/augmentation_ap.py demo/digits OUT --table                  # of the finished ones

The recipe is the demonstration's, `demo/digits`, with everything on in all epochs: mosaic in half of the samples, else
zoom-out and IoU crop, and colours. One arm draws it with `build_augmentation`, the other with the papers' composition
of torchvision's operations on Pillow's pictures (`torchvision_pipeline.py`), both in the same trainer with the same
seeds. Printed is the AP of the averaged weights on the validation split, and the difference of the arms seed by seed.
"""

import argparse
import json
import math
import os
import statistics
from importlib.metadata import version
from pathlib import Path

ARMS = ("ours", "torchvision")
CHANCES = {"photometric_prob": 0.5, "zoom_out_prob": 0.5, "iou_crop_prob": 0.8, "mosaic_prob": 0.5, "flip_prob": 0.0}
_FINISHED = "trainer_state.json"


def train(data: Path, run: Path, arm: str, seed: int, steps: int | None) -> None:
    """One run; its `trainer_state.json` has the AP."""
    from torchvision_pipeline import TorchvisionPipeline, TorchvisionTransform
    from transformers import set_seed

    from hf_detr.cli import train_setup
    from hf_detr.data.augment import build_augmentation
    from hf_detr.recipes import load_recipe
    from hf_detr.training.trainer import DetrTrainer

    settings = {"data": str(data), "output_dir": str(run), "seed": seed, "use_cpu": True, "report_to": "none"}
    settings |= {"save_strategy": "no", "load_best_model_at_end": False}
    settings |= {"max_steps": steps, "eval_steps": steps} if steps is not None else {}
    recipe = load_recipe("demo/digits", settings)
    args, _ = train_setup.training_arguments(recipe)
    train_set, valid_set = train_setup.load_datasets(train_setup.find_splits(recipe), recipe, args)
    side, _ = train_setup.image_size_hw(recipe)
    if arm == "ours":
        train_set.transform = build_augmentation(**CHANCES, mosaic_side=side // 2, largest_hw=(side, side))
    else:
        train_set.transform = TorchvisionTransform(TorchvisionPipeline(side, **CHANCES))
    set_seed(seed)
    model, processor = train_setup.build_model(recipe, train_set.id2label, None)
    trainer = DetrTrainer(
        model,
        args,
        processing_class=processor,
        train_dataset=train_set,
        eval_dataset=valid_set,
        data_collator=train_setup.build_collator(recipe, args, len(train_set)),
    )
    trainer.train()
    if not any("eval_AP" in row and row["step"] == trainer.state.global_step for row in trainer.state.log_history):
        trainer.evaluate()
    trainer.save_state()


def final_ap(run: Path) -> tuple[int, float] | None:
    """Step and AP of the last evaluation of a finished run."""
    if not (run / _FINISHED).is_file():
        return None
    history = json.loads((run / _FINISHED).read_text())["log_history"]
    return [(row["step"], row["eval_AP"]) for row in history if "eval_AP" in row][-1]


def print_table(out: Path, seeds: list[int]) -> None:
    """AP by seed and arm, mean and spread, and the paired difference with its 95 % interval."""
    found = {(arm, seed): final_ap(out / f"{arm}-{seed}") for arm in ARMS for seed in seeds}
    steps = {result[0] for result in found.values() if result}
    if len(steps) > 1:
        raise SystemExit(
            f"{out} has runs of different lengths: {sorted(steps)} steps. Use one folder for each length."
        )
    print(f"AP after {steps.pop() if steps else 0} steps\n")
    print("| seed | ours | torchvision | difference |\n|---|---|---|---|")
    values: dict[str, list[float]] = {arm: [] for arm in ARMS}
    differences = []
    for seed in seeds:
        row = [found[arm, seed] for arm in ARMS]
        for arm, result in zip(ARMS, row, strict=True):
            if result:
                values[arm].append(result[1])
        if all(row):
            differences.append(row[0][1] - row[1][1])
        cells = [f"{result[1]:.3f}" if result else "-" for result in row]
        print(f"| {seed} | {' | '.join(cells)} | {f'{differences[-1]:+.3f}' if all(row) else '-'} |")
    print(f"| mean | {' | '.join(_mean_and_spread(values[arm]) for arm in ARMS)} | {_interval(differences)} |")


def _mean_and_spread(values: list[float]) -> str:
    if not values:
        return "-"
    return f"{statistics.mean(values):.3f}" + (f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else "")


def _interval(differences: list[float]) -> str:
    """Mean of paired differences and its 95 % interval by Student's t."""
    from scipy.stats import t

    if len(differences) < 2:
        return "-"
    half = t.ppf(0.975, len(differences) - 1) * statistics.stdev(differences) / math.sqrt(len(differences))
    mean = statistics.mean(differences)
    return f"{mean:+.3f}, 95 %: {mean - half:+.3f} to {mean + half:+.3f}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="default: the recipe's")
    parser.add_argument("--threads", type=int, default=1, help="of each run (default: 1)")
    parser.add_argument("--table", action="store_true", help="print the table only")
    args = parser.parse_args(argv)
    if not args.table:
        import torch

        torch.set_num_threads(args.threads)
        for seed in args.seeds:
            for arm in args.arms:
                if final_ap(args.out / f"{arm}-{seed}") is None:
                    train(args.data, args.out / f"{arm}-{seed}", arm, seed, args.steps)
    print_table(args.out, args.seeds)
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "transformers"))
    print(f"\n{packages}, {os.cpu_count()} cores, {args.threads} thread(s) per run")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
