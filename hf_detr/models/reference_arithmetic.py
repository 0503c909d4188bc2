"""The papers' order of float32 operations, for comparisons with figures of their authors' code.

Stock Transformers computes the same functions with other roundings. That is of no account for training, but losses
that divide by the sides of small boxes (FGL) carry it to the fourth or fifth digit. With the operations in the
authors' order, and the same kernels of the processor, their figures are met to the bit.
"""

import math

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.models.d_fine.modeling_d_fine import DFineSinePositionEmbedding
from transformers.models.deimv2.modeling_deimv2 import Deimv2SinePositionEmbedding
from transformers.models.dinov3_vit.modeling_dinov3_vit import (
    DINOv3ViTRopePositionEmbedding,
    augment_patches_center_coordinates,
    get_patches_center_coordinates,
)
from transformers.models.rt_detr_v2.modeling_rt_detr_v2 import RTDetrV2SinePositionEmbedding

ATTENTION = "hf_detr_reference"  # its name among Transformers' implementations of attention
SINE_POSITION_EMBEDDINGS = (DFineSinePositionEmbedding, Deimv2SinePositionEmbedding, RTDetrV2SinePositionEmbedding)


def use_reference_arithmetic(model: PreTrainedModel) -> None:
    """Make a detector compute in the order of the authors' code, from now on.

    Encoder and decoder attend as `torch.nn.MultiheadAttention` does where it returns weights; vision transformers keep
    PyTorch's fused attention, as the authors' do. Position embeddings are computed in float32, and angles of rotary
    ones by division.

    Slower than the stock model, and not undone by anything: for comparisons, not for training.

    Args:
        model: a D-FINE, DEIM, RT-DETRv2, RT-DETRv4 or DEIMv2 detector.
    """
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, SINE_POSITION_EMBEDDINGS):
                setattr(module, name, Float32SinePositionEmbedding(child.embed_dim, child.temperature))
            elif type(child) is DINOv3ViTRopePositionEmbedding:
                setattr(module, name, DividingRopePositionEmbedding(child.config).to(child.inv_freq.device))
    AttentionInterface.register(ATTENTION, scaled_query_attention)
    model.set_attn_implementation({"": ATTENTION})  # the backbone keeps its own


def scaled_query_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **_
) -> tuple[Tensor, Tensor]:
    """Attention without dropout whose queries are scaled before they meet the keys, and which is added to its mask.

    Args:
        module: not used.
        query: ``(B, H, Q, D)``
        key: ``(B, H, K, D)``
        value: ``(B, H, K, D)``
        attention_mask: broadcasts to ``(B, H, Q, K)``: True where queries attend, or numbers to add.

    Returns:
        Values ``(B, Q, H, D)`` and weights ``(B, H, Q, K)``.
    """
    heads = query.shape[:2]
    query, key, value = (tensor.flatten(0, 1) for tensor in (query, key, value))
    query = query * math.sqrt(1.0 / query.shape[-1])
    if attention_mask is None:
        weights = torch.bmm(query, key.transpose(1, 2))
    else:
        if attention_mask.dtype == torch.bool:
            attention_mask = torch.zeros_like(attention_mask, dtype=query.dtype).masked_fill(
                ~attention_mask, float("-inf")
            )
        mask = attention_mask.expand(*heads, *attention_mask.shape[-2:]).flatten(0, 1)
        weights = torch.baddbmm(mask, query, key.transpose(1, 2))
    weights = weights.softmax(-1)
    attended = torch.bmm(weights, value).unflatten(0, heads)
    return attended.transpose(1, 2).contiguous(), weights.unflatten(0, heads)


class Float32SinePositionEmbedding(nn.Module):
    """The encoder's position embedding, computed in float32 where the stock one is in float64 and then rounded."""

    def __init__(self, embed_dim: int, temperature: float):
        super().__init__()
        self.embed_dim = embed_dim
        self.temperature = temperature

    def forward(self, width: int, height: int, device: torch.device | str, dtype: torch.dtype) -> Tensor:
        """Embeddings ``(1, height * width, embed_dim)``, row by row."""
        frequencies = torch.arange(self.embed_dim // 4, dtype=torch.float32, device=device) / (self.embed_dim // 4)
        frequencies = 1.0 / self.temperature**frequencies
        rows, columns = torch.meshgrid(
            torch.arange(height, dtype=torch.float32, device=device),
            torch.arange(width, dtype=torch.float32, device=device),
            indexing="ij",
        )
        down, right = rows.flatten().outer(frequencies), columns.flatten().outer(frequencies)
        return torch.cat([down.sin(), down.cos(), right.sin(), right.cos()], 1).to(dtype)[None]


class DividingRopePositionEmbedding(DINOv3ViTRopePositionEmbedding):
    """The stock rotary embedding, with angles divided by periods and not multiplied by their inverses."""

    def __init__(self, config):
        super().__init__(config)
        quarter = self.head_dim // 4
        periods = self.base ** (2 * torch.arange(quarter, dtype=torch.float32) / (2 * quarter))
        self.register_buffer("periods", periods, persistent=False)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each ``(patches, head_dim)``, of pictures ``(B, 3, H, W)``."""
        height, width = (side // self.config.patch_size for side in pixel_values.shape[-2:])
        centers = get_patches_center_coordinates(height, width, dtype=torch.float32, device=pixel_values.device)
        if self.training:
            centers = augment_patches_center_coordinates(
                centers,
                shift=self.config.pos_embed_shift,
                jitter=self.config.pos_embed_jitter,
                rescale=self.config.pos_embed_rescale,
            )
        angles = (2 * math.pi * centers[:, :, None] / self.periods).flatten(1, 2).tile(2)
        return angles.cos().to(pixel_values.dtype), angles.sin().to(pixel_values.dtype)
