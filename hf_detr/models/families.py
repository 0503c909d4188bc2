"""Configurations and image processors of a family and size, with overrides, and what of it cannot work.

The numbers are in `hf_detr.models.variants`. Values that follow from others (channels and strides of the levels, for
instance) are computed here, so that an override such as ``{"backbone_config": {"out_indices": [2, 3]}}`` gives a
consistent model.
"""

import dataclasses
import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from hf_detr.errors import CheckpointError, RecipeError, did_you_mean
from hf_detr.models.labels import THRESHOLDS_FIELD
from hf_detr.models.variants import ARCHITECTURES, FAMILIES, Variant

SIZE_MULTIPLE = 32  # pixels; the backbones halve the picture five times


def load_class(path: str) -> type:
    """Import ``module:name``."""
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)


def find_variant(family: str, size: str) -> Variant:
    """Look a family and size up; RecipeError names the ones there are."""
    if family not in FAMILIES:
        raise RecipeError(f"there is no model family {family!r}; choose one of: {', '.join(FAMILIES)}.")
    if size not in FAMILIES[family]:
        raise RecipeError(f"{family} has no size {size!r}; choose one of: {', '.join(FAMILIES[family])}.")
    return FAMILIES[family][size]


def build_config(family: str, size: str, *, id2label: Mapping[int, str], **overrides: Any):
    """Configuration of a fresh model.

    Args:
        family: a key of `FAMILIES`, such as ``"d_fine"``.
        size: a size of that family, such as ``"s"``.
        id2label: class id to class name.
        **overrides: fields of the configuration class that differ from the table. ``backbone_config`` is merged with
            the table's, not replaced. Fields that follow from others follow the overridden ones.

    Raises:
        RecipeError: unknown family, size or field (with the nearest valid one), or values that do not fit together.
    """
    variant = find_variant(family, size)
    config_class = load_class(ARCHITECTURES[variant.model_type].config_class)
    values = merge_overrides(variant.values, overrides, config_class)
    return config_from_values(config_class, _derived(values) | values, id2label)


def override_config(config, overrides: Mapping[str, Any], *, id2label: Mapping[int, str]):
    """The configuration of an existing model with other classes and, where given, other values.

    Thresholds stored with it are left out: they are those of its classes and weights.

    Raises:
        RecipeError: as `build_config`.
    """
    values = merge_overrides(config.to_dict(), overrides, type(config))
    values.pop(THRESHOLDS_FIELD, None)
    return config_from_values(type(config), values, id2label)


def merge_overrides(values: Mapping[str, Any], overrides: Mapping[str, Any], config_class: type) -> dict[str, Any]:
    """Put ``overrides`` over ``values``, one level deep for ``backbone_config``; unknown names are a RecipeError."""
    # Our criterion reads `classification_loss` from any configuration; stock ones keep fields they do not know.
    _reject_unknown(overrides, _field_names(config_class) | {"classification_loss"}, f"{config_class.__name__}")
    backbone = overrides.get("backbone_config", {})
    if "backbone_config" in values and backbone:
        from transformers import CONFIG_MAPPING

        backbone_class = CONFIG_MAPPING[values["backbone_config"]["model_type"]]
        names = _field_names(backbone_class) | {"out_indices", "out_features"}
        _reject_unknown(backbone, names, f"backbone_config ({backbone_class.__name__})")
        stored = dict(values["backbone_config"])
        if "out_indices" in backbone or "out_features" in backbone:  # one follows from the other
            stored = {k: v for k, v in stored.items() if k.lstrip("_") not in ("out_indices", "out_features")}
        overrides = {**overrides, "backbone_config": _without_unused_stages({**stored, **backbone})}
    return {**values, **overrides}


def _without_unused_stages(backbone: dict[str, Any]) -> dict[str, Any]:
    """Leave out the stages after the last one whose output is used: they would cost time and never get a gradient."""
    if "out_indices" not in backbone or "depths" not in backbone:
        return backbone
    used, stages = max(backbone["out_indices"]), len(backbone["depths"])
    return {
        name: value[:used]
        if (name.startswith("stage_") or name in ("depths", "hidden_sizes")) and len(value) == stages
        else value
        for name, value in backbone.items()
    }


def config_from_values(config_class: type, values: Mapping[str, Any], id2label: Mapping[int, str]):
    """Build the configuration object and check what its class does not check by itself."""
    if not id2label:
        raise RecipeError("a detector needs at least one class; the data set has none.")
    labels = {int(class_id): str(name) for class_id, name in id2label.items()}
    if sorted(labels) != list(range(len(labels))):
        raise RecipeError(f"class ids must be 0 to {len(labels) - 1} without gaps, got {sorted(labels)}.")
    left_out = ("id2label", "label2id", "num_labels", "transformers_version", "model_type")
    values = {name: value for name, value in values.items() if name not in left_out}
    try:
        config = config_class(**values, id2label=labels, label2id={name: i for i, name in labels.items()})
    except Exception as error:  # the hub's strict dataclasses wrap TypeError and ValueError in classes of their own
        raise RecipeError(f"{config_class.__name__} does not accept these values: {error}") from error
    _check_levels(config)
    return config


def _field_names(config_class: type) -> set[str]:
    return {field.name for field in dataclasses.fields(config_class) if not field.name.startswith("_")}


def _reject_unknown(names: Iterable[str], valid: set[str], where: str) -> None:
    for name in names:
        if name in ("id2label", "label2id", "num_labels"):
            raise RecipeError(f"{name} cannot be overridden: the classes come from the data set.")
        if name not in valid:
            raise RecipeError(f"{where} has no field {name!r}.{did_you_mean(name, valid)}")


