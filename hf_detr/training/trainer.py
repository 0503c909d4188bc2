"""Transformers' `Trainer`, with the few overrides that detection needs."""

import logging
import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Sampler
from transformers import EarlyStoppingCallback
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK
from transformers.trainer_callback import PrinterCallback

from hf_detr.data.faults import explained_faults
from hf_detr.data.sampling import EpochSampler
from hf_detr.data.streaming import StreamSampler, is_streamed
from hf_detr.distillation.arguments import DistillationArguments
from hf_detr.distillation.student import PROJECTOR, add_feature_projector, remove_feature_projector
from hf_detr.distillation.teacher import check_teacher
from hf_detr.errors import TrainingError
from hf_detr.losses.attach import attach_criterion
from hf_detr.models.decoding import prepare_pixels
from hf_detr.models.denoising import use_paper_denoising
from hf_detr.models.freeze import freeze_backbone, freeze_constants
from hf_detr.training.arguments import DetrTrainingArguments
from hf_detr.training.callbacks import EmaCallback, InterruptCallback, LateMatcherCallback, ProgressBar
from hf_detr.training.distillation import Distillation
from hf_detr.training.ema import ModelEma
from hf_detr.training.evaluating import EvaluatingTrainer
from hf_detr.training.optimizer import parameter_groups
from hf_detr.training.requirements import require_enough_anchors, require_one_size, teacher_to_use
from hf_detr.training.schedule import flat_cosine, linear_warmup

logger = logging.getLogger(__name__)

# Several processes ask each other for an interrupt only this often: the question waits for all of them.
_STEPS_BETWEEN_INTERRUPT_CHECKS = 10


