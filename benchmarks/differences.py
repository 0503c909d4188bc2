"""How far stock Transformers is from the papers' code, as figures: the tables of docs/differences.md.

    python benchmarks/differences.py

Weights and images are those of the golden figures (tests/goldens), which are functions of names and seeds: nothing is
downloaded. Ours computes what the authors' code computes, which tests/goldens/compare.py proves; so what is different
from ours is different from the papers. No noise is involved: there are no denoising queries.
"""

import argparse
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    Deimv2Config,
    Deimv2ForObjectDetection,
    DFineConfig,
    DFineForObjectDetection,
    PreTrainedModel,
    RTDetrV2Config,
    RTDetrV2ForObjectDetection,
)
from transformers.loss.loss_utils import LOSS_MAPPING

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from hf_detr import attach_criterion, convert_checkpoint
from tests.goldens.compare import match_rows, weight_sets, weights_of
from tests.goldens.official_inputs import official_images, official_labels

GOLDENS = Path(__file__).parents[1] / "tests" / "goldens"
SIDE = 320  # pixels
IMAGES = f"make_images(2, {SIDE}, {SIDE}, seed=0)"
OBJECTS = "make_targets(2, 80, (5, 2), seed=1)"
APART = 1e-3  # a query counts as another one if its logits or box differ by more

STOCK_CLASSES = (
    (Deimv2Config, Deimv2ForObjectDetection),
    (DFineConfig, DFineForObjectDetection),
    (RTDetrV2Config, RTDetrV2ForObjectDetection),
)


@dataclass(frozen=True)
class Subject:
    """A model to compare: its name, family and size, and the golden folder whose weights it gets."""

    name: str
    family: str
    size: str
    folder: str


SUBJECTS = (
    Subject("D-FINE n", "d_fine", "n", "dfine-n"),
    Subject("D-FINE s", "d_fine", "s", "deim-s"),  # the same tensors as DEIM s
    Subject("RT-DETRv2 r18", "rt_detr_v2", "r18", "rtdetrv2-r18"),
    Subject("DEIM s", "deim", "s", "deim-s"),
    Subject("RT-DETRv4 s", "rt_detr_v4", "s", "rtv4-s"),
    Subject("DEIMv2 atto", "deimv2", "atto", "deimv2-atto"),
)


def build_ours(subject: Subject) -> PreTrainedModel:
    """Our model with the golden weights."""
    golden = json.loads((GOLDENS / subject.folder / "golden.json").read_text())
    weights = weights_of(golden, weight_sets(golden)[0].name)
    id2label = {class_id: str(class_id) for class_id in range(golden["num_classes"])}
    return convert_checkpoint(weights, family=subject.family, size=subject.size, id2label=id2label)


def stock_class(model: PreTrainedModel) -> tuple[type, type]:
    """Configuration and model class of stock Transformers that a model is, or is built from."""
    return next(pair for pair in STOCK_CLASSES if isinstance(model.config, pair[0]))


def new_stock(ours: PreTrainedModel) -> PreTrainedModel:
    """The nearest stock model, with weights of its own: every field of the configuration that the stock class has."""
    config_class, model_class = stock_class(ours)
    names = {field.name for field in dataclasses.fields(config_class)} | {"id2label"}
    values = {name: value for name, value in ours.config.to_dict().items() if name in names}
    return model_class(config_class(**values))


def build_stock(ours: PreTrainedModel) -> PreTrainedModel:
    """The nearest stock model with our weights.

    What only the stock model has stays out of the way: a projection is the identity, and a norm keeps its defaults.
    """
    stock = new_stock(ours)
    missing = stock.load_state_dict(ours.state_dict(), strict=False).missing_keys
    for module in {name.rpartition(".")[0] for name in missing}:
        match stock.get_submodule(module):
            case nn.Linear() as projection:
                nn.init.eye_(projection.weight)
                nn.init.zeros_(projection.bias)
            case nn.LayerNorm():
                pass
            case other:
                raise SystemExit(f"{type(stock).__name__} has a {type(other).__name__} that ours has not: {module}")
    return stock


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def detection_differences(ours: PreTrainedModel, stock: PreTrainedModel) -> tuple[float, float, int, int]:
    """Largest difference of logits and of boxes (fractions of the image) of one image, how many of its queries are
    apart, and how many there are. Queries are compared as sets: each with the one it is nearest to."""
    image = official_images(IMAGES)[:1]
    outputs = [model.eval()(pixel_values=image) for model in (ours, stock)]
    (logits, boxes), expected = ([o.logits[0], o.pred_boxes[0]] for o in outputs)
    logits, boxes = match_rows([logits, boxes], expected)
    logits_apart, boxes_apart = (logits - expected[0]).abs().amax(1), (boxes - expected[1]).abs().amax(1)
    apart = int((torch.maximum(logits_apart, boxes_apart) > APART).sum())
    return logits_apart.max().item(), boxes_apart.max().item(), apart, len(logits)


