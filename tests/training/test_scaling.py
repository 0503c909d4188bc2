import doctest
from copy import deepcopy

import pytest

from hf_detr.cli.train_setup import training_arguments
from hf_detr.cli.train_summary import describe_scaling
from hf_detr.recipes import load_recipe
from hf_detr.training import scaling
from hf_detr.training.arguments import DetrTrainingArguments
from hf_detr.training.facts import run_facts
from hf_detr.training.scaling import Rates, scale_rates
from tests.training.runs import make_trainer

RATES = Rates(learning_rate=4e-4, warmup_steps=2000, ema_decay=0.9999, ema_warmup_steps=1000)


def test_examples_in_docstrings():
    assert doctest.testmod(scaling).failed == 0


def test_nothing_changes_at_the_reference_or_without_one():
    assert scale_rates(RATES, batch=32, reference_batch=32) is RATES
    assert scale_rates(RATES, batch=7, reference_batch=None) is RATES


def test_there_and_back_is_where_it_started():
    there = scale_rates(RATES, batch=12, reference_batch=32)
    back = scale_rates(there, batch=32, reference_batch=12)
    assert vars(back) == pytest.approx(vars(RATES))


@pytest.mark.parametrize(("given", "expected"), [(0, 0), (0.05, 0.05), (1, 1), (3, 1), (400, 100)])
def test_a_warmup_stays_a_share_or_a_number_of_steps(given, expected):
    rates = Rates(learning_rate=1e-4, warmup_steps=given, ema_decay=0.9, ema_warmup_steps=0)
    scaled = scale_rates(rates, batch=64, reference_batch=16)
    assert (scaled.warmup_steps, scaled.ema_warmup_steps) == (expected, 0)


def test_an_average_cannot_forget_more_than_everything():
    rates = Rates(learning_rate=1e-4, warmup_steps=0, ema_decay=0.9, ema_warmup_steps=0)
    assert scale_rates(rates, batch=64, reference_batch=4).ema_decay == 0


def test_the_trainer_uses_scaled_numbers_and_its_arguments_keep_the_given_ones(tmp_path):
    # 2 pictures x 2 accumulated: half of the reference.
    trainer = make_trainer(
        tmp_path,
        max_steps=40,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        reference_batch_size=8,
        learning_rate=1e-3,
        backbone_lr_ratio=0.5,
        warmup_steps=2,
        lr_schedule="constant",
    )
    optimizer = trainer.create_optimizer()
    assert {group["lr"] for group in optimizer.param_groups} == {5e-4, 2.5e-4}
    trainer.create_scheduler(40, optimizer)
    assert {group["lr"] for group in optimizer.param_groups} == {5e-4 / 4, 2.5e-4 / 4}
    assert (trainer.ema.decay, trainer.ema.warmup_steps) == (pytest.approx(0.975), 20)
    assert trainer.args.learning_rate == 1e-3 and deepcopy(trainer.args).rates() == trainer.args.rates()
    assert run_facts(trainer, "data").training["learning rate"] == 5e-4


def test_a_saved_recipe_is_not_scaled_twice(tmp_path):
    flags = {"per_device_train_batch_size": 4, "use_cpu": True, "output_dir": str(tmp_path)}
    recipe = load_recipe("d_fine/s", flags)
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    args, again = (training_arguments(r)[0] for r in (recipe, load_recipe(tmp_path / "recipe.yaml")))
    assert args.rates() == again.rates() == Rates(2.5e-5, 4000, pytest.approx(0.9999875), 8000)
    ((name, text),) = describe_scaling(again)
    assert name == "scaled" and "4 pictures a step instead of 32" in text and "times 0.125, warm-ups by 8" in text
    assert describe_scaling(training_arguments(load_recipe("d_fine/s", flags | {"reference_batch_size": 4}))[0]) == []


def test_a_reference_of_no_pictures_is_refused(tmp_path):
    with pytest.raises(ValueError, match="reference_batch_size must be 1 or more, got 0"):
        DetrTrainingArguments(str(tmp_path), reference_batch_size=0, use_cpu=True)
