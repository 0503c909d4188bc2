"""Whether our augmentation teaches as much as the papers': the same training with ours and with torchvision's.

    python scripts/make_digits.py demo/digits
    python benchmarks/augmentation_ap.py demo/digits --output OUT              # all runs that OUT does not have yet
    python benchmarks/augmentation_ap.py demo/digits --output OUT --arms demo  # of one arm only
    python benchmarks/augmentation_ap.py demo/digits --output OUT --table      # of the finished ones

Three arms, each with the recipe `demo/digits` in full, the same trainer and the same seeds:

* ``demo``: `hf-detr train demo/digits --seed S` itself, whose pictures change in their colours alone.
* ``ours``: that recipe with mosaic in half of the samples, else zoom-out and IoU crop, and colours, in all epochs.
* ``torchvision``: the same, by the papers' composition of torchvision's operations on Pillow's pictures
  (`torchvision_pipeline.py`).

Each run has a process of its own, and goes on from its last checkpoint when it was stopped. Its JSON file has the AP
of its best checkpoint on the test split. Printed are all of them, and the difference of the last two seed by seed.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

DENSE = {
    "photometric_prob": 0.5,
    "zoom_out_prob": 0.5,
    "iou_crop_prob": 0.8,
    "mosaic_prob": 0.5,
    "flip_prob": 0.0,  # a mirrored digit is none
}
ARMS = {"demo": {}, "ours": DENSE, "torchvision": DENSE}
SEEDS = (42, 1, 2)


def result_file(output: Path, arm: str, seed: int) -> Path:
    return output / f"{arm}-{seed}.json"


def train_and_evaluate(data: Path, output: Path, arm: str, seed: int, steps: int | None) -> None:
    """One run as `hf-detr train` makes it, its evaluation as `hf-detr evaluate` does it, and its JSON file."""
    from torchvision_pipeline import TorchvisionPipeline, TorchvisionTransform

    from hf_detr.cli import evaluate, train, train_augmentation, train_data, train_setup
    from hf_detr.recipes import load_recipe

    folder = output / f"{arm}-{seed}"
    settings = {"data": str(data), "output_dir": str(folder), "seed": seed, "resume": True, "report_to": "none"}
    settings |= ARMS[arm]
    if ARMS[arm]:
        settings["mosaic_epochs"] = [0, 1000]  # the papers' composition knows no epochs
    if steps is not None:
        settings |= {"max_steps": steps, "eval_steps": steps, "save_steps": steps}
    recipe = load_recipe("demo/digits", settings)
    args, _ = train_setup.training_arguments(recipe)
    checkpoint = train.checkpoint_to_resume(args)
    trainer = train_setup.build_trainer(recipe, args, train_data.find_splits(recipe), checkpoint)
    if arm == "torchvision":
        side, _ = train_augmentation.image_size_hw(recipe)
        trainer.train_dataset.transform = TorchvisionTransform(TorchvisionPipeline(side, **DENSE))
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if trainer.interrupt.interrupted:
        raise SystemExit(train.EXIT_INTERRUPTED)
    train.save_result(trainer)
    scores = folder / "evaluation"
    evaluate.main([str(folder), "--data", str(data), "--split", "test", "--output_dir", str(scores), "--overwrite"])
    test = json.loads((scores / "metrics.json").read_text())
    result = {"arm": arm, "seed": seed, "steps": trainer.state.global_step, "AP": test["AP"], "AP50": test["AP50"]}
    result |= {"valid_AP": trainer.state.best_metric, "versions": test["versions"], "date": test["date"]}
    unfinished = result_file(output, arm, seed).with_suffix(".part")
    unfinished.write_text(json.dumps(result, indent=2) + "\n")
    unfinished.replace(result_file(output, arm, seed))


def run_apart(args: argparse.Namespace, arm: str, seed: int) -> None:
    """One run in its own process, so that none depends on those before it."""
    command = [sys.executable, __file__, str(args.data), "--output", str(args.output), "--here"]
    command += ["--arms", arm, "--seeds", str(seed)]
    command += [] if args.steps is None else ["--steps", str(args.steps)]
    args.output.mkdir(parents=True, exist_ok=True)
    log = args.output / f"{arm}-{seed}.log"
    print(f"{arm}, seed {seed}: {log}", flush=True)
    with log.open("a") as stream:
        code = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode
    if code:
        raise SystemExit(f"{arm}, seed {seed} ended with code {code}; its last lines are in {log}")


def read_result(output: Path, arm: str, seed: int) -> dict | None:
    file = result_file(output, arm, seed)
    return json.loads(file.read_text()) if file.is_file() else None


def print_table(output: Path, seeds: list[int]) -> None:
    """AP by seed and arm, mean and spread, and the paired difference with its 95 % interval."""
    found = {(arm, seed): read_result(output, arm, seed) for arm in ARMS for seed in seeds}
    steps = {result["steps"] for result in found.values() if result}
    if len(steps) > 1:
        raise SystemExit(
            f"{output} has runs of different lengths: {sorted(steps)} steps. Use one folder for each length."
        )
    print(f"AP on the test split after {steps.pop() if steps else 0} steps\n")
    print(f"| seed | {' | '.join(ARMS)} | ours - torchvision |\n|{'---|' * (len(ARMS) + 2)}")
    differences = []
    for seed in seeds:
        aps = {arm: found[arm, seed]["AP"] if found[arm, seed] else None for arm in ARMS}
        cells = ["-" if ap is None else f"{ap:.3f}" for ap in aps.values()]
        paired = None not in (aps["ours"], aps["torchvision"])
        if paired:
            differences.append(aps["ours"] - aps["torchvision"])
        print(f"| {seed} | {' | '.join(cells)} | {f'{differences[-1]:+.3f}' if paired else '-'} |")
    finished = {arm: [found[arm, seed]["AP"] for seed in seeds if found[arm, seed]] for arm in ARMS}
    print(f"| mean | {' | '.join(_mean_and_spread(aps) for aps in finished.values())} | {_interval(differences)} |")


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
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--steps", type=int, help="default: the recipe's")
    parser.add_argument("--table", action="store_true", help="print the table only")
    parser.add_argument("--here", action="store_true", help="train in this process; what the others are started with")
    args = parser.parse_args(argv)
    if not args.table:
        for seed in args.seeds:
            for arm in args.arms:
                if result_file(args.output, arm, seed).is_file():
                    continue
                if args.here:
                    train_and_evaluate(args.data, args.output, arm, seed, args.steps)
                else:
                    run_apart(args, arm, seed)
    if not args.here:
        print_table(args.output, args.seeds)
        packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "transformers"))
        print(f"\n{packages}, {os.cpu_count()} cores, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
