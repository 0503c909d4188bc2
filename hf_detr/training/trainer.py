"""Transformers' `Trainer`, with the few overrides that detection needs."""

import logging
import math
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Sampler
from transformers import EarlyStoppingCallback, EvalPrediction
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import rotate_checkpoints

from hf_detr.data.faults import explained_faults
from hf_detr.data.sampling import EpochSampler
from hf_detr.data.streaming import StreamSampler, is_streamed
from hf_detr.distillation.arguments import DistillationArguments
from hf_detr.distillation.student import PROJECTOR, add_feature_projector, remove_feature_projector
from hf_detr.distillation.teacher import check_teacher
from hf_detr.errors import CheckpointError, TrainingError
from hf_detr.evaluation.coco import CocoEvaluator
from hf_detr.evaluation.tiled import TiledEvaluator, evaluator_for
from hf_detr.losses.attach import attach_criterion
from hf_detr.models.decoding import EVALUATED_DETECTIONS, decode_detections, prepare_pixels
from hf_detr.models.denoising import use_paper_denoising
from hf_detr.models.families import check_image_size
from hf_detr.models.freeze import freeze_backbone, freeze_constants
from hf_detr.models.loading import no_progress_bars
from hf_detr.training import checkpoints
from hf_detr.training.arguments import DetrTrainingArguments
from hf_detr.training.callbacks import EmaCallback, InterruptCallback, LateMatcherCallback, ProgressBar
from hf_detr.training.distillation import Distillation
from hf_detr.training.ema import ModelEma
from hf_detr.training.optimizer import parameter_groups
from hf_detr.training.publishing import HubTrainer
from hf_detr.training.schedule import flat_cosine, linear_warmup

logger = logging.getLogger(__name__)

# Several processes ask each other for an interrupt only this often: the question waits for all of them.
_STEPS_BETWEEN_INTERRUPT_CHECKS = 10


