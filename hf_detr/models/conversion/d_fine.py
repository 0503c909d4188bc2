"""Names of D-FINE's tensors; DEIM on D-FINE and RT-DETRv4 have the same."""

from hf_detr.models.conversion.names import Rule


def hgnetv2(ours: str) -> list[Rule]:
    """Rules of the backbone, which is ``backbone`` in all repositories and `ours` here."""
    return [
        ("backbone.stem.**.conv.weight", f"{ours}.embedder.**.convolution.weight"),
        ("backbone.stem.**.bn.*", f"{ours}.embedder.**.normalization.*"),
        ("backbone.stem.**.lab.*", f"{ours}.embedder.**.lab.*"),
        ("backbone.stages.**.conv.weight", f"{ours}.encoder.stages.**.convolution.weight"),
        ("backbone.stages.**.bn.*", f"{ours}.encoder.stages.**.normalization.*"),
        ("backbone.stages.**.lab.*", f"{ours}.encoder.stages.**.lab.*"),
    ]


def self_attention(original: str, ours: str) -> list[Rule]:
    """`torch.nn.MultiheadAttention` holds the three projections in one matrix."""
    return [
        (f"{original}.in_proj_*", (f"{ours}.q_proj.*", f"{ours}.k_proj.*", f"{ours}.v_proj.*")),
        (f"{original}.out_proj.*", f"{ours}.o_proj.*"),
    ]


def aifi(linear1: str, linear2: str) -> list[Rule]:
    """The encoder's transformer layers, whose feed-forward layers have several names."""
    original, ours = "encoder.encoder.*.layers.*", "model.encoder.aifi.*.layers.*"
    return [
        *self_attention(f"{original}.self_attn", f"{ours}.self_attn"),
        (f"{original}.linear1.*", f"{ours}.mlp.{linear1}.*"),
        (f"{original}.linear2.*", f"{ours}.mlp.{linear2}.*"),
        (f"{original}.norm1.*", f"{ours}.self_attn_layer_norm.*"),
        (f"{original}.norm2.*", f"{ours}.final_layer_norm.*"),
    ]


def deformable_attention() -> list[Rule]:
    """The decoder's attention to the feature maps."""
    return [("decoder.decoder.layers.*.cross_attn.**", "model.decoder.layers.*.encoder_attn.**")]


HEADS: list[Rule] = [
    ("decoder.denoising_class_embed.weight", "model.denoising_class_embed.weight"),
    ("decoder.tgt_embed.weight", "model.weight_embedding.weight"),
    ("decoder.query_pos_head.**", "model.decoder.query_pos_head.**"),
    ("decoder.enc_output.proj.*", "model.enc_output.0.*"),
    ("decoder.enc_output.norm.*", "model.enc_output.1.*"),
    ("decoder.enc_score_head.*", "model.enc_score_head.*"),
    ("decoder.enc_bbox_head.**", "model.enc_bbox_head.**"),
    ("decoder.dec_score_head.**", "model.decoder.class_embed.**"),
    ("decoder.dec_bbox_head.**", "model.decoder.bbox_embed.**"),
    ("decoder.input_proj.*.conv.weight", "model.decoder_input_proj.*.0.weight"),
    ("decoder.input_proj.*.norm.*", "model.decoder_input_proj.*.1.*"),
]

DISTRIBUTIONS: list[Rule] = [
    ("decoder.up", "model.decoder.up"),
    ("decoder.reg_scale", "model.decoder.reg_scale"),
    ("decoder.pre_bbox_head.**", "model.decoder.pre_bbox_head.**"),
    ("decoder.decoder.lqe_layers.**", "model.decoder.lqe_layers.**"),
]

_BLOCKS: list[Rule] = [
    rule
    for block in ("fpn_blocks", "pan_blocks")
    for rule in (
        (f"encoder.{block}.*.cv1.**", f"model.encoder.{block}.*.conv1.**"),
        (f"encoder.{block}.*.cv2.0.**", f"model.encoder.{block}.*.csp_rep1.**"),
        (f"encoder.{block}.*.cv2.1.**", f"model.encoder.{block}.*.conv2.**"),
        (f"encoder.{block}.*.cv3.0.**", f"model.encoder.{block}.*.csp_rep2.**"),
        (f"encoder.{block}.*.cv3.1.**", f"model.encoder.{block}.*.conv3.**"),
        (f"encoder.{block}.*.cv4.**", f"model.encoder.{block}.*.conv4.**"),
    )
]

PATHS: list[Rule] = [
    ("encoder.lateral_convs.**", "model.encoder.lateral_convs.**"),
    ("encoder.downsample_convs.*.0.cv1.**", "model.encoder.downsample_convs.*.conv1.**"),
    ("encoder.downsample_convs.*.0.cv2.**", "model.encoder.downsample_convs.*.conv2.**"),
]

_DECODER_LAYER = "decoder.decoder.layers.*", "model.decoder.layers.*"

RULES: list[Rule] = [
    *hgnetv2("model.backbone.model"),
    ("encoder.input_proj.*.conv.weight", "model.encoder_input_proj.*.0.weight"),
    ("encoder.input_proj.*.norm.*", "model.encoder_input_proj.*.1.*"),
    *aifi("layers.0", "layers.1"),
    *PATHS,
    *_BLOCKS,
    ("encoder.feature_projector.0.*", "feature_projector.*"),  # RT-DETRv4
    *self_attention(f"{_DECODER_LAYER[0]}.self_attn", f"{_DECODER_LAYER[1]}.self_attn"),
    *deformable_attention(),
    (f"{_DECODER_LAYER[0]}.gateway.**", f"{_DECODER_LAYER[1]}.gateway.**"),
    (f"{_DECODER_LAYER[0]}.linear1.*", f"{_DECODER_LAYER[1]}.mlp.layers.0.*"),
    (f"{_DECODER_LAYER[0]}.linear2.*", f"{_DECODER_LAYER[1]}.mlp.layers.1.*"),
    (f"{_DECODER_LAYER[0]}.norm1.*", f"{_DECODER_LAYER[1]}.self_attn_layer_norm.*"),
    (f"{_DECODER_LAYER[0]}.norm3.*", f"{_DECODER_LAYER[1]}.final_layer_norm.*"),
    *DISTRIBUTIONS,
    *HEADS,
]
