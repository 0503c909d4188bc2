"""Give a stock Transformers detector our criterion."""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from hf_detr.losses.criterion import DetrCriterion, KnownPairs, OutputStack
from hf_detr.losses.options import CriterionOptions, criterion_options
from hf_detr.models.reference_arithmetic import use_reference_arithmetic
from hf_detr.models.rt_detr_v2.look_forward_twice import look_forward_twice


def attach_criterion(model: PreTrainedModel, *, tie_break: str = "stable") -> DetrCriterion:
    """Make `model` compute the papers' loss whenever it is called with labels.

    ``outputs.loss_dict`` then holds every weighted term under the papers' names: ``loss_vfl``, ``loss_mal`` or
    ``loss_focal``, ``loss_bbox``, ``loss_giou``, ``loss_fgl``, ``loss_ddf``, with the suffixes ``_aux_0`` …, ``_pre``,
    ``_enc_0``, ``_dn_0`` …, ``_dn_pre``. In evaluation mode the models keep fewer outputs, so there are fewer terms.
    The model's call also takes ``num_items_in_batch``, which `DetrTrainer` gives it where gradients are accumulated:
    the mean number of objects in the forwards of one step.

    Predictions are not checked for being finite, as that would wait for the device: a loss that is not finite is
    returned as it is.

    Args:
        model: a D-FINE, DEIM, RT-DETRv2, RT-DETRv4 or DEIMv2 detector.
        tie_break: ``"stable"``, or ``"reference"`` to compare with figures of the authors' code: ties in the union
            of matches are broken in their order (`matcher.union_of_matches`), and the model computes in their order of
            float32 operations from then on, which is slower (`use_reference_arithmetic`).

    Returns:
        The criterion; its `use_iou_matching` switches DEIMv2's late matcher on.

    Raises:
        TrainingError: no criterion is known for the model's configuration.
    """
    criterion = DetrCriterion(criterion_options(model.config), tie_break=tie_break)
    if tie_break == "reference":
        use_reference_arithmetic(model)

    # A function, as the setter of `loss_function` never sees an nn.Module: torch files modules as submodules.
    def loss_function(
        logits: Tensor,
        labels: list[dict[str, Tensor]],
        device: torch.device,
        pred_boxes: Tensor,
        config,
        outputs_class: Tensor,
        outputs_coord: Tensor,
        enc_topk_logits: Tensor | None = None,
        enc_topk_bboxes: Tensor | None = None,
        denoising_meta_values: dict | None = None,
        predicted_corners: Tensor | None = None,
        initial_reference_points: Tensor | None = None,
        num_items_in_batch: Tensor | float | None = None,
        **_: Any,
    ) -> tuple[Tensor, dict[str, Tensor], list[dict[str, Tensor]]]:
        with torch.autocast(device_type=logits.device.type, enabled=False):
            if criterion.options.num_bins == 0:  # boxes are regressed directly: RT-DETRv2
                outputs_coord = look_forward_twice(outputs_coord)
            outputs, denoising = stack_outputs(
                criterion.options,
                outputs_class,
                outputs_coord,
                enc_topk_logits,
                enc_topk_bboxes,
                denoising_meta_values,
                predicted_corners,
                initial_reference_points,
            )
            loss_dict = criterion(outputs, labels, denoising, num_items_in_batch)
            loss = torch.stack(list(loss_dict.values())).sum()
        return loss, loss_dict, intermediate_outputs(outputs)

    model.loss_function = loss_function
    return criterion


