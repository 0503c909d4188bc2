"""Runs with a teacher: what it adds, that nothing of it stays, and that the weight of its term survives a resume."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hf_detr.data.collate import DetectionCollator
from hf_detr.distillation.arguments import DistillationArguments
from hf_detr.distillation.student import add_feature_projector
from hf_detr.distillation.teacher import Teacher, load_teacher
from hf_detr.errors import CheckpointError, TrainingError
from hf_detr.training.trainer import DetrTrainer
from tests.synthetic import make_coco
from tests.teachers import TEACHER_DIM, save_tiny_convnext, save_tiny_dinov3, save_tiny_timm_vit
from tests.tiny import IMAGE_SIZE_HW, TINY_FAMILIES, tiny_model
from tests.training.runs import KeepGradients, first_gradients, losses, make_split_trainer, make_trainer

# The tiny students' encoders get about 1 % of the gradient: the weight moves after every epoch.
ADAPTIVE = DistillationArguments(distill_target_share=50.0, distill_tolerance=1.0, distill_final_weight=2.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_coco(tmp_path_factory.mktemp("coco"), images=8, size_hw=IMAGE_SIZE_HW, splits=("train",))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Teacher:
    return load_teacher(str(save_tiny_dinov3(tmp_path_factory.mktemp("dinov3"))))


class Watch:
    """Remembers what a teacher is shown, and under which conditions."""

    def __init__(self, teacher: Teacher):
        self.images, self.autocast = [], []
        self._hook = teacher.register_forward_pre_hook(self._remember)

    def _remember(self, module, args):
        self.images.append(args[0])
        self.autocast.append(torch.is_autocast_enabled("cpu"))

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_) -> None:
        self._hook.remove()


def history(trainer: DetrTrainer, name: str) -> dict[int, float]:
    """A logged number by step."""
    return {row["step"]: row[name] for row in trainer.state.log_history if name in row}


def assert_same_weights(a: DetrTrainer, b: DetrTrainer) -> None:
    for (name, x), y in zip(a.model.state_dict().items(), b.model.state_dict().values(), strict=True):
        assert torch.equal(x, y), name


@pytest.mark.parametrize("name", TINY_FAMILIES)
def test_every_family_learns_from_a_teacher_and_is_saved_without_it(tmp_path, data, teacher, name):
    torch.manual_seed(0)
    trainer = make_trainer(tmp_path, data=data, model=tiny_model(name), teacher=teacher, num_train_epochs=1)
    before = trainer.model.feature_projector.weight.detach().clone()
    trainer.train()
    row = next(row for row in trainer.state.log_history if "loss" in row)
    assert 0 < row["loss_distill"] < 10
    assert sum(v for n, v in row.items() if n.startswith("loss_")) == pytest.approx(row["loss"], rel=1e-4)
    assert not torch.equal(trainer.model.feature_projector.weight, before)
    trained = {id(parameter) for group in trainer.optimizer.param_groups for parameter in group["params"]}
    assert id(trainer.model.feature_projector.weight) in trained
    assert not any(id(parameter) in trained or parameter.requires_grad for parameter in teacher.parameters())
    assert history(trainer, "distill_weight") == {2: 5.0} and 0 < history(trainer, "distill_share")[2] < 100

    trainer.save_model(str(tmp_path / "saved"))
    tiny_model(name).save_pretrained(tmp_path / "student")
    saved, student = (load_file(tmp_path / name / "model.safetensors") for name in ("saved", "student"))
    assert {n: t.shape for n, t in saved.items()} == {n: t.shape for n, t in student.items()}
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    del config["use_cache"]  # which every Trainer writes
    assert config == json.loads((tmp_path / "student" / "config.json").read_text())


@pytest.mark.parametrize("save", [save_tiny_dinov3, save_tiny_timm_vit, save_tiny_convnext])
def test_the_student_comes_nearer_to_teachers_of_every_kind(tmp_path, data, save):
    teacher = load_teacher(str(save(tmp_path / "teacher")))
    trainer = make_trainer(tmp_path, data=data, teacher=teacher, max_steps=8)
    trainer.train()
    distances = history(trainer, "loss_distill")
    assert distances[8] < 0.9 * distances[1]


def test_a_weight_of_zero_is_the_run_without_a_teacher(tmp_path, data, teacher):
    settings = {"data": data, "num_train_epochs": 2}
    without = make_trainer(tmp_path / "without", **settings)
    without.train()
    zero = make_trainer(
        tmp_path / "zero", teacher=teacher, distillation=DistillationArguments(distill_weight=0.0), **settings
    )
    with Watch(teacher) as watch:
        zero.train()
    assert watch.images == [] and zero.distillation is None and not hasattr(zero.model, "feature_projector")
    assert losses(zero) == losses(without)
    assert_same_weights(zero, without)


def test_the_same_student_starts_with_and_without_a_teacher(tmp_path, data, teacher):
    """The first forward of both runs is the same: a projector draws nothing from the run's random numbers."""
    with_teacher = make_trainer(tmp_path / "with", data=data, teacher=teacher, max_steps=1)
    without = make_trainer(tmp_path / "without", data=data, max_steps=1)
    for trainer in (with_teacher, without):
        trainer.train()
    assert history(with_teacher, "loss_vfl") == history(without, "loss_vfl")


