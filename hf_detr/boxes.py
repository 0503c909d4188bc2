"""Box formats and geometry, for torch tensors and numpy arrays alike.

Formats, always in the last axis of length 4:

- ``xyxy``: left, top, right, bottom
- ``xywh``: left, top, width, height (COCO annotations)
- ``cxcywh``: centre, width, height (what DETR models predict, normalised to [0, 1])

Units are whatever comes in, except where a name says ``norm`` (fractions of the image) or a size in pixels is asked.
"""

from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", np.ndarray, "torch.Tensor")


def _library(array: Array) -> ModuleType:
    """numpy or torch, whichever `array` belongs to."""
    if isinstance(array, np.ndarray | np.generic):
        return np
    import torch  # only those who bring a tensor wait for it

    return torch


def _stack(parts: list[Array]) -> Array:
    return _library(parts[0]).stack(parts, -1)


def xywh_to_xyxy(boxes_xywh: Array) -> Array:
    """Left, top, width, height ``(..., 4)`` to left, top, right, bottom."""
    x, y, w, h = (boxes_xywh[..., i] for i in range(4))
    return _stack([x, y, x + w, y + h])


def xyxy_to_xywh(boxes_xyxy: Array) -> Array:
    """Left, top, right, bottom ``(..., 4)`` to left, top, width, height."""
    x0, y0, x1, y1 = (boxes_xyxy[..., i] for i in range(4))
    return _stack([x0, y0, x1 - x0, y1 - y0])


def cxcywh_to_xyxy(boxes_cxcywh: Array) -> Array:
    """Centre, width, height ``(..., 4)`` to left, top, right, bottom."""
    cx, cy, w, h = (boxes_cxcywh[..., i] for i in range(4))
    return _stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])


def xyxy_to_cxcywh(boxes_xyxy: Array) -> Array:
    """Left, top, right, bottom ``(..., 4)`` to centre, width, height."""
    x0, y0, x1, y1 = (boxes_xyxy[..., i] for i in range(4))
    return _stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0])


def normalise_boxes(boxes: Array, size_hw: tuple[int, int]) -> Array:
    """Pixels to fractions of an image of ``size_hw`` pixels, for any of the three formats."""
    height, width = size_hw
    return _stack([boxes[..., 0] / width, boxes[..., 1] / height, boxes[..., 2] / width, boxes[..., 3] / height])


def clip_xyxy(boxes_xyxy: Array, size_hw: tuple[int, int]) -> Array:
    """Cut boxes in pixels at the border of an image of ``size_hw`` pixels."""
    height, width = size_hw
    x0, y0, x1, y1 = (boxes_xyxy[..., i] for i in range(4))
    return _stack([x0.clip(0, width), y0.clip(0, height), x1.clip(0, width), y1.clip(0, height)])


def area_xyxy(boxes_xyxy: Array) -> Array:
    """Area of each box, ``(..., 4)`` to ``(...,)``; a box turned inside out has area 0."""
    return (boxes_xyxy[..., 2] - boxes_xyxy[..., 0]).clip(0) * (boxes_xyxy[..., 3] - boxes_xyxy[..., 1]).clip(0)


def is_valid_xyxy(boxes_xyxy: Array, min_side: float = 0.0) -> Array:
    """Which boxes are finite and wider and higher than ``min_side``, ``(..., 4)`` to bool ``(...,)``."""
    finite = _library(boxes_xyxy).isfinite(boxes_xyxy)
    width = boxes_xyxy[..., 2] - boxes_xyxy[..., 0]
    height = boxes_xyxy[..., 3] - boxes_xyxy[..., 1]
    return finite.all(-1) & (width > min_side) & (height > min_side)


def intersection_xyxy(boxes_a_xyxy: Array, boxes_b_xyxy: Array) -> Array:
    """Area shared by boxes pair by pair; the shapes broadcast."""
    lib = _library(boxes_a_xyxy)
    width = lib.minimum(boxes_a_xyxy[..., 2], boxes_b_xyxy[..., 2]) - lib.maximum(
        boxes_a_xyxy[..., 0], boxes_b_xyxy[..., 0]
    )
    height = lib.minimum(boxes_a_xyxy[..., 3], boxes_b_xyxy[..., 3]) - lib.maximum(
        boxes_a_xyxy[..., 1], boxes_b_xyxy[..., 1]
    )
    return width.clip(0) * height.clip(0)
