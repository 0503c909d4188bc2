"""The recipes we ship: they say what they are, have the authors' numbers, fit runs of any length, and train."""

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from hf_detr.cli.main import main
from hf_detr.cli.train_augmentation import augmentation_policy, image_size_hw
from hf_detr.cli.train_setup import training_arguments
from hf_detr.distillation.arguments import DistillationArguments
from hf_detr.losses.options import criterion_options
from hf_detr.models.families import build_config, check_image_size, override_config
from hf_detr.models.published import PUBLISHED
from hf_detr.models.variants import FAMILIES
from hf_detr.recipes import RECIPES_DIR, Recipe, find_recipe, header_line, load_recipe, recipe_names
from hf_detr.training.arguments import DetrTrainingArguments
from hf_detr.training.schedule import fit_warmup, flat_cosine, linear_warmup
from tests.synthetic import make_coco
from tests.teachers import save_tiny_dinov3
from tests.tiny import IMAGE_SIZE_HW, save_tiny_detector, tiny_overrides

COCO_IMAGES = 118_287
FROM_SCRATCH = [name for name in recipe_names() if load_recipe(name).model.from_scratch]


@cache
def arguments(name: str, epochs: float | None = None) -> tuple[Recipe, DetrTrainingArguments]:
    """A recipe and its training arguments, with no other change than the number of epochs."""
    overrides = {"use_cpu": True, "report_to": "none"} | ({} if epochs is None else {"num_train_epochs": epochs})
    recipe = load_recipe(name, overrides)
    return recipe, training_arguments(recipe)[0]


@pytest.mark.parametrize("name", recipe_names())
def test_it_loads_and_says_what_it_is(name: str) -> None:
    recipe, lines = load_recipe(name), find_recipe(name).read_text().splitlines()
    assert recipe.name == name
    assert recipe.model.from_scratch != bool(recipe.model.model_name_or_path)
    assert header_line(find_recipe(name)).endswith(".")
    header = [line for line in lines if line.startswith("#")]
    assert all(any(line.startswith(f"#   {word}:") for line in header) for word in ("run", "expect", "source"))
    # Either nobody has run it, or it says how often and where.
    assert any("not measured" in line or "seeds" in line for line in header)
    assert any(f" {name} " in line for line in header if line.startswith("#   run:"))
    assert len(lines) <= 50 and all(len(line) <= 119 for line in lines)


@pytest.mark.parametrize("name", recipe_names())
def test_users_can_extend_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine.yaml").write_text(f"extends: {name}\n")
    load_recipe(tmp_path / "mine.yaml")


def test_every_size_of_every_family_has_one() -> None:
    models = {(recipe.model.family, recipe.model.size) for recipe in map(load_recipe, FROM_SCRATCH)}
    assert models == {(family, size) for family, sizes in FAMILIES.items() for size in sizes}


def test_every_base_is_used() -> None:
    used = {page.rsplit("/", 1)[-1] for path in RECIPES_DIR.rglob("*.yaml") for page in path.read_text().splitlines()
            if page.startswith("extends:")}  # fmt: skip
    assert used == {path.name for path in (RECIPES_DIR / "_base").iterdir()}


@pytest.mark.parametrize("name", FROM_SCRATCH)
def test_its_model_is_built(name: str) -> None:
    recipe = load_recipe(name)
    choice = recipe.model
    config = build_config(choice.family, choice.size, id2label={0: "a", 1: "b"}, **choice.config_overrides)
    if choice.num_queries is not None:
        config.num_queries = choice.num_queries
    check_image_size(config, image_size_hw(recipe))
    if not name.startswith("demo/"):
        assert recipe.data.image_size == [FAMILIES[choice.family][choice.size].image_side]
    classification = {"d_fine": "vfl", "rt_detr_v2": "vfl"}.get(choice.family, "mal")
    assert criterion_options(config).classification == classification


