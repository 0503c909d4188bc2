"""Hugging Face data sets on the command line: checked, trained on, streamed, resumed, evaluated and drawn."""

import shutil
from pathlib import Path

import pytest

from hf_detr.cli.main import main
from tests.cli.test_train import losses, recipe, train  # noqa: F401
from tests.hub_data import coco_rows, write_parquet
from tests.synthetic import make_coco
from tests.tiny import IMAGE_SIZE_HW


@pytest.fixture(scope="module")
def coco(tmp_path_factory) -> Path:
    return make_coco(tmp_path_factory.mktemp("coco"), images=8, max_objects=6, size_hw=IMAGE_SIZE_HW)


@pytest.fixture(scope="module")
def parquet(coco, tmp_path_factory) -> Path:
    """The same as Parquet: two files to train on, one to evaluate on."""
    folder = tmp_path_factory.mktemp("parquet")
    rows = coco_rows(coco)
    for number in range(2):
        part = rows.select(range(4 * number, 4 * number + 4))
        write_parquet(part, folder / "data" / f"train-{number:05}-of-00002.parquet")
    write_parquet(coco_rows(coco, "valid"), folder / "data" / "validation-00000-of-00001.parquet")
    return folder


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture(scope="module")
def run(recipe, parquet, tmp_path_factory) -> Path:  # noqa: F811
    """A finished run on the Parquet files."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder.parent / "cache")
        assert train(recipe, parquet, folder, "--num_train_epochs", 1) == 0
    return folder


def test_training_is_the_same_as_on_the_coco_file(run, recipe, coco, tmp_path):  # noqa: F811
    assert train(recipe, coco, tmp_path / "run", "--num_train_epochs", 1) == 0
    assert losses(tmp_path / "run") == losses(run)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_streamed_run_resumes_in_the_middle_of_an_epoch(workers, recipe, parquet, tmp_path):  # noqa: F811
    settings = ["--streaming", "--shuffle_window", 4, "--dataloader_num_workers", workers, "--mosaic_prob", 0.5]
    settings += ["--save_strategy", "steps", "--save_steps", 2, "--save_total_limit", 9, "--num_train_epochs", 1]
    settings += ["--eval_strategy", "no", "--load_best_model_at_end", "false"]
    assert train(recipe, parquet, tmp_path / "straight", *settings) == 0
    assert list(losses(tmp_path / "straight")) == [1, 2, 3, 4]
    resumed = tmp_path / "resumed"
    shutil.copytree(tmp_path / "straight" / "checkpoint-2", resumed / "checkpoint-2")
    assert train(recipe, parquet, resumed, *settings, "--resume") == 0
    assert losses(resumed) == losses(tmp_path / "straight")


def test_the_other_commands(run, parquet, tmp_path, capsys):
    assert main(["check", str(parquet), "--output_dir", str(tmp_path), "--image_size", "64"]) == 0
    assert "Ready to train" in capsys.readouterr().out and (tmp_path / "sample.png").exists()
    assert main(["evaluate", str(run), "--data", str(parquet), "--output_dir", str(tmp_path / "evaluated")]) == 0
    assert f"{run} on {parquet} (valid)" in capsys.readouterr().out
    preview = [
        "data",
        "preview",
        str(parquet),
        str(run / "recipe.yaml"),
        "--streaming",
        "--output",
        str(tmp_path / "a.png"),
    ]
    assert main(preview) == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tile_size", "64"], "streaming and tile_size do not go together"),
        (["--cache_images", "ram"], "streaming and cache_images do not go together"),
        (["--shuffle_window", "0"], "shuffle_window must be 1 or more, got 0"),
        (["--train_split", "train[:4]"], "--train_split and --valid_split take whole splits"),
    ],
)
def test_what_cannot_be_streamed(flags, message, recipe, parquet, tmp_path, capsys):  # noqa: F811
    assert train(recipe, parquet, tmp_path / "run", "--streaming", *flags) == 2
    assert message in capsys.readouterr().err


def test_only_parquet_is_streamed(recipe, coco, tmp_path, capsys):  # noqa: F811
    assert train(recipe, coco, tmp_path / "run", "--streaming") == 2
    assert "streaming is for --data with Parquet files" in capsys.readouterr().err


def test_an_unknown_name_is_explained_on_one_screen(recipe, tmp_path, capsys):  # noqa: F811
    assert train(recipe, "nobody/nothing", tmp_path / "run") == 2
    message = capsys.readouterr().err
    assert "nobody/nothing: cannot be read from the Hugging Face Hub" in message and "hf auth login" in message
    assert "Traceback" not in message and len(message.splitlines()) < 10
