"""1 - cosine of each place, averaged."""

import itertools

import torch
import torch.nn.functional as F

from hf_detr.distillation.loss import feature_distillation_loss


def test_the_definition_place_by_place():
    student, teacher = torch.randn(2, 5, 3, 4), torch.randn(2, 5, 3, 4)
    expected = []
    for b, y, x in itertools.product(range(2), range(3), range(4)):
        s, t = student[b, :, y, x], teacher[b, :, y, x]
        expected.append(1 - torch.dot(s, t) / (s.norm() * t.norm()))
    assert torch.allclose(feature_distillation_loss(student, teacher), torch.stack(expected).mean(), atol=1e-6)


def test_equal_directions_cost_nothing_and_opposite_ones_two():
    features = torch.randn(1, 8, 2, 2)
    assert feature_distillation_loss(3 * features, features).abs() < 1e-6
    assert (feature_distillation_loss(-features, features) - 2).abs() < 1e-6


def test_a_teachers_map_of_another_size_is_resized_to_the_students():
    student, teacher = torch.randn(1, 4, 2, 3), torch.randn(1, 4, 4, 6)
    resized = F.interpolate(teacher, (2, 3), mode="bilinear", align_corners=False)
    assert torch.equal(feature_distillation_loss(student, teacher), feature_distillation_loss(student, resized))


def test_half_precision_is_compared_in_float32_and_only_the_student_learns():
    student = torch.randn(1, 4, 2, 2, dtype=torch.bfloat16, requires_grad=True)
    teacher = torch.randn(1, 4, 2, 2, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = feature_distillation_loss(student, teacher)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, feature_distillation_loss(student.float(), teacher.float()))
    loss.backward()
    assert student.grad.abs().sum() > 0 and teacher.grad is None


def test_a_place_without_features_costs_one():
    """The authors divide by the length as well, with a tiny number in place of 0."""
    assert feature_distillation_loss(torch.zeros(1, 4, 1, 1), torch.ones(1, 4, 1, 1)) == 1
