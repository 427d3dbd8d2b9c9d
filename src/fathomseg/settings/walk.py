"""Every setting of a kind of recipe, or of one recipe, by its dotted key."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fathomseg.config.annotations import annotation_of, described, models_of, names_of, options_of
from fathomseg.settings.docstrings import meanings

NAME: Final = "NAME"
"""Stands for a key that the recipe chooses."""
_PART: Final = "name"
"""The field that tells the parts of a union apart; the row of the union lists its values."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting."""

    key: str
    """As on the command line: `streams.NAME.batch`."""
    part: str
    """The part of a union that has it, as `data.name=camvid`; "" where there is one kind alone."""
    type: str
    """What belongs there, in words."""
    default: str | None
    """As on the command line; None if it must be given."""
    meaning: str
    value: str | None = None
    """Of a recipe: what it says or leaves at the default."""


def every(kind: type[BaseModel], seen: set[type[BaseModel]] | None = None) -> Iterator[Setting]:
    """The settings of all parts, each part once: where it may be first. `seen`: parts to leave out, which grows."""
    yield from _every(kind, "", "", set() if seen is None else seen)


def _every(kind: type[BaseModel], prefix: str, part: str, seen: set[type[BaseModel]]) -> Iterator[Setting]:
    seen.add(kind)
    for name, field in kind.model_fields.items():
        if name == _PART and prefix:
            continue
        key, annotation = prefix + name, annotation_of(field)
        inside = [*_parts(annotation, key), *_parts_in_mapping(annotation, key)]
        new = [one for one in inside if one[1] not in seen]
        there = "" if new or not inside else f" (its settings: at the first place of {inside[0][1].__name__} above)"
        yield Setting(key, part, described(annotation), _default(field), meanings(kind).get(name, "") + there)
        for at, model, label in new:
            if model not in seen:
                yield from _every(model, f"{at}.", label or part, seen)


def _parts(annotation: Any, key: str) -> Iterator[tuple[str, type[BaseModel], str]]:
    """The parts that may be the value, each with its key and how it is chosen."""
    named = {model: name for name, model in names_of(annotation).items()}
    for model in models_of(annotation):
        yield key, model, f"{key}.{_PART}={named[model]}" if model in named else ""


def _parts_in_mapping(annotation: Any, key: str) -> Iterator[tuple[str, type[BaseModel], str]]:
    for option in options_of(annotation):
        origin = typing.get_origin(option)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            yield from _parts(typing.get_args(option)[-1], f"{key}.{NAME}")


def of(part: BaseModel, prefix: str = "") -> Iterator[Setting]:
    """The settings of a recipe with their values; parts and mappings of parts are followed, not shown."""
    for name, field in type(part).model_fields.items():
        value, key = getattr(part, name), prefix + name
        if isinstance(value, BaseModel):
            yield from of(value, f"{key}.")
        elif isinstance(value, Mapping) and value and all(isinstance(one, BaseModel) for one in value.values()):
            for inside, one in value.items():
                yield from of(one, f"{key}.{inside}.")
        else:
            said, type_ = meanings(type(part)).get(name, ""), described(annotation_of(field))
            yield Setting(key, "", type_, _default(field), said or _of_name(name, prefix), shown(value))


def _of_name(field: str, prefix: str) -> str:
    return f"Which kind of {prefix.rstrip('.').rpartition('.')[2]}." if field == _PART else ""


def _default(field: FieldInfo) -> str | None:
    return None if field.is_required() else shown(field.get_default(call_default_factory=True))


def shown(value: Any) -> str:
    """A value as it is written on the command line; of a part its name alone, or {}: its settings have lines of their
    own."""
    if isinstance(value, BaseModel):
        name = getattr(value, _PART, None)
        return f"{{name: {name}}}" if name is not None else "{}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {shown(one)}" for key, one in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ",".join(map(shown, value)) + "]"
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return str(value) if isinstance(value, str | Path | int | float) else repr(value)
