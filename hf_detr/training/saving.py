"""How a trainer saves and resumes: the averaged weights are the model, those being trained lie beside them."""

import logging
import shutil
from contextlib import nullcontext
from pathlib import Path

from transformers.trainer_utils import rotate_checkpoints

from hf_detr.distillation.student import PROJECTOR
from hf_detr.models.loading import no_progress_bars
from hf_detr.training import checkpoints
from hf_detr.training.distillation import Distillation
from hf_detr.training.ema import ModelEma
from hf_detr.training.publishing import HubTrainer

logger = logging.getLogger(__name__)


class SavingTrainer(HubTrainer):
    """A trainer whose checkpoints are whole or not there.

    `model.safetensors` holds the averaged weights, `training_weights.safetensors` those being trained.

    Attributes:
        ema: the moving average of the weights, None without one.
        distillation: the distillation term, whose state checkpoints hold; None without a teacher.
    """

    ema: ModelEma | None = None
    distillation: Distillation | None = None

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