@pytest.mark.parametrize(("family", "size"), PUBLISHED)
def test_the_header_has_the_published_average_precision(family: str, size: str) -> None:
    published = PUBLISHED[family, size]
    text = find_recipe(f"{family}/{size}").read_text()
    assert f"COCO val2017 AP {published.average_precision:.1f} as published" in text
    assert f"({published.parameters_millions:g} M parameters, {published.gflops:g} GFLOPs" in text


def test_fewer_points_and_discrete_sampling_are_those_of_the_model() -> None:
    for points in (1, 2, 3):
        choice = load_recipe(f"rt_detr_v2/r18_sp{points}").model
        config = build_config(choice.family, choice.size, id2label={0: "a"}, **choice.config_overrides)
        assert (config.decoder_n_points, config.decoder_method) == (points, "default")
    for size in ("r18", "r34", "r50m", "r50"):
        choice = load_recipe(f"rt_detr_v2/{size}_dsp").model
        start = build_config("rt_detr_v2", size, id2label={0: "a"})
        config = override_config(start, choice.config_overrides, id2label={0: "a"})
        assert (config.decoder_n_points, config.decoder_method) == (4, "discrete")
        assert choice.model_name_or_path == f"runs/rt_detr_v2-{size}-coco"  # where its recipe writes to


# What the authors' configuration files say


class Official(NamedTuple):
    """The numbers of one of the authors' files; rates are those of the heads and of the backbone."""

    epochs: int
    stop: int  # the first epoch without multi-scale (and, where there is no mosaic, without augmentation)
    rate: float
    backbone_rate: float
    decay: float
    batch: int
    repeat: int | None  # how often 640 is among the sizes; None: no multi-scale
    policy: tuple[int, int, int] | None = None  # first epoch of all, first without mosaic and mixup, first of none
    warmup: int = 2000
    ema_warmup: int = 1000
    floor: float = 0.5  # the last rate, as a share of the first; with a policy only
    mosaic: float = 0.5  # these three with a policy only
    mixup: float = 0.5
    blend: tuple[float, int, int] | None = None  # CopyBlend: chance, first epoch, first without
    late: int | None = None  # first epoch of the late matcher


