"""What must fit together before a run starts: teacher, image sizes, queries."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from hf_detr.distillation.arguments import DistillationArguments
from hf_detr.errors import CheckpointError, TrainingError
from hf_detr.models.families import check_image_size


def teacher_to_use(teacher: nn.Module | None, distillation: DistillationArguments) -> nn.Module | None:
    """The teacher, or None where its term would always have the weight 0."""
    if not distillation.ever_weighs:
        return None
    if teacher is None and distillation.teacher is not None:
        raise TrainingError(
            f"distillation names the teacher {distillation.teacher}, but the trainer got none. Give it one: "
            "teacher=load_teacher(…)."
        )
    return teacher


def require_one_size(image_size_hw: tuple[int, int], processor: Any) -> None:
    """Refuse to train at one size what the saved image processor would feed with another."""
    saved_hw = (processor.size["height"], processor.size["width"])
    if tuple(image_size_hw) != saved_hw:
        raise TrainingError(
            f"The collator resizes pictures to {tuple(image_size_hw)} (height, width), the image processor that is "
            f"saved with the model to {saved_hw}. Load the model with image_size_hw={tuple(image_size_hw)}, or give "
            "the collator the processor's size."
        )


def require_enough_anchors(train_sizes_hw: Sequence[tuple[int, int]], config: Any) -> None:
    """Multi-scale must not draw a size, hours into the run, that has fewer anchors than the model has queries."""
    try:
        check_image_size(config, min(train_sizes_hw))
    except CheckpointError as error:
        raise CheckpointError(
            f"The smallest size of multi-scale: {error} Or train without multi-scale (--multi_scale false)."
        ) from error
