"""Short training runs of a tiny detector on coloured rectangles."""

from dataclasses import replace
from pathlib import Path

import torch
from transformers import TrainerCallback

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


def quiet_model(**overrides) -> torch.nn.Module:
    """A model whose gradients depend on the pictures alone, not on which of them share a batch."""
    torch.manual_seed(0)
    model = tiny_model(freeze_backbone_batch_norms=True, **overrides)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
            module.train = lambda mode=True, module=module: module
    return model


def make_split_trainer(folder: Path, *, batch: int, accumulated: int, **settings) -> DetrTrainer:
    """A trainer of one step of ``accumulated`` batches; what depends on the batch by nature is off.

    These are batch norms, the noise of denoising queries, the size of the union of matches and DDF's mean.
    """
    trainer = make_trainer(
        folder / f"{batch}x{accumulated}",
        model=quiet_model(num_denoising=0),
        max_steps=1,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulated,
        max_grad_norm=0.0,
        **settings,
    )
    trainer.criterion.options = replace(trainer.criterion.options, union_of_matches=False, ddf_weight=0.0)
    return trainer


class KeepGradients(TrainerCallback):
    """Remembers the gradients before each optimizer step."""

    def __init__(self):
        self.gradients = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        named = model.named_parameters()
        self.gradients.append({n.removeprefix("module."): p.grad.clone() for n, p in named if p.grad is not None})


def first_gradients(trainer: DetrTrainer) -> dict[str, torch.Tensor]:
    """Train, and return the gradients of the first step."""
    keep = KeepGradients()
    trainer.add_callback(keep)
    trainer.train()
    return keep.gradients[0]


def losses(trainer: DetrTrainer) -> dict[int, float]:
    """The loss of every step."""
    return {row["step"]: row["loss"] for row in trainer.state.log_history if "loss" in row}
