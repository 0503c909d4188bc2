"""Recipes: what wins, what is refused and how, and that nothing is lost on the way to a file and back."""

import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_detr import recipes
from hf_detr.data.arguments import AugmentArguments, DataArguments
from hf_detr.distillation.arguments import DistillationArguments
from hf_detr.errors import RecipeError
from hf_detr.fields import Field, all_fields, fields_of
from hf_detr.models.arguments import ModelArguments
from hf_detr.recipes import find_recipe, load_recipe
from hf_detr.training.arguments import DetrTrainingArguments


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def problems_of(path: Path | str, overrides: dict[str, Any] | None = None) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    return str(caught.value).splitlines()


# What wins


def test_flag_beats_recipe_beats_base_beats_default(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", "train:\n  learning_rate: 1.0e-4\n  weight_decay: 0.1\n  lr_floor: 0.2\n")
    page = write(tmp_path / "page.yaml", "extends: base.yaml\ntrain:\n  weight_decay: 0.2\n  lr_floor: 0.3\n")
    recipe = load_recipe(page, {"lr_floor": "0.4"})
    assert recipe.train["ema_decay"] == 0.9999
    assert recipe.train["learning_rate"] == 1e-4
    assert recipe.train["weight_decay"] == 0.2
    assert recipe.train["lr_floor"] == 0.4
    assert recipe.sources["ema_decay"] == "default"
    assert recipe.sources["learning_rate"] == f"{tmp_path / 'base.yaml'}:2"
    assert recipe.sources["weight_decay"] == f"{page}:3"
    assert recipe.sources["lr_floor"] == "--lr_floor"


def test_mappings_merge_and_lists_are_replaced(tmp_path: Path) -> None:
    write(
        tmp_path / "base.yaml",
        "model:\n  class_map: [a:b, c:d]\n"
        "  config_overrides:\n    decoder_layers: 4\n    backbone_config: {depths: [1]}\n",
    )
    page = write(
        tmp_path / "page.yaml",
        "extends: base.yaml\nmodel:\n  class_map: [e:f]\n  config_overrides: {backbone_config: {out_indices: [2]}}\n",
    )
    model = load_recipe(page, {"config_overrides": '{"num_denoising": 10}'}).model
    assert model.class_map == ["e:f"]
    assert model.config_overrides == {
        "decoder_layers": 4,
        "backbone_config": {"depths": [1], "out_indices": [2]},
        "num_denoising": 10,
    }


def test_a_recipe_may_extend_a_packaged_one_by_name(tmp_path: Path) -> None:
    page = write(tmp_path / "mine.yaml", "extends: d_fine/s_finetune\ntrain:\n  seed: 7\n")
    recipe = load_recipe(page)
    assert recipe.model.model_name_or_path == "ustc-community/dfine-small-coco"
    assert recipe.train["seed"] == 7
    assert recipe.sources["lr_schedule"].startswith("_base/finetune.yaml:")


def test_three_extends_in_a_row_and_circles_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "one.yaml", "extends: d_fine/s_finetune\n")
    page = write(tmp_path / "two.yaml", "extends: one.yaml\n")
    assert "extends more than 2 recipes in a row" in problems_of(page)[0]
    circle = write(tmp_path / "circle.yaml", "extends: circle.yaml\n")
    assert "extends more than 2 recipes in a row" in problems_of(circle)[0]


def test_without_a_recipe_there_are_the_defaults() -> None:
    recipe = load_recipe(None, {"data": "photos"})
    assert recipe.data == DataArguments(data="photos")
    assert recipe.model == ModelArguments()
    assert recipe.augment == AugmentArguments()
    assert recipe.distill == DistillationArguments()


def test_a_teacher_goes_with_any_recipe_and_can_be_switched_off(tmp_path: Path) -> None:
    page = write(tmp_path / "r.yaml", "distill:\n  teacher: timm/vit_small\n  distill_weight: 2\n  teacher_every: 4\n")
    recipe = load_recipe(page)
    assert recipe.distill == DistillationArguments("timm/vit_small", distill_weight=2.0, teacher_every=4)
    assert recipe.sources["teacher_every"] == f"{page}:4"
    assert load_recipe(page, {"teacher": "none"}).distill == DistillationArguments(distill_weight=2.0, teacher_every=4)
    assert load_recipe("d_fine/s_finetune", {"teacher": "here"}).distill == DistillationArguments("here")
    wrong = write(tmp_path / "w.yaml", "distill:\n  teacher_dtype: float8\n  distil_weight: 1\ntrain:\n  teacher: a\n")
    assert problems_of(wrong) == [
        f"{wrong}:2: teacher_dtype: expected one of auto, float32, bfloat16, got 'float8'. Did you mean 'float32'?",
        f"{wrong}:3: unknown key 'distil_weight' in section 'distill'. Did you mean 'distill_weight' "
        "(section 'distill')?",
        f"{wrong}:5: 'teacher' belongs in section 'distill', not in 'train'.",
    ]
    page = write(tmp_path / "r.yaml", "distill:\n  teacher: a\n  distill_final_weight: 3\n")
    assert "constant without distill_target_share" in problems_of(page)[0]


