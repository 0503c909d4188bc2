"""What a model card tells about a run."""

from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_detr import __version__
from hf_detr.hub.card import RunFacts

if TYPE_CHECKING:
    from hf_detr.training.trainer import DetrTrainer

_PACKAGES = ("torch", "transformers", "accelerate")


def run_facts(trainer: "DetrTrainer", dataset: str) -> RunFacts:
    """Data, length, settings and versions of a finished run.

    Args:
        trainer: after training.
        dataset: the name of the data.
    """
    args, state = trainer.args, trainer.state
    datasets = {"train": trainer.train_dataset, "valid": trainer.eval_dataset}
    indexes = {
        name: dataset.index if dataset.tiles is None else dataset.tiles.pictures
        for name, dataset in datasets.items()
        if dataset is not None
    }
    seconds = sum(row.get("train_runtime", 0) for row in state.log_history)
    return RunFacts(
        dataset=dataset,
        splits={
            name: {"images": len(index), "objects": int(index.objects_per_image.sum())}
            for name, index in indexes.items()
        },
        training={
            "steps": state.global_step,
            "epochs": round(state.epoch or 0, 2),
            "batch size": args.total_batch_size,
            "learning rate": args.rates().learning_rate,
            "seed": args.seed,
            "device": str(args.device),
            "processes": args.world_size,
            "minutes": round(seconds / 60, 1),
            **_teacher_facts(trainer),
        },
        versions={"hf_detr": __version__, **{package: metadata.version(package) for package in _PACKAGES}},
    )


def _teacher_facts(trainer: "DetrTrainer") -> dict[str, Any]:
    """From whom the model learnt, without the path to it, and with which weights; nothing without a teacher."""
    distillation = trainer.distillation
    if distillation is None:
        return {}
    name = distillation.name or type(distillation.teacher).__name__
    weights = [row["distill_weight"] for row in trainer.state.log_history if "distill_weight" in row]
    low, high = min(weights, default=0), max(weights, default=0)
    return {
        "teacher": Path(name).name if Path(name).exists() else name,
        "distillation weight": f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}",
    }
