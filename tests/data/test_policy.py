"""Epochs of the augmentations: the papers' tables follow from the number of epochs, for every official recipe."""

import math

import pytest

from hf_detr.data.policy import plan_policy, within
from hf_detr.errors import RecipeError
from hf_detr.training.schedule import plan_stages


def policy_of(epochs, no_aug, *, plain_start=True, flat_epochs=None, **given):
    stages = plan_stages(epochs, no_aug_epochs=no_aug, flat_epochs=flat_epochs)
    return plan_policy(stages.total, flat=stages.flat, stop=stages.stop, plain_start=plain_start, **given)


# epochs, epochs of the last stage; then the authors' policy [p0, p1, p2] of mosaic and of all the rest
BY_RULE = {
    "DEIM-S, RT-DETRv4-S, DEIMv2-S": (132, 12, (4, 64, 120)),
    "DEIM-M, RT-DETRv4-M, DEIMv2-M": (102, 12, (4, 49, 90)),
    "DEIM-L and X, RT-DETRv4-L and X, DEIMv2-X": (58, 8, (4, 29, 50)),
    "DEIMv2-L": (68, 8, (4, 34, 60)),
    "DEIM-N, DEIMv2-N": (160, 12, (4, 78, 148)),
}


@pytest.mark.parametrize("name", BY_RULE)
def test_the_rule_gives_the_authors_epochs(name):
    epochs, no_aug, (start, mosaic_end, stop) = BY_RULE[name]
    policy = policy_of(epochs, no_aug)
    assert policy.augment == policy.copyblend == (start, stop)
    assert policy.mosaic == policy.mixup == (start, mosaic_end)


def test_recipes_off_the_rule_say_so_in_shares_of_the_run():
    atto = policy_of(500, 32, flat_epochs=250, augment_epochs=[0.008, 0.8])
    assert (*atto.mosaic, atto.augment[1]) == (4, 250, 400)
    nano = policy_of(160, 12, copyblend_epochs=[0.025, 0.4875])
    assert nano.copyblend == (4, 78) and nano.augment == (4, 148)


@pytest.mark.parametrize(("epochs", "expected"), [(30, (0, 24)), (12, (0, 10)), (1, (0, 1)), (0.1, (0, 1))])
def test_shares_are_whole_epochs_and_never_nothing(epochs, expected):
    assert policy_of(epochs, 32, augment_epochs=[0.008, 0.8]).augment == expected


def test_the_24_epochs_from_objects365_to_coco():
    policy = policy_of(24, 4, flat_epochs=12)
    assert (*policy.mosaic, policy.augment[1]) == (2, 12, 20)


def test_d_fine_augments_from_the_first_epoch_until_the_last_stage():
    assert policy_of(132, 12, plain_start=False).augment == (0, 120)
    assert plan_policy(72, flat=40, stop=None, plain_start=False).augment == (0, math.inf)


@pytest.mark.parametrize("epochs", [0.1, 1, 2, 3, 5, 10, 39.5, 40, 41, 1000])
def test_ranges_are_in_order_for_runs_of_any_length(epochs):
    policy = policy_of(epochs, 12)
    for first, end in policy:
        assert 0 <= first <= end
    assert policy.augment[0] <= epochs / 10 and policy.mosaic[1] <= policy.augment[1]
    assert within(policy.augment[0], policy.augment), "no epoch with augmentation at all"


def test_given_epochs_win_and_what_follows_from_them_follows():
    policy = policy_of(100, 10, augment_epochs=[10, 30])
    assert policy.augment == policy.mosaic == policy.copyblend == (10, 30)
    policy = policy_of(100, 10, mosaic_epochs=[1, 2])
    assert policy.mixup == (1, 2) and policy.augment == (4, 90)
    policy = policy_of(100, 10, mixup_epochs=[0, 0.25], copyblend_epochs=[7, 9])
    assert policy.mixup == (0, 25) and policy.copyblend == (7, 9)


@pytest.mark.parametrize("given", [[5], [1, 2, 3], [9, 4], [-1, 4]])
def test_what_is_no_range_is_refused(given):
    with pytest.raises(RecipeError, match=r"mixup_epochs takes the first epoch and the first one without.*got"):
        policy_of(100, 10, mixup_epochs=given)
