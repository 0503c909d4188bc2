"""How long the criterion takes, against pydfine's port of the original and Transformers' own.

    python benchmarks/criterion.py --batch_sizes 4 16 32 --objects 10 50

Forward and backward on random outputs of the shape of D-FINE-S: 3 layers, 300 queries, 80 classes, denoising. Every
criterion gets the same outputs and computes the same terms, which is checked:

- pydfine (a port of the authors' criterion; `pip install hf_detr[benchmark]`): all terms.
- Transformers pairs each layer with the corners of another and knows no union of matches. It gets outputs without the
  first layer's traditional head, so that its pairs are right, and ours the same outputs and no union; it still leaves
  out the last layer's FGL, which ours computes.

Times are CPU seconds of one thread, the runs of the criteria alternate, and the median of `--repeats` is shown. Both
others grow with the square of the batch, ours does not.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version

import torch
from dfine.backends.native.criterion import DFINECriterion
from dfine.backends.native.matcher import HungarianMatcher
from torch import Tensor
from transformers import DFineConfig
from transformers.loss.loss_d_fine import DFineForObjectDetectionLoss

from hf_detr.losses.attach import stack_outputs
from hf_detr.losses.criterion import DetrCriterion
from hf_detr.losses.options import criterion_options

LAYERS, QUERIES, CLASSES, BINS = 3, 300, 80, 33
NUM_DENOISING = 100
CONFIG = DFineConfig(num_labels=CLASSES, decoder_layers=LAYERS)
OPTIONS = criterion_options(CONFIG)

Outputs = dict[str, Tensor]
Labels = list[dict[str, Tensor]]


def random_batch(batch: int, objects: int, seed: int = 0) -> tuple[Outputs, Labels, dict]:
    """What D-FINE-S hands to its loss; ``objects`` objects in every image."""
    draw = torch.Generator().manual_seed(seed)
    groups = max(1, NUM_DENOISING // objects)
    num_denoising = 2 * objects * groups
    stack = (batch, LAYERS + 1, num_denoising + QUERIES)
    references = torch.randn(batch, 1, num_denoising + QUERIES, 4, generator=draw).sigmoid()
    outputs = {
        "logits": torch.randn(*stack, CLASSES, generator=draw) - 3,
        "boxes": torch.randn(*stack, 4, generator=draw).sigmoid(),
        "encoder_logits": torch.randn(batch, QUERIES, CLASSES, generator=draw) - 3,
        "encoder_boxes": torch.randn(batch, QUERIES, 4, generator=draw).sigmoid(),
        "corners": torch.randn(batch, LAYERS, num_denoising + QUERIES, 4 * BINS, generator=draw),
    }
    for value in outputs.values():
        value.requires_grad_()
    outputs["references"] = references.expand(-1, LAYERS, -1, -1)

    labels = []
    for _ in range(batch):
        sides = 0.05 + 0.4 * torch.rand(objects, 2, generator=draw)
        centres = sides / 2 + (1 - sides) * torch.rand(objects, 2, generator=draw)
        class_labels = torch.randint(0, CLASSES, (objects,), generator=draw)
        labels.append({"class_labels": class_labels, "boxes": torch.cat([centres, sides], 1)})
    positives = (torch.arange(groups)[:, None] * 2 * objects + torch.arange(objects)).flatten()
    denoising = {
        "dn_positive_idx": (positives,) * batch,
        "dn_num_group": groups,
        "dn_num_split": [num_denoising, QUERIES],
    }
    return outputs, labels, denoising


def without_traditional_head(outputs: Outputs) -> Outputs:
    """The same outputs without "pre", so that Transformers pairs layers and corners rightly."""
    return outputs | {"logits": outputs["logits"][:, 1:], "boxes": outputs["boxes"][:, 1:]}


def our_losses(outputs: Outputs, labels: Labels, denoising: dict, *, union: bool) -> dict[str, Tensor]:
    options = replace(OPTIONS, union_of_matches=union)
    stack, known = stack_outputs(
        options,
        outputs["logits"],
        outputs["boxes"],
        outputs["encoder_logits"],
        outputs["encoder_boxes"],
        denoising,
        outputs["corners"],
        outputs["references"],
    )
    return DetrCriterion(options, tie_break="reference")(stack, labels, known)


def pydfine_losses(outputs: Outputs, labels: Labels, denoising: dict) -> dict[str, Tensor]:
    num_denoising = denoising["dn_num_split"][0]
    matcher = HungarianMatcher({"cost_class": 2, "cost_bbox": 5, "cost_giou": 2}, alpha=0.25, gamma=2.0)
    weights = {"loss_vfl": 1, "loss_bbox": 5, "loss_giou": 2, "loss_fgl": 0.15, "loss_ddf": 1.5}
    criterion = DFINECriterion(matcher, weights, ["vfl", "boxes", "local"], alpha=0.75, gamma=2.0, num_classes=CLASSES)

    def layers(queries: slice) -> tuple[dict, list[dict]]:
        traditional = {"pred_logits": outputs["logits"][:, 0, queries], "pred_boxes": outputs["boxes"][:, 0, queries]}
        teacher = {
            "teacher_corners": outputs["corners"][:, -1, queries],
            "teacher_logits": outputs["logits"][:, -1, queries],
        }
        refined = [
            {
                "pred_logits": outputs["logits"][:, layer + 1, queries],
                "pred_boxes": outputs["boxes"][:, layer + 1, queries],
                "pred_corners": outputs["corners"][:, layer, queries],
                "ref_points": outputs["references"][:, layer, queries],
                **teacher,
            }
            for layer in range(LAYERS)
        ]
        return traditional, refined

    traditional, refined = layers(slice(num_denoising, None))
    traditional_known, refined_known = layers(slice(0, num_denoising))
    last = {name: value for name, value in refined[-1].items() if "teacher" not in name}
    official = {
        **last,
        "up": torch.tensor([OPTIONS.up]),
        "reg_scale": torch.tensor([OPTIONS.reg_scale]),
        "aux_outputs": refined[:-1],
        "pre_outputs": traditional,
        "enc_aux_outputs": [{"pred_logits": outputs["encoder_logits"], "pred_boxes": outputs["encoder_boxes"]}],
        "enc_meta": {"class_agnostic": False},
        "dn_outputs": refined_known,
        "dn_pre_outputs": traditional_known,
        "dn_meta": denoising,
    }
    targets = [{"labels": label["class_labels"], "boxes": label["boxes"]} for label in labels]
    return criterion(official, targets)


def transformers_losses(outputs: Outputs, labels: Labels, denoising: dict) -> dict[str, Tensor]:
    """Transformers calls the encoder's terms those of one more layer."""
    _, losses, _ = DFineForObjectDetectionLoss(
        outputs["logits"][:, -1],
        labels,
        torch.device("cpu"),
        outputs["boxes"][:, -1],
        CONFIG,
        outputs["logits"],
        outputs["boxes"],
        enc_topk_logits=outputs["encoder_logits"],
        enc_topk_bboxes=outputs["encoder_boxes"],
        denoising_meta_values=denoising,
        predicted_corners=outputs["corners"],
        initial_reference_points=outputs["references"],
    )
    return {name.replace(f"_aux_{LAYERS - 1}", "_enc_0"): value for name, value in losses.items()}


