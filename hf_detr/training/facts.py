"""What a model card tells about a run."""

from importlib import metadata
from typing import TYPE_CHECKING

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
        },
        versions={"hf_detr": __version__, **{package: metadata.version(package) for package in _PACKAGES}},
    )
