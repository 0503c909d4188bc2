"""Vision networks that can teach, from where they are kept."""

import inspect
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import AutoModel

from hf_detr.distillation.geometry import MapGeometry, measure_geometry

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class LoadedNetwork:
    """A network, what its output means, and the statistics per channel that pictures are normalised with."""

    network: nn.Module
    geometry: MapGeometry
    image_mean: tuple[float, ...] = IMAGENET_MEAN
    image_std: tuple[float, ...] = IMAGENET_STD


class TransformersNetwork(nn.Module):
    """A vision model of Transformers that returns its last features: of DINOv3, after the final norm."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        takes_sizes = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
        self.options = {"interpolate_pos_encoding": True} if takes_sizes else {}

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model(pixels, **self.options).last_hidden_state


def load_network(name: str, revision: str) -> LoadedNetwork:
    """A network in evaluation mode, on the CPU, in float32. Arguments and errors are `load_teacher`'s."""
    model = AutoModel.from_pretrained(name, revision=revision).eval()
    network = TransformersNetwork(model)
    return LoadedNetwork(network, measure_geometry(network, patch_size=model.config.patch_size))


def choose_dtype(dtype: str) -> torch.dtype:
    """The precision a setting means on this machine."""
    if dtype == "auto":
        dtype = "bfloat16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "float32"
    return getattr(torch, dtype)
