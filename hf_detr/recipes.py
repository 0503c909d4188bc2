"""Recipes: a YAML page, the page it extends and the flags, merged into validated arguments.

A recipe has the sections `model`, `data`, `augment`, `train` and `distill`. Their keys are the field names of
`ModelArguments`, `DataArguments`, `AugmentArguments`, `DetrTrainingArguments` and `DistillationArguments`, so
Transformers' documentation of `TrainingArguments` applies to `train`. `extends:` names one other recipe, at most two
in a row: mappings merge, lists are replaced.
"""

import copy
import dataclasses
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hf_detr import __version__
from hf_detr.data.arguments import AugmentArguments, DataArguments
from hf_detr.distillation.arguments import DistillationArguments
from hf_detr.errors import RecipeError, did_you_mean, nearest
from hf_detr.fields import SECTIONS, Field, all_fields, holds_mapping
from hf_detr.models.arguments import ModelArguments

MAX_EXTENDS = 2
DEFAULT_SOURCE = "default"

_PACKAGED = Path(__file__).parent / "configs"
# In a wheel the recipes lie inside the package, in a checkout beside it.
RECIPES_DIR = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parent.parent / "configs"

# What other tools call a setting, where spelling alone does not lead to ours.
_OTHER_NAMES = {
    "amp": "bf16",
    "batch": "per_device_train_batch_size",
    "batch_size": "per_device_train_batch_size",
    "checkpoint": "model_name_or_path",
    "data_dir": "data",
    "device": "use_cpu",
    "epochs": "num_train_epochs",
    "imgsz": "image_size",
    "lr": "learning_rate",
    "model": "model_name_or_path",
    "patience": "early_stopping_patience",
    "resolution": "image_size",
    "workers": "dataloader_num_workers",
}
# Never written to a file: recipes are saved beside checkpoints and published with them.
_SECRETS = frozenset({"hub_token"})


@dataclass(frozen=True)
class Recipe:
    """A resolved recipe.

    `train` holds keyword arguments for `DetrTrainingArguments`: all fields that are ours, and those of Transformers'
    that were set. `sources` names, for each field, the file and line, the flag, or "default".
    """

    name: str
    model: ModelArguments
    data: DataArguments
    augment: AugmentArguments
    train: dict[str, Any]
    distill: DistillationArguments
    sources: dict[str, str]

    def sections(self) -> dict[str, dict[str, Any]]:
        """The values as plain containers, by section."""
        return {
            "model": dataclasses.asdict(self.model),
            "data": dataclasses.asdict(self.data),
            "augment": dataclasses.asdict(self.augment),
            "train": copy.deepcopy(self.train),
            "distill": dataclasses.asdict(self.distill),
        }

    def to_yaml(self) -> str:
        """A recipe that loads to the same values and extends nothing. Access tokens are left out."""
        sections = self.sections()
        sections["train"] = {name: value for name, value in sections["train"].items() if name not in _SECRETS}
        header = f"# {self.name}, resolved by hf_detr {__version__}. `hf-detr train` takes this file as its recipe.\n"
        return header + yaml.dump(sections, Dumper=_Dumper, sort_keys=False, width=119, allow_unicode=True)


@dataclass(frozen=True)
class _Value:
    value: Any
    source: str


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package, such as `d_fine/s_finetune`."""
    names = (path.relative_to(RECIPES_DIR).with_suffix("").as_posix() for path in RECIPES_DIR.rglob("*.yaml"))
    return sorted(name for name in names if not name.startswith("_"))


def find_recipe(name_or_path: str | Path) -> Path:
    """The file of a recipe, given its path or the name of one that comes with the package.

    Raises:
        RecipeError: There is none; the message names the nearest.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    name = path.as_posix()
    packaged = RECIPES_DIR / f"{name.removesuffix('.yaml')}.yaml"
    if packaged.is_file():
        return packaged
    names = recipe_names()
    same_ending = [known for known in names if known.rsplit("/", 1)[-1] == name]
    hint = f" Did you mean {' or '.join(map(repr, same_ending))}?" if same_ending else did_you_mean(name, names)
    raise RecipeError(f"{name}: no such file, and no recipe of this name.{hint} `hf-detr recipe list` shows all.")


