"""The criterion inside real (tiny) detectors."""

import copy

import pytest
import torch
from transformers import Deimv2Config, DetrConfig, DFineConfig, RTDetrV2Config

from hf_detr.errors import TrainingError
from hf_detr.losses.attach import attach_criterion
from hf_detr.losses.options import criterion_options
from hf_detr.models.freeze import freeze_constants
from tests.losses.outputs import random_labels
from tests.tiny import TINY_FAMILIES, tiny_model

PIXELS = (2, 3, 64, 64)


def labels_of(*counts):
    return random_labels(counts, dtype=torch.float32)


@pytest.fixture(scope="module", params=TINY_FAMILIES)
def model(request):
    torch.manual_seed(0)
    model = tiny_model(request.param)
    attach_criterion(model)
    freeze_constants(model)
    return model


@pytest.mark.parametrize("counts", [(3, 1), (2, 0), (0, 0)], ids=str)
def test_every_trainable_parameter_gets_a_finite_gradient(model, counts):
    model.train().zero_grad()
    outputs = model(pixel_values=torch.rand(PIXELS), labels=labels_of(*counts))
    outputs.loss.backward()
    assert all(term.isfinite() for term in outputs.loss_dict.values())
    without = [
        n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.isfinite().all())
    ]
    assert without == []


def test_the_loss_is_the_sum_of_its_terms(model):
    outputs = model.train()(pixel_values=torch.rand(PIXELS), labels=labels_of(3, 1))
    torch.testing.assert_close(outputs.loss, sum(outputs.loss_dict.values()))
    assert all(set(output) == {"logits", "pred_boxes"} for output in outputs.auxiliary_outputs)


def test_evaluation_mode_has_the_terms_of_the_outputs_that_are_left(model):
    with torch.no_grad():
        outputs = model.eval()(pixel_values=torch.rand(PIXELS), labels=labels_of(3, 1))
    assert outputs.loss.isfinite()
    assert {"loss_bbox", "loss_giou", "loss_bbox_enc_0"} <= outputs.loss_dict.keys()
    assert not any("_dn_" in term for term in outputs.loss_dict)


def test_the_loss_is_computed_in_float32_inside_autocast(model):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model.train()(pixel_values=torch.rand(PIXELS), labels=labels_of(3, 1))
    assert outputs.logits.dtype == torch.bfloat16
    assert {term.dtype for term in outputs.loss_dict.values()} == {torch.float32}
    assert outputs.loss.isfinite()


@pytest.mark.parametrize(
    ("family", "classification", "has_corner_losses"),
    [
        ("d_fine", "vfl", True),
        ("deim", "mal", True),
        ("rt_detr_v2", "vfl", False),
        ("deim_r18", "mal", False),
        ("deimv2", "mal", True),
        ("deimv2_atto", "mal", False),
    ],
)
def test_terms_have_the_papers_names(family, classification, has_corner_losses):
    torch.manual_seed(0)
    model = tiny_model(family)
    attach_criterion(model)
    outputs = model(pixel_values=torch.rand(PIXELS), labels=labels_of(3, 1))
    layers = model.config.decoder_layers
    decoder = ["", *(f"_aux_{i}" for i in range(layers - 1))]
    denoising = [f"_dn_{i}" for i in range(layers)]
    pre = ["_pre", "_dn_pre"] if "rt_detr_v2" not in model.config.model_type else []
    terms = (f"loss_{classification}", "loss_bbox", "loss_giou")
    expected = {term + suffix for term in terms for suffix in (*decoder, *denoising, *pre, "_enc_0")}
    if has_corner_losses:
        expected |= {f"loss_fgl{suffix}" for suffix in (*decoder, *denoising)}
        expected |= {f"loss_ddf{suffix}" for suffix in (*decoder[1:], *denoising[:-1])}
    assert outputs.loss_dict.keys() == expected


def test_rt_detr_boxes_also_train_the_layer_before():
    torch.manual_seed(0)
    model = tiny_model("rt_detr_v2", num_denoising=0)
    attach_criterion(model)
    losses = model(pixel_values=torch.rand(PIXELS), labels=labels_of(3, 1)).loss_dict
    first_head = model.model.decoder.bbox_embed[0].layers[-1].weight
    (gradient,) = torch.autograd.grad(losses["loss_bbox"], first_head)
    assert gradient.abs().sum() > 0


def test_the_criterion_is_a_function_that_copies_of_the_model_keep():
    # An nn.Module given to the setter would be filed as a submodule, and the stock loss would stay.
    model = tiny_model("d_fine")
    stock = model.loss_function
    keys = model.state_dict().keys()
    attach_criterion(model)
    assert model.loss_function is not stock
    assert copy.deepcopy(model).loss_function is model.loss_function
    assert model.state_dict().keys() == keys


def test_the_late_matcher_is_switched_on_the_criterion():
    torch.manual_seed(0)
    model = tiny_model("d_fine", num_denoising=0)
    criterion = attach_criterion(model)
    inputs = {"pixel_values": torch.rand(PIXELS), "labels": labels_of(3, 1)}
    usual = model(**inputs).loss
    criterion.use_iou_matching = True
    assert model(**inputs).loss != usual


def test_options_of_stock_configurations():
    d_fine = criterion_options(DFineConfig())
    assert (d_fine.classification, d_fine.union_of_matches, d_fine.local_losses) == ("vfl", True, True)
    assert (d_fine.alpha, d_fine.gamma) == (0.75, 2.0)
    rt_detr = criterion_options(RTDetrV2Config())
    assert (rt_detr.classification, rt_detr.union_of_matches, rt_detr.local_losses) == ("vfl", False, False)
    deimv2 = criterion_options(Deimv2Config(focal_loss_gamma=1.5))
    assert (deimv2.classification, deimv2.union_of_matches, deimv2.local_losses) == ("mal", True, True)
    assert (deimv2.alpha, deimv2.gamma) == (None, 1.5)
    smallest = criterion_options(Deimv2Config(use_dense_one_to_one=False, weight_loss_fgl=0.0, weight_loss_ddf=0.0))
    assert (smallest.union_of_matches, smallest.local_losses) == (False, False)


def test_a_stock_configuration_can_choose_deims_classification(tmp_path):
    DFineConfig(classification_loss="mal", focal_loss_gamma=1.5).save_pretrained(tmp_path)
    options = criterion_options(DFineConfig.from_pretrained(tmp_path))
    assert (options.classification, options.alpha, options.gamma) == ("mal", None, 1.5)


def test_unknown_choices_are_named():
    with pytest.raises(TrainingError, match="'detr': its configuration must be or extend DFineConfig"):
        criterion_options(DetrConfig())
    with pytest.raises(TrainingError, match="one of vfl, mal, focal, got 'softmax'"):
        criterion_options(DFineConfig(classification_loss="softmax"))
    with pytest.raises(ValueError, match="stable, reference"):
        attach_criterion(tiny_model("d_fine"), tie_break="random")
