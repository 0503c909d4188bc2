"""Fresh weights are distributed as in the papers' code."""

import math

import pytest
import torch
from torch import nn

from hf_detr.models.families import build_config, load_class
from hf_detr.models.initialization import PRIOR_BIAS, initialise_like_paper
from hf_detr.models.variants import ARCHITECTURES


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = build_config("d_fine", "s", id2label={0: "a", 1: "b", 2: "c"})
    model = load_class(ARCHITECTURES[config.model_type].model_class)(config)
    initialise_like_paper(model)
    return model


def default_std(fan_in: int) -> float:
    return 1 / math.sqrt(3 * fan_in)


def xavier_std(fan_in: int, fan_out: int) -> float:
    return math.sqrt(2 / (fan_in + fan_out))


def test_class_heads_start_at_a_prior_of_one_percent(model):
    assert PRIOR_BIAS == pytest.approx(-4.595, abs=1e-3)
    for head in [model.model.enc_score_head, *model.model.decoder.class_embed]:
        assert torch.equal(head.bias, torch.full_like(head.bias, PRIOR_BIAS))
    assert torch.cat([h.weight for h in model.class_embed]).std().item() == pytest.approx(default_std(256), rel=0.05)


def test_box_heads_start_without_a_change(model):
    decoder = model.model.decoder
    for head in [model.model.enc_bbox_head, decoder.pre_bbox_head, *decoder.bbox_embed]:
        assert not head.layers[-1].weight.any() and not head.layers[-1].bias.any()
        assert head.layers[0].weight.any()


def test_standard_deviations_of_the_projections(model):
    core = model.model
    expected = {
        core.encoder_input_proj[2][0].weight: default_std(1024),
        core.encoder.aifi[0].layers[0].mlp.layers[0].weight: default_std(256),
        core.encoder.aifi[0].layers[0].self_attn.q_proj.weight: xavier_std(256, 768),
        core.decoder.layers[1].self_attn.v_proj.weight: xavier_std(256, 768),
        core.decoder.layers[0].mlp.layers[0].weight: xavier_std(256, 1024),
        core.enc_output[0].weight: xavier_std(256, 256),
        core.decoder.query_pos_head.layers[0].weight: xavier_std(4, 512),
    }
    for weight, std in expected.items():
        assert weight.std().item() == pytest.approx(std, rel=0.02)


def test_denoising_embedding_is_standard_normal_with_a_zero_padding_row(model):
    weight = model.model.denoising_class_embed.weight
    assert not weight[-1].any()
    assert weight[:-1].std().item() == pytest.approx(1, rel=0.1)


def test_deformable_attention_looks_in_even_directions_at_growing_distance(model):
    attention = model.model.decoder.layers[0].encoder_attn
    offsets = attention.sampling_offsets.bias.view(attention.n_heads, -1, 2)
    distance = offsets.abs().amax(-1)
    assert torch.allclose(distance[0], torch.tensor([1.0, 2, 3, 1, 2, 3, 4, 5, 6, 1, 2, 3]))
    assert not attention.sampling_offsets.weight.any() and not attention.attention_weights.weight.any()


def test_gates_and_quality_heads_start_neutral(model):
    decoder = model.model.decoder
    assert not decoder.layers[0].gateway.gate.weight.any() and not decoder.layers[0].gateway.gate.bias.any()
    assert not decoder.lqe_layers[0].reg_conf.layers[-1].weight.any()


def test_fixed_scalars_and_ties_survive(model):
    assert model.model.decoder.up.item() == 0.5 and model.model.decoder.reg_scale.item() == 4
    assert model.class_embed[0].weight is model.model.decoder.class_embed[0].weight
    assert all(
        torch.equal(m.weight, torch.ones_like(m.weight)) for m in model.modules() if isinstance(m, nn.LayerNorm)
    )