def load_recipe(name_or_path: str | Path | None, overrides: dict[str, Any] | None = None) -> Recipe:
    """Read, merge and validate a recipe. A flag beats the recipe, the recipe what it extends, that the defaults.

    Args:
        name_or_path: A path, or a name as `recipe_names` lists them. None: defaults and `overrides` only.
        overrides: Values by field name. Text is cast to the type of the field, as in the file.

    Raises:
        RecipeError: Everything that is wrong, one line each: unknown keys with the nearest valid name and its section,
            values of the wrong type, all with file and line.
    """
    fields = all_fields()
    problems: list[str] = []
    values: dict[str, _Value] = {}
    path = None if name_or_path is None else find_recipe(name_or_path)
    for file, root in _pages(path):
        _merge(values, _page_values(file, root, fields, problems))
    _merge(values, _override_values(overrides or {}, fields, problems))
    if problems:
        raise RecipeError("\n".join(problems))
    return _recipe("defaults" if path is None else _shown_path(path).removesuffix(".yaml"), values, fields)


def header_line(path: Path) -> str:
    """The first comment line of a recipe: what it is for."""
    with path.open(encoding="utf-8") as file:
        first = file.readline()
    return first.lstrip("#").strip() if first.startswith("#") else ""


def scalar_yaml(value: Any) -> str:
    """The value as YAML on one line."""
    return yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=float("inf")).strip().removesuffix("\n...")


def _pages(path: Path | None) -> list[tuple[Path, yaml.MappingNode]]:
    """The recipe and what it extends, the most basic first."""
    pages: list[tuple[Path, yaml.MappingNode]] = []
    while path is not None:
        if len(pages) > MAX_EXTENDS:
            raise RecipeError(f"{_shown_path(pages[0][0])}: extends more than {MAX_EXTENDS} recipes in a row.")
        root = _read_yaml(path)
        pages.insert(0, (path, root))
        path = _extended(path, root)
    return pages


def _extended(path: Path, root: yaml.MappingNode) -> Path | None:
    """What the page extends: a path beside it, or the name of a recipe."""
    for key, value in root.value:
        if key.value == "extends":
            if not isinstance(value, yaml.ScalarNode):
                raise RecipeError(f"{_where(path, value)}: `extends` takes one path or recipe name.")
            beside = Path(os.path.normpath(path.parent / value.value))
            try:
                return beside if beside.is_file() else find_recipe(value.value)
            except RecipeError as error:
                raise RecipeError(f"{_where(path, value)}: extends {error}") from error
    return None


def _read_yaml(path: Path) -> yaml.MappingNode:
    """The file as nodes, which know their lines and their text before YAML guesses a type."""
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=_Loader)
    except OSError as error:
        raise RecipeError(f"{_shown_path(path)}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{_shown_path(path)}: is not UTF-8 text, so not a recipe.") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = text.splitlines()[mark.line] if mark.line < len(text.splitlines()) else ""
        raise RecipeError(f"{_shown_path(path)}:{mark.line + 1}: {error.problem}:\n    {line.strip()}") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{_shown_path(path)}: is not YAML: {error}") from error
    if root is None:
        return yaml.MappingNode(tag="tag:yaml.org,2002:map", value=[])
    if not isinstance(root, yaml.MappingNode):
        raise RecipeError(f"{_where(path, root)}: a recipe has sections ({', '.join(SECTIONS)}), this is none.")
    return root


def _page_values(
    path: Path, root: yaml.MappingNode, fields: dict[str, Field], problems: list[str]
) -> dict[str, _Value]:
    """The values on one page, cast; what is wrong goes to `problems`."""
    values = {}
    for section, content in _items(path, root, problems):
        if section.value == "extends":
            continue
        if section.value not in SECTIONS:
            problems.append(f"{_where(path, section)}: {_unknown_section(section.value, fields)}")
        elif isinstance(content, yaml.MappingNode):
            for key, node in _items(path, content, problems):
                field = fields.get(key.value)
                if field is None or field.section != section.value:
                    problems.append(f"{_where(path, key)}: {_misplaced(key.value, section.value, fields)}")
                    continue
                try:
                    values[field.name] = _Value(field.cast(_raw(node, field)), _where(path, key))
                except (ValueError, yaml.YAMLError) as error:
                    problems.append(f"{_where(path, node)}: {field.name}: {error}")
        elif not _is_null(content):
            problems.append(f"{_where(path, content)}: section {section.value!r} holds no `key: value` lines.")
    return values