# What values mean


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("learning_rate: 1e-4", "learning_rate", 1e-4),
        ("learning_rate: '1e-4'", "learning_rate", 1e-4),
        ("num_train_epochs: 12", "num_train_epochs", 12.0),
        ("save_strategy: no", "save_strategy", "no"),
        ("ema: on", "ema", True),
        ("ema: 'False'", "ema", False),
        ("flat_epochs: null", "flat_epochs", None),
        ("flat_epochs:", "flat_epochs", None),
        ("report_to: [tensorboard, wandb]", "report_to", ["tensorboard", "wandb"]),
        ("report_to: none", "report_to", "none"),
        ("run_name: 007", "run_name", "007"),
        ("lr_scheduler_kwargs: {min_lr: 1e-6, on: 1, name: '1e-6'}", "lr_scheduler_kwargs", {"min_lr": 1e-6, True: 1, "name": "1e-6"}),  # noqa: E501
        ("optim: sgd", "optim", "sgd"),
    ],
)  # fmt: skip
def test_the_type_of_the_field_decides(tmp_path: Path, line: str, name: str, value: Any) -> None:
    result = load_recipe(write(tmp_path / "r.yaml", f"train:\n  {line}\n")).train[name]
    assert result == value and type(result) is type(value)


@pytest.mark.parametrize(("text", "size"), [("320", [320]), ("[480, 640]", [480, 640])])
def test_one_number_is_a_list_of_one(tmp_path: Path, text: str, size: list[int]) -> None:
    assert load_recipe(write(tmp_path / "r.yaml", f"data:\n  image_size: {text}\n")).data.image_size == size


def test_a_list_may_hold_mappings_where_its_type_says_so(tmp_path: Path) -> None:
    page = write(tmp_path / "r.yaml", "augment:\n  albumentations:\n    - Blur: {p: 0.5}\n    - CLAHE\n")
    assert load_recipe(page).augment.albumentations == [{"Blur": {"p": 0.5}}, "CLAHE"]
    wrong = write(tmp_path / "w.yaml", "augment:\n  albumentations: {Blur: {p: 0.5}}\n  mosaic_epochs: [{a: 1}]\n")
    assert problems_of(wrong) == [
        f"{wrong}:2: albumentations: expected text or a list of values, got {{'Blur': {{'p': 0.5}}}}",
        f"{wrong}:3: mosaic_epochs: expected one value, got a mapping",
    ]


# What is refused


def test_everything_wrong_is_said_at_once_with_line_and_way_out(tmp_path: Path) -> None:
    page = write(
        tmp_path / "wrong.yaml",
        "modl:\n  size: s\n"
        "train:\n  learning_rte: 1e-4\n  learning_rate: fast\n  image_size: 320\n  seed: 1.5\n  batch_size: 4\n"
        "  eval_backend: coco\n  max_steps: yes\n  weight_decay: [1, 2]\n  zzz: 1\n  seed: 3\n  lr_floor: .nan\n"
        "  ema: {a: 1}\n"
        "learning_rate: 1\n"
        "data: photos\n"
        "augment:\n",
    )
    assert problems_of(page) == [
        f"{page}:1: no section 'modl'; there are model, data, augment, train, distill. Did you mean 'model'?",
        f"{page}:4: unknown key 'learning_rte' in section 'train'. Did you mean 'learning_rate' (section 'train')?",
        f"{page}:5: learning_rate: expected a number, got 'fast'",
        f"{page}:6: 'image_size' belongs in section 'data', not in 'train'.",
        f"{page}:7: seed: expected a whole number, got '1.5'",
        f"{page}:8: unknown key 'batch_size' in section 'train'. Did you mean 'per_device_train_batch_size' "
        "(section 'train')?",
        f"{page}:9: eval_backend: expected one of hotcoco, pycocotools, got 'coco'. Did you mean 'hotcoco'?",
        f"{page}:10: max_steps: expected a whole number, got 'yes'",
        f"{page}:11: weight_decay: expected a number, got 2 values: 1 2",
        f"{page}:12: unknown key 'zzz' in section 'train'.",
        f"{page}:13: 'seed' is there twice.",
        f"{page}:14: lr_floor: expected a number, got '.nan'",
        f"{page}:15: ema: expected one value, got a mapping",
        f"{page}:16: 'learning_rate' belongs in section 'train'.",
        f"{page}:17: section 'data' holds no `key: value` lines.",
    ]


