"""The vectorised criterion against the slow one, and what must hold of any criterion."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hf_detr.losses import matcher
from hf_detr.losses.criterion import DetrCriterion
from hf_detr.losses.options import CriterionOptions
from tests.losses import slow_reference
from tests.losses.outputs import denoising_values, random_labels, random_outputs, stacked

D_FINE = CriterionOptions(num_bins=8)
OPTIONS = {
    "d_fine": D_FINE,
    "deim": replace(D_FINE, classification="mal", alpha=None, gamma=1.5),
    "deim with alpha": replace(D_FINE, classification="mal", alpha=0.6, gamma=1.5),
    "focal": replace(D_FINE, classification="focal", alpha=0.25),
    "own matches": replace(D_FINE, union_of_matches=False),
    "large bins": replace(D_FINE, reg_scale=8.0, up=0.25),
    "no corner losses": replace(D_FINE, fgl_weight=0.0, ddf_weight=0.0, union_of_matches=False),
    "rt_detr_v2": replace(D_FINE, fgl_weight=0.0, ddf_weight=0.0, union_of_matches=False, num_bins=0),
}


def losses_of(options, outputs, labels, denoising_meta_values=None):
    """Terms of a fresh criterion."""
    stack, denoising = stacked(options, outputs, denoising_meta_values)
    return DetrCriterion(options)(stack, labels, denoising)


def by_suffix(outputs, queries: slice, *, denoising: bool = False) -> dict:
    """The same outputs as the slow criterion takes them."""
    corners = outputs.get("corner_logits")
    layers = outputs["logits"].shape[1] - (corners is not None)
    result = {}
    if corners is not None:
        result["_dn_pre" if denoising else "_pre"] = {
            "logits": outputs["logits"][:, 0, queries],
            "boxes": outputs["boxes_cxcywh"][:, 0, queries],
        }
    for layer in range(layers):
        name = f"_dn_{layer}" if denoising else "" if layer == layers - 1 else f"_aux_{layer}"
        stack = layer + (corners is not None)
        result[name] = {
            "logits": outputs["logits"][:, stack, queries],
            "boxes": outputs["boxes_cxcywh"][:, stack, queries],
        }
        if corners is not None:
            result[name]["corners"] = corners[:, layer, queries].unflatten(-1, (4, -1))
    if not denoising:
        result["_enc_0"] = {"logits": outputs["encoder_logits"], "boxes": outputs["encoder_boxes_cxcywh"]}
    result["references"] = outputs["references_cxcywh"][:, 0, queries] if corners is not None else None
    return result


@pytest.mark.parametrize("counts", [(3, 1), (2, 0), (0, 0), (6, 2)], ids=str)
@pytest.mark.parametrize("name", OPTIONS)
def test_terms_and_gradients_equal_the_slow_criterion(name, counts):
    options, queries, groups = OPTIONS[name], 5, 2
    meta = denoising_values(counts, groups, queries) if max(counts) else None
    num_denoising = meta["dn_num_split"][0] if meta else 0
    outputs = random_outputs(len(counts), queries=queries, denoising=num_denoising, corners=options.num_bins > 0)
    labels = random_labels(counts)
    known = (
        [[(int(q), t % count) for t, q in enumerate(meta["dn_positive_idx"][b])] for b, count in enumerate(counts)]
        if meta
        else None
    )

    fast = losses_of(options, outputs, labels, meta)
    slow = slow_reference.criterion(
        by_suffix(outputs, slice(num_denoising, None)),
        labels,
        options,
        denoising=by_suffix(outputs, slice(0, num_denoising), denoising=True) if meta else None,
        known=known,
    )

    assert fast.keys() == slow.keys()
    for term, value in slow.items():
        torch.testing.assert_close(fast[term], value, rtol=1e-7, atol=1e-9, msg=lambda m, term=term: f"{term}: {m}")
    leaves = {key: value for key, value in outputs.items() if value.requires_grad}
    gradients = [
        torch.autograd.grad(sum(losses.values()), leaves.values(), allow_unused=True, materialize_grads=True)
        for losses in (fast, slow)
    ]
    for leaf, ours, reference in zip(leaves, *gradients, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-6, atol=1e-9, msg=lambda m, leaf=leaf: f"{leaf}: {m}")


def test_the_late_matcher_equals_the_slow_one():
    counts, options = (3, 2), OPTIONS["deim"]
    outputs, labels = random_outputs(2), random_labels(counts)
    criterion = DetrCriterion(options)
    usual = criterion(stacked(options, outputs)[0], labels)
    criterion.use_iou_matching = True
    late = criterion(stacked(options, outputs)[0], labels)
    slow = slow_reference.criterion(by_suffix(outputs, slice(None)), labels, options, late=True)
    for term, value in slow.items():
        torch.testing.assert_close(late[term], value, rtol=1e-7, atol=1e-9)
    assert not torch.isclose(usual["loss_bbox"], late["loss_bbox"])


def test_only_the_last_layer_is_trained_without_auxiliary_outputs():
    options = replace(D_FINE, auxiliary_outputs=False)
    outputs = random_outputs(2)
    losses = losses_of(options, outputs, random_labels((2, 1)))
    assert losses.keys() == {"loss_vfl", "loss_bbox", "loss_giou", "loss_fgl"}


def test_capped_denoising_queries_name_their_objects():
    # 2 of 3 objects of the first image are denoised: the terms are those of a batch with these two only.
    counts, groups, queries = (2, 1), 2, 5
    meta = denoising_values(counts, groups, queries)
    outputs = random_outputs(2, denoising=meta["dn_num_split"][0])
    labels = random_labels((3, 1))
    kept = torch.tensor([0, 2])
    capped = meta | {"dn_target_idx": (kept.repeat(groups), torch.zeros(groups, dtype=torch.int64))}
    fewer = [{key: value[kept] for key, value in labels[0].items()}, labels[1]]
    ours, expected = losses_of(D_FINE, outputs, labels, capped), losses_of(D_FINE, outputs, fewer, meta)
    compared = [term for term in expected if "_dn_" in term and "ddf" not in term]
    assert len(compared) == 4 * 4 - 1
    for term in compared:
        torch.testing.assert_close(ours[term], expected[term])


def test_denoising_queries_of_a_batch_without_objects_count_nothing():
    nothing = (torch.zeros(0, dtype=torch.int64),) * 2
    meta = {"dn_positive_idx": nothing, "dn_target_idx": nothing, "dn_num_group": 1, "dn_num_split": [1, 5]}
    outputs = random_outputs(2, denoising=1)
    losses = DetrCriterion(D_FINE)(
        stacked(D_FINE, outputs, meta)[0], random_labels((0, 0)), stacked(D_FINE, outputs, meta)[1]
    )
    assert {value.item() for term, value in losses.items() if "_dn_" in term} == {0.0}
    assert all(value.isfinite() for value in losses.values())
    gradients = torch.autograd.grad(sum(losses.values()), [v for v in outputs.values() if v.requires_grad])
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_broken_predictions_are_matched_last_and_do_not_crash(broken):
    outputs, labels = random_outputs(2), random_labels((3, 1))
    with torch.no_grad():
        outputs["logits"][0, :, 0] = broken
        outputs["boxes_cxcywh"][0, :, 0] = broken
    stack, _ = stacked(D_FINE, outputs)
    targets = matcher.gather_targets(labels, stack.logits.device, stack.logits.dtype)
    pairs = matcher.match(
        stack.logits.detach()[:, :-1], stack.boxes_cxcywh.detach()[:, :-1], targets, D_FINE, use_iou_costs=False
    )
    assert 0 not in pairs.query[:, pairs.image == 0]
    DetrCriterion(D_FINE)(stack, labels)


def test_objects_of_no_size_give_finite_terms():
    outputs, labels = random_outputs(1), random_labels((2,))
    labels[0]["boxes"][0, 2:] = 0
    losses = losses_of(D_FINE, outputs, labels)
    assert all(value.isfinite() for value in losses.values())


def test_boxes_turned_inside_out_are_taken_as_points():
    outputs, labels = random_outputs(1), random_labels((2,))
    with torch.no_grad():
        outputs["boxes_cxcywh"][..., 2] *= -1
    slow = slow_reference.criterion(by_suffix(outputs, slice(None)), labels, D_FINE)
    fast = losses_of(D_FINE, outputs, labels)
    for term, value in slow.items():
        torch.testing.assert_close(fast[term], value)


@pytest.mark.parametrize("objects_per_forward", [None, 2.0])
def test_accumulated_batches_divide_by_the_mean_number_of_objects(objects_per_forward):
    options = replace(D_FINE, union_of_matches=False, ddf_weight=0.0)
    criterion, labels = DetrCriterion(options), random_labels((3, 1))
    outputs = random_outputs(2)
    halves = [{key: value[i : i + 1] for key, value in outputs.items()} for i in range(2)]
    whole = sum(criterion(stacked(options, outputs)[0], labels).values())
    parts = [
        sum(criterion(stacked(options, half)[0], labels[i : i + 1], None, objects_per_forward).values())
        for i, half in enumerate(halves)
    ]
    assert torch.isclose(sum(parts) / 2, whole) == (objects_per_forward is not None)


class WaitingOperations(TorchDispatchMode):
    """Names the operations that would make the host wait for a device: their results have a size or value it needs."""

    waiting = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique", "_unique2")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put", "index_put_", "_index_put_impl_") else ()
        if name in self.waiting or any(index is not None and index.dtype == torch.bool for index in indices):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["d_fine", "deim", "focal", "rt_detr_v2"])
def test_one_copy_from_the_device_and_no_other_wait(name, monkeypatch):
    options, counts, queries = OPTIONS[name], (3, 0), 5
    meta = denoising_values(counts, 2, queries)
    outputs = random_outputs(2, denoising=meta["dn_num_split"][0], corners=options.num_bins > 0)
    labels = random_labels(counts)
    copies = []
    to_host = matcher.to_host
    monkeypatch.setattr(matcher, "to_host", lambda costs: copies.append(costs.shape) or to_host(costs))
    with WaitingOperations() as operations:
        stack, denoising = stacked(options, outputs, meta)
        losses = DetrCriterion(options)(stack, labels, denoising)
        torch.stack(list(losses.values())).sum().backward()
    assert operations.found == []
    assert len(copies) == 1


@pytest.mark.gpu
def test_one_wait_on_a_gpu():
    counts, queries = (3, 0), 5
    meta = denoising_values(counts, 2, queries)
    meta["dn_positive_idx"] = tuple(positions.cuda() for positions in meta["dn_positive_idx"])
    outputs = {
        key: value.detach().cuda().requires_grad_()
        for key, value in random_outputs(2, denoising=meta["dn_num_split"][0]).items()
    }
    labels = [{key: value.cuda() for key, value in label.items()} for label in random_labels(counts)]
    stack, denoising = stacked(D_FINE, outputs, meta)
    to_host = matcher.to_host

    def allowed(costs):
        torch.cuda.set_sync_debug_mode("default")
        result = to_host(costs)
        torch.cuda.set_sync_debug_mode("error")
        return result

    matcher.to_host = allowed
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses = DetrCriterion(D_FINE)(stack, labels, denoising)
        torch.stack(list(losses.values())).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
        matcher.to_host = to_host
