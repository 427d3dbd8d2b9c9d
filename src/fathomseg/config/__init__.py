"""Configuration: frozen pydantic parts, YAML recipes, `a.b=c` overrides, and errors that name every mistake at once.

A part (dataset, encoder, decoder, learner ...) is one frozen class that holds its settings and its behaviour. Unions
of parts, told apart by their field `name`, are the only tables: there is no registry. The resolved configuration is
saved in the run folder, so a run never depends on a default that changed later.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, Final, Literal, TypeVar, Union, cast

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, ValidationError, model_validator

from fathomseg.config.annotations import annotation_of, members, names_of, options_of
from fathomseg.config.explain import explain, faults, listed
from fathomseg.config.words import Word, parse, unquoted
from fathomseg.errors import ConfigError, DataError
from fathomseg.text import read_text


class Part(BaseModel):
    """Base of everything configurable: immutable, unknown keys are errors, a docstring under each field explains it.
    Numbers are finite: NaN passes bounds, and infinity is no rate, weight or focal length.

    pydantic could collect these docstrings as descriptions, but nothing reads them, and it would be the slowest part of
    reading a recipe. Its validators are built when they are needed first, since a run needs few of the parts there are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, defer_build=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _onto_defaults(cls, given: Any) -> Any:
        """A part of which only some settings are given keeps the others of this field's default, not of its class."""
        if not isinstance(given, Mapping):
            return given
        defaults = {key: cls.model_fields[key].default for key in given if key in cls.model_fields}
        return {key: _onto(defaults.get(key), value) for key, value in given.items()}


P = TypeVar("P", bound=Part)


COMMAND: Final = "on the command line"
"""Where overrides are given, where nothing else is said."""


def load(kind: type[P], source: Path | Mapping[str, Any], overrides: Iterable[str] = (), given_in: str = COMMAND) -> P:
    """Read a recipe (a YAML file or a mapping), apply `a.b=c` overrides in order, and validate it as `kind`.

    Words are read by the type of their field: where a text or a path belongs, `2011_09_26` and `no` are text. Raises
    `ConfigError` naming every unknown key (with the nearest right one), every bad value and every missing field; those
    that the recipe alone does not have are said to be of the overrides, by where they are `given_in`.
    """
    tree = read_yaml(source) if isinstance(source, Path) else _copy(source)
    given: list[str] = []
    for override in overrides:
        given.append(_apply(tree, override, kind, given))
    origin = str(source) if isinstance(source, Path) else "configuration"
    settled = _settled(tree, kind)
    if not given:
        return validate(kind, settled, origin)
    try:
        return kind.model_validate(settled)
    except ValidationError as error:
        found, without = faults(error, kind), _faults_without_overrides(kind, source)
        own = {path: message for path, message in found.items() if without.get(path) == message}
        others = {path: message for path, message in found.items() if path not in own}
        said = [listed(origin, own)] if own else []
        said += [listed(f"What is given {given_in} (beside {origin})", others)] if others else []
        raise ConfigError("\n".join(said)) from None


