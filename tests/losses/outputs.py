"""Random model outputs for the criterion, in the form Transformers hands them to the loss."""

import torch
from torch import Tensor

from hf_detr.losses.attach import stack_outputs
from hf_detr.losses.options import CriterionOptions

CLASSES = 3


def random_labels(
    counts: tuple[int, ...], *, seed: int = 0, dtype: torch.dtype = torch.float64, classes: int = CLASSES
):
    """Labels with so many objects per image."""
    draw = torch.Generator().manual_seed(seed)
    labels = []
    for count in counts:
        sides = 0.1 + 0.4 * torch.rand(count, 2, generator=draw)
        centres = sides / 2 + (1 - sides) * torch.rand(count, 2, generator=draw)
        class_labels = torch.randint(0, classes, (count,), generator=draw)
        labels.append({"class_labels": class_labels, "boxes": torch.cat([centres, sides], 1).to(dtype)})
    return labels


def random_outputs(
    images: int,
    *,
    queries: int = 5,
    layers: int = 3,
    denoising: int = 0,
    bins: int = 8,
    classes: int = CLASSES,
    corners: bool = True,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Arguments of `stack_outputs`, leaves of the graph; `denoising` queries come first. Without corners, no "pre"."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype)

    stack = (images, layers + corners, denoising + queries)
    outputs = {
        "logits": normal(*stack, classes),
        "boxes_cxcywh": normal(*stack, 4).sigmoid(),
        "encoder_logits": normal(images, queries, classes),
        "encoder_boxes_cxcywh": normal(images, queries, 4).sigmoid(),
    }
    if corners:
        outputs["corner_logits"] = normal(images, layers, denoising + queries, 4 * (bins + 1))
    for value in outputs.values():
        value.requires_grad_()
    if corners:
        references = normal(images, 1, denoising + queries, 4).sigmoid()
        outputs["references_cxcywh"] = references.expand(-1, layers, -1, -1)
    return outputs


def denoising_values(counts: tuple[int, ...], groups: int, queries: int) -> dict:
    """What stock Transformers says about denoising queries: `groups` groups of close and far versions."""
    most = max(counts)
    positives = tuple((torch.arange(groups)[:, None] * 2 * most + torch.arange(count)).flatten() for count in counts)
    return {
        "dn_positive_idx": positives,
        "dn_num_group": groups,
        "dn_num_split": [2 * most * groups, queries],
    }


def stacked(options: CriterionOptions, outputs: dict[str, Tensor], denoising_meta_values: dict | None = None):
    """Arguments of the criterion."""
    return stack_outputs(
        options,
        outputs["logits"],
        outputs["boxes_cxcywh"],
        outputs["encoder_logits"],
        outputs["encoder_boxes_cxcywh"],
        denoising_meta_values,
        outputs.get("corner_logits"),
        outputs.get("references_cxcywh"),
    )