def largest_difference(ours: dict[str, Tensor], theirs: dict[str, Tensor], left_out: tuple[str, ...]) -> float:
    """Relative, over all terms that are not left out; both must have the others."""
    names = [sorted(name for name in losses if not name.startswith(left_out)) for losses in (ours, theirs)]
    if names[0] != names[1]:
        raise SystemExit(f"the terms differ: {sorted(set(names[0]) ^ set(names[1]))}")
    return max(abs(ours[name].item() / theirs[name].item() - 1) for name in names[0])


def seconds(losses: Callable[[], dict[str, Tensor]], leaves: list[Tensor]) -> float:
    """CPU seconds of forward and backward."""
    start = time.process_time()
    torch.autograd.grad(torch.stack(list(losses().values())).sum(), leaves, allow_unused=True)
    return time.process_time() - start


def alternate(candidates: dict[str, Callable], leaves: list[Tensor], repeats: int) -> dict[str, float]:
    """Median seconds of each, run in turns."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, losses in candidates.items():
            times[name].append(seconds(losses, leaves))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[4, 16, 32])
    parser.add_argument("--objects", type=int, nargs="+", default=[10, 50], help="objects per image")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)

    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "pydfine"))
    print(f"{packages}; one thread; load average {os.getloadavg()[0]:.1f}; CPU milliseconds, forward + backward")
    columns = ["batch", "objects", "ours", "pydfine", "ratio", "difference"]
    columns += ["ours, no union", "Transformers", "ratio", "difference"]
    print(f"| {' | '.join(columns)} |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for batch in args.batch_sizes:
        for objects in args.objects:
            outputs, labels, denoising = random_batch(batch, objects)
            leaves = [value for value in outputs.values() if value.requires_grad]
            simpler = without_traditional_head(outputs)
            candidates = {
                "ours": lambda o=outputs, t=labels, d=denoising: our_losses(o, t, d, union=True),
                "pydfine": lambda o=outputs, t=labels, d=denoising: pydfine_losses(o, t, d),
                "ours, no union": lambda o=simpler, t=labels, d=denoising: our_losses(o, t, d, union=False),
                "Transformers": lambda o=simpler, t=labels, d=denoising: transformers_losses(o, t, d),
            }
            # The last denoising layer teaches itself nothing: pydfine and Transformers give a 0 for it, ours no term.
            nothing = (f"loss_ddf_dn_{LAYERS - 1}",)
            official = largest_difference(candidates["ours"](), candidates["pydfine"](), nothing)
            # Transformers weighs DDF of denoising queries with their own counts.
            ours, theirs = candidates["ours, no union"](), candidates["Transformers"]()
            ours.pop("loss_fgl")
            stock = largest_difference(ours, theirs, ("loss_ddf_dn_",))
            times = alternate(candidates, leaves, args.repeats)
            milliseconds = {name: f"{1000 * value:.0f}" for name, value in times.items()}
            print(
                f"| {batch} | {objects} | {milliseconds['ours']} | {milliseconds['pydfine']} "
                f"| {times['pydfine'] / times['ours']:.1f} | {official:.0e} | {milliseconds['ours, no union']} "
                f"| {milliseconds['Transformers']} | {times['Transformers'] / times['ours, no union']:.1f} "
                f"| {stock:.0e} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
