"""Models and their image processors: fresh, from a checkpoint to other classes, or from a checkpoint as it is."""

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoImageProcessor, PreTrainedModel
from transformers.image_utils import SizeDict
from transformers.utils import logging as transformers_logging

from hf_detr.errors import CheckpointError, did_you_mean, reason_of
from hf_detr.models.denoising import use_paper_denoising
from hf_detr.models.families import (
    build_config,
    build_processor,
    check_image_size,
    load_class,
    override_config,
    recognise_variant,
    refit_processor,
)
from hf_detr.models.freeze import freeze_stem
from hf_detr.models.initialization import initialise_like_paper
from hf_detr.models.labels import OBJECTS365_OF_COCO
from hf_detr.models.variants import ARCHITECTURES, FAMILIES
from hf_detr.registration import register

logger = logging.getLogger(__name__)

# Tensors with one row per class, in every family; the denoising embedding has one more, for padding.
_CLASS_TENSOR = re.compile(r"(?:^|\.)(?:class_embed\.\d+|enc_score_head|denoising_class_embed)\.(?:weight|bias)$")

# Without a teacher the projector to its features would get no gradient, which several processes wait for in vain.
_WITHOUT_TEACHER = {"teacher_dim": None}


def load_from_scratch(
    family: str,
    size: str,
    *,
    id2label: Mapping[int, str],
    image_size_hw: tuple[int, int] = (640, 640),
    config_overrides: Mapping[str, Any] | None = None,
    num_queries: int | None = None,
):
    """A model with the random weights the paper starts from, and its image processor.

    The backbone is random too, so that its batch norms train in every size; the authors freeze those of a few, which
    start from pretrained backbones. RT-DETRv4 comes without the projector to its teacher.

    Args:
        family: such as ``"d_fine"``, see `hf_detr.models.families.FAMILIES`.
        size: such as ``"s"``.
        id2label: class id to class name.
        image_size_hw: height and width of the input in pixels.
        config_overrides: configuration fields that differ from the family's table.
        num_queries: most objects found in one image; the family's number by default.

    Raises:
        RecipeError: unknown family, size or configuration field.
        CheckpointError: an image size the model cannot take, or more queries than the image has anchors.
    """
    overrides = {"freeze_backbone_batch_norms": False, **_overrides(config_overrides, num_queries)}
    if family == "rt_detr_v4":
        overrides = _WITHOUT_TEACHER | overrides
    config = build_config(family, size, id2label=id2label, **overrides)
    processor = build_processor(config, image_size_hw)
    model = load_class(ARCHITECTURES[config.model_type].model_class)(config)
    initialise_like_paper(model)
    use_paper_denoising(model)
    return model, processor


def load_for_finetuning(
    model_name_or_path: str | os.PathLike,
    *,
    id2label: Mapping[int, str],
    image_size_hw: tuple[int, int] | None = None,
    class_map: Sequence[str] | None = None,
    num_queries: int | None = None,
    config_overrides: Mapping[str, Any] | None = None,
    revision: str = "main",
):
    """A checkpoint with the classes of another data set, and its image processor.

    Rows of classes that have the same name carry over in every class head and in the denoising embedding; all others
    are drawn as in the paper. The log says which.

    Args:
        model_name_or_path: local folder or Hub id.
        id2label: class id to class name of the new data set.
        image_size_hw: height and width of the input in pixels; the checkpoint's own by default.
        class_map: ``"old:new"`` names; the class ``new`` starts from the rows of the checkpoint's ``old``. Wins over
            equal names.
        num_queries: most objects found in one image; the checkpoint's number by default.
        config_overrides: configuration fields that differ from the checkpoint's.
        revision: branch, tag or commit on the Hub.

    Raises:
        CheckpointError: it cannot be found, read, or is not a detector of a supported family; the class map names
            classes that do not exist; or the image size does not fit.
        RecipeError: unknown configuration field.
    """
    pretrained, processor = _load(model_name_or_path, revision, complete=False)
    overrides = _overrides(config_overrides, num_queries)
    if getattr(pretrained.config, "teacher_dim", None) is not None:
        overrides = _WITHOUT_TEACHER | overrides
    variant = recognise_variant(pretrained.config)
    if variant is not None and not _freezes_batch_norms(*variant):
        # Converted checkpoints on the Hub all say True, whatever the authors trained with.
        overrides = {"freeze_backbone_batch_norms": False, **overrides}
    config = override_config(pretrained.config, overrides, id2label=id2label)
    image_size_hw = image_size_hw or (processor.size.height, processor.size.width)
    check_image_size(config, image_size_hw)
    processor = refit_processor(processor, config)
    processor.size = SizeDict(height=image_size_hw[0], width=image_size_hw[1])

    model = type(pretrained)(config)
    initialise_like_paper(model)
    rows = match_classes(pretrained.config.id2label, config.id2label, class_map or ())
    report = carry_weights(model, pretrained.state_dict(), rows)
    logger.info("%s", report.describe(str(model_name_or_path), pretrained.config.id2label, config.id2label, rows))
    freeze_like_paper(model)
    use_paper_denoising(model)
    return model, processor


