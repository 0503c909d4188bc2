"""From a model to a folder that a runtime can use: graph, preprocessing, class names, and proof that it is right."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import numpy as np

from hf_detr import __version__
from hf_detr.data.aside import written_aside
from hf_detr.data.dataset import DetectionDataset
from hf_detr.errors import ExportError
from hf_detr.export.accuracy import MAX_AP_DROP, Accuracy, require_accuracy, require_average_precision
from hf_detr.export.graph import DetectorGraph, GraphOptions
from hf_detr.export.pictures import PicturesOf
from hf_detr.export.precision.int8 import require_calibration
from hf_detr.export.targets import MAX_BATCH, Target, WriteOptions, find_target
from hf_detr.export.verify import TOLERANCES, Agreement, compare, made_up_pictures, require_agreement
from hf_detr.inference.detector import Detector
from hf_detr.models.loading import load_detector, no_progress_bars

REPORT_FILE = "export.json"

# Pictures of a data set that an export is compared on, and that int8 is calibrated on, where the caller names none.
NUM_PICTURES, NUM_CALIBRATION = 16, 300


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        folder: the folder with the exported model.
        file: the graph in it.
        precision: what it computes in.
        agreement: of the exported model with the one in PyTorch.
        accuracy: of both on the data; None where there is none.
        hint: what else can be done with it, for people; None where there is nothing to say.
    """

    folder: Path
    file: Path
    precision: str
    agreement: Agreement
    accuracy: Accuracy | None
    hint: str | None = None


def export_detector(
    model_name_or_path: str | os.PathLike,
    folder: Path,
    *,
    to: str = "onnx",
    precision: str = "float32",
    data: DetectionDataset | None = None,
    max_ap_drop: float | None = None,
    pictures: Sequence[np.ndarray] | None = None,
    num_pictures: int = NUM_PICTURES,
    calibration: Sequence[np.ndarray] | None = None,
    options: GraphOptions | None = None,
    image_size_hw: tuple[int, int] | None = None,
    opset: int | None = None,
    external_data: bool = False,
    max_batch: int = MAX_BATCH,
    workspace_mib: int | None = None,
    overwrite: bool = False,
    revision: str = "main",
) -> Export:
    """Export a detector and show that it finds in pictures what the model finds in PyTorch.

    Written are the graph, the model's ``config.json`` and ``preprocessor_config.json``, and ``export.json`` with what
    was done and compared. They appear when all is done: an error leaves nothing behind.

    Args:
        model_name_or_path: a folder that `hf-detr train` wrote, or a Hub id.
        folder: where to write; must be empty or not there yet.
        to: the name of a format, see `hf_detr.export.targets.TARGETS`.
        precision: ``"float32"``, ``"float16"``, ``"bfloat16"`` or ``"int8"``, where the format has it.
        data: measure COCO AP on it before and after, and refuse an export that loses too much.
        max_ap_drop: AP, 0 to 1, that may be lost; by default by precision, `MAX_AP_DROP`.
        pictures: ``uint8 (H, W, 3)`` RGB to compare on, best those the model is made for; by default some of the data,
            or made-up ones, which tell less.
        num_pictures: how many of these it takes itself.
        calibration: pictures that int8 takes the ranges of values of; by default some of the data.
        options: what goes into the graph.
        image_size_hw: height and width of the input in pixels; the model's own by default.
        opset: ONNX operator set, by default the exporter's choice.
        external_data: weights in a file beside the graph.
        max_batch: most pictures at once, where a format is tuned for it: TensorRT and Triton.
        workspace_mib: most memory that a layer of a TensorRT engine may use on the GPU, in MiB; by default all.
        overwrite: replace an earlier export.
        revision: branch, tag or commit on the Hub.

    Raises:
        CheckpointError: the model cannot be read, does not take this size, or has other classes than the data.
        ExportError: the format does not have this precision, the folder is not free, packages or pictures are missing,
            or the exported model computes something else.
        UnreadableImageError: a picture of the data is damaged.
    """
    target, options = find_target(to), options or GraphOptions()
    precision = target.precision(precision)
    if target.one_picture:
        options = replace(options, dynamic_batch=False)
    require_free(folder, overwrite)
    if calibration is None and data is not None:
        calibration = PicturesOf(data, NUM_CALIBRATION)
    if precision == "int8":
        require_calibration(calibration)
    made_up = pictures is None and data is None
    if pictures is None:
        pictures = made_up_pictures(num_pictures, (480, 640)) if made_up else PicturesOf(data, num_pictures)
    model, processor = load_detector(model_name_or_path, revision)
    reference = Detector.from_model(model, processor, device="cpu", image_size_hw=image_size_hw)
    before = None if data is None else require_average_precision(reference, data)
    with written_aside(folder) as aside:
        writing = WriteOptions(
            image_size_hw=reference.image_size_hw,
            properties=_properties(reference, model.config, precision),
            opset=opset,
            external_data=external_data,
            precision=precision,
            calibration=calibration,
            max_batch=max_batch,
            workspace_mib=workspace_mib,
        )
        target.write(DetectorGraph(model, processor, options), aside, writing)
        with no_progress_bars():
            model.config.save_pretrained(aside)
            processor.save_pretrained(aside)
        exported = Detector.from_pretrained(aside, device=target.device)
        tolerance, accuracy = TOLERANCES[precision], None
        agreement = replace(compare(reference, exported, pictures, tolerance), made_up=made_up)
        if data is not None:
            max_ap_drop = MAX_AP_DROP[precision] if max_ap_drop is None else max_ap_drop
            after = require_average_precision(exported, data)
            accuracy = Accuracy(data.index.name, len(data), before, after, max_ap_drop)
            require_accuracy(accuracy, precision)
        if accuracy is None or precision in ("float32", "float16"):
            require_agreement(agreement, tolerance)
        hint = None if target.hint is None else target.hint(options, writing)
        done = Export(folder, folder / target.file, precision, agreement, accuracy, hint)
        report = _report(model_name_or_path, target, options, reference.image_size_hw, done)
        (aside / REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return done


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


def _properties(detector: Detector, config: Any, precision: str) -> dict[str, str]:
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
        "precision": precision,
        "class_names": json.dumps([detector.id2label[i] for i in range(len(detector.id2label))], ensure_ascii=False),
        "preprocessing": json.dumps(preprocessing),
    }


def _report(
    source: str | os.PathLike, target: Target, options: GraphOptions, image_size_hw: tuple[int, int], done: Export
) -> dict[str, Any]:
    packages = ("torch", "transformers", *target.packages)
    installed = packages_distributions()  # onnxruntime comes as onnxruntime-gpu, too
    return {
        "model": os.fspath(source),
        "format": target.name,
        "precision": done.precision,
        "image_size_hw": list(image_size_hw),
        "graph": asdict(options),
        "agreement_with_pytorch": asdict(done.agreement),
        "average_precision": None if done.accuracy is None else asdict(done.accuracy),
        "versions": {"hf_detr": __version__, **{name: version(installed[name][0]) for name in packages}},
    }