def stack_outputs(
    options: CriterionOptions,
    logits: Tensor,
    boxes_cxcywh: Tensor,
    encoder_logits: Tensor | None,
    encoder_boxes_cxcywh: Tensor | None,
    denoising_meta_values: dict | None,
    corner_logits: Tensor | None,
    references_cxcywh: Tensor | None,
) -> tuple[OutputStack, tuple[OutputStack, KnownPairs] | None]:
    """Sort what a Transformers detector hands to its loss into matching and denoising queries, in float32 at least.

    Models with corner distributions put the first layer's traditional head ("pre") before their L layers. The
    encoder's proposals join the matching queries as one more output.

    Args:
        options: says whether the model has corner distributions, and whether more than its last layer is trained.
        logits: ``(B, L or L + 1, Qdn + Q, C)``
        boxes_cxcywh: ``(B, L or L + 1, Qdn + Q, 4)``
        encoder_logits: ``(B, Q, C)``
        encoder_boxes_cxcywh: ``(B, Q, 4)``
        denoising_meta_values: None without denoising queries, which come first otherwise.
        corner_logits: ``(B, L, Qdn + Q, 4 * bins)``. Models without distributions (RT-DETRv2) hand over something
            else here, which is not used.
        references_cxcywh: ``(B, L, Qdn + Q, 4)``, equal for all L; as above.
    """
    logits, boxes_cxcywh = _at_least_float32(logits), _at_least_float32(boxes_cxcywh)
    has_corners = options.num_bins > 0
    layers = corner_logits.shape[1] if has_corners else logits.shape[1]
    pre = ("_pre",) if logits.shape[1] > layers else ()
    layer_suffixes = tuple(f"_{i}" for i in range(layers))
    if has_corners:
        corner_logits = _at_least_float32(corner_logits).unflatten(-1, (4, -1))
        reference_cxcywh = _at_least_float32(references_cxcywh)[:, -1]
    if not options.auxiliary_outputs:
        logits, boxes_cxcywh, pre, layer_suffixes = logits[:, -1:], boxes_cxcywh[:, -1:], (), layer_suffixes[-1:]
        corner_logits = corner_logits[:, -1:] if has_corners else None
    refined = slice(len(pre), len(pre) + len(layer_suffixes))

    num_denoising = denoising_meta_values["dn_num_split"][0] if denoising_meta_values is not None else 0
    sizes = [num_denoising, logits.shape[2] - num_denoising]
    logits, boxes_cxcywh = logits.split(sizes, 2), boxes_cxcywh.split(sizes, 2)
    if has_corners:
        corner_logits, reference_cxcywh = corner_logits.split(sizes, 2), reference_cxcywh.split(sizes, 1)

    def stack(part: int, suffixes: tuple[str, ...]) -> OutputStack:
        return OutputStack(
            suffixes,
            logits[part],
            boxes_cxcywh[part],
            refined,
            corner_logits[part] if has_corners else None,
            reference_cxcywh[part] if has_corners else None,
        )

    outputs = stack(1, (*pre, *(f"_aux{suffix}" for suffix in layer_suffixes[:-1]), ""))
    if not options.auxiliary_outputs:
        return outputs, None
    if encoder_logits is not None:
        outputs = _with_encoder(outputs, encoder_logits, encoder_boxes_cxcywh)
    if denoising_meta_values is None:
        return outputs, None
    known = stack(0, tuple(f"_dn{suffix}" for suffix in (*pre, *layer_suffixes)))
    return outputs, (known, _known_pairs(denoising_meta_values))


def _known_pairs(denoising_meta_values: dict) -> KnownPairs:
    queries, groups = denoising_meta_values["dn_positive_idx"], denoising_meta_values["dn_num_group"]
    if "dn_target_idx" in denoising_meta_values:
        return KnownPairs(queries, denoising_meta_values["dn_target_idx"])
    # Stock Transformers shows all objects of an image, in their order, in every group.
    return KnownPairs(queries, [torch.arange(len(q) // groups, device=q.device).repeat(groups) for q in queries])


def _with_encoder(outputs: OutputStack, logits: Tensor, boxes_cxcywh: Tensor) -> OutputStack:
    return OutputStack(
        (*outputs.suffixes, "_enc_0"),
        torch.cat([outputs.logits, _at_least_float32(logits)[:, None]], 1),
        torch.cat([outputs.boxes_cxcywh, _at_least_float32(boxes_cxcywh)[:, None]], 1),
        outputs.refined,
        outputs.corner_logits,
        outputs.reference_cxcywh,
    )


def intermediate_outputs(outputs: OutputStack) -> list[dict[str, Tensor]]:
    """Logits and boxes of all trained outputs but the last layer's, as Transformers' ``auxiliary_outputs``."""
    return [
        {"logits": outputs.logits[:, k], "pred_boxes": outputs.boxes_cxcywh[:, k]}
        for k, suffix in enumerate(outputs.suffixes)
        if suffix
    ]


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
