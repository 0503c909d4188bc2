"""Detectors small enough to train in a test: the real classes with few channels, 64x64 pixels in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hf_detr.models.denoising import use_paper_denoising
from hf_detr.models.families import build_config, build_processor, load_class
from hf_detr.models.initialization import initialise_like_paper
from hf_detr.models.variants import ARCHITECTURES

IMAGE_SIZE_HW = (64, 64)

_HGNETV2 = {
    "stem_channels": [3, 8, 8],
    "embedding_size": 8,
    "stage_in_channels": [8, 16, 24],
    "stage_mid_channels": [8, 8, 8],
    "stage_out_channels": [16, 24, 32],
    "hidden_sizes": [16, 24, 32],
    "depths": [1, 1, 1],
    "stage_num_blocks": [1, 1, 1],
    "stage_numb_of_layers": [1, 1, 1],
    "stage_downsample": [False, True, True],
    "stage_light_block": [False, False, True],
    "stage_kernel_size": [3, 3, 3],
    "out_indices": [2, 3],
}
_RESNET = {
    "embedding_size": 8,
    "layer_type": "basic",
    "depths": [1, 1, 1],
    "hidden_sizes": [8, 16, 24],
    "out_indices": [2, 3],
}
_VIT = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
    "out_indices": [1, 2, 3],
}
_COMMON = {
    "encoder_hidden_dim": 32,
    "encoder_ffn_dim": 32,
    "encoder_attention_heads": 4,
    "d_model": 32,
    "decoder_ffn_dim": 32,
    "decoder_layers": 2,
    "decoder_attention_heads": 4,
    "num_queries": 30,
    "num_denoising": 10,
}
_TWO_LEVELS = {
    "feat_strides": [8, 16],
    "num_feature_levels": 2,
    "decoder_in_channels": [32, 32],
    "encode_proj_layers": [1],
}
_DISTRIBUTIONS = {"max_num_bins": 16, "lqe_hidden_dim": 8}
_D_FINE = _COMMON | _TWO_LEVELS | _DISTRIBUTIONS | {"backbone_config": _HGNETV2, "decoder_n_points": [2, 2]}
_RT_DETR_V2 = _COMMON | _TWO_LEVELS | {"backbone_config": _RESNET, "decoder_n_levels": 2, "decoder_n_points": 2}

# Name of the tiny model -> family and size it is a small copy of, and what makes it small.
_TINY = {
    "d_fine": ("d_fine", "n", _D_FINE),
    "deim": ("deim", "n", _D_FINE),
    "rt_detr_v4": ("rt_detr_v4", "s", _D_FINE | {"teacher_dim": None}),
    "rt_detr_v2": ("rt_detr_v2", "r18", _RT_DETR_V2),
    "rt_detr_v2_r50m": ("rt_detr_v2", "r50m", _RT_DETR_V2 | {"eval_idx": 0}),
    "rt_detr_v2_hg": ("rt_detr_v2", "hg-h", _RT_DETR_V2 | {"backbone_config": _HGNETV2}),
    "rt_detr_v2_dsp": ("rt_detr_v2", "r18", _RT_DETR_V2 | {"decoder_method": "discrete"}),
    "deim_r18": ("deim", "r18", _RT_DETR_V2),
    "deimv2": ("deimv2", "n", _D_FINE),
    "deimv2_atto": (
        "deimv2",
        "atto",
        _D_FINE
        | {"backbone_config": _HGNETV2 | {"out_indices": [3]}, "encoder_in_channels": [32], "feat_strides": [16, 32]}
        | {"num_queries": 20},
    ),
    "deimv2_s": (
        "deimv2",
        "s",
        _COMMON
        | _DISTRIBUTIONS
        | {"backbone_config": _VIT, "decoder_n_points": [2, 2, 2], "spatial_tuning_adapter_inplanes": 4},
    ),
}

TINY_FAMILIES = tuple(_TINY)


def tiny_overrides(name: str) -> dict[str, Any]:
    """What makes the size a tiny model is a copy of small; for recipes, as `config_overrides`."""
    return _TINY[name][2]


def tiny_config(name: str = "d_fine", *, num_classes: int = 3, **overrides):
    """Configuration of a model of about 60k parameters: 2 decoder layers, at most 30 queries."""
    family, size, values = _TINY[name]
    id2label = {i: f"class {i}" for i in range(num_classes)}
    return build_config(family, size, id2label=id2label, **{**values, **overrides})


def tiny_model(name: str = "d_fine", *, num_classes: int = 3, **overrides):
    """A fresh tiny detector with the papers' initialisation and denoising; seed torch before the call."""
    config = tiny_config(name, num_classes=num_classes, **overrides)
    model = load_class(ARCHITECTURES[config.model_type].model_class)(config)
    initialise_like_paper(model)
    use_paper_denoising(model)
    return model


def save_tiny_detector(folder: Path, class_names: Sequence[str] = ("red", "green", "blue")) -> Path:
    """A tiny D-FINE as `hf-detr train` saves it, sure of its random answers; returns `folder`."""
    torch.manual_seed(0)
    model = tiny_model(num_classes=len(class_names))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "class_embed" in name:
                parameter.normal_(std=0.5)
    model.config.id2label = dict(enumerate(class_names))
    model.config.label2id = {name: class_id for class_id, name in enumerate(class_names)}
    model.eval().save_pretrained(folder)
    build_processor(model.config, IMAGE_SIZE_HW).save_pretrained(folder)
    return folder