# fmt: off
OFFICIAL = {
    "d_fine/n": Official(160, 148, 8e-4, 4e-4, 1e-4, 128, None, warmup=500),
    "d_fine/s": Official(132, 120, 2e-4, 1e-4, 1e-4, 32, 20, warmup=500),
    "d_fine/m": Official(132, 120, 2e-4, 2e-5, 1e-4, 32, 6, warmup=500),
    "d_fine/l": Official(80, 72, 2.5e-4, 1.25e-5, 1.25e-4, 32, 4, warmup=500),
    "d_fine/x": Official(80, 72, 2.5e-4, 2.5e-6, 1.25e-4, 32, 3, warmup=500),
    "d_fine/n_crowdhuman": Official(220, 200, 8e-4, 4e-4, 1e-4, 128, None, warmup=500),
    "d_fine/s_crowdhuman": Official(220, 200, 4e-4, 2e-4, 1e-4, 64, 20, warmup=500),
    "d_fine/m_crowdhuman": Official(220, 200, 2.5e-4, 2.5e-5, 1.25e-4, 32, 6, warmup=500),
    "d_fine/l_crowdhuman": Official(140, 120, 2.5e-4, 1.25e-5, 1.25e-4, 32, 4, warmup=500),
    "d_fine/x_crowdhuman": Official(140, 120, 2.5e-4, 2.5e-6, 1.25e-4, 32, 3, warmup=500),
    "d_fine/n_obj2coco": Official(64, 56, 8e-4, 4e-4, 1e-4, 128, None, warmup=0, ema_warmup=0),
    "d_fine/s_obj2coco": Official(64, 56, 2.5e-4, 1.25e-4, 1.25e-4, 32, 10, warmup=0, ema_warmup=0),
    "d_fine/m_obj2coco": Official(56, 48, 2.5e-4, 2.5e-5, 1.25e-4, 32, 6, warmup=0, ema_warmup=0),
    "d_fine/l_obj2coco": Official(36, 30, 2.5e-4, 1.25e-5, 1.25e-4, 32, 4, warmup=0, ema_warmup=0),
    "d_fine/x_obj2coco": Official(36, 30, 2.5e-4, 2.5e-6, 1.25e-4, 32, 3, warmup=0, ema_warmup=0),
    "d_fine/n_obj365": Official(48, 500, 8e-4, 4e-4, 1e-4, 128, None, warmup=500),
    "d_fine/s_obj365": Official(36, 500, 2.5e-4, 1.25e-4, 1.25e-4, 32, 20, warmup=500),
    "d_fine/m_obj365": Official(36, 500, 2.5e-4, 2.5e-5, 1.25e-4, 32, 6, warmup=500),
    "d_fine/l_obj365": Official(24, 500, 2.5e-4, 1.25e-5, 1.25e-4, 32, 4, warmup=500),
    "d_fine/x_obj365": Official(24, 500, 2.5e-4, 2.5e-6, 1.25e-4, 32, 3, warmup=500),
    "d_fine/n_custom": Official(220, 200, 8e-4, 4e-4, 1e-4, 128, None, warmup=500),
    "d_fine/s_custom": Official(220, 200, 4e-4, 2e-4, 1e-4, 64, 20, warmup=500),
    "d_fine/m_custom": Official(132, 120, 2.5e-4, 2.5e-5, 1.25e-4, 32, 6, warmup=500),
    "d_fine/l_custom": Official(80, 72, 2.5e-4, 1.25e-5, 1.25e-4, 32, 4, warmup=500),
    "d_fine/x_custom": Official(80, 72, 2.5e-4, 2.5e-6, 1.25e-4, 32, 3, warmup=500),
    "deim/n": Official(160, 148, 8e-4, 4e-4, 1e-4, 128, None, (4, 78, 148), floor=1),
    "deim/s": Official(132, 120, 4e-4, 2e-4, 1e-4, 32, 20, (4, 64, 120)),
    "deim/m": Official(102, 90, 4e-4, 4e-5, 1e-4, 32, 6, (4, 49, 90)),
    "deim/l": Official(58, 50, 5e-4, 2.5e-5, 1.25e-4, 32, 4, (4, 29, 50)),
    "deim/x": Official(58, 50, 5e-4, 5e-6, 1.25e-4, 32, 3, (4, 29, 50)),
    "deim/r18": Official(120, 117, 2e-4, 2e-4, 1e-4, 16, 3, (4, 64, 117), ema_warmup=2000),
    "deim/r34": Official(120, 117, 2e-4, 1e-4, 1e-4, 16, 3, (4, 64, 117), ema_warmup=2000),
    "deim/r50m": Official(60, 58, 2e-4, 2e-5, 1e-4, 16, 3, (4, 34, 58), ema_warmup=2000),
    "deim/r50": Official(60, 58, 2e-4, 2e-5, 1e-4, 16, 3, (4, 34, 58), ema_warmup=2000),
    "deim/r101": Official(60, 58, 2e-4, 2e-6, 1e-4, 16, 3, (4, 34, 58), ema_warmup=2000),
    "deim/x_obj2coco": Official(24, 20, 2.5e-4, 2.5e-6, 1.25e-4, 32, 3, (2, 12, 20), warmup=0, ema_warmup=0, floor=1),
    "rt_detr_v2/r18": Official(120, 117, 1e-4, 1e-4, 1e-4, 16, None, ema_warmup=2000),
    "rt_detr_v2/r34": Official(120, 117, 1e-4, 5e-5, 1e-4, 16, 3, ema_warmup=2000),
    "rt_detr_v2/r50m": Official(84, 81, 1e-4, 1e-5, 1e-4, 16, 3, ema_warmup=2000),
    "rt_detr_v2/r50": Official(72, 71, 1e-4, 1e-5, 1e-4, 16, 3, ema_warmup=2000),
    "rt_detr_v2/r101": Official(72, 71, 1e-4, 1e-6, 1e-4, 16, 3, ema_warmup=2000),
    "rt_detr_v2/r18_voc": Official(120, 117, 1e-4, 1e-4, 1e-4, 32, None, ema_warmup=2000),
    "rt_detr_v2/hg-l": Official(72, 71, 1e-4, 5e-6, 1e-4, 16, 3, ema_warmup=2000),
    "rt_detr_v2/hg-x": Official(72, 71, 1e-4, 1e-6, 1e-4, 16, 3, ema_warmup=2000),
    "rt_detr_v2/hg-h": Official(72, 71, 1e-4, 5e-6, 1e-4, 16, 3, ema_warmup=2000),
    "rt_detr_v2/r18_sp1": Official(120, 117, 1e-4, 1e-4, 1e-4, 16, None, ema_warmup=2000),
    "rt_detr_v2/r18_sp2": Official(120, 117, 1e-4, 1e-4, 1e-4, 16, None, ema_warmup=2000),
    "rt_detr_v2/r18_sp3": Official(120, 117, 1e-4, 1e-4, 1e-4, 16, None, ema_warmup=2000),
    "rt_detr_v2/r18_dsp": Official(36, 33, 1e-4, 1e-4, 1e-4, 16, None, ema_warmup=2000),
    "rt_detr_v2/r34_dsp": Official(12, 10, 1e-4, 5e-5, 1e-4, 16, 3, ema_warmup=2000),
    "rt_detr_v2/r50m_dsp": Official(36, 33, 1e-4, 1e-5, 1e-4, 16, 3, ema_warmup=2000),
    "rt_detr_v2/r50_dsp": Official(12, 10, 1e-4, 1e-5, 1e-4, 16, 3, ema_warmup=2000),
    "rt_detr_v4/s": Official(132, 120, 4e-4, 2e-4, 1e-4, 32, 20, (4, 64, 120)),
    "rt_detr_v4/m": Official(102, 90, 4e-4, 4e-5, 1e-4, 32, 6, (4, 49, 90)),
    "rt_detr_v4/l": Official(58, 50, 5e-4, 2.5e-5, 1.25e-4, 32, 4, (4, 29, 50)),
    "rt_detr_v4/x": Official(58, 50, 5e-4, 5e-6, 1.25e-4, 32, 3, (4, 29, 50)),
    "deimv2/atto": Official(500, 468, 2e-3, 1e-3, 1e-4, 128, None, (4, 250, 400), warmup=4000, mosaic=0.3, mixup=0,
                            late=450),
    "deimv2/femto": Official(500, 468, 1.6e-3, 8e-4, 1e-4, 128, None, (4, 250, 400), warmup=4000, mixup=0, late=450),
    "deimv2/pico": Official(500, 468, 1.6e-3, 8e-4, 1e-4, 128, None, (4, 250, 400), warmup=4000, mixup=0, late=450),
    "deimv2/n": Official(160, 148, 8e-4, 4e-4, 1e-4, 32, None, (4, 78, 148), floor=1, late=136, blend=(0.4, 4, 78)),
    "deimv2/s": Official(132, 120, 5e-4, 2.5e-5, 1e-4, 32, 20, (4, 64, 120), late=100, blend=(0.5, 4, 120)),
    "deimv2/m": Official(102, 90, 5e-4, 2.5e-5, 1e-4, 32, 6, (4, 49, 90), late=80, blend=(0.5, 4, 90)),
    "deimv2/l": Official(68, 60, 5e-4, 1.25e-5, 1.25e-4, 32, 3, (4, 34, 60), late=50, blend=(0.5, 4, 60)),
    "deimv2/x": Official(58, 50, 5e-4, 1e-5, 1.25e-4, 32, 3, (4, 29, 50), late=45, blend=(0.5, 4, 50)),
    "deimv2/hg-s": Official(132, 120, 4e-4, 2e-4, 1e-4, 32, 20, (4, 64, 120), late=100, blend=(0.5, 4, 120)),
    "deimv2/hg-m": Official(102, 90, 4e-4, 4e-5, 1e-4, 32, 6, (4, 49, 90), late=80, blend=(0.5, 4, 90)),
    "deimv2/hg-l": Official(58, 50, 5e-4, 2.5e-5, 1.25e-4, 32, 4, (4, 29, 50), late=45, blend=(0.5, 4, 50)),
    "deimv2/hg-x": Official(58, 50, 5e-4, 5e-6, 1.25e-4, 32, 3, (4, 29, 50), late=45, blend=(0.5, 4, 50)),
}
# fmt: on


