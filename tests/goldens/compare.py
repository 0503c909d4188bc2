"""Compare our models with golden figures of the official code: `python tests/goldens/compare.py FOLDER...`

A golden folder holds what the official implementation of one model computes with weights that are a function of the
names and shapes of its state dict: detections, parameter counts, every loss term and gradient norms. This converts
these weights, computes the same, and prints the largest differences. Exit code 1 if one is beyond its tolerance.

Tolerances: logits 1e-4 and boxes 1e-5, rows matched as sets; detections with equal classes; loss terms 1e-5 relative;
gradient norms 1e-2 relative, and as much for the share of the gradient in the encoder that RT-DETRv4 goes by.

The figures were measured on a processor by Intel, for which MKL multiplies matrices in other steps than for others,
and rounding alone moves FGL, which divides by the sides of small boxes, by more than 1e-5. On Linux, where gcc and
AVX-512 are at hand, the program therefore has MKL take the steps for Intel; our figures are theirs to 7 digits then.
Elsewhere it says so, and a loss term further away than 1e-5 passes if one step of float32 in every pixel moves it as
far (2e-4, or 1e-5 absolute, at most).

Besides,

- up to two rows may differ where the selection of queries ends in a tie (its gap is in the golden file),
- differences of loss terms below 1e-6 do not count; weighted terms are around 1,
- a gradient norm may be as far away as the official one is from the official one in float64, where that is recorded,
  or a ten-millionth of the norm of the whole gradient.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from scipy.optimize import linear_sum_assignment
from torch import Tensor

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from hf_detr import attach_criterion, convert_checkpoint
from hf_detr.distillation.adaptive import GradientShare
from hf_detr.distillation.loss import feature_distillation_loss
from hf_detr.distillation.student import transformer_encoder_parameters
from hf_detr.models.decoding import decode_detections
from tests.goldens.intel_kernels import multiplies_as_on_intel, run_with_intel_kernels
from tests.goldens.official_inputs import (
    official_images,
    official_labels,
    official_state_dict,
    official_teacher_features,
)

FAMILY_OF_PREFIX = {
    "dfine": "d_fine",
    "deim": "deim",
    "rtdetrv2": "rt_detr_v2",
    "rtv4": "rt_detr_v4",
    "deimv2": "deimv2",
}
LOGITS_TOLERANCE, BOXES_TOLERANCE = 1e-4, 1e-5
SCORES_TOLERANCE, PIXELS_TOLERANCE = 1e-4 / 4, 1e-5 * 640  # what the two above make of a detection
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-2
LOSS_FLOOR, LOSS_NOISE_LIMIT, LOSS_NOISE_FLOOR = 1e-6, 2e-4, 1e-5
GRADIENT_FLOOR = 1e-7
PROJECTOR = "encoder.feature_projector"  # its group of gradient norms
TIE = 1e-5  # a gap between scores below which the selection of queries depends on rounding
ROWS_AT_A_TIE = 2


@dataclass(frozen=True)
class Row:
    """One line of the table: the largest difference of one kind, and whether it is within its tolerance."""

    model: str
    check: str
    difference: str
    tolerance: str
    passed: bool


@dataclass(frozen=True)
class WeightSet:
    """One of the sets of weights that a golden file has figures for.

    Attributes:
        name: of the rule.
        evaluation: key of its evaluation figures.
        tensors: prefix of its tensors in ``eval.safetensors``.
        training: key of its training cases, and the names of those cases.
    """

    name: str
    evaluation: str
    tensors: str
    training: str
    cases: tuple[str, ...]


def weight_sets(golden: dict) -> list[WeightSet]:
    """The sets to check: the main one, and the plain one for the denoising cases that exist for no other.

    With the plain weights hardly anything of the image reaches the heads and query selection is a tie, so that they
    check nothing else well.
    """
    if "eval_scale1" in golden:
        cases = tuple(golden["train_scale1"]["cases"])
        return [WeightSet("scale1", "eval_scale1", "eval_scale1.", "train_scale1", cases)]
    cases = golden["train"]["cases"]
    return [
        WeightSet("spread", "eval_spread", "spread.", "train", tuple(c for c in cases if c.endswith("spread"))),
        WeightSet("plain", "", "", "train", tuple(c for c in cases if c.startswith("dn"))),
    ]


def weights_of(golden: dict, rule: str) -> dict[str, Tensor]:
    """The official state dict, filled by a rule."""
    weights = official_state_dict(golden["state_dict"])
    ones = {"scale1": ".scale", "spread": ".lab.scale"}.get(rule)
    for name, tensor in weights.items():
        if ones is not None and name.endswith(ones):
            tensor.fill_(1)
        if rule == "spread" and name == "decoder.enc_output.proj.bias":
            tensor.zero_()
    return weights


def family_and_size(folder: Path) -> tuple[str, str]:
    """``dfine-n`` is size n of d_fine."""
    if not (folder / "golden.json").is_file():
        raise SystemExit(f"{folder} is no golden folder: it has no golden.json")
    prefix, _, size = folder.name.partition("-")
    if prefix not in FAMILY_OF_PREFIX or not size:
        raise SystemExit(
            f"{folder}: a golden folder is called FAMILY-SIZE, FAMILY one of {', '.join(FAMILY_OF_PREFIX)}"
        )
    return FAMILY_OF_PREFIX[prefix], size


def compare(folder: Path, *, exact: bool = False) -> Iterator[Row]:
    """All checks of one golden folder; if `exact`, no loss term is excused by rounding."""
    family, size = family_and_size(folder)
    golden = json.loads((folder / "golden.json").read_text())
    tensors = load_file(folder / "eval.safetensors")
    id2label = {class_id: str(class_id) for class_id in range(golden["num_classes"])}

    def convert(rule: str):
        return convert_checkpoint(weights_of(golden, rule), family=family, size=size, id2label=id2label)

    # Which of our parameters hold which official tensor is read off the values, all different in the plain set.
    plain = convert("plain")
    official_of = official_parts(plain, weights_of(golden, "plain"))
    yield parameter_counts(folder.name, plain, golden["params"])
    for weights in weight_sets(golden):
        model = convert(weights.name)
        attach_criterion(model, tie_break="reference")
        if weights.evaluation:
            yield from evaluation(folder.name, model, golden[weights.evaluation], tensors, weights.tensors)
        for case in weights.cases:
            yield from training(
                f"{folder.name} {case}", model, golden[weights.training], case, official_of, exact=exact
            )


def parameter_counts(name: str, model, params: dict) -> Row:
    """All parameters, those included that training leaves alone."""
    expected = params["train"] if "train" in params else params["total"]
    found = sum(parameter.numel() for parameter in model.parameters())
    return Row(name, "parameters", str(found - expected), "0", found == expected)


@torch.no_grad()
def evaluation(name: str, model, figures: dict, tensors: dict[str, Tensor], prefix: str) -> Iterator[Row]:
    """Logits and boxes of one image, and the detections decoded from them."""
    outputs = model.eval()(pixel_values=official_images(figures["images"]))
    golden_logits, golden_boxes = tensors[f"{prefix}pred_logits"][0], tensors[f"{prefix}pred_boxes"][0]
    logits, boxes = match_rows([outputs.logits[0], outputs.pred_boxes[0]], [golden_logits, golden_boxes])
    logits_difference, boxes_difference = (logits - golden_logits).abs().amax(1), (boxes - golden_boxes).abs().amax(1)
    apart = (logits_difference > LOGITS_TOLERANCE) | (boxes_difference > BOXES_TOLERANCE)
    allowed = rows_allowed_to_differ(figures)
    passed = int(apart.sum()) <= allowed
    agreeing = ~apart if passed else slice(None)
    yield Row(name, "logits", f"{logits_difference[agreeing].max():.1e}", f"{LOGITS_TOLERANCE:.0e}", passed)
    yield Row(name, "boxes", f"{boxes_difference[agreeing].max():.1e}", f"{BOXES_TOLERANCE:.0e}", passed)
    yield Row(name, "rows apart", str(int(apart.sum())), str(allowed), passed)

    sizes_hw = torch.tensor([[480.0, 640.0]])
    detections = decode_detections(outputs.logits, outputs.pred_boxes, sizes_hw, len(tensors[f"{prefix}post.scores"]))[
        0
    ]
    golden_labels = tensors[f"{prefix}post.labels"].float()[:, None]
    expected = [tensors[f"{prefix}post.scores"][:, None], golden_labels, tensors[f"{prefix}post.boxes"]]
    scores, labels, boxes = match_rows(list(detections.split([1, 1, 4], 1)), expected)
    scores_difference, boxes_difference = (scores - expected[0]).abs().amax(1), (boxes - expected[2]).abs().amax(1)
    apart = (labels != expected[1])[:, 0] | (scores_difference > SCORES_TOLERANCE)
    apart |= boxes_difference > PIXELS_TOLERANCE
    yield Row(
        name,
        "detections",
        f"{scores_difference.max():.1e} / {boxes_difference.max():.1e} px / {int(apart.sum())} rows apart",
        f"{SCORES_TOLERANCE:.0e} / {PIXELS_TOLERANCE:.0e} px / {allowed}",
        int(apart.sum()) <= allowed,
    )


def rows_allowed_to_differ(figures: dict) -> int:
    """How many queries may be others: some if the first one not selected scores as much as the last one that is."""
    if "encoder_topk" in figures:
        gap = figures["encoder_topk"]["boundary_gap"]
    else:
        gap = figures["topk"]["gap_at_boundary"]
    return ROWS_AT_A_TIE if gap < TIE else 0


def match_rows(ours: list[Tensor], golden: list[Tensor]) -> list[Tensor]:
    """Put our rows into the order of the golden ones they are nearest to, all of them together."""
    distance = torch.cdist(torch.cat(golden, 1).double(), torch.cat(ours, 1).double(), p=1)
    _, order = linear_sum_assignment(distance.numpy())
    return [part[torch.from_numpy(order)] for part in ours]


def training(name: str, model, figures: dict, case_name: str, official_of: dict, *, exact: bool) -> Iterator[Row]:
    """Every loss term of a training step, and gradient norms."""
    case = figures["cases"][case_name]
    model.config.num_denoising = case["num_denoising"]
    late = case.get("epoch", 0) >= figures.get("matcher_change_epoch", float("inf"))
    losses = training_losses(model, case, official_images(case["images"]), late=late)
    model.zero_grad()
    sum(losses.values()).backward()

    expected = {term: value for term, value in case["losses"].items() if not is_left_out(term)}
    names_agree = losses.keys() == expected.keys()
    differences = {t: beyond_floor(losses[t].item() - v, LOSS_FLOOR, v) for t, v in expected.items() if t in losses}
    beyond = [term for term, difference in differences.items() if difference > LOSS_TOLERANCE]
    noise = loss_noise(model, case, late=late) if beyond and not exact else {}
    excused = {
        term
        for term in beyond
        if noise
        and differences[term] <= min(noise[term], max(LOSS_NOISE_LIMIT, relative(LOSS_NOISE_FLOOR, expected[term])))
    }
    note = f" ({len(excused)} beyond, within rounding)" if excused else ""
    yield Row(
        name,
        f"{len(expected)} loss terms" if names_agree else f"terms {sorted(losses.keys() ^ expected.keys())}",
        largest(differences) + note,
        f"{LOSS_TOLERANCE:.0e}",
        names_agree and set(beyond) <= excused,
    )

    norms = {
        official: (joined_gradient(model, parts).double().norm().item(), case["grad_l2"][official])
        for official, parts in official_of.items()
        if case["grad_l2"].get(official) is not None
    }
    norms["all"] = (total_gradient_norm(model), case["grad_l2_all"])
    floor = GRADIENT_FLOOR * case["grad_l2_all"]
    differences = {n: beyond_floor(ours - theirs, floor, theirs) for n, (ours, theirs) in norms.items()}
    tolerance = max(GRADIENT_TOLERANCE, gradient_noise(figures["cases"], case_name))
    yield Row(
        name,
        f"{len(norms)} gradient norms",
        largest(differences),
        f"{tolerance:.1e}",
        max(differences.values()) <= tolerance,
    )
    if "encoder_grad_percentage" in case:
        yield from distillation(name, model, case, tolerance)


def distillation(name: str, model, case: dict, tolerance: float) -> Iterator[Row]:
    """What a teacher adds: the projector's gradient, and the figure that the adaptive weight goes by.

    The official code takes the figure from parameters with the prefix that DDP gives their names, so that it is 0
    on a single process (``encoder_grad_percentage_without_ddp_prefix``); ours does not depend on names.
    """
    gradients = [parameter.grad.double().norm() for parameter in model.feature_projector.parameters()]
    share = GradientShare(transformer_encoder_parameters(model), model.parameters())
    share.update()
    for check, ours, theirs in (
        ("projector's gradient", torch.stack(gradients).norm().item(), case["grad_l2_groups"][PROJECTOR]),
        ("encoder's share of the gradient", share.mean(), case["encoder_grad_percentage"]),
    ):
        difference = relative(ours - theirs, theirs)
        yield Row(name, check, f"{difference:.1e}", f"{tolerance:.1e}", difference <= tolerance)


def relative(difference: float, value: float) -> float:
    """The size of a difference from `value`, relative to it; to a value of 0 every difference is infinite."""
    return 0.0 if difference == 0 else abs(difference / value) if value else float("inf")


def largest(differences: dict[str, float]) -> str:
    """The largest of the relative differences and what it is of."""
    worst = max(differences, key=differences.get)
    return f"{differences[worst]:.1e} {worst}" if differences[worst] else "none above the floor"


def beyond_floor(difference: float, floor: float, value: float) -> float:
    """`relative`, or 0 for differences up to a floor."""
    return relative(difference, value) if abs(difference) > floor else 0.0


def is_left_out(term: str) -> bool:
    """The official RT-DETRv4 repeats its distillation term, as 0, for all outputs but the last layer's."""
    return term.startswith("loss_distill_")


