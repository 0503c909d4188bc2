"""Intersection over union of predictions and objects; shapes broadcast, to lists of pairs and to tables of all."""

import torch
from torch import Tensor

from hf_detr.boxes import area_xyxy, cxcywh_to_xyxy, intersection_xyxy

# Smaller than the area of any box that a float32 coordinate can resolve; keeps 0 / 0 out of degenerate pairs.
_SMALLEST_AREA = 1e-12


def prediction_to_xyxy(boxes_cxcywh: Tensor) -> Tensor:
    """Corners of predicted boxes ``(..., 4)``. A box turned inside out (D-FINE's can be) collapses to its centre."""
    centre, sides = boxes_cxcywh.split(2, -1)
    return cxcywh_to_xyxy(torch.cat([centre, sides.clamp(min=0)], -1))


def iou_and_giou(boxes_a_xyxy: Tensor, boxes_b_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU (https://huggingface.co/papers/1902.09630), each of the broadcast shape ``(...)``."""
    intersection = intersection_xyxy(boxes_a_xyxy, boxes_b_xyxy)
    union = area_xyxy(boxes_a_xyxy) + area_xyxy(boxes_b_xyxy) - intersection
    iou = intersection / union.clamp(min=_SMALLEST_AREA)
    hull = _hull_area(boxes_a_xyxy, boxes_b_xyxy)
    return iou, iou - (hull - union) / hull.clamp(min=_SMALLEST_AREA)


def _hull_area(boxes_a_xyxy: Tensor, boxes_b_xyxy: Tensor) -> Tensor:
    """Area of the smallest box around both."""
    width = boxes_a_xyxy[..., 2].maximum(boxes_b_xyxy[..., 2]) - boxes_a_xyxy[..., 0].minimum(boxes_b_xyxy[..., 0])
    height = boxes_a_xyxy[..., 3].maximum(boxes_b_xyxy[..., 3]) - boxes_a_xyxy[..., 1].minimum(boxes_b_xyxy[..., 1])
    return width.clamp(min=0) * height.clamp(min=0)
