"""Detectors small enough to train in a test: the real classes with few channels, 64x64 pixels in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hf_detr.models.denoising import use_paper_denoising
from hf_detr.models.families import ARCHITECTURES, build_config, build_processor, load_class
from hf_detr.models.initialization import initialise_like_paper

IMAGE_SIZE_HW = (64, 64)

_HGNETV2 = {
    "stem_channels": [3, 8, 8],
    "embedding_size": 8,
    "stage_in_channels": [8, 16, 24, 32],
    "stage_mid_channels": [8, 8, 8, 8],
    "stage_out_channels": [16, 24, 32, 32],
    "hidden_sizes": [16, 24, 32, 32],
    "depths": [1, 1, 1, 1],
    "stage_num_blocks": [1, 1, 1, 1],
    "stage_numb_of_layers": [1, 1, 1, 1],
    "out_indices": [2, 3],
}

_OVERRIDES = {
    "d_fine": {
        "backbone_config": _HGNETV2,
        "encoder_in_channels": [24, 32],
        "feat_strides": [8, 16],
        "encoder_hidden_dim": 32,
        "encoder_ffn_dim": 32,
        "encoder_attention_heads": 4,
        "decoder_in_channels": [32, 32],
        "d_model": 32,
        "decoder_ffn_dim": 32,
        "decoder_layers": 2,
        "decoder_attention_heads": 4,
        "decoder_n_points": [2, 2],
        "max_num_bins": 16,
        "lqe_hidden_dim": 8,
        "num_queries": 30,
        "num_denoising": 10,
    },
}

_SIZES = {"d_fine": "n"}

TINY_FAMILIES = tuple(_OVERRIDES)


def tiny_overrides(family: str) -> dict[str, Any]:
    """What makes the smallest size of a family tiny; for recipes, as `config_overrides`."""
    return _OVERRIDES[family]


def tiny_config(family: str = "d_fine", *, num_classes: int = 3, **overrides):
    """Configuration of a model of about 60k parameters: 2 decoder layers, 30 queries."""
    id2label = {i: f"class {i}" for i in range(num_classes)}
    return build_config(family, _SIZES[family], id2label=id2label, **{**_OVERRIDES[family], **overrides})


def tiny_model(family: str = "d_fine", *, num_classes: int = 3, **overrides):
    """A fresh tiny detector with the papers' initialisation and denoising; seed torch before the call."""
    config = tiny_config(family, num_classes=num_classes, **overrides)
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
