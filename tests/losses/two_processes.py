"""Half a batch in each of two processes: what `test_several_processes` starts."""

from pathlib import Path

import torch
import torch.distributed

from hf_detr.losses.criterion import DetrCriterion
from hf_detr.losses.options import CriterionOptions
from tests.losses.outputs import denoising_values, random_labels, random_outputs, stacked

OPTIONS = CriterionOptions(num_bins=8)
QUERIES, GROUPS = 5, 2


def whole_batch(counts: tuple[int, ...]):
    """Outputs and labels of all images, with as many denoising queries everywhere as the fullest image asks for."""
    meta = denoising_values(counts, GROUPS, QUERIES)
    return random_outputs(len(counts), queries=QUERIES, denoising=meta["dn_num_split"][0]), random_labels(counts), meta


def losses_and_gradients(counts: tuple[int, ...], images: slice) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
    """Terms of some images of the batch, and gradients of their sum by the outputs of these images."""
    outputs, labels, meta = whole_batch(counts)
    outputs = {key: value[images].detach() for key, value in outputs.items()}
    leaves = [value.requires_grad_() for key, value in outputs.items() if key != "references_cxcywh"]
    meta["dn_positive_idx"] = meta["dn_positive_idx"][images]
    stack, denoising = stacked(OPTIONS, outputs, meta)
    losses = DetrCriterion(OPTIONS)(stack, labels[images], denoising)
    return losses, list(torch.autograd.grad(sum(losses.values()), leaves))


def run(rank: int, folder: Path, cases: list[tuple[int, ...]]) -> None:
    """One process: save the terms and gradients of its half of every case."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    results = {}
    for counts in cases:
        half = len(counts) // 2
        losses, gradients = losses_and_gradients(counts, slice(rank * half, (rank + 1) * half))
        results[counts] = {name: value.detach() for name, value in losses.items()}, gradients
    torch.save(results, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()
