"""`hf-detr info`: the table, and counts of one model."""

import json
from pathlib import Path

import pytest
import torch

from hf_detr.cli.main import main
from hf_detr.models.families import build_processor
from hf_detr.models.published import PAPERS, PUBLISHED
from hf_detr.models.variants import FAMILIES
from tests.tiny import tiny_model


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str):
    assert main(["info", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_table_has_every_size(capsys: pytest.CaptureFixture[str]) -> None:
    rows = run_json(capsys)
    assert [(row["family"], row["size"]) for row in rows] == [(f, s) for f, sizes in FAMILIES.items() for s in sizes]
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert "Apache-2.0" in out and all(paper.url in out for paper in PAPERS.values())
    assert set(PUBLISHED) <= {(f, s) for f, sizes in FAMILIES.items() for s in sizes}


def test_one_family(capsys: pytest.CaptureFixture[str]) -> None:
    assert {row["family"] for row in run_json(capsys, "rt_detr_v2")} == {"rt_detr_v2"}


def test_counts_agree_with_what_is_published(capsys: pytest.CaptureFixture[str]) -> None:
    facts = run_json(capsys, "d_fine", "n")
    assert facts["parameters"] == 3_782_693
    assert facts["gflops"] == pytest.approx(7.4, abs=0.1) and facts["published"]["gflops"] == 7
    assert facts["image_size_hw"] == [640, 640]


def test_a_checkpoint_at_another_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    model = tiny_model()
    model.save_pretrained(tmp_path)
    build_processor(model.config, (64, 64)).save_pretrained(tmp_path)
    small, large = run_json(capsys, str(tmp_path)), run_json(capsys, str(tmp_path), "--image_size", "64", "128")
    assert small["classes"] == 3 and small["size"] is None
    assert large["image_size_hw"] == [64, 128] and large["gflops"] > small["gflops"]
    assert main(["info", str(tmp_path), "--image_size", "65"]) == 2
    assert "multiples of 32" in capsys.readouterr().err


def test_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    facts = run_json(capsys, "demo/digits")
    assert facts["parameters"] > 1_000_000 and facts["image_size_hw"] == [160, 160]


def test_a_recipe_with_a_teacher(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "rt_detr_v4/s"]) == 0
    out = capsys.readouterr().out
    assert "rt_detr_v4 s" in out and "  learns from facebook/dinov3-vitb16-pretrain-lvd1689m, in training only" in out


def test_an_unknown_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "d_fine", "xxl"]) == 2
    assert "choose one of: n, s, m, l, x" in capsys.readouterr().err
