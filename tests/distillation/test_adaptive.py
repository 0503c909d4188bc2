"""The rule of the weight against what the official code computes, and the figure it goes by."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from hf_detr.distillation.adaptive import AdaptiveWeight, GradientShare
from hf_detr.distillation.arguments import DistillationArguments
from hf_detr.errors import RecipeError

GOLDEN = json.loads((Path(__file__).parents[1] / "goldens" / "adaptive_weight.json").read_text(encoding="utf-8"))
REASONS = {
    "reset_to_default_zero_grad": "the encoder got no gradient: final weight",
    "ema_phase_default": "last stage: final weight",
    "unchanged": "unchanged",
    "adjusted_to_12.00%": "towards 12 %",
    "adjusted_to_10.00%": "towards 10 %",
}


@pytest.mark.parametrize("row", GOLDEN["rows"], ids=lambda row: f"{row['percentage']}-{row['epoch']}")
def test_every_branch_of_the_official_rule(row):
    weight = AdaptiveWeight(row["weight"], GOLDEN["target_share"], GOLDEN["tolerance"], GOLDEN["final_weight"])
    reason = weight.update(row["percentage"], final_stage=row["epoch"] >= GOLDEN["stop_epoch"])
    assert weight.weight == pytest.approx(row["new_weight"], rel=1e-12)
    assert REASONS[row["reason"]] in reason


@pytest.mark.parametrize(
    ("target", "tolerance", "final", "start"),
    [(11, 1, 20, 5), (3.5, 0.25, 15, 5), (2, 0.1, 15, 15), (2, 0.25, 20, 20)],
    ids=["s", "m", "l", "x"],
)
def test_the_papers_settings_bring_the_share_to_the_far_edge(target, tolerance, final, start):
    """With an encoder gradient in proportion to the weight, and all other gradient constant, one step is enough."""
    weight = AdaptiveWeight(start, target, tolerance, final)

    def share() -> float:
        return 100 * weight.weight / (weight.weight + others)

    others = start * (100 / (1.5 * target) - 1)  # the share starts at 1.5 times the target
    weight.update(share(), final_stage=False)
    assert share() == pytest.approx(target - tolerance)
    others = weight.weight * (100 / (0.7 * target) - 1)
    weight.update(share(), final_stage=False)
    assert share() == pytest.approx(target + tolerance)
    reached = weight.weight
    assert weight.update(share() - 1e-9, final_stage=False).startswith("unchanged") and weight.weight == reached
    weight.update(share(), final_stage=True)
    assert weight.weight == final


def test_without_a_final_weight_the_rule_goes_on_in_the_last_stage():
    weight = AdaptiveWeight(5.0, 11, 1)
    assert weight.update(None, final_stage=False) == "unchanged: the encoder got no gradient" and weight.weight == 5
    weight.update(2.0, final_stage=True)
    assert weight.weight == pytest.approx(33.40909090909091)


def test_a_constant_weight_stays():
    weight = AdaptiveWeight(5.0)
    for share, final_stage in ((0.0, False), (50.0, False), (None, True)):
        assert weight.update(share, final_stage) == "constant" and weight.weight == 5


def test_the_weight_is_saved_and_comes_back():
    weight = AdaptiveWeight(5.0, 11, 1, 20)
    weight.update(2.0, final_stage=False)
    resumed = AdaptiveWeight(5.0, 11, 1, 20)
    resumed.load_state_dict(json.loads(json.dumps(weight.state_dict())))
    assert resumed.weight == weight.weight != 5


class Model(nn.Module):
    """Three layers, of which the first stands for the encoder; the last gets no gradient."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder, self.unused = nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(2, 2)

    def backward(self, scale: float = 1.0) -> None:
        self.zero_grad()
        (scale * self.decoder(self.encoder(torch.randn(5, 3))).square().sum()).backward()

    def share(self) -> float:
        """The definition, tensor by tensor."""
        sums = {name: p.grad.abs().sum().item() for name, p in self.named_parameters() if p.grad is not None}
        return 100 * sum(v for name, v in sums.items() if name.startswith("encoder")) / sum(sums.values())


def test_the_share_is_the_mean_of_the_steps():
    model, expected = Model(), []
    share = GradientShare(model.encoder.parameters(), model.parameters())
    assert share.mean() is None
    for _ in range(3):
        model.backward()
        share.update()
        expected.append(model.share())
    assert share.mean() == pytest.approx(sum(expected) / 3, rel=1e-5)
    share.reset()
    assert share.mean() is None


def test_clipping_scaling_and_precision_do_not_change_the_share():
    model = Model()
    model.backward()
    figures = []
    for change in (lambda g: g, lambda g: g * 1e-3, lambda g: g.bfloat16()):
        for parameter in model.parameters():
            if parameter.grad is not None:
                changed = change(parameter.grad)
                parameter.grad_dtype = None  # lets a gradient have another precision than its parameter
                parameter.grad = changed
        share = GradientShare(model.encoder.parameters(), model.parameters())
        share.update()
        figures.append(share.mean())
    assert figures[1] == pytest.approx(figures[0], rel=1e-5)
    assert figures[2] == pytest.approx(figures[0], rel=1e-2)


def test_steps_that_float16_skips_do_not_count():
    model = Model()
    share = GradientShare(model.encoder.parameters(), model.parameters())
    model.backward()
    share.update()
    before = share.mean()
    for infinite in (torch.inf, torch.nan):
        model.backward()
        model.decoder.weight.grad[0, 0] = infinite
        share.update()
    assert share.mean() == before


def test_a_frozen_encoder_has_no_share():
    model = Model()
    model.encoder.requires_grad_(False)
    share = GradientShare(model.encoder.parameters(), model.parameters())
    model.backward()
    share.update()
    assert share.mean() is None


def test_an_epoch_that_is_resumed_has_the_share_of_all_its_steps():
    model = Model()
    whole, first = (GradientShare(model.encoder.parameters(), model.parameters()) for _ in range(2))
    model.backward()
    whole.update()
    first.update()
    second = GradientShare(model.encoder.parameters(), model.parameters())
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    model.backward()
    whole.update()
    second.update()
    assert second.mean() == whole.mean()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher_dtype": "float16"}, "teacher_dtype must be one of auto, float32, bfloat16, got 'float16'"),
        ({"teacher_every": 0}, "teacher_every must be 1 or more, got 0"),
        ({"distill_weight": -1.0}, "distill_weight must be 0 or more, got -1.0"),
        ({"distill_weight": float("nan")}, "distill_weight must be 0 or more, got nan"),
        ({"distill_final_weight": 20.0}, "distill_final_weight is 20.0, but the weight is constant"),
        ({"distill_target_share": 1.0, "distill_tolerance": 1.0}, "gives 0 to 2 percent; both must lie between"),
        ({"distill_target_share": 99.5}, "gives 98.5 to 100.5 percent"),
        ({"distill_target_share": 11.0, "distill_tolerance": -1.0}, "gives 12 to 10 percent"),
    ],
)
def test_settings_that_cannot_work(settings, message):
    with pytest.raises(RecipeError, match=message):
        DistillationArguments(**settings)
