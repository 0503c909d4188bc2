"""What our models change in the stock classes they are built on. Their numbers are checked against golden figures."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers.activations import ACT2CLS

from hf_detr.models.families import build_processor
from hf_detr.models.freeze import freeze_constants
from hf_detr.models.initialization import PRIOR_BIAS
from hf_detr.models.loading import load_for_finetuning
from hf_detr.models.rt_detr_v2.look_forward_twice import look_forward_twice
from tests.tiny import IMAGE_SIZE_HW, TINY_FAMILIES, tiny_model

LABELS = [{"class_labels": torch.tensor([0]), "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]])}]


def no_loss(*_, **__):
    return torch.zeros(()), {}, None


@pytest.mark.parametrize("name", TINY_FAMILIES)
def test_fresh_models_of_every_family_start_at_the_prior(name):
    torch.manual_seed(0)
    model = tiny_model(name).eval()
    for head in [model.model.enc_score_head, *model.class_embed]:
        assert torch.equal(head.bias, torch.full_like(head.bias, PRIOR_BIAS))
    with torch.no_grad():
        logits = model(torch.rand(1, 3, *IMAGE_SIZE_HW)).logits
    assert logits.mean().item() == pytest.approx(PRIOR_BIAS, abs=1)


@pytest.mark.parametrize("name", ["deim", "rt_detr_v4", "deim_r18", "deimv2", "deimv2_atto", "deimv2_s"])
def test_heads_use_silu(name):
    core = tiny_model(name).model
    heads = [core.enc_bbox_head, core.decoder.query_pos_head, *core.decoder.bbox_embed]
    heads += [layer.reg_conf for layer in getattr(core.decoder, "lqe_layers", [])]
    assert {type(head.act) for head in heads} == {ACT2CLS["silu"]}
    assert not any(isinstance(module, nn.ReLU) for module in core.decoder.modules())


@pytest.mark.parametrize("name", ["rt_detr_v4", "deim", "deim_r18", "deimv2_s"])
def test_heads_outside_and_inside_the_decoder_are_the_same_tensors(name):
    model = tiny_model(name)
    for outside, inside in zip(model.bbox_embed, model.model.decoder.bbox_embed, strict=True):
        assert outside.layers[0].weight is inside.layers[0].weight


def test_rt_detr_v4_projects_its_features_while_it_learns_from_a_teacher(tmp_path):
    torch.manual_seed(0)
    model = tiny_model("rt_detr_v4", teacher_dim=24)
    model.loss_function = no_loss
    pixels = torch.rand(1, 3, *IMAGE_SIZE_HW)
    attended = []
    hook = model.model.encoder.aifi[-1].register_forward_hook(lambda module, inputs, output: attended.append(output))
    outputs = model.train()(pixels, labels=LABELS)
    hook.remove()
    assert outputs.distillation_features.shape == (1, 24, 4, 4)
    expected = model.feature_projector(attended[0].flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, (4, 4))
    assert torch.allclose(outputs.distillation_features, expected, atol=1e-6)
    assert outputs.encoder_hidden_states is None
    assert "distillation_features" not in model.eval()(pixels)

    model.save_pretrained(tmp_path, keep_projector=True)
    build_processor(model.config, IMAGE_SIZE_HW).save_pretrained(tmp_path)
    finetuned, _ = load_for_finetuning(tmp_path, id2label={0: "a"})
    assert not hasattr(finetuned, "feature_projector")
    kept, _ = load_for_finetuning(tmp_path, id2label={0: "a"}, config_overrides={"teacher_dim": 24})
    assert torch.equal(kept.feature_projector.weight, model.feature_projector.weight)


def test_rt_detr_v4_is_saved_without_what_only_training_needs(tmp_path):
    torch.manual_seed(0)
    model, student = tiny_model("rt_detr_v4", teacher_dim=24), tiny_model("rt_detr_v4")
    student.load_state_dict({name: t for name, t in model.state_dict().items() if "projector" not in name})
    model.save_pretrained(tmp_path / "default")
    student.save_pretrained(tmp_path / "student")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "default" / name).read_bytes() == (tmp_path / "student" / name).read_bytes(), name
    assert model.config.teacher_dim == 24  # as it was
    given = {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path / "given", state_dict=given)
    zeros = load_file(tmp_path / "given" / "model.safetensors")
    assert not any("projector" in name or tensor.any() for name, tensor in zeros.items())
    model.save_pretrained(tmp_path / "whole", keep_projector=True)
    whole = type(model).from_pretrained(tmp_path / "whole")
    assert torch.equal(whole.feature_projector.weight, model.feature_projector.weight)


def test_r50m_trains_all_layers_and_predicts_with_an_earlier_one():
    torch.manual_seed(0)
    model = tiny_model("rt_detr_v2_r50m", decoder_layers=3, eval_idx=1)
    model.loss_function = no_loss
    pixels = torch.rand(1, 3, *IMAGE_SIZE_HW)
    assert model.train()(pixels, labels=LABELS).intermediate_logits.shape[1] == 3
    model.eval()
    with torch.no_grad():
        early = model(pixels)
        model.model.decoder.layers.num_evaluated = 3
        full = model(pixels)
    assert early.intermediate_logits.shape[1] == 2 and full.intermediate_logits.shape[1] == 3
    assert torch.equal(early.logits, full.intermediate_logits[:, 1])
    assert torch.equal(early.pred_boxes, full.intermediate_reference_points[:, 1])


def test_deimv2_embeds_positions_of_queries_once():
    torch.manual_seed(0)
    model = tiny_model("deimv2").eval()
    given = []
    for layer in model.model.decoder.layers:
        layer.self_attn.register_forward_pre_hook(
            lambda module, args, kwargs: given.append(kwargs["position_embeddings"]), with_kwargs=True
        )
    with torch.no_grad():
        for head in model.model.decoder.bbox_embed:  # boxes that move from layer to layer
            nn.init.normal_(head.layers[-1].bias)
        model(torch.rand(1, 3, *IMAGE_SIZE_HW))
    assert len(given) == 2 and torch.equal(given[0], given[1])


def test_look_forward_twice_keeps_values_and_adds_the_gradient_of_one_layer():
    torch.manual_seed(0)
    offsets = torch.randn(3, 5, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(1, 3, 5, 4, dtype=torch.float64)
    start = torch.rand(5, 4, dtype=torch.float64) * 0.8 + 0.1

    def boxes(kept_layers: int) -> torch.Tensor:
        """The decoder's boxes; those of a layer depend on the offsets of `kept_layers` layers before it."""
        out, refined = [], [start]
        for i in range(3):
            before = refined[-1] if kept_layers else refined[-1].detach()
            out.append((offsets[i] + torch.logit(before)).sigmoid())
            refined.append((offsets[i] + torch.logit(refined[-1].detach())).sigmoid())
        return torch.stack(out)[None]

    stock, official = boxes(0), boxes(1)
    ours = look_forward_twice(stock)
    assert torch.equal(ours, stock)
    (expected,) = torch.autograd.grad((official * weights).sum(), offsets)
    (found,) = torch.autograd.grad((ours * weights).sum(), offsets)
    assert torch.allclose(found, expected, rtol=1e-4)


def test_discrete_sampling_moves_by_whole_cells_and_its_offsets_do_not_train():
    torch.manual_seed(0)
    model = tiny_model("rt_detr_v2_dsp").eval()
    pixels = torch.rand(1, 3, *IMAGE_SIZE_HW)
    attention = [layer.encoder_attn for layer in model.model.decoder.layers]
    with torch.no_grad():
        before = model(pixels).logits
        for module in attention:
            module.sampling_offsets.bias += 1e-6  # less than a cell, and no place is that near to the edge of one
        assert torch.equal(model(pixels).logits, before)
        for module in attention:
            module.method = "default"
        assert not torch.allclose(model(pixels).logits, before)
        for module in attention:
            module.method = "discrete"
    freeze_constants(model)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {
        f"model.decoder.layers.{layer}.encoder_attn.sampling_offsets.{part}"
        for layer in range(2)
        for part in ("weight", "bias")
    }
