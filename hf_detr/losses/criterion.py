"""What a detector minimises: one criterion for D-FINE, DEIM, RT-DETRv2, RT-DETRv4 and DEIMv2.

All outputs of a model are matched and trained at once, stacked along one axis, and IoUs are computed for matched pairs
only: the cost grows linearly with the batch. Nothing but the matcher's one copy waits for the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor

from hf_detr.losses.distributions import (
    bin_offsets,
    ddf_balance,
    ddf_divergence,
    ddf_mean,
    edge_offsets,
    fgl_sum,
    neighbouring_bins,
)
from hf_detr.losses.matcher import (
    HostPairs,
    MatchedPairs,
    Targets,
    gather_targets,
    match,
    to_device,
    union_of_matches,
)
from hf_detr.losses.options import CriterionOptions
from hf_detr.losses.overlap import iou_and_giou, prediction_to_xyxy

TIE_BREAKS = ("stable", "reference")


@dataclass(frozen=True)
class OutputStack:
    """The supervised outputs of a model for one set of queries, K of them side by side.

    Attributes:
        suffixes: how the loss terms of each output end: "" for the last decoder layer, "_aux_0", "_pre", "_enc_0", …
        logits: ``(B, K, Q, C)``
        boxes_cxcywh: ``(B, K, Q, 4)``, fractions of the image.
        refined: which of the K outputs have corner logits, in the order of the decoder layers, the last one last.
        corner_logits: ``(B, L, Q, 4, bins)`` of the refined outputs; None for models that regress boxes directly.
        reference_cxcywh: box that the corners are offsets from, the same for all layers, ``(B, Q, 4)``.
    """

    suffixes: tuple[str, ...]
    logits: Tensor
    boxes_cxcywh: Tensor
    refined: slice
    corner_logits: Tensor | None = None
    reference_cxcywh: Tensor | None = None


@dataclass(frozen=True)
class DenoisingGroups:
    """Which denoising queries stand for which object.

    Attributes:
        positives: per image, int64 positions of its positive queries, ``(groups * objects,)``: group after group, in
            the order of the image's objects.
        groups: how often each object is repeated.
    """

    positives: Sequence[Tensor]
    groups: int


class DetrCriterion:
    """Computes every weighted loss term of a batch, ``loss_vfl`` to ``loss_ddf_dn_pre``.

    A plain object, not a module: it has no parameters and nothing to save. Its one state is `use_iou_matching`, which
    the trainer switches on for the last epochs of DEIMv2.

    Args:
        options: terms and weights.
        tie_break: how ties in the union of matches are broken, see `union_of_matches`.
    """

    def __init__(self, options: CriterionOptions, *, tie_break: str = "stable"):
        if tie_break not in TIE_BREAKS:
            raise ValueError(f"tie_break must be one of {', '.join(TIE_BREAKS)}, got {tie_break!r}")
        self.options = options
        self.tie_break = tie_break
        self.use_iou_matching = False

    def __call__(
        self,
        outputs: OutputStack,
        labels: Sequence[dict[str, Tensor]],
        denoising: tuple[OutputStack, DenoisingGroups] | None = None,
    ) -> dict[str, Tensor]:
        """The weighted terms by name; their sum is the loss.

        Terms of a batch (or a process) without objects are finite and keep every output in the graph. With
        `torch.distributed` initialised, all processes must call together: the numbers of objects are averaged.

        Args:
            outputs: what the matching queries predict.
            labels: per image ``class_labels`` int64 ``(n,)`` and ``boxes`` ``(n, 4)``, normalised cxcywh.
            denoising: what the denoising queries predict, and what they stand for.
        """
        device, dtype = outputs.logits.device, outputs.logits.dtype
        targets = gather_targets(labels, device, dtype)
        images, queries = len(labels), outputs.logits.shape[2]
        own = match(outputs.logits, outputs.boxes_cxcywh, targets, self.options, use_iou_costs=self.use_iou_matching)
        located = own
        if self.options.union_of_matches:
            union = union_of_matches(own, images=images, queries=queries, tie_break=self.tie_break)
            located = HostPairs(union.image, *(a.repeat(len(own.query), 0) for a in (union.query, union.target)))
        pairs = pairs_to_device([own, located], targets, device)
        num_boxes, num_located = mean_over_processes([len(targets), len(located.image)], device)

        balance = ddf_balance(len(located.image), images * queries)
        losses = self._terms(outputs, targets, *pairs, num_boxes, num_located, balance)
        if denoising is not None:
            stack, groups = denoising
            known = denoising_pairs(groups, targets, len(stack.suffixes), device)
            num_known = num_boxes * groups.groups
            terms = self._terms(stack, targets, known, known, num_known, num_known, balance)
            if not len(targets):  # queries that stand for nothing keep their parameters in the graph, no more
                terms = {name: value * 0 for name, value in terms.items()}
            losses |= terms
        return losses

    def _terms(
        self,
        stack: OutputStack,
        targets: Targets,
        own: MatchedPairs,
        located: MatchedPairs,
        num_boxes: Tensor | float,
        num_located: Tensor | float,
        balance: tuple[float, float],
    ) -> dict[str, Tensor]:
        """Weighted terms of all outputs by name.

        Args:
            stack: K outputs.
            targets: the objects.
            own: each output's pairs for the classification.
            located: each output's pairs for boxes and corners.
            num_boxes: what the classification is divided by.
            num_located: what boxes and FGL are divided by.
            balance: DDF's weights. The official code keeps those of the matching queries for the denoising ones.
        """
        options = self.options
        matched_boxes = stack.boxes_cxcywh[located.index()]
        matched_targets = targets.boxes_cxcywh[located.target]
        iou, giou = iou_and_giou(prediction_to_xyxy(matched_boxes), prediction_to_xyxy(matched_targets))
        iou = iou.detach()
        own_iou = iou if own is located else iou_of_pairs(stack.boxes_cxcywh.detach(), targets, own)
        classification = classification_sum(
            stack.logits,
            own,
            targets.class_ids[own.target],
            own_iou,
            kind=options.classification,
            alpha=options.alpha,
            gamma=options.gamma,
        )
        l1 = (matched_boxes - matched_targets).abs().sum((1, 2))
        terms = {
            f"loss_{options.classification}": classification * options.classification_weight / num_boxes,
            "loss_bbox": l1 * options.bbox_weight / num_located,
            "loss_giou": (1 - giou).sum(1) * options.giou_weight / num_located,
        }
        losses = by_name(terms, stack.suffixes)
        if options.local_losses and stack.corner_logits is not None:
            losses |= self._local_terms(stack, targets, located, iou, num_located, balance)
        return losses

    def _local_terms(
        self,
        stack: OutputStack,
        targets: Targets,
        located: MatchedPairs,
        iou: Tensor,
        num_located: Tensor | float,
        balance: tuple[float, float],
    ) -> dict[str, Tensor]:
        """FGL of the L refined layers and DDF of the first L - 1, the last being their teacher."""
        options = self.options
        pairs, iou = located.of_outputs(stack.refined), iou[stack.refined]
        bins = bin_offsets(options.num_bins, options.up, options.reg_scale, like=stack.logits)
        true_offsets = edge_offsets(
            prediction_to_xyxy(targets.boxes_cxcywh[pairs.target]),
            stack.reference_cxcywh[pairs.image, pairs.query],
            options.reg_scale,
        )
        fgl = fgl_sum(stack.corner_logits[pairs.index()], *neighbouring_bins(true_offsets, bins), iou)
        layers = stack.suffixes[stack.refined]
        losses = by_name({"loss_fgl": fgl * options.fgl_weight / num_located}, layers)
        if stack.corner_logits.shape[1] > 1:
            students = pairs.of_outputs(slice(0, -1))
            confidence = stack.logits[:, stack.refined][:, -1:].detach().amax(-1).sigmoid()
            weights = confidence.repeat(1, len(students.query), 1)
            matched = torch.zeros_like(weights)
            weights[students.index()] = iou[:-1]
            matched[students.index()] = 1
            divergence = ddf_divergence(
                stack.corner_logits[:, :-1], stack.corner_logits[:, -1:], options.ddf_temperature
            )
            ddf = ddf_mean(divergence, weights, matched, num_matched=len(students), balance=balance)
            losses |= by_name({"loss_ddf": ddf * options.ddf_weight}, layers[:-1])
        return losses


def classification_sum(
    logits: Tensor,
    pairs: MatchedPairs,
    class_ids: Tensor,
    iou: Tensor,
    *,
    kind: str,
    alpha: float | None,
    gamma: float,
) -> Tensor:
    """Classification loss of each output, summed over images, queries and classes, ``(K,)``.

    With x a logit, p its sigmoid (no gradient flows into weights), q the IoU of a matched query and t whether the
    query is matched to an object of the class:

    - ``vfl`` (https://huggingface.co/papers/2008.13367): BCE(x, q t) * (alpha p^gamma (1 - t) + q t)
    - ``mal`` (https://huggingface.co/papers/2412.04234): BCE(x, q^gamma t) * (alpha p^gamma (1 - t) + t)
    - ``focal`` (https://huggingface.co/papers/1708.02002): BCE(x, t) |t - p|^gamma, times alpha if t, else 1 - alpha;
      here the gradient flows into p as well

    Args:
        logits: ``(B, K, Q, C)``
        pairs: the matches, one query per object.
        class_ids: class of each pair, ``(K, M)``.
        iou: of each pair, without gradient, ``(K, M)``.
        kind: one of the three.
        alpha: None is no factor.
        gamma: exponent.
    """
    matched = (*pairs.index(), class_ids)
    score = torch.zeros_like(logits)
    if kind == "focal":
        score[matched] = 1
        p = logits.sigmoid()
        weight = (score - p).abs() ** gamma
        if alpha is not None:
            weight = weight * (alpha * score + (1 - alpha) * (1 - score))
        return (F.binary_cross_entropy_with_logits(logits, score, reduction="none") * weight).sum((0, 2, 3))
    weight = logits.detach().sigmoid().pow_(gamma)
    if alpha is not None:
        weight *= alpha
    if kind == "vfl":
        score[matched] = iou
        weight[matched] = iou
    else:
        score[matched] = iou**gamma
        weight[matched] = 1
    return F.binary_cross_entropy_with_logits(logits, score, weight, reduction="none").sum((0, 2, 3))


def iou_of_pairs(boxes_cxcywh: Tensor, targets: Targets, pairs: MatchedPairs) -> Tensor:
    """IoU of each matched prediction with its object, ``(K, M)``."""
    predicted = prediction_to_xyxy(boxes_cxcywh[pairs.index()])
    return iou_and_giou(predicted, prediction_to_xyxy(targets.boxes_cxcywh[pairs.target]))[0]


def pairs_to_device(matches: Sequence[HostPairs], targets: Targets, device: torch.device) -> list[MatchedPairs]:
    """Send matches to the device in one copy, and count targets over the batch instead of within the image."""
    arrays = []
    for pairs in matches:
        arrays += [pairs.image, pairs.query, pairs.target + targets.offsets[pairs.image]]
    sent = to_device(arrays, device)
    return [MatchedPairs(*sent[i : i + 3]) for i in range(0, len(sent), 3)]


def denoising_pairs(groups: DenoisingGroups, targets: Targets, outputs: int, device: torch.device) -> MatchedPairs:
    """The pairs of denoising queries and the objects they were made from, the same for each of the K outputs."""
    image = np.repeat(np.arange(len(targets.sizes)), [size * groups.groups for size in targets.sizes])
    target = np.concatenate(
        [
            np.tile(np.arange(size), groups.groups) + offset
            for size, offset in zip(targets.sizes, targets.offsets, strict=True)
        ]
    )
    image, target = to_device([image, target], device)
    query = torch.cat(list(groups.positives))
    return MatchedPairs(image, query.expand(outputs, -1), target.expand(outputs, -1))


def mean_over_processes(counts: Sequence[int], device: torch.device) -> list[Tensor] | list[float]:
    """Counts averaged over all processes, at least 1; tensors if there are several, as reading them would wait."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [max(float(count), 1.0) for count in counts]
    total = torch.tensor(counts, dtype=torch.float32)
    if device.type == "cuda":
        total = total.pin_memory().to(device, non_blocking=True)
    torch.distributed.all_reduce(total)
    return list((total / torch.distributed.get_world_size()).clamp(min=1).unbind())


def by_name(terms: dict[str, Tensor], suffixes: Sequence[str]) -> dict[str, Tensor]:
    """One entry for each output of each term, from a vector per term."""
    return {
        name + suffix: value
        for name, values in terms.items()
        for suffix, value in zip(suffixes, values.unbind(), strict=True)
    }
