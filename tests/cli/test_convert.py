"""`hf-detr convert`: files in, folders out, and back."""

import json
from pathlib import Path

import pytest
import torch

from hf_detr.cli.main import main
from hf_detr.models.conversion.convert import to_original
from hf_detr.models.families import build_config, load_class
from hf_detr.models.loading import load_detector
from hf_detr.models.variants import ARCHITECTURES


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training state as the authors of DEIMv2 save it, of the smallest model."""
    torch.manual_seed(0)
    config = build_config("deimv2", "atto", id2label={0: "cat", 1: "dog"})
    state = to_original(load_class(ARCHITECTURES[config.model_type].model_class)(config))
    path = tmp_path_factory.mktemp("official") / "last.pth"
    torch.save({"model": {}, "ema": {"module": state, "updates": 3}, "last_epoch": 1}, path)
    return path


def test_there_and_back(official: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n")
    out = tmp_path / "atto"
    assert main(["convert", str(official), str(out), "--labels", str(labels)]) == 0
    assert "deimv2 atto: 4" in capsys.readouterr().out
    model, processor = load_detector(out)
    assert model.config.id2label == {0: "cat", 1: "dog"} and processor.size.height == 320
    assert (out / "README.md").is_file()
    assert main(["convert", str(out), str(tmp_path / "back.pth"), "--to-original"]) == 0
    back = torch.load(tmp_path / "back.pth", weights_only=True)["model"]
    state = torch.load(official, weights_only=True)["ema"]["module"]
    assert back.keys() == state.keys() and all(torch.equal(back[name], state[name]) for name in state)


def test_the_projector_of_rt_detr_v4_comes_back_too(tmp_path: Path) -> None:
    config = build_config("rt_detr_v4", "s", id2label={0: "cat", 1: "dog"})
    state = to_original(load_class(ARCHITECTURES[config.model_type].model_class)(config))
    torch.save({"model": state}, tmp_path / "last.pth")
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    labels = ["--labels", str(tmp_path / "labels.txt")]
    assert main(["convert", str(tmp_path / "last.pth"), str(tmp_path / "s"), *labels]) == 0
    assert main(["convert", str(tmp_path / "s"), str(tmp_path / "back.pth"), "--to-original"]) == 0
    back = torch.load(tmp_path / "back.pth", weights_only=True)["model"]
    assert back.keys() == state.keys() and "encoder.feature_projector.0.weight" in back
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_json_lists_what_was_missing(official: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = torch.load(official, weights_only=True)["ema"]["module"]
    del state["decoder.enc_score_head.bias"]
    torch.save(state, tmp_path / "partial.pth")
    arguments = [
        str(tmp_path / "partial.pth"),
        str(tmp_path / "out"),
        "--family",
        "deimv2",
        "--size",
        "atto",
        "--json",
    ]
    assert main(["convert", *arguments]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["missing"] == ["decoder.enc_score_head.bias"] and report["unexpected"] == []


@pytest.mark.parametrize(
    ("source", "message"),
    [("nothing.pth", "there is no file"), ("garbage.pth", "it is no PyTorch file"), (".", "there is no file")],
)
def test_what_cannot_be_read(source: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "garbage.pth").write_bytes(b"not a checkpoint")
    assert main(["convert", str(tmp_path / source), str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def test_nothing_is_overwritten(official: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert main(["convert", str(official), str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_labels_must_fit(official: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "labels.txt").write_text("only one\n")
    assert main(["convert", str(official), str(tmp_path / "out"), "--labels", str(tmp_path / "labels.txt")]) == 2
    assert "2 classes, but 1 labels" in capsys.readouterr().err
