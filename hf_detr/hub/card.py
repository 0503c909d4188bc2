"""The model card of a trained folder.

Everything is read from the folder, so a card can be written, and the model published, long after training.
"""

import dataclasses
import hashlib
import json
import logging
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

import yaml

from hf_detr.errors import CheckpointError
from hf_detr.models.labels import THRESHOLDS_FIELD

logger = logging.getLogger(__name__)

CARD_FILE = "README.md"
METRICS_FILE = "metrics.json"
PICTURE_FILE = "predictions.png"
RECIPE_FILE = "recipe.yaml"
RUN_FILE = "run.json"

_FAMILIES = {
    "d_fine": ("D-FINE", "https://huggingface.co/papers/2410.13842"),
    "deim": ("DEIM", "https://huggingface.co/papers/2412.04234"),
    "rt_detr_v4": ("RT-DETRv4", "https://huggingface.co/papers/2510.25257"),
    "rt_detr_v2": ("RT-DETRv2", "https://huggingface.co/papers/2407.17140"),
}
_METRIC_NAMES = {
    "AP": "AP, at IoU 0.50 to 0.95",
    "AP50": "AP50, at IoU 0.50",
    "AP75": "AP75, at IoU 0.75",
    "APs": "APs, small objects: below 32² px",
    "APm": "APm, medium objects",
    "APl": "APl, large objects: above 96² px",
}
_DINOV3_LICENCE = "https://ai.meta.com/resources/models-and-libraries/dinov3-license"
_LISTED_CLASSES = 20
_HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class RunFacts:
    """What the card tells about a run and the folder does not know otherwise.

    Attributes:
        dataset: its name, without the path to it.
        splits: of each split, the numbers of ``images`` and ``objects``.
        training: rows of the card's training table, such as ``{"epochs": 30, "minutes": 7.5}``, in order.
        versions: package to version.
    """

    dataset: str
    splits: dict[str, dict[str, int]]
    training: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def write_run_facts(folder: str | Path, facts: RunFacts) -> None:
    """Save the facts as `run.json` beside the model."""
    text = json.dumps(dataclasses.asdict(facts), indent=2, ensure_ascii=False)
    (Path(folder) / RUN_FILE).write_text(text + "\n", encoding="utf-8")


def model_card(folder: str | Path, model_id: str | None = None, *, license_id: str = "apache-2.0") -> str:
    """The model card of a trained folder, in Markdown with the Hub's metadata.

    Args:
        folder: configuration and weights; metrics, recipe, run facts and a picture of predictions where there are any.
        model_id: where it will be published, as ``user/name``. Default: the folder's own path.
        license_id: the Hub's id of a licence.
    """
    folder = Path(folder)
    config = _read_json(folder / "config.json")
    metrics = _read_json(folder / METRICS_FILE)
    run = _read_json(folder / RUN_FILE)
    facts = RunFacts(**run) if run else None
    classes = [name for _, name in sorted(config.get("id2label", {}).items(), key=lambda item: int(item[0]))]
    title = (model_id or folder.resolve().name).rsplit("/", 1)[-1]
    base_model = _base_model(folder)
    template = Template((Path(__file__).parent / "model_card_template.md").read_text(encoding="utf-8"))
    text = template.substitute(
        metadata=_metadata(title, license_id, base_model, metrics, facts),
        title=title,
        summary=_summary(config, classes, base_model),
        picture=_picture(folder),
        results=_results(metrics),
        model_id=model_id or folder.as_posix(),
        threshold=f"{metrics.get('threshold') or 0.5:.2g}",
        thresholds=_thresholds(config),
        data=_data(facts, classes),
        training=_training(folder, facts),
        licence=f"`{license_id}`. The pictures it was trained on may come with terms of their own.{_teacher(facts)}",
    )
    return _signed(re.sub(r"\n{3,}", "\n\n", text))


def write_model_card(folder: str | Path, model_id: str | None = None, *, license_id: str = "apache-2.0") -> Path:
    """Write the card to the folder's README.md. One that somebody has edited is kept."""
    path = Path(folder) / CARD_FILE
    if path.exists() and not _is_untouched(path.read_text(encoding="utf-8")):
        logger.info("Keeping the edited model card %s; delete it to have it written anew.", path)
    else:
        path.write_text(model_card(folder, model_id, license_id=license_id), encoding="utf-8")
    return path


def _signed(text: str) -> str:
    """The card with a hidden line at its end that tells whether anything above it was edited."""
    return f"{text}\n<!-- hf_detr: {hashlib.sha256(text.encode()).hexdigest()[:16]} -->\n"


def _is_untouched(card: str) -> bool:
    text, found, _ = card.rpartition("\n<!-- hf_detr: ")
    return bool(found) and card == _signed(text)


def _read_json(path: Path) -> dict[str, Any]:
    """The file's content, nothing where there is none.

    Raises:
        CheckpointError: It is not JSON.
    """
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path}: is not JSON: {error}") from error


def _base_model(folder: Path) -> str | None:
    """The Hub id that training started from, None if it was a folder or random weights."""
    path = folder / RECIPE_FILE
    if not path.exists():
        return None
    model = yaml.safe_load(path.read_text(encoding="utf-8")).get("model", {})
    start = model.get("model_name_or_path")
    started_there = start and not model.get("from_scratch") and _HUB_ID.fullmatch(start) and not Path(start).exists()
    return start if started_there else None


