"""Which query answers for which object.

The Hungarian matching of DETR (https://huggingface.co/papers/2005.12872), for all supervised outputs of a model at
once: costs are computed between the queries and the objects of one image only, on the device, and travel to the host
in one copy; the pairs travel back in one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from hf_detr.losses.options import CriterionOptions
from hf_detr.losses.overlap import iou_and_giou, prediction_to_xyxy

# What a pair whose cost is not a number costs. Such a pair is taken only if its object has no other; a number far
# larger than real costs (about 20 at most) and small enough to keep their digits in the solver's sums.
_COST_OF_NOT_A_NUMBER = 1e6


@dataclass(frozen=True)
class Targets:
    """The objects of a batch: one after the other, and as a table with a row per image.

    Attributes:
        sizes: number of objects of each image, known on the host.
        class_ids: int64 ``(N,)``, all objects, image after image.
        boxes_cxcywh: ``(N, 4)``, fractions of the image.
        table: int64 ``(B, T)``: object in row b, column t; columns beyond the image's objects repeat an arbitrary one.
    """

    sizes: tuple[int, ...]
    class_ids: Tensor
    boxes_cxcywh: Tensor
    table: Tensor

    @property
    def offsets(self) -> np.ndarray:
        """Position of each image's first object, ``(B,)``."""
        return np.cumsum([0, *self.sizes[:-1]])

    def __len__(self) -> int:
        return sum(self.sizes)


@dataclass(frozen=True)
class HostPairs:
    """Matched pairs as numpy arrays, of K outputs with M pairs each; ``target`` counts within the image.

    Attributes:
        image: ``(M,)``
        query: ``(K, M)``
        target: ``(K, M)``
    """

    image: np.ndarray
    query: np.ndarray
    target: np.ndarray


@dataclass(frozen=True)
class MatchedPairs:
    """Matched pairs on the device, of K outputs with M pairs each.

    Attributes:
        image: int64 ``(M,)``
        query: int64 ``(K, M)``
        target: int64 ``(K, M)``, position in `Targets.class_ids`
    """

    image: Tensor
    query: Tensor
    target: Tensor

    def __len__(self) -> int:
        return len(self.image)

    def for_outputs(self, outputs: int) -> "MatchedPairs":
        """The pairs of one output as those of several."""
        return MatchedPairs(self.image, self.query.expand(outputs, -1), self.target.expand(outputs, -1))

    def of_outputs(self, outputs: slice) -> "MatchedPairs":
        """The pairs of some of the K outputs."""
        return MatchedPairs(self.image, self.query[outputs], self.target[outputs])

    def index(self) -> tuple[Tensor, Tensor, Tensor]:
        """Index of the matched entries in a tensor ``(B, K, Q, ...)``: the result is ``(K, M, ...)``."""
        outputs = torch.arange(len(self.query), device=self.query.device)
        return self.image, outputs[:, None], self.query


def gather_targets(labels: Sequence[dict[str, Tensor]], device: torch.device, dtype: torch.dtype) -> Targets:
    """Collect the labels of a batch (``class_labels`` and ``boxes``, normalised cxcywh) without asking the device."""
    sizes = tuple(len(label["class_labels"]) for label in labels)
    columns = np.arange(max(sizes, default=0))
    offsets = np.cumsum([0, *sizes[:-1]])
    table = np.where(columns < np.array(sizes)[:, None], columns + offsets[:, None], 0)
    return Targets(
        sizes=sizes,
        class_ids=torch.cat([label["class_labels"] for label in labels]).to(device, torch.int64),
        boxes_cxcywh=torch.cat([label["boxes"].reshape(-1, 4) for label in labels]).to(device, dtype),
        table=to_device([table], device)[0],
    )


