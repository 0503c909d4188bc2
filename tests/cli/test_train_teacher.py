"""`hf-detr train` with a teacher, from the flags to the model card."""

import json
import signal
from pathlib import Path

import pytest
import torch
import yaml

from hf_detr.cli.main import main
from hf_detr.distillation import teacher as teachers
from hf_detr.models.loading import load_detector
from hf_detr.training.callbacks import EmaCallback
from tests.synthetic import make_coco
from tests.teachers import TEACHER_DIM, save_tiny_dinov3
from tests.tiny import IMAGE_SIZE_HW, tiny_overrides


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_coco(tmp_path_factory.mktemp("coco"), images=8, size_hw=IMAGE_SIZE_HW, splits=("train", "valid"))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    return save_tiny_dinov3(tmp_path_factory.mktemp("models") / "dinov3-tiny")


@pytest.fixture(scope="module")
def recipe(teacher, tmp_path_factory) -> Path:
    """A recipe of a tiny RT-DETRv4 whose weight is adaptive."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    overrides = {k: v for k, v in tiny_overrides("rt_detr_v4").items() if k != "teacher_dim"}
    content = {
        "model": {"from_scratch": True, "family": "rt_detr_v4", "size": "s", "config_overrides": overrides},
        "data": {"image_size": 64},
        "augment": {"multi_scale": False},
        "train": {
            "num_train_epochs": 3,
            "per_device_train_batch_size": 2,
            "dataloader_num_workers": 0,
            "logging_steps": 1,
            "report_to": "none",
            "use_cpu": True,
        },
        "distill": {"teacher": str(teacher), "distill_target_share": 50, "distill_final_weight": 3},
    }
    path.write_text(yaml.dump(content))
    return path


def train(recipe, data, output_dir, *flags) -> int:
    return main(["train", str(recipe), "--data", str(data), "--output_dir", str(output_dir), *map(str, flags)])


def history(run: Path, name: str) -> dict[int, float]:
    rows = json.loads((run / "trainer_state.json").read_text())["log_history"]
    return {row["step"]: row[name] for row in rows if name in row}


@pytest.fixture(scope="module")
def run(recipe, data, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert train(recipe, data, folder) == 0
    return folder


def test_what_is_left_is_the_student_alone(run):
    model, _ = load_detector(run)
    assert model.config.teacher_dim is None and not hasattr(model, "feature_projector")
    assert all(value > 0 for value in history(run, "loss_distill").values())
    assert list(history(run, "distill_weight").values())[:2] == [5.0, 50.0]
    card = (run / "README.md").read_text()
    assert "learnt from the features of `dinov3-tiny`" in card and "dinov3-license" in card
    assert "| teacher | dinov3-tiny |" in card and "| distillation weight | 5 to " in card
    assert "/dinov3-tiny" not in card  # nor the way to it


def test_the_summary_says_from_whom_it_learns(recipe, data, tmp_path, capsys):
    assert train(recipe, data, tmp_path / "run", "--max_steps", 1, "--save_strategy", "no",
                 "--load_best_model_at_end", "no") == 0  # fmt: skip
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("  teacher "))
    assert (
        f"dinov3-tiny, {TEACHER_DIM} channels, float32, in every step; weight 5, adapted to 50 ± 1 % of the " in line
    )
    assert line.endswith("gradient in the encoder, 3 after the first epoch of the last stage")


def test_evaluating_does_not_load_the_teacher(run, data, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("loaded")

    monkeypatch.setattr(teachers, "load_teacher", refuse)
    assert main(["evaluate", str(run), "--data", str(data), "--output_dir", str(tmp_path)]) == 0


@pytest.mark.parametrize("flags", [["--teacher", "none"], ["--distill_weight", "0", "--distill_final_weight", "null"]])
def test_a_recipe_without_its_teacher_does_not_load_it(recipe, data, tmp_path, monkeypatch, flags):
    monkeypatch.setattr(teachers, "load_teacher", None)
    quick = ["--max_steps", 1, "--save_strategy", "no", "--load_best_model_at_end", "no"]
    assert train(recipe, data, tmp_path / "run", *flags, *quick) == 0
    assert history(tmp_path / "run", "loss_distill") == {}
    assert "learnt from" not in (tmp_path / "run" / "README.md").read_text()


def test_a_teacher_for_the_recipe_of_another_family(teacher, data, tmp_path):
    flags = ["--teacher", teacher, "--config_overrides", json.dumps(tiny_overrides("d_fine")), "--image_size", 64]
    flags += ["--multi_scale", "false", "--per_device_train_batch_size", 4, "--max_steps", 2, "--teacher_every", 2]
    flags += ["--save_strategy", "no", "--load_best_model_at_end", "no", "--logging_steps", 1]
    flags += ["--dataloader_num_workers", 0, "--use_cpu"]
    assert train("d_fine/n", data, tmp_path / "run", *flags) == 0
    first, second = history(tmp_path / "run", "loss_distill").values()
    assert first > 0 and second == 0


def test_ctrl_c_within_an_epoch_and_resume(run, recipe, data, tmp_path, monkeypatch):
    update = EmaCallback.on_step_end

    def interrupted(self, args, state, control, **kwargs):
        if state.global_step == 6:  # of 4 an epoch
            signal.raise_signal(signal.SIGINT)
        update(self, args, state, control, **kwargs)

    monkeypatch.setattr(EmaCallback, "on_step_end", interrupted)
    assert train(recipe, data, tmp_path / "run") == 130
    monkeypatch.undo()
    assert main(["train", "--resume", "--output_dir", str(tmp_path / "run")]) == 0
    for name in ("loss", "loss_distill", "distill_weight", "distill_share"):
        assert history(tmp_path / "run", name) == history(run, name), name
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()


def fails(capsys, *argv) -> str:
    assert main(list(map(str, argv))) == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


def test_teachers_that_cannot_teach_are_refused_before_training(recipe, data, tmp_path, capsys):
    start = ["train", recipe, "--data", data, "--output_dir", tmp_path / "run", "--teacher"]
    coarse = save_tiny_dinov3(tmp_path / "coarse", patch_size=64)
    assert "coarser than the student's 32" in fails(capsys, *start, coarse)
    message = fails(capsys, *start, tmp_path / "missing")
    assert f"no teacher {tmp_path / 'missing'}" in message and "--teacher none" in message
    weights = torch.full((TEACHER_DIM,), float("nan"))
    broken = save_tiny_dinov3(tmp_path / "broken", edit={"norm.weight": weights})
    assert "not finite" in fails(capsys, *start, broken)
    assert not (tmp_path / "run").exists()


def test_a_projector_of_other_channels_is_refused(recipe, data, tmp_path, capsys):
    overrides = json.dumps({"teacher_dim": TEACHER_DIM + 1})
    flags = ["--data", data, "--output_dir", tmp_path / "run", "--config_overrides", overrides]
    message = fails(capsys, "train", recipe, *flags)
    assert f"{TEACHER_DIM + 1} channels" in message and f"have {TEACHER_DIM}" in message
    assert not (tmp_path / "run").exists()


def test_settings_that_contradict_each_other(recipe, data, tmp_path, capsys):
    start = ["train", recipe, "--data", data, "--output_dir", tmp_path / "run"]
    assert "teacher_every must be 1 or more" in fails(capsys, *start, "--teacher_every", 0)
    assert "--teacher_dtype: expected one of auto, float32, bfloat16" in fails(
        capsys, *start, "--teacher_dtype", "int8"
    )
    assert "percent" in fails(capsys, *start, "--distill_target_share", 100)
    assert not (tmp_path / "run").exists()
