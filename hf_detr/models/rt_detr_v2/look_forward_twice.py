"""Gradients of RT-DETRv2's boxes, as in the authors' code."""

import torch
from torch import Tensor


def look_forward_twice(boxes_cxcywh: Tensor) -> Tensor:
    """Let the boxes of every decoder layer also train the layer before (DINO, https://huggingface.co/papers/2203.03605).

    The box of layer i is the previous box plus an offset, added before a sigmoid. Stock RT-DETRv2 cuts the gradient at
    the previous box; the authors keep it for one layer. The values are the same, so the missing term can be added to
    the stacked boxes afterwards: the slope of the sigmoid times the previous box before its sigmoid.

    Args:
        boxes_cxcywh: ``(B, L, Q, 4)`` normalised, of all decoder layers in order.

    Returns:
        The same values with the authors' gradient.
    """
    inside = boxes_cxcywh.clamp(0, 1)
    before = torch.log(inside.clamp(min=1e-5) / (1 - inside).clamp(min=1e-5))[:, :-1]
    later = boxes_cxcywh[:, 1:]
    slope = (later * (1 - later)).detach()
    return torch.cat([boxes_cxcywh[:, :1], later + slope * (before - before.detach())], dim=1)
