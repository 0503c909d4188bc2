"""The authors' files of DINOv3, as their features and sizes show."""

import pytest
import torch
from torch import Tensor
from transformers import (
    DINOv3ViTConfig,
    DINOv3ViTModel,
)

from hf_detr.distillation.dinov3_files import SATELLITE_MEAN, config_of_state_dict, model_of_state_dict
from hf_detr.distillation.geometry import MapGeometry
from hf_detr.distillation.teacher import load_teacher
from hf_detr.errors import CheckpointError
from hf_detr.models.conversion.dinov3 import transformer_rules
from hf_detr.models.conversion.names import NameMap
from hf_detr.models.loading import no_progress_bars


def official(model: DINOv3ViTModel) -> dict[str, Tensor]:
    """The authors' state dict of a model: their names, queries, keys and values as one, biases of keys masked."""
    config, state, parts = model.config, {}, {}
    names = NameMap(transformer_rules(config, "", ""))
    for ours, tensor in model.state_dict().items():
        name, chunk, count = names.original(ours)
        parts.setdefault(name, [None] * count)[chunk] = tensor
    for name, chunks in parts.items():
        if name.endswith("qkv.bias"):
            chunks[1] = torch.full_like(chunks[0], torch.nan)
            state[f"{name}_mask"] = torch.cat([torch.ones_like(chunks[0]), chunks[1], torch.ones_like(chunks[0])])
        state[name] = torch.cat(chunks)
    state["mask_token"] = state["mask_token"][0]  # (1, C) there
    quarter = config.hidden_size // config.num_attention_heads // 4
    state["rope_embed.periods"] = 100.0 ** (torch.arange(quarter) / quarter)
    return state


def tiny_vit(**options) -> DINOv3ViTModel:
    torch.manual_seed(0)
    config = DINOv3ViTConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_register_tokens=4,
        **options,
    )
    return DINOv3ViTModel(config).eval()


def test_the_authors_names():
    """Those of a published file, but for the number of blocks."""
    block = "norm1.weight norm1.bias attn.qkv.weight attn.qkv.bias attn.qkv.bias_mask attn.proj.weight attn.proj.bias"
    block += " ls1.gamma norm2.weight norm2.bias mlp.{}.weight mlp.{}.bias ls2.gamma"
    outside = "cls_token storage_tokens mask_token patch_embed.proj.weight patch_embed.proj.bias rope_embed.periods"
    outside += " norm.weight norm.bias"
    for options, layers in (({}, ("fc1", "fc2")), ({"use_gated_mlp": True}, ("w1", "w2", "w3"))):
        names = {name.format(layer) for name in block.split() for layer in layers}
        expected = set(outside.split()) | {f"blocks.{i}.{name}" for i in range(3) for name in names}
        assert official(tiny_vit(**options)).keys() == expected


@pytest.mark.parametrize(
    "options",
    [{}, {"use_gated_mlp": True, "hidden_act": "silu"}, {"query_bias": False, "value_bias": False}],
    ids=["mlp", "swiglu", "without-biases"],
)
def test_an_official_file_has_the_features_of_transformers(tmp_path, options):
    model = tiny_vit(**options)
    with no_progress_bars():
        model.save_pretrained(tmp_path / "folder")
    state = official(model) | {"local_cls_norm.weight": torch.ones(32), "local_cls_norm.bias": torch.zeros(32)}
    assert ("blocks.0.attn.qkv.bias" in state) == ("query_bias" not in options)
    torch.save(state, tmp_path / "dinov3_vits16_pretrain_lvd1689m-08c60483.pth")
    images = torch.rand(2, 3, 64, 96)
    teacher = load_teacher(str(tmp_path / "dinov3_vits16_pretrain_lvd1689m-08c60483.pth"))
    assert teacher.geometry == MapGeometry(32, 16, 5)
    assert torch.equal(teacher(images), load_teacher(str(tmp_path / "folder"))(images))


SIZES = {  # width, layers, heads, MLP width, gated: the published vision transformers
    "s": (384, 12, 6, 1536, False),
    "s+": (384, 12, 6, 1536, True),
    "b": (768, 12, 12, 3072, False),
    "l": (1024, 24, 16, 4096, False),
    "h+": (1280, 32, 20, 5120, True),
    "7b": (4096, 40, 32, 8192, True),
}


@pytest.mark.parametrize("size", SIZES)
def test_the_size_is_found_from_the_tensors(size):
    width, layers, heads, mlp_width, gated = SIZES[size]
    config = DINOv3ViTConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=mlp_width,
        use_gated_mlp=gated,
        num_register_tokens=4,
    )
    with torch.device("meta"):
        found = config_of_state_dict(official(DINOv3ViTModel(config)), size)
    assert (found.hidden_size, found.num_hidden_layers, found.num_attention_heads) == (width, layers, heads)
    assert (found.intermediate_size, found.use_gated_mlp) == (mlp_width, gated)
    assert (found.num_register_tokens, found.patch_size) == (4, 16)
    assert found.hidden_act == ("silu" if gated else "gelu") and found.layer_norm_eps == 1e-5


def test_files_trained_on_satellites_have_their_own_statistics(tmp_path):
    torch.save(official(tiny_vit()), tmp_path / "dinov3_vitl16_pretrain_sat493m-eadcf0ff.pth")
    teacher = load_teacher(str(tmp_path / "dinov3_vitl16_pretrain_sat493m-eadcf0ff.pth"))
    assert teacher.image_mean.flatten().tolist() == pytest.approx(SATELLITE_MEAN)


def test_files_of_something_else_are_refused(tmp_path):
    torch.save({"model": {"conv.weight": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="is no vision transformer of DINOv3: it lacks one of patch_embed"):
        load_teacher(str(tmp_path / "other.pth"))
    (tmp_path / "broken.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="cannot read"):
        load_teacher(str(tmp_path / "broken.pth"))


def test_tensors_too_many_or_too_few():
    state = official(tiny_vit())
    without = {name: tensor for name, tensor in state.items() if name != "blocks.1.ls1.gamma"}
    with pytest.raises(CheckpointError, match=r"lacks 1 \(model.layer.1.layer_scale1.lambda1\)"):
        model_of_state_dict(without, "file.pth")
    with pytest.raises(CheckpointError, match=r"1 tensors of unknown names \(head.weight\)"):
        model_of_state_dict(state | {"head.weight": torch.zeros(1)}, "file.pth")
    with pytest.raises(CheckpointError, match=r"norm.weight has an unexpected shape, \[31\]"):
        model_of_state_dict(state | {"norm.weight": torch.zeros(31)}, "file.pth")
