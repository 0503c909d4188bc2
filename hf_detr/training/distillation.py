"""What a teacher adds to a run: a term of the loss, and the weight of that term from epoch to epoch."""

import logging
import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel, TrainerCallback

from hf_detr.distillation.adaptive import AdaptiveWeight, GradientShare
from hf_detr.distillation.arguments import DistillationArguments
from hf_detr.distillation.loss import feature_distillation_loss
from hf_detr.distillation.student import transformer_encoder_parameters

logger = logging.getLogger(__name__)

# The paper's rule multiplies the weight by up to 10 an epoch, without a limit; its own weights are 5 to 20.
_ALARMING_FACTOR = 100


class Distillation(TrainerCallback):
    """The term of RT-DETRv4 (https://huggingface.co/papers/2510.25257) in each step, and its weight after each epoch.

    The share of the gradient that the transformer encoder gets is taken in the steps in which the teacher runs. It is
    logged with the weight of the same epoch, whether the weight follows it or is constant.

    Args:
        teacher: gives features of pictures in [0, 1]; on the device of the student, and never a part of it.
        student: has a projector.
        arguments: the weights, and how often the teacher runs.
        stop_epoch: the first epoch of the last stage.
        mean_over_processes: of a number that each of them has.
        log: writes numbers into the run's history.
    """

    def __init__(
        self,
        teacher: nn.Module,
        student: PreTrainedModel,
        arguments: DistillationArguments,
        *,
        stop_epoch: float,
        mean_over_processes: Callable[[float], float],
        log: Callable[[dict[str, float]], None],
    ):
        self.teacher = teacher
        self.name = arguments.teacher
        self.every = arguments.teacher_every
        self.stop_epoch = stop_epoch
        self.weight = AdaptiveWeight(
            arguments.distill_weight,
            arguments.distill_target_share,
            arguments.distill_tolerance,
            arguments.distill_final_weight,
        )
        self._alarming_weight = _ALARMING_FACTOR * arguments.distill_weight
        self.share = GradientShare(transformer_encoder_parameters(student), student.parameters())
        self._mean_over_processes = mean_over_processes
        self._log = log

    def is_taught(self, step: int) -> bool:
        """Whether the teacher runs in this optimizer step, counted from 0."""
        return step % self.every == 0 and self.weight.weight > 0

    def term(self, student_features: Tensor, teacher_features: Tensor | None) -> Tensor:
        """The weighted term of one forward; in a step without the teacher it is 0."""
        if teacher_features is None:
            # The projector has a gradient in every step: several processes wait for it.
            return 0 * student_features.float().sum()
        return self.weight.weight * feature_distillation_loss(student_features, teacher_features)

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        if state.global_step % self.every == 0:
            self.share.update()

    def on_epoch_begin(self, args, state, control, **kwargs):
        # A checkpoint of an epoch's last step is written before that epoch ends: a resumed run ends it here.
        if float(state.epoch).is_integer() and self.share.mean() is not None:
            self._end_epoch(state.epoch)

    def on_epoch_end(self, args, state, control, **kwargs):
        to_be_logged = control.should_log
        # A run that stops may be resumed in the middle of this epoch, or after it: both go on from its sums.
        if control.should_training_stop:
            self._log_epoch(self._agreed_share())
        else:
            self._end_epoch(state.epoch)
        control.should_log = to_be_logged  # the log above takes the request back that the epoch's losses are logged by

    def _end_epoch(self, epoch: float) -> None:
        share, before = self._agreed_share(), self.weight.weight
        self._log_epoch(share)
        if share is not None:
            reason = self.weight.update(share, final_stage=math.ceil(epoch) - 1 >= self.stop_epoch)
            self.share.reset()
            if self.weight.weight != before:
                logger.info("Distillation weight %.4g, was %.4g: %s.", self.weight.weight, before, reason)
            if before <= self._alarming_weight < self.weight.weight:
                logger.warning(
                    "The distillation weight has grown to %.4g, and the encoder's share of the gradient is %.2f %%: "
                    "this model does not reach distill_target_share %g, and the weight will drown the other losses. "
                    "Choose a target nearer to the shares logged so far, or leave it out for a constant weight.",
                    self.weight.weight,
                    share,
                    self.weight.target_share,
                )

    def _agreed_share(self) -> float | None:
        """The epoch's share in percent; None if no step with finite gradients had the teacher."""
        share = self.share.mean()
        mean = self._mean_over_processes(math.nan if share is None else share)
        return None if math.isnan(mean) else mean

    def _log_epoch(self, share: float | None) -> None:
        self._log({"distill_weight": self.weight.weight} | ({} if share is None else {"distill_share": share}))

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds, as plain numbers."""
        return {"weight": self.weight.state_dict(), "share": self.share.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint, also one from within an epoch."""
        self.weight.load_state_dict(state["weight"])
        self.share.load_state_dict(state["share"])
