"""What each size of each family is: one table of configuration values, and the two functions that read it.

The numbers are those of the authors' configuration files. Values that follow from others (channels and strides of the
levels, for instance) are not in the table: `_derived` computes them, so that an override such as
``{"backbone_config": {"out_indices": [2, 3]}}`` gives a consistent model.
"""

import dataclasses
import difflib
import importlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from hf_detr.errors import CheckpointError, RecipeError

SIZE_MULTIPLE = 32  # pixels; the backbones halve the picture five times


class Architecture(NamedTuple):
    """Where the classes of a model type live, as ``module:name``; they are imported when needed."""

    config_class: str
    model_class: str


class Variant(NamedTuple):
    """One size of a family: its model type and the configuration values that differ from the class defaults."""

    model_type: str
    values: dict[str, Any]


ARCHITECTURES: dict[str, Architecture] = {
    "d_fine": Architecture("transformers:DFineConfig", "transformers:DFineForObjectDetection"),
}

# PP-HGNetV2 (https://github.com/PaddlePaddle/PaddleClas): channels of the stem; per stage channels in, inside and out,
# and blocks; convolutions per block. Stages 3 and 4 are light blocks with 5x5 kernels.
_HGNETV2 = {
    #      stem           in                      inside                out                      blocks        layers
    "B0": ((3, 16, 16), (16, 64, 256, 512), (16, 32, 64, 128), (64, 256, 512, 1024), (1, 1, 2, 1), 3),
    "B2": ((3, 24, 32), (32, 96, 384, 768), (32, 64, 128, 256), (96, 384, 768, 1536), (1, 1, 3, 1), 4),
    "B4": ((3, 32, 48), (48, 128, 512, 1024), (48, 96, 192, 384), (128, 512, 1024, 2048), (1, 1, 3, 1), 6),
    "B5": ((3, 32, 64), (64, 128, 512, 1024), (64, 128, 256, 512), (128, 512, 1024, 2048), (1, 2, 5, 2), 6),
}


def _hgnetv2(name: str, *, out_indices: Iterable[int], lab: bool) -> dict[str, Any]:
    """Values of an `HGNetV2Config`; ``out_indices`` are stages 1 to 4, ``lab`` the learnable affine blocks."""
    stem, channels_in, channels_inside, channels_out, blocks, layers = _HGNETV2[name]
    return {
        "model_type": "hgnet_v2",
        "stem_channels": list(stem),
        "embedding_size": stem[-1],
        "stage_in_channels": list(channels_in),
        "stage_mid_channels": list(channels_inside),
        "stage_out_channels": list(channels_out),
        "hidden_sizes": list(channels_out),  # the detector reads its input channels here
        "depths": list(blocks),
        "stage_num_blocks": list(blocks),
        "stage_numb_of_layers": [layers] * 4,
        "stage_downsample": [False, True, True, True],
        "stage_light_block": [False, False, True, True],
        "stage_kernel_size": [3, 3, 5, 5],
        "use_learnable_affine_block": lab,
        "out_indices": list(out_indices),
    }


_D_FINE_COMMON = {
    "initializer_bias_prior_prob": 0.01,
    "decoder_activation_function": "relu",
    "num_queries": 300,
    "num_denoising": 100,
    "freeze_backbone_batch_norms": False,
}

_D_FINE = {
    "n": {
        "backbone_config": _hgnetv2("B0", out_indices=(3, 4), lab=True),
        "encoder_hidden_dim": 128,
        "encoder_ffn_dim": 512,
        "hidden_expansion": 0.34,
        "depth_mult": 0.5,
        "d_model": 128,
        "decoder_ffn_dim": 512,
        "decoder_layers": 3,
    },
    "s": {
        "backbone_config": _hgnetv2("B0", out_indices=(2, 3, 4), lab=True),
        "encoder_hidden_dim": 256,
        "encoder_ffn_dim": 1024,
        "hidden_expansion": 0.5,
        "depth_mult": 0.34,
        "d_model": 256,
        "decoder_ffn_dim": 1024,
        "decoder_layers": 3,
    },
    "m": {
        "backbone_config": _hgnetv2("B2", out_indices=(2, 3, 4), lab=True),
        "encoder_hidden_dim": 256,
        "encoder_ffn_dim": 1024,
        "hidden_expansion": 1.0,
        "depth_mult": 0.67,
        "d_model": 256,
        "decoder_ffn_dim": 1024,
        "decoder_layers": 4,
    },
    "l": {
        "backbone_config": _hgnetv2("B4", out_indices=(2, 3, 4), lab=False),
        "encoder_hidden_dim": 256,
        "encoder_ffn_dim": 1024,
        "hidden_expansion": 1.0,
        "depth_mult": 1.0,
        "d_model": 256,
        "decoder_ffn_dim": 1024,
        "decoder_layers": 6,
        "freeze_backbone_batch_norms": True,
    },
    "x": {
        "backbone_config": _hgnetv2("B5", out_indices=(2, 3, 4), lab=False),
        "encoder_hidden_dim": 384,
        "encoder_ffn_dim": 2048,
        "hidden_expansion": 1.0,
        "depth_mult": 1.0,
        "d_model": 256,
        "decoder_ffn_dim": 1024,
        "decoder_layers": 6,
        "reg_scale": 8.0,
        "freeze_backbone_batch_norms": True,
    },
}