def freeze_like_paper(model: PreTrainedModel) -> None:
    """Freeze the stem of an official size whose backbone's batch norms are frozen, as the authors do."""
    if recognise_variant(model.config) is not None and model.config.freeze_backbone_batch_norms:
        freeze_stem(model)


def load_detector(model_name_or_path: str | os.PathLike, revision: str = "main"):
    """A checkpoint as it is, in evaluation mode, and its image processor.

    Raises:
        CheckpointError: it cannot be found or read, lacks weights, or is not a detector of a supported family.
    """
    model, processor = _load(model_name_or_path, revision, complete=True)
    return model.eval(), processor


def match_classes(
    old_id2label: Mapping[int, str], new_id2label: Mapping[int, str], class_map: Iterable[str]
) -> dict[int, int]:
    """Which old class each new class starts from: ``{new id: old id}``, for those that have one.

    Names are equal if they are the same but for case, spaces and underscores. Between COCO and Objects365, classes
    that are called differently (``tv`` and ``Moniter/TV``) count as equal where no class has the very name.

    Raises:
        CheckpointError: an entry of ``class_map`` is not ``old:new``, or names a class that does not exist.
    """
    old_ids = {_plain(name): int(i) for i, name in reversed(sorted(old_id2label.items()))}
    new_ids = {_plain(name): int(i) for i, name in new_id2label.items()}
    rows = {}
    for name, new_id in new_ids.items():
        old_name = name if name in old_ids else _SYNONYMS.get(name)
        if old_name in old_ids:
            rows[new_id] = old_ids[old_name]
    for entry in class_map:
        old, separator, new = entry.partition(":")
        if not separator:
            raise CheckpointError(f"class_map entry {entry!r} must be old:new, for example car:vehicle.")
        rows[_class_id(new, new_ids, entry, "data set")] = _class_id(old, old_ids, entry, "checkpoint")
    return dict(sorted(rows.items()))


def _synonyms() -> dict[str, str]:
    pairs = [(_plain(coco), _plain(other)) for coco, other in OBJECTS365_OF_COCO.items()]
    return {**dict(pairs), **{other: coco for coco, other in pairs}}


def _class_id(name: str, ids: Mapping[str, int], entry: str, where: str) -> int:
    if _plain(name) in ids:
        return ids[_plain(name)]
    hint = did_you_mean(_plain(name), ids)
    raise CheckpointError(f"class_map entry {entry!r}: the {where} has no class {name!r}.{hint}")


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", " ", str(name)).strip().casefold()


_SYNONYMS = _synonyms()


@dataclass(frozen=True)
class CarriedWeights:
    """What a fine-tuned model took from its checkpoint, by tensor name."""

    copied: list[str]
    class_tensors: list[str]
    drawn: list[str]  # no tensor of that name and shape in the checkpoint
    unused: list[str]  # in the checkpoint, but not in the model

    def describe(self, source: str, old_id2label, new_id2label, rows: Mapping[int, int]) -> str:
        """One paragraph for the log."""
        kept = [new_id2label[new] for new in rows]
        renamed = [
            f"{old_id2label[old]} -> {new_id2label[new]}"
            for new, old in rows.items()
            if _plain(old_id2label[old]) != _plain(new_id2label[new])
        ]
        fresh = [name for class_id, name in sorted(new_id2label.items()) if class_id not in rows]
        parts = [
            f"{source}: {len(self.copied)} tensors taken over.",
            f"Classes: {len(kept)} of {len(new_id2label)} carried over ({_shortened(kept)});",
            f"drawn afresh: {len(fresh)} ({_shortened(fresh)});",
            f"classes of the checkpoint no longer used: {len(old_id2label) - len(set(rows.values()))}.",
        ]
        if renamed:
            parts.append(f"Under another name: {_shortened(renamed)}.")
        if self.drawn:
            parts.append(f"Not in the checkpoint, drawn afresh: {_shortened(self.drawn)}.")
        if self.unused:
            parts.append(f"In the checkpoint but not in the model: {_shortened(self.unused)}.")
        return " ".join(parts)


def _shortened(names: Sequence[str], limit: int = 20) -> str:
    shown = ", ".join(names[:limit]) or "none"
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


