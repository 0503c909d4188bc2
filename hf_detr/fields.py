"""Every setting as one flat table: its name, section, type, default and help, and how text becomes its value."""

import dataclasses
import enum
import json
import math
import types
import typing
from dataclasses import dataclass
from functools import cache
from typing import Any

from hf_detr.data.arguments import AugmentArguments, DataArguments
from hf_detr.distillation.arguments import DistillationArguments
from hf_detr.errors import did_you_mean
from hf_detr.models.arguments import ModelArguments

SECTIONS = ("model", "data", "augment", "train", "distill")

_LISTED_CHOICES = 8
_WORDS_FOR_TRUE = {"true", "yes", "on", "1"}
_WORDS_FOR_FALSE = {"false", "no", "off", "0"}


@dataclass(frozen=True)
class Field:
    """One setting of a recipe; on the command line `--name`."""

    name: str
    section: str
    hint: Any
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    ours: bool = True

    @property
    def is_boolean(self) -> bool:
        return bool in _members(self.hint)

    @property
    def expected(self) -> str:
        """What the field takes, in words."""
        return _described(_members(self.hint))

    def cast(self, value: Any) -> Any:
        """`value`, mostly text from a file or a flag, as this field's type.

        Raises:
            ValueError: It is not of the type, or not one of the choices; the message says what is expected.
        """
        result = _cast(value, self.hint)
        if self.choices and result is not None and result not in self.choices:
            listed = self.choices if len(self.choices) <= _LISTED_CHOICES else (*self.choices[:_LISTED_CHOICES], "...")
            hint = did_you_mean(str(result), self.choices)
            raise ValueError(f"expected one of {', '.join(listed)}, got {_shown(value)}.{hint}")
        return result


def fields_of(arguments_class: type, section: str, *, ours: frozenset[str] | None = None) -> dict[str, Field]:
    """The fields of a dataclass by name. `ours` are the names that are not inherited; None means all."""
    hints = typing.get_type_hints(arguments_class)
    table = {}
    for field in dataclasses.fields(arguments_class):
        if field.init:
            default = field.default_factory() if field.default is dataclasses.MISSING else field.default
            table[field.name] = Field(
                name=field.name,
                section=section,
                hint=hints[field.name],
                default=default,
                help=field.metadata.get("help", ""),
                choices=tuple(field.metadata.get("choices", ())) or _enum_values(hints[field.name]),
                ours=ours is None or field.name in ours,
            )
    return table


@cache
def light_fields() -> dict[str, Field]:
    """The fields of all sections but train: those that are known without importing Transformers."""
    return {
        **fields_of(ModelArguments, "model"),
        **fields_of(DataArguments, "data"),
        **fields_of(AugmentArguments, "augment"),
        **fields_of(DistillationArguments, "distill"),
    }


@cache
def all_fields() -> dict[str, Field]:
    """The fields of every section."""
    # Imports transformers, which takes seconds: `--help` and `recipe list` do without.
    from hf_detr.training.arguments import DetrTrainingArguments

    ours = frozenset(DetrTrainingArguments.__annotations__)
    return {**light_fields(), **fields_of(DetrTrainingArguments, "train", ours=ours)}


def _members(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a union, or the one type."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _enum_values(hint: Any) -> tuple[str, ...]:
    for member in _members(hint):
        if isinstance(member, type) and issubclass(member, enum.Enum):
            return tuple(option.value for option in member)
    return ()


def holds_mapping(hint: Any) -> bool:
    """Whether a mapping is a value of this type, or part of a list that is one."""
    return any(
        member is dict
        or typing.get_origin(member) is dict
        or (typing.get_origin(member) is list and holds_mapping(typing.get_args(member)[0]))
        for member in _members(hint)
    )


def _cast(value: Any, hint: Any) -> Any:
    members = _members(hint)
    if value is None:
        if types.NoneType in members:
            return None
        raise ValueError(f"expected {_described(members)}, got nothing")
    if isinstance(value, enum.Enum):
        value = value.value
    # Text fits almost everything, so the narrow types are asked first.
    for kind in (bool, int, float, dict, str, list):
        for member in members:
            if member is kind or typing.get_origin(member) is kind:
                try:
                    return _CASTS[kind](value, member)
                except ValueError:
                    continue
    raise ValueError(f"expected {_described(members)}, got {_shown(value)}")


def _to_bool(value: Any, _: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _WORDS_FOR_TRUE | _WORDS_FOR_FALSE:
        return value.lower() in _WORDS_FOR_TRUE
    raise ValueError


def _to_int(value: Any, _: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError
    return int(value)


def _to_float(value: Any, _: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _to_mapping(value: Any, _: Any) -> dict[str, Any]:
    if isinstance(value, str):
        value = json.loads(value)
    if not isinstance(value, dict):
        raise ValueError
    return value


def _to_list(value: Any, hint: Any) -> list[Any]:
    (item_hint,) = typing.get_args(hint) or (Any,)
    if isinstance(value, tuple | list):
        return [_cast(item, item_hint) for item in value]
    if isinstance(value, dict):
        raise ValueError
    return [_cast(value, item_hint)]


def _to_text(value: Any, _: Any) -> str:
    if isinstance(value, bool | list | tuple | dict):
        raise ValueError
    return str(value)


_CASTS = {bool: _to_bool, int: _to_int, float: _to_float, dict: _to_mapping, list: _to_list, str: _to_text}


def _described(members: tuple[Any, ...]) -> str:
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", dict: "a mapping"}
    plurals = {bool: "booleans", int: "whole numbers", float: "numbers", str: "texts"}
    parts = []
    for member in members:
        if typing.get_origin(member) is list:
            parts.append(f"a list of {plurals.get(typing.get_args(member)[0], 'values')}")
        elif member is dict or typing.get_origin(member) is dict:
            parts.append(words[dict])
        elif member in words:
            parts.append(words[member])
    return " or ".join(dict.fromkeys(parts)) or "nothing: this cannot be set from text"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"{len(value)} values: {' '.join(map(str, value))}"
    return repr(value)
