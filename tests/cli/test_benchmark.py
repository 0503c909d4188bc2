"""`hf-detr benchmark`: what it prints and writes, on tiny models."""

import json
from pathlib import Path

import pytest

from hf_detr.cli.main import main
from tests.synthetic import make_coco
from tests.tiny import save_tiny_detector


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    return [str(save_tiny_detector(tmp_path / name)) for name in ("first", "second")]


def test_a_table_with_ratios_to_the_first_model(models: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", *models, "--batch_sizes", "1", "2", "--seconds", "0.1", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["model", "runtime", "batch"]
    assert [line.split()[3] for line in lines[1:5]] == ["1", "1", "2", "2"]
    assert lines[1].rstrip().endswith("x1.00") and lines[3].rstrip().endswith("x1.00")


def test_numbers_are_consistent_and_stamped(models: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(["benchmark", models[0], "--batch_sizes", "2", "--seconds", "0.1", "--device", "cpu", "--json"])
    results = json.loads(capsys.readouterr().out)
    (row,) = results["results"]
    assert 0 < row["model_p50_ms"] <= row["model_p90_ms"] <= row["model_p99_ms"]
    # The total holds the model, and more; they are timed one after the other, on a machine with other work.
    assert row["model_p50_ms"] < 2 * row["total_p50_ms"]
    assert row["total_images_per_second"] == pytest.approx(2000 / row["total_p50_ms"])
    assert row["batches"] >= 5 and row["image_size_hw"] == [64, 64]
    assert results["environment"]["torch"]


def test_accuracy_is_that_of_evaluate_and_is_drawn(models: list[str], tmp_path: Path, capsys) -> None:
    data = make_coco(tmp_path / "data")
    output = tmp_path / "speed"
    arguments = ["--data", str(data), "--split", "train", "--seconds", "0.1", "--device", "cpu"]
    assert main(["benchmark", *models, *arguments, "--output_dir", str(output)]) == 0
    assert capsys.readouterr().out.splitlines()[0].rstrip().endswith("AP")
    rows = json.loads((output / "benchmark.json").read_text())["results"]
    assert (output / "benchmark.png").stat().st_size > 1000
    main(["evaluate", models[0], *arguments[:4], "--device", "cpu", "--json", "--output_dir", str(tmp_path / "e")])
    assert rows[0]["AP"] == json.loads(capsys.readouterr().out)["AP"]


def test_results_are_not_written_over(models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", models[0], "--output_dir", str(tmp_path)]) == 2
    assert "is not empty; name a new folder" in capsys.readouterr().err


def test_a_model_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "./nowhere"]) == 2
    assert "there is no folder ./nowhere" in capsys.readouterr().err