@torch.no_grad()
def carry_weights(model: PreTrainedModel, source: Mapping[str, Tensor], rows: Mapping[int, int]) -> CarriedWeights:
    """Copy a state dict into a model of other classes; tensors with one row per class go row by row.

    Args:
        model: the target; what is not copied keeps its values.
        source: state dict of a model of the same family.
        rows: new class id to old class id.
    """
    report = CarriedWeights([], [], [], [])
    target = model.state_dict()
    new_ids, old_ids = torch.tensor([*rows.keys()], dtype=torch.long), torch.tensor([*rows.values()], dtype=torch.long)
    for name, tensor in target.items():
        if name not in source:
            if not name.endswith("num_batches_tracked"):  # frozen batch norms do not count batches
                report.drawn.append(name)
        elif _CLASS_TENSOR.search(name):
            tensor[new_ids] = source[name][old_ids].to(tensor.dtype)
            report.class_tensors.append(name)
        elif tensor.shape == source[name].shape:
            tensor.copy_(source[name])
            report.copied.append(name)
        else:
            report.drawn.append(name)
    report.unused.extend(name for name in source if name not in target and not name.endswith("num_batches_tracked"))
    return report


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Silence Transformers' bars, which it shows for every local file it reads or writes, within the block."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _freezes_batch_norms(family: str, size: str) -> bool:
    return FAMILIES[family][size].values.get("freeze_backbone_batch_norms", False)


def _overrides(config_overrides: Mapping[str, Any] | None, num_queries: int | None) -> dict[str, Any]:
    overrides = dict(config_overrides or {})
    if num_queries is not None:
        overrides["num_queries"] = num_queries
    return overrides


def _load(model_name_or_path: str | os.PathLike, revision: str, *, complete: bool):
    """Read configuration, processor and weights; every failure is a CheckpointError with a way out.

    Args:
        model_name_or_path: local folder or Hub id.
        revision: branch, tag or commit on the Hub.
        complete: refuse a checkpoint that lacks weights; else say so in the log.
    """
    source = os.fspath(model_name_or_path)
    _check_local_folder(source)
    register()
    try:
        config = AutoConfig.from_pretrained(source, revision=revision)
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(source, "its configuration", error) from error
    if config.model_type not in ARCHITECTURES:
        raise CheckpointError(
            f"{source} is a model of type {config.model_type!r}, which hf_detr cannot train or run. Supported types: "
            f"{', '.join(ARCHITECTURES)}. `hf-detr convert` makes them from official checkpoints."
        )
    model_class = load_class(ARCHITECTURES[config.model_type].model_class)
    try:
        with no_progress_bars() if Path(source).exists() else nullcontext():
            processor = AutoImageProcessor.from_pretrained(source, revision=revision)
            model, loading = model_class.from_pretrained(source, revision=revision, output_loading_info=True)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise _unreadable(source, "its weights or image processor", error) from error
    missing = sorted(loading["missing_keys"])
    if missing and complete:
        raise CheckpointError(
            f"{source} lacks {len(missing)} of the model's tensors, for example {', '.join(missing[:3])}. It was not "
            "saved as a detector, or saving was interrupted; use another checkpoint, or `hf-detr train` from this one."
        )
    for problem, names in (("missing, drawn afresh", missing), ("not used", sorted(loading["unexpected_keys"]))):
        if names:
            logger.warning("%s: %d tensors %s: %s", source, len(names), problem, _shortened(names))
    return model, processor


def _check_local_folder(source: str) -> None:
    path = Path(source).expanduser()
    if not path.exists():
        if path.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1:
            raise CheckpointError(
                f"there is no folder {source}. Give a folder with a config.json, or a Hub id: user/name."
            )
        return
    if not path.is_dir():
        raise CheckpointError(
            f"{source} is a file; a checkpoint is a folder with config.json, model.safetensors and "
            "preprocessor_config.json. An original .pth file becomes one with `hf-detr convert`."
        )
    has_weights = any(path.glob("model*.safetensors"))
    wanted = {
        "config.json": (path / "config.json").is_file(),
        "model.safetensors": has_weights,
        "preprocessor_config.json": (path / "preprocessor_config.json").is_file(),
    }
    missing = [name for name, found in wanted.items() if not found]
    if missing:
        checkpoints = sorted(p.name for p in path.glob("checkpoint-*") if (p / "config.json").is_file())
        hint = f" It holds checkpoints: try {path / checkpoints[-1]}." if checkpoints else ""
        raise CheckpointError(f"{source} is not a complete checkpoint: it has no {', no '.join(missing)}.{hint}")


def _unreadable(source: str, what: str, error: Exception) -> CheckpointError:
    reason = reason_of(error)
    if Path(source).expanduser().exists():
        advice = "The folder may be half-written: use another checkpoint, or save this one again."
    else:
        advice = (
            "Check the name on the Hub, your network and, for a private model, `hf auth login`. Without a network, "
            "give a local folder, or download the model once beforehand (HF_HUB_OFFLINE=1 uses the copy)."
        )
    return CheckpointError(f"cannot read {source} ({what}): {reason}\n{advice}")
