import doctest
import math

import pytest

from hf_detr.training import schedule
from hf_detr.training.schedule import fit_warmup, flat_cosine, linear_warmup, plan_matcher_change, plan_stages


def test_examples_in_docstrings():
    assert doctest.testmod(schedule).failed == 0


def test_flat_cosine_is_the_official_curve():
    # DEIM-S on COCO, scaled to 10 steps an epoch: 132 epochs, flat until 64, the last 12 at half the rate.
    warmup, flat, stop, total = 200, 640, 1200, 1320
    for step in range(total):
        if step <= warmup:
            expected = (step / warmup) ** 2
        elif step <= flat:
            expected = 1.0
        elif step >= total - 120:
            expected = 0.5
        else:
            expected = 0.5 + 0.5 * 0.5 * (1 + math.cos(math.pi * (step - flat) / (total - flat - 120)))
        assert flat_cosine(step, warmup=warmup, flat=flat, stop=stop, floor=0.5) == pytest.approx(expected, abs=1e-12)


def test_linear_warmup_reaches_one_at_its_last_step():
    assert linear_warmup(0, warmup=4) == 0.25
    assert linear_warmup(3, warmup=4) == 1
    assert linear_warmup(10_000, warmup=4) == 1
    assert linear_warmup(0, warmup=0) == 1


@pytest.mark.parametrize(
    ("total", "no_aug", "stop"),
    [(132, 12, 120), (58, 8, 50), (10, 12, 8), (3, 12, 2), (2, 12, 1), (1, 12, 0.8), (30, 0, 30)],
)
def test_the_last_stage_fits_the_run(total, no_aug, stop):
    stages = plan_stages(total, no_aug_epochs=no_aug)
    assert stages.stop == stop
    assert stages.flat <= stages.stop <= stages.total == total


def test_deim_rule_for_the_flat_stage():
    assert plan_stages(132, no_aug_epochs=12).flat == 64
    assert plan_stages(58, no_aug_epochs=8).flat == 29
    assert plan_stages(58, no_aug_epochs=8, flat_epochs=7800).flat == 50


@pytest.mark.parametrize(("total", "no_aug", "published"), [(58, 8, 45), (102, 12, 80), (160, 12, 136), (68, 8, 50)])
def test_the_late_matcher_comes_near_the_published_epochs(total, no_aug, published):
    stages = plan_stages(total, no_aug_epochs=no_aug)
    assert plan_matcher_change(stages, late_matcher=True) == pytest.approx(published, abs=4)
    assert plan_matcher_change(stages, late_matcher=False, change_epoch=published) is None
    assert plan_matcher_change(stages, late_matcher=True, change_epoch=published) == published
    assert plan_matcher_change(stages, late_matcher=True, change_epoch=round(published / total, 3)) == published


def test_the_late_matcher_never_trains_a_whole_run_unasked():
    assert plan_matcher_change(plan_stages(0.5, no_aug_epochs=12), late_matcher=True) == 1
    assert plan_matcher_change(plan_stages(0.5, no_aug_epochs=12), late_matcher=True, change_epoch=0) == 0


def test_warmup_never_takes_more_than_a_tenth_of_the_run():
    assert fit_warmup(2000, 100) == 10
    assert fit_warmup(2000, 100_000) == 2000
    assert fit_warmup(0.02, 1000) == 20
    assert fit_warmup(0, 1000) == 0
