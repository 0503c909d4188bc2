"""Does a teacher help? Students with and without one: same few labelled pictures, same seeds, same steps.

    python -m benchmarks.distillation OUT                          # everything, one run after the other
    python -m benchmarks.distillation OUT --smoke                  # the same in miniature: seconds, means nothing

The teacher is trained here, on drawings without end; students see 200 of them with labels, other 200 with each seed.
A run that is finished is not run again, and one that was interrupted (Ctrl-C) is continued: give the same command.
After every run `results.json`, `results.md` and `curves.png` in OUT are written anew.

For two processes that share the runs, prepare first, then give each its seeds or arms:

    python -m benchmarks.distillation OUT --prepare
    python -m benchmarks.distillation OUT --threads 1 --seeds 0 2
    python -m benchmarks.distillation OUT --threads 1 --seeds 1
"""

import argparse
import sys
from itertools import product
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.distillation.experiment import ARMS, SEEDS, SMOKE, Experiment, Interrupted, Plan
from benchmarks.distillation.report import write_report
from hf_detr.errors import HfDetrError


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.distillation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="folder of the experiment")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS), help="default: all")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), help="default: 0 1 2")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default: cpu")
    parser.add_argument("--threads", type=int, help="of torch; default: one per core")
    parser.add_argument("--prepare", action="store_true", help="draw the data and train the teacher, no students")
    parser.add_argument("--report", action="store_true", help="only write the report of the finished runs")
    parser.add_argument("--smoke", action="store_true", help="a tiny experiment, to see whether all of it runs")
    args = parser.parse_args(argv)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    experiment = Experiment(args.out, SMOKE if args.smoke else Plan(), args.device)
    try:
        if not args.report:
            experiment.prepare(tuple(args.seeds))
            if args.prepare:
                return 0
            train_students(experiment, args.arms, args.seeds)
        print(write_report(experiment))
    except (Interrupted, KeyboardInterrupt):
        print("\nInterrupted. The same command goes on from here.", file=sys.stderr)
        return 130
    except HfDetrError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def train_students(experiment: Experiment, arms: list[str], seeds: list[int]) -> None:
    """All runs that are not finished yet, seed by seed."""
    runs = [(arm, seed) for seed, arm in product(seeds, arms) if not experiment.result_file(arm, seed).exists()]
    with tqdm(runs, desc="students", unit=" runs") as bar:
        for arm, seed in bar:
            bar.set_postfix_str(f"{arm}, seed {seed}")
            experiment.run(arm, seed)
            write_report(experiment)


if __name__ == "__main__":
    sys.exit(main())
