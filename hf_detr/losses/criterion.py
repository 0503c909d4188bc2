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
    ddf_sum,
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
_TINY = 1e-12  # keeps 0 / 0 out of ratios of counts
Number = float | Tensor  # a tensor of one element where several processes agree on it


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
class KnownPairs:
    """Which denoising queries stand for which object.

    Attributes:
        queries: per image, int64 positions of its positive queries, ``(n,)``.
        objects: per image, the object of the image that each of them was made from, ``(n,)``.
    """

    queries: Sequence[Tensor]
    objects: Sequence[Tensor]

    def __len__(self) -> int:
        return sum(len(queries) for queries in self.queries)


@dataclass(frozen=True)
class Divisors:
    """What the terms of a set of queries are divided by: means over the processes, taken as 1 if less.

    Attributes:
        own: pairs that the classification is trained on.
        located: pairs that boxes and FGL are trained on.
        matched_queries: queries of the batch whose box is trained, for DDF.
        other_queries: all the other queries.
    """

    own: Number
    located: Number
    matched_queries: Number
    other_queries: Number


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
        denoising: tuple[OutputStack, KnownPairs] | None = None,
        objects_per_forward: Tensor | float | None = None,
    ) -> dict[str, Tensor]:
        """The weighted terms by name; their sum is the loss.

        Terms of a batch (or a process) without objects are finite and keep every output in the graph. With
        `torch.distributed` initialised, all processes must call together: they average what they divide by.

        Args:
            outputs: what the matching queries predict.
            labels: per image ``class_labels`` int64 ``(n,)`` and ``boxes`` ``(n, 4)``, normalised cxcywh.
            denoising: what the denoising queries predict, and what they stand for.
            objects_per_forward: with accumulated gradients, the mean number of objects in the forwards of one step,
                over all processes. It takes the place of this batch's own number, and numbers of pairs follow in
                proportion, so that the mean of the losses is that of one large batch.
        """
        device, dtype = outputs.logits.device, outputs.logits.dtype
        targets = gather_targets(labels, device, dtype)
        images, queries = len(labels), outputs.logits.shape[2]
        own = match(outputs.logits, outputs.boxes_cxcywh, targets, self.options, use_iou_costs=self.use_iou_matching)
        located = own
        if self.options.union_of_matches:
            located = union_of_matches(own, images=images, queries=queries, tie_break=self.tie_break)
        own, located = pairs_to_device([own, located], targets, device)
        located = located.for_outputs(len(outputs.suffixes))

        counts = [len(targets), len(located), images * queries, 0, 0]
        if denoising is not None and len(targets):
            counts[3:] = [len(denoising[1]), images * denoising[0].logits.shape[2]]
        num_objects, num_located, num_queries, num_known, num_known_queries = mean_over_processes(counts, device)
        # The official code weighs the denoising queries' DDF with the counts of the matching ones as well.
        balance = ddf_balance(num_located, num_queries)
        scale = 1.0 if objects_per_forward is None else objects_per_forward / (num_objects + _TINY)

        divisors = Divisors(num_objects * scale, num_located * scale, num_located, num_queries - num_located)
        losses = self._terms(outputs, targets, own, located, divisors, balance)
        if denoising is not None:
            stack, known = denoising
            pairs = denoising_pairs(known, targets, device).for_outputs(len(stack.suffixes))
            divisors = Divisors(num_known * scale, num_known * scale, num_known, num_known_queries - num_known)
            terms = self._terms(stack, targets, pairs, pairs, divisors, balance)
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
        divisors: Divisors,
        balance: tuple[Number, Number],
    ) -> dict[str, Tensor]:
        """Weighted terms of all outputs by name.

        Args:
            stack: K outputs.
            targets: the objects.
            own: each output's pairs for the classification.
            located: each output's pairs for boxes and corners.
            divisors: what sums are divided by.
            balance: weights of DDF's two means.
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
        num_located = at_least_one(divisors.located)
        terms = {
            f"loss_{options.classification}": classification
            * options.classification_weight
            / at_least_one(divisors.own),
            "loss_bbox": l1 * options.bbox_weight / num_located,
            "loss_giou": (1 - giou).sum(1) * options.giou_weight / num_located,
        }
        losses = by_name(terms, stack.suffixes)
        if options.local_losses and stack.corner_logits is not None:
            losses |= self._local_terms(stack, targets, located, iou, divisors, balance)
        return losses

    def _local_terms(
        self,
        stack: OutputStack,
        targets: Targets,
        located: MatchedPairs,
        iou: Tensor,
        divisors: Divisors,
        balance: tuple[Number, Number],
    ) -> dict[str, Tensor]:
        """FGL of the L refined layers and DDF of the first L - 1, the last being their teacher."""
        options = self.options
        layers = stack.suffixes[stack.refined]
        pairs, iou = located.of_outputs(stack.refined), iou[stack.refined]
        bins = bin_offsets(options.num_bins, options.up, options.reg_scale, like=stack.logits)
        true_offsets = edge_offsets(
            prediction_to_xyxy(targets.boxes_cxcywh[pairs.target]),
            stack.reference_cxcywh[pairs.image, pairs.query],
            options.reg_scale,
        )
        fgl = fgl_sum(stack.corner_logits[pairs.index()], *neighbouring_bins(true_offsets, bins), iou)
        losses = by_name({"loss_fgl": fgl * options.fgl_weight / at_least_one(divisors.located)}, layers)
        if len(layers) > 1:
            students = pairs.of_outputs(slice(0, -1))
            confidence = stack.logits[:, stack.refined][:, -1:].detach().amax(-1).sigmoid()
            weights = confidence.repeat(1, len(students.query), 1)
            matched = torch.zeros_like(weights)
            weights[students.index()] = iou[:-1]
            matched[students.index()] = 1
            divergence = ddf_divergence(
                stack.corner_logits[:, :-1], stack.corner_logits[:, -1:], options.ddf_temperature
            )
            ddf = ddf_sum(
                divergence * weights,
                matched,
                divisors=(at_least_one(divisors.matched_queries), at_least_one(divisors.other_queries)),
                balance=balance,
            )
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

    With x a logit, p its sigmoid (no gradient flows into weights), q the IoU of a matched query, t whether the query
    is matched to an object of the class, and BCE(x, s) the binary cross-entropy with target s:

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
    focal = kind == "focal"

    def negative(x: Tensor) -> Tensor:
        p = x.sigmoid() if focal else x.detach().sigmoid()
        return F.softplus(x) * p**gamma

    matched = logits[(*pairs.index(), class_ids)]
    match kind:
        case "vfl":
            positive = iou * (F.softplus(matched) - iou * matched)
        case "mal":
            positive = F.softplus(matched) - iou**gamma * matched
        case "focal":
            positive = F.softplus(-matched) * (1 - matched.sigmoid()) ** gamma * (1.0 if alpha is None else alpha)
    negative_weight = 1.0 if alpha is None else (1 - alpha if focal else alpha)
    # All entries as negatives, then the few positive ones put right: no tensor of targets is built.
    negatives = negative(logits).sum((0, 2, 3)) - negative(matched).sum(1)
    return positive.sum(1) + negative_weight * negatives


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


def denoising_pairs(known: KnownPairs, targets: Targets, device: torch.device) -> MatchedPairs:
    """The pairs of denoising queries and the objects they were made from, as those of one output."""
    image = np.repeat(np.arange(len(targets.sizes)), [len(queries) for queries in known.queries])
    image, offset = to_device([image, targets.offsets[image]], device)
    query, target = torch.cat(list(known.queries)), torch.cat(list(known.objects)) + offset
    return MatchedPairs(image, query[None], target[None])


def mean_over_processes(counts: Sequence[int], device: torch.device) -> list[Number]:
    """Counts averaged over all processes; tensors if there are several, as reading them would wait."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [float(count) for count in counts]
    total = torch.tensor(counts, dtype=torch.float32)
    if device.type == "cuda":
        total = total.pin_memory()
    total = total.to(device, non_blocking=True)
    torch.distributed.all_reduce(total)
    return list((total / torch.distributed.get_world_size()).unbind())


def at_least_one(count: Number) -> Number:
    """A divisor that is not 0 without objects."""
    return count.clamp(min=1) if isinstance(count, Tensor) else max(count, 1.0)


def by_name(terms: dict[str, Tensor], suffixes: Sequence[str]) -> dict[str, Tensor]:
    """One entry for each output of each term, from a vector per term."""
    return {
        name + suffix: value
        for name, values in terms.items()
        for suffix, value in zip(suffixes, values.unbind(), strict=True)
    }
