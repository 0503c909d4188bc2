"""D-FINE's distributions over the four edges of a box (https://huggingface.co/papers/2410.13842, sections 4.1, 4.2).

Each edge is predicted as a distribution over ``num_bins + 1`` offsets from a reference box, finer near zero. The two
losses on them: FGL, which pulls a distribution to the two bins around the true offset, and DDF, which pulls those of
the earlier layers to those of the last.
"""

import torch
from torch import Tensor


def bin_offsets(num_bins: int, up: float, reg_scale: float, like: Tensor) -> Tensor:
    """The offsets W(n) that the bins stand for, ascending and symmetric, ``(num_bins + 1,)``.

    With a = ``up * reg_scale``: plus and minus 2a at the ends and, between them,
    ``±((a + 1)^(2 |i| / (num_bins - 2)) - 1)`` for i = ``1 - num_bins / 2 .. num_bins / 2 - 1``.
    """
    bound = abs(up) * abs(reg_scale)
    step = (bound + 1) ** (2 / (num_bins - 2))
    steps = torch.arange(-(num_bins // 2), num_bins // 2 + 1, dtype=like.dtype, device=like.device)
    offsets = steps.sign() * (step ** steps.abs() - 1)
    offsets[0], offsets[-1] = -2 * bound, 2 * bound
    return offsets


def edge_offsets(boxes_xyxy: Tensor, reference_cxcywh: Tensor, reg_scale: float) -> Tensor:
    """Where the edges left, top, right, bottom lie as offsets from a reference box, ``(..., 4)``.

    Offset d means an edge ``(reg_scale / 2 + d) / reg_scale`` widths (or heights) away from the reference's centre,
    so 0 is the reference box itself.
    """
    scale = abs(reg_scale)
    centre, sides = reference_cxcywh.split(2, -1)
    distances = torch.cat([centre - boxes_xyxy[..., :2], boxes_xyxy[..., 2:] - centre], -1)
    return distances / (torch.cat([sides, sides], -1) / scale + 1e-16) - 0.5 * scale


def neighbouring_bins(offsets: Tensor, bins: Tensor) -> tuple[Tensor, Tensor]:
    """The bin to the left of each offset, int64 ``(...)``, and the weight of the bin to its right, ``(...)``.

    The two weights interpolate linearly; offsets beyond the ends take the whole weight of the last bin there.
    """
    left = (torch.bucketize(offsets, bins, right=True) - 1).clamp(0, len(bins) - 2)
    right_weight = (offsets - bins[left]) / (bins[left + 1] - bins[left])
    return left, right_weight.clamp(0, 1)


def fgl_sum(corner_logits: Tensor, left: Tensor, right_weight: Tensor, weights: Tensor) -> Tensor:
    """Fine-grained localisation loss, summed over pairs and edges, ``(L,)``.

    Args:
        corner_logits: of the matched queries, ``(L, M, 4, bins)``.
        left: bin left of the true offset, ``(L, M, 4)``.
        right_weight: weight of the bin to its right, ``(L, M, 4)``.
        weights: of each pair, ``(L, M)``: its IoU.
    """
    log_p = corner_logits.log_softmax(-1)
    at_left, at_right = (log_p.gather(-1, index[..., None]).squeeze(-1) for index in (left, left + 1))
    cross_entropy = -((1 - right_weight) * at_left + right_weight * at_right)
    return (cross_entropy.sum(-1) * weights).sum(-1)


def ddf_divergence(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """``T^2 KL(teacher || student)`` at temperature T, summed over the four edges.

    Args:
        student_logits: ``(B, L, Q, 4, bins)`` of the earlier layers.
        teacher_logits: ``(B, 1, Q, 4, bins)`` of the last; no gradient flows into it.
        temperature: T.

    Returns:
        ``(B, L, Q)``
    """
    teacher = (teacher_logits.detach() / temperature).log_softmax(-1)
    student = (student_logits / temperature).log_softmax(-1)
    return temperature**2 * (teacher.exp() * (teacher - student)).sum((-1, -2))


def ddf_sum(
    weighted: Tensor,
    matched: Tensor,
    *,
    divisors: tuple[float | Tensor, float | Tensor],
    balance: tuple[float | Tensor, float | Tensor],
) -> Tensor:
    """Decoupled distillation focal loss of each layer, ``(L,)``.

    The mean over the edges of matched queries and the mean over those of the others, weighted by `balance`.

    Args:
        weighted: divergence over the four edges times the IoU of a matched query or the teacher's confidence of
            another, ``(B, L, Q)``.
        matched: 1 where the layer's query is matched, else 0, ``(B, L, Q)``.
        divisors: number of matched queries and of the others, not 0.
        balance: weights of the two means, from `ddf_balance`.
    """
    of_matched = (weighted * matched).sum((0, 2))
    of_others = (weighted * (1 - matched)).sum((0, 2))
    means = of_matched / (4 * divisors[0]), of_others / (4 * divisors[1])
    return means[0] * balance[0] + means[1] * balance[1]


def ddf_balance(num_matched: float | Tensor, num_queries: float | Tensor) -> tuple[float | Tensor, float | Tensor]:
    """The weights of DDF's two means, which add up to 1: in proportion to the square roots of the two counts."""
    roots = num_matched**0.5, (num_queries - num_matched) ** 0.5
    return roots[0] / (roots[0] + roots[1]), roots[1] / (roots[0] + roots[1])