def _faults_without_overrides(kind: type[BaseModel], source: Path | Mapping[str, Any]) -> dict[str, str]:
    """The mistakes that the source itself has."""
    try:
        kind.model_validate(_settled(read_yaml(source) if isinstance(source, Path) else _copy(source), kind))
    except ValidationError as error:
        return faults(error, kind)
    except ConfigError:  # a value that is no YAML: the overrides have taken its place
        pass
    return {}


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings with their dotted keys, in the order in which they may be applied as overrides:
    `name` goes first, since another name drops settings."""
    for key in sorted(tree, key=lambda key: (str(key).rpartition(".")[2] != "name", str(key).count("."))):
        value = tree[key]
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def by_name(default: str) -> Discriminator:
    """What tells the parts of a union apart by their `name`, where a part without one is the `default`.

    Every part of the union needs a `Tag` that is its name.
    """

    def tag(given: Any) -> str:
        return str(given.get("name", default) if isinstance(given, Mapping) else getattr(given, "name", ""))

    return Discriminator(tag)


def named_by_key(tree: Any) -> Any:
    """Parts in a mapping that say no `name` have their key's: `{photometric: {stream: clips}}`.

    For a field `Annotated[Mapping[str, AnyX], BeforeValidator(named_by_key)]`, where `name` tells the parts of AnyX
    apart. A part may keep a name of its own, so that two of a kind have two keys: `{extra: {name: photometric}}`.
    """
    if not isinstance(tree, Mapping):
        return tree
    return {
        key: {"name": key, **(part or {})} if isinstance(key, str) and isinstance(part, Mapping | None) else part
        for key, part in tree.items()
    }


def without_null(tree: Any) -> Any:
    """A mapping without the keys that are null: `streams.clips=null` takes out what the recipe has.

    For a field `Annotated[Mapping[str, X], BeforeValidator(without_null)]`.
    """
    return {key: part for key, part in tree.items() if part is not None} if isinstance(tree, Mapping) else tree


def validate(kind: type[P], tree: Mapping[str, Any], origin: str = "configuration") -> P:
    """Validate a plain mapping as `kind`; the readable form of pydantic's `model_validate`."""
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(explain(error, kind, origin)) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The tree of a YAML file, a mapping, with a `Word` where YAML sees no text. Raises `ConfigError`."""
    if not path.is_file():
        raise ConfigError(
            f"No recipe at {path}. Give the path of a YAML file; `fathom recipes` lists the project's own."
        )
    try:
        tree = parse(read_text(path))
    except DataError as error:
        raise ConfigError(str(error.problems[0])) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if tree is None or (isinstance(tree, Word) and tree.value is None):
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold a mapping (key: value), but holds a {type(_plain(tree)).__name__}.")
    return tree


def _copy(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy of the mappings, so that overrides do not write into what the caller holds."""
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in tree.items()}


def _apply(tree: dict[str, Any], override: str, kind: type[BaseModel], given: Sequence[str]) -> str:
    """Apply one `a.b=c`, after those of the keys `given`, and return its key.

    Giving a part another `name` drops its other settings, which belonged to the old one. Where the old name is not
    written, what the recipe says and the new part does not know belonged to it.
    """
    dotted, equals, text = override.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"Override {override!r} is not of the form key=value or group.key=value.")
    value = _as_word(text)
    node, here, name = tree, cast(Any, kind), None
    for key in keys[:-1]:
        here, name = _inside(options_of(here), node, key, name)
        child = node.get(key)
        if isinstance(child, Word) and isinstance(child.value, dict):  # a group that an earlier override gave
            child = node[key] = child.value
        if child is None or (isinstance(child, Word) and child.value is None):  # null, or not there: it begins here
            child = node[key] = {}
        if not isinstance(child, dict):
            raise ConfigError(
                f"Override {override!r}: {key!r} holds the value {_plain(child)!r}, no group of settings."
            )
        node = child
    if keys[-1] == "name" and str(node.get("name", value)) != str(value):
        node.clear()
    elif keys[-1] == "name" and "name" not in node:
        for key in [*_of_others(node, names_of(here), str(value))]:
            place = f"{'.'.join(keys[:-1])}.{key}."
            if not any(place.startswith(f"{one}.") or f"{one}.".startswith(place) for one in given):
                del node[key]
    node[keys[-1]] = value
    return ".".join(keys)


def _of_others(node: Mapping[str, Any], parts: Mapping[str, type[BaseModel]], name: str) -> Iterator[str]:
    """The settings that the part of this name does not have, and another of the union has."""
    if name in parts:
        others = {field for part in parts.values() for field in part.model_fields}
        yield from (key for key in node if key in others and key not in parts[name].model_fields)


def _as_word(text: str) -> Word | str:
    """The value of an override: as it was typed, and as YAML reads it, of which the type of the field chooses."""
    if (inside := unquoted(text)) is not None:
        return inside
    try:
        value = parse(text)
    except yaml.YAMLError as error:
        return Word(text, error)  # no YAML, but perhaps the name of a folder: "a: b"
    return Word(text, value.value if isinstance(value, Word) else value)


