"""A run with every augmentation on: what it says, and that neither worker processes nor stopping change it."""

import json
from pathlib import Path

import pytest
import yaml

from hf_detr.cli.main import main
from tests.synthetic import make_coco
from tests.tiny import IMAGE_SIZE_HW, tiny_overrides


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("coco")
    return make_coco(folder, images=6, empty_images=2, size_hw=IMAGE_SIZE_HW, splits=("train",))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """Five epochs: one plain by hand, two with mosaic and mixup, one without them, one plain by rule."""
    path = tmp_path_factory.mktemp("recipe") / "dense.yaml"
    content = {
        "model": {
            "from_scratch": True,
            "size": "n",
            "config_overrides": tiny_overrides("d_fine"),
        },
        "data": {"image_size": 64},
        "augment": {
            **{"mosaic_prob": 0.5, "mixup_prob": 0.5, "copyblend_prob": 0.5},
            **{"augment_epochs": [1, 4], "mosaic_epochs": [1, 3], "multi_scale": False},
        },
        "train": {
            **{"num_train_epochs": 5, "per_device_train_batch_size": 2, "dataloader_num_workers": 0},
            **{"logging_steps": 1, "report_to": "none", "use_cpu": True},
        },
    }
    path.write_text(yaml.dump(content))
    return path


def losses(run: Path) -> list[float]:
    history = json.loads((run / "trainer_state.json").read_text())["log_history"]
    return [row["loss"] for row in history if "loss" in row]


def test_worker_processes_and_pictures_in_memory_change_nothing(recipe, data, tmp_path, capsys):
    for workers, cache in ((0, "none"), (2, "ram")):
        flags = ["--data", data, "--output_dir", tmp_path / str(workers), "--dataloader_num_workers", workers]
        assert main(["train", str(recipe), *map(str, flags), "--cache_images", cache]) == 0
    said = capsys.readouterr().err
    assert (
        "colours, zoom-out, crop, copyblend 0.5 from epoch 1 until epoch 4; mosaic 0.5, mixup 0.5 from epoch 1" in said
    )
    assert len(losses(tmp_path / "0")) == 15
    assert losses(tmp_path / "0") == losses(tmp_path / "2")


def test_epochs_that_are_none_are_refused_before_the_run(recipe, data, tmp_path, capsys):
    flags = ["--data", data, "--output_dir", tmp_path / "run", "--mosaic_epochs", 9, 4]
    assert main(["train", str(recipe), *map(str, flags)]) == 2
    assert "mosaic_epochs takes the first epoch and the first one without" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