def _metadata(
    title: str, license_id: str, base_model: str | None, metrics: dict[str, Any], facts: RunFacts | None
) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    dataset = facts.dataset if facts else "unknown"
    results = [
        EvalResult(
            task_type="object-detection",
            dataset_type=re.sub(r"[^\w.-]+", "-", dataset),
            dataset_name=dataset,
            dataset_split=_split(metrics),
            metric_type="mean_average_precision",
            metric_name=name,
            metric_value=round(value, 4),
        )
        for name, value in _numbers(metrics).items()
        if name in ("AP", "AP50", "AP75")
    ]
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="object-detection",
        license=license_id,
        base_model=base_model,
        tags=["object-detection", "detr", "hf_detr"],
        model_name=title,
        eval_results=results or None,
    )
    return data.to_yaml().strip()


def _split(metrics: dict[str, Any]) -> str | None:
    return metrics.get("split")


def _numbers(metrics: dict[str, Any]) -> dict[str, float]:
    """The COCO numbers that are defined: there is no AP of small objects where there are none."""
    return {
        name: value
        for name, value in metrics.items()
        if re.match(r"A[PR]", name) and isinstance(value, int | float) and math.isfinite(value) and value >= 0
    }


def _summary(config: dict[str, Any], classes: list[str], base_model: str | None) -> str:
    model_type = config.get("model_type", "")
    family, paper = _FAMILIES.get(model_type, (model_type, None))
    detector = f"[{family}]({paper})" if paper else family
    start = f"fine-tuned from [{base_model}](https://huggingface.co/{base_model})" if base_model else "trained"
    return f"A {detector} object detector, {start} with `hf_detr`. It finds {_listed(classes)}."


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"*{_cell(name)}*" for name in names[:_LISTED_CLASSES])
    count = "1 class" if len(names) == 1 else f"{len(names)} classes"
    return f"{count}: {shown}{', …' if len(names) > _LISTED_CLASSES else ''}"


def _picture(folder: Path) -> str:
    if not (folder / PICTURE_FILE).exists():
        return ""
    return f"\n![What it finds, beside the annotations]({PICTURE_FILE})\n"


def _results(metrics: dict[str, Any]) -> str:
    numbers = _numbers(metrics)
    if not numbers:
        return ""
    split = f"on the {_split(metrics)} split, " if _split(metrics) else ""
    images = f"{metrics['images']:,} images, " if metrics.get("images") else ""
    lines = ["## Results", "", f"COCO evaluation {split}{images}weights as published here.", ""]
    lines += _table(("number", "value"), [(_metric_name(name), f"{value:.3f}") for name, value in numbers.items()])
    per_class = sorted(metrics.get("per_class", []), key=lambda row: -row["objects"])
    if per_class:
        shown = per_class[:_LISTED_CLASSES]
        which = "The classes" if len(shown) == len(per_class) else f"The {len(shown)} most frequent classes"
        lines += ["", f"{which}, all numbers in [{METRICS_FILE}]({METRICS_FILE}):", ""]
        rows = [(row["class"], f"{row['objects']:,}", _score(row["AP"]), _score(row["AP50"])) for row in shown]
        lines += _table(("class", "objects", "AP", "AP50"), rows)
    return "\n".join(lines) + "\n"


def _metric_name(name: str) -> str:
    limit = re.fullmatch(r"AR(\d+)", name)
    return f"{name}, recall with {limit[1]} detections per image" if limit else _METRIC_NAMES.get(name, name)


def _score(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) or value < 0 else f"{value:.3f}"


def _thresholds(config: dict[str, Any]) -> str:
    """The confidence that each class has been given, nothing where none has."""
    stored = config.get(THRESHOLDS_FIELD)
    if not stored:
        return ""
    rows = [(name, f"{threshold:.2f}") for name, threshold in stored.items()]
    listed = rows[:_LISTED_CLASSES]
    more = f"\n\nAnd {len(rows) - len(listed)} more." if len(rows) > len(listed) else ""
    heading = "Without a threshold, `Detector` uses those stored with the model, and 0.5 for other classes:"
    return f"{heading}\n\n" + "\n".join(_table(("class", "threshold"), listed)) + more


def _data(facts: RunFacts | None, classes: list[str]) -> str:
    if facts is None:
        return ""
    rows = [(name, f"{split['images']:,}", f"{split['objects']:,}") for name, split in facts.splits.items()]
    lines = ["## Data", "", f"`{facts.dataset}`, {_listed(classes)}.", ""]
    return "\n".join([*lines, *_table(("split", "images", "objects"), rows)]) + "\n"


def _training(folder: Path, facts: RunFacts | None) -> str:
    has_recipe = (folder / RECIPE_FILE).exists()
    if facts is None and not has_recipe:
        return ""
    lines = ["## Training", ""]
    if has_recipe:
        lines += [f"All settings are in [{RECIPE_FILE}]({RECIPE_FILE}); `hf-detr train {RECIPE_FILE}` repeats it.", ""]
    if facts is not None and facts.training:
        lines += _table(("training", ""), [(name, str(value)) for name, value in facts.training.items()])
        lines.append("")
    if facts is not None and facts.versions:
        lines.append("With " + ", ".join(f"{name} {version}" for name, version in facts.versions.items()) + ".")
    return "\n".join(lines) + "\n"


def _teacher(facts: RunFacts | None) -> str:
    """What a user of a distilled model should know about its teacher."""
    teacher = facts.training.get("teacher") if facts else None
    if teacher is None:
        return ""
    licence = f"[DINOv3's licence]({_DINOV3_LICENCE})" if "dinov3" in teacher.lower() else "the teacher's licence"
    return (
        f"\n\nIts encoder learnt from the features of `{teacher}`. Nothing of that teacher is part of this model, but "
        f"read {licence} for what it asks of those who use it."
    )


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [header, tuple("---" for _ in header), *rows]
    return [f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines]


def _cell(text: str) -> str:
    """Names as they are: Markdown in a class name means nothing."""
    return re.sub(r"([|*_`<>\[\]\\])", r"\\\1", str(text)).replace("\n", " ")