def test_the_teacher_sees_what_the_student_sees_before_its_normalisation(tmp_path, data, teacher):
    torch.manual_seed(0)
    trainer = make_trainer(tmp_path, data=data, model=tiny_model("deimv2_s"), teacher=teacher, max_steps=1)
    assert trainer.processing_class.do_normalize
    shown = []
    trainer.model.register_forward_pre_hook(
        lambda model, args, kwargs: shown.append(kwargs["pixel_values"]), with_kwargs=True
    )
    with Watch(teacher) as watch:
        trainer.train()
    (images,), (pixels,) = watch.images, shown
    mean, std = (torch.tensor(x)[:, None, None] for x in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    assert images.min() >= 0 and images.max() <= 1
    assert torch.allclose((images - mean) / std, pixels, atol=1e-5)


def test_oblong_batches_of_several_sizes(tmp_path, data, teacher):
    trainer = make_trainer(tmp_path, data=data, teacher=teacher, num_train_epochs=2)
    sizes = [(64, 96), (96, 64), (128, 96)]
    trainer.data_collator = DetectionCollator(IMAGE_SIZE_HW, train_sizes_hw=sizes)
    with Watch(teacher) as watch:
        trainer.train()
    assert len({tuple(images.shape[-2:]) for images in watch.images}) > 1
    assert all(math.isfinite(loss) for loss in losses(trainer).values())


def test_mixed_precision_stops_at_the_teacher(tmp_path, data, teacher):
    for name in ("d_fine", "rt_detr_v4"):
        torch.manual_seed(0)
        trainer = make_trainer(
            tmp_path / name, data=data, model=tiny_model(name), teacher=teacher, max_steps=2, bf16=True
        )
        with Watch(teacher) as watch:
            trainer.train()
        assert watch.autocast == [False, False]
        assert all(images.dtype == torch.float32 for images in watch.images)
        assert all(0 < term < 10 for term in history(trainer, "loss_distill").values())


def test_evaluation_does_without_the_teacher(tmp_path, data, teacher):
    trainer = make_trainer(tmp_path, data=data, teacher=teacher)
    with Watch(teacher) as watch:
        trainer.evaluate()
    assert watch.images == []


def test_every_second_step(tmp_path, data, teacher):
    keep = KeepGradients()
    trainer = make_trainer(
        tmp_path, data=data, teacher=teacher, max_steps=4, distillation=DistillationArguments(teacher_every=2)
    )
    trainer.add_callback(keep)
    with Watch(teacher) as watch:
        trainer.train()
    assert len(watch.images) == 2
    assert [term > 0 for term in history(trainer, "loss_distill").values()] == [True, False, True, False]
    projector = [gradients["feature_projector.weight"].abs().sum().item() for gradients in keep.gradients]
    assert [gradient > 0 for gradient in projector] == [True, False, True, False]  # never missing


def test_accumulated_batches_have_the_distillation_of_one(tmp_path, data, teacher):
    trainers = [
        make_split_trainer(tmp_path, batch=batch, accumulated=4 // batch, data=data, teacher=teacher)
        for batch in (4, 2)
    ]
    whole, parts = (first_gradients(trainer) for trainer in trainers)
    whole_term, parts_term = (history(trainer, "loss_distill")[1] for trainer in trainers)
    assert whole_term == pytest.approx(parts_term, rel=1e-5)
    for name in ("feature_projector.weight", "model.encoder.aifi.0.layers.0.mlp.layers.0.weight"):
        assert (whole[name] - parts[name]).norm() < 1e-4 * whole[name].norm(), name


# The weight of the term


def test_the_weight_moves_after_each_epoch_until_the_last_stage(tmp_path, data, teacher, caplog):
    # 5 epochs, of which the last is the last stage; the rule looks at an epoch when it is over.
    caplog.set_level("INFO", logger="hf_detr")
    trainer = make_trainer(
        tmp_path, data=data, teacher=teacher, distillation=ADAPTIVE, num_train_epochs=5, no_aug_epochs=2
    )
    assert trainer.args.stages(8).stop == 4
    trainer.train()
    weights, shares = history(trainer, "distill_weight"), history(trainer, "distill_share")
    assert list(weights) == list(shares) == [2, 4, 6, 8, 10]
    assert weights[2] == 5.0 and weights[4] == 50.0  # far below the target: the largest factor
    assert weights[4] < weights[6] < weights[8]
    assert shares[4] > shares[2]
    assert "Distillation weight 50, was 5: adjusted from" in caplog.text


def test_a_weight_that_runs_away_is_named_once(tmp_path, data, teacher, caplog):
    caplog.set_level("WARNING", logger="hf_detr")
    unreachable = DistillationArguments(distill_target_share=98.0, distill_tolerance=1.0)
    trainer = make_trainer(tmp_path, data=data, teacher=teacher, distillation=unreachable, num_train_epochs=5)
    trainer.train()
    assert history(trainer, "distill_weight")[10] > 500
    (warning,) = [record.getMessage() for record in caplog.records if "distill_target_share" in record.getMessage()]
    assert "does not reach distill_target_share 98, and the weight will drown the other losses" in warning


def test_losses_logged_by_epoch_are_logged_beside_the_weight(tmp_path, data, teacher):
    trainer = make_trainer(tmp_path, data=data, teacher=teacher, num_train_epochs=2, logging_strategy="epoch")
    trainer.train()
    assert list(history(trainer, "loss_distill")) == list(history(trainer, "distill_weight")) == [2, 4]


def test_the_last_stage_takes_the_final_weight(tmp_path, data, teacher):
    trainer = make_trainer(
        tmp_path,
        data=data,
        teacher=teacher,
        distillation=ADAPTIVE,
        num_train_epochs=10,
        no_aug_epochs=2,
        per_device_train_batch_size=8,
    )
    trainer.train()
    weights = list(history(trainer, "distill_weight").values())
    assert trainer.args.stages(8).stop == 8
    assert weights[8] != 2.0 and weights[9] == 2.0


@pytest.mark.parametrize("step", [3, 4], ids=["within an epoch", "after an epoch's last step"])
def test_an_adaptive_run_resumed_is_the_run_that_went_on(tmp_path, data, teacher, step):
    settings = {"data": data, "teacher": teacher, "distillation": ADAPTIVE, "num_train_epochs": 4}
    settings |= {"save_strategy": "steps", "save_steps": step, "save_total_limit": 8}
    straight = make_trainer(tmp_path / "straight", **settings)
    straight.train()
    resumed = make_trainer(tmp_path / "resumed", **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "straight" / "run" / f"checkpoint-{step}"))
    for name in ("loss", "loss_distill", "distill_weight", "distill_share"):
        assert history(resumed, name) == history(straight, name), name
    assert resumed.distillation.weight.weight == straight.distillation.weight.weight != 5.0
    assert_same_weights(resumed, straight)
    with straight.ema.applied(), resumed.ema.applied():
        assert_same_weights(resumed, straight)


def test_checkpoints_hold_the_projector_for_resuming_only(tmp_path, data, teacher):
    for name in ("d_fine", "rt_detr_v4"):
        torch.manual_seed(0)
        trainer = make_trainer(
            tmp_path / name,
            data=data,
            model=tiny_model(name),
            teacher=teacher,
            max_steps=2,
            save_strategy="steps",
            save_steps=2,
            eval_strategy="steps",
            eval_steps=2,
            load_best_model_at_end=True,
        )
        trainer.train()
        checkpoint = tmp_path / name / "run" / "checkpoint-2"
        assert not any("projector" in n for n in load_file(checkpoint / "model.safetensors"))
        kept = load_file(checkpoint / "training_weights.safetensors")
        assert torch.equal(kept["feature_projector.weight"], trainer.model.feature_projector.weight)
        assert not any("teacher" in n or "network" in n for n in kept)
        assert json.loads((checkpoint / "config.json").read_text()).get("teacher_dim") is None


# What does not fit


def test_resuming_with_another_teacher_is_refused(tmp_path, data, teacher):
    settings = {"data": data, "max_steps": 2, "save_strategy": "steps", "save_steps": 1}
    make_trainer(tmp_path / "with", teacher=teacher, **settings).train()
    without = make_trainer(tmp_path / "without", **settings)
    with pytest.raises(TrainingError, match=rf"a teacher of {TEACHER_DIM} channels, this run has no teacher.*recipe"):
        without.train(resume_from_checkpoint=str(tmp_path / "with" / "run" / "checkpoint-1"))
    without.train()
    again = make_trainer(tmp_path / "again", teacher=teacher, **settings)
    with pytest.raises(TrainingError, match=rf"no teacher, this run has a teacher of {TEACHER_DIM} channels"):
        again.train(resume_from_checkpoint=str(tmp_path / "without" / "run" / "checkpoint-1"))


def test_a_projector_without_a_teacher_is_taken_off(tmp_path, data, teacher):
    """Its parameters would have no gradient."""
    for name in ("d_fine", "rt_detr_v4"):
        model = tiny_model(name)
        add_feature_projector(model, TEACHER_DIM)
        trainer = make_trainer(tmp_path / name, data=data, model=model, max_steps=1)
        assert not hasattr(trainer.model, "feature_projector")
        keep = KeepGradients()
        trainer.add_callback(keep)
        trainer.train()
        assert set(keep.gradients[0]) == {n for n, p in trainer.model.named_parameters() if p.requires_grad}
        again = make_trainer(tmp_path / f"{name} again", data=data, model=trainer.model, teacher=teacher, max_steps=1)
        again.train()
        assert history(again, "loss_distill")[1] > 0


def test_a_teacher_that_is_named_but_not_given(tmp_path, data):
    with pytest.raises(TrainingError, match=r"names the teacher timm/vit.*load_teacher"):
        make_trainer(tmp_path, data=data, distillation=DistillationArguments("timm/vit"))


def test_features_that_are_not_finite_are_refused_before_the_first_step(tmp_path, data):
    broken = load_teacher(str(save_tiny_dinov3(tmp_path / "teacher")))
    broken.network.model.norm.weight.fill_(float("nan"))
    with pytest.raises(CheckpointError, match="not finite"):
        make_trainer(tmp_path, data=data, teacher=broken)