def _derived(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that follow from the backbone's outputs and the encoder's width."""
    backbone, width = values["backbone_config"], values["encoder_hidden_dim"]
    outputs = backbone["out_indices"]
    if backbone["model_type"] == "dinov3_vit":  # maps of all levels are made from blocks of one resolution
        return {"encoder_in_channels": [width] * len(outputs), "decoder_in_channels": [width] * len(outputs)}
    num_levels = values.get("num_feature_levels", len(outputs))
    return {
        "encoder_in_channels": [backbone["hidden_sizes"][stage - 1] for stage in outputs],
        "feat_strides": [2 ** (stage + 1) for stage in outputs],
        "num_feature_levels": num_levels,
        "encode_proj_layers": [num_levels - 1],  # self-attention on the coarsest level only
        "decoder_in_channels": [width] * num_levels,
        "decoder_n_points": [3, 6, 3] if num_levels == 3 else [6] * num_levels,
    }


def _check_levels(config) -> None:
    """Every list with one entry per feature level has as many entries as there are levels."""
    backbone = config.backbone_config
    if backbone.model_type != "dinov3_vit":
        channels = [backbone.hidden_sizes[stage - 1] for stage in backbone.out_indices]
        if list(config.encoder_in_channels) != channels:
            raise RecipeError(
                f"encoder_in_channels is {list(config.encoder_in_channels)}, but the backbone gives {channels} "
                f"channels at out_indices {list(backbone.out_indices)}. Leave encoder_in_channels out: it follows."
            )
    for name in ("feat_strides", "decoder_in_channels"):
        if len(getattr(config, name)) != config.num_feature_levels:
            raise RecipeError(
                f"{name} is {list(getattr(config, name))}, but there are {config.num_feature_levels} feature levels."
            )


def num_anchors(config, image_size_hw: tuple[int, int]) -> int:
    """How many places the encoder scores in an image of this size: the most queries that can be selected."""
    height, width = image_size_hw
    return sum((height // stride) * (width // stride) for stride in config.feat_strides)


def check_image_size(config, image_size_hw: tuple[int, int]) -> None:
    """Refuse sizes the model cannot take.

    Raises:
        CheckpointError: a side is not a multiple of 32, or there are more queries than anchors; the message names the
            largest value that works.
    """
    height, width = image_size_hw
    if height % SIZE_MULTIPLE or width % SIZE_MULTIPLE or min(height, width) < SIZE_MULTIPLE:
        nearest = " x ".join(
            str(max(SIZE_MULTIPLE, round(side / SIZE_MULTIPLE) * SIZE_MULTIPLE)) for side in (height, width)
        )
        raise CheckpointError(
            f"image size {height} x {width} px (height x width): both sides must be multiples of {SIZE_MULTIPLE}. "
            f"The nearest size that works is {nearest}."
        )
    anchors = num_anchors(config, image_size_hw)
    if config.num_queries > anchors:
        raise CheckpointError(
            f"num_queries is {config.num_queries}, but a picture of {height} x {width} px has only {anchors} anchors "
            f"(strides {', '.join(map(str, config.feat_strides))}). The largest num_queries that works is {anchors}; "
            "or choose a larger image size."
        )


def recognise_variant(config) -> tuple[str, str] | None:
    """Family and size of a configuration, or None where it is none of the table's."""
    for family, sizes in FAMILIES.items():
        for size, variant in sizes.items():
            if variant.model_type == config.model_type and _same_shape(config, variant.values):
                return family, size
    return None


_SHAPE_FIELDS = ("encoder_hidden_dim", "hidden_expansion", "depth_mult", "d_model", "decoder_layers")
_BACKBONE_SHAPE_FIELDS = ("depths", "hidden_sizes", "hidden_size", "use_gated_mlp")


def _same_shape(config, values: Mapping[str, Any]) -> bool:
    backbone, table = config.backbone_config, values["backbone_config"]
    if backbone.model_type != table["model_type"]:
        return False
    pairs = [(getattr(backbone, name), table[name]) for name in _BACKBONE_SHAPE_FIELDS if name in table]
    pairs += [(getattr(config, name), values[name]) for name in _SHAPE_FIELDS if name in values]
    return all(_plain(stored) == _plain(expected) for stored, expected in pairs)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def build_processor(config, image_size_hw: tuple[int, int]):
    """Image processor that resizes to ``image_size_hw`` (bilinear, antialiased) and divides by 255.

    It is the stock RT-DETR one where its numbers equal the papers' to the bit, see `processor_class`. DEIMv2 with a
    vision transformer also normalises with ImageNet's statistics.
    """
    height, width = image_size_hw
    check_image_size(config, image_size_hw)
    normalise = config.backbone_config.model_type == "dinov3_vit"
    return processor_class(config)(size={"height": height, "width": width}, do_normalize=normalise)


def processor_class(config) -> type:
    """The stock RT-DETR image processor, or DEIMv2's where the authors return more detections than queries."""
    from transformers import RTDetrImageProcessor

    from hf_detr.models.deimv2.image_processing_deimv2 import ExactDeimv2ImageProcessor

    fewer_queries = config.num_queries < ExactDeimv2ImageProcessor.min_detections
    return ExactDeimv2ImageProcessor if config.model_type == "deimv2_exact" and fewer_queries else RTDetrImageProcessor


def refit_processor(processor, config):
    """A checkpoint's image processor for this configuration, whose queries may be fewer or more; settings are kept."""
    from transformers import RTDetrImageProcessor

    fitting = processor_class(config)
    if type(processor) is fitting or not isinstance(processor, RTDetrImageProcessor):
        return processor
    settings = processor.to_dict()
    for name in ("auto_map", "image_processor_type"):  # of the class it has been of
        settings.pop(name, None)
    return fitting.from_dict(settings)
