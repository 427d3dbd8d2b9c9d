"""The mistakes of a configuration in words: where each is, what belongs there, and the nearest to a wrong name."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fathomseg.config.annotations import annotation_of, described, models_of, names_of, options_of


def explain(error: ValidationError, kind: type[BaseModel], origin: str) -> str:
    """All mistakes of a validation, one per line: the dotted path, what belongs there, the nearest to a wrong name."""
    return listed(origin, faults(error, kind))


def listed(origin: str, faults: Mapping[str, str]) -> str:
    """Mistakes below the line that says whose they are."""
    return "\n".join([f"{origin} is not valid:", *(f"  {path}: {message}" for path, message in faults.items())])


def faults(error: ValidationError, kind: type[BaseModel]) -> dict[str, str]:
    """By dotted path every mistake of a validation: what belongs there, and the nearest to a wrong name."""
    found: dict[str, str] = {}
    # A value that fits no kind of a union has an error for each kind. The shortest location shows the whole value.
    for item in sorted(error.errors(include_url=False), key=lambda item: len(item["loc"])):
        path, message = _fault(item, kind)
        found.setdefault(path, message)
    # Where a mistake is inside a part, it does not matter that the part is no other kind of the union either.
    return {path: said for path, said in found.items() if not any(other.startswith(f"{path}.") for other in found)}


def _did_you_mean(given: str, known: Sequence[str]) -> str:
    if close := difflib.get_close_matches(given, known, n=1, cutoff=0.6):
        return f"; did you mean {close[0]!r}?"
    return f"; there is: {', '.join(sorted(known))}" if known else ""


_DEPTH = 3
"""Groups of settings inside each other in which an unknown key is looked for."""
_MOST = 3
"""Other places of a key that an error names."""
_LONGEST = 80
"""Characters of a value that an error repeats."""


def _elsewhere(kind: type[BaseModel], given: str, path: Sequence[str]) -> str:
    """Where else a recipe has a key of this very name: `lr` is optimiser.lr."""
    found: list[str] = []
    groups: list[tuple[str, type[BaseModel]]] = [("", kind)] if given != "name" else []  # which every part has
    for _ in range(_DEPTH):
        inside: dict[str, type[BaseModel]] = {}
        for prefix, model in groups:
            for name, field in model.model_fields.items():
                if name == given and f"{prefix}{name}" not in (*found, ".".join([*path, given])):
                    found.append(f"{prefix}{name}")
                for one in models_of(field.annotation)[:1]:  # of a union the first stands for all
                    inside[f"{prefix}{name}."] = one
        groups = list(inside.items())
    return f"; {given!r} is a key of {', '.join(found[:_MOST])}" if found else ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _fault(item: ErrorDetails, kind: type[BaseModel]) -> tuple[str, str]:
    """Where one mistake is and what it is."""
    location, given, mistake = item["loc"], item["input"], item["type"]
    if mistake in ("extra_forbidden", "missing") and isinstance(location[-1], str):
        path, here = _place(kind, location[:-1])
        fields = [name for model in models_of(here) for name in model.model_fields if name != location[-1]]
        unknown = (
            f"unknown key{_did_you_mean(location[-1], fields) if fields else ''}{_elsewhere(kind, location[-1], path)}"
        )
        return ".".join([*path, location[-1]]), "is required" if mistake == "missing" else unknown
    path, here = _place(kind, location[:-1] if mistake == "missing" else location)  # an item of a list is missing
    names = list(names_of(here))
    if mistake == "union_tag_invalid" and isinstance(given, Mapping):
        tag = str(item["ctx"]["tag"])
        message = f"no such name {tag!r}{_did_you_mean(tag, names)}"
    elif mistake == "union_tag_not_found" and isinstance(given, Mapping):
        message = f"needs a field 'name' that says which kind is meant; there is: {', '.join(sorted(names))}"
    elif mistake in ("too_long", "too_short"):
        most = mistake == "too_long"
        limit = item["ctx"]["max_length" if most else "min_length"]
        message = f"holds {item['ctx']['actual_length']} values; give at {'most' if most else 'least'} {limit}"
    elif mistake != "value_error" and (
        mistake.startswith("union_tag") or mistake.endswith(_KINDS) or len(options_of(here)) > 1
    ):
        message = f"must be {described(here)} (given: {_short(given)})"
        if given in names:
            message += f"; write {{name: {given}}}"
    else:
        text = item["msg"].removeprefix("Value error, ")
        message = text[0].lower() + text[1:] + (f" (given: {_short(given)})" if path else "")  # else the whole recipe
    return ".".join(path) or "(top level)", message


_KINDS = ("_type", "_parsing", "_from_float", "literal_error", "missing")
"""How pydantic's names of the errors end that mean: a value of another kind than the field's."""


_UNION = "tagged-union["
"""How pydantic's step into a union of parts begins that is one kind among several."""


def _place(kind: type[BaseModel], location: Sequence[int | str]) -> tuple[list[str], Any]:
    """The path of a pydantic error as it is in a recipe, and the annotation of what belongs there.

    A location also holds which kind of a union was tried. A part's name leads into that part; at any other kind the way
    ends, since the value may have been meant as another.
    """
    path: list[str] = []
    here: Any = kind
    for index, step in enumerate(location):
        options = options_of(here)
        if len(options) > 1:
            if str(step).startswith(_UNION):  # a union of parts among other kinds: the part's name follows
                continue
            parts = names_of(here)
            if index + 1 < len(location):  # a mistake inside a part, which an untagged union calls by its class
                parts |= {model.__name__: model for model in models_of(here)}
            if step not in parts:
                break
            here = parts[str(step)]
            continue
        inside = typing.get_args(options[0])
        if isinstance(step, int):
            here = inside[step] if step < len(inside) and ... not in inside else inside[0]
        elif location[index + 1 : index + 2] == ("[key]",):
            return [*path, step], inside[0]
        else:
            models = models_of(options[0])
            here = annotation_of(models[0].model_fields[step]) if models else inside[-1]
        path.append(str(step))
    return path, here
