"""What happens beside the training steps: the moving average, interruption, and what a watching person sees."""

import logging
import math
import signal
import time
from typing import Any

from transformers import ProgressCallback, TrainerCallback

from hf_detr.losses.criterion import DetrCriterion
from hf_detr.training.ema import ModelEma

logger = logging.getLogger(__name__)


class EmaCallback(TrainerCallback):
    """Updates the moving average after every optimizer step."""

    def __init__(self, ema: ModelEma):
        self.ema = ema

    def on_step_end(self, args, state, control, **kwargs):
        self.ema.update()


class LateMatcherCallback(TrainerCallback):
    """Switches the criterion to DEIMv2's late matcher where an epoch begins.

    Args:
        criterion: what `attach_criterion` returned.
        change_epoch: the first epoch with the late matcher, counted from 0.
    """

    def __init__(self, criterion: DetrCriterion, change_epoch: float):
        self.criterion = criterion
        self.change_epoch = change_epoch

    def on_epoch_begin(self, args, state, control, **kwargs):
        # The epoch of a resumed run has a fraction; the switch was decided where that epoch began.
        self.criterion.use_iou_matching = math.floor(state.epoch) >= self.change_epoch


class InterruptCallback(TrainerCallback):
    """Ctrl-C or SIGTERM: finish the step, save a checkpoint, stop. A second signal stops at once.

    Attributes:
        interrupted: whether training was stopped this way.
    """

    def __init__(self, agree: Any):
        # Several processes must stop at the same step; `agree` tells whether any of them was interrupted.
        self._agree = agree
        self._previous: dict[int, Any] = {}
        self._requested = False
        self.interrupted = False

    def _handle(self, number: int, frame: Any) -> None:
        if self._requested:
            raise KeyboardInterrupt
        self._requested = True
        logger.warning("Interrupted: saving a checkpoint after this step. Once more to stop at once, without saving.")

    def on_train_begin(self, args, state, control, **kwargs):
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._previous[number] = signal.signal(number, self._handle)
            except ValueError:  # not the main thread, e.g. inside a notebook server: the signal is not ours to take
                return

    def on_step_end(self, args, state, control, **kwargs):
        if self._agree(self._requested, state.global_step):
            self.interrupted = True
            control.should_save = True
            control.should_training_stop = True
            control.should_evaluate = False

    def on_epoch_end(self, args, state, control, **kwargs):
        if self.interrupted:
            control.should_evaluate = False
            control.should_save = False

    def on_train_end(self, args, state, control, **kwargs):
        for number, handler in self._previous.items():
            signal.signal(number, handler)


class ProgressBar(ProgressCallback):
    """The stock progress bar, with the loss beside it and one line per evaluation instead of every number."""

    def on_train_begin(self, args, state, control, **kwargs):
        super().on_train_begin(args, state, control, **kwargs)
        self._begin = time.monotonic()
        if self.training_bar is not None:
            self.training_bar.set_description("training")
            if state.global_step:  # resumed: the bar starts where the run was
                self.training_bar.initial = state.global_step
                self.training_bar.update(state.global_step)
                self.current_step = state.global_step

    def on_prediction_step(self, args, state, control, eval_dataloader=None, **kwargs):
        super().on_prediction_step(args, state, control, eval_dataloader, **kwargs)
        if self.prediction_bar is not None:
            self.prediction_bar.set_description("evaluating", refresh=False)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.training_bar is None or logs is None:
            return
        if "loss" in logs:
            self.training_bar.set_postfix_str(f"loss {logs['loss']:.3f}, lr {logs['learning_rate']:.1e}")
        elif "eval_AP" in logs:
            minutes = (time.monotonic() - self._begin) / 60
            self.training_bar.write(
                f"epoch {logs.get('epoch', 0):g}: AP {_number(logs['eval_AP'])}, AP50 {_number(logs['eval_AP50'])} "
                f"({minutes:.1f} min)"
            )


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"
