"""Random weights as the papers' code draws them.

The authors' modules keep PyTorch's own initialisation except where named here; Transformers' models are drawn from
narrow normal distributions instead, with class biases that depend on the number of classes (at three classes: a prior
of 0.25, against 0.01 in the papers). That matters for models from scratch and for heads of new classes.
"""

import math

import torch
from torch import nn

PRIOR_PROBABILITY = 0.01  # of an object at a fresh query (focal loss, https://huggingface.co/papers/1708.02002)
PRIOR_BIAS = -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY)  # -4.595


@torch.no_grad()
def initialise_like_paper(model: nn.Module) -> None:
    """Re-draw every weight of a detector in place, as the authors' code does.

    Works on D-FINE, RT-DETRv2 and the models built on them: modules are recognised by what they are, or by the end of
    their class name where stock Transformers has one class per family. A vision transformer keeps its own scheme.

    Args:
        model: a ``...ForObjectDetection`` model.
    """
    transformer_backbone = _transformer_backbone_modules(model)
    for module in model.modules():
        if module in transformer_backbone:
            continue
        if isinstance(module, nn.Linear | nn.Conv2d | nn.BatchNorm2d | nn.LayerNorm):
            module.reset_parameters()
        elif isinstance(module, nn.Embedding):
            draw_embedding(module)
    for module in model.modules():
        if module not in transformer_backbone:
            _initialise_special(module)
    _initialise_heads(model)


def _transformer_backbone_modules(model: nn.Module) -> set[nn.Module]:
    return {
        inner
        for module in model.modules()
        if type(module).__name__.startswith("DINOv3ViT")
        for inner in module.modules()
    }


def _initialise_special(module: nn.Module) -> None:
    """Modules whose authors chose something else than PyTorch's default."""
    name = type(module).__name__
    if name.endswith("SelfAttention"):
        # torch's MultiheadAttention draws the three projections as one (3d, d) matrix, so the fan is four times d.
        bound = math.sqrt(6 / (4 * module.q_proj.in_features))
        for projection in (module.q_proj, module.k_proj, module.v_proj):
            nn.init.uniform_(projection.weight, -bound, bound)
            nn.init.zeros_(projection.bias)
        nn.init.zeros_(module.o_proj.bias)
    elif name.endswith("DeformableAttention"):
        _initialise_deformable_attention(module)
    elif name.endswith("DecoderLayer"):
        _initialise_feed_forward(module.mlp)
    elif name.endswith("Gate"):
        nn.init.zeros_(module.gate.weight)
        nn.init.zeros_(module.gate.bias)
    elif name.endswith("LQE"):
        _zero_last_layer(module.reg_conf)


def _initialise_feed_forward(mlp: nn.Module) -> None:
    linears = {name: linear for name, linear in mlp.named_modules() if isinstance(linear, nn.Linear)}
    for linear in linears.values():
        nn.init.xavier_uniform_(linear.weight)
    if "gate_proj" in linears:
        # SwiGLU, which the authors draw with zero biases, gate and values as one matrix.
        for linear in linears.values():
            nn.init.zeros_(linear.bias)
        bound = math.sqrt(6 / (linears["gate_proj"].in_features + 2 * linears["gate_proj"].out_features))
        for name in ("gate_proj", "up_proj"):
            nn.init.uniform_(linears[name].weight, -bound, bound)


def _initialise_deformable_attention(module: nn.Module) -> None:
    """Heads look in evenly spread directions, point k of a level at distance k; all points weigh the same."""
    num_points = getattr(module, "num_points_list", None) or module.n_points_list
    angles = torch.arange(module.n_heads, dtype=torch.float32) * (2 * math.pi / module.n_heads)
    directions = torch.stack([angles.cos(), angles.sin()], -1)
    directions = directions / directions.abs().max(-1, keepdim=True).values
    distances = torch.cat([torch.arange(1, n + 1) for n in num_points])
    offsets = directions[:, None, :] * distances[None, :, None]
    nn.init.zeros_(module.sampling_offsets.weight)
    module.sampling_offsets.bias.copy_(offsets.flatten())
    nn.init.zeros_(module.attention_weights.weight)
    nn.init.zeros_(module.attention_weights.bias)
    for name in ("value_proj", "output_proj"):
        if hasattr(module, name):
            nn.init.xavier_uniform_(getattr(module, name).weight)
            nn.init.zeros_(getattr(module, name).bias)


def _initialise_heads(model: nn.Module) -> None:
    core, decoder = model.model, model.model.decoder
    for head in [core.enc_score_head, *decoder.class_embed]:
        nn.init.constant_(head.bias, PRIOR_BIAS)
    for head in [core.enc_bbox_head, getattr(decoder, "pre_bbox_head", None), *decoder.bbox_embed]:
        if head is not None:
            _zero_last_layer(head)
    for linear in _linears(core.enc_output)[:1] + _linears(decoder.query_pos_head):
        nn.init.xavier_uniform_(linear.weight)
    for projection in core.decoder_input_proj.modules():
        if isinstance(projection, nn.Conv2d):
            nn.init.xavier_uniform_(projection.weight)


def _linears(module: nn.Module) -> list[nn.Linear]:
    return [inner for inner in module.modules() if isinstance(inner, nn.Linear)]


def _zero_last_layer(head: nn.Module) -> None:
    nn.init.zeros_(head.layers[-1].weight)
    nn.init.zeros_(head.layers[-1].bias)


@torch.no_grad()
def draw_embedding(embedding: nn.Embedding) -> None:
    """Rows from a standard normal distribution, the padding row (denoising queries without an object) zero."""
    nn.init.normal_(embedding.weight)
    if embedding.padding_idx is not None:
        embedding.weight[embedding.padding_idx] = 0
