"""Training on tiles through the command line: what is trained on, what is scored, what is said."""

import json
from pathlib import Path

import pytest
import yaml

from hf_detr.cli.main import main
from tests.synthetic import annotation_file, edit_json, make_coco, make_field
from tests.tiny import tiny_overrides


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("coco")
    return make_coco(folder, images=3, empty_images=1, size_hw=(140, 200), max_objects=5)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiled.yaml"
    content = {
        "model": {"from_scratch": True, "size": "n", "config_overrides": tiny_overrides("d_fine")},
        "data": {"image_size": 64, "tile_size": 80, "tile_overlap": 0.25, "background_share": 0.25},
        "augment": {"multi_scale": False},
        "train": {
            **{"num_train_epochs": 2, "per_device_train_batch_size": 4, "dataloader_num_workers": 0},
            **{"logging_steps": 1, "report_to": "none", "use_cpu": True},
        },
    }
    path.write_text(yaml.dump(content))
    return path


def train(recipe, data, output_dir, *flags) -> int:
    return main(["train", str(recipe), "--data", str(data), "--output_dir", str(output_dir), *map(str, flags)])


def test_tiles_are_trained_on_and_pictures_are_scored(recipe, data, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(recipe, data, run) == 0
    printed = capsys.readouterr()
    # 2 x 3 tiles of 80 px with an overlap of a quarter, of each picture
    assert "train 18 tiles, " in printed.err and "18 of 3 pictures, 80 x 80 px, overlap 0.25" in printed.err
    assert "25% of them without objects" in printed.err
    assert "--output_dir seen --tile 80 80 --tile_overlap 0.25" in printed.out
    objects = len(json.loads(annotation_file(data, "valid").read_text())["annotations"])
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["images"], metrics["objects"], metrics["tile_size_hw"]) == (3, objects, [80, 80])
    history = json.loads((run / "trainer_state.json").read_text())["log_history"]
    during = [row for row in history if "eval_AP" in row]
    assert [(row["eval_images"], row["eval_objects"]) for row in during] == [(3, objects)] * 2
    assert json.loads((run / "run.json").read_text())["splits"]["train"]["images"] == 3


def test_evaluating_as_trained_gives_the_numbers_of_the_run(recipe, data, tmp_path):
    run = tmp_path / "run"
    assert train(recipe, data, run, "--num_train_epochs", 1) == 0
    history = json.loads((run / "trainer_state.json").read_text())["log_history"]
    (during,) = [row["eval_AR100"] for row in history if "eval_AP" in row]
    flags = ["--tile", "80", "--tile_overlap", "0.25", "--device", "cpu", "--output_dir", str(tmp_path / "again")]
    assert main(["evaluate", str(run), "--data", str(data), *flags]) == 0
    again = json.loads((tmp_path / "again" / "metrics.json").read_text())
    assert again["AR100"] == pytest.approx(during, abs=1e-4)
    assert again["AR100"] == json.loads((run / "metrics.json").read_text())["AR100"]


def test_more_objects_than_queries_are_stated_for_what_the_model_looks_at(recipe, tmp_path, capsys):
    data = make_coco(tmp_path / "data", images=2, size_hw=(140, 200), splits=("train",))
    with edit_json(annotation_file(data)) as content:
        content["annotations"] = [
            {"id": x * 20 + y, "image_id": 1, "category_id": 1, "bbox": [x * 20, y * 20, 8, 8]}
            for x in range(10)
            for y in range(7)
        ]
    flags = ["--max_steps", 1, "--per_device_train_batch_size", 2, "--background_share", "0.5"]
    stated = "1 pictures have more objects (up to 70) than the model has queries, 30"
    assert train(recipe, data, tmp_path / "whole", "--tile_size", 200, *flags) == 0
    assert stated in capsys.readouterr().err
    assert train(recipe, data, tmp_path / "tiles", *flags) == 0
    assert "more objects" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--tile_size", 0], "tile_size must be 1 pixel or more"),
        (["--tile_size", 1, 2, 3], "one number, or height and width"),
        (["--tile_overlap", 2], "tile_overlap is a share of a tile"),
        (["--tile_min_visible", 2], "tile_min_visible is a share of an object's area"),
        (["--decode_side", 64], "decode_side reads pictures reduced, and tiles are cut from whole ones"),
    ],
)
def test_tiles_that_cannot_be_are_refused(flags, expected, recipe, data, tmp_path, capsys):
    assert train(recipe, data, tmp_path / "run", *flags) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_preview_shows_tiles(recipe, data, tmp_path, capsys):
    output = tmp_path / "tiles.png"
    assert main(["data", "preview", str(data), str(recipe), "--tile_size", "100", "--output", str(output)]) == 0
    assert output.is_file()


@pytest.mark.slow
def test_tiles_are_learnt_and_pictures_found(recipe, tmp_path):
    field = make_field(tmp_path / "field", size_hw=(256, 384), objects=30, sides=(16, 30))
    split = [field, "--train_annotations", field / "field.json", "--valid_images", field]
    flags = ["--train_images", *split, "--valid_annotations", field / "field.json", "--tile_overlap", 0.4]
    flags += ["--max_steps", 250, "--learning_rate", "4e-3", "--photometric_prob", 0, "--zoom_out_prob", 0]
    flags += ["--iou_crop_prob", 0, "--ema_warmup_steps", 20, "--ema_decay", 0.95, "--per_device_train_batch_size", 8]
    flags += ["--backbone_lr_ratio", 1, "--eval_strategy", "no", "--save_strategy", "no"]
    flags += ["--load_best_model_at_end", "false", "--warmup_steps", 0]
    flags = [*map(str, flags), "--output_dir", str(tmp_path / "run")]
    assert main(["train", str(recipe), *flags]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (metrics["images"], metrics["objects"]) == (1, 30) and metrics["AP50"] > 0.8
