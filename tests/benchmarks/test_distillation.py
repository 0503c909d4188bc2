"""The experiment about teachers runs from end to end in miniature, goes on where it stopped, and counts in pairs."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.distillation.__main__ import main as experiment
from benchmarks.distillation.report import paired_differences, render_tables
from benchmarks.distillation.teacher import GROUND, Drawings, digits_of_cells


def state_of(folder: Path) -> dict[str, int]:
    """When each result, the teacher and the probe were written."""
    paths = [*folder.glob("results/*.json"), *folder.glob("teacher*/*.safetensors"), folder / "teacher_probe.json"]
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in paths}


@pytest.mark.slow
def test_it_runs_from_end_to_end_and_goes_on_where_it_stopped(tmp_path, capsys):
    command = [str(tmp_path), "--smoke", "--seeds", "3", "--arms", "none", "constant", "adaptive"]
    assert experiment(command) == 0
    tables = capsys.readouterr().out
    results = json.loads((tmp_path / "results.json").read_text())
    assert [(run["arm"], run["seed"]) for run in results["runs"]] == [("none", 3), ("constant", 3), ("adaptive", 3)]
    for run in results["runs"]:
        assert [step for step, _ in run["valid"]] == [1, 2]
        assert bool(run["distill_weight"]) == (run["arm"] != "none")
    assert results["plan"]["steps"] == 2 and "torch" in results["environment"]
    assert set(results["teacher_probe"]) >= {"trained, all cells", "untrained, all cells", "always none, all cells"}
    assert (tmp_path / "results.md").read_text() in tables
    assert (tmp_path / "curves.png").stat().st_size > 10_000

    before = state_of(tmp_path)
    assert experiment(command) == 0
    assert state_of(tmp_path) == before
    # A run that was stopped after its last checkpoint, and before its result.
    (tmp_path / "results" / "constant-3.json").unlink()
    assert experiment(command) == 0
    after = state_of(tmp_path)
    assert {name for name in after if after[name] != before[name]} == {"results/constant-3.json"}
    (again,) = [run for run in json.loads((tmp_path / "results.json").read_text())["runs"] if run["arm"] == "constant"]
    assert again["valid"] == results["runs"][1]["valid"] and again["test"] == results["runs"][1]["test"]


def test_a_folder_holds_an_experiment_of_one_size(tmp_path, capsys):
    (tmp_path / "data" / "0").mkdir(parents=True)
    (tmp_path / "data" / "0" / "digits.json").write_text("{}")
    assert experiment([str(tmp_path), "--smoke", "--prepare", "--seeds", "0"]) == 2
    assert "holds something other than this digits data set" in capsys.readouterr().err
    assert experiment([str(tmp_path / "empty"), "--report"]) == 0
    assert capsys.readouterr().out == "No run is finished yet.\n"


def test_what_lies_in_a_cell():
    boxes_xyxy = np.array([[0.0, 0, 16, 16], [16, 32, 64, 64], [60, 0, 64, 4], [0, 0, 32, 32]])
    answers = digits_of_cells(boxes_xyxy, np.array([1, 2, 3, 4]), cells=2)
    assert answers.tolist() == [[4, 3], [2, 2]]  # all of the later; a small digit; half a cell, and all of one
    assert digits_of_cells(np.array([[0.0, 0, 7, 64]]), np.array([5]), cells=2).tolist() == [[5, GROUND], [5, GROUND]]
    assert digits_of_cells(np.array([[28.0, 0, 64, 31]]), np.array([5]), cells=2).tolist() == [
        [GROUND, 5],
        [GROUND] * 2,
    ]
    assert (digits_of_cells(np.zeros((0, 4)), np.zeros(0), cells=2) == GROUND).all()


def test_teachers_and_probes_see_handwriting_of_their_split_only():
    images, answers = Drawings("train", 64, seed=0).batch(3)
    assert images.shape == (3, 3, 64, 64) and answers.shape == (3, 2, 2)
    assert 0 <= images.min() and images.max() <= 1 and answers.min() < answers.max() == GROUND
    train, valid = Drawings("train", 64, seed=0), Drawings("valid", 64, seed=0)
    assert not set(train.writing) & set(valid.writing)
    again, _ = Drawings("train", 64, seed=0).batch(3)
    assert images.equal(again)


def test_differences_are_of_the_same_seed():
    def result(arm, seed, ap):
        return {"arm": arm, "seed": seed, "test": {"AP": ap}, "valid": [[50, ap / 2], [100, ap]]} | {
            name: [[10, 5.0], [100, 2.5]] for name in ("distill_weight", "distill_share", "loss_distill")
        }

    runs = {
        "none": {0: result("none", 0, 0.25), 1: result("none", 1, 0.5)},
        "constant": {1: result("constant", 1, 0.75), 2: result("constant", 2, 1.0)},
    }
    assert paired_differences(runs, "constant", lambda r: r["test"]["AP"]) == [0.25]
    assert paired_differences(runs, "none", lambda r: r["test"]["AP"]) == []
    lines = render_tables(runs, {"trained, all cells": 0.9}).splitlines()
    assert "| no teacher | 0.250 | 0.500 |  | 0.375 ± 0.177 |  |  |" in lines
    assert "| constant weight |  | 0.750 | 1.000 | 0.875 ± 0.177 | +0.250 | +0.250 |" in lines
    assert "| 50 | 0.188 ± 0.088 | 0.438 ± 0.088 |" in lines
    assert "| constant weight | 5.00 → 2.50 | 5.00 → 2.50 | 5.00 → 2.50 |" in lines
    assert "| trained, all cells | 0.900 |" in lines
