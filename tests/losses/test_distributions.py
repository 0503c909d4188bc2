"""Bins, offsets and the losses on them, against D-FINE's own numbers and finite differences."""

import pytest
import torch
from torch.autograd import gradcheck
from transformers.models.d_fine.modeling_d_fine import distance2bbox, weighting_function

from hf_detr.losses.distributions import (
    bin_offsets,
    ddf_balance,
    ddf_divergence,
    edge_offsets,
    fgl_sum,
    neighbouring_bins,
)
from hf_detr.losses.overlap import iou_and_giou, prediction_to_xyxy


@pytest.mark.parametrize(("up", "reg_scale"), [(0.5, 4.0), (0.5, 8.0)])
def test_bins_are_those_the_model_decodes_with(up, reg_scale):
    like = torch.zeros(())
    expected = weighting_function(32, torch.tensor([up]), torch.tensor([reg_scale]))
    torch.testing.assert_close(bin_offsets(32, up, reg_scale, like), expected, rtol=1e-6, atol=1e-6)


def test_offsets_are_what_the_model_decodes_back():
    boxes_cxcywh = torch.rand(7, 4, dtype=torch.float64) + 0.1
    reference_cxcywh = torch.rand(7, 4, dtype=torch.float64) + 0.1
    offsets = edge_offsets(prediction_to_xyxy(boxes_cxcywh), reference_cxcywh, 4.0)
    torch.testing.assert_close(distance2bbox(reference_cxcywh, offsets, 4.0), boxes_cxcywh)


def test_an_offset_is_shared_by_its_two_neighbouring_bins():
    bins = torch.tensor([-4.0, -1.0, 0.0, 1.0, 4.0])
    left, right_weight = neighbouring_bins(torch.tensor([-9.0, -4.0, -2.5, 0.0, 0.25, 4.0, 9.0]), bins)
    assert left.tolist() == [0, 0, 0, 2, 2, 3, 3]
    assert right_weight.tolist() == [0, 0, 0.5, 0, 0.25, 1, 1]


def test_fgl_is_lowest_at_the_true_distribution():
    left, right_weight = torch.zeros(1, 1, 4, dtype=torch.int64), torch.full((1, 1, 4), 0.25)
    truth = torch.tensor([0.75, 0.25, 1e-9]).log().expand(1, 1, 4, 3)
    at_truth = fgl_sum(truth, left, right_weight, torch.ones(1, 1))
    assert at_truth < fgl_sum(truth.roll(1, -1), left, right_weight, torch.ones(1, 1))
    assert at_truth < fgl_sum(torch.zeros(1, 1, 4, 3), left, right_weight, torch.ones(1, 1))


def test_ddf_is_zero_for_a_student_that_agrees_and_does_not_teach_the_teacher():
    teacher = torch.randn(1, 1, 2, 4, 5, requires_grad=True)
    student = torch.randn(1, 1, 2, 4, 5, requires_grad=True)
    assert ddf_divergence(teacher, teacher, 5.0).abs().max() < 1e-5
    ddf_divergence(student, teacher, 5.0).sum().backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


def test_ddf_weighs_its_two_means_with_square_roots():
    assert ddf_balance(9.0, 25.0) == pytest.approx((3 / 7, 4 / 7))
    assert ddf_balance(0.0, 25.0) == (0.0, 1.0)


def test_gradients_equal_finite_differences():
    draw = {"dtype": torch.float64, "requires_grad": True}
    boxes = [torch.rand(6, 4, dtype=torch.float64).add_(0.2).requires_grad_() for _ in range(2)]
    assert gradcheck(lambda a, b: iou_and_giou(prediction_to_xyxy(a), prediction_to_xyxy(b)), boxes)
    left, right_weight = torch.randint(0, 4, (2, 3, 4)), torch.rand(2, 3, 4, dtype=torch.float64)
    weights = torch.rand(2, 3, dtype=torch.float64)
    assert gradcheck(lambda x: fgl_sum(x, left, right_weight, weights), torch.randn(2, 3, 4, 5, **draw))
    teacher = torch.randn(2, 1, 3, 4, 5, dtype=torch.float64)
    assert gradcheck(lambda x: ddf_divergence(x, teacher, 5.0), torch.randn(2, 2, 3, 4, 5, **draw))