class DetrTrainer(EvaluatingTrainer):
    """Fine-tunes a DETR detector with the papers' optimizer groups, schedule, moving average and criterion.

    Args:
        model: a detector of `load_for_finetuning` or `load_from_scratch`; our criterion is attached to it.
        args: training arguments.
        processing_class: the model's image processor; saved with every checkpoint.
        train_dataset, eval_dataset: `DetectionDataset`s.
        data_collator: a `DetectionCollator`.
        teacher: a frozen vision model, see `load_teacher`, whose features the model's encoder learns; it is not part
            of the model, of its checkpoints, or of evaluations. None for training without.
        distillation: the weight of that, and how often the teacher runs; with a weight of 0 it never does.
        kwargs: passed on to `Trainer`.

    Raises:
        TrainingError: the collator resizes to another size than the image processor, weights are to be sharded, or
            `distillation` names a teacher that is not given.
        CheckpointError: the smallest size of multi-scale has fewer anchors than the model has queries, or the teacher
            does not fit.
    """

    def __init__(
        self,
        model: nn.Module,
        args: DetrTrainingArguments,
        *,
        processing_class: Any,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        data_collator: Any,
        teacher: nn.Module | None = None,
        distillation: DistillationArguments | None = None,
        **kwargs: Any,
    ):
        require_one_size(data_collator.image_size_hw, processing_class)
        require_enough_anchors(data_collator.train_sizes_hw, model.config)
        distillation = distillation or DistillationArguments()
        teacher = teacher_to_use(teacher, distillation)
        if teacher is not None:
            check_teacher(teacher.to(args.device), data_collator.image_size_hw)
            add_feature_projector(model, teacher.feature_dim)
        else:
            remove_feature_projector(model)
        self.criterion = attach_criterion(model)
        use_paper_denoising(model)
        freeze_constants(model)
        # The layout that batches come in; in bfloat16 convolutions are a third faster in it.
        model.to(memory_format=torch.channels_last)
        if args.backbone_lr_ratio == 0:
            freeze_backbone(model)
        if args.sync_batchnorm and args.world_size > 1 and args.device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self.unreadable: dict[str, str] = {}
        self._loss_sums: dict[str, Tensor] = {}
        self._loss_count = 0

        # The evaluator takes one batch after the other, so memory does not grow with the evaluated set.
        args.batch_eval_metrics = True
        args.label_names = ["labels"]
        super().__init__(
            model=model,
            args=args,
            processing_class=processing_class,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            data_collator=data_collator,
            compute_metrics=self._add_to_evaluation,
            **kwargs,
        )
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise TrainingError(
                "FSDP and DeepSpeed shard the weights, which the moving average and our checkpoints do not support. "
                "The largest of these models has 76 million parameters: use plain data parallelism."
            )
        # Losses are divided by the boxes of one forward; the Trainer divides by the number of accumulated forwards.
        self.loss_is_scaled_for_ga = False

        if args.ema:
            rates = args.rates()
            self.ema = ModelEma(
                self.model, decay=rates.ema_decay, warmup_steps=rates.ema_warmup_steps, left_out=PROJECTOR
            )
            self.add_callback(EmaCallback(self.ema))
        change_epoch = args.matcher_change(train_dataset.epoch_length) if train_dataset is not None else None
        if change_epoch is not None:
            self.add_callback(LateMatcherCallback(self.criterion, change_epoch))
        if teacher is not None:
            stop = args.stages(train_dataset.epoch_length).stop if train_dataset is not None else math.inf
            self.distillation = Distillation(
                teacher,
                self.model,
                distillation,
                stop_epoch=stop,
                mean_over_processes=self._mean_over_processes,
                log=self.log,
            )
            self.add_callback(self.distillation)
        self.interrupt = InterruptCallback(self._any_process_interrupted)
        self.add_callback(self.interrupt)
        if args.early_stopping_patience is not None:
            self.add_callback(EarlyStoppingCallback(early_stopping_patience=args.early_stopping_patience))
        if self.pop_callback(DEFAULT_PROGRESS_CALLBACK) is not None:  # in a notebook a table with a column per number
            self.add_callback(ProgressBar())
        self.remove_callback(PrinterCallback)

    # Data

    def _get_dataloader(
        self, dataset, description, batch_size, sampler_fn=None, is_training=False, dataloader_key=None
    ):
        # A last training batch of one picture would be noise for the batch norms; an evaluation must not lose it.
        # Multi-scale, too, is for training only.
        self.args.dataloader_drop_last = is_training
        collator = self.data_collator
        self.data_collator = collator if is_training else collator.for_evaluation()
        try:
            loader = super()._get_dataloader(dataset, description, batch_size, sampler_fn, is_training, dataloader_key)
        finally:
            self.data_collator = collator
        # Starting worker processes draws a seed for them. Drawn from the global generator, it would make the noise of
        # denoising queries depend on when workers were started: a resumed run would differ from one that went on.
        loader.base_dataloader.generator = torch.Generator().manual_seed(self.args.seed)
        if self.args.dataloader_num_workers > 0:
            loader.base_dataloader.timeout = self.args.loader_timeout
        return loader

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy != "random":
            return super()._get_train_sampler(dataset)
        args = self.args
        seed = args.seed if args.data_seed is None else args.data_seed
        if is_streamed(dataset):
            readers = max(args.dataloader_num_workers, 1) * args.world_size
            return StreamSampler(dataset, seed=seed, batch_size=args.train_batch_size, readers=readers)
        return EpochSampler(dataset, seed=seed)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        for path, reason in inputs.pop("unreadable", ()):
            if path not in self.unreadable:
                self.unreadable[path] = reason
                logger.warning("Skipped unreadable picture %s: %s", path, reason)
        inputs = super()._prepare_inputs(inputs)
        inputs["images"] = inputs["pixel_values"]  # as they are: a teacher has a normalisation of its own
        inputs["pixel_values"] = prepare_pixels(inputs["images"], self.processing_class)
        return inputs

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> Tensor | None:
        """Boxes per forward, averaged over the accumulated batches of this step and over all processes, at least 1."""
        counts = [
            sum(len(label["class_labels"]) for label in batch["labels"])
            for batch in batch_samples
            if "labels" in batch
        ]
        if not counts:
            return None
        mean = torch.tensor(sum(counts) / len(counts), dtype=torch.float32, device=device)
        if self.args.world_size > 1:
            mean = self.accelerator.reduce(mean, reduction="mean")
        return mean.clamp(min=1)

    # Optimisation

    def train(self, *args, **kwargs):
        # All of it: that a loader process died is found out by a signal, whatever the trainer is doing then.
        with explained_faults(self.train_dataset):
            return super().train(*args, **kwargs)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            args = self.args
            groups = parameter_groups(
                self.model,
                learning_rate=args.rates().learning_rate,
                backbone_lr_ratio=args.backbone_lr_ratio,
                weight_decay=args.weight_decay,
            )
            optimizer_class, options = self.get_optimizer_cls_and_kwargs(args, self.model)
            for group in groups:
                del group["names"]
            self.optimizer = optimizer_class(groups, **options)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None):
        args = self.args
        if args.lr_schedule == "transformers":
            return super().create_scheduler(num_training_steps, optimizer)
        if self.lr_scheduler is None:
            warmup = args.get_warmup_steps(num_training_steps)
            stages = args.stages(self.train_dataset.epoch_length)
            per_epoch = num_training_steps / stages.total
            if args.lr_schedule == "flat_cosine":
                factor = partial(
                    flat_cosine,
                    warmup=warmup,
                    flat=round(stages.flat * per_epoch),
                    stop=round(stages.stop * per_epoch),
                    floor=args.lr_floor,
                )
            else:
                factor = partial(linear_warmup, warmup=warmup)
            self.lr_scheduler = LambdaLR(optimizer or self.optimizer, factor)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def _run_epoch(self, *args, **kwargs) -> None:
        # The stock loop counts after a step: a run that ended within an epoch, resumed, would train one step more.
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        # Not left to accelerate, whose loaders tell either the data set or the sampler: with a sampler that counts
        # epochs, several processes, and runs resumed within an epoch, augment as in the first one.
        self.train_dataset.set_epoch(kwargs["epoch"])
        super()._run_epoch(*args, **kwargs)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        images, features = inputs.pop("images"), None
        if self.distillation is not None and self.distillation.is_taught(self.state.global_step):
            # Before the student's forward, whose activations take the memory until the backward pass.
            features = self.distillation.teacher(prepare_pixels(images, self.processing_class, normalise=False))
        outputs = model(**inputs, num_items_in_batch=num_items_in_batch)
        if self.distillation is not None:
            term = self.distillation.term(outputs.distillation_features, features)
            outputs.loss_dict["loss_distill"] = term
            outputs.loss = outputs.loss + term
        for name, value in outputs.loss_dict.items():
            value = value.detach()
            self._loss_sums[name] = self._loss_sums[name] + value if name in self._loss_sums else value
        self._loss_count += 1
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            if not math.isfinite(logs["loss"]):
                raise TrainingError(
                    f"The loss became {logs['loss']} before step {self.state.global_step}. Lower --learning_rate, or "
                    "train in bf16 or float32 instead of fp16. Checkpoints saved before are untouched."
                )
            logs.update({name: (total / self._loss_count).item() for name, total in self._loss_sums.items()})
            self._loss_sums, self._loss_count = {}, 0
        super().log(logs, start_time)

    def _mean_over_processes(self, value: float) -> float:
        if self.args.world_size == 1:
            return value
        return self.accelerator.reduce(torch.tensor(value, device=self.args.device), reduction="mean").item()

    def _any_process_interrupted(self, here: bool, step: int) -> bool:
        if self.args.world_size == 1:
            return here
        if step % _STEPS_BETWEEN_INTERRUPT_CHECKS:
            return False
        flag = torch.tensor(float(here), device=self.args.device)
        return bool(self.accelerator.reduce(flag, reduction="sum").item())
