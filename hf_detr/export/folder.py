"""From a model to a folder that a runtime can use: graph, preprocessing, class names, and proof that it is right."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from hf_detr import __version__
from hf_detr.data.aside import written_aside
from hf_detr.errors import ExportError
from hf_detr.export.graph import DetectorGraph, GraphOptions
from hf_detr.export.targets import TARGETS, Target, WriteOptions
from hf_detr.export.verify import Agreement, Tolerance, compare, require_agreement
from hf_detr.inference.detector import Detector
from hf_detr.models.loading import load_detector, no_progress_bars

REPORT_FILE = "export.json"

# In float32 runtimes differ by the order in which they add; 1e-3 is far below what a picture shows.
FLOAT32_TOLERANCE = Tolerance(score=1e-3, box=1e-3)


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        folder: the folder with the exported model.
        file: the graph in it.
        agreement: of the exported model with the one in PyTorch.
    """

    folder: Path
    file: Path
    agreement: Agreement


def export_detector(
    model_name_or_path: str | os.PathLike,
    folder: Path,
    *,
    pictures: Sequence[np.ndarray],
    to: str = "onnx",
    options: GraphOptions | None = None,
    image_size_hw: tuple[int, int] | None = None,
    opset: int | None = None,
    external_data: bool = False,
    overwrite: bool = False,
    revision: str = "main",
) -> Export:
    """Export a detector and show that it finds in pictures what the model finds in PyTorch.

    Written are the graph, the model's ``config.json`` and ``preprocessor_config.json``, and ``export.json`` with what
    was done and compared. They appear when all is done: an error leaves nothing behind.

    Args:
        model_name_or_path: a folder that `hf-detr train` wrote, or a Hub id.
        folder: where to write; must be empty or not there yet.
        pictures: ``uint8 (H, W, 3)`` RGB to compare on, best those the model is made for.
        to: the name of a format, see `hf_detr.export.targets.TARGETS`.
        options: what goes into the graph.
        image_size_hw: height and width of the input in pixels; the model's own by default.
        opset: ONNX operator set, by default the exporter's choice.
        external_data: weights in a file beside the graph.
        overwrite: replace an earlier export.
        revision: branch, tag or commit on the Hub.

    Raises:
        CheckpointError: the model cannot be read, or does not take this size.
        ExportError: the folder is not free, packages are missing, or the exported model computes something else.
    """
    target, options = TARGETS[to], options or GraphOptions()
    require_free(folder, overwrite)
    model, processor = load_detector(model_name_or_path, revision)
    reference = Detector.from_model(model, processor, device="cpu", image_size_hw=image_size_hw)
    properties = _properties(reference, model.config)
    with written_aside(folder) as aside:
        target.write(
            DetectorGraph(model, processor, options),
            aside,
            WriteOptions(reference.image_size_hw, properties, opset, external_data),
        )
        with no_progress_bars():
            model.config.save_pretrained(aside)
            processor.save_pretrained(aside)
        exported = Detector.from_pretrained(aside, device="cpu")
        agreement = compare(reference, exported, pictures, FLOAT32_TOLERANCE)
        require_agreement(agreement, FLOAT32_TOLERANCE)
        report = _report(model_name_or_path, target, options, reference.image_size_hw, agreement)
        (aside / REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return Export(folder, folder / target.file, agreement)


def require_free(folder: Path, overwrite: bool) -> None:
    """Refuse to write over what is not an export.

    Raises:
        ExportError: the folder holds something.
    """
    if folder.is_file():
        raise ExportError(f"{folder} is a file; name a new folder.")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not (folder / REPORT_FILE).is_file():
        raise ExportError(f"{folder} is not empty, and not an export that could be replaced; name a new folder.")
    if not overwrite:
        raise ExportError(f"{folder} holds an export already. Replace it with --overwrite, or name a new folder.")


def _properties(detector: Detector, config: Any) -> dict[str, str]:
    """Metadata within the graph: enough to run it without any other file."""
    processor = detector.processor
    preprocessing = {
        "image_size_hw": list(detector.image_size_hw),
        "resize": "bilinear, antialiased, without keeping the aspect ratio",
        "color": "RGB",
        "rescale_factor": processor.rescale_factor if processor.do_rescale else 1.0,
        "mean": list(processor.image_mean) if processor.do_normalize else None,
        "std": list(processor.image_std) if processor.do_normalize else None,
    }
    return {
        "hf_detr_version": __version__,
        "model_type": config.model_type,
        "class_names": json.dumps([detector.id2label[i] for i in range(len(detector.id2label))], ensure_ascii=False),
        "preprocessing": json.dumps(preprocessing),
    }


def _report(
    source: str | os.PathLike,
    target: Target,
    options: GraphOptions,
    image_size_hw: tuple[int, int],
    agreement: Agreement,
) -> dict[str, Any]:
    packages = ("torch", "transformers", *target.packages)
    return {
        "model": os.fspath(source),
        "format": target.name,
        "precision": "float32",
        "image_size_hw": list(image_size_hw),
        "graph": asdict(options),
        "agreement_with_pytorch": asdict(agreement),
        "versions": {"hf_detr": __version__, **{name: version(name) for name in packages}},
    }