def training_losses(model, case: dict, images: Tensor, *, late: bool) -> dict[str, Tensor]:
    """Weighted terms of a training step, with ties in the union of matches broken as officially."""
    criterion = attach_criterion(model, tie_break="reference")
    criterion.use_iou_matching = late
    torch.manual_seed(0)
    outputs = model.train()(pixel_values=images, labels=official_labels(case["targets"]))
    losses = dict(outputs.loss_dict)
    if "loss_distill" in case["losses"]:
        teacher = official_teacher_features(*images.shape[-2:])
        losses["loss_distill"] = 5 * feature_distillation_loss(outputs.distillation_features, teacher)
    return losses


@torch.no_grad()
def loss_noise(model, case: dict, *, late: bool) -> dict[str, float]:
    """How far each term moves, relative to itself, when every pixel does by the smallest step of float32: the furthest
    of going up, going down, and two mixtures of both."""
    images = official_images(case["images"])
    towards = [torch.ones_like(images), torch.zeros_like(images)]
    towards += [torch.rand(images.shape, generator=torch.Generator().manual_seed(seed)).round() for seed in range(2)]
    here, *there = (
        training_losses(model, case, pixels, late=late)
        for pixels in (images, *(images.nextafter(goal) for goal in towards))
    )
    return {
        term: max(relative((losses[term] - value).item(), value.item()) for losses in there)
        for term, value in here.items()
    }


