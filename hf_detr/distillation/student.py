"""The features of a student that a teacher's are compared with, projected to the teacher's channels.

They are the output of the transformer encoder on the coarsest level (stride 32, before the pyramid), as in RT-DETRv4
(https://huggingface.co/papers/2510.25257). DEIMv2's lite encoder, in atto, femto and pico, has no transformer: there
they are the encoder's own coarsest output.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.d_fine.modeling_d_fine import DFineObjectDetectionOutput
from transformers.models.deimv2.modeling_deimv2 import Deimv2ObjectDetectionOutput
from transformers.models.rt_detr_v2.modeling_rt_detr_v2 import RTDetrV2ObjectDetectionOutput
from transformers.utils.generic import ModelOutput

from hf_detr.errors import CheckpointError
from hf_detr.models.rt_detr_v4.configuration_rt_detr_v4 import RTDetrV4Config

PROJECTOR = "feature_projector"  # name of the submodule that only training has


@dataclass
class DistilledDFineOutput(DFineObjectDetectionOutput):
    """D-FINE's and DEIM's outputs with ``distillation_features``, ``(B, feature_dim, H / 32, W / 32)``."""

    distillation_features: Tensor | None = None


@dataclass
class DistilledRTDetrV2Output(RTDetrV2ObjectDetectionOutput):
    """RT-DETRv2's outputs with ``distillation_features``, ``(B, feature_dim, H / 32, W / 32)``."""

    distillation_features: Tensor | None = None


@dataclass
class DistilledDeimv2Output(Deimv2ObjectDetectionOutput):
    """DEIMv2's outputs with ``distillation_features``, ``(B, feature_dim, H / 32, W / 32)``."""

    distillation_features: Tensor | None = None


_WITH_FEATURES = {
    DFineObjectDetectionOutput: DistilledDFineOutput,
    RTDetrV2ObjectDetectionOutput: DistilledRTDetrV2Output,
    Deimv2ObjectDetectionOutput: DistilledDeimv2Output,
}
_HIDDEN_STATES = ("encoder_hidden_states", "decoder_hidden_states")


def add_feature_projector(model: PreTrainedModel, feature_dim: int) -> nn.Linear:
    """Make a detector of any family return ``distillation_features`` in training mode.

    The projector becomes a submodule of the model, so that it is trained and averaged over processes with it;
    `save_pretrained` leaves it out. Evaluation is unchanged. Call it before the model is compiled or wrapped. torch's
    random state stays as it is.

    Args:
        model: a detector; one that has a projector already keeps it.
        feature_dim: channels of the teacher's features.

    Returns:
        The projector, which is `model.feature_projector`.

    Raises:
        CheckpointError: the model has a projector for another number of channels.
    """
    width = model.config.encoder_hidden_dim
    if (existing := getattr(model, PROJECTOR, None)) is not None:
        if existing.out_features != feature_dim:
            raise CheckpointError(
                f"the student's projector has {existing.out_features} channels, but the teacher's features have "
                f"{feature_dim}. Use the teacher that the student was trained with, or a student without a projector."
            )
        return existing
    reference = next(model.parameters())
    with torch.random.fork_rng(devices=[]):
        projector = nn.Linear(width, feature_dim).to(reference.device, reference.dtype)
    model.feature_projector = projector
    if isinstance(model.config, RTDetrV4Config):
        model.config.teacher_dim = feature_dim
        return projector
    model._keys_to_ignore_on_save |= {f"{PROJECTOR}.{name}" for name in projector.state_dict()}
    if _add_features not in model._forward_hooks.values():
        # Hooks see the module they are called for, so that a deep copy of the model uses its own projector.
        model.register_forward_pre_hook(_ask_for_hidden_states, with_kwargs=True)
        model.register_forward_hook(_add_features, with_kwargs=True)
    return projector


def remove_feature_projector(model: PreTrainedModel) -> None:
    """Take the projector off a model that is to be trained without a teacher, if it has one.

    Without the teacher's term its parameters would get no gradient, which several processes wait for in vain.
    """
    if hasattr(model, PROJECTOR):
        delattr(model, PROJECTOR)
        if isinstance(model.config, RTDetrV4Config):
            model.config.teacher_dim = None


def _distils(model: PreTrainedModel) -> bool:
    return model.training and hasattr(model, PROJECTOR)


def _ask_for_hidden_states(
    model: PreTrainedModel, args: tuple, kwargs: dict[str, Any]
) -> tuple[tuple, dict[str, Any]]:
    return args, {**kwargs, "output_hidden_states": True, "return_dict": True} if _distils(model) else kwargs


def _add_features(model: PreTrainedModel, args: tuple, kwargs: dict[str, Any], outputs: ModelOutput) -> ModelOutput:
    if not _distils(model):
        return outputs
    lite = getattr(model.config, "encoder_type", None) == "lite"
    levels = outputs.encoder_last_hidden_state if lite else outputs.encoder_hidden_states
    # Mixed precision may end before or after this hook, depending on the wrapper: the projection is outside of it.
    with torch.autocast(levels[-1].device.type, enabled=False):
        weight = model.feature_projector.weight
        features = model.feature_projector(levels[-1].to(weight.dtype).movedim(1, -1)).movedim(-1, 1)
    kept = {name: value for name, value in outputs.items() if name not in _HIDDEN_STATES}
    return _WITH_FEATURES[type(outputs)](**kept, distillation_features=features)


def transformer_encoder_parameters(model: PreTrainedModel) -> list[nn.Parameter]:
    """Parameters of the layers whose share of the gradient the adaptive weight goes by.

    They are those of the transformer encoder; in DEIMv2's lite encoder, which has none, those of the block that
    computes the features.
    """
    encoder = model.model.encoder
    layers = encoder.pan_block if getattr(model.config, "encoder_type", None) == "lite" else encoder.aifi
    return list(layers.parameters())