class DetrTrainer(HubTrainer):
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
        _require_one_size(data_collator.image_size_hw, processing_class)
        _require_enough_anchors(data_collator.train_sizes_hw, model.config)
        distillation = distillation or DistillationArguments()
        teacher = _teacher_to_use(teacher, distillation)
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
        self.evaluator: CocoEvaluator | TiledEvaluator | None = None
        self._evaluated: Any = None
        self.last_evaluation: dict[str, Any] | None = None
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

        self.ema = None
        if args.ema:
            rates = args.rates()
            self.ema = ModelEma(
                self.model, decay=rates.ema_decay, warmup_steps=rates.ema_warmup_steps, left_out=PROJECTOR
            )
            self.add_callback(EmaCallback(self.ema))
        change_epoch = args.matcher_change(train_dataset.epoch_length) if train_dataset is not None else None
        if change_epoch is not None:
            self.add_callback(LateMatcherCallback(self.criterion, change_epoch))
        self.distillation = None
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

    # Evaluation, of the averaged weights

    def evaluation_loop(self, dataloader, *args, **kwargs):
        dataset = dataloader.dataset
        if self.evaluator is None or self._evaluated is not dataset:
            self.evaluator = evaluator_for(
                dataset, max_detections=self.args.max_detections, backend=self.args.eval_backend
            )
            self._evaluated = dataset
        self.evaluator.reset()
        with explained_faults(dataset), self.ema.applied() if self.ema is not None else nullcontext():
            return super().evaluation_loop(dataloader, *args, **kwargs)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Detections ``(B, top_k, 6)`` and image numbers ``(B,)``: fixed shapes, which gather without padding."""
        inputs = self._prepare_inputs(inputs)
        labels = inputs.pop("labels")
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = model(pixel_values=inputs["pixel_values"])
        sizes_hw = torch.stack([label["orig_size_hw"] for label in labels])
        images = torch.stack([label["image_index"] for label in labels])
        readable = torch.stack([label["readable"] for label in labels])
        top_k = max(EVALUATED_DETECTIONS, self.evaluator.max_detections, outputs.logits.shape[1])
        detections = decode_detections(outputs.logits.float(), outputs.pred_boxes.float(), sizes_hw, top_k)
        return None, detections, torch.where(readable, images, -1 - images)

    def _add_to_evaluation(self, prediction: EvalPrediction, compute_result: bool) -> dict[str, float]:
        self.evaluator.update(prediction.label_ids, prediction.predictions)
        if not compute_result:
            return {}
        self.last_evaluation = self.evaluator.compute()
        return {
            name: float("nan") if value is None else value
            for name, value in self.last_evaluation.items()
            if value is None or isinstance(value, int | float)
        }

    # Checkpoints: model.safetensors holds the averaged weights, training_weights.safetensors those being trained

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        with no_progress_bars(), self.ema.applied() if self.ema is not None else nullcontext():
            super().save_model(output_dir, _internal_call=True)  # or it would publish as well

    def _save_checkpoint(self, model, trial) -> None:
        run, limit = Path(self.args.output_dir), self.args.save_total_limit
        checkpoint = run / f"checkpoint-{self.state.global_step}"
        best = run / f"checkpoint-{self.state.best_global_step}"
        with checkpoints.saving(run) as staging:
            self.args.output_dir, self.args.save_total_limit = str(staging), None
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self.args.output_dir, self.args.save_total_limit = str(run), limit
            # The stock code looked for the best one beside the temporary folder.
            self.state.best_model_checkpoint = str(best) if best == checkpoint or best.is_dir() else None
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                self.state.save_to_json(str(staging / checkpoint.name / checkpoints.STATE_FILE))
                checkpoints.publish(staging / checkpoint.name, checkpoint)
                shutil.rmtree(staging)  # with what a killed run may have left in it
                rotate_checkpoints(str(run), limit, self.state.best_model_checkpoint, use_mtime=False)
        self.accelerator.wait_for_everyone()

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            progress = checkpoints.Progress(
                self.ema.updates if self.ema is not None else 0,
                self.distillation.state_dict() if self.distillation is not None else None,
            )
            checkpoints.save_training_weights(output_dir, self.model, progress)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        self._load_averaged_weights(resume_from_checkpoint)
        progress = checkpoints.load_training_weights(resume_from_checkpoint, self.model)
        if self.ema is not None:
            self.ema.updates = progress.ema_updates
        if self.distillation is not None:
            self.distillation.load_state_dict(progress.distillation)

    def _load_best_model(self) -> None:
        logger.info("Best AP %.4f: %s", self.state.best_metric, self.state.best_model_checkpoint)
        self._load_averaged_weights(self.state.best_model_checkpoint)

    def _load_averaged_weights(self, checkpoint: str) -> None:
        # Through from_pretrained: save_pretrained writes some names of an older layout, which the stock code, loading
        # the file as it is, would drop with no more than a log line.
        with no_progress_bars():
            saved = type(self.model).from_pretrained(checkpoint)
        projector = {name: t for name, t in self.model.state_dict().items() if name.startswith(f"{PROJECTOR}.")}
        self.model.load_state_dict(saved.state_dict() | projector)
        if self.ema is not None:
            self.ema.reset()

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


def _teacher_to_use(teacher: nn.Module | None, distillation: DistillationArguments) -> nn.Module | None:
    """The teacher, or None where its term would always have the weight 0."""
    if not distillation.ever_weighs:
        return None
    if teacher is None and distillation.teacher is not None:
        raise TrainingError(
            f"distillation names the teacher {distillation.teacher}, but the trainer got none. Give it one: "
            "teacher=load_teacher(…)."
        )
    return teacher


def _require_one_size(image_size_hw: tuple[int, int], processor: Any) -> None:
    """Refuse to train at one size what the saved image processor would feed with another."""
    saved_hw = (processor.size["height"], processor.size["width"])
    if tuple(image_size_hw) != saved_hw:
        raise TrainingError(
            f"The collator resizes pictures to {tuple(image_size_hw)} (height, width), the image processor that is "
            f"saved with the model to {saved_hw}. Load the model with image_size_hw={tuple(image_size_hw)}, or give "
            "the collator the processor's size."
        )


def _require_enough_anchors(train_sizes_hw: Sequence[tuple[int, int]], config: Any) -> None:
    """Multi-scale must not draw a size, hours into the run, that has fewer anchors than the model has queries."""
    try:
        check_image_size(config, min(train_sizes_hw))
    except CheckpointError as error:
        raise CheckpointError(
            f"The smallest size of multi-scale: {error} Or train without multi-scale (--multi_scale false)."
        ) from error
