"""An evaluation as tables to read, and as a folder with numbers, detections and pictures."""

import json
import logging
import os
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_detr import __version__
from hf_detr.errors import HfDetrError
from hf_detr.evaluation.coco import CocoEvaluator
from hf_detr.evaluation.loop import evaluate_detector
from hf_detr.evaluation.pictures import ErrorCounts, comparison_grid
from hf_detr.evaluation.results import CocoResultsWriter, coco_results

if TYPE_CHECKING:
    from hf_detr.data.dataset import DetectionDataset
    from hf_detr.data.index import DetectionIndex
    from hf_detr.inference.detector import Detector

logger = logging.getLogger(__name__)

METRICS_FILE = "metrics.json"
PREDICTIONS_FILE = "predictions.json"
PICTURES_FILE = "predictions.png"

_CLASS_NUMBERS = ("AP", "AP50", "AP75", "AR", "F1")
_NAME_COLUMNS = 34  # of the class table; longer names are cut
_MEANING = {
    "AP": "average precision, mean over IoU 0.50 to 0.95",
    "AP50": "at IoU 0.50",
    "AP75": "at IoU 0.75",
    "APs": "small objects, below 32 x 32 px",
    "APm": "medium objects, 32 x 32 to 96 x 96 px",
    "APl": "large objects, above 96 x 96 px",
    "ARs": "small objects",
    "ARm": "medium objects",
    "ARl": "large objects",
}


def render_metrics(metrics: Mapping[str, Any], *, most_classes: int = 20) -> str:
    """The COCO numbers and the table of classes as text for a terminal, 100 columns wide at most.

    Args:
        metrics: what `CocoEvaluator.compute` returns.
        most_classes: of more classes than this only the best and the worst are shown, half each.
    """
    return f"{_overall_table(metrics)}\n\n{_class_table(metrics['per_class'], most_classes)}"


def _overall_table(metrics: Mapping[str, Any]) -> str:
    skipped = f", {metrics['skipped_images']:,} unreadable left out" if metrics["skipped_images"] else ""
    lines = [
        f"{metrics['images']:,} images, {metrics['objects']:,} objects{skipped}; up to {metrics['max_detections']} "
        "detections per image count",
        "",
    ]
    if metrics["objects_beyond_limit"]:
        lines[1:1] = [
            f"{metrics['objects_beyond_limit']:,} objects cannot be found: their image has more of a class than "
            "detections that count. Raise --max_detections."
        ]
    for name, value in metrics.items():
        if name.startswith(("AP", "AR")):
            limit = name.removeprefix("AR")
            meaning = _MEANING.get(name) or f"average recall with {limit} detection{'s' * (limit != '1')} per image"
            lines.append(f"  {name:<6} {_number(value)}   {meaning}")
    if metrics["threshold"] is not None:
        lines += [
            "",
            f"Suggested threshold: {metrics['threshold']:.2f} (highest mean F1 of the classes at IoU 0.50: "
            f"{metrics['F1']:.3f})",
        ]
    return "\n".join(lines)


def _class_table(per_class: Sequence[Mapping[str, Any]], most: int) -> str:
    ranked = sorted(per_class, key=lambda row: -1 if row["AP"] is None else row["AP"], reverse=True)
    width = min(_NAME_COLUMNS, max(len("class"), *(_columns(row["class"]) for row in per_class)))
    heading = (
        f"{'class':<{width}}  {'objects':>8}  {'AP':>5}  {'AP50':>5}  {'AP75':>5}  {'AR':>5}  {'F1':>5}  threshold"
    )
    lines = [_class_line(row, width) for row in ranked]
    if len(lines) > most:
        shown = most // 2
        left_out = f"... {len(lines) - 2 * shown} classes between; all are in {METRICS_FILE}"
        lines = [*lines[:shown], left_out, *lines[-shown:]]
    return "\n".join([heading, "-" * len(heading), *lines])


def _class_line(row: Mapping[str, Any], width: int) -> str:
    numbers = "  ".join(_number(row[name]) for name in _CLASS_NUMBERS)
    return f"{_fitted(row['class'], width)}  {row['objects']:>8,}  {numbers}  {_number(row['threshold'], digits=2):>9}"


def _number(value: float | None, digits: int = 3) -> str:
    return f"{'–':>5}" if value is None else f"{value:>5.{digits}f}"


