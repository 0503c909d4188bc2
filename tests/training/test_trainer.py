import math
import signal
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import TrainerCallback

from hf_detr.data.coco import load_coco
from hf_detr.data.collate import DetectionCollator
from hf_detr.errors import HubError, TrainingError
from hf_detr.evaluation.coco import CocoEvaluator
from hf_detr.training.checkpoints import find_checkpoints, last_complete_checkpoint
from hf_detr.training.trainer import DetrTrainer
from tests.synthetic import annotation_file, images_folder, make_coco
from tests.tiny import IMAGE_SIZE_HW
from tests.training.runs import first_gradients, losses, make_split_trainer, make_trainer


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_coco(tmp_path_factory.mktemp("coco"), images=8, size_hw=IMAGE_SIZE_HW, splits=("train",))


class AtStep(TrainerCallback):
    """Calls a function at the end of one step."""

    def __init__(self, step, function):
        self.step, self.function = step, function

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.function()


def test_eight_pictures_are_learnt(tmp_path, data):
    # If this passes, then boxes, labels, matcher, criterion, optimizer, average and evaluator agree.
    trainer = make_trainer(tmp_path, data=data, num_train_epochs=150, logging_steps=100)
    trainer.train()
    metrics = trainer.evaluate()
    assert metrics["eval_AP"] > 0.9
    assert trainer.last_evaluation["per_class"]


def test_the_best_checkpoint_by_ap_is_what_remains(tmp_path, data, monkeypatch):
    trainer = make_trainer(
        tmp_path,
        data=data,
        num_train_epochs=4,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        save_total_limit=1,
    )
    aps = iter([0.1, 0.4, 0.2, 0.3])
    compute = CocoEvaluator.compute
    monkeypatch.setattr(CocoEvaluator, "compute", lambda self: compute(self) | {"AP": next(aps)})
    trainer.train()
    run = tmp_path / "run"
    assert trainer.state.best_model_checkpoint == str(run / "checkpoint-4")
    assert [path.name for path in find_checkpoints(run)] == ["checkpoint-4"]
    saved = type(trainer.model).from_pretrained(run / "checkpoint-4").state_dict()
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, saved[name]), name


def test_another_split_is_scored_against_its_own_annotations(tmp_path, data):
    other = make_coco(tmp_path / "other", images=3, size_hw=IMAGE_SIZE_HW, splits=("train",), seed=5)
    trainer = make_trainer(tmp_path, data=data)
    trainer.evaluate()
    assert trainer.last_evaluation["images"] == 8
    trainer.evaluate(load_coco(images_folder(other), annotation_file(other)))
    assert trainer.last_evaluation["images"] == 3
    trainer.evaluate()
    assert trainer.last_evaluation["images"] == 8


def test_checkpoints_hold_the_averaged_weights(tmp_path, data):
    trainer = make_trainer(tmp_path, data=data, max_steps=3, save_strategy="steps", save_steps=3)
    trainer.train()
    saved = type(trainer.model).from_pretrained(tmp_path / "run" / "checkpoint-3").state_dict()
    name = "model.encoder_input_proj.0.0.weight"
    assert not torch.equal(trainer.model.state_dict()[name], saved[name])
    with trainer.ema.applied():
        for name, tensor in trainer.model.state_dict().items():
            assert torch.equal(tensor, saved[name]), name


def test_a_resumed_run_continues_bit_for_bit(tmp_path, data):
    # Three steps an epoch of 2 pictures (8 pictures, 2 left over as one more step): the cut is in the middle of one.
    settings = {"data": data, "num_train_epochs": 3, "per_device_train_batch_size": 2}
    settings |= {"save_strategy": "steps", "save_steps": 6}
    straight = make_trainer(tmp_path / "straight", **settings)
    straight.train()
    resumed = make_trainer(tmp_path / "resumed", **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "straight" / "run" / "checkpoint-6"))
    assert resumed.state.global_step == straight.state.global_step == 12
    assert losses(resumed) == losses(straight)
    for (name, a), b in zip(straight.model.state_dict().items(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    with straight.ema.applied(), resumed.ema.applied():
        for (name, a), b in zip(straight.model.state_dict().items(), resumed.model.state_dict().values(), strict=True):
            assert torch.equal(a, b), name


def test_a_run_resumed_between_epochs_continues_bit_for_bit_with_persistent_workers(tmp_path, data):
    # Workers that live on draw no new seed when an epoch begins, those of the resumed run do: it must not matter.
    settings = {"data": data, "num_train_epochs": 3, "dataloader_num_workers": 1, "save_strategy": "epoch"}
    straight = make_trainer(tmp_path / "straight", **settings, save_total_limit=5)
    straight.train()
    resumed = make_trainer(tmp_path / "resumed", **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "straight" / "run" / "checkpoint-2"))
    assert losses(resumed) == losses(straight)
    alone = make_trainer(tmp_path / "alone", **settings | {"dataloader_num_workers": 0, "save_strategy": "no"})
    alone.train()
    assert losses(alone) == losses(straight)


def test_a_run_that_ended_within_an_epoch_trains_no_further_when_resumed(tmp_path, data):
    settings = {"data": data, "per_device_train_batch_size": 2, "max_steps": 3}
    settings |= {"save_strategy": "steps", "save_steps": 3}
    make_trainer(tmp_path, **settings).train()
    resumed = make_trainer(tmp_path / "resumed", **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-3"))
    assert resumed.state.global_step == 3


def test_ctrl_c_saves_and_a_second_one_stops_at_once(tmp_path, data):
    trainer = make_trainer(tmp_path, data=data, num_train_epochs=10)
    trainer.add_callback(AtStep(3, lambda: signal.raise_signal(signal.SIGINT)))
    before = signal.getsignal(signal.SIGINT)
    trainer.train()
    assert trainer.interrupt.interrupted
    assert trainer.state.global_step == 4  # the signal comes after our handler has looked at step 3
    assert last_complete_checkpoint(tmp_path / "run").name == "checkpoint-4"
    assert signal.getsignal(signal.SIGINT) == before

    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    impatient = make_trainer(tmp_path / "other", data=data, num_train_epochs=10)
    impatient.add_callback(AtStep(1, twice))
    with pytest.raises(KeyboardInterrupt):
        impatient.train()
    signal.signal(signal.SIGINT, before)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, data, monkeypatch):
    trainer = make_trainer(tmp_path, data=data, max_steps=4, save_strategy="steps", save_steps=2)
    save = torch.save

    def save_until_full(content, path, *args, **kwargs):
        if trainer.state.global_step == 4:
            # a real failing write: the device that is always full
            path = "/dev/full"
        save(content, path, *args, **kwargs)

    monkeypatch.setattr(torch, "save", save_until_full)
    with pytest.raises(TrainingError, match=r"Cannot save a checkpoint.*checkpoint-2 is intact.*--resume"):
        trainer.train()
    assert [path.name for path in find_checkpoints(tmp_path / "run")] == ["checkpoint-2"]
    assert not (tmp_path / "run" / ".saving").exists()


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, data):
    trainer = make_trainer(tmp_path, data=data, max_steps=4)
    with torch.no_grad():
        trainer.model.model.enc_score_head.bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"The loss became nan before step 1.*learning_rate"):
        trainer.train()


