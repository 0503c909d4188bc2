"""How large and how slow a detector is, counted."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """Counts of one model at one input size.

    Attributes:
        parameters: all, as trained.
        trainable: those with a gradient; the constants of box distributions and frozen layers have none.
        gflops: billions of floating-point operations of one picture, a multiplication and an addition being two. What
            torch's counter knows: convolutions and matrix products. Sampling features at predicted points and
            everything elementwise are not in it.
    """

    parameters: int
    trainable: int
    gflops: float


@torch.no_grad()
def count_cost(model: nn.Module, image_size_hw: tuple[int, int]) -> Cost:
    """Count by running the model once on an empty picture, in evaluation mode."""
    was_training = model.training
    model.eval()
    parameter = next(model.parameters())
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, *image_size_hw, device=parameter.device, dtype=parameter.dtype))
    model.train(was_training)
    return Cost(
        parameters=sum(p.numel() for p in model.parameters()),
        trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
        gflops=counter.get_total_flops() / 1e9,
    )