@dataclass(frozen=True)
class Step:
    """A forward and backward: the weighted loss terms that are not 0, and the gradient of every parameter."""

    terms: dict[str, float]
    gradients: dict[str, Tensor]

    @property
    def total(self) -> float:
        return sum(self.terms.values())

    def kinds(self) -> str:
        """How many terms there are of each kind: ``5 vfl, 3 fgl``."""
        counts = Counter(name.split("_")[1] for name in self.terms)
        return ", ".join(f"{count} {kind}" for kind, count in counts.items())

    def untrained(self) -> set[str]:
        """Parameters without a gradient; not single numbers, whose gradient may be 0 by rounding."""
        return {name for name, gradient in self.gradients.items() if gradient.numel() > 1 and not gradient.any()}


def training_step(model: PreTrainedModel, loss_function: Callable | None) -> Step:
    """One step of a model without denoising queries, with a loss function, or with ours if none is given."""
    attach_criterion(model, tie_break="reference")
    if loss_function is not None:
        model.loss_function = loss_function
    model.config.num_denoising = 0
    model.zero_grad(set_to_none=True)
    outputs = model.train()(pixel_values=official_images(IMAGES), labels=official_labels(OBJECTS))
    outputs.loss.backward()
    terms = {name: value.item() for name, value in outputs.loss_dict.items() if value != 0}
    gradients = {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    return Step(terms, gradients)


def gradient_difference(ours: Step, stock: Step) -> float:
    """Length of the difference of two gradients, relative to ours."""

    def length(tensors: Sequence[Tensor]) -> float:
        return sum(tensor.double().square().sum().item() for tensor in tensors) ** 0.5

    differences = [stock.gradients[name] - gradient for name, gradient in ours.gradients.items()]
    return length(differences) / length(list(ours.gradients.values()))


def terms_by_output(ours: Step, stock: Step) -> list[list[str]]:
    """Rows of a table of the terms of D-FINE, ours / stock, an output per row.

    Stock numbers what it trains: the traditional head, the decoder layers but the last two, and the encoder.
    """
    kinds = list(dict.fromkeys(name.split("_")[1] for name in ours.terms))
    layers = sum(name.startswith("loss_vfl_aux_") for name in ours.terms)
    outputs = ["pre", *(f"aux_{layer}" for layer in range(layers - 1)), "enc_0"]
    stock_suffix_of = {f"_{output}": f"_aux_{i}" for i, output in enumerate(outputs)} | {"": ""}

    def cell(terms: dict[str, float], name: str) -> str:
        return f"{terms[name]:.2f}" if name in terms else "–"

    rows = [["output", *(f"`loss_{kind}`" for kind in kinds)]]
    for suffix in ("_pre", *(f"_aux_{layer}" for layer in range(layers)), "", "_enc_0"):
        row = [f"`{suffix}`" if suffix else "last layer"]
        for kind in kinds:
            name = f"loss_{kind}{stock_suffix_of[suffix]}" if suffix in stock_suffix_of else ""
            row.append(f"{cell(ours.terms, f'loss_{kind}{suffix}')} / {cell(stock.terms, name)}")
        rows.append(row)
    return rows


def table(rows: Sequence[Sequence[object]]) -> str:
    """Markdown; the first row is the header."""
    header, *body = ([str(cell) for cell in row] for row in rows)
    lines = [f"| {' | '.join(row)} |" for row in [header, *body]]
    return "\n".join([lines[0], "|---" * len(header) + "|", *lines[1:]])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    names = [subject.name for subject in SUBJECTS]
    parser.add_argument("--models", nargs="+", choices=names, default=names, metavar="MODEL", help=", ".join(names))
    args = parser.parse_args(argv)
    torch.set_num_threads(1)

    forward = [["model", "parameters, ours", "stock", "logits", "boxes", "queries apart"]]
    training = [["model", "loss, ours", "stock", "terms, ours", "stock", "gradient apart", "untrained by stock"]]
    terms = []
    for subject in SUBJECTS:
        if subject.name not in args.models:
            continue
        ours = build_ours(subject)
        stock = build_stock(ours)
        logits, boxes, apart, queries = detection_differences(ours, stock)
        forward.append(
            [
                subject.name,
                parameters(ours),
                parameters(stock),
                f"{logits:.1e}",
                f"{boxes:.1e}",
                f"{apart} of {queries}",
            ]
        )
        # The stock loss is computed from our forward, so that the two differences are told apart.
        papers = training_step(ours, None)
        stocks = training_step(ours, LOSS_MAPPING[stock_class(ours)[1].__name__])
        training.append(
            [
                subject.name,
                f"{papers.total:.1f}",
                f"{stocks.total:.1f}",
                papers.kinds(),
                stocks.kinds(),
                f"{gradient_difference(papers, stocks):.1%}",
                len(stocks.untrained() - papers.untrained()),
            ]
        )
        if subject.family == "d_fine":
            terms += [f"Terms of {subject.name}, ours / stock:", table(terms_by_output(papers, stocks))]
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
    print(f"{date.today()}, {packages}, CPU, float32, {SIDE} px\n")
    print("\n\n".join([table(forward), table(training), *terms]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
