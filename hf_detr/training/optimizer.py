"""Which parameters train at which learning rate, and which decay."""

from torch import nn

from hf_detr.models.freeze import is_backbone

# Norms and learnable scales are found by their type, never by name: name patterns miss the projection norms, and the
# official ones give weight decay to the backbone's batch norms by a slip of precedence.
_NO_DECAY_TYPES = ("Norm", "LearnableAffine", "LayerScale")


def parameter_groups(
    model: nn.Module, *, learning_rate: float, backbone_lr_ratio: float, weight_decay: float
) -> list[dict]:
    """Optimizer groups of a detector: backbone or not, with weight decay or not.

    Norms, learnable scales and biases have no weight decay; backbone parameters train at ``learning_rate`` times
    ``backbone_lr_ratio``. Every trainable parameter is in exactly one group; empty groups are left out.

    Returns:
        Dicts with ``params``, ``names`` (of the parameters, for reading), ``lr`` and ``weight_decay``.
    """
    no_decay = {
        f"{module_name}.{name}" if module_name else name
        for module_name, module in model.named_modules()
        for name, _ in module.named_parameters(recurse=False)
        if name.endswith("bias") or any(kind in type(module).__name__ for kind in _NO_DECAY_TYPES)
    }
    groups: dict[tuple[bool, bool], dict] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        key = (is_backbone(name), name not in no_decay)
        group = groups.setdefault(
            key,
            {
                "params": [],
                "names": [],
                "lr": learning_rate * (backbone_lr_ratio if key[0] else 1.0),
                "weight_decay": weight_decay if key[1] else 0.0,
            },
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())