def to_device(arrays: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
    """Send int64 arrays in one copy that does not wait for the device."""
    packed = torch.from_numpy(np.concatenate([array.reshape(-1) for array in arrays]).astype(np.int64, copy=False))
    if device.type == "cuda":
        packed = packed.pin_memory()
    parts = packed.to(device, non_blocking=True).split([array.size for array in arrays])
    return [part.view(array.shape) for part, array in zip(parts, arrays, strict=True)]


def to_host(costs: Tensor) -> np.ndarray:
    """The one copy from the device in a training step; it waits until the costs are computed."""
    return costs.cpu().numpy()


@torch.no_grad()
def match(
    logits: Tensor, boxes_cxcywh: Tensor, targets: Targets, options: CriterionOptions, *, use_iou_costs: bool
) -> HostPairs:
    """Match every output on its own, one query per object.

    Args:
        logits: ``(B, K, Q, C)`` of K outputs.
        boxes_cxcywh: ``(B, K, Q, 4)``, fractions of the image.
        targets: the objects.
        options: weights of the costs.
        use_iou_costs: DEIMv2's late matcher instead of the usual costs.
    """
    outputs = logits.shape[1]
    if not len(targets):
        nothing = np.zeros((outputs, 0), np.int64)
        return HostPairs(nothing[0], nothing, nothing)
    costs_of = late_costs if use_iou_costs else matching_costs
    costs = costs_of(
        logits, boxes_cxcywh, targets.class_ids[targets.table], targets.boxes_cxcywh[targets.table], options
    )
    usable = torch.nan_to_num(
        costs, nan=_COST_OF_NOT_A_NUMBER, posinf=_COST_OF_NOT_A_NUMBER, neginf=_COST_OF_NOT_A_NUMBER
    )
    return assign(to_host(usable), targets.sizes)


def matching_costs(
    logits: Tensor, boxes_cxcywh: Tensor, class_ids: Tensor, target_boxes_cxcywh: Tensor, options: CriterionOptions
) -> Tensor:
    """Focal classification cost, L1 distance and negative GIoU, weighted, ``(B, K, T, Q)``.

    With p the probability that the query gives to the object's class, the classification cost is
    ``-alpha (1 - p)^gamma log(p) + (1 - alpha) p^gamma log(1 - p)``.

    Args:
        logits: ``(B, K, Q, C)``
        boxes_cxcywh: ``(B, K, Q, 4)``
        class_ids: ``(B, T)``
        target_boxes_cxcywh: ``(B, T, 4)``
        options: weights, alpha and gamma.
    """
    p = _probability_of_class(logits, class_ids)
    alpha, gamma = options.cost_alpha, options.cost_gamma
    costs = alpha * (1 - p) ** gamma * -(p + 1e-8).log() - (1 - alpha) * p**gamma * -(1 - p + 1e-8).log()
    costs *= options.class_cost
    queries, objects = _as_table(boxes_cxcywh, target_boxes_cxcywh)
    for side in range(4):
        costs += options.bbox_cost * (queries[..., side] - objects[..., side]).abs()
    _, giou = iou_and_giou(
        *_as_table(prediction_to_xyxy(boxes_cxcywh), prediction_to_xyxy(target_boxes_cxcywh)),
    )
    return costs.sub_(giou, alpha=options.giou_cost)


def late_costs(
    logits: Tensor, boxes_cxcywh: Tensor, class_ids: Tensor, target_boxes_cxcywh: Tensor, options: CriterionOptions
) -> Tensor:
    """``-p * IoU^4``, the costs of DEIMv2's last epochs (https://huggingface.co/papers/2509.20787).

    Arguments and result as in `matching_costs`.
    """
    iou, _ = iou_and_giou(*_as_table(prediction_to_xyxy(boxes_cxcywh), prediction_to_xyxy(target_boxes_cxcywh)))
    return -_probability_of_class(logits, class_ids) * iou**options.late_iou_power


def _probability_of_class(logits: Tensor, class_ids: Tensor) -> Tensor:
    """``(B, K, Q, C)`` and ``(B, T)`` to ``(B, K, T, Q)``: the sigmoid of the logits that are needed, and no other."""
    batch, outputs, queries, _ = logits.shape
    index = class_ids[:, None, :, None].expand(batch, outputs, class_ids.shape[1], queries)
    return logits.transpose(2, 3).gather(2, index).sigmoid()


def _as_table(queries: Tensor, objects: Tensor) -> tuple[Tensor, Tensor]:
    """Views ``(B, K, 1, Q, 4)`` and ``(B, 1, T, 1, 4)`` that broadcast to all pairs of an image.

    Each coordinate is laid out contiguously, which elementwise kernels on the CPU need to be vectorised.
    """
    queries, objects = (boxes.movedim(-1, 0).contiguous().movedim(0, -1) for boxes in (queries, objects))
    return queries[:, :, None], objects[:, None, :, None]


def assign(costs: np.ndarray, sizes: Sequence[int]) -> HostPairs:
    """The cheapest one-to-one matching of each image in each output.

    Args:
        costs: finite, ``(B, K, T, Q)``; of image b the first ``sizes[b]`` rows count.
        sizes: objects per image. If an image has more objects than queries, the dearest stay without one.
    """
    outputs, queries = costs.shape[1], costs.shape[3]
    counts = [min(size, queries) for size in sizes]
    query = np.empty((outputs, sum(counts)), np.int64)
    target = np.empty_like(query)
    start = 0
    for image_costs, size, count in zip(costs, sizes, counts, strict=True):
        for output in range(outputs):
            rows, columns = linear_sum_assignment(image_costs[output, :size])
            target[output, start : start + count] = rows
            query[output, start : start + count] = columns
        start += count
    return HostPairs(np.repeat(np.arange(len(sizes)), counts), query, target)


def union_of_matches(pairs: HostPairs, *, images: int, queries: int, tie_break: str) -> HostPairs:
    """D-FINE's union set: every query that any output matched, with the object it was matched to most often.

    Several queries may share an object. Result: one row (K = 1), pairs in ascending order of image and query.

    Args:
        pairs: the matches of the K outputs.
        images: batch size.
        queries: queries per image.
        tie_break: which object a query keeps that was matched equally often to several. ``"stable"``: the one that
            comes first in the image's labels, whatever the device and library version. ``"reference"``: the one that
            comes first in ``torch.argsort(counts, descending=True)``, as in the official code; that sort is not
            stable, so its order is PyTorch's on a CPU and may change with the version.
    """
    if tie_break == "reference":
        return _union_in_reference_order(pairs, images)
    width = int(pairs.target.max(initial=-1)) + 1
    keys = (pairs.image * queries + pairs.query) * width + pairs.target
    votes = np.bincount(keys.reshape(-1), minlength=images * queries * width).reshape(images * queries, width)
    matched = np.flatnonzero(votes.any(1))
    image, query = np.divmod(matched, queries)
    target = votes[matched].argmax(1) if len(matched) else matched
    return HostPairs(image, query[None], target[None])


def _union_in_reference_order(pairs: HostPairs, images: int) -> HostPairs:
    image, query, target = [], [], []
    for index in range(images):
        of_image = pairs.image == index
        votes = torch.from_numpy(np.stack([pairs.query[:, of_image].ravel(), pairs.target[:, of_image].ravel()], 1))
        distinct, counts = torch.unique(votes, return_counts=True, dim=0)
        kept: dict[int, int] = {}
        for vote_query, vote_target in distinct[torch.argsort(counts, descending=True)].tolist():
            kept.setdefault(vote_query, vote_target)
        image += [index] * len(kept)
        query += kept.keys()
        target += kept.values()
    return HostPairs(np.array(image, np.int64), np.array(query, np.int64)[None], np.array(target, np.int64)[None])
