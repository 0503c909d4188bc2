"""Official checkpoints as models that are ready to use and to train."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from hf_detr.losses.attach import attach_criterion
from hf_detr.models.conversion.convert import convert_state_dict


def convert_checkpoint(
    state_dict_or_path: Mapping[str, Any] | str | Path,
    family: str | None = None,
    size: str | None = None,
    id2label: Mapping[int, str] | None = None,
) -> PreTrainedModel:
    """The model of an official checkpoint, in evaluation mode; called with labels, it computes the papers' loss.

    Averaged weights (EMA) win where the file holds both. The log says what was converted, missing and left out.

    Args:
        state_dict_or_path: a ``.pth`` or ``.safetensors`` file of the authors, or what it holds.
        family: d_fine, deim, rt_detr_v2, rt_detr_v4 or deimv2; found from the tensors by default.
        size: such as ``"s"``, ``"r18"`` or ``"atto"``; likewise.
        id2label: class id to class name; COCO's or Objects365's by default.

    Raises:
        CheckpointError: the file cannot be read, holds no state dict, or fits no family and size.
    """
    model, _ = convert_state_dict(state_dict_or_path, family=family, size=size, id2label=id2label)
    attach_criterion(model)
    return model