@pytest.mark.parametrize("name", OFFICIAL)
def test_it_has_the_authors_numbers(name: str) -> None:
    official, (recipe, args) = OFFICIAL[name], arguments(name)
    augment, stages = recipe.augment, args.stages(COCO_IMAGES)
    assert (stages.total, stages.stop) == (official.epochs, min(official.stop, official.epochs))
    assert args.learning_rate == official.rate
    assert args.learning_rate * args.backbone_lr_ratio == pytest.approx(official.backbone_rate)
    assert args.weight_decay == official.decay
    assert args.per_device_train_batch_size * 4 == args.reference_batch_size == official.batch
    assert (augment.multi_scale_repeat if augment.multi_scale else None) == official.repeat
    assert (args.warmup_steps, args.max_grad_norm) == (official.warmup, 0.1)
    assert (args.ema, args.ema_decay, args.ema_warmup_steps) == (True, 0.9999, official.ema_warmup)
    assert (augment.photometric_prob, augment.zoom_out_prob, augment.iou_crop_prob) == (0.5, 0.5, 0.8)
    assert augment.min_box_side == {"deimv2/atto": 12, "deimv2/femto": 10, "deimv2/pico": 8}.get(name, 1)
    assert args.matcher_change(COCO_IMAGES) == official.late


