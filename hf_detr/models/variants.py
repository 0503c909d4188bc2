"""The table: what each size of each family is.

The numbers are those of the authors' configuration files; what follows from others is in `hf_detr.models.families`.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple


class Architecture(NamedTuple):
    """Where the classes of a model type live, as ``module:name``; they are imported when needed."""

    config_class: str
    model_class: str


class Variant(NamedTuple):
    """One size of a family: model type, configuration values unlike the class defaults, input side in pixels."""

    model_type: str
    values: dict[str, Any]
    image_side: int = 640


ARCHITECTURES: dict[str, Architecture] = {
    "d_fine": Architecture("transformers:DFineConfig", "transformers:DFineForObjectDetection"),
    "deim": Architecture(
        "hf_detr.models.rt_detr_v4.configuration_rt_detr_v4:DeimConfig",
        "hf_detr.models.rt_detr_v4.modeling_rt_detr_v4:DeimForObjectDetection",
    ),
    "rt_detr_v4": Architecture(
        "hf_detr.models.rt_detr_v4.configuration_rt_detr_v4:RTDetrV4Config",
        "hf_detr.models.rt_detr_v4.modeling_rt_detr_v4:RTDetrV4ForObjectDetection",
    ),
    "rt_detr_v2": Architecture("transformers:RTDetrV2Config", "transformers:RTDetrV2ForObjectDetection"),
    "rt_detr_v2_early_exit": Architecture(
        "hf_detr.models.rt_detr_v2.configuration_rt_detr_v2:EarlyExitRTDetrV2Config",
        "hf_detr.models.rt_detr_v2.modeling_rt_detr_v2:EarlyExitRTDetrV2ForObjectDetection",
    ),
    "deim_rt_detr_v2": Architecture(
        "hf_detr.models.rt_detr_v2.configuration_rt_detr_v2:DeimRTDetrV2Config",
        "hf_detr.models.rt_detr_v2.modeling_rt_detr_v2:DeimRTDetrV2ForObjectDetection",
    ),
    "deimv2_exact": Architecture(
        "hf_detr.models.deimv2.configuration_deimv2:ExactDeimv2Config",
        "hf_detr.models.deimv2.modeling_deimv2:ExactDeimv2ForObjectDetection",
    ),
}

# PP-HGNetV2 (https://github.com/PaddlePaddle/PaddleClas): channels of the stem; per stage channels in, inside and out,
# and blocks; convolutions per block. Stages 3 and 4 are made of light blocks, with 5x5 kernels but for Atto.
_HGNETV2 = {
    "Atto": ((3, 16, 16), (16, 64, 256), (16, 32, 64), (64, 256, 256), (1, 1, 1), 3),
    "Femto": ((3, 16, 16), (16, 64, 256), (16, 32, 64), (64, 256, 512), (1, 1, 1), 3),
    "Pico": ((3, 16, 16), (16, 64, 256), (16, 32, 64), (64, 256, 512), (1, 1, 2), 3),
    "B0": ((3, 16, 16), (16, 64, 256, 512), (16, 32, 64, 128), (64, 256, 512, 1024), (1, 1, 2, 1), 3),
    "B2": ((3, 24, 32), (32, 96, 384, 768), (32, 64, 128, 256), (96, 384, 768, 1536), (1, 1, 3, 1), 4),
    "B4": ((3, 32, 48), (48, 128, 512, 1024), (48, 96, 192, 384), (128, 512, 1024, 2048), (1, 1, 3, 1), 6),
    "B5": ((3, 32, 64), (64, 128, 512, 1024), (64, 128, 256, 512), (128, 512, 1024, 2048), (1, 2, 5, 2), 6),
    "B6": ((3, 48, 96), (96, 192, 512, 1024), (96, 192, 384, 768), (192, 512, 1024, 2048), (2, 3, 6, 3), 6),
}


def _hgnetv2(name: str, *, out_indices: Iterable[int], lab: bool) -> dict[str, Any]:
    """Values of an `HGNetV2Config`; ``out_indices`` are stages 1 to 4, ``lab`` the learnable affine blocks."""
    stem, channels_in, channels_inside, channels_out, blocks, layers = _HGNETV2[name]
    stages = len(blocks)
    return {
        "model_type": "hgnet_v2",
        "stem_channels": list(stem),
        "embedding_size": stem[-1],
        "stage_in_channels": list(channels_in),
        "stage_mid_channels": list(channels_inside),
        "stage_out_channels": list(channels_out),
        "hidden_sizes": list(channels_out),  # the detector reads its input channels here
        "depths": list(blocks),
        "stage_num_blocks": list(blocks),
        "stage_numb_of_layers": [layers] * stages,
        "stage_downsample": [False, True, True, True][:stages],
        "stage_light_block": [False, False, True, True][:stages],
        "stage_kernel_size": [3, 3, 3] if name == "Atto" else [3, 3, 5, 5][:stages],
        "use_learnable_affine_block": lab,
        "out_indices": list(out_indices),
    }


def _resnet(depths: Iterable[int], *, bottleneck: bool) -> dict[str, Any]:
    """Values of an `RTDetrResNetConfig`: ResNet-D, as in RT-DETR."""
    expansion = 4 if bottleneck else 1
    return {
        "model_type": "rt_detr_resnet",
        "embedding_size": 64,
        "layer_type": "bottleneck" if bottleneck else "basic",
        "depths": list(depths),
        "hidden_sizes": [channels * expansion for channels in (64, 128, 256, 512)],
        "downsample_in_first_stage": False,
        "downsample_in_bottleneck": False,
        "out_indices": [2, 3, 4],
    }


def _distilled_vit(hidden_size: int, heads: int) -> dict[str, Any]:
    """Values of the `DINOv3ViTConfig` of DEIMv2 s and m: distilled small transformers, plainer than DINOv3."""
    return {
        "model_type": "dinov3_vit",
        "hidden_size": hidden_size,
        "intermediate_size": 4 * hidden_size,
        "num_attention_heads": heads,
        "num_hidden_layers": 12,
        "layer_norm_eps": 1e-6,
        "key_bias": True,
        "layerscale_value": 1.0,
        "num_register_tokens": 0,
        "pos_embed_rescale": None,
        "apply_layernorm": False,
        "out_indices": [4, 8, 12],
    }


def _dinov3_vit(*, gated: bool) -> dict[str, Any]:
    """Values of the `DINOv3ViTConfig` of DEIMv2 l and x: DINOv3 ViT-S and ViT-S+."""
    return {
        "model_type": "dinov3_vit",
        "hidden_size": 384,
        "intermediate_size": 1536,
        "num_attention_heads": 6,
        "num_hidden_layers": 12,
        "layer_norm_eps": 1e-5,
        "key_bias": False,
        "layerscale_value": 1e-5,
        "num_register_tokens": 4,
        # The authors' training rescales positions at random, once per block; stock Transformers would do it once per
        # picture. Off unless asked for.
        "pos_embed_rescale": None,
        "use_gated_mlp": gated,
        "hidden_act": "silu" if gated else "gelu",
        "apply_layernorm": True,
        "out_indices": [6, 9, 12],
    }


_LEVELS_8_16_32 = (2, 3, 4)
_PRIOR = {"initializer_bias_prior_prob": 0.01}

# D-FINE; DEIM and RT-DETRv4 train the same shapes with other activations and never freeze batch norms.
_D_FINE = {
    "n": {
        "backbone_config": _hgnetv2("B0", out_indices=(3, 4), lab=True),
        "encoder_hidden_dim": 128,
        "encoder_ffn_dim": 512,
        "hidden_expansion": 0.34,
        "depth_mult": 0.5,
        "d_model": 128,
        "decoder_ffn_dim": 512,
        "decoder_layers": 3,
    },
    "s": {
        "backbone_config": _hgnetv2("B0", out_indices=_LEVELS_8_16_32, lab=True),
        "hidden_expansion": 0.5,
        "depth_mult": 0.34,
        "decoder_layers": 3,
    },
    "m": {
        "backbone_config": _hgnetv2("B2", out_indices=_LEVELS_8_16_32, lab=True),
        "depth_mult": 0.67,
        "decoder_layers": 4,
    },
    "l": {"backbone_config": _hgnetv2("B4", out_indices=_LEVELS_8_16_32, lab=False)},
    "x": {
        "backbone_config": _hgnetv2("B5", out_indices=_LEVELS_8_16_32, lab=False),
        "encoder_hidden_dim": 384,
        "encoder_ffn_dim": 2048,
        "reg_scale": 8.0,
    },
}
_D_FINE_COMMON = _PRIOR | {
    "encoder_hidden_dim": 256,
    "encoder_ffn_dim": 1024,
    "hidden_expansion": 1.0,
    "depth_mult": 1.0,
    "d_model": 256,
    "decoder_ffn_dim": 1024,
    "decoder_layers": 6,
}

_RT_DETR_V2 = {
    "r18": {"backbone_config": _resnet((2, 2, 2, 2), bottleneck=False), "hidden_expansion": 0.5, "decoder_layers": 3},
    "r34": {"backbone_config": _resnet((3, 4, 6, 3), bottleneck=False), "hidden_expansion": 0.5, "decoder_layers": 4},
    "r50m": {"backbone_config": _resnet((3, 4, 6, 3), bottleneck=True), "hidden_expansion": 0.5, "eval_idx": 2},
    "r50": {"backbone_config": _resnet((3, 4, 6, 3), bottleneck=True)},
    "r101": {
        "backbone_config": _resnet((3, 4, 23, 3), bottleneck=True),
        "encoder_hidden_dim": 384,
        "encoder_ffn_dim": 2048,
    },
}
# RT-DETRv2's authors call these backbones L, X and H.
_RT_DETR_V2_HGNET = {
    "hg-l": {"backbone_config": _hgnetv2("B4", out_indices=_LEVELS_8_16_32, lab=False)},
    "hg-x": {
        "backbone_config": _hgnetv2("B5", out_indices=_LEVELS_8_16_32, lab=False),
        "encoder_hidden_dim": 384,
        "encoder_ffn_dim": 2048,
    },
    "hg-h": {
        "backbone_config": _hgnetv2("B6", out_indices=_LEVELS_8_16_32, lab=False),
        "encoder_hidden_dim": 512,
        "encoder_ffn_dim": 2048,
        "encoder_layers": 2,
    },
}
_RT_DETR_V2_COMMON = _PRIOR | {
    "encoder_hidden_dim": 256,
    "encoder_ffn_dim": 1024,
    "hidden_expansion": 1.0,
    "d_model": 256,
    "decoder_layers": 6,
    "decoder_n_points": 4,
}
_TRAINED_BATCH_NORMS = ("r18", "r34")  # DEIM trains those of all sizes

_DEIMV2_LITE = {
    "encoder_type": "lite",
    "encoder_layers": 0,
    "hidden_expansion": 0.34,
    "depth_mult": 0.5,
    "feat_strides": [16, 32],
    "num_feature_levels": 2,
    "decoder_layers": 3,
    "decoder_n_points": [4, 2],
    "use_gateway": False,
    "share_bbox_head": True,
    "use_dense_one_to_one": False,
    "weight_loss_fgl": 0.0,
    "weight_loss_ddf": 0.0,
}
_DEIMV2_VIT = {
    "encoder_has_trailing_conv": False,
    "feat_strides": [8, 16, 32],
    "num_feature_levels": 3,
    "encode_proj_layers": [2],
    "decoder_n_points": [3, 6, 3],
    "decoder_layers": 4,
}
_DEIMV2_HGNET = {"encoder_hidden_dim": 256, "encoder_ffn_dim": 1024, "d_model": 256, "decoder_ffn_dim": 2048}
_DEIMV2 = {
    "atto": _DEIMV2_LITE
    | {
        "backbone_config": _hgnetv2("Atto", out_indices=(3,), lab=True),
        "encoder_hidden_dim": 64,
        "d_model": 64,
        "decoder_ffn_dim": 160,
        "num_queries": 100,
    },
    "femto": _DEIMV2_LITE
    | {
        "backbone_config": _hgnetv2("Femto", out_indices=(3,), lab=True),
        "encoder_hidden_dim": 96,
        "d_model": 96,
        "decoder_ffn_dim": 256,
        "num_queries": 150,
    },
    "pico": _DEIMV2_LITE
    | {
        "backbone_config": _hgnetv2("Pico", out_indices=(3,), lab=True),
        "encoder_hidden_dim": 112,
        "d_model": 112,
        "decoder_ffn_dim": 320,
        "num_queries": 200,
    },
    "n": {
        "backbone_config": _hgnetv2("B0", out_indices=(3, 4), lab=True),
        "encoder_hidden_dim": 128,
        "encoder_ffn_dim": 512,
        "hidden_expansion": 0.34,
        "depth_mult": 0.5,
        "d_model": 128,
        "decoder_ffn_dim": 512,
        "decoder_layers": 3,
    },
    "s": _DEIMV2_VIT
    | {
        "backbone_config": _distilled_vit(192, 3),
        "encoder_hidden_dim": 192,
        "encoder_ffn_dim": 512,
        "hidden_expansion": 0.34,
        "depth_mult": 0.67,
        "d_model": 192,
        "decoder_ffn_dim": 512,
        "spatial_tuning_adapter_inplanes": 16,
    },
    "m": _DEIMV2_VIT
    | {
        "backbone_config": _distilled_vit(256, 4),
        "encoder_hidden_dim": 256,
        "encoder_ffn_dim": 512,
        "hidden_expansion": 0.67,
        "depth_mult": 1.0,
        "d_model": 256,
        "decoder_ffn_dim": 512,
        "spatial_tuning_adapter_inplanes": 16,
    },
    "l": _DEIMV2_VIT
    | {
        "backbone_config": _dinov3_vit(gated=False),
        "encoder_hidden_dim": 224,
        "encoder_ffn_dim": 896,
        "hidden_expansion": 1.0,
        "depth_mult": 1.0,
        "d_model": 224,
        "decoder_ffn_dim": 1792,
        "spatial_tuning_adapter_inplanes": 32,
    },
    "x": _DEIMV2_VIT
    | {
        "backbone_config": _dinov3_vit(gated=True),
        "encoder_hidden_dim": 256,
        "encoder_ffn_dim": 1024,
        "hidden_expansion": 1.25,
        "depth_mult": 1.37,
        "d_model": 256,
        "decoder_ffn_dim": 2048,
        "decoder_layers": 6,
        "spatial_tuning_adapter_inplanes": 64,
    },
    "hg-s": _DEIMV2_HGNET
    | {
        "backbone_config": _hgnetv2("B0", out_indices=_LEVELS_8_16_32, lab=True),
        "hidden_expansion": 0.5,
        "depth_mult": 0.34,
        "decoder_layers": 3,
    },
    "hg-m": _DEIMV2_HGNET
    | {
        "backbone_config": _hgnetv2("B2", out_indices=_LEVELS_8_16_32, lab=True),
        "encoder_has_trailing_conv": False,
        "hidden_expansion": 1.0,
        "depth_mult": 0.67,
        "decoder_layers": 4,
    },
    "hg-l": _DEIMV2_HGNET
    | {
        "backbone_config": _hgnetv2("B4", out_indices=_LEVELS_8_16_32, lab=False),
        "encoder_has_trailing_conv": False,
        "hidden_expansion": 1.0,
        "depth_mult": 1.0,
        "decoder_layers": 6,
    },
    "hg-x": _DEIMV2_HGNET
    | {
        "backbone_config": _hgnetv2("B5", out_indices=_LEVELS_8_16_32, lab=False),
        "encoder_hidden_dim": 384,
        "encoder_ffn_dim": 2048,
        "encoder_has_trailing_conv": False,
        "hidden_expansion": 1.0,
        "depth_mult": 1.0,
        "decoder_layers": 6,
        "reg_scale": 8.0,
        "freeze_backbone_batch_norms": True,
    },
}
_DEIMV2_IMAGE_SIDES = {"atto": 320, "femto": 416}

FAMILIES: dict[str, dict[str, Variant]] = {
    "d_fine": {
        size: Variant("d_fine", _D_FINE_COMMON | {"freeze_backbone_batch_norms": size in ("l", "x")} | values)
        for size, values in _D_FINE.items()
    },
    "deim": {size: Variant("deim", _D_FINE_COMMON | values) for size, values in _D_FINE.items()}
    | {size: Variant("deim_rt_detr_v2", _RT_DETR_V2_COMMON | values) for size, values in _RT_DETR_V2.items()},
    "rt_detr_v4": {
        size: Variant("rt_detr_v4", _D_FINE_COMMON | values | {"teacher_dim": 768})
        for size, values in _D_FINE.items()
        if size != "n"
    },
    "rt_detr_v2": {
        size: Variant(
            "rt_detr_v2_early_exit" if "eval_idx" in values else "rt_detr_v2",
            _RT_DETR_V2_COMMON | {"freeze_backbone_batch_norms": size not in _TRAINED_BATCH_NORMS} | values,
        )
        for size, values in (_RT_DETR_V2 | _RT_DETR_V2_HGNET).items()
    },
    "deimv2": {
        size: Variant("deimv2_exact", _PRIOR | values, _DEIMV2_IMAGE_SIDES.get(size, 640))
        for size, values in _DEIMV2.items()
    },
}
