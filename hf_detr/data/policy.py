"""Which augmentations are on in which epochs: the rules of the DEIM authors, fitted into a run of any length."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from hf_detr.errors import RecipeError

Epochs = tuple[float, float]  # the first epoch, counted from 0, and the first one that is no longer part of it

ALWAYS: Epochs = (0.0, math.inf)


def within(epoch: float, epochs: Epochs) -> bool:
    """Whether an epoch lies in a range of epochs.

    >>> within(3, (3, 5)), within(5, (3, 5))
    (True, False)
    """
    first, end = epochs
    return first <= epoch < end


class Policy(NamedTuple):
    """Epochs with colours, zoom-out and crop (``augment``), with mosaic, with mixup, with copyblend."""

    augment: Epochs = ALWAYS
    mosaic: Epochs = ALWAYS
    mixup: Epochs = ALWAYS
    copyblend: Epochs = ALWAYS


def plan_policy(
    total_epochs: float,
    *,
    flat: float,
    stop: float | None,
    plain_start: bool,
    augment_epochs: Sequence[float] | None = None,
    mosaic_epochs: Sequence[float] | None = None,
    mixup_epochs: Sequence[float] | None = None,
    copyblend_epochs: Sequence[float] | None = None,
) -> Policy:
    """The policy of a run, from its stages (see ``training.schedule.plan_stages``) or as given.

    What is not given follows the DEIM authors (https://huggingface.co/papers/2412.04234): the first 4 epochs, or a
    tenth of a run shorter than 40, are plain; then everything is on, mosaic and mixup until epoch ``flat``, the rest
    until epoch ``stop`` (None for never). D-FINE augments from the first epoch on: ``plain_start`` is False.

    Numbers that are given are epochs, or shares of the run, in whole epochs, where they lie between 0 and 1.

    >>> plan_policy(132, flat=64, stop=120, plain_start=True)
    Policy(augment=(4, 120), mosaic=(4, 64), mixup=(4, 64), copyblend=(4, 120))
    >>> plan_policy(500, flat=250, stop=468, plain_start=True, augment_epochs=[4, 0.8]).augment
    (4, 400)

    Raises:
        RecipeError: a range that is not two numbers in order.
    """
    start = math.floor(min(4, total_epochs / 10)) if plain_start else 0
    stop = math.inf if stop is None else stop
    augment = _epochs("augment_epochs", augment_epochs, total_epochs) or (start, stop)
    mosaic = _epochs("mosaic_epochs", mosaic_epochs, total_epochs) or (augment[0], min(flat, augment[1]))
    return Policy(
        augment=augment,
        mosaic=mosaic,
        mixup=_epochs("mixup_epochs", mixup_epochs, total_epochs) or mosaic,
        copyblend=_epochs("copyblend_epochs", copyblend_epochs, total_epochs) or augment,
    )


def _epochs(name: str, given: Sequence[float] | None, total_epochs: float) -> Epochs | None:
    if given is None:
        return None
    if len(given) == 2:
        first, end = (round(number * total_epochs) if 0 < number < 1 else number for number in given)
        if 0 < given[1] < 1:
            end = max(end, 1)  # a run of less than an epoch has one epoch all the same
        if 0 <= first <= end:
            return first, end
    raise RecipeError(
        f"{name} takes the first epoch and the first one without, such as `4 64` (or shares of the run, such as "
        f"`0.1 0.5`); got {' '.join(f'{number:g}' for number in given)}"
    )
