"""RT-DETRv4's rule for the weight of the distillation term, and the figure it goes by.

The rule keeps the share of all gradient that reaches the transformer encoder near a target
(https://huggingface.co/papers/2510.25257).
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_NO_GRADIENT = 1e-6  # percent
_NO_WEIGHT = 1e-6
_LARGEST_FACTOR = 10.0  # between two epochs


class AdaptiveWeight:
    """The weight of the distillation term, brought up to date after every epoch.

    Args:
        weight: the first epoch's.
        target_share: percentage of the gradient that the encoder should get; None keeps the weight constant.
        tolerance: percentage points around it within which the weight stays.
        final_weight: taken for the last stage of training, and where the encoder got no gradient; None leaves these
            to the rule.
    """

    def __init__(
        self,
        weight: float,
        target_share: float | None = None,
        tolerance: float = 1.0,
        final_weight: float | None = None,
    ):
        self.weight = weight
        self.target_share = target_share
        self.tolerance = tolerance
        self.final_weight = final_weight

    def update(self, share_percent: float | None, final_stage: bool) -> str:
        """Choose the next epoch's weight.

        Outside the tolerance, the aim is the far edge of the band: a share that is too low shall rise to target +
        tolerance. If the encoder's gradient grew in proportion to the weight and all other gradient stayed, a share p
        would become t with the weight times t(1 - p) / (p(1 - t)). The factor is 0.1 to 10.

        Args:
            share_percent: mean of the epoch's steps, see `GradientShare`; None if there were none.
            final_stage: whether the epoch belongs to the last stage, without heavy augmentation.

        Returns:
            Why the weight is what it is now, in words for the log.
        """
        if self.target_share is None:
            return "constant"
        if self.final_weight is not None:
            if share_percent is None or share_percent < _NO_GRADIENT:
                self.weight = self.final_weight
                return "the encoder got no gradient: final weight"
            if final_stage:
                self.weight = self.final_weight
                return "last stage: final weight"
        lower, upper = self.target_share - self.tolerance, self.target_share + self.tolerance
        if share_percent is None or share_percent < _NO_GRADIENT:
            return "unchanged: the encoder got no gradient"
        if lower <= share_percent <= upper:
            return f"unchanged: {share_percent:.2f} % is within {lower:g} to {upper:g} %"
        if self.weight <= _NO_WEIGHT:
            return "unchanged: a factor times nothing is nothing"
        aim = upper if share_percent < lower else lower
        p, t = share_percent / 100, aim / 100
        factor = t * (1 - p) / (p * (1 - t))
        self.weight *= min(max(factor, 1 / _LARGEST_FACTOR), _LARGEST_FACTOR)
        return f"adjusted from {share_percent:.2f} % towards {aim:g} %"

    def state_dict(self) -> dict[str, float]:
        """The one number that changes."""
        return {"weight": self.weight}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from the weight of a checkpoint."""
        self.weight = float(state["weight"])


class GradientShare:
    """Mean over steps of 100 * sum|g of the transformer encoder| / sum|g of all parameters|.

    Sums stay on the device: nothing waits for it before `mean`. Parameters without a gradient do not count. Every
    process of a distributed run has the same gradients after the backward pass, and so the same share. Clipping and
    the scaling of float16 change both sums alike; steps whose gradients are not finite are left out.

    Args:
        encoder_parameters: those of the numerator, see `transformer_encoder_parameters`.
        all_parameters: those of the denominator, which the former belong to.
    """

    def __init__(self, encoder_parameters: Iterable[nn.Parameter], all_parameters: Iterable[nn.Parameter]):
        encoder = {id(parameter) for parameter in encoder_parameters}
        trained = [parameter for parameter in all_parameters if parameter.requires_grad]
        self._encoder = [parameter for parameter in trained if id(parameter) in encoder]
        self._others = [parameter for parameter in trained if id(parameter) not in encoder]
        self.reset()

    def reset(self) -> None:
        """Start an epoch."""
        self._sums: Tensor | None = None  # of the shares in percent, and the number of steps

    @torch.no_grad()
    def update(self) -> None:
        """Take the gradients of one optimizer step, between the backward pass and `zero_grad`."""
        encoder, others = _l1_norm(self._encoder), _l1_norm(self._others)
        if encoder is None:
            return
        total = encoder if others is None else encoder + others
        counts = total.isfinite() & (total > 0)
        step = torch.stack([torch.where(counts, 100 * encoder / total, 0), counts.to(total.dtype)])
        self._sums = step if self._sums is None else self._sums.to(step.device) + step

    def mean(self) -> float | None:
        """The epoch's figure in percent, None without a step. Waits for the device."""
        if self._sums is None:
            return None
        total, steps = self._sums.tolist()
        return total / steps if steps else None

    def state_dict(self) -> dict[str, Any]:
        """What a run needs that is resumed within an epoch."""
        return {"sums": None if self._sums is None else self._sums.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on within an epoch."""
        self._sums = None if state["sums"] is None else torch.tensor(state["sums"])


def _l1_norm(parameters: list[nn.Parameter]) -> Tensor | None:
    """Sum of the absolute gradients, in float32; None where there is no gradient."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return None
    return torch.stack(torch._foreach_norm(gradients, 1, dtype=torch.float32)).sum()
