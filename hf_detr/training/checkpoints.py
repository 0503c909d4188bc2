"""Checkpoints that are either whole or not there."""

import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open

from hf_detr.errors import TrainingError

logger = logging.getLogger(__name__)

STAGING = ".saving"
STATE_FILE = "trainer_state.json"
TRAINING_WEIGHTS_FILE = "training_weights.safetensors"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")

# What a run writes into its folder, besides the model.
_RUN_FILES = ("recipe.yaml", "model.safetensors", "trainer_state.json")


def find_checkpoints(output_dir: str | Path) -> list[Path]:
    """Checkpoint folders of a run by step, complete or not."""
    found = [
        (int(match[1]), path)
        for path in Path(output_dir).glob("checkpoint-*")
        if (match := _CHECKPOINT.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found)]


def what_is_missing(checkpoint: Path) -> str | None:
    """Why training cannot continue from a checkpoint folder, or None if it can."""
    for name in ("model.safetensors", TRAINING_WEIGHTS_FILE):
        try:
            with safe_open(checkpoint / name, "pt"):
                pass
        except (OSError, SafetensorError) as error:
            return f"{name}: {error}"
    for name in ("optimizer.pt", "scheduler.pt"):
        if not (checkpoint / name).is_file():
            return f"{name} is not there"
    try:
        json.loads((checkpoint / STATE_FILE).read_text())
    except (OSError, ValueError) as error:
        return f"{STATE_FILE}: {error}"
    return None


def last_complete_checkpoint(output_dir: str | Path) -> Path | None:
    """The newest checkpoint that training can continue from; incomplete ones are named in the log and passed over."""
    for checkpoint in reversed(find_checkpoints(output_dir)):
        reason = what_is_missing(checkpoint)
        if reason is None:
            return checkpoint
        logger.warning("%s is incomplete (%s); looking for an older one.", checkpoint, reason)
    return None


def ema_updates(training_weights: str | Path) -> int:
    """How many updates the moving average had when a checkpoint was written."""
    with safe_open(training_weights, "pt") as file:
        return int(file.metadata()["ema_updates"])


def holds_a_run(output_dir: str | Path) -> bool:
    """Whether a folder already has the results of a training run."""
    folder = Path(output_dir)
    return any((folder / name).exists() for name in _RUN_FILES) or bool(find_checkpoints(folder))


def require_fresh(output_dir: str | Path) -> None:
    """Refuse a folder that already has a run in it.

    Raises:
        TrainingError: it has; nothing is ever overwritten silently.
    """
    if holds_a_run(output_dir):
        raise TrainingError(
            f"{output_dir} already holds a training run. Continue it with --resume, or give a new --output_dir. "
            "(Delete the folder yourself if you want it gone.)"
        )


@contextmanager
def saving(output_dir: str | Path) -> Iterator[Path]:
    """A folder to write a checkpoint into, gone again if writing fails.

    Raises:
        TrainingError: the disk is full or cannot be written; older checkpoints are untouched.
    """
    staging = Path(output_dir) / STAGING
    try:
        yield staging
    except (OSError, SafetensorError) as error:
        _fail(staging, error)
    except RuntimeError as error:
        # torch.save reports a full disk as a RuntimeError of its zip writer.
        if "inline_container" not in str(error) and "PytorchStreamWriter" not in str(error):
            raise
        _fail(staging, error)


def _fail(staging: Path, error: Exception) -> None:
    shutil.rmtree(staging, ignore_errors=True)
    run = staging.parent
    free = shutil.disk_usage(run).free / 2**20
    previous = last_complete_checkpoint(run)
    kept = f"{previous} is intact" if previous else "no earlier checkpoint was there"
    raise TrainingError(
        f"Cannot save a checkpoint in {run}: {str(error).splitlines()[0]} ({free:.0f} MiB free on that disk); {kept}. "
        f"Make room, then continue with --resume --output_dir {run}."
    ) from error


def publish(staged: Path, checkpoint: Path) -> None:
    """Give a completely written checkpoint its name, in one step that a kill cannot cut in half."""
    for path in staged.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    if checkpoint.exists():
        shutil.rmtree(checkpoint)
    staged.rename(checkpoint)
