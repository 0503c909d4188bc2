"""Which parameters do not train."""

from torch import nn

_BACKBONE_PREFIXES = ("model.backbone.", "model.conv_encoder.model.", "model.conv_encoder.backbone.")

# The papers' bin spacing: parameters in name, constants in meaning.
_CONSTANTS = ("decoder.up", "decoder.reg_scale")


def is_backbone(parameter_name: str) -> bool:
    """Whether a parameter of one of our detectors belongs to its backbone."""
    return parameter_name.startswith(_BACKBONE_PREFIXES)


def freeze_backbone(model: nn.Module) -> None:
    """Keep the backbone's weights as they are; its batch norms still follow the data."""
    for name, parameter in model.named_parameters():
        if is_backbone(name):
            parameter.requires_grad_(False)


def freeze_stem(model: nn.Module) -> None:
    """Keep the first layers of a convolutional backbone, as the authors do where batch norms are frozen."""
    for name, parameter in model.named_parameters():
        if is_backbone(name) and ".embedder." in name:
            parameter.requires_grad_(False)


def freeze_constants(model: nn.Module) -> None:
    """Freeze what cannot train or must not: ``from_pretrained`` makes every parameter trainable again.

    That is the papers' bin spacing, and the offsets of discrete sampling: a place rounded to a whole cell has no
    gradient, which several processes would wait for in vain.
    """
    for name, parameter in model.named_parameters():
        if name.endswith(_CONSTANTS):
            parameter.requires_grad_(False)
    for module in model.modules():
        if "discrete" in (getattr(module, "method", None), getattr(module, "decoder_method", None)):
            module.sampling_offsets.requires_grad_(False)
