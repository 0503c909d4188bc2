"""Every family returns the features to distil in training, and nothing else changes."""

import copy

import pytest
import torch
from torch import nn

from hf_detr.distillation.loss import feature_distillation_loss
from hf_detr.distillation.student import (
    add_feature_projector,
    remove_feature_projector,
    transformer_encoder_parameters,
)
from hf_detr.errors import CheckpointError
from hf_detr.losses.attach import attach_criterion
from hf_detr.models.denoising import use_paper_denoising
from tests.tiny import TINY_FAMILIES, tiny_model

LABELS = [{"class_labels": torch.tensor([0]), "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]])}] * 2
TEACHER_DIM = 24


def student(name: str) -> nn.Module:
    """A tiny student; its size is that of the model, whose coarsest level may have a stride of 16 px."""
    torch.manual_seed(0)
    model = tiny_model(name)
    attach_criterion(model)
    return model


def coarsest(model: nn.Module) -> int:
    return model.config.feat_strides[-1]


@pytest.mark.parametrize("name", TINY_FAMILIES)
def test_features_of_every_family_reach_the_projector_and_the_encoder(name):
    model, pixels = student(name), torch.rand(2, 3, 64, 96)
    attended = []
    layer = model.model.encoder if name == "deimv2_atto" else model.model.encoder.aifi[-1]
    layer.register_forward_hook(lambda module, inputs, output: attended.append(output))
    add_feature_projector(model, TEACHER_DIM)
    outputs = model.train()(pixels, labels=LABELS)
    stride = coarsest(model)
    assert outputs.distillation_features.shape == (2, TEACHER_DIM, 64 // stride, 96 // stride)
    level = attended[0].feature_maps[-1] if name == "deimv2_atto" else attended[0]
    expected = torch.einsum("tc,bchw->bthw", model.feature_projector.weight, level)
    expected = expected + model.feature_projector.bias[:, None, None]
    assert torch.allclose(outputs.distillation_features, expected, atol=1e-5)

    teacher = torch.randn(2, TEACHER_DIM, 2, 3)
    feature_distillation_loss(outputs.distillation_features, teacher).backward()
    for parameter in (model.feature_projector.weight, *transformer_encoder_parameters(model)):
        assert parameter.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in model.model.decoder.parameters())


@pytest.mark.parametrize("name", TINY_FAMILIES)
def test_nothing_else_changes(name):
    """Evaluation and the losses are those of a model without a projector, to the bit, and so are random numbers."""
    plain, taught, pixels = student(name), student(name), torch.rand(2, 3, 64, 64)
    torch.manual_seed(1)
    add_feature_projector(taught, TEACHER_DIM)
    drawn = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(3))

    found, expected = ({}, {})
    for model, outputs in ((taught, found), (plain, expected)):
        torch.manual_seed(2)
        outputs.update(model.eval()(pixels))
        torch.manual_seed(3)
        outputs["loss_dict"] = model.train()(pixels, labels=LABELS).loss_dict
    assert found.keys() == expected.keys()
    assert torch.equal(found["logits"], expected["logits"])
    assert torch.equal(found["pred_boxes"], expected["pred_boxes"])
    for term, value in expected["loss_dict"].items():
        assert torch.equal(found["loss_dict"][term], value), term


def test_hidden_states_are_returned_only_where_they_were_before():
    model = student("d_fine")
    add_feature_projector(model, TEACHER_DIM)
    outputs = model.train()(torch.rand(2, 3, 64, 64), labels=LABELS)
    assert "encoder_hidden_states" not in outputs and "decoder_hidden_states" not in outputs
    asked = model.eval()(torch.rand(1, 3, 64, 64), output_hidden_states=True)
    assert asked.encoder_hidden_states is not None and "distillation_features" not in asked


@pytest.mark.parametrize("name", ["d_fine", "rt_detr_v4"])
def test_a_deep_copy_uses_its_own_projector(name):
    model, pixels = student(name), torch.rand(2, 3, 64, 64)
    add_feature_projector(model, TEACHER_DIM)
    other = copy.deepcopy(model)
    attach_criterion(other)
    nn.init.zeros_(other.feature_projector.weight)
    nn.init.ones_(other.feature_projector.bias)
    assert (other.train()(pixels, labels=LABELS).distillation_features == 1).all()
    assert not (model.train()(pixels, labels=LABELS).distillation_features == 1).any()


@pytest.mark.parametrize("name", ["d_fine", "rt_detr_v4", "rt_detr_v2", "deimv2_s"])
def test_mixed_precision(name):
    model, pixels = student(name), torch.rand(2, 3, 64, 64)
    add_feature_projector(model, TEACHER_DIM)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = model.train()(pixels, labels=LABELS).distillation_features
    feature_distillation_loss(features, torch.randn(2, TEACHER_DIM, 2, 2)).backward()
    assert model.feature_projector.weight.grad.isfinite().all()


def test_the_models_precision_is_the_projectors():
    model = student("d_fine").to(torch.bfloat16)
    assert add_feature_projector(model, TEACHER_DIM).weight.dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["d_fine", "rt_detr_v4"])
def test_a_projector_is_kept_refused_or_taken_off(name):
    model = student(name)
    projector = add_feature_projector(model, TEACHER_DIM)
    assert add_feature_projector(model, TEACHER_DIM) is projector
    with pytest.raises(CheckpointError, match="projector has 24 channels, but the teacher's features have 32"):
        add_feature_projector(model, 32)
    remove_feature_projector(model)
    remove_feature_projector(model)
    assert not hasattr(model, "feature_projector")
    assert "distillation_features" not in model.train()(torch.rand(2, 3, 64, 64), labels=LABELS)
    add_feature_projector(model, 32)
    features = model.train()(torch.rand(2, 3, 64, 64), labels=LABELS).distillation_features
    assert features.shape[1] == 32 and len(model._forward_hooks) == (0 if name == "rt_detr_v4" else 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["d_fine", "rt_detr_v4"])
def test_a_compiled_student_has_the_same_features(name):
    model, pixels = student(name), torch.rand(2, 3, 64, 64)
    use_paper_denoising(model)
    add_feature_projector(model, TEACHER_DIM)
    torch.manual_seed(1)
    expected = model.train()(pixels, labels=LABELS).distillation_features
    compiled = torch.compile(copy.deepcopy(model), backend="aot_eager")
    torch.manual_seed(1)
    found = compiled(pixels, labels=LABELS).distillation_features
    assert torch.allclose(found, expected, atol=1e-4)
    found.sum().backward()
