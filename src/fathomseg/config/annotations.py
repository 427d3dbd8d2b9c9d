"""What a field may hold, from its type annotation: the kinds of value, the parts among them, and both in words."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, Tag
from pydantic.fields import FieldInfo


def annotation_of(field: FieldInfo) -> Any:
    """What was written behind the colon of a field, bounds included."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def members(annotation: Any, *notes: Any) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """The kinds of value a field may hold, each with what `Annotated` notes about it."""
    if typing.get_origin(annotation) is Annotated:
        inner, *more = typing.get_args(annotation)
        yield from members(inner, *more)
    elif typing.get_origin(annotation) in (Union, UnionType):
        for one in typing.get_args(annotation):
            yield from members(one)
    else:
        yield annotation, notes


def options_of(annotation: Any) -> list[Any]:
    """The kinds of value other than null."""
    return [one for one, _ in members(annotation) if one is not NoneType]


def models_of(annotation: Any) -> list[type[BaseModel]]:
    """The parts among these kinds of value."""
    return [one for one in options_of(annotation) if isinstance(one, type) and issubclass(one, BaseModel)]


def names_of(annotation: Any) -> dict[str, type[BaseModel]]:
    """The parts of a union by the names a recipe calls them by."""
    parts: dict[str, type[BaseModel]] = {}
    for one, notes in members(annotation):
        if isinstance(one, type) and issubclass(one, BaseModel):
            field = one.model_fields.get("name")
            own = typing.get_args(field.annotation) if field and typing.get_origin(field.annotation) is Literal else ()
            parts |= {str(name): one for name in [note.tag for note in notes if isinstance(note, Tag)] or own}
    return parts


def described(annotation: Any) -> str:
    """What a field may hold, in words: `one of 'auto', 'none', or a path`."""
    kinds = list(members(annotation))
    values = [value for one, _ in kinds if typing.get_origin(one) is Literal for value in typing.get_args(one)]
    words = [("one of " if len(values) > 1 else "") + ", ".join(map(repr, values))] if values else []
    if names := names_of(annotation):
        words.append(f"a group of settings whose name is one of {', '.join(map(repr, sorted(names)))}")
    for one, notes in kinds:
        if one is not NoneType and typing.get_origin(one) is not Literal and one not in names.values():
            words.append(_singular(one, notes))
    words += ["null"] if any(one is NoneType for one, _ in kinds) else []
    return ", or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


_WORDS = {
    bool: ("true or false", "values, each true or false"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
    Path: ("a path", "paths"),
}


def _singular(kind: Any, notes: Iterable[Any]) -> str:
    """One kind of value in words, with its bounds."""
    if kind in _WORDS:
        return _WORDS[kind][0] + _bounds(notes)
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(origin or kind, type) and issubclass(origin or kind, (Mapping, BaseModel)):
        return "a group of settings"
    if origin is None:
        return f"a {getattr(kind, '__name__', kind)}"
    count = f"{len(inside)} " if origin is tuple and ... not in inside else ""
    each = dict.fromkeys(_plural(one) for one in inside if one is not ...)
    return f"a list of {count}{' or '.join(each)}"


def _plural(annotation: Any) -> str:
    kinds = list(members(annotation))
    kind, notes = kinds[0]
    if len(kinds) == 1 and kind in _WORDS:
        return _WORDS[kind][1] + _bounds(notes)
    return f"values, each {described(annotation)}"


def _bounds(notes: Iterable[Any]) -> str:
    flat = [one for note in notes for one in (note.metadata if isinstance(note, FieldInfo) else [note])]
    words = {"gt": "above", "ge": "from", "lt": "below", "le": "to"}
    found = [f" {word} {getattr(one, bound)}" for bound, word in words.items() for one in flat if hasattr(one, bound)]
    return "".join(found)
