"""Official checkpoints of all families to our models, and back.

The authors' repositories save a pickle with the training state; what is wanted of it is the state dict, best of the
averaged weights. Names are translated by the family's list of rules, and family and size are found by comparing every
name and shape with those of each row of the table.
"""

import logging
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from hf_detr.errors import CheckpointError, reason_of
from hf_detr.models.conversion import d_fine, deimv2, rt_detr_v2
from hf_detr.models.conversion.names import NameMap
from hf_detr.models.denoising import use_paper_denoising
from hf_detr.models.families import build_config, find_variant, load_class, recognise_variant
from hf_detr.models.freeze import freeze_stem
from hf_detr.models.initialization import initialise_like_paper
from hf_detr.models.labels import default_labels
from hf_detr.models.variants import ARCHITECTURES, FAMILIES

logger = logging.getLogger(__name__)

# Tensors that follow from the configuration; official files hold them, but nothing is lost without.
_DERIVED_SUFFIXES = (
    "anchors",
    "valid_mask",
    "decoder.up",
    "decoder.reg_scale",
    "num_points_scale",
    "rope_embed.periods",
    "qkv.bias_mask",
    "num_batches_tracked",
)
_LATER_BOX_HEAD = re.compile(r"decoder\.dec_bbox_head\.[1-9]")

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class ConversionReport:
    """What became of the tensors of an official checkpoint."""

    family: str
    size: str
    num_converted: int
    missing: list[str]  # original names; drawn as in the paper
    unexpected: list[str]

    def describe(self) -> str:
        """One paragraph for the log."""
        parts = [f"{self.family} {self.size}: {self.num_converted} tensors converted."]
        if self.missing:
            parts.append(f"Missing, drawn afresh: {len(self.missing)} ({_shortened(self.missing)}).")
        if self.unexpected:
            parts.append(f"Not part of the model, left out: {len(self.unexpected)} ({_shortened(self.unexpected)}).")
        return " ".join(parts)


def convert_state_dict(
    state_dict_or_path: Mapping[str, Any] | str | Path,
    family: str | None = None,
    size: str | None = None,
    id2label: Mapping[int, str] | None = None,
) -> tuple[PreTrainedModel, ConversionReport]:
    """Build the model that an official checkpoint is of, with its weights, in evaluation mode.

    Args:
        state_dict_or_path: a ``.pth`` or ``.safetensors`` file, or what it holds: a training state or a state dict.
        family: a key of `FAMILIES`; found from the tensors by default.
        size: a size of that family; likewise.
        id2label: class id to class name. By default COCO's 80, Objects365's 365, or ``class 0``, ``class 1``, ...

    Raises:
        CheckpointError: the file cannot be read, holds no state dict, or fits no family and size.
    """
    if isinstance(state_dict_or_path, str | Path):
        name, loaded = str(state_dict_or_path), read_checkpoint(state_dict_or_path)
    else:
        name, loaded = "the state dict", state_dict_or_path
    state = find_state_dict(loaded, name)
    num_classes = _num_classes(state, name)
    family, size = recognise_state_dict(state, family=family, size=size, num_classes=num_classes, name=name)
    labels = dict(id2label) if id2label is not None else default_labels(num_classes)
    if len(labels) != num_classes:
        raise CheckpointError(f"{name} has {num_classes} classes, but {len(labels)} labels were given.")

    config = build_config(family, size, id2label=labels)
    model = load_class(ARCHITECTURES[config.model_type].model_class)(config)
    initialise_like_paper(model)
    report = _load(model, state, family, size, name)
    if config.freeze_backbone_batch_norms:
        freeze_stem(model)
    use_paper_denoising(model)
    logger.log(logging.WARNING if report.missing else logging.INFO, "%s", report.describe())
    return model.eval(), report


