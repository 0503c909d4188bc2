"""`hf-detr recipe`, and the flags it shares with `hf-detr train`."""

from pathlib import Path

import pytest
import yaml

from hf_detr.cli.main import main
from hf_detr.cli.train_command import parse_train_command, split_flags
from hf_detr.cli.train_help import GROUPS, INHERITED, own_training_entries, train_help, train_help_all
from hf_detr.errors import RecipeError
from hf_detr.fields import all_fields, light_fields
from hf_detr.recipes import load_recipe, recipe_names


def test_list_has_a_line_for_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 130 for line in lines)
    shown = [line.split()[0] for line in lines if line.startswith("  ")]
    assert sorted(shown) == recipe_names()
    assert "  d_fine/s_finetune    D-FINE-S on your own COCO-format data, from COCO weights." in lines


def test_list_goes_by_family_purpose_and_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "list"]) == 0
    groups = [group.splitlines() for group in capsys.readouterr().out.split("\n\n")]
    assert groups[0][0] == "D-FINE, https://huggingface.co/papers/2410.13842"
    titles = [group[0].split(",")[0] for group in groups]
    assert titles == ["D-FINE", "DEIM", "RT-DETRv4", "RT-DETRv2", "DEIMv2", "demo"]
    assert main(["recipe", "list", "deim"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [line.rstrip() for line in groups[1]]
    sizes = [line.split()[0].removeprefix("deim/") for line in lines[1:]]
    assert sizes == ["n", "s", "m", "l", "x", "r18", "r34", "r50m", "r50", "r101", "x_obj2coco"]


def test_show_is_the_recipe_with_the_source_of_every_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "show", "d_fine/s_finetune", "--learning-rate", "1e-4", "--image_size", "480", "640"]) == 0
    out = capsys.readouterr().out
    recipe = load_recipe("d_fine/s_finetune", {"learning_rate": "1e-4", "image_size": ["480", "640"]})
    assert yaml.safe_load(out) == recipe.sections()
    sources = {line.split(":")[0].strip(): line.rsplit("# ", 1)[1] for line in out.splitlines()[1:] if "# " in line}
    assert sources["learning_rate"] == "--learning_rate"
    assert sources["lr_schedule"].startswith("_base/finetune.yaml:")
    assert sources["model_name_or_path"].startswith("d_fine/s_finetune.yaml:")
    assert sources["ema_decay"].startswith("_base/finetune.yaml:")
    assert sources["family"] == "default"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "d_fine/s_fintune"], "Did you mean 'd_fine/s_finetune'?"),
        (["show", "d_fine/s", "--learning_rate", "fast"], "--learning_rate: expected a number, got 'fast'"),
        (
            ["show", "d_fine/s", "--learning_rte", "1"],
            "--learning_rte: no such setting. Did you mean '--learning_rate'?",
        ),
    ],
)
def test_what_is_wrong_is_said_with_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["recipe", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_typo_in_a_recipe_file_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "mine.yaml"
    page.write_text("train:\n  learning_rate: fast\n  num_train_epoch: 3\n")
    assert main(["recipe", "show", str(page)]) == 2
    error = capsys.readouterr().err
    assert f"{page}:2: learning_rate: expected a number, got 'fast'" in error
    assert f"{page}:3: unknown key 'num_train_epoch' in section 'train'. Did you mean 'num_train_epochs'" in error


def test_flags_in_every_spelling() -> None:
    recipe = parse_train_command(
        "d_fine/s_finetune --data=photos --image-size 480 640 --learning_rate 1e-5 --from_scratch --no_ema "
        '--per-device-train-batch-size=4 --bf16 false --config_overrides {"decoder_layers":2} --max_steps -1 '
        "--flat_epochs null --seed 1 --seed 2 --class_map car:vehicle".split()
    )
    assert recipe.data.data == "photos"
    assert recipe.data.image_size == [480, 640]
    assert recipe.model.from_scratch is True
    assert recipe.model.config_overrides == {"decoder_layers": 2}
    assert recipe.model.class_map == ["car:vehicle"]
    expected = {"learning_rate": 1e-5, "ema": False, "per_device_train_batch_size": 4, "bf16": False}
    assert expected.items() <= recipe.train.items()
    assert {"max_steps": -1, "flat_epochs": None, "seed": 2}.items() <= recipe.train.items()


def test_a_setting_that_begins_with_no_keeps_its_name() -> None:
    assert parse_train_command(["--no_aug_epochs", "3"]).train["no_aug_epochs"] == 3.0


def test_the_recipe_comes_first_or_after_config() -> None:
    assert split_flags(["a.yaml", "--seed", "1"]) == ("a.yaml", {"seed": ["1"]})
    assert split_flags(["--seed", "1", "--config", "a.yaml"]) == ("a.yaml", {"seed": ["1"]})
    assert split_flags(["--seed", "1"]) == (None, {"seed": ["1"]})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a b", "b: not expected here"),
        ("a -x 1", "-x: not expected here"),
        ("a --config b", "Two recipes: a and --config b"),
        ("--config", "--config takes one recipe"),
        ("--data photos d_fine/s", "--data: expected text, got 2 values: photos d_fine/s"),
        ("--output_dir --seed 3", "--output_dir: needs a value, text"),
        ("--no_data", "--no_data: no such setting"),
        ("--config_overrides {", "--config_overrides: expected a mapping, got '{'"),
    ],
)
def test_flags_that_make_no_sense(line: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_train_command(line.split())
    assert message in str(caught.value)


# The help of `hf-detr train` is written without importing Transformers; these hold it to the truth.


def test_help_knows_our_own_training_settings() -> None:
    fields = {name: field for name, field in all_fields().items() if field.section == "train" and field.ours}
    entries = own_training_entries()
    assert set(entries) == set(fields)
    for name, entry in entries.items():
        assert (entry.default, entry.help) == (fields[name].default, fields[name].help)


def test_help_has_the_right_defaults_for_inherited_settings() -> None:
    for name, entry in INHERITED.items():
        field = all_fields()[name]
        assert not field.ours, f"{name} is declared by DetrTrainingArguments now: take it out of INHERITED"
        assert entry.default == field.default, name


def test_every_setting_of_ours_is_in_the_help_once() -> None:
    shown = [name for names in GROUPS.values() for name in names.split()]
    assert len(shown) == len(set(shown))
    assert set(light_fields()) <= set(shown)
    settled = {"logging_nan_inf_filter", "remove_unused_columns", "ddp_find_unused_parameters", "greater_is_better",
               "metric_for_best_model", "dataloader_persistent_workers"}  # fmt: skip
    assert set(own_training_entries()) - set(shown) == settled
    text = train_help()
    for name in shown:
        assert f"  --{name} " in text
    assert all(len(line) <= 119 for line in text.splitlines())


def test_the_long_help_has_everything() -> None:
    text = train_help_all()
    assert all(f"  --{name} " in text for name in all_fields())
