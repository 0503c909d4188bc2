"""DEIMv2 as its authors compute it: the stock model with the modules replaced that compute something else.

Imports torch and transformers only: the file is saved beside checkpoints.
"""

import torch
from torch import Tensor, nn
from transformers import Deimv2ForObjectDetection
from transformers.activations import ACT2CLS
from transformers.models.deimv2.modeling_deimv2 import (
    Deimv2Decoder,
    Deimv2DecoderLayer,
    Deimv2ObjectDetectionOutput,
)
from transformers.utils.generic import can_return_tuple

from .configuration_deimv2 import ExactDeimv2Config


class ExactDeimv2DecoderLayer(Deimv2DecoderLayer):
    """A decoder layer that places queries where they started, not where the layer before moved them."""

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: Tensor | None = None,
        initial_position_embeddings: Tensor | None = None,
        **kwargs,
    ) -> Tensor:
        return super().forward(hidden_states, position_embeddings=initial_position_embeddings, **kwargs)


class ExactDeimv2Decoder(Deimv2Decoder):
    """The stock decoder, with positions of queries embedded once, from their initial reference points."""

    def __init__(self, config: ExactDeimv2Config):
        super().__init__(config)
        self.layers = nn.ModuleList(ExactDeimv2DecoderLayer(config) for _ in self.layers)
        self.post_init()

    def forward(self, encoder_hidden_states: Tensor, reference_points: Tensor, **kwargs):
        positions = self.query_pos_head(reference_points.sigmoid()).clamp(min=-10, max=10)
        return super().forward(
            encoder_hidden_states=encoder_hidden_states,
            reference_points=reference_points,
            initial_position_embeddings=positions,
            **kwargs,
        )


class ExactDeimv2ForObjectDetection(Deimv2ForObjectDetection):
    """DEIMv2: SiLU in all heads, no projection before query selection, one embedding of the queries' positions, and no
    layers that the authors do not have."""

    config_class = ExactDeimv2Config

    def __init__(self, config: ExactDeimv2Config):
        super().__init__(config)
        core = self.model
        heads = core.decoder.class_embed, core.decoder.bbox_embed
        core.decoder = ExactDeimv2Decoder(config)
        core.decoder.class_embed, core.decoder.bbox_embed = heads
        core.enc_output = nn.Identity()
        quality_heads = [layer.reg_conf for layer in core.decoder.lqe_layers]
        for head in [
            core.enc_bbox_head,
            core.decoder.pre_bbox_head,
            *core.decoder.bbox_embed,
            *self.bbox_embed,
            *quality_heads,
        ]:
            head.act = ACT2CLS[config.mlp_activation_function]()
        if config.backbone_config.model_type == "dinov3_vit":
            _follow_authors_transformer(core.conv_encoder.backbone)
        elif config.encoder_type != "lite":
            projections = core.conv_encoder.encoder_input_proj
            for level, channels in enumerate(core.conv_encoder.intermediate_channel_sizes):
                if channels == config.encoder_hidden_dim:
                    projections[level] = nn.Identity()

    @can_return_tuple
    def forward(self, pixel_values: Tensor, labels: list[dict] | None = None, **kwargs) -> Deimv2ObjectDetectionOutput:
        """As the stock model; evaluation leaves out what is not batch-first, so that pipelines can batch."""
        outputs = super().forward(pixel_values, labels=labels, return_dict=True, **kwargs)
        if self.training:
            return outputs
        left_out = ("encoder_last_hidden_state", "intermediate_hidden_states")  # per feature level; per layer
        return type(outputs)(**{name: value for name, value in outputs.items() if name not in left_out})


def _follow_authors_transformer(backbone: nn.Module) -> None:
    """Leave out, or keep from training, what the authors' vision transformers do not have or do not train."""
    config, embeddings = backbone.config, backbone.embeddings
    embeddings.mask_token.requires_grad_(False)  # only masked pretraining reads it
    if config.num_register_tokens == 0:
        for name in ("mask_token", "register_tokens"):
            token = getattr(embeddings, name).data
            delattr(embeddings, name)
            embeddings.register_buffer(name, token)
    if not config.apply_layernorm:
        backbone.norm = nn.Identity()  # the stock backbone would still normalise its last feature map
    if not config.key_bias:
        for layer in backbone.model.layer:  # DINOv3 holds key biases and masks them; kept for the way back
            layer.attention.register_buffer("masked_key_bias", torch.zeros(config.hidden_size))
    if config.layerscale_value == 1.0:
        for layer in backbone.model.layer:
            layer.layer_scale1 = layer.layer_scale2 = nn.Identity()


ExactDeimv2ForObjectDetection.register_for_auto_class("AutoModelForObjectDetection")
