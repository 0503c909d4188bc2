"""The authors' ``.pth`` files of DINOv3's vision transformers, as models of Transformers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import DINOv3ViTConfig, DINOv3ViTModel

from hf_detr.distillation.networks import LoadedNetwork, TransformersNetwork
from hf_detr.errors import CheckpointError
from hf_detr.models.conversion.convert import read_checkpoint
from hf_detr.models.conversion.dinov3 import transformer_rules
from hf_detr.models.conversion.names import NameMap

# Statistics of the pictures from satellites that some of the files were trained on; their names say so.
SATELLITE_MEAN, SATELLITE_STD = (0.430, 0.411, 0.296), (0.213, 0.156, 0.143)

# Computed from the configuration, or used in pretraining only.
_LEFT_OUT = ("rope_embed.periods", "bias_mask", "local_cls_norm.weight", "local_cls_norm.bias")


def load_from_file(path: Path) -> LoadedNetwork:
    """The model of an official file; its size is found from the tensors.

    Raises:
        CheckpointError: the file cannot be read, or is no vision transformer of DINOv3.
    """
    network = TransformersNetwork(model_of_state_dict(read_checkpoint(path), str(path)))
    if "sat493m" in path.name:
        return LoadedNetwork(network, network.model.config.patch_size, SATELLITE_MEAN, SATELLITE_STD)
    return LoadedNetwork(network, network.model.config.patch_size)


def model_of_state_dict(state: Mapping[str, Any], name: str) -> DINOv3ViTModel:
    """The model of an official state dict, in evaluation mode and float32.

    Args:
        state: tensors by the authors' names.
        name: what messages call it.

    Raises:
        CheckpointError: there are tensors too many, too few, or of other shapes.
    """
    config = config_of_state_dict(state, name)
    model = DINOv3ViTModel(config)
    own, names = model.state_dict(), NameMap(transformer_rules(config, "", ""))
    loaded, unknown = set(), []
    for original, tensor in state.items():
        if original.endswith(_LEFT_OUT):
            continue
        targets = names.ours(original)
        if targets is None:
            unknown.append(original)
            continue
        for target, chunk in zip(targets, tensor.chunk(len(targets)), strict=True):
            if target in own:  # the masked biases of keys are not
                if chunk.numel() != own[target].numel():
                    raise CheckpointError(f"{name}: {original} has an unexpected shape, {list(tensor.shape)}.")
                own[target].copy_(chunk.reshape(own[target].shape))
                loaded.add(target)
    missing = sorted(own.keys() - loaded)
    if unknown or missing:
        raise CheckpointError(
            f"{name} is not quite a vision transformer of DINOv3: it has {len(unknown)} tensors of unknown names "
            f"({', '.join(unknown[:3]) or 'none'}) and lacks {len(missing)} ({', '.join(missing[:3]) or 'none'})."
        )
    return model.eval()


def config_of_state_dict(state: Mapping[str, Any], name: str) -> DINOv3ViTConfig:
    """Size and options of an official state dict, from names and shapes.

    Raises:
        CheckpointError: it is none of a vision transformer of DINOv3.
    """
    wanted = ("patch_embed.proj.weight", "storage_tokens", "rope_embed.periods", "blocks.0.attn.qkv.weight")
    if not isinstance(state, Mapping) or not all(isinstance(state.get(key), Tensor) for key in wanted):
        raise CheckpointError(
            f"{name} is no vision transformer of DINOv3: it lacks one of {', '.join(wanted)}. Other teachers come "
            "from folders of Transformers or timm, or from the Hub."
        )
    width, _, patch_size, _ = state["patch_embed.proj.weight"].shape
    gated = "blocks.0.mlp.w1.weight" in state
    return DINOv3ViTConfig(
        hidden_size=width,
        patch_size=patch_size,
        num_hidden_layers=1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks.")),
        # Each head rotates a quarter of its channels per axis and phase.
        num_attention_heads=width // (4 * state["rope_embed.periods"].numel()),
        intermediate_size=state[f"blocks.0.mlp.{'w1' if gated else 'fc1'}.weight"].shape[0],
        use_gated_mlp=gated,
        hidden_act="silu" if gated else "gelu",
        num_register_tokens=state["storage_tokens"].shape[1],
        query_bias="blocks.0.attn.qkv.bias" in state,
        value_bias="blocks.0.attn.qkv.bias" in state,
        dtype=torch.float32,
    )
