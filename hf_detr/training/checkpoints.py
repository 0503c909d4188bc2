"""Checkpoints that are either whole or not there."""

import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hf_detr.distillation.student import PROJECTOR
from hf_detr.errors import TrainingError, reason_of

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


class Progress(NamedTuple):
    """What a checkpoint holds beside the weights that are being trained.

    Attributes:
        ema_updates: how many updates the moving average had.
        distillation: state of the distillation term's weight, None without a teacher.
    """

    ema_updates: int = 0
    distillation: dict[str, Any] | None = None


def save_training_weights(checkpoint: str | Path, model: nn.Module, progress: Progress) -> None:
    """Write the weights as they are trained, the projector to a teacher among them, into a checkpoint folder."""
    tensors = {name: tensor.detach().contiguous() for name, tensor in _tensors(model).items()}
    # Metadata of safetensors is text by text.
    facts = {"ema_updates": str(progress.ema_updates), "distillation": json.dumps(progress.distillation)}
    save_file(tensors, Path(checkpoint) / TRAINING_WEIGHTS_FILE, facts)


@torch.no_grad()
def load_training_weights(checkpoint: str | Path, model: nn.Module) -> Progress:
    """Put the weights of a checkpoint into a model, to the bit.

    Raises:
        TrainingError: the run had a teacher and this one has none, or the other way round, or one of other channels.
    """
    path = Path(checkpoint) / TRAINING_WEIGHTS_FILE
    weights, own = load_file(path), _tensors(model)
    then, now = (_projector_channels(tensors) for tensors in (weights, own))
    if then != now:
        raise TrainingError(
            f"{checkpoint} was trained with {_teacher(then)}, this run has {_teacher(now)}. Resume with what the "
            "recipe.yaml of the run says."
        )
    for name, tensor in own.items():
        tensor.copy_(weights[name])
    with safe_open(path, "pt") as file:
        facts = file.metadata()
    return Progress(int(facts["ema_updates"]), json.loads(facts.get("distillation", "null")))


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    # Tied heads appear under one name only, as safetensors asks.
    return {name: tensor for name, tensor in [*model.named_parameters(), *model.named_buffers()]}


def _projector_channels(tensors: dict[str, Tensor]) -> int | None:
    weight = tensors.get(f"{PROJECTOR}.weight")
    return None if weight is None else len(weight)


def _teacher(channels: int | None) -> str:
    return "no teacher" if channels is None else f"a teacher of {channels} channels"


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
        f"Cannot save a checkpoint in {run}: {reason_of(error)} ({free:.0f} MiB free on that disk); {kept}. "
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
