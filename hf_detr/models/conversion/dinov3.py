"""Names of DINOv3's tensors, in the authors' vision transformers and in Transformers'."""

from hf_detr.models.conversion.names import Rule


def transformer_rules(config, original: str, ours: str) -> list[Rule]:
    """Rules of a `DINOv3ViTConfig`.

    Key biases, which the authors keep and mask, are called ``masked_key_bias`` unless the configuration has them.

    Args:
        config: says which tensors there are.
        original: what the authors' names start with, with a dot at its end, or nothing.
        ours: what ours start with, likewise.
    """
    key_bias = "k_proj.bias" if config.key_bias else "masked_key_bias"
    block, layer = f"{original}blocks.*", f"{ours}model.layer.*"
    tokens = [("cls_token", "cls_token")]
    if config.num_register_tokens > 0:  # those distilled for DEIMv2 have neither
        tokens += [("storage_tokens", "register_tokens"), ("mask_token", "mask_token")]
    if config.use_gated_mlp:
        mlp = [("w1", "gate_proj"), ("w2", "up_proj"), ("w3", "down_proj")]
    else:
        mlp = [("fc1", "up_proj"), ("fc2", "down_proj")]
    return [
        *((f"{original}{theirs}", f"{ours}embeddings.{name}") for theirs, name in tokens),
        (f"{original}patch_embed.proj.*", f"{ours}embeddings.patch_embeddings.*"),
        (f"{block}.norm1.*", f"{layer}.norm1.*"),
        (f"{block}.norm2.*", f"{layer}.norm2.*"),
        (f"{block}.attn.qkv.weight", tuple(f"{layer}.attention.{part}_proj.weight" for part in "qkv")),
        (
            f"{block}.attn.qkv.bias",
            (f"{layer}.attention.q_proj.bias", f"{layer}.attention.{key_bias}", f"{layer}.attention.v_proj.bias"),
        ),
        (f"{block}.attn.proj.*", f"{layer}.attention.o_proj.*"),
        (f"{block}.ls1.gamma", f"{layer}.layer_scale1.lambda1"),
        (f"{block}.ls2.gamma", f"{layer}.layer_scale2.lambda1"),
        *((f"{block}.mlp.{theirs}.*", f"{layer}.mlp.{name}.*") for theirs, name in mlp),
        (f"{original}norm.*", f"{ours}norm.*"),
    ]
