import torch
from transformers import TrainerCallback

from tests.synthetic import make_coco
from tests.tiny import IMAGE_SIZE_HW, tiny_model
from tests.training.runs import losses, make_trainer

SETTINGS = {"num_train_epochs": 4, "late_matcher": True, "matcher_change_epoch": 2}


class KeepMatcher(TrainerCallback):
    """Remembers which matcher every step used."""

    def __init__(self, criterion):
        self.criterion = criterion
        self.late = {}

    def on_step_end(self, args, state, control, **kwargs):
        self.late[state.global_step] = self.criterion.use_iou_matching


def run(folder, data, checkpoint=None, **settings):
    torch.manual_seed(0)
    trainer = make_trainer(folder, data=data, model=tiny_model("deimv2"), **{**SETTINGS, **settings})
    keep = KeepMatcher(trainer.criterion)
    trainer.add_callback(keep)
    trainer.train(resume_from_checkpoint=checkpoint)
    return trainer, keep.late


def test_the_late_matcher_comes_with_its_epoch_also_in_a_resumed_run(tmp_path):
    # Two steps an epoch, so steps 3 and 5 lie in the middle of one: before the change, and after it.
    data = make_coco(tmp_path / "data", images=8, size_hw=IMAGE_SIZE_HW, splits=("train",))
    straight, late = run(tmp_path / "straight", data, save_strategy="steps", save_steps=1, save_total_limit=8)
    assert late == {1: False, 2: False, 3: False, 4: False, 5: True, 6: True, 7: True, 8: True}
    for step in (3, 5):
        checkpoint = str(tmp_path / "straight" / "run" / f"checkpoint-{step}")
        resumed, late_again = run(tmp_path / f"resumed{step}", data, checkpoint)
        assert late_again == {at: value for at, value in late.items() if at > step}
        assert losses(resumed) == losses(straight)

    early, late = run(tmp_path / "early", data, late_matcher=False)
    assert not any(late.values())
    # Both matchers may agree on a step.
    same = [losses(early)[step] == losses(straight)[step] for step in range(1, 9)]
    assert all(same[:4]) and not all(same[4:])
