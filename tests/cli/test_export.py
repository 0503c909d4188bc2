"""`hf-detr export`: which pictures it takes, and what it prints."""

import argparse
import json
import re
from pathlib import Path

import numpy as np
import pytest

from hf_detr.cli import export
from hf_detr.cli.main import main
from tests.export.conftest import save_decided_detector
from tests.synthetic import images_folder, make_coco


def chosen(model: Path, *, images: list[str] | None = None) -> list[np.ndarray] | None:
    args = argparse.Namespace(model=str(model), images=images, num_pictures=3)
    pictures = export._pictures(args, None, Path("out"))
    return None if pictures is None else list(pictures)


def test_a_trained_model_is_compared_on_its_own_data(tmp_path: Path) -> None:
    data = make_coco(tmp_path / "data", images=5)
    assert chosen(tmp_path) is None  # no recipe
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"data:\n  data: {data}\n")
    expected = chosen(tmp_path, images=[str(images_folder(data, "valid"))])
    np.testing.assert_array_equal(chosen(tmp_path)[0], expected[0])
    recipe.write_text(f"data:\n  data: {tmp_path / 'moved'}\n")
    assert chosen(tmp_path) is None


def test_a_recipe_that_cannot_be_read_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "recipe.yaml").write_text("data:\n  dta: there\n")
    with caplog.at_level("INFO"):
        assert chosen(tmp_path) is None
    assert "Compared on made-up pictures" in caplog.text and "recipe.yaml" in caplog.text


def test_nothing_of_the_exporter_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = save_decided_detector(tmp_path / "model")
    capfd.readouterr()
    assert main(["export", str(model), "--num_pictures", "2"]) == 0
    printed = capfd.readouterr()
    file = model / "onnx" / "model.onnx"
    assert printed.out.startswith(f"{file}  float32, ")
    ours = re.compile(
        r"Compared with PyTorch: |\d+ more detections depend on how the pixels|TensorRT from ONNX: trtexec "
        r"|Pictures that the model is made for tell more: give some with --images"
    )
    assert [line for line in printed.out.splitlines()[1:] if not ours.match(line)] == []
    assert printed.err == ""


def test_made_up_pictures_are_called_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model, data = save_decided_detector(tmp_path / "model"), make_coco(tmp_path / "data", images=5)
    assert main(["export", str(model), "--num_pictures", "3"]) == 0
    assert "in 3 made-up pictures" in (shown := capfd.readouterr().out) and "--images" in shown
    assert json.loads((model / "onnx" / "export.json").read_text())["agreement_with_pytorch"]["made_up"] is True
    assert main(["export", str(model), "--overwrite", "--images", str(images_folder(data, "valid"))]) == 0
    assert "made-up" not in (shown := capfd.readouterr().out) and "give some with --images" not in shown
