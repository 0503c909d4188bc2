"""Names of RT-DETRv2's tensors; DEIM on RT-DETRv2 has the same."""

from hf_detr.models.conversion.d_fine import HEADS, aifi, hgnetv2, self_attention
from hf_detr.models.conversion.names import Rule

_STEM = "model.backbone.model.embedder.embedder"
_BLOCK = "backbone.res_layers.*.blocks.*", "model.backbone.model.encoder.stages.*.layers.*"

_RESNET: list[Rule] = [
    *(
        rule
        for index in range(3)
        for rule in (
            (f"backbone.conv1.conv1_{index + 1}.conv.weight", f"{_STEM}.{index}.convolution.weight"),
            (f"backbone.conv1.conv1_{index + 1}.norm.*", f"{_STEM}.{index}.normalization.*"),
        )
    ),
    *(
        rule
        for index, branch in enumerate(("branch2a", "branch2b", "branch2c"))
        for rule in (
            (f"{_BLOCK[0]}.{branch}.conv.weight", f"{_BLOCK[1]}.layer.{index}.convolution.weight"),
            (f"{_BLOCK[0]}.{branch}.norm.*", f"{_BLOCK[1]}.layer.{index}.normalization.*"),
        )
    ),
    # A block that halves the size averages before its shortcut, so the convolution is one level deeper.
    (f"{_BLOCK[0]}.short.conv.weight", f"{_BLOCK[1]}.shortcut.convolution.weight"),
    (f"{_BLOCK[0]}.short.norm.*", f"{_BLOCK[1]}.shortcut.normalization.*"),
    (f"{_BLOCK[0]}.short.conv.conv.weight", f"{_BLOCK[1]}.shortcut.1.convolution.weight"),
    (f"{_BLOCK[0]}.short.conv.norm.*", f"{_BLOCK[1]}.shortcut.1.normalization.*"),
]

_LAYER = "decoder.decoder.layers.*", "model.decoder.layers.*"

RULES: list[Rule] = [
    *_RESNET,
    *hgnetv2("model.backbone.model"),
    ("encoder.input_proj.*.conv.weight", "model.encoder_input_proj.*.0.weight"),
    ("encoder.input_proj.*.norm.*", "model.encoder_input_proj.*.1.*"),
    *aifi("fc1", "fc2"),
    *(
        (f"encoder.{part}.**", f"model.encoder.{part}.**")
        for part in ("lateral_convs", "fpn_blocks", "downsample_convs", "pan_blocks")
    ),
    *self_attention(f"{_LAYER[0]}.self_attn", f"{_LAYER[1]}.self_attn"),
    (f"{_LAYER[0]}.cross_attn.num_points_scale", f"{_LAYER[1]}.encoder_attn.n_points_scale"),
    (f"{_LAYER[0]}.cross_attn.**", f"{_LAYER[1]}.encoder_attn.**"),
    (f"{_LAYER[0]}.linear1.*", f"{_LAYER[1]}.mlp.fc1.*"),
    (f"{_LAYER[0]}.linear2.*", f"{_LAYER[1]}.mlp.fc2.*"),
    (f"{_LAYER[0]}.norm1.*", f"{_LAYER[1]}.self_attn_layer_norm.*"),
    (f"{_LAYER[0]}.norm2.*", f"{_LAYER[1]}.encoder_attn_layer_norm.*"),
    (f"{_LAYER[0]}.norm3.*", f"{_LAYER[1]}.final_layer_norm.*"),
    *HEADS,
]
