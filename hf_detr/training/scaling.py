"""How a recipe's numbers follow the batch: the rule of the D-FINE, DEIM and DEIMv2 authors, as a pure function."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rates:
    """The numbers that belong to one size of the batch.

    Attributes:
        learning_rate: highest learning rate of all but the backbone, whose rate is a share of it.
        warmup_steps: of the learning rate; a number below 1 is a share of the run.
        ema_decay: of the moving average.
        ema_warmup_steps: of the moving average.
    """

    learning_rate: float
    warmup_steps: float
    ema_decay: float
    ema_warmup_steps: float


def scale_rates(rates: Rates, *, batch: int, reference_batch: int | None) -> Rates:
    """The numbers for ``batch`` pictures per step, given those for ``reference_batch``; None leaves them as they are.

    With twice the pictures per step there are half as many steps, and each counts twice: the learning rate doubles,
    the average forgets twice as fast per step, and both warm-ups take half the steps. A warm-up given as a share of
    the run has the right number of steps already. The average never forgets more than everything.

    >>> recipe = Rates(learning_rate=4e-4, warmup_steps=2000, ema_decay=0.9999, ema_warmup_steps=1000)
    >>> scale_rates(recipe, batch=64, reference_batch=32)
    Rates(learning_rate=0.0008, warmup_steps=1000.0, ema_decay=0.9998, ema_warmup_steps=500.0)
    >>> scale_rates(recipe, batch=16, reference_batch=32)
    Rates(learning_rate=0.0002, warmup_steps=4000.0, ema_decay=0.99995, ema_warmup_steps=2000.0)
    """
    if reference_batch is None or batch == reference_batch:
        return rates
    factor = batch / reference_batch
    return Rates(
        learning_rate=rates.learning_rate * factor,
        warmup_steps=rates.warmup_steps if rates.warmup_steps < 1 else max(1.0, rates.warmup_steps / factor),
        ema_decay=max(0.0, 1 - (1 - rates.ema_decay) * factor),
        ema_warmup_steps=rates.ema_warmup_steps / factor,
    )