@pytest.mark.parametrize("name", OFFICIAL)
def test_it_has_the_authors_policy(name: str) -> None:
    official, (recipe, args) = OFFICIAL[name], arguments(name)
    augment, stages, policy = recipe.augment, args.stages(COCO_IMAGES), augmentation_policy(recipe, args, COCO_IMAGES)
    if official.policy is None:
        assert args.lr_schedule == "constant"
        assert policy.augment[0] == 0 and min(policy.augment[1], official.epochs) == stages.stop
        assert (augment.mosaic_prob, augment.mixup_prob, augment.copyblend_prob) == (0, 0, 0)
        return
    first, flat, end = official.policy
    assert (args.lr_schedule, args.lr_floor, stages.flat) == ("flat_cosine", official.floor, flat)
    assert policy.augment == pytest.approx((first, end))
    assert policy.mosaic == policy.mixup == pytest.approx((first, flat))
    assert (augment.mosaic_prob, augment.mixup_prob) == (official.mosaic, official.mixup)
    assert augment.copyblend_prob == (official.blend or (0,))[0]
    if official.blend:
        assert policy.copyblend == pytest.approx(official.blend[1:])


@pytest.mark.parametrize(
    ("size", "weight", "share", "tolerance", "final"),
    [("s", 5, 11, 1, 20), ("m", 5, 3.5, 0.25, 15), ("l", 15, 2, 0.1, 15), ("x", 20, 2, 0.25, 20)],
)
def test_rt_detr_v4_has_its_teacher(size, weight, share, tolerance, final) -> None:
    assert load_recipe(f"rt_detr_v4/{size}").distill == DistillationArguments(
        "facebook/dinov3-vitb16-pretrain-lvd1689m",
        distill_weight=weight,
        distill_target_share=share,
        distill_tolerance=tolerance,
        distill_final_weight=final,
    )


