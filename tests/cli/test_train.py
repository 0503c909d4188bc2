import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from hf_detr.cli.main import main
from hf_detr.cli.train import with_saved_recipe
from hf_detr.training.checkpoints import find_checkpoints
from tests.fake_hub import serve_hub
from tests.formats import make_csv, make_yolo
from tests.synthetic import annotation_file, edit_json, images_folder, make_coco
from tests.tiny import IMAGE_SIZE_HW, tiny_overrides

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_coco(tmp_path_factory.mktemp("coco"), images=8, size_hw=IMAGE_SIZE_HW, splits=("train", "valid"))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """A recipe of a tiny detector from scratch."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    content = {
        "model": {"from_scratch": True, "size": "n", "config_overrides": tiny_overrides("d_fine")},
        "data": {"image_size": 64},
        "augment": {"multi_scale": False},
        "train": {
            "num_train_epochs": 2,
            "per_device_train_batch_size": 2,
            "dataloader_num_workers": 0,
            "logging_steps": 1,
            "report_to": "none",
            "use_cpu": True,
        },
    }
    path.write_text(yaml.dump(content))
    return path


def train(recipe, data, output_dir, *flags) -> int:
    return main(["train", str(recipe), "--data", str(data), "--output_dir", str(output_dir), *map(str, flags)])


def losses(run: Path) -> dict[int, float]:
    history = json.loads((run / "trainer_state.json").read_text())["log_history"]
    return {row["step"]: row["loss"] for row in history if "loss" in row}


@pytest.fixture(scope="module")
def run(recipe, data, tmp_path_factory) -> Path:
    """A finished run, with whatever it printed in `log.txt`."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert train(recipe, data, folder) == 0
    return folder


def test_a_run_leaves_model_numbers_picture_card_and_recipe(run):
    names = {path.name for path in run.iterdir()}
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} <= names
    assert {"metrics.json", "predictions.json", "predictions.png", "README.md", "recipe.yaml"} <= names
    metrics = json.loads((run / "metrics.json").read_text())
    assert 0 <= metrics["AP"] <= 1
    assert [row["class"] for row in metrics["per_class"]] == ["red", "green", "blue"]


def test_the_saved_recipe_repeats_the_run(run, tmp_path):
    assert main(["train", str(run / "recipe.yaml"), "--output_dir", str(tmp_path / "again")]) == 0
    assert losses(tmp_path / "again") == losses(run)


def test_fine_tuning_starts_from_a_finished_run(run, recipe, data, tmp_path, caplog):
    content = {"model": {"model_name_or_path": str(run)}, **yaml.safe_load(recipe.read_text())}
    content["model"] = {"model_name_or_path": str(run)}
    (tmp_path / "finetune.yaml").write_text(yaml.dump(content))
    assert train(tmp_path / "finetune.yaml", data, tmp_path / "run", "--max_steps", 1) == 0
    assert "3 of 3 carried over" in caplog.text


def test_multi_scale_below_the_number_of_queries_is_refused_at_once(recipe, data, tmp_path, capsys):
    assert train(recipe, data, tmp_path / "run", "--multi_scale", "true") == 2
    message = capsys.readouterr().err
    assert "The smallest size of multi-scale: num_queries is 30, but a picture of 32 x 32 px has only 20" in message
    assert "--multi_scale false" in message
    assert not (tmp_path / "run").exists()


def test_a_killed_run_resumes_with_an_equal_loss_curve(recipe, data, tmp_path):
    settings = ["--num_train_epochs", "6", "--eval_strategy", "steps", "--eval_steps", "3"]
    settings += ["--save_strategy", "steps", "--save_steps", "3"]
    assert train(recipe, data, tmp_path / "straight", *settings) == 0
    killed = tmp_path / "killed"
    command = [
        sys.executable,
        ROOT / "scripts" / "train.py",
        recipe,
        "--data",
        data,
        "--output_dir",
        killed,
        *settings,
    ]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    while len(find_checkpoints(killed)) < 1 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "the run was over before it could be killed"
    assert not (killed / "model.safetensors").exists()
    assert main(["train", "--resume", "--output_dir", str(killed)]) == 0
    assert losses(killed) == losses(tmp_path / "straight")
    assert (killed / "metrics.json").exists()


