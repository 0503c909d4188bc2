"""Contrastive denoising queries as the papers draw them (https://huggingface.co/papers/2203.03605).

During training every object is shown to the decoder several times with noise on its class and box: close versions that
must be denoised, far ones that must be rejected. Against stock Transformers there are three differences:

- Noise may turn a far box inside out. The authors then flip the sign of its width and height; stock Transformers does
  not, and `inverse_sigmoid` collapses the side to zero.
- An image with more objects than `config.num_denoising` gets a random choice of that many, so there are never more
  than twice `num_denoising` queries. Without the limit, memory grows with the square of the fullest picture.
- A batch without objects gives one query that no other query sees, so that the class embedding has a (zero) gradient
  and processes with and without objects stay in step.

The stock forward calls a function of its own module by name and passes the model's class embedding to it. There a
model says how it wants to be denoised: `use_paper_denoising` marks the embedding, and the function the modules call
looks at the mark. Models without it are served by the function Transformers ships, also in the same process.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

_STOCK_FUNCTION = "get_contrastive_denoising_training_group"
_MARK = "denoises_like_paper"


def use_paper_denoising(model: nn.Module) -> None:
    """Have a stock (or derived) detector draw its denoising queries with `denoising_group`.

    The choice lives as long as the Python object and its deep copies; checkpoints do not hold it, and do not need it.

    Args:
        model: a ``...ForObjectDetection`` model.
    """
    embedding = getattr(model.model, "denoising_class_embed", None)
    if embedding is None:  # config.num_denoising is 0
        return
    for ancestor in type(model.model).__mro__:
        module = sys.modules[ancestor.__module__]
        stock = getattr(module, _STOCK_FUNCTION, None)
        if stock is not None and not hasattr(stock, "__wrapped__"):
            setattr(module, _STOCK_FUNCTION, _dispatching(stock))
    setattr(embedding, _MARK, True)


def _dispatching(stock: Callable) -> Callable:
    """The function a modeling module calls: ours for marked models, ``stock`` for all others."""

    @functools.wraps(stock)
    def group(targets, num_classes, num_queries, class_embed, **options):
        build = denoising_group if getattr(class_embed, _MARK, False) else stock
        return build(targets, num_classes, num_queries, class_embed, **options)

    return group


def denoising_group(
    targets: Sequence[dict[str, Tensor]],
    num_classes: int,
    num_queries: int,
    class_embed: nn.Embedding,
    num_denoising_queries: int = 100,
    label_noise_ratio: float = 0.5,
    box_noise_scale: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor, dict[str, Any]] | tuple[None, None, None, None]:
    """Noisy queries for one batch.

    The queries of an image are G groups of N close and N far versions, N the most objects of an image in the batch;
    places without an object hold the padding class. Random numbers are drawn in the order of the authors' code.

    Args:
        targets: per image ``class_labels`` int64 ``(n,)`` and ``boxes`` ``(n, 4)`` cxcywh normalised.
        num_classes: K; the embedding has a row K for padding.
        num_queries: Q, the ordinary queries.
        class_embed: maps ``(B, D)`` class ids to ``(B, D, hidden)``.
        num_denoising_queries: G is this divided by N, at least 1; and at most this many objects of an image are used.
        label_noise_ratio: half of this share of the queries get a random class.
        box_noise_scale: 1 moves an edge by up to half a side (close), or half to a whole side (far).

    Returns:
        Embedded classes ``(B, D, hidden)``; boxes cxcywh before the sigmoid ``(B, D, 4)``; the attention mask
        ``(D + Q, D + Q)``, 0 or -inf, added to the attention scores; and a dictionary with ``dn_positive_idx`` (per
        image the int64 ``(G * n,)`` places of close queries), ``dn_target_idx`` (the object each of them belongs to,
        same shapes), ``dn_num_group`` (G) and ``dn_num_split`` ([D, Q]). Without denoising: four times None.
    """
    if num_denoising_queries <= 0:
        return None, None, None, None
    device = targets[0]["class_labels"].device
    chosen = [_chosen_objects(len(target["class_labels"]), num_denoising_queries, device) for target in targets]
    max_objects = max(len(objects) for objects in chosen)
    if max_objects == 0:
        return _single_masked_query(len(targets), num_classes, num_queries, class_embed, device)
    num_groups = max(1, num_denoising_queries // max_objects)
    num_denoising = 2 * max_objects * num_groups

    classes = torch.full((len(targets), max_objects), num_classes, dtype=torch.int32, device=device)
    boxes_cxcywh = torch.zeros((len(targets), max_objects, 4), device=device)
    for image, (target, objects) in enumerate(zip(targets, chosen, strict=True)):
        classes[image, : len(objects)] = target["class_labels"][objects].int()
        boxes_cxcywh[image, : len(objects)] = target["boxes"][objects].float()
    is_object = torch.arange(max_objects, device=device) < torch.tensor([[len(o)] for o in chosen], device=device)

    repeats = 2 * num_groups
    classes, is_object = classes.tile(1, repeats), is_object.tile(1, repeats)
    boxes_cxcywh = boxes_cxcywh.tile(1, repeats, 1)
    is_far = (torch.arange(num_denoising, device=device) // max_objects % 2).bool()

    classes = _with_class_noise(classes, is_object, num_classes, label_noise_ratio)
    boxes_unactivated = _inverse_sigmoid(_with_box_noise(boxes_cxcywh, is_far, box_noise_scale))
    group_starts = torch.arange(num_groups, device=device)[:, None] * (2 * max_objects)
    meta_values = {
        "dn_positive_idx": tuple((group_starts + torch.arange(len(o), device=device)).flatten() for o in chosen),
        "dn_target_idx": tuple(objects.tile(num_groups) for objects in chosen),
        "dn_num_group": num_groups,
        "dn_num_split": [num_denoising, num_queries],
    }
    mask = _attention_mask(num_groups, 2 * max_objects, num_queries, device)
    return class_embed(classes), boxes_unactivated.to(class_embed.weight.dtype), mask, meta_values


def _chosen_objects(num_objects: int, limit: int, device: torch.device) -> Tensor:
    """Indices of the objects of an image that are denoised: all, or a random choice in ascending order."""
    if num_objects <= limit:
        return torch.arange(num_objects, device=device)
    return torch.randperm(num_objects, device=device)[:limit].sort().values


def _single_masked_query(batch_size: int, num_classes: int, num_queries: int, class_embed: nn.Embedding, device):
    classes = torch.full((batch_size, 1), num_classes, dtype=torch.int32, device=device)
    nothing = tuple(torch.zeros(0, dtype=torch.int64, device=device) for _ in range(batch_size))
    meta_values = {
        "dn_positive_idx": nothing,
        "dn_target_idx": nothing,
        "dn_num_group": 1,
        "dn_num_split": [1, num_queries],
    }
    embedded = class_embed(classes)
    boxes_unactivated = torch.zeros((batch_size, 1, 4), device=device, dtype=embedded.dtype)
    return embedded, boxes_unactivated, _attention_mask(1, 1, num_queries, device), meta_values


def _with_class_noise(classes: Tensor, is_object: Tensor, num_classes: int, ratio: float) -> Tensor:
    if ratio <= 0:
        return classes
    changed = torch.rand_like(classes, dtype=torch.float) < ratio * 0.5
    random_classes = torch.randint_like(classes, 0, num_classes)
    return torch.where(changed & is_object, random_classes, classes)


def _with_box_noise(boxes_cxcywh: Tensor, is_far: Tensor, scale: float) -> Tensor:
    """Move every edge by [0, 1) or, for far queries, [1, 2) times half a side, and cut at the border of the image."""
    if scale <= 0:
        return boxes_cxcywh
    centre, half_side = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:] * 0.5
    edges_xyxy = torch.cat([centre - half_side, centre + half_side], dim=-1)
    sign = torch.randint_like(boxes_cxcywh, 0, 2) * 2.0 - 1.0
    distance = torch.rand_like(boxes_cxcywh) + is_far[:, None]
    edges_xyxy = (edges_xyxy + sign * distance * half_side.tile(1, 1, 2) * scale).clip(0.0, 1.0)
    low, high = edges_xyxy[..., :2], edges_xyxy[..., 2:]
    return torch.cat([(low + high) / 2, (high - low).abs()], dim=-1)  # abs: far noise may turn a box inside out


def _inverse_sigmoid(values: Tensor, eps: float = 1e-5) -> Tensor:
    values = values.clip(0, 1)
    return torch.log(values.clip(min=eps) / (1 - values).clip(min=eps))


def _attention_mask(num_groups: int, group_size: int, num_queries: int, device: torch.device) -> Tensor:
    """Ordinary queries see no denoising query, and groups do not see each other; all see the ordinary queries."""
    num_denoising = num_groups * group_size
    group = torch.arange(num_denoising + num_queries, device=device) // group_size
    group[num_denoising:] = -1
    visible = (group[:, None] == group[None, :]) | (group[None, :] == -1)
    return torch.zeros(visible.shape, device=device).masked_fill(~visible, -torch.inf)