# Only the number of epochs has to change


@pytest.mark.parametrize("name", recipe_names())
def test_it_fits_runs_of_any_length(name: str) -> None:
    num_images = 400
    for epochs in (1, 3, 20, 50, 300):
        recipe, args = arguments(name, epochs)
        args.max_steps = -1
        stages, policy = args.stages(num_images), augmentation_policy(recipe, args, num_images)
        assert stages.total == epochs
        assert 0 < stages.flat <= stages.stop <= epochs
        assert stages.stop >= 0.8 * epochs or epochs < 5
        for start, end in policy:
            assert 0 <= start < end
        change = args.matcher_change(num_images)
        assert change is None or 0 < change <= max(1, epochs)
        _check_rates(args, stages, num_images)


def _check_rates(args: DetrTrainingArguments, stages, num_images: int) -> None:
    """The learning rate rises to the full one, and ends at the floor if the schedule has one."""
    steps, per_epoch = args.total_steps(num_images), args.steps_per_epoch(num_images)
    warmup = fit_warmup(args.warmup_steps, steps)
    if args.lr_schedule == "constant":
        factors = [linear_warmup(step, warmup=warmup) for step in range(steps)]
        last = 1.0
    else:
        flat, stop = round(stages.flat * per_epoch), round(stages.stop * per_epoch)
        factors = [
            flat_cosine(step, warmup=warmup, flat=flat, stop=stop, floor=args.lr_floor) for step in range(steps + 1)
        ]
        last = args.lr_floor
    assert max(factors) == 1.0 and min(factors) >= 0
    assert factors[-1] == pytest.approx(last)


# They train


@pytest.mark.parametrize(
    ("name", "tiny"),
    [
        ("d_fine/s", "d_fine"),
        ("deim/n", "deim"),
        ("deim/r18", "deim_r18"),
        ("rt_detr_v2/r18", "rt_detr_v2"),
        ("rt_detr_v2/hg-h", "rt_detr_v2_hg"),
        ("rt_detr_v4/s", "rt_detr_v4"),
        ("deimv2/n", "deimv2"),
        ("deimv2/s", "deimv2_s"),
        ("deimv2/atto", "deimv2_atto"),
        ("d_fine/n_obj2coco", None),
        ("deim/x_obj2coco", None),
    ],
)
def test_its_tiny_twin_trains(name: str, tiny: str | None, tmp_path: Path) -> None:
    """Two epochs with every setting of the recipe but the size of model and pictures."""
    data = make_coco(tmp_path / "data", images=8, size_hw=IMAGE_SIZE_HW, splits=("train",))
    if tiny is None:
        start = ["--model_name_or_path", str(save_tiny_detector(tmp_path / "start"))]
    else:
        start = ["--config_overrides", json.dumps(tiny_overrides(tiny))]
    if load_recipe(name).distill.teacher is not None:
        start += ["--teacher", str(save_tiny_dinov3(tmp_path / "teacher"))]
    settings = {"num_train_epochs": 2, "image_size": 64, "multi_scale": False, "per_device_train_batch_size": 4}
    settings |= {"logging_steps": 1, "dataloader_num_workers": 0, "report_to": "none", "use_cpu": True}
    flags = [str(item) for key, value in settings.items() for item in (f"--{key}", value)]
    run = tmp_path / "run"
    assert main(["train", name, "--data", str(data), "--output_dir", str(run), *start, *flags]) == 0
    rows = json.loads((run / "trainer_state.json").read_text())["log_history"]
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4]
    config = json.loads((run / "config.json").read_text())
    if name == "deim/x_obj2coco":
        assert (config["classification_loss"], config["focal_loss_gamma"]) == ("mal", 1.5)