def read_checkpoint(path: str | Path) -> Any:
    """Read a ``.pth``, ``.pt`` or ``.safetensors`` file without running code from it."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = next((line for line in str(error).splitlines() if "Unsupported global" in line), None)
        if reason is None:
            raise CheckpointError(f"cannot read {path}: it is no PyTorch file, or half-downloaded.") from error
        raise CheckpointError(
            f"{path} is a pickle that needs more than tensors and plain values, so reading it would run code from it: "
            f"{reason.strip()}\nAsk its authors for a safetensors file, or save torch.load(...)['model'] again where "
            "you trust the file."
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError) as error:
        raise CheckpointError(f"cannot read {path}: {reason_of(error)}. It may be half-downloaded.") from error


def find_state_dict(loaded: Any, name: str) -> dict[str, Tensor]:
    """The state dict inside a training state; averaged weights win over the last ones."""
    for keys in (("ema", "module"), ("ema_state_dict",), ("ema",), ("model",), ("state_dict",), ()):
        found = loaded
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        if _is_state_dict(found):
            logger.info("%s: weights taken from %s", name, ".".join(keys) or "the top level")
            return {_without_wrappers(key): tensor for key, tensor in found.items() if isinstance(tensor, Tensor)}
    keys = ", ".join(map(str, loaded)) if isinstance(loaded, Mapping) else type(loaded).__name__
    raise CheckpointError(f"{name} holds no state dict of a detector; it holds: {keys[:300]}.")


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, Mapping) and any(
        isinstance(key, str) and "decoder." in key and isinstance(tensor, Tensor) for key, tensor in value.items()
    )


def _without_wrappers(key: str) -> str:
    for prefix in ("module.", "_orig_mod."):  # DistributedDataParallel, torch.compile
        key = key.removeprefix(prefix)
    return key


def _num_classes(state: Mapping[str, Tensor], name: str) -> int:
    head = state.get("decoder.dec_score_head.0.weight")
    if head is not None:
        return head.shape[0]
    if any(key.startswith("model.decoder.class_embed") for key in state):
        raise CheckpointError(f"{name} has Transformers' names already: load its folder with from_pretrained.")
    raise CheckpointError(f"{name} has no decoder.dec_score_head.0.weight: it is not of a supported family.")


def recognise_state_dict(
    state: Mapping[str, Tensor], *, family: str | None, size: str | None, num_classes: int, name: str
) -> tuple[str, str]:
    """Family and size of an official state dict, by the names and shapes of all its tensors.

    DEIM's n, s and m hold the same tensors as D-FINE's and differ in activations only. If neither `family` nor
    ``deim`` in the file's name says otherwise, they are taken for D-FINE, with a warning.
    """
    if family is not None and size is not None:
        find_variant(family, size)
        return family, size
    found = {key: tuple(tensor.shape) for key, tensor in state.items() if not _is_derived(key)}
    layout = _layout_of(state)
    differences = {
        (f, s): _differences(found, *_original_shapes(f, s, num_classes))
        for f, sizes in FAMILIES.items()
        for s, variant in sizes.items()
        if family in (None, f) and size in (None, s) and _layout(variant.model_type) == layout
    }
    matches = [candidate for candidate, difference in differences.items() if not difference]
    if not matches:
        raise CheckpointError(_no_match(name, differences))
    matches = [match for match in matches if _same_frozen(state, *match)] or matches
    if "deim" in Path(name).name.lower():
        matches = [match for match in matches if match[0] == "deim"] or matches
    if len(matches) > 1:
        logger.warning(
            "%s fits %s: they hold the same tensors and differ in activations only. Taken for %s; say which family it "
            "is if that is wrong.",
            name,
            " and ".join(" ".join(match) for match in matches),
            " ".join(matches[0]),
        )
    return matches[0]


def _differences(found: Shapes, required: Shapes, repeated: Shapes) -> set[tuple[str, tuple[int, ...]]]:
    return (found.items() - repeated.items()) ^ required.items()


def _no_match(name: str, differences: Mapping[tuple[str, str], set]) -> str:
    if not differences:
        return f"{name} does not have the tensors of the family and size that were asked for."
    nearest, difference = min(differences.items(), key=lambda item: len(item[1]))
    examples = ", ".join(f"{key} {list(shape)}" for key, shape in sorted(difference)[:4])
    return (
        f"{name} fits no family and size. The nearest is {' '.join(nearest)}; {len(difference)} tensors differ: "
        f"{examples}."
    )


def _is_derived(key: str) -> bool:
    return key.endswith(_DERIVED_SUFFIXES)


def _layout(model_type: str) -> str:
    if model_type == "deimv2_exact":
        return "deimv2"
    return "rt_detr_v2" if "rt_detr_v2" in model_type else "d_fine"


def _layout_of(state: Mapping[str, Tensor]) -> str:
    if any(".swish_ffn." in key for key in state):
        return "deimv2"
    return "d_fine" if any("decoder.pre_bbox_head." in key for key in state) else "rt_detr_v2"


def _same_frozen(state: Mapping[str, Tensor], family: str, size: str) -> bool:
    """Whether the backbone's batch norms are frozen in both: frozen ones do not count batches."""
    counts = any(key.startswith("backbone.") and key.endswith("num_batches_tracked") for key in state)
    return counts != FAMILIES[family][size].values.get("freeze_backbone_batch_norms", False)


def name_map(config) -> NameMap:
    """The rules between official names and those of models of this configuration."""
    match _layout(config.model_type):
        case "deimv2":
            return NameMap(deimv2.rules(config))
        case "rt_detr_v2":
            return NameMap(rt_detr_v2.RULES)
        case _:
            return NameMap(d_fine.RULES)


def _own_tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    """The state dict without the heads' second names outside the decoder, which only Transformers has."""
    state = model.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in state.items() if not name.startswith(("class_embed", "bbox_embed"))}


