"""Every family learns eight pictures by heart: its model, loss, optimizer, average and evaluation agree."""

import pytest
import torch

from tests.tiny import TINY_FAMILIES, tiny_model
from tests.training.runs import make_trainer

# One of each loss: MAL with corner losses, VFL without union and corners (as RT-DETRv2), MAL without them (DEIMv2).
# D-FINE itself, with VFL and corner losses, is in test_trainer.py.
FAST = ("deim", "rt_detr_v2", "deimv2_atto")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in TINY_FAMILIES if name != "d_fine"],
)
def test_eight_pictures_are_learnt(tmp_path, name):
    torch.manual_seed(0)
    trainer = make_trainer(
        tmp_path,
        model=tiny_model(name),
        max_steps=200 if name in FAST else 300,
        per_device_train_batch_size=8,
        learning_rate=4e-3,
        logging_steps=100,
    )
    trainer.train()
    assert trainer.evaluate()["eval_AP"] > 0.9
