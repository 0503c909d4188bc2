"""Runtimes that a `Detector` can run a model on."""

from typing import Protocol

import torch
from torch import Tensor, nn

from hf_detr.errors import HfDetrError


class Backend(Protocol):
    """A runtime that holds a model.

    Attributes:
        device: where the input is expected.
        takes_uint8: the model rescales and normalises by itself: resized RGB pictures go in as they are.
        gives_detections: the model does its own post-processing.
    """

    device: torch.device
    takes_uint8: bool
    gives_detections: bool

    def __call__(self, pixel_values: Tensor, target_sizes: Tensor) -> tuple[Tensor, ...]:
        """Run the model.

        Args:
            pixel_values: ``(B, 3, H, W)`` float32, or uint8 where the backend takes that.
            target_sizes: ``(B, 2)`` int64 height and width of the original pictures, for post-processing.

        Returns:
            Logits ``(B, Q, K)`` and boxes ``(B, Q, 4)`` cxcywh, normalised; or, from a backend that gives detections,
            scores ``(B, D)``, class ids ``(B, D)`` and boxes ``(B, D, 4)`` xyxy in pixels of the original pictures.
        """


class TorchBackend:
    """PyTorch, eager.

    Args:
        model: a detector of Transformers; it is put into evaluation mode and moved.
        device: such as ``"cuda:1"``; by default the best there is.
    """

    def __init__(self, model: nn.Module, device: str | torch.device | None = None):
        self.device = choose_device(device)
        self.model = model.eval().to(self.device)

    takes_uint8 = False
    gives_detections = False

    @torch.inference_mode()
    def __call__(self, pixel_values: Tensor, target_sizes: Tensor) -> tuple[Tensor, ...]:
        outputs = self.model(pixel_values=pixel_values)
        return outputs.logits, outputs.pred_boxes


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """The device asked for, or the best there is: CUDA, Apple's MPS, else the CPU.

    Raises:
        HfDetrError: torch does not know it, or this machine does not have it.
    """
    available = [name for name in ("cuda", "mps") if getattr(torch, name).is_available()] + ["cpu"]
    if device is None:
        return torch.device(available[0])
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise HfDetrError(f"There is no device {device!r}; this machine has: {', '.join(available)}.") from error
    count = torch.cuda.device_count() if chosen.type == "cuda" else 1
    if chosen.type not in available or (chosen.index or 0) >= count:
        raise HfDetrError(f"Device {device!r} is not available; this machine has: {', '.join(available)}.")
    return chosen