def gradient_noise(cases: dict, case_name: str) -> float:
    """How far the official gradients in float32 are from those in float64, of the case or of it without denoising."""
    for name in (case_name, f"no_{case_name}"):
        if "float64" in cases.get(name, {}):
            return cases[name]["float64"].get("max_rel_grad_diff", 0.0)
    return 0.0


def official_parts(model, weights: dict[str, Tensor]) -> dict[str, list[str]]:
    """Our parameters that hold each official tensor, in order: one, or several that it was cut into along axis 0."""
    by_content = {_key(parameter): name for name, parameter in model.named_parameters()}
    parts = {}
    for name, tensor in weights.items():
        for pieces in (1, 3):  # attention holds queries, keys and values in one official tensor
            keys = [_key(piece) for piece in tensor.chunk(pieces)] if tensor.dim() else []
            if keys and all(key in by_content for key in keys):
                parts[name] = [by_content[key] for key in keys]
                break
    return parts


def _key(tensor: Tensor) -> tuple:
    return tuple(tensor.shape), tensor.detach().double().sum().item(), tensor.detach().flatten()[0].item()


def joined_gradient(model, names: list[str]) -> Tensor:
    parameters = dict(model.named_parameters())
    return torch.cat([parameters[name].grad.flatten() for name in names])


def total_gradient_norm(model) -> float:
    squares = [p.grad.double().square().sum() for p in model.parameters() if p.grad is not None]
    return torch.stack(squares).sum().sqrt().item()


def print_table(rows: list[Row]) -> None:
    header = Row("model", "check", "largest difference", "tolerance", True)
    cells = [(r.model, r.check, r.difference, r.tolerance, "ok" if r.passed else "FAILED") for r in [header, *rows]]
    cells[0] = (*cells[0][:-1], "")
    widths = [max(len(row[column]) for row in cells) for column in range(5)]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="FAMILY-SIZE with a golden.json")
    folders = parser.parse_args(argv).folders
    for folder in folders:
        family_and_size(folder)
    exact = multiplies_as_on_intel()
    if not exact:
        code = run_with_intel_kernels(__file__, [str(folder) for folder in folders])
        if code is not None:
            return code
        print("MKL's steps for Intel need Linux, gcc and AVX-512: loss terms may differ by rounding.", file=sys.stderr)
    torch.set_num_threads(1)  # as the figures were measured
    rows = []
    for folder in folders:
        print(f"{folder} ...", file=sys.stderr, flush=True)
        rows += compare(folder, exact=exact)
    print_table(rows)
    return 0 if all(row.passed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
