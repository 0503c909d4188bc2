"""Names of DEIMv2's tensors."""

from hf_detr.models.conversion.d_fine import (
    DISTRIBUTIONS,
    HEADS,
    PATHS,
    aifi,
    deformable_attention,
    hgnetv2,
    self_attention,
)
from hf_detr.models.conversion.dinov3 import transformer_rules
from hf_detr.models.conversion.names import Rule


def transformer_prefix(backbone_config) -> str:
    """Where the authors keep a vision transformer; the distilled ones of s and m are one attribute deeper."""
    return "backbone.dinov3._model" if backbone_config.num_register_tokens == 0 else "backbone.dinov3"


_ADAPTER = "model.conv_encoder.spatial_tuning_adapter"
_TRANSFORMER_NECK: list[Rule] = [
    ("backbone.sta.stem.0.weight", f"{_ADAPTER}.stem_conv.conv.weight"),
    ("backbone.sta.stem.1.*", f"{_ADAPTER}.stem_conv.norm.*"),
    ("backbone.sta.conv2.0.weight", f"{_ADAPTER}.conv2.conv.weight"),
    ("backbone.sta.conv2.1.*", f"{_ADAPTER}.conv2.norm.*"),
    ("backbone.sta.conv3.1.weight", f"{_ADAPTER}.conv3.conv.weight"),  # an activation comes first
    ("backbone.sta.conv3.2.*", f"{_ADAPTER}.conv3.norm.*"),
    ("backbone.sta.conv4.1.weight", f"{_ADAPTER}.conv4.conv.weight"),
    ("backbone.sta.conv4.2.*", f"{_ADAPTER}.conv4.norm.*"),
    ("backbone.convs.*.weight", "model.conv_encoder.fusion_proj.*.conv.weight"),
    ("backbone.norms.*.*", "model.conv_encoder.fusion_proj.*.norm.*"),
]


def _blocks(name: str) -> list[Rule]:
    """One fusion block, or a list of them where ``name`` ends in a wildcard."""
    return [
        (f"encoder.{name}.cv1.**", f"model.encoder.{name}.conv1.**"),
        (
            f"encoder.{name}.cv2.1.**",
            f"model.encoder.{name}.csp_rep1.conv2.**",
        ),  # ours are inside the next's
        (f"encoder.{name}.cv2.0.**", f"model.encoder.{name}.csp_rep1.**"),
        (f"encoder.{name}.cv3.1.**", f"model.encoder.{name}.csp_rep2.conv2.**"),
        (f"encoder.{name}.cv3.0.**", f"model.encoder.{name}.csp_rep2.**"),
        (f"encoder.{name}.cv4.**", f"model.encoder.{name}.conv2.**"),
    ]


_LITE_ENCODER: list[Rule] = [
    *(
        rule
        for index in (1, 2)
        for rule in (
            (f"encoder.down_sample{index}.1.weight", f"model.encoder.down_conv{index}.conv.weight"),
            (f"encoder.down_sample{index}.2.*", f"model.encoder.down_conv{index}.norm.*"),
        )
    ),
    ("encoder.bi_fusion.cv.**", "model.encoder.bi_fusion_conv.**"),
    *_blocks("fpn_block"),
    *_blocks("pan_block"),
]

_LAYER = "decoder.decoder.layers.*", "model.decoder.layers.*"
_DECODER: list[Rule] = [
    *self_attention(f"{_LAYER[0]}.self_attn", f"{_LAYER[1]}.self_attn"),
    *deformable_attention(),
    (f"{_LAYER[0]}.gateway.gate.*", f"{_LAYER[1]}.gateway.gate.*"),
    (f"{_LAYER[0]}.gateway.norm.scale", f"{_LAYER[1]}.gateway.norm.weight"),
    (f"{_LAYER[0]}.norm1.scale", f"{_LAYER[1]}.self_attn_layer_norm.weight"),
    (f"{_LAYER[0]}.norm2.scale", f"{_LAYER[1]}.encoder_attn_layer_norm.weight"),
    (f"{_LAYER[0]}.norm3.scale", f"{_LAYER[1]}.final_layer_norm.weight"),
    (f"{_LAYER[0]}.swish_ffn.w12.*", (f"{_LAYER[1]}.mlp.gate_proj.*", f"{_LAYER[1]}.mlp.up_proj.*")),
    (f"{_LAYER[0]}.swish_ffn.w3.*", f"{_LAYER[1]}.mlp.down_proj.*"),
    ("decoder.input_proj.**", "model.decoder_input_proj.**"),
    *DISTRIBUTIONS,
    *HEADS,
]


def rules(config) -> list[Rule]:
    """Rules of one configuration: names depend on the backbone and the encoder."""
    backbone = config.backbone_config
    if backbone.model_type == "dinov3_vit":
        return [
            *transformer_rules(backbone, f"{transformer_prefix(backbone)}.", "model.conv_encoder.backbone."),
            *_TRANSFORMER_NECK,
            *aifi("layers.0", "layers.1"),
            *PATHS,
            *_blocks("fpn_blocks.*"),
            *_blocks("pan_blocks.*"),
            *_DECODER,
        ]
    if config.encoder_type == "lite":
        return [
            *hgnetv2("model.conv_encoder.model"),
            ("encoder.input_proj.**", "model.encoder.input_proj.**"),
            *_LITE_ENCODER,
            *_DECODER,
        ]
    return [
        *hgnetv2("model.conv_encoder.model"),
        ("encoder.input_proj.**", "model.conv_encoder.encoder_input_proj.**"),
        *aifi("layers.0", "layers.1"),
        *PATHS,
        *_blocks("fpn_blocks.*"),
        *_blocks("pan_blocks.*"),
        *_DECODER,
    ]
