"""Teachers small enough for a test, with random weights, saved as the real ones are."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from hf_detr.models.loading import no_progress_bars

TEACHER_DIM = 24  # channels of the features of the DINOv3 vision transformer


def save_tiny_dinov3(
    folder: Path, *, patch_size: int = 16, edit: Mapping[str, torch.Tensor] | None = None, seed: int = 0
) -> Path:
    """A vision transformer of DINOv3 in Transformers' layout, with the tensors of ``edit``; returns `folder`."""
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    torch.manual_seed(seed)
    config = DINOv3ViTConfig(
        patch_size=patch_size,
        hidden_size=TEACHER_DIM,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_register_tokens=4,
    )
    model = DINOv3ViTModel(config)
    model.load_state_dict(model.state_dict() | dict(edit or {}))
    with no_progress_bars():
        model.save_pretrained(folder)
    return folder


def save_tiny_convnext(folder: Path, *, seed: int = 0) -> Path:
    """A ConvNeXt of DINOv3 in Transformers' layout, whose last map has a stride of 32 px; returns `folder`."""
    from transformers import DINOv3ConvNextConfig, DINOv3ConvNextModel

    torch.manual_seed(seed)
    config = DINOv3ConvNextConfig(hidden_sizes=[8, 8, 8, 16], depths=[1, 1, 1, 1])
    with no_progress_bars():
        DINOv3ConvNextModel(config).save_pretrained(folder)
    return folder


def save_tiny_timm_vit(folder: Path, *, seed: int = 0) -> Path:
    """A vision transformer of timm in a folder as the Hub has them; returns `folder`."""
    import timm

    torch.manual_seed(seed)
    arguments = {"img_size": 64, "embed_dim": 16, "depth": 1, "num_heads": 2}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, **arguments)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(
        json.dumps(
            {
                "architecture": "vit_tiny_patch16_224",
                "num_classes": 0,
                "num_features": 16,
                "model_args": arguments,
                "pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "input_size": [3, 64, 64]},
            }
        )
    )
    return folder
