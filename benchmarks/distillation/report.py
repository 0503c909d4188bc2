"""The experiment's results as JSON, as tables, and as a picture."""

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.distillation.experiment import ARMS, BASELINE, Experiment
from hf_detr.cli.env import environment
from hf_detr.evaluation.report import write_json

_COLOURS = {"none": "#555555", "constant": "#0072B2", "adaptive": "#009E73", "untrained": "#D55E00"}
_TITLES = {
    "none": "no teacher",
    "constant": "constant weight",
    "adaptive": "adaptive weight",
    "untrained": "teacher with random weights",
}

Runs = dict[str, dict[int, dict[str, Any]]]  # arm -> seed -> result


def write_report(experiment: Experiment) -> str:
    """Write `results.json`, `results.md` and `curves.png` of the finished runs; returns the tables."""
    runs = finished_runs(experiment)
    if not runs:
        return "No run is finished yet."
    probe = json.loads(experiment.probe_file.read_text())
    rows = [result for by_seed in runs.values() for result in by_seed.values()]
    content = {"environment": environment(), "plan": experiment.plan._asdict(), "teacher_probe": probe, "runs": rows}
    write_json(experiment.folder / "results.json", content)
    tables = render_tables(runs, probe)
    (experiment.folder / "results.md").write_text(tables, encoding="utf-8")
    draw_curves(runs, experiment.folder / "curves.png")
    return tables


def finished_runs(experiment: Experiment) -> Runs:
    """Results by arm and seed, in the order of `ARMS`."""
    runs: Runs = {}
    results = [json.loads(path.read_text()) for path in sorted(experiment.folder.glob("results/*.json"))]
    for arm in ARMS:
        by_seed = {result["seed"]: result for result in results if result["arm"] == arm}
        if by_seed:
            runs[arm] = dict(sorted(by_seed.items()))
    return runs


def render_tables(runs: Runs, probe: dict[str, float]) -> str:
    """Test AP with differences per seed, validation AP over the steps, the weights, and the teacher's probe."""
    return "\n".join([*_test_table(runs), "", *_curve_table(runs), "", *_weight_table(runs), "", *_probe_table(probe)])


def _test_table(runs: Runs) -> list[str]:
    seeds = sorted({seed for by_seed in runs.values() for seed in by_seed})
    rows = []
    for arm, by_seed in runs.items():
        differences = paired_differences(runs, arm, lambda result: result["test"]["AP"])
        rows.append(
            [
                _TITLES[arm],
                *(f"{by_seed[seed]['test']['AP']:.3f}" if seed in by_seed else "" for seed in seeds),
                spread([result["test"]["AP"] for result in by_seed.values()]),
                ", ".join(f"{difference:+.3f}" for difference in differences),
                spread(differences, sign="+"),
            ]
        )
    head = ["AP, test split", *(f"seed {seed}" for seed in seeds), "mean", "minus no teacher, by seed", "mean"]
    return _table(head, rows)


def _curve_table(runs: Runs) -> list[str]:
    steps = sorted({row[0] for by_seed in runs.values() for result in by_seed.values() for row in result["valid"]})
    rows = []
    for step in steps:
        cells = []
        for by_seed in runs.values():
            cells.append(spread([ap for result in by_seed.values() for at, ap in result["valid"] if at == step]))
        rows.append([str(step), *cells])
    return _table(["AP, validation split, at step", *(_TITLES[arm] for arm in runs)], rows)


def _weight_table(runs: Runs) -> list[str]:
    rows = []
    for arm, by_seed in runs.items():
        if arm != BASELINE:
            logs = {name: [result[name] for result in by_seed.values()] for name in _LOGGED}
            rows.append([_TITLES[arm], *(_from_to(logs[name]) for name in _LOGGED)])
    return _table(["first → last, mean over seeds", *_LOGGED.values()], rows)


_LOGGED = {
    "distill_weight": "weight of the term",
    "distill_share": "encoder's share of the gradient, %",
    "loss_distill": "weighted term",
}


def _from_to(series: Sequence[Sequence[Sequence[float]]]) -> str:
    """First and last value of several logs."""
    logs = [log for log in series if log]
    if not logs:
        return ""
    return " → ".join(f"{statistics.mean(log[at][1] for log in logs):.2f}" for at in (0, -1))


def _probe_table(probe: dict[str, float]) -> list[str]:
    return _table(["right answers of a linear probe", ""], [[name, f"{share:.3f}"] for name, share in probe.items()])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows)]


def spread(values: Sequence[float], sign: str = "") -> str:
    """Mean and standard deviation over the seeds."""
    if not values:
        return ""
    mean = f"{statistics.mean(values):{sign}.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean


def paired_differences(runs: Runs, arm: str, figure) -> list[float]:
    """What an arm has more than the baseline of the same seed: same pictures, same first weights."""
    baseline = runs.get(BASELINE, {})
    if arm == BASELINE:
        return []
    return [figure(result) - figure(baseline[seed]) for seed, result in runs[arm].items() if seed in baseline]


def draw_curves(runs: Runs, path: Path) -> None:
    """Validation AP over the steps, and how much of it each teacher adds; bands are standard deviations over seeds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (absolute, paired) = pyplot.subplots(1, 2, figsize=(10, 4), dpi=110)
    for arm, by_seed in runs.items():
        curves = {seed: dict(result["valid"]) for seed, result in by_seed.items()}
        _draw(absolute, list(curves.values()), arm)
        baseline = {seed: dict(result["valid"]) for seed, result in runs.get(BASELINE, {}).items()}
        if arm != BASELINE:
            gains = [
                {step: ap - baseline[seed][step] for step, ap in curve.items() if step in baseline[seed]}
                for seed, curve in curves.items()
                if seed in baseline
            ]
            _draw(paired, gains, arm)
    paired.axhline(0, color=_COLOURS[BASELINE], linewidth=1)
    absolute.set(xlabel="step", ylabel="AP, validation split")
    paired.set(xlabel="step", ylabel="AP minus that without a teacher, same seed")
    for axes in (absolute, paired):
        axes.grid(alpha=0.3)
    absolute.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def _draw(axes: Any, curves: Sequence[dict[int, float]], arm: str) -> None:
    if not curves:
        return
    steps = [step for step in curves[0] if all(step in curve for curve in curves)]
    columns = [[curve[step] for curve in curves] for step in steps]
    means = [statistics.mean(column) for column in columns]
    deviations = [statistics.stdev(column) if len(column) > 1 else 0 for column in columns]
    for curve in curves:
        axes.plot(steps, [curve[step] for step in steps], color=_COLOURS[arm], alpha=0.25, linewidth=1)
    low, high = zip(*((m - d, m + d) for m, d in zip(means, deviations, strict=True)), strict=True)
    axes.fill_between(steps, low, high, color=_COLOURS[arm], alpha=0.15, linewidth=0)
    axes.plot(steps, means, color=_COLOURS[arm], linewidth=2.5, label=_TITLES[arm])