FAMILIES: dict[str, dict[str, Variant]] = {
    "d_fine": {size: Variant("d_fine", _D_FINE_COMMON | values) for size, values in _D_FINE.items()},
}


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

    Raises:
        RecipeError: as `build_config`.
    """
    values = merge_overrides(config.to_dict(), overrides, type(config))
    return config_from_values(type(config), values, id2label)


def merge_overrides(values: Mapping[str, Any], overrides: Mapping[str, Any], config_class: type) -> dict[str, Any]:
    """Put ``overrides`` over ``values``, one level deep for ``backbone_config``; unknown names are a RecipeError."""
    _reject_unknown(overrides, _field_names(config_class), f"{config_class.__name__}")
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
    if "out_indices" not in backbone:
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
            nearest = difflib.get_close_matches(name, valid, n=1, cutoff=0.0)[0]
            raise RecipeError(f"{where} has no field {name!r}; the nearest one is {nearest!r}.")


def _derived(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that follow from the backbone's stages and the encoder's width."""
    backbone = values["backbone_config"]
    stages = backbone["out_indices"]
    num_levels = len(stages)
    return {
        "encoder_in_channels": [backbone["hidden_sizes"][stage - 1] for stage in stages],
        "feat_strides": [2 ** (stage + 1) for stage in stages],
        "num_feature_levels": num_levels,
        "encode_proj_layers": [num_levels - 1],  # self-attention on the coarsest level only
        "decoder_in_channels": [values["encoder_hidden_dim"]] * num_levels,
        "decoder_n_points": [3, 6, 3] if num_levels == 3 else [6] * num_levels,
    }


def _check_levels(config) -> None:
    """Every list with one entry per feature level has as many entries as the backbone gives levels."""
    channels = _backbone_channels(config.backbone_config)
    if list(config.encoder_in_channels) != channels:
        raise RecipeError(
            f"encoder_in_channels is {list(config.encoder_in_channels)}, but the backbone gives {channels} channels "
            f"at out_indices {list(config.backbone_config.out_indices)}. Leave encoder_in_channels out: it follows."
        )
    for name in ("feat_strides", "decoder_in_channels"):
        if len(getattr(config, name)) != len(channels):
            raise RecipeError(
                f"{name} is {list(getattr(config, name))}, but the backbone gives {len(channels)} feature levels."
            )
    if config.num_feature_levels != len(channels):
        raise RecipeError(
            f"num_feature_levels is {config.num_feature_levels}, but the backbone gives {len(channels)} levels."
        )


def _backbone_channels(backbone_config) -> list[int]:
    return [backbone_config.hidden_sizes[stage - 1] for stage in backbone_config.out_indices]


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


def _same_shape(config, values: Mapping[str, Any]) -> bool:
    table, stored = values["backbone_config"], config.backbone_config
    same_backbone = all(list(getattr(stored, name, ())) == list(table[name]) for name in ("hidden_sizes", "depths"))
    return same_backbone and all(getattr(config, name) == values[name] for name in _SHAPE_FIELDS if name in values)


def build_processor(config, image_size_hw: tuple[int, int]):
    """Image processor that resizes to ``image_size_hw`` (bilinear, antialiased) and divides by 255.

    It is the stock RT-DETR one: its numbers equal the papers' to the bit for D-FINE.
    """
    from transformers import RTDetrImageProcessor

    height, width = image_size_hw
    check_image_size(config, image_size_hw)
    return RTDetrImageProcessor(size={"height": height, "width": width}, do_normalize=False)
