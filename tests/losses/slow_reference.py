"""The criterion written down a second time, in loops over single pairs, straight from the formulas of the papers.

Nothing here is shared with `hf_detr.losses`. It is slow and meant to be checked by reading.
"""

import math
from collections import Counter
from itertools import permutations

import torch


def corners(box_cxcywh):
    cx, cy, w, h = box_cxcywh
    w, h = w.clamp(min=0), h.clamp(min=0)
    return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2


def overlaps(box_a, box_b):
    """IoU and GIoU of two cxcywh boxes."""
    ax0, ay0, ax1, ay1 = corners(box_a)
    bx0, by0, bx1, by1 = corners(box_b)
    width = (torch.minimum(ax1, bx1) - torch.maximum(ax0, bx0)).clamp(min=0)
    height = (torch.minimum(ay1, by1) - torch.maximum(ay0, by0)).clamp(min=0)
    shared = width * height
    union = (ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - shared
    hull = (torch.maximum(ax1, bx1) - torch.minimum(ax0, bx0)) * (torch.maximum(ay1, by1) - torch.minimum(ay0, by0))
    iou = shared / union
    return iou, iou - (hull - union) / hull


def pair_cost(logits, box, class_id, target_box, options, late):
    p = logits[class_id].sigmoid()
    iou, giou = overlaps(box, target_box)
    if late:
        return float(-p * iou**options.late_iou_power)
    alpha, gamma = options.cost_alpha, options.cost_gamma
    positive = -alpha * (1 - p) ** gamma * math.log(p + 1e-8)
    negative = -(1 - alpha) * p**gamma * math.log(1 - p + 1e-8)
    l1 = sum(abs(float(a - b)) for a, b in zip(box, target_box, strict=True))
    return float(options.class_cost * (positive - negative) + options.bbox_cost * l1 - options.giou_cost * giou)


def best_matching(logits, boxes, target, options, late):
    """[(query, object)], by trying every way to give each object a query of its own."""
    queries, objects = range(len(logits)), range(len(target["class_labels"]))
    cost = {
        (q, t): pair_cost(logits[q], boxes[q], target["class_labels"][t], target["boxes"][t], options, late)
        for q in queries
        for t in objects
    }
    if len(objects) <= len(queries):
        ways = ([(q, t) for t, q in enumerate(chosen)] for chosen in permutations(queries, len(objects)))
    else:
        ways = ([(q, t) for q, t in enumerate(chosen)] for chosen in permutations(objects, len(queries)))
    return min(ways, key=lambda way: sum(cost[pair] for pair in way))


def union(matchings):
    """Each matched query with the object it was matched to most often, the first such in the labels."""
    votes = Counter(pair for matching in matchings for pair in matching)
    chosen = {}
    for (query, target), _ in sorted(votes.items(), key=lambda item: (-item[1], item[0][1])):
        chosen.setdefault(query, target)
    return sorted(chosen.items())


def classification_loss(logits, boxes, labels, matches, options):
    total = 0.0
    for b, label in enumerate(labels):
        matched = dict(matches[b])
        for q in range(logits.shape[1]):
            for c in range(logits.shape[2]):
                x = logits[b, q, c]
                p = x.detach().sigmoid()
                t = int(q in matched and label["class_labels"][matched[q]] == c)
                iou = overlaps(boxes[b, q], label["boxes"][matched[q]])[0].detach() if t else torch.zeros(())
                alpha = 1.0 if options.alpha is None else options.alpha
                if options.classification == "vfl":
                    goal, weight = iou * t, alpha * p**options.gamma * (1 - t) + iou * t
                elif options.classification == "mal":
                    goal, weight = iou**options.gamma * t, alpha * p**options.gamma * (1 - t) + t
                else:
                    p_of_truth = x.sigmoid() if t else 1 - x.sigmoid()
                    goal = torch.tensor(float(t))
                    weight = (options.alpha if t else 1 - options.alpha) * (1 - p_of_truth) ** options.gamma
                cross_entropy = -goal * torch.nn.functional.logsigmoid(x) - (
                    1 - goal
                ) * torch.nn.functional.logsigmoid(-x)
                total = total + weight * cross_entropy
    return total


def box_losses(boxes, labels, matches):
    l1 = giou_loss = boxes.sum() * 0
    for b, pairs in enumerate(matches):
        for q, t in pairs:
            l1 = l1 + (boxes[b, q] - labels[b]["boxes"][t]).abs().sum()
            giou_loss = giou_loss + 1 - overlaps(boxes[b, q], labels[b]["boxes"][t])[1]
    return l1, giou_loss


def bin_values(options):
    a = options.up * options.reg_scale
    half = options.num_bins // 2
    values = [(a + 1) ** (2 * i / (options.num_bins - 2)) - 1 for i in range(1, half)]
    return [-2 * a, *(-v for v in reversed(values)), 0.0, *values, 2 * a]


def fgl(corner_logits, boxes, references, labels, matches, options):
    values = bin_values(options)
    total = corner_logits.sum() * 0
    for b, pairs in enumerate(matches):
        for q, t in pairs:
            iou = overlaps(boxes[b, q], labels[b]["boxes"][t])[0].detach()
            cx, cy, w, h = references[b, q]
            x0, y0, x1, y1 = corners(labels[b]["boxes"][t])
            s = options.reg_scale
            offsets = [
                (cx - x0) / (w / s) - s / 2,
                (cy - y0) / (h / s) - s / 2,
                (x1 - cx) / (w / s) - s / 2,
                (y1 - cy) / (h / s) - s / 2,
            ]
            for edge, offset in enumerate(offsets):
                log_p = corner_logits[b, q, edge].log_softmax(-1)
                offset = min(max(float(offset), values[0]), values[-1])
                left = max(n for n in range(options.num_bins) if values[n] <= offset)
                right_weight = (offset - values[left]) / (values[left + 1] - values[left])
                total = total - iou * ((1 - right_weight) * log_p[left] + right_weight * log_p[left + 1])
    return total


def ddf(corner_logits, teacher_corners, teacher_logits, boxes, labels, matches, balance_matches, options):
    T = options.ddf_temperature
    matched_values, other_values = [], []
    for b in range(len(labels)):
        matched = dict(matches[b])
        for q in range(boxes.shape[1]):
            if q in matched:
                weight = overlaps(boxes[b, q], labels[b]["boxes"][matched[q]])[0].detach()
            else:
                weight = teacher_logits[b, q].detach().sigmoid().max()
            for edge in range(4):
                teacher = (teacher_corners[b, q, edge].detach() / T).softmax(-1)
                student = (corner_logits[b, q, edge] / T).log_softmax(-1)
                divergence = (teacher * (teacher.log() - student)).sum()
                (matched_values if q in matched else other_values).append(weight * T**2 * divergence)
    num_matched, num_queries = balance_matches
    roots = math.sqrt(num_matched), math.sqrt(num_queries - num_matched)
    mean = [sum(v) / len(v) if v else 0.0 for v in (matched_values, other_values)]
    return (mean[0] * roots[0] + mean[1] * roots[1]) / (roots[0] + roots[1])


def criterion(outputs, labels, options, *, late=False, denoising=None, known=None):
    """Weighted terms.

    Args:
        outputs: {suffix: {"logits", "boxes", optionally "corners"}}, "" last of those with corners; with "references".
        labels: per image class_labels and boxes.
        options: CriterionOptions.
        late: late matcher.
        denoising: as `outputs`, or None.
        known: per image the (query, object) pairs of the denoising queries.
    """
    layers = {suffix: output for suffix, output in outputs.items() if suffix != "references"}
    own = {
        suffix: [
            best_matching(o["logits"][b].detach(), o["boxes"][b].detach(), label, options, late)
            for b, label in enumerate(labels)
        ]
        for suffix, o in layers.items()
    }
    go = [union([own[suffix][b] for suffix in layers]) for b in range(len(labels))]
    num_objects = max(sum(len(label["class_labels"]) for label in labels), 1)
    losses = {}

    def add_terms(layers, references, own, located, num_own, num_located, balance_matches):
        with_corners = [suffix for suffix in layers if "corners" in layers[suffix]]
        for suffix, o in layers.items():
            classification = classification_loss(o["logits"], o["boxes"], labels, own[suffix], options)
            losses[f"loss_{options.classification}{suffix}"] = options.classification_weight * classification / num_own
            l1, giou_loss = box_losses(o["boxes"], labels, located[suffix])
            losses[f"loss_bbox{suffix}"] = options.bbox_weight * l1 / num_located
            losses[f"loss_giou{suffix}"] = options.giou_weight * giou_loss / num_located
            if suffix in with_corners and options.local_losses:
                value = fgl(o["corners"], o["boxes"], references, labels, located[suffix], options)
                losses[f"loss_fgl{suffix}"] = options.fgl_weight * value / num_located
                if suffix != with_corners[-1]:
                    last = layers[with_corners[-1]]
                    value = ddf(
                        o["corners"],
                        last["corners"],
                        last["logits"],
                        o["boxes"],
                        labels,
                        located[suffix],
                        balance_matches,
                        options,
                    )
                    losses[f"loss_ddf{suffix}"] = options.ddf_weight * value

    located = {suffix: go if options.union_of_matches else own[suffix] for suffix in layers}
    num_located = sum(len(pairs) for pairs in located[""])
    balance = num_located, len(labels) * layers[""]["logits"].shape[1]
    add_terms(layers, outputs["references"], own, located, num_objects, max(num_located, 1), balance)
    if denoising is not None:
        dn_layers = {suffix: output for suffix, output in denoising.items() if suffix != "references"}
        pairs = {suffix: known for suffix in dn_layers}
        num_known = max(sum(len(p) for p in known), 1)
        add_terms(dn_layers, denoising["references"], pairs, pairs, num_known, num_known, balance)
    return losses