def test_wrong_flags_are_said_together_with_the_recipe(tmp_path: Path) -> None:
    page = write(tmp_path / "r.yaml", "train:\n  sed: 1\n")
    overrides = {"learning_rte": "1", "learning_rate": "abc", "epochs": "3", "output_dir": True, "optim": "adamw"}
    problems = problems_of(page, overrides)
    assert problems[0].startswith(f"{page}:2: unknown key 'sed'")
    assert problems[1:4] == [
        "--learning_rte: no such setting. Did you mean '--learning_rate'?",
        "--learning_rate: expected a number, got 'abc'",
        "--epochs: no such setting. Did you mean '--num_train_epochs'?",
    ]
    assert problems[4] == "--output_dir: needs a value, text"
    assert problems[5].startswith("--optim: expected one of adamw_torch, ") and ", ..., got 'adamw'." in problems[5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train:\n  learning_rate: [1\nmodel:\n", r"r\.yaml:3: .*\n    model:"),
        ("train:\n\tseed: 1\n", r"r\.yaml:2: found character '\\t' that cannot start any token:\n    seed: 1"),
        ("just words\n", r"r\.yaml:1: a recipe has sections \(model, data, augment, train, distill\)"),
        ("extends: [a, b]\n", r"r\.yaml:1: `extends` takes one path or recipe name"),
        (
            "train:\n  seed: 1\nextends: nowhere.yaml\n",
            r"r\.yaml:3: extends nowhere\.yaml: no such file, and no recipe",
        ),
        ("? [a]\n: 1\n", r"r\.yaml:1: a key must be a name"),
        ("model:\n  config_overrides: {a: !!python/name:os.system x}\n", r"r\.yaml:2: config_overrides: could not"),
    ],
)
def test_what_is_no_recipe_is_shown_where(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(write(tmp_path / "r.yaml", text))


def test_files_that_are_not_text(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"r\.yaml: is not UTF-8 text"):
        load_recipe(tmp_path / "r.yaml")


def test_an_empty_recipe_is_a_recipe(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path / "r.yaml", "# nothing\n")).model == ModelArguments()


@pytest.mark.parametrize(
    ("name", "nearest"), [("d_fine/s_fintune", "d_fine/s_finetune"), ("digits", "demo/digits"), ("m", "d_fine/m")]
)
def test_a_recipe_that_is_not_there_leads_to_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(RecipeError, match=f"no recipe of this name. Did you mean '{nearest}'"):
        find_recipe(name)


# To a file and back


def _values_of(hint: Any) -> st.SearchStrategy:
    """Values of a field's type, including the texts that YAML would take for something else."""
    if typing.get_args(hint):
        origin = typing.get_origin(hint)
        if origin is list:
            return st.lists(_values_of(typing.get_args(hint)[0]), max_size=3)
        if origin is dict:
            return st.dictionaries(
                _TEXTS, _NUMBERS | _TEXTS | st.booleans() | st.lists(_NUMBERS, max_size=2), max_size=3
            )
        return st.one_of([_values_of(member) for member in typing.get_args(hint)])
    return {
        bool: st.booleans(),
        int: st.integers(-(10**6), 10**6),
        float: _NUMBERS,
        str: _TEXTS,
        type(None): st.none(),
    }[hint]


_NUMBERS = st.floats(-1e30, 1e30, allow_nan=False, allow_subnormal=False)
_TEXTS = st.sampled_from(
    ["no", "1e-4", "null", "~", "", "7", "true", "a: b", "# c", "é", "{", "line\nbreak"]
) | st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8)
_FREE = [f for f in (*fields_of(ModelArguments, "model").values(), *fields_of(DataArguments, "data").values(),
                     *fields_of(AugmentArguments, "augment").values()) if not f.choices]  # fmt: skip
_FREE_TRAIN = [
    all_fields()[name] for name in ("learning_rate", "seed", "ema", "run_name", "flat_epochs", "output_dir")
]


@st.composite
def _overrides(draw: st.DrawFn) -> dict[str, Any]:
    chosen: list[Field] = draw(st.lists(st.sampled_from(_FREE + _FREE_TRAIN), max_size=6, unique_by=lambda f: f.name))
    return {f.name: draw(_values_of(f.hint)) for f in chosen}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_overrides())
def test_a_resolved_recipe_loads_to_the_same(tmp_path: Path, overrides: dict[str, Any]) -> None:
    recipe = load_recipe(None, overrides)
    again = load_recipe(write(tmp_path / "r.yaml", recipe.to_yaml()))
    assert again.sections() == recipe.sections()


def test_access_tokens_are_not_written() -> None:
    recipe = load_recipe(None, {"hub_token": "hf_secret"})
    assert recipe.train["hub_token"] == "hf_secret"
    assert "hf_secret" not in recipe.to_yaml()


def test_setting_names_are_unique_across_sections() -> None:
    ours = (ModelArguments, DataArguments, AugmentArguments, DetrTrainingArguments, DistillationArguments)
    tables = [fields_of(c, "") for c in ours]
    names = [name for table in tables for name in table]
    assert len(names) == len(set(names)) == len(all_fields())


def test_suggestions_lead_to_settings_that_exist() -> None:
    assert set(recipes._OTHER_NAMES.values()) <= set(all_fields())
    assert not set(recipes._OTHER_NAMES) & set(all_fields())


def test_one_line_yaml() -> None:
    assert recipes.scalar_yaml({"a": [1, 2.5e-7], "b": None}) == "{a: [1, 2.5e-07], b: null}"
    assert recipes.scalar_yaml("no") == "'no'"
    assert recipes.scalar_yaml(1e-4) == "0.0001"