@lru_cache(maxsize=64)
def _original_shapes(family: str, size: str, num_classes: int) -> tuple[Shapes, Shapes]:
    """Names and shapes of a family's official state dict: what it must hold, and what may repeat some of that."""
    config = build_config(family, size, id2label={i: str(i) for i in range(num_classes)})
    with torch.device("meta"):
        model = load_class(ARCHITECTURES[config.model_type].model_class)(config)
    shapes = {name: tuple(t.shape) for name, t in _to_original_names(model).items() if not _is_derived(name)}
    shared = getattr(config, "share_bbox_head", False)
    repeated = {name: shape for name, shape in shapes.items() if shared and _LATER_BOX_HEAD.match(name)}
    return {name: shape for name, shape in shapes.items() if name not in repeated}, repeated


@torch.no_grad()
def _load(model: PreTrainedModel, state: Mapping[str, Tensor], family: str, size: str, name: str) -> ConversionReport:
    names, own = name_map(model.config), _own_tensors(model)
    loaded: set[int] = set()  # by identity, as shared heads have several names
    unexpected, num_converted = [], 0
    for original, tensor in state.items():
        targets = names.ours(original)
        if targets is None or any(target not in own for target in targets):
            if not _is_derived(original):
                unexpected.append(original)
            continue
        if tensor.numel() != sum(own[target].numel() for target in targets):
            raise CheckpointError(
                f"{name}: {original} has shape {list(tensor.shape)}, which does not fit {family} {size}."
            )
        chunks = tensor.chunk(len(targets)) if len(targets) > 1 else (tensor,)
        for target, chunk in zip(targets, chunks, strict=True):
            own[target].copy_(chunk.reshape(own[target].shape))
            loaded.add(id(own[target]))
        num_converted += 1
    origins = [names.original(target) for target, tensor in own.items() if id(tensor) not in loaded]
    missing = sorted({origin[0] for origin in origins if origin is not None and not _is_derived(origin[0])})
    return ConversionReport(family, size, num_converted, missing, sorted(unexpected))


def to_original(model: PreTrainedModel, image_size_hw: tuple[int, int] | None = None) -> dict[str, Tensor]:
    """The state dict that the authors' code loads, bit-equal to the one the model came from.

    Args:
        model: of any family.
        image_size_hw: size the anchors are for; by default the size's own.

    Raises:
        CheckpointError: there are tensors the authors' model does not have.
    """
    if image_size_hw is None:
        variant = recognise_variant(model.config)
        side = FAMILIES[variant[0]][variant[1]].image_side if variant is not None else 640
        image_size_hw = (side, side)
    return _to_original_names(model) | _derived_tensors(model, image_size_hw)


def _to_original_names(model: PreTrainedModel) -> dict[str, Tensor]:
    names = name_map(model.config)
    chunks: dict[str, dict[int, Tensor]] = {}
    for ours, tensor in _own_tensors(model).items():
        origin = names.original(ours)
        if origin is not None:
            original, chunk, _ = origin
            chunks.setdefault(original, {})[chunk] = tensor.detach()
        elif not ours.endswith(("mask_token", "register_tokens")):  # which the distilled transformers do not have
            raise CheckpointError(f"the authors' model has no counterpart of {ours}.")
    return {original: _joined(original, parts) for original, parts in chunks.items()}


def _joined(original: str, parts: Mapping[int, Tensor]) -> Tensor:
    if len(parts) == 1:
        return parts[0][0] if original.endswith("mask_token") else parts[0]  # (1, 1, C) here, (1, C) there
    return torch.cat([parts[chunk] for chunk in range(len(parts))])


def _derived_tensors(model: PreTrainedModel, image_size_hw: tuple[int, int]) -> dict[str, Tensor]:
    config, core = model.config, model.model
    height, width = image_size_hw
    shapes = tuple((height // stride, width // stride) for stride in config.feat_strides)
    anchors, valid_mask = core.generate_anchors(shapes)
    derived = {"decoder.anchors": torch.where(valid_mask, anchors, torch.inf), "decoder.valid_mask": valid_mask}
    if hasattr(core.decoder, "up"):
        derived["decoder.decoder.up"] = core.decoder.up.detach()
        derived["decoder.decoder.reg_scale"] = core.decoder.reg_scale.detach()
    backbone = config.backbone_config
    if backbone.model_type == "dinov3_vit":
        prefix = deimv2.transformer_prefix(backbone)
        quarter = backbone.hidden_size // backbone.num_attention_heads // 4
        derived[f"{prefix}.rope_embed.periods"] = backbone.rope_theta ** (torch.arange(quarter) / quarter)
        if not backbone.key_bias:
            mask = torch.tensor([1.0, 0.0, 1.0]).repeat_interleave(backbone.hidden_size)
            for block in range(backbone.num_hidden_layers):
                derived[f"{prefix}.blocks.{block}.attn.qkv.bias_mask"] = mask
    return derived


def _shortened(names: Sequence[str], limit: int = 8) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