def test_every_loss_term_is_logged(tmp_path, data):
    trainer = make_trainer(tmp_path, data=data, max_steps=2)
    trainer.train()
    row = next(row for row in trainer.state.log_history if "loss" in row)
    terms = {name: value for name, value in row.items() if name.startswith("loss_")}
    assert {"loss_vfl", "loss_bbox", "loss_giou", "loss_fgl", "loss_ddf_aux_0", "loss_vfl_dn_pre"} <= set(terms)
    assert sum(terms.values()) == pytest.approx(row["loss"], rel=1e-4)
    assert all(math.isfinite(value) for value in terms.values())


def test_an_unreadable_picture_is_named_and_counted(tmp_path, caplog):
    data = make_coco(tmp_path / "data", images=8, size_hw=IMAGE_SIZE_HW, splits=("train",))
    broken = sorted((data / "train").glob("*.[jp][pn]g"))[2]
    with Image.open(broken) as image:
        assert image.size
    broken.write_bytes(broken.read_bytes()[:200])
    trainer = make_trainer(tmp_path, data=data, num_train_epochs=2)
    trainer.train()
    trainer.evaluate()
    assert list(trainer.unreadable) == [str(broken)]
    assert caplog.text.count(f"Skipped unreadable picture {broken}") == 1
    assert trainer.last_evaluation["images"] == 7


def test_ratio_zero_freezes_the_backbone(tmp_path, data):
    trainer = make_trainer(tmp_path, data=data, max_steps=2, backbone_lr_ratio=0.0, weight_decay=0.1)
    before = {name: tensor.clone() for name, tensor in trainer.model.named_parameters()}
    trainer.train()
    for name, tensor in trainer.model.named_parameters():
        if name.startswith("model.backbone."):
            assert torch.equal(tensor, before[name]), name
    assert not torch.equal(trainer.model.model.enc_score_head.weight, before["model.enc_score_head.weight"])


def test_two_accumulated_batches_equal_one_of_twice_the_size(tmp_path, data):
    whole, parts = (
        first_gradients(make_split_trainer(tmp_path, batch=batch, accumulated=4 // batch, data=data))
        for batch in (4, 2)
    )
    assert whole.keys() == parts.keys()
    norm = math.sqrt(sum(float(g.square().sum()) for g in whole.values()))
    difference = math.sqrt(sum(float((whole[n] - parts[n]).square().sum()) for n in whole))
    assert difference < 1e-5 * norm


def test_publishing_is_proven_possible_before_the_run(tmp_path, data):
    # There is no network in tests; tests/docs publishes to a Hub on localhost.
    with pytest.raises(HubError, match=r"HF_HUB_OFFLINE|hf auth login"):
        make_trainer(tmp_path, data=data, push_to_hub=True)


def test_training_at_another_size_than_that_of_the_saved_processor_is_refused(tmp_path, data):
    trainer = make_trainer(tmp_path, data=data)
    with pytest.raises(TrainingError, match=r"\(64, 96\) .* processor .* \(64, 64\)"):
        DetrTrainer(
            trainer.model,
            trainer.args,
            processing_class=trainer.processing_class,
            data_collator=DetectionCollator((64, 96)),
        )


def test_the_model_card_has_the_numbers_of_the_last_evaluation(tmp_path, data):
    trainer = make_trainer(tmp_path, data=data, max_steps=2)
    trainer.train()
    trainer.evaluate()
    trainer.save_model()
    trainer.create_model_card(dataset="rectangles")
    card = (tmp_path / "run" / "README.md").read_text()
    assert f"| train | 8 | {trainer.train_dataset.index.objects_per_image.sum()} |" in card
    assert "`rectangles`" in card and "on the train split" in card and "| steps | 2 |" in card
