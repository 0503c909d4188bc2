"""The best confidence threshold of each class, found in an evaluation and stored with the model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hf_detr.errors import CheckpointError
from hf_detr.evaluation.report import write_json
from hf_detr.models.labels import THRESHOLDS_FIELD


def config_to_store_in(model: str) -> Path:
    """The ``config.json`` of a model in a folder, or of an exported file.

    Raises:
        CheckpointError: there is none: a model on the Hub, for instance.
    """
    path = Path(model).expanduser()
    config = (path.parent if path.is_file() else path) / "config.json"
    if not config.is_file():
        raise CheckpointError(
            f"Thresholds are stored in a model's config.json, and there is no {config}. For a model on the Hub, "
            "download it to a folder first: hf download USER/NAME --local-dir FOLDER"
        )
    return config


def best_thresholds(metrics: Mapping[str, Any], id2label: Mapping[int, str], class_of: np.ndarray) -> dict[str, float]:
    """The threshold with the highest F1 of each class, by the model's names; none for classes that were not found.

    Args:
        metrics: what `CocoEvaluator.compute` returns.
        id2label: the model's classes.
        class_of: ``(K,)`` class id in the data of each class of the model, -1 for those it does not have.
    """
    rows = metrics["per_class"]
    found = {name: rows[class_of[class_id]] for class_id, name in id2label.items() if class_of[class_id] >= 0}
    return {name: row["threshold"] for name, row in found.items() if row["threshold"] is not None}


def store_thresholds(config: Path, thresholds: Mapping[str, float]) -> None:
    """Write thresholds by class name into a ``config.json``, in place of those it has."""
    content = json.loads(config.read_text(encoding="utf-8"))
    write_json(config, {**content, THRESHOLDS_FIELD: dict(thresholds)})


def render_thresholds(thresholds: Mapping[str, float], id2label: Mapping[int, str]) -> str:
    """A line for each class of the model."""
    width = max(map(len, id2label.values()))
    shown = {
        name: f"{thresholds[name]:.2f}" if name in thresholds else "0.50, not found" for name in id2label.values()
    }
    return "\n".join(f"  {name:<{width}}  {text}" for name, text in shown.items())
