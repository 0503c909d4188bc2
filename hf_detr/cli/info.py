"""`hf-detr info`: which models there are, and how large, fast and good each is."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_detr.models.published import PAPERS, PUBLISHED
from hf_detr.models.variants import FAMILIES

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from hf_detr.recipes import Recipe

_DESCRIPTION = """\
Families and sizes with the numbers their authors published; or the counted parameters and GFLOPs of one of them, of a
recipe, or of a checkpoint.

  hf-detr info
  hf-detr info d_fine s
  hf-detr info d_fine/s_finetune
  hf-detr info runs/first
"""
_FOOTNOTE = """\
AP: COCO val2017, as published. ms: T4, TensorRT, fp16, batch 1, as published. side: of the square input in pixels.
"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="hf-detr info", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", help="a family, a recipe, a local folder or a Hub id; default: the table")
    parser.add_argument("size", nargs="?", help="size within the family")
    parser.add_argument("--image_size", type=int, nargs="+", metavar="PX", help="one number, or height and width")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    if args.model is None or (args.model in FAMILIES and args.size is None):
        rows = list(table_rows(args.model))
        print(json.dumps(rows, indent=2) if args.json else "\n".join(table_lines(rows)))
        return 0
    facts = model_facts(args.model, args.size, args.image_size)
    print(json.dumps(facts, indent=2) if args.json else "\n".join(fact_lines(facts)))
    return 0


def table_rows(family: str | None) -> Iterator[dict[str, Any]]:
    """What is published of all sizes, or of one family's."""
    for name, sizes in FAMILIES.items():
        if family in (None, name):
            for size, variant in sizes.items():
                published = PUBLISHED.get((name, size))
                numbers = published._asdict() if published else {}
                yield {"family": name, "size": size, "image_side": variant.image_side, **numbers}


def table_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield f"{'family':<12}{'size':<7}{'side':>5}{'AP':>7}{'params M':>10}{'GFLOPs':>9}{'ms':>8}"
    formats = {"average_precision": ".1f", "parameters_millions": "g", "gflops": "g", "latency_ms": ".2f"}
    for row in rows:
        ap, parameters, gflops, latency = (format(row[n], f) if n in row else "-" for n, f in formats.items())
        name = f"{row['family']:<12}{row['size']:<7}{row['image_side']:>5}"
        yield f"{name}{ap:>7}{parameters:>10}{gflops:>9}{latency:>8}"
    yield ""
    yield _FOOTNOTE.rstrip()
    for family in dict.fromkeys(row["family"] for row in rows):
        paper = PAPERS[family]
        yield f"{family}: {paper.title}, {paper.url}. Licence: {paper.licence}."


def model_facts(model: str, size: str | None, image_size: list[int] | None) -> dict[str, Any]:
    """Counts of a family's size, of what a recipe trains, or of a checkpoint."""
    from hf_detr.models.cost import count_cost
    from hf_detr.models.families import check_image_size, recognise_variant

    detector, default_size_hw = _build(model, size)
    image_size_hw = (image_size[0], image_size[-1]) if image_size else default_size_hw
    check_image_size(detector.config, image_size_hw)
    variant = recognise_variant(detector.config)
    facts: dict[str, Any] = {
        "model": " ".join(filter(None, (model, size))),
        "family": variant[0] if variant else detector.config.model_type,
        "size": variant[1] if variant else None,
        "image_size_hw": list(image_size_hw),
        "classes": detector.config.num_labels,
        "queries": detector.config.num_queries,
        **asdict(count_cost(detector, image_size_hw)),
    }
    if variant in PUBLISHED:
        facts["published"] = PUBLISHED[variant]._asdict()
    recipe = _recipe(model)
    if recipe is not None and recipe.distill.teacher is not None:
        facts["teacher"] = recipe.distill.teacher
    return facts


def _recipe(model: str) -> "Recipe | None":
    from hf_detr.recipes import load_recipe, recipe_names

    is_recipe = model in recipe_names() or Path(model).suffix in (".yaml", ".yml")
    return load_recipe(model) if is_recipe else None


def _build(model: str, size: str | None) -> tuple["PreTrainedModel", tuple[int, int]]:
    """A model with the right shapes, its weights as they come, and the size of its input."""
    from hf_detr.models.labels import default_labels
    from hf_detr.models.loading import load_detector, load_from_scratch
    from hf_detr.models.variants import FAMILIES

    if model in FAMILIES:
        side = FAMILIES[model][size].image_side if size in FAMILIES[model] else 640
        detector, _ = load_from_scratch(model, str(size), id2label=default_labels(80), image_size_hw=(side, side))
        return detector, (side, side)
    recipe = _recipe(model)
    if recipe is not None:
        image_size_hw = (recipe.data.image_size[0], recipe.data.image_size[-1])
        if recipe.model.from_scratch:
            detector, _ = load_from_scratch(
                recipe.model.family,
                recipe.model.size,
                id2label=default_labels(80),
                image_size_hw=image_size_hw,
                config_overrides=recipe.model.config_overrides,
                num_queries=recipe.model.num_queries,
            )
        else:
            detector, _ = load_detector(recipe.model.model_name_or_path, recipe.model.revision)
        return detector, image_size_hw
    detector, processor = load_detector(model)
    return detector, (processor.size.height, processor.size.width)


def fact_lines(facts: dict[str, Any]) -> Iterator[str]:
    height, width = facts["image_size_hw"]
    yield f"{facts['model']}: {facts['family']} {facts['size'] or 'of its own size'}"
    yield f"  {facts['parameters']:,} parameters, {facts['trainable']:,} of them trainable"
    yield f"  {facts['gflops']:.1f} GFLOPs at {height} x {width} px (convolutions and matrix products)"
    yield f"  {facts['classes']} classes, {facts['queries']} queries"
    if "published" in facts:
        published = facts["published"]
        yield f"  published: AP {published['average_precision']:g}, {published['latency_ms']:g} ms on a T4"
    if "teacher" in facts:
        yield f"  learns from {facts['teacher']}, in training only"
