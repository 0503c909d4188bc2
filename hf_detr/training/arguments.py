"""How to train: Transformers' own arguments, with the papers' defaults, and the few that are ours."""

import importlib.util
import logging
import math
import os
from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments
from transformers.utils import is_torch_bf16_gpu_available

from hf_detr.training.scaling import Rates, scale_rates
from hf_detr.training.schedule import Stages, fit_warmup, plan_matcher_change, plan_stages

logger = logging.getLogger(__name__)


@dataclass
class DetrTrainingArguments(TrainingArguments):
    """`TrainingArguments` with the defaults of D-FINE (https://huggingface.co/papers/2410.13842, section 4.1).

    Best checkpoints are chosen by COCO AP of the averaged (EMA) weights. Epoch counts that do not fit a short run are
    made smaller, and the log says so.
    """

    output_dir: str | None = field(
        default=None, metadata={"help": "Where the results go; must not hold another run. Default: runs/RECIPE-DATA."}
    )
    num_train_epochs: float = field(default=30.0, metadata={"help": "Passes over the training pictures."})
    per_device_train_batch_size: int = field(default=8, metadata={"help": "Pictures per step and device."})
    per_device_eval_batch_size: int = field(default=8, metadata={"help": "Pictures per evaluation step and device."})
    learning_rate: float = field(default=2e-4, metadata={"help": "Highest learning rate of all but the backbone."})
    reference_batch_size: int | None = field(
        default=None,
        metadata={
            "help": "Pictures per step, over all devices, that learning rate, EMA and warm-ups are meant for; with "
            "more or fewer they are scaled. Default: they hold as they are."
        },
    )
    backbone_lr_ratio: float = field(
        default=0.5, metadata={"help": "The backbone trains at learning_rate times this. 0 freezes it."}
    )
    weight_decay: float = field(default=1e-4, metadata={"help": "AdamW weight decay; none on norms and biases."})
    max_grad_norm: float = field(default=0.1, metadata={"help": "Gradients longer than this are scaled down to it."})
    warmup_steps: float = field(
        default=500,
        metadata={"help": "Steps of learning-rate warm-up, or a share of the run if below 1; at most a tenth of it."},
    )
    lr_schedule: str = field(
        default="flat_cosine",
        metadata={
            "help": "`flat_cosine` (warm-up, flat, cosine, floor: DEIM), `constant` (warm-up, then flat: D-FINE), or "
            "`transformers` to use --lr_scheduler_type.",
            "choices": ["flat_cosine", "constant", "transformers"],
        },
    )
    lr_floor: float = field(default=0.5, metadata={"help": "flat_cosine ends at learning_rate times this."})
    flat_epochs: float | None = field(
        default=None,
        metadata={
            "help": "flat_cosine stays flat until this epoch, or share of the run if below 1. Default: 4 + half of "
            "those before the last stage."
        },
    )
    no_aug_epochs: float = field(
        default=12.0,
        metadata={
            "help": "The last epochs train without heavy augmentation, multi-scale and (flat_cosine) at the lowest "
            "learning rate; at most a fifth of the run, one epoch at least. 0 never stops augmenting."
        },
    )
    late_matcher: bool = field(
        default=False,
        metadata={"help": "Match by score and IoU alone in the last epochs, as DEIMv2 does."},
    )
    matcher_change_epoch: float | None = field(
        default=None,
        metadata={
            "help": "With late_matcher: from this epoch on, or a share of the run if below 1. Default: nine tenths of "
            "the epochs before the last stage."
        },
    )
    ema: bool = field(default=True, metadata={"help": "Evaluate and save a moving average of the weights."})
    ema_decay: float = field(default=0.9999, metadata={"help": "Decay of the moving average once warmed up."})
    ema_warmup_steps: float = field(
        default=1000, metadata={"help": "Decay at step t is ema_decay * (1 - exp(-t / this)). 0: no warm-up."}
    )
    sync_batchnorm: bool = field(
        default=True, metadata={"help": "With several GPUs, batch norms see the pictures of all of them."}
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after this many evaluations without a better AP."}
    )
    max_detections: int | None = field(
        default=None,
        metadata={
            "help": "Detections per image that count. Default: 100 as in COCO, or as many as the fullest image has."
        },
    )
    eval_backend: str = field(
        default="hotcoco",
        metadata={
            "help": "What computes the COCO numbers: `hotcoco` or `pycocotools`.",
            "choices": ["hotcoco", "pycocotools"],
        },
    )
    resume: bool = field(
        default=False, metadata={"help": "Continue the run in output_dir from its last complete checkpoint."}
    )
    hub_private_repo: bool | None = field(default=True, metadata={"help": "Publish as a private repository."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate: `epoch`, `steps` or `no`."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save: `epoch`, `steps`, `best` or `no`."})
    save_total_limit: int | None = field(default=2, metadata={"help": "Checkpoints kept; the best one always is."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "Finish with the weights of the best AP."})
    metric_for_best_model: str | None = field(default="AP", metadata={"help": "Number that decides which is best."})
    greater_is_better: bool | None = field(default=True, metadata={"help": "Whether more of that number is better."})
    logging_steps: float = field(default=50, metadata={"help": "Steps between logged losses."})
    bf16: bool | None = field(
        default=None, metadata={"help": "Train in bfloat16. Default: where the GPU supports it and fp16 is not asked."}
    )
    dataloader_num_workers: int | None = field(
        default=None, metadata={"help": "Processes that read and augment pictures. Default: one per core, at most 8."}
    )
    loader_timeout: float = field(
        default=600.0,
        metadata={"help": "Seconds without a batch from those processes after which the run stops; 0 for never."},
    )
    dataloader_persistent_workers: bool = field(
        default=True, metadata={"help": "Keep those processes from epoch to epoch."}
    )
    report_to: str | list[str] | None = field(
        default="auto",
        metadata={"help": "Where curves go: `tensorboard`, `wandb`, `none`, …; `auto` is TensorBoard if installed."},
    )
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Unused: a loss that is not finite stops the run."}
    )
    remove_unused_columns: bool = field(default=False, metadata={"help": "Not used: the collator decides."})
    ddp_find_unused_parameters: bool | None = field(
        default=False, metadata={"help": "Not needed: every parameter gets a gradient in every step."}
    )

    @property
    def total_batch_size(self) -> int:
        """Pictures per optimizer step: of all devices and accumulated batches."""
        return self.train_batch_size * self.gradient_accumulation_steps * self.world_size

    def rates(self) -> Rates:
        """Learning rate, EMA and warm-ups as they are used: for this batch, where they are given for another.

        The fields keep the given numbers, so that arguments which are saved and loaded are not scaled twice.
        """
        given = Rates(self.learning_rate, self.warmup_steps, self.ema_decay, self.ema_warmup_steps)
        return scale_rates(given, batch=self.total_batch_size, reference_batch=self.reference_batch_size)

    def get_warmup_steps(self, num_training_steps: int) -> int:
        """Steps of learning-rate warm-up, at most a tenth of the run."""
        return fit_warmup(self.rates().warmup_steps, num_training_steps)

    def steps_per_epoch(self, num_images: int) -> int:
        """Optimizer steps in one pass over the training pictures; the last, smaller batch is left out."""
        batches = num_images // (self.train_batch_size * self.world_size)
        return max(1, math.ceil(batches / self.gradient_accumulation_steps))

    def total_steps(self, num_images: int) -> int:
        """Optimizer steps of the whole run."""
        if self.max_steps > 0:
            return self.max_steps
        return math.ceil(self.num_train_epochs * self.steps_per_epoch(num_images))

    def stages(self, num_images: int) -> Stages:
        """Where the stages of the run begin, in epochs."""
        epochs = self.num_train_epochs
        if self.max_steps > 0:
            epochs = self.max_steps / self.steps_per_epoch(num_images)
        return plan_stages(epochs, no_aug_epochs=self.no_aug_epochs, flat_epochs=self.flat_epochs)

    def matcher_change(self, num_images: int) -> float | None:
        """The epoch from which on the late matcher is used, None for never."""
        return plan_matcher_change(
            self.stages(num_images), late_matcher=self.late_matcher, change_epoch=self.matcher_change_epoch
        )

    def __post_init__(self) -> None:
        if self.reference_batch_size is not None and self.reference_batch_size < 1:
            raise ValueError(f"reference_batch_size must be 1 or more, got {self.reference_batch_size}.")
        if self.report_to == "auto":
            self.report_to = "tensorboard" if importlib.util.find_spec("tensorboard") else "none"
        if self.bf16 is None:
            self.bf16 = not self.fp16 and not self.use_cpu and is_torch_bf16_gpu_available()
        if self.dataloader_num_workers is None:
            self.dataloader_num_workers = min(os.cpu_count() or 1, 8)
        self.dataloader_persistent_workers = self.dataloader_persistent_workers and self.dataloader_num_workers > 0
        self.dataloader_pin_memory = self.dataloader_pin_memory and torch.accelerator.is_available()
        super().__post_init__()
        if self.n_gpu > 1:
            # torch's DataParallel cannot split our lists of targets, and is slow anyway.
            logger.warning(
                "Using 1 of %d GPUs. For all of them: accelerate launch scripts/train.py … with the same flags.",
                self.n_gpu,
            )
            self._n_gpu = 1
