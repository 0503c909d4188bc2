"""Learning-rate factors and the lengths of the stages of a run, as pure functions of the step."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Stages:
    """Where the stages of a run begin, in epochs (fractions allowed).

    Attributes:
        total: the run's length.
        flat: until here `flat_cosine` keeps the full learning rate.
        stop: from here on no heavy augmentation and no multi-scale, and the lowest learning rate.
    """

    total: float
    flat: float
    stop: float


def plan_stages(total_epochs: float, *, no_aug_epochs: float, flat_epochs: float | None = None) -> Stages:
    """Fit the stages into a run of ``total_epochs``.

    ``no_aug_epochs`` is cut to a fifth of the run (the largest share among the papers' recipes), but not below one
    epoch while at least two remain. Without ``flat_epochs`` the DEIM authors' rule holds: 4 epochs (a tenth of a run
    shorter than 40) and half of the epochs before the last stage. ``flat_epochs`` below 1 are a share of the run, in
    whole epochs.

    >>> plan_stages(132, no_aug_epochs=12)
    Stages(total=132, flat=64.0, stop=120)
    >>> plan_stages(10, no_aug_epochs=12)
    Stages(total=10, flat=5.0, stop=8.0)
    >>> plan_stages(500, no_aug_epochs=32, flat_epochs=0.5)
    Stages(total=500, flat=250, stop=468)
    """
    if no_aug_epochs > 0 and total_epochs >= 2:
        no_aug_epochs = min(no_aug_epochs, max(1.0, total_epochs / 5))
    else:
        no_aug_epochs = min(no_aug_epochs, total_epochs / 5)
    stop = total_epochs - no_aug_epochs
    if flat_epochs is None:
        flat = min(4, total_epochs / 10) + stop / 2
    else:
        flat = _in_epochs(flat_epochs, total_epochs)
    return Stages(total=total_epochs, flat=min(flat, stop), stop=stop)


def plan_matcher_change(stages: Stages, *, late_matcher: bool, change_epoch: float | None = None) -> float | None:
    """The epoch from which on the late matcher is used, None for never.

    Without ``change_epoch`` it is nine tenths of the epochs before the last stage, the rule of the DEIMv2 authors
    (https://huggingface.co/papers/2509.20787), in whole epochs and never the first. A ``change_epoch`` below 1 is a
    share of the run.

    >>> plan_matcher_change(plan_stages(58, no_aug_epochs=8), late_matcher=True)
    45
    >>> plan_matcher_change(plan_stages(160, no_aug_epochs=12), late_matcher=True, change_epoch=0.85)
    136
    """
    if not late_matcher:
        return None
    if change_epoch is None:
        return max(1, round(0.9 * stages.stop))
    return _in_epochs(change_epoch, stages.total)


def _in_epochs(given: float, total_epochs: float) -> float:
    """A number of epochs; one below 1 is a share of the run, in whole epochs and one at least."""
    return max(1, round(given * total_epochs)) if 0 < given < 1 else given


def fit_warmup(warmup: float, total_steps: int) -> int:
    """Warm-up steps, at most a tenth of the run; a number below 1 is a share of the run.

    >>> fit_warmup(500, 10_000), fit_warmup(500, 400), fit_warmup(0.05, 400)
    (500, 40, 20)
    """
    steps = math.ceil(warmup * total_steps) if warmup < 1 else int(warmup)
    return min(steps, total_steps // 10)


def flat_cosine(step: int, *, warmup: int, flat: int, stop: int, floor: float) -> float:
    """Learning-rate factor at ``step``: quadratic warm-up, 1 until ``flat``, cosine to ``floor`` at ``stop``.

    The schedule of DEIM and RT-DETRv4 (https://huggingface.co/papers/2412.04234). Steps are optimizer steps.

    >>> flat_cosine(50, warmup=100, flat=500, stop=1000, floor=0.5)
    0.25
    >>> flat_cosine(750, warmup=100, flat=500, stop=1000, floor=0.5)
    0.75
    """
    if step < warmup:
        return (step / warmup) ** 2
    if step <= flat:
        return 1.0
    if step >= stop:
        return floor
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (step - flat) / (stop - flat)))


def linear_warmup(step: int, *, warmup: int) -> float:
    """Learning-rate factor at ``step``: linear warm-up, then 1.

    The schedule of D-FINE and RT-DETRv2, whose milestone lies beyond their last epoch
    (https://huggingface.co/papers/2410.13842).

    >>> linear_warmup(49, warmup=100)
    0.5
    """
    return min(1.0, (step + 1) / warmup) if warmup else 1.0
