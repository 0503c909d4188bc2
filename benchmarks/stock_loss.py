"""Our D-FINE criterion against the one in Transformers: same model, data, recipe, steps and seeds.

    python scripts/make_digits.py demo/digits
    python benchmarks/stock_loss.py demo/digits OUT                      # all six runs, one after the other
    python benchmarks/stock_loss.py demo/digits OUT --only stock --seed 0  # one of them, e.g. one per core
    python benchmarks/stock_loss.py demo/digits OUT --plot curves.png      # table and picture of the finished ones

The recipe is the demonstration's, `demo/digits`, evaluated more often. Only the loss differs: denoising, averaging,
schedule and evaluation are ours in both.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

SEEDS = (0, 1, 2)
LOSSES = ("ours", "stock")
_COLOURS = {"ours": "#0072B2", "stock": "#D55E00"}


def run_folder(out: Path, loss: str, seed: int) -> Path:
    return out / f"{loss}-{seed}"


def train(data: Path, out: Path, loss: str, seed: int, steps: int | None) -> None:
    """One run; its `trainer_state.json` has the AP curve."""
    from transformers.loss.loss_utils import LOSS_MAPPING

    from hf_detr.cli import train_data, train_setup
    from hf_detr.recipes import load_recipe

    settings = {"data": str(data), "output_dir": str(run_folder(out, loss, seed)), "seed": seed, "eval_steps": 100}
    settings |= {"save_strategy": "no", "load_best_model_at_end": False, "report_to": "none", "use_cpu": True}
    if steps is not None:
        settings["max_steps"] = steps
    recipe = load_recipe("demo/digits", settings)
    args, _ = train_setup.training_arguments(recipe)
    trainer = train_setup.build_trainer(recipe, args, train_data.find_splits(recipe))
    if loss == "stock":
        trainer.model.loss_function = LOSS_MAPPING[trainer.model.loss_type]
    trainer.train()
    trainer.save_state()


def curve(folder: Path) -> tuple[list[int], list[float]]:
    """Steps and AP of a finished run."""
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    rows = [(row["step"], row["eval_AP"]) for row in history if "eval_AP" in row]
    return [step for step, _ in rows], [ap for _, ap in rows]


def report(out: Path, picture: Path) -> None:
    """A table of the AP over the seeds, and the curves."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), dpi=110)
    for loss in LOSSES:
        curves = [curve(run_folder(out, loss, seed)) for seed in SEEDS if run_folder(out, loss, seed).is_dir()]
        if not curves:
            continue
        steps = curves[0][0]
        columns = list(zip(*(aps for _, aps in curves), strict=True))
        print(f"{loss}: {len(curves)} seeds")
        for step, aps in zip(steps, columns, strict=True):
            spread = f" ± {statistics.stdev(aps):.3f}" if len(aps) > 1 else ""
            print(
                f"  step {step:4d}  AP {statistics.mean(aps):.3f}{spread}   ({', '.join(f'{ap:.3f}' for ap in aps)})"
            )
        for _, aps in curves:
            axes.plot(steps, aps, color=_COLOURS[loss], alpha=0.3, linewidth=1)
        axes.plot(steps, [statistics.mean(aps) for aps in columns], color=_COLOURS[loss], linewidth=2.5, label=loss)
    axes.set(xlabel="step", ylabel="AP, validation split", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(picture)
    print(picture)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", choices=LOSSES)
    parser.add_argument("--seed", type=int, choices=SEEDS)
    parser.add_argument("--steps", type=int, help="default: the recipe's")
    parser.add_argument("--plot", type=Path, metavar="PNG")
    args = parser.parse_args()
    if args.plot:
        report(args.out, args.plot)
        return 0
    for seed in SEEDS if args.seed is None else (args.seed,):
        for loss in (args.only,) if args.only else LOSSES:
            if not (run_folder(args.out, loss, seed) / "trainer_state.json").exists():
                train(args.data, args.out, loss, seed, args.steps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
