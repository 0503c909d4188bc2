"""The flags of `hf-detr train`: every setting of a recipe under its own name."""

from typing import Any

from hf_detr.errors import RecipeError
from hf_detr.fields import Field, all_fields
from hf_detr.recipes import Recipe, load_recipe


def parse_train_command(argv: list[str]) -> Recipe:
    """The recipe that a command line asks for: `[RECIPE | --config RECIPE] [--field value ...]`; flags win.

    `--field=value` and kebab-case names work as well, lists take several values, and a boolean needs none:
    `--from_scratch`, and `--no_ema` for the opposite.

    Raises:
        RecipeError: Everything wrong with the recipe and the flags, one line each.
    """
    recipe, flags = split_flags(argv)
    return load_recipe(recipe, overrides_from_flags(flags, all_fields()))


def split_flags(argv: list[str]) -> tuple[str | None, dict[str, list[str]]]:
    """The recipe's name, and the texts that follow each flag. Of a repeated flag the last one counts."""
    recipe = None
    flags: dict[str, list[str]] = {}
    current: list[str] | None = None
    for position, argument in enumerate(argv):
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            current = flags[name.replace("-", "_")] = [value] if equals else []
        elif position == 0:
            recipe = argument
        elif current is None or (argument.startswith("-") and not _is_number(argument)):
            raise RecipeError(
                f"{argument}: not expected here. Flags are written --name value; one recipe comes first."
            )
        else:
            current.append(argument)
    named = flags.pop("config", None)
    if named is None:
        return recipe, flags
    if len(named) != 1:
        raise RecipeError("--config takes one recipe.")
    if recipe is not None:
        raise RecipeError(f"Two recipes: {recipe} and --config {named[0]}. Give one.")
    return named[0], flags


def overrides_from_flags(flags: dict[str, list[str]], fields: dict[str, Field]) -> dict[str, Any]:
    """Values by field name, as text or lists of text; True or False for a boolean without a value."""
    overrides: dict[str, Any] = {}
    for name, texts in flags.items():
        positive = name.removeprefix("no_")
        if not texts and name not in fields and positive in fields and fields[positive].is_boolean:
            overrides[positive] = False
        elif not texts:
            overrides[name] = True
        else:
            overrides[name] = texts if len(texts) > 1 else None if texts[0] == "null" else texts[0]
    return overrides


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
