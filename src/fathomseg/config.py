"""Configuration: frozen pydantic parts, YAML recipes, `a.b=c` overrides, and errors that name every mistake at once.

A part (dataset, encoder, decoder, learner ...) is one frozen class that holds its settings and its behaviour. Unions
of parts, told apart by their field `name`, are the only tables: there is no registry. The resolved configuration is
saved in the run folder, so a run never depends on a default that changed later.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, ValidationError, model_validator

from fathomseg.errors import ConfigError


class Part(BaseModel):
    """Base of everything configurable: immutable, unknown keys are errors, the docstring under a field is its help."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        arbitrary_types_allowed=False,
    )

    @model_validator(mode="before")
    @classmethod
    def _onto_defaults(cls, given: Any) -> Any:
        """A part of which only some settings are given keeps the others of this field's default, not of its class."""
        if not isinstance(given, Mapping):
            return given
        defaults = {key: cls.model_fields[key].default for key in given if key in cls.model_fields}
        return {key: _onto(defaults.get(key), value) for key, value in given.items()}


P = TypeVar("P", bound=Part)


def load(kind: type[P], source: Path | Mapping[str, Any], overrides: Iterable[str] = ()) -> P:
    """Read a recipe (a YAML file or a mapping), apply `a.b=c` overrides in order, and validate it as `kind`.

    Raises `ConfigError` naming every unknown key (with the nearest right one), every bad value and every missing field.
    """
    tree = _read_yaml(source) if isinstance(source, Path) else _copy(source)
    for override in overrides:
        _apply(tree, override)
    origin = str(source) if isinstance(source, Path) else "configuration"
    return validate(kind, tree, origin)


def by_name(default: str) -> Discriminator:
    """What tells the parts of a union apart by their `name`, where a part without one is the `default`.

    Every part of the union needs a `Tag` that is its name.
    """

    def tag(given: Any) -> str:
        return str(given.get("name", default) if isinstance(given, Mapping) else getattr(given, "name", ""))

    return Discriminator(tag)


def validate(kind: type[P], tree: Mapping[str, Any], origin: str = "configuration") -> P:
    """Validate a plain mapping as `kind`; the readable form of pydantic's `model_validate`."""
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(explain(error, kind, origin)) from None


def explain(error: ValidationError, kind: type[BaseModel], origin: str) -> str:
    """All mistakes of a validation, one a line, with the dotted path and, for a wrong name, the nearest right one."""
    lines = [f"{origin} is not valid:"]
    for item in error.errors(include_url=False):
        location = item["loc"]
        path = ".".join(str(part) for part in location) or "(top level)"
        if item["type"] == "extra_forbidden":
            known = _fields_at(kind, location[:-1])
            lines.append(f"  {path}: unknown key{_did_you_mean(str(location[-1]), known)}")
        elif item["type"] == "union_tag_invalid":
            given = str(item["ctx"]["tag"])
            known = [tag.strip(" '") for tag in str(item["ctx"]["expected_tags"]).split(",")]
            lines.append(f"  {path}: no such name {given!r}{_did_you_mean(given, known)}")
        elif item["type"] == "union_tag_not_found":
            lines.append(f"  {path}: needs a field 'name' that says which kind is meant")
        elif item["type"] == "missing":
            lines.append(f"  {path}: is required")
        else:
            message = item["msg"].removeprefix("Value error, ")
            lines.append(f"  {path}: {message[0].lower() + message[1:]} (given: {_short(item['input'])})")
    return "\n".join(lines)


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"No recipe at {path}. Give the path of a YAML file; the project's own are in recipes/.")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold a mapping (key: value), but holds a {type(tree).__name__}.")
    return tree


def _copy(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy of the mappings, so that overrides do not write into what the caller holds."""
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in tree.items()}


def _apply(tree: dict[str, Any], override: str) -> None:
    """Apply one `a.b=c`. Giving a part another `name` drops its other settings, which belonged to the old one."""
    dotted, equals, text = override.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"Override {override!r} is not of the form key=value or group.key=value.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"The value of override {override!r} is not valid YAML: {error}") from None
    node = tree
    for key in keys[:-1]:
        child = node.setdefault(key, {})
        if not isinstance(child, dict):
            raise ConfigError(f"Override {override!r}: {key!r} holds the value {child!r}, not a group of settings.")
        node = child
    if keys[-1] == "name" and node.get("name", value) != value:
        node.clear()
    node[keys[-1]] = value


def _onto(default: object, given: Any) -> Any:
    """Settings on top of those a default part has of its own, unless they name another part."""
    if not isinstance(default, Part) or not isinstance(given, Mapping):
        return given
    name = getattr(default, "name", None)
    if given.get("name", name) != name:
        return given
    own = {key: value for key, value in default if key in default.model_fields_set}
    return own | {key: _onto(own.get(key), value) for key, value in given.items()}


def _did_you_mean(given: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there is: {', '.join(sorted(known))}" if known else ""


def _short(value: object, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _fields_at(kind: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """The field names valid at a location of a pydantic error, which mixes fields, list indices and union tags."""
    here: list[type[BaseModel]] = [kind]
    union = here  # what a tag chooses from: the key of a mapping may look like a tag, but the tag comes after it
    for step in location:
        below = [
            m for model in here if step in model.model_fields for m in _models(model.model_fields[step].annotation)
        ]
        union = below or union
        here = below or [model for model in union if _tag(model) == step] or here
    return sorted({name for model in here for name in model.model_fields})


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every pydantic model mentioned in an annotation, through unions, lists, optionals and Annotated."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        for argument in typing.get_args(annotation):
            yield from _models(argument)


def _tag(model: type[BaseModel]) -> object:
    field = model.model_fields.get("name")
    return field.default if field is not None else None
