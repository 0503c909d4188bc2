"""`hf-detr recipe`: which recipes there are, and what one resolves to."""

import argparse
from collections.abc import Iterator

from hf_detr.cli.train_command import parse_train_command
from hf_detr.models.published import PAPERS
from hf_detr.models.variants import FAMILIES
from hf_detr.recipes import Recipe, find_recipe, header_line, recipe_names, scalar_yaml

_DESCRIPTION = """\
Recipes are YAML pages with every setting of a training run.

  hf-detr recipe list
  hf-detr recipe list deim
  hf-detr recipe show d_fine/s_finetune
  hf-detr recipe show my_recipe.yaml --learning_rate 1e-4     # as `hf-detr train` would understand it
"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="hf-detr recipe", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(dest="action", metavar="list | show", required=True)
    listed = actions.add_parser("list", help="one line for each recipe that comes with the package")
    listed.add_argument("family", nargs="?", choices=[*FAMILIES, "demo"], help="only the recipes of this family")
    show = actions.add_parser("show", help="all values, with the file and line each comes from")
    show.add_argument("recipe", help="a name from the list, or a YAML file")
    show.add_argument("settings", nargs=argparse.REMAINDER, metavar="--setting value", help="as for `hf-detr train`")
    args = parser.parse_args(argv)
    if args.action == "list":
        lines = list_lines(args.family)
    else:
        lines = show_lines(parse_train_command([args.recipe, *args.settings]))
    print("\n".join(lines))
    return 0


def list_lines(family: str | None) -> Iterator[str]:
    """The names of the recipes and the first line of each: by family (all, or one), purpose and size."""
    names = recipe_names()
    width = max(map(len, names))
    folders = [family] if family else [*FAMILIES, *sorted({name.split("/")[0] for name in names} - set(FAMILIES))]
    for folder in folders:
        if folder != folders[0]:
            yield ""
        yield f"{PAPERS[folder].title}, {PAPERS[folder].url}" if folder in PAPERS else folder
        for name in sorted((name for name in names if name.startswith(f"{folder}/")), key=_purpose_and_size):
            yield f"  {name:<{width}}  {header_line(find_recipe(name))}"


def _purpose_and_size(name: str) -> tuple[bool, str, int]:
    """Sort key of names such as `d_fine/s_finetune`: those for own data first, and small sizes before large ones."""
    family, page = name.split("/")
    size, _, purpose = page.partition("_")
    sizes = list(FAMILIES.get(family, ()))
    return purpose != "finetune", purpose, sizes.index(size) if size in sizes else len(sizes)


def show_lines(recipe: Recipe) -> Iterator[str]:
    """The recipe as YAML, with the source of each value as a comment."""
    yield f"# {recipe.name}"
    for section, values in recipe.sections().items():
        yield f"{section}:"
        for name, value in values.items():
            yield f"  {f'{name}: {scalar_yaml(value)}':<58}  # {recipe.sources[name]}"