def test_resuming_a_finished_run_changes_nothing(run, recipe, data, tmp_path):
    again = tmp_path / "run"
    shutil.copytree(run, again)
    assert train(recipe, data, again, "--resume") == 0
    assert losses(again) == losses(run)
    assert (again / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()


def test_resume_alone_finds_the_recipe_of_the_run(tmp_path):
    (tmp_path / "recipe.yaml").write_text("{}")
    found = with_saved_recipe(["--resume", "--output_dir", str(tmp_path)])
    assert found[0] == str(tmp_path / "recipe.yaml")
    assert with_saved_recipe(["d_fine/s", "--resume", "--output_dir", str(tmp_path)])[0] == "d_fine/s"


def fails(capsys, *argv) -> str:
    """What `hf-detr` says on stderr when it refuses with exit code 2."""
    assert main(list(map(str, argv))) == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


def test_a_folder_with_a_run_is_not_overwritten(run, recipe, data, capsys):
    message = fails(capsys, "train", recipe, "--data", data, "--output_dir", run)
    assert "already holds a training run" in message
    assert "--resume" in message


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--image_size", "100"], "96"),
        (["--image_size", "64", "64", "64"], "one number, or height and width"),
        (["--num_queries", "500"], "80"),
        (["--per_device_train_batch_size", "16"], "--per_device_train_batch_size 8 or less"),
        (["--learning_rate", "fast"], "learning_rate"),
        (["--lerning_rate", "1e-4"], "learning_rate"),
        (["--from_scratch", "false"], "What shall be trained?"),
        (["--from_scratch", "false", "--model_name_or_path", "nobody/nothing"], "nobody/nothing"),
        (["--family", "d_finer"], "d_fine"),
    ],
)
def test_what_cannot_work_is_refused_before_training(flags, expected, recipe, data, tmp_path, capsys):
    message = fails(capsys, "train", recipe, "--data", data, "--output_dir", tmp_path / "run", *flags)
    assert expected in message
    assert not (tmp_path / "run").exists()


def test_missing_data_is_refused(recipe, tmp_path, capsys):
    assert "no such folder" in fails(
        capsys, "train", recipe, "--data", tmp_path / "no", "--output_dir", tmp_path / "r"
    )
    (tmp_path / "empty").mkdir()
    assert "empty" in fails(capsys, "train", recipe, "--data", tmp_path / "empty", "--output_dir", tmp_path / "r")
    assert "No data set was given" in fails(capsys, "train", recipe, "--output_dir", tmp_path / "r")
    message = fails(capsys, "train", recipe, "--train_images", tmp_path, "--output_dir", tmp_path / "r")
    assert "--train_images and --train_annotations go together" in message


def test_annotations_that_cannot_be_trained_on_are_refused_with_ids(recipe, tmp_path, capsys):
    data = make_coco(tmp_path / "data", images=4, size_hw=IMAGE_SIZE_HW, splits=("train",))
    with edit_json(annotation_file(data)) as content:
        content["annotations"][0]["category_id"] = 77
    message = fails(capsys, "train", recipe, "--data", data, "--output_dir", tmp_path / "run")
    assert "category" in message and "77" in message
    with edit_json(annotation_file(data)) as content:
        content["annotations"] = []
    assert "trained on nothing" in fails(capsys, "train", recipe, "--data", data, "--output_dir", tmp_path / "run")
    annotation_file(data).write_text("not json")
    assert "JSON" in fails(capsys, "train", recipe, "--data", data, "--output_dir", tmp_path / "run")


def test_an_unreadable_picture_stops_a_strict_run(recipe, tmp_path, capsys):
    data = make_coco(tmp_path / "data", images=4, size_hw=IMAGE_SIZE_HW, splits=("train",))
    broken = sorted(path for path in images_folder(data).iterdir() if path.suffix != ".json")[1]
    broken.write_bytes(broken.read_bytes()[:150])
    flags = ["--on_unreadable", "raise"]
    message = fails(capsys, "train", recipe, "--data", data, "--output_dir", tmp_path / "run", *flags)
    assert str(broken) in message


def test_an_empty_file_is_named_and_skipped(recipe, tmp_path, caplog, capsys):
    data = make_coco(tmp_path / "data", images=4, size_hw=IMAGE_SIZE_HW, splits=("train",))
    broken = sorted(path for path in images_folder(data).iterdir() if path.suffix != ".json")[1]
    broken.write_bytes(b"")
    assert train(recipe, data, tmp_path / "run") == 0
    assert f"Skipped unreadable picture {broken}" in caplog.text
    strict = ["--on_unreadable", "raise"]
    assert "file.empty" in fails(capsys, "train", recipe, "--data", data, "--output_dir", tmp_path / "r", *strict)


