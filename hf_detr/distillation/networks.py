"""Vision networks of Transformers that can teach, from the Hub or a folder."""

import inspect
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_OBJECT_DETECTION_MAPPING,
    MODEL_MAPPING,
    AutoConfig,
    PreTrainedConfig,
    Siglip2VisionConfig,
)
from transformers.image_processing_base import ImageProcessingMixin

from hf_detr.distillation.access import unreadable_teacher
from hf_detr.errors import CheckpointError
from hf_detr.models.loading import no_progress_bars

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_READ_ERRORS = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)
# Layers that Transformers adds on top of the features; checkpoints often lack them, and nothing here reads them.
_UNUSED_LAYERS = ("pooler.", "head.", "vision_model.head.")


@dataclass(frozen=True)
class LoadedNetwork:
    """A network in evaluation mode, in float32 on the CPU.

    Attributes:
        network: maps normalised pictures ``(B, 3, H, W)`` to tokens or a map.
        patch_size: of a vision transformer, in pixels; of a convolutional network the stride of its first layer.
        image_mean, image_std: what pictures are normalised with, per channel.
        feature_dim: channels, where the network says so.
    """

    network: nn.Module
    patch_size: int = 4
    image_mean: tuple[float, ...] = IMAGENET_MEAN
    image_std: tuple[float, ...] = IMAGENET_STD
    feature_dim: int | None = None


class TransformersNetwork(nn.Module):
    """A vision model of Transformers that returns its last features: of DINOv3, after the final norm."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        fixed_size = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
        self.options = {"interpolate_pos_encoding": True} if fixed_size else {}

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model(pixels, **self.options).last_hidden_state


class NaflexNetwork(nn.Module):
    """SigLIP 2's tower for pictures of any shape, which takes them cut into patches."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        side = self.model.config.patch_size
        patches = pixels.unflatten(-1, (-1, side)).unflatten(-3, (-1, side)).permute(0, 2, 4, 3, 5, 1)
        batch, rows, columns = patches.shape[:3]
        return self.model(
            patches.reshape(batch, rows * columns, -1),
            pixel_attention_mask=torch.ones(batch, rows * columns, device=pixels.device, dtype=torch.int32),
            spatial_shapes=torch.tensor([[rows, columns]] * batch),  # read on the host
        ).last_hidden_state


def load_from_transformers(name: str, revision: str) -> LoadedNetwork:
    """A vision model, or the vision tower of a model of pictures and text.

    Args:
        name: Hub id or local folder.
        revision: branch, tag or commit on the Hub.

    Raises:
        CheckpointError: it cannot be found or read, lacks weights, or is no vision model.
    """
    with no_progress_bars() if Path(name).is_dir() else nullcontext():
        try:
            config = AutoConfig.from_pretrained(name, revision=revision)
        except _READ_ERRORS as error:
            raise unreadable_teacher(name, revision, error) from error
        config = getattr(config, "vision_config", config)
        model_class = _vision_class(name, config)
        try:
            model, loading = model_class.from_pretrained(
                name,
                config=config,
                revision=revision,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # said below, with names and shapes
                output_loading_info=True,
            )
        except _READ_ERRORS as error:
            raise unreadable_teacher(name, revision, error) from error
        if loading["mismatched_keys"]:
            key, stored, expected = min(loading["mismatched_keys"])
            raise CheckpointError(
                f"the teacher {name}: {key} has the shape {list(stored)}, but by its config.json {list(expected)}. "
                "The two files do not belong together: copy or download both again."
            )
        missing = [key for key in sorted(loading["missing_keys"]) if not key.startswith(_UNUSED_LAYERS)]
        if missing:
            raise CheckpointError(
                f"the teacher {name} lacks {len(missing)} of its tensors, for example {', '.join(missing[:3])}: a "
                "teacher with random weights teaches nothing. Use another checkpoint."
            )
        mean, std = _normalisation(name, revision, config)
    wrapper = NaflexNetwork if isinstance(config, Siglip2VisionConfig) else TransformersNetwork
    return LoadedNetwork(wrapper(model.eval()), _patch_side(config), mean, std)


def _vision_class(name: str, config: PreTrainedConfig) -> type:
    """The class of a vision model without a head."""
    if type(config) in MODEL_FOR_OBJECT_DETECTION_MAPPING:
        raise CheckpointError(
            f"the teacher {name} is a detector ({config.model_type}). A teacher is a vision model such as DINOv3; a "
            "detector to start from goes into model_name_or_path."
        )
    model_class = MODEL_MAPPING[type(config)] if type(config) in MODEL_MAPPING else None
    if model_class is None or model_class.main_input_name != "pixel_values":
        read = f"reads {model_class.main_input_name}" if model_class is not None else "is of no kind with features"
        raise CheckpointError(
            f"the teacher {name} is no model of pictures: {config.model_type} {read}. Choose a vision model, for "
            "example DINOv3, DINOv2, SigLIP 2 or ConvNeXt."
        )
    return model_class


def _patch_side(config: PreTrainedConfig) -> int:
    patch_size: Any = getattr(config, "patch_size", 4)
    return patch_size if isinstance(patch_size, int) else max(patch_size)


def _normalisation(name: str, revision: str, config: PreTrainedConfig) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the model's image processor. DINO's are ImageNet's, with and without one."""
    try:
        processor, _ = ImageProcessingMixin.get_image_processor_dict(name, revision=revision)
    except OSError as error:
        if "dino" in config.model_type:
            return IMAGENET_MEAN, IMAGENET_STD
        raise CheckpointError(
            f"the teacher {name} has no preprocessor_config.json, which says how its pictures are normalised. Save "
            "its image processor beside it."
        ) from error
    if not processor.get("do_normalize", True):
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    mean, std = processor.get("image_mean", IMAGENET_MEAN), processor.get("image_std", IMAGENET_STD)
    return tuple(mean), tuple(std)
