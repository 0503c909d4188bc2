"""Short training runs of a tiny detector on coloured rectangles."""

from pathlib import Path

import torch

from hf_detr.data.collate import DetectionCollator
from hf_detr.data.loaders import load_split
from hf_detr.data.splits import find_splits
from hf_detr.models.families import build_processor
from hf_detr.training.arguments import DetrTrainingArguments
from hf_detr.training.trainer import DetrTrainer
from tests.synthetic import make_coco
from tests.tiny import IMAGE_SIZE_HW, tiny_model


def as_it_is(sample, rng, epoch):
    """A transform that changes nothing; having one is what makes a data set one for training."""
    return sample


def make_trainer(
    folder: Path,
    *,
    data: Path | None = None,
    model=None,
    image_size_hw=IMAGE_SIZE_HW,
    teacher=None,
    distillation=None,
    **settings,
) -> DetrTrainer:
    """A trainer of a fresh tiny model (seed 0) that writes to ``folder/run``; both splits are those of ``train``."""
    if data is None:
        data = make_coco(folder / "data", images=8, size_hw=IMAGE_SIZE_HW, splits=("train",))
    split = find_splits(data)["train"]
    torch.manual_seed(0)
    model = tiny_model() if model is None else model
    settings = {
        "per_device_train_batch_size": 4,
        "learning_rate": 2e-3,
        "backbone_lr_ratio": 1.0,
        "dataloader_num_workers": 0,
        "ema_decay": 0.95,
        "ema_warmup_steps": 10,
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "eval_strategy": "no",
        "save_strategy": "no",
        "load_best_model_at_end": False,
        "use_cpu": True,
        **settings,
    }
    return DetrTrainer(
        model,
        DetrTrainingArguments(str(folder / "run"), **settings),
        processing_class=build_processor(model.config, image_size_hw),
        train_dataset=load_split(split, transform=as_it_is),
        eval_dataset=load_split(split),
        data_collator=DetectionCollator(image_size_hw),
        teacher=teacher,
        distillation=distillation,
    )


def losses(trainer: DetrTrainer) -> dict[int, float]:
    """The loss of every step."""
    return {row["step"]: row["loss"] for row in trainer.state.log_history if "loss" in row}