def _columns(text: str) -> int:
    """Columns a text takes in a terminal; Chinese, Japanese and Korean characters take two each."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _fitted(text: str, width: int) -> str:
    """A text cut or filled up to this many columns."""
    if _columns(text) > width:
        while _columns(text) > width - 1:
            text = text[:-1]
        text += "…"
    return text + " " * (width - _columns(text))


def evaluate_to_folder(
    detector: "Detector",
    dataset: "DetectionDataset",
    output_dir: str | Path,
    *,
    model_name: str,
    batch_size: int = 8,
    num_workers: int = 0,
    max_detections: int | None = None,
    backend: str = "hotcoco",
    class_of: np.ndarray | None = None,
    threshold: float | None = None,
    num_pictures: int = 12,
    progress: bool = True,
) -> dict[str, Any]:
    """Evaluate a detector and write what there is to know into a folder.

    - ``metrics.json``: the numbers, per class too, and how they came about
    - ``predictions.json``: all detections as COCO results, under the ids of the annotation file
    - ``predictions.png``: predictions beside ground truth, half of the pictures at random, half those with most errors

    Args:
        detector: on any runtime.
        dataset: without a transform.
        output_dir: made if it is not there; files of these names are replaced, see `require_free_folder`.
        model_name: what ``metrics.json`` calls the model: a folder or Hub id.
        batch_size: pictures at once.
        num_workers: processes that read pictures.
        max_detections: see `CocoEvaluator`.
        backend: see `CocoEvaluator`.
        class_of: see `evaluate_detector`.
        threshold: confidence of the predictions that are drawn; the suggested one by default.
        num_pictures: in the grid; 0 for none.
        progress: show a bar where there is a terminal.

    Returns:
        The content of ``metrics.json``.

    Raises:
        HfDetrError: no picture can be read, or the folder cannot be made.
    """
    index, output_dir = dataset.index, Path(output_dir)
    evaluator = CocoEvaluator(index, max_detections=max_detections, backend=backend)
    errors = ErrorCounts(index)
    _warn_of_few_queries(detector, index)
    make_folder(output_dir)
    with CocoResultsWriter(output_dir / PREDICTIONS_FILE) as writer:

        def add(images: np.ndarray, detections: np.ndarray) -> None:
            errors.add(images, detections)
            for image, rows in zip(images.tolist(), detections, strict=True):
                if image >= 0:
                    writer.write(coco_results(rows, index.image_id(image), index.category_ids))

        metrics = evaluate_detector(
            detector,
            dataset,
            evaluator,
            batch_size=batch_size,
            num_workers=num_workers,
            class_of=class_of,
            on_batch=add,
            progress=progress,
        )
    if evaluator.unreadable:
        named = "\n".join(f"  {index.image_path(image)}" for image in evaluator.unreadable[:10])
        more = len(evaluator.unreadable) - 10
        logger.warning(
            "%d pictures cannot be read and are left out of the evaluation:\n%s%s",
            len(evaluator.unreadable),
            named,
            f"\n  and {more} more, see {METRICS_FILE}" if more > 0 else "",
        )
    if num_pictures:
        drawn_threshold = threshold if threshold is not None else metrics["threshold"] or 0.5
        grid = comparison_grid(detector, dataset, errors, drawn_threshold, class_of=class_of, count=num_pictures)
        grid.save(output_dir / PICTURES_FILE)
    content = {
        **{name: value for name, value in metrics.items() if name != "per_class"},
        "unreadable": [str(index.image_path(image)) for image in evaluator.unreadable],
        **describe_evaluation(detector, dataset, model_name, backend),
        "per_class": metrics["per_class"],
    }
    write_json(output_dir / METRICS_FILE, content)
    return content


def _warn_of_few_queries(detector: "Detector", index: "DetectionIndex") -> None:
    if detector.num_queries is None or detector.tiling is not None:
        return
    objects = index.objects_per_image
    crowded = int((objects > detector.num_queries).sum())
    if crowded:
        logger.warning(
            "%d pictures have more objects (up to %d) than the model finds in one picture, %d. Raise --num_queries, "
            "or look tile by tile with --tile.",
            crowded,
            objects.max(),
            detector.num_queries,
        )


def describe_evaluation(
    detector: "Detector", dataset: "DetectionDataset", model_name: str, backend: str
) -> dict[str, Any]:
    """How the numbers came about: model, data, software and date."""
    packages = ("torch", "transformers", backend)
    return {
        **evaluated_pair(model_name, dataset),
        "images_dir": str(dataset.index.images_dir),
        "image_size_hw": list(detector.image_size_hw),
        **describe_tiling(detector),
        "device": str(detector.backend.device),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"hf_detr": __version__, **{package: metadata.version(package) for package in packages}},
    }


def describe_tiling(detector: "Detector") -> dict[str, Any]:
    """The tiles that pictures were looked at in; nothing for whole pictures."""
    if detector.tiling is None:
        return {}
    return {"tile_size_hw": list(detector.tiling.size_hw), "tile_overlap": detector.tiling.overlap}


def evaluated_pair(model_name: str, dataset: "DetectionDataset") -> dict[str, str]:
    """What was evaluated on what: tells a repetition from another evaluation."""
    return {"model": model_name, "split": dataset.index.name, "annotations": str(dataset.index.annotations_path)}


def require_free_folder(output_dir: Path, pair: Mapping[str, str]) -> None:
    """Refuse to replace the evaluation of something else; the same one may be repeated.

    Args:
        output_dir: where the results are to go.
        pair: what `evaluated_pair` says.

    Raises:
        HfDetrError: the folder holds another evaluation.
    """
    path = output_dir / METRICS_FILE
    if not path.exists():
        return
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
        differing = [f"{name} {earlier[name]}, not {value}" for name, value in pair.items() if earlier[name] != value]
    except (ValueError, KeyError, TypeError):
        differing = ["its origin is not known"]
    if differing:
        raise HfDetrError(
            f"{output_dir} already holds another evaluation ({'; '.join(differing)}). Choose another --output_dir, or "
            "--overwrite to replace it."
        )
    logger.info("%s: the earlier evaluation of the same model and data is replaced.", output_dir)


def make_folder(output_dir: Path) -> None:
    """Make a folder for results; HfDetrError where that is impossible."""
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HfDetrError(f"{output_dir}: cannot make this folder: {error.strerror}.") from error


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file whole or not at all."""
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    staging.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    staging.replace(path)
