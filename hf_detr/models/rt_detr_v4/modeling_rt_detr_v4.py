"""DEIM on D-FINE and RT-DETRv4: stock D-FINE with SiLU in its heads, and RT-DETRv4's projector to a teacher.

The state dict is D-FINE's, name by name. Imports torch and transformers only: the file is saved beside checkpoints.
"""

import os
from dataclasses import dataclass

from torch import Tensor, nn
from transformers import DFineForObjectDetection
from transformers.activations import ACT2CLS
from transformers.models.d_fine.modeling_d_fine import DFineMLP, DFineObjectDetectionOutput
from transformers.utils.generic import can_return_tuple

from .configuration_rt_detr_v4 import DeimConfig, RTDetrV4Config


@dataclass
class RTDetrV4ObjectDetectionOutput(DFineObjectDetectionOutput):
    """D-FINE's outputs, and in training with a teacher:

    distillation_features (`torch.Tensor` of shape `(batch, teacher_dim, height / 32, width / 32)`):
        The encoder's coarsest features after self-attention, projected to the teacher's channels.
    """

    distillation_features: Tensor | None = None


class DeimForObjectDetection(DFineForObjectDetection):
    """D-FINE with `config.mlp_activation_function` in the heads where stock D-FINE has ReLU."""

    config_class = DeimConfig

    def __init__(self, config: DeimConfig):
        super().__init__(config)
        activation, width, decoder = config.mlp_activation_function, config.d_model, self.model.decoder
        self.model.enc_bbox_head = DFineMLP(width, width, 4, 3, act=activation)
        decoder.query_pos_head = DFineMLP(4, 2 * width, width, 2, act=activation)
        quality_heads = [layer.reg_conf for layer in decoder.lqe_layers]
        for head in [decoder.pre_bbox_head, *decoder.bbox_embed, *self.bbox_embed, *quality_heads]:
            head.act = ACT2CLS[activation]()

    @can_return_tuple
    def forward(self, pixel_values: Tensor, labels: list[dict] | None = None, **kwargs) -> DFineObjectDetectionOutput:
        """As D-FINE; evaluation leaves out what does not start with the batch, so that pipelines can batch."""
        outputs = super().forward(pixel_values, labels=labels, return_dict=True, **kwargs)
        return outputs if self.training else _batch_first(outputs)


def _batch_first(outputs: DFineObjectDetectionOutput) -> DFineObjectDetectionOutput:
    left_out = ("encoder_last_hidden_state", "intermediate_hidden_states")  # per feature level; per layer
    return type(outputs)(**{name: value for name, value in outputs.items() if name not in left_out})


class RTDetrV4ForObjectDetection(DeimForObjectDetection):
    """DEIM's model; with `config.teacher_dim`, training also returns `distillation_features`."""

    config_class = RTDetrV4Config

    def __init__(self, config: RTDetrV4Config):
        super().__init__(config)
        if config.teacher_dim is not None:
            self.feature_projector = nn.Linear(config.encoder_hidden_dim, config.teacher_dim)

    @can_return_tuple
    def forward(
        self, pixel_values: Tensor, labels: list[dict] | None = None, **kwargs
    ) -> RTDetrV4ObjectDetectionOutput:
        """As DEIM, with the features to distil where there is a teacher and the model is in training mode."""
        if not (self.training and self.config.teacher_dim is not None):
            return super().forward(pixel_values, labels=labels, return_dict=True, **kwargs)
        wants_hidden_states = kwargs.pop("output_hidden_states", self.config.output_hidden_states)
        outputs = super().forward(pixel_values, labels=labels, return_dict=True, output_hidden_states=True, **kwargs)
        features = self.feature_projector(outputs.encoder_hidden_states[-1].movedim(1, -1)).movedim(-1, 1)
        hidden = () if wants_hidden_states else ("encoder_hidden_states", "decoder_hidden_states")
        kept = {name: value for name, value in outputs.items() if name not in hidden}
        return RTDetrV4ObjectDetectionOutput(**kept, distillation_features=features)

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        *args,
        state_dict: dict[str, Tensor] | None = None,
        keep_projector: bool = False,
        **kwargs,
    ) -> None:
        """Save what predicts: without the projector, which only training with a teacher needs, and without
        `config.teacher_dim`. `keep_projector` saves both. All else is as in `PreTrainedModel`, and for `push_to_hub`,
        which comes here, as well."""
        teacher_dim = self.config.teacher_dim
        if teacher_dim is not None and not keep_projector:
            tensors = self.state_dict() if state_dict is None else state_dict
            state_dict = {name: t for name, t in tensors.items() if not name.startswith("feature_projector.")}
            self.config.teacher_dim = None
        try:
            super().save_pretrained(save_directory, *args, state_dict=state_dict, **kwargs)
        finally:
            self.config.teacher_dim = teacher_dim


DeimForObjectDetection.register_for_auto_class("AutoModelForObjectDetection")
RTDetrV4ForObjectDetection.register_for_auto_class("AutoModelForObjectDetection")