_NULLS = ("", "~", "null", "Null", "NULL")


def _settled(given: Any, annotation: Any, name: str | None = None) -> Any:
    """A tree without `Word`s: each is what the type of its place makes of it. `name`: of a part that says none."""
    options = options_of(annotation)
    if isinstance(given, Word):
        return _chosen(given, annotation, options)
    if isinstance(given, Mapping):
        return {key: _settled(value, *_inside(options, given, str(key), name)) for key, value in given.items()}
    if isinstance(given, list | tuple):
        return [_settled(item, _item(options, index)) for index, item in enumerate(given)]
    return given


def _chosen(word: Word, annotation: Any, options: Sequence[Any]) -> Any:
    """What a word means where these kinds of value may be."""
    nullable = any(one is NoneType for one, _ in members(annotation))
    textual = bool(options) and all(map(_is_text, options))
    if word.text in _NULLS and (nullable or not textual or word.text != "null"):
        return None
    if textual:
        return word.text
    if isinstance(word.value, yaml.YAMLError):
        raise ConfigError(f"The value {word.text!r} is not valid YAML: {word.value}")
    if isinstance(word.value, Mapping | list):
        return _settled(word.value, annotation)
    if bool in options or isinstance(word.value, str | None):
        return word.value
    if options and all(_is_text(one) or (isinstance(one, type) and issubclass(one, BaseModel)) for one in options):
        return word.text  # a part that may be given by a text alone
    # 010 is eight and 12:30 is 750 in YAML, and a field of any type may be passed on as a text: only what is spelled as
    # Python spells it is certain.
    certain = isinstance(word.value, float) or word.text == (
        str(word.value).lower() if isinstance(word.value, bool) else str(word.value)
    )
    return word.value if certain else word.text


def _is_text(kind: Any) -> bool:
    values = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
    return kind in (str, Path) or (bool(values) and all(isinstance(value, str) for value in values))


def _inside(options: Sequence[Any], given: Mapping[Any, Any], key: str, name: str | None) -> tuple[Any, str | None]:
    """What belongs to a key of a mapping, and the name that a part there has if it says none."""
    models = [one for one in options if isinstance(one, type) and issubclass(one, BaseModel)]
    said = given.get("name", name)
    named = [one for one in models if str(said) in names_of(one)]
    fields = [one.model_fields[key] for one in named or models if key in one.model_fields]
    kinds = [annotation_of(field) for field in fields]
    kinds += [typing.get_args(one)[-1] for one in options if _is_mapping(one) and typing.get_args(one)]
    return (Union[tuple(kinds)] if kinds else Any), None if models else key  # noqa: UP007  made at run time


def _item(options: Sequence[Any], index: int) -> Any:
    """What belongs to a place of a list."""
    kinds = []
    for one in options:
        inside = typing.get_args(one)
        if inside and not _is_mapping(one) and typing.get_origin(one) is not Literal:
            kinds.append(inside[index] if index < len(inside) and ... not in inside else inside[0])
    return Union[tuple(kinds)] if kinds else Any  # noqa: UP007  made at run time


def _is_mapping(kind: Any) -> bool:
    origin = typing.get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _plain(given: Any) -> Any:
    return given.value if isinstance(given, Word) else given


def _onto(default: object, given: Any) -> Any:
    """Settings on top of those a default part has of its own, unless they name another part.

    Of a mapping of parts, what is given says which parts there are, and each is put on top of the default of its key.
    """
    if not isinstance(given, Mapping):
        return given
    if isinstance(default, Mapping):
        return {key: _onto(default.get(key), value) for key, value in given.items()}
    if not isinstance(default, Part):
        return given
    name = getattr(default, "name", None)
    if given.get("name", name) != name:
        return given
    own = {key: value for key, value in default if key in default.model_fields_set or key == "name"}
    return own | {key: _onto(own.get(key), value) for key, value in given.items()}