def test_without_a_validation_split_the_last_weights_are_kept(recipe, tmp_path, caplog):
    data = make_coco(tmp_path / "data", images=4, size_hw=IMAGE_SIZE_HW, splits=("train",))
    assert train(recipe, data, tmp_path / "run") == 0
    assert "No validation split" in caplog.text
    assert (tmp_path / "run" / "model.safetensors").exists()
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_ctrl_c_says_how_to_go_on(recipe, data, tmp_path, capsys, monkeypatch):
    from hf_detr.training.callbacks import EmaCallback

    update = EmaCallback.on_step_end

    def interrupted(self, args, state, control, **kwargs):
        if state.global_step == 2:
            signal.raise_signal(signal.SIGINT)
        update(self, args, state, control, **kwargs)

    monkeypatch.setattr(EmaCallback, "on_step_end", interrupted)
    assert train(recipe, data, tmp_path / "run") == 130
    monkeypatch.undo()
    assert f"hf-detr train --resume --output_dir {tmp_path / 'run'}" in capsys.readouterr().err
    assert main(["train", "--resume", "--output_dir", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "metrics.json").exists()


def launch(endpoint: str, home: Path, *arguments, **environment: str) -> subprocess.CompletedProcess:
    """`accelerate launch scripts/train.py` with a Hub on localhost."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    hub = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [*command, ROOT / "scripts" / "train.py", *map(str, arguments)],
        env=clean | hub | environment,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=180,
    )


def test_accelerate_launch_trains_and_publishes(recipe, data, tmp_path):
    with serve_hub() as hub:
        flags = ["--data", data, "--output_dir", tmp_path / "run", "--max_steps", 2, "--save_strategy", "no"]
        flags += ["--load_best_model_at_end", "false", "--push_to_hub", "--hub_model_id", "me/rectangles"]
        done = launch(hub.url, tmp_path, recipe, *flags, HF_TOKEN="hf_write")
        assert done.returncode == 0, done.stderr[-3000:]
        repository = hub.repositories["me/rectangles"]
        assert repository.private
        assert {"model.safetensors", "README.md", "recipe.yaml", "metrics.json"} <= set(repository.files)
        assert not any("checkpoint" in name or name.endswith(".bin") for name in repository.files)
        assert b"hf_write" not in repository.files["recipe.yaml"]
        assert "AP50" in done.stdout


def test_publishing_is_proven_possible_before_the_run(recipe, data, tmp_path, capsys):
    # There is no token here, which is one of the reasons why it is not; `test_push.py` has the others.
    message = fails(capsys, "train", recipe, "--data", data, "--output_dir", tmp_path / "run", "--push_to_hub")
    assert "hf auth login" in message
    assert not (tmp_path / "run").exists()


def test_rectangles_several_sizes_and_bfloat16(recipe, data, tmp_path):
    flags = ["--image_size", 96, 128, "--multi_scale", "true", "--bf16", "true", "--max_steps", 3]
    assert (
        train(recipe, data, tmp_path / "run", *flags, "--save_strategy", "no", "--load_best_model_at_end", "no") == 0
    )
    processor = json.loads((tmp_path / "run" / "preprocessor_config.json").read_text())
    assert processor["size"] == {"height": 96, "width": 128}
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["image_size_hw"] == [96, 128]


def test_early_stopping_and_curves(recipe, data, tmp_path):
    # AP stays 0 in these few steps, so the second evaluation without progress ends the run.
    flags = ["--num_train_epochs", 30, "--early_stopping_patience", 2, "--report_to", "tensorboard"]
    assert train(recipe, data, tmp_path / "run", *flags, "--learning_rate", "1e-12") == 0
    assert max(losses(tmp_path / "run")) <= 4 * 4
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = next((tmp_path / "run" / "runs").iterdir())
    tags = set()
    for path in folder.glob("events*"):
        events = EventAccumulator(str(path))
        events.Reload()
        tags |= set(events.Tags()["scalars"])
    assert {"train/loss", "train/loss_vfl", "train/loss_fgl_dn_0", "train/learning_rate", "eval/AP"} <= tags


def test_a_file_that_describes_the_data_and_splits_of_two_formats(recipe, data, tmp_path, monkeypatch):
    yolo, table = make_yolo(data, tmp_path / "yolo"), make_csv(data, tmp_path / "csv")
    monkeypatch.chdir(tmp_path)
    few = ["--num_train_epochs", "1", "--max_steps", "2"]
    assert main(["train", str(recipe), "--data", "yolo/data.yaml", *few]) == 0
    assert [path.name for path in Path("runs").iterdir()] == [f"{recipe.parent.name}-tiny-data"]
    explicit = ["--train_images", yolo / "images" / "train", "--train_annotations", yolo / "labels" / "train"]
    explicit += ["--valid_images", table / "valid", "--valid_annotations", table / "valid" / "_annotations.csv"]
    assert main(["train", str(recipe), *map(str, explicit), "--output_dir", "explicit", *few]) == 0
    assert json.loads(Path("explicit/trainer_state.json").read_text())["log_history"][-2]["eval_images"] == 8
