"""How far float32 lets loss terms come to golden figures: our models, and a port of the authors' code beside them.

    python benchmarks/golden_noise.py tests/goldens/dfine-n

The golden figures of a D-FINE folder were measured with the authors' code on another machine. pydfine 0.2.1 is a port
of that code (`pip install hf_detr[benchmark]`). It and ours compute the same loss terms from the same weights and
images, with one thread and with two. Printed for each training case is the largest relative difference from the golden
figures, how many terms are further away than 1e-5, and how far ours and pydfine are from each other.
"""

import argparse
import json
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from dfine.backends.native import DFINE, DFINECriterion
from dfine.config import DFINEConfig
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from hf_detr import convert_checkpoint
from tests.goldens.compare import (
    LOSS_FLOOR,
    LOSS_TOLERANCE,
    beyond_floor,
    family_and_size,
    training_losses,
    weight_sets,
    weights_of,
)
from tests.goldens.official_inputs import official_images, official_labels

DERIVED = {"up", "reg_scale", "anchors", "valid_mask", "num_points_scale"}  # from the configuration, in no golden file


def pydfine_losses(size: str, weights: dict[str, Tensor], case: dict, images: Tensor) -> dict[str, Tensor]:
    """Weighted terms of a training step by pydfine."""
    torch.manual_seed(0)
    options = DFINEConfig.preset(size, backbone_pretrained=False, num_denoising=case["num_denoising"])
    model = DFINE.from_config(options).train()
    missing, unexpected = model.load_state_dict(weights, strict=False)
    missing = [name for name in missing if name.rsplit(".", 1)[-1] not in DERIVED]
    if missing or set(unexpected) - {"decoder.denoising_class_embed.weight"}:  # without denoising it has none
        raise SystemExit(f"pydfine has other tensors: {missing} are missing, {unexpected} are not known.")
    targets = [
        {"labels": label["class_labels"], "boxes": label["boxes"]} for label in official_labels(case["targets"])
    ]
    torch.manual_seed(0)
    return DFINECriterion.from_config(options)(model(images, targets), targets)


def differences(losses: dict[str, Tensor], others: dict[str, Tensor | float]) -> list[float]:
    """Relative differences of the terms that both have."""
    return [
        beyond_floor(float(losses[term]) - float(other), LOSS_FLOOR, float(other)) for term, other in others.items()
    ]


def measured(values: list[float]) -> str:
    return f"{max(values):.1e} ({sum(value > LOSS_TOLERANCE for value in values)} of {len(values)})"


@torch.no_grad()
def print_cases(folder: Path) -> None:
    family, size = family_and_size(folder)
    if family != "d_fine":
        raise SystemExit(f"{folder}: pydfine knows D-FINE alone.")
    golden = json.loads((folder / "golden.json").read_text())
    id2label = {class_id: str(class_id) for class_id in range(golden["num_classes"])}
    for weight_set in weight_sets(golden):
        weights = weights_of(golden, weight_set.name)
        model = convert_checkpoint(weights, family=family, size=size, id2label=id2label)
        for name in weight_set.cases:
            case = golden[weight_set.training]["cases"][name]
            model.config.num_denoising = case["num_denoising"]
            images = official_images(case["images"])
            for threads in (1, 2):
                torch.set_num_threads(threads)
                ours = training_losses(model, case, images, late=False)
                port = pydfine_losses(size, weights, case, images)
                columns = [measured(differences(losses, case["losses"])) for losses in (port, ours)]
                columns.append(f"{max(differences(ours, {term: port[term] for term in case['losses']})):.1e}")
                print(f"| {folder.name} {name} | {threads} | {' | '.join(columns)} |", flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="dfine-SIZE with a golden.json")
    args = parser.parse_args(argv)
    print(f"torch {version('torch')}, pydfine {version('pydfine')}\n")
    print("| case | threads | pydfine to golden | ours to golden | ours to pydfine |\n|---|---|---|---|---|")
    for folder in args.folders:
        print_cases(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