def _items(path: Path, mapping: yaml.MappingNode, problems: list[str]) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    seen: set[str] = set()
    for key, value in mapping.value:
        if not isinstance(key, yaml.ScalarNode):
            problems.append(f"{_where(path, key)}: a key must be a name.")
        elif key.value in seen:
            problems.append(f"{_where(path, key)}: {key.value!r} is there twice.")
        else:
            seen.add(key.value)
            yield key, value


def _raw(node: yaml.Node, field: Field) -> Any:
    """The node as text, lists of text or None, so that the field's type decides what the text means.

    YAML alone would read `save_strategy: no` as a boolean. Inside mappings no type is known and YAML's rules hold.
    """
    if isinstance(node, yaml.MappingNode) and not holds_mapping(field.hint):
        raise ValueError("expected one value, got a mapping")
    if isinstance(node, yaml.MappingNode):
        return _Loader("").construct_object(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return [_raw(item, field) for item in node.value]
    return None if _is_null(node) else node.value


def _is_null(node: yaml.Node) -> bool:
    return node.tag == "tag:yaml.org,2002:null"


def _override_values(overrides: dict[str, Any], fields: dict[str, Field], problems: list[str]) -> dict[str, _Value]:
    values = {}
    for name, value in overrides.items():
        flag = f"--{name}"
        if name not in fields:
            problems.append(f"{flag}: no such setting.{_suggestion(name, fields, as_flag=True)}")
            continue
        if value is True and not fields[name].is_boolean:
            problems.append(f"{flag}: needs a value, {fields[name].expected}")
            continue
        try:
            values[name] = _Value(fields[name].cast(value), flag)
        except ValueError as error:
            problems.append(f"{flag}: {error}")
    return values


def _merge(values: dict[str, _Value], news: dict[str, _Value]) -> None:
    for name, new in news.items():
        old = values.get(name)
        if old is not None and isinstance(old.value, dict) and isinstance(new.value, dict):
            values[name] = _Value(_merged(old.value, new.value), new.source)
        else:
            values[name] = new


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    result = dict(old)
    for key, value in new.items():
        both = isinstance(result.get(key), dict) and isinstance(value, dict)
        result[key] = _merged(result[key], value) if both else value
    return result


def _recipe(name: str, values: dict[str, _Value], fields: dict[str, Field]) -> Recipe:
    sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    sources = {}
    for field in fields.values():
        if field.name in values:
            sections[field.section][field.name] = values[field.name].value
            sources[field.name] = values[field.name].source
        elif field.ours:
            sections[field.section][field.name] = copy.deepcopy(field.default)
            sources[field.name] = DEFAULT_SOURCE
    return Recipe(
        name=name,
        model=ModelArguments(**sections["model"]),
        data=DataArguments(**sections["data"]),
        augment=AugmentArguments(**sections["augment"]),
        train=sections["train"],
        distill=DistillationArguments(**sections["distill"]),
        sources=sources,
    )


def _unknown_section(name: str, fields: dict[str, Field]) -> str:
    if name in fields:
        return f"{name!r} belongs in section {fields[name].section!r}."
    return f"no section {name!r}; there are {', '.join(SECTIONS)}.{did_you_mean(name, SECTIONS)}"


def _misplaced(name: str, section: str, fields: dict[str, Field]) -> str:
    if name in fields:
        return f"{name!r} belongs in section {fields[name].section!r}, not in {section!r}."
    return f"unknown key {name!r} in section {section!r}.{_suggestion(name, fields)}"


def _suggestion(name: str, fields: dict[str, Field], *, as_flag: bool = False) -> str:
    meant = _OTHER_NAMES.get(name) or nearest(name, fields)
    if meant is None:
        return ""
    return (
        f" Did you mean '--{meant}'?" if as_flag else f" Did you mean {meant!r} (section {fields[meant].section!r})?"
    )


def _shown_path(path: Path) -> str:
    """Recipes of the package by their name, others as the user wrote them."""
    inside = path.is_relative_to(RECIPES_DIR)
    return path.relative_to(RECIPES_DIR).as_posix() if inside else str(path)


def _where(path: Path, node: yaml.Node) -> str:
    return f"{_shown_path(path)}:{node.start_mark.line + 1}"


class _Loader(yaml.SafeLoader):
    """Reads `1e-4` as the number it is; YAML 1.1 asks for `1.0e-4`."""


class _Dumper(yaml.SafeDumper):
    """Writes lists on one line, as people do, and quotes text that `_Loader` would take for a number."""


_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$")
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))
_Dumper.add_representer(list, lambda dumper, items: dumper.represent_sequence("tag:yaml.org,2002:seq", items, True))
