import json

import pytest
import torch
from safetensors.torch import save_file

from hf_detr.errors import TrainingError
from hf_detr.training import checkpoints


def make_checkpoint(run, step):
    folder = run / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    for name in ("model.safetensors", checkpoints.TRAINING_WEIGHTS_FILE):
        save_file({"w": torch.zeros(2)}, folder / name, {"ema_updates": "7"})
    for name in ("optimizer.pt", "scheduler.pt"):
        torch.save({}, folder / name)
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return folder


def test_newest_by_step_not_by_name(tmp_path):
    for step in (5, 100, 20):
        make_checkpoint(tmp_path, step)
    assert checkpoints.last_complete_checkpoint(tmp_path).name == "checkpoint-100"


@pytest.mark.parametrize(
    "broken", ["trainer_state.json", "optimizer.pt", "model.safetensors", checkpoints.TRAINING_WEIGHTS_FILE]
)
def test_a_half_written_checkpoint_is_passed_over_and_named(tmp_path, broken, caplog):
    whole = make_checkpoint(tmp_path, 10)
    (make_checkpoint(tmp_path, 20) / broken).unlink()
    assert checkpoints.last_complete_checkpoint(tmp_path) == whole
    assert "checkpoint-20 is incomplete" in caplog.text
    assert broken in caplog.text


def test_a_cut_off_weight_file_counts_as_incomplete(tmp_path):
    whole = make_checkpoint(tmp_path, 10)
    weights = make_checkpoint(tmp_path, 20) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    assert checkpoints.last_complete_checkpoint(tmp_path) == whole


def test_nothing_to_continue_from(tmp_path):
    assert checkpoints.last_complete_checkpoint(tmp_path) is None


def test_a_folder_with_a_run_is_refused(tmp_path):
    checkpoints.require_fresh(tmp_path / "new")
    (tmp_path / "notes.txt").write_text("mine")
    checkpoints.require_fresh(tmp_path)
    make_checkpoint(tmp_path, 10)
    with pytest.raises(TrainingError, match=r"already holds a training run.*--resume"):
        checkpoints.require_fresh(tmp_path)


def test_a_failed_save_leaves_the_older_checkpoint_and_says_so(tmp_path):
    whole = make_checkpoint(tmp_path, 10)
    with pytest.raises(TrainingError, match=r"No space left.*checkpoint-10 is intact.*--resume"):
        with checkpoints.saving(tmp_path) as staging:
            staging.mkdir()
            (staging / "half").write_text("…")
            raise OSError(28, "No space left on device")
    assert not (tmp_path / checkpoints.STAGING).exists()
    assert checkpoints.last_complete_checkpoint(tmp_path) == whole


def test_an_error_that_is_not_about_writing_is_not_dressed_up(tmp_path):
    with pytest.raises(RuntimeError, match="shapes"), checkpoints.saving(tmp_path):
        raise RuntimeError("shapes do not match")
