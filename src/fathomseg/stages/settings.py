"""`fathom settings`: every setting with its type, default and meaning, or those of one recipe with their values."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from fathomseg.config import Part, load, read_yaml
from fathomseg.errors import ConfigError, FathomError
from fathomseg.named_recipes import FOLDER
from fathomseg.settings.schema import schema
from fathomseg.settings.walk import Setting, every, of
from fathomseg.stages.select_recipe import SelectRecipe
from fathomseg.stages.study_config import Study
from fathomseg.training.recipe import Recipe

KINDS: Final[dict[str, tuple[type[Part], str]]] = {
    "recipe": (Recipe, "Recipes of fathom train and fathom pretrain"),
    "selection": (SelectRecipe, "Recipes of fathom select"),
    "study": (Study, "Studies, of fathom study"),
}
"""The kinds of YAML files, by the names of their schemas."""

_INDENT: Final = 4


def run(recipe: Path | None, overrides: Sequence[str], word: str | None, as_schema: bool) -> int:
    """Print the settings of a recipe, or of all kinds of them, or the JSON schema. Returns the exit code.

    Raises `FathomError` if no setting has the word, `ConfigError` for a recipe that is not valid.
    """
    if overrides and recipe is None:
        raise ConfigError(f"{overrides[0]!r} changes a recipe; name one in front of it.")
    if words := [text for text in overrides if "=" not in text]:
        name = recipe.relative_to(FOLDER).with_suffix("") if recipe and recipe.is_relative_to(FOLDER) else recipe
        raise ConfigError(
            f"{words[0]!r} is not of the form key=value. To list the settings that have a word: "
            f"fathom settings {name} --word {words[0]}"
        )
    kind = KINDS[kind_of(recipe)][0] if recipe is not None else Recipe
    if as_schema:
        print(json.dumps(schema(kind), indent=1))
        return 0
    groups = {} if recipe is None else {f"{recipe.stem}, with its values": list(of(load(kind, recipe, overrides)))}
    seen: set[Any] = set()
    for part, title in KINDS.values() if recipe is None else ():
        groups[title] = list(every(part, seen))
    shown = {title: [one for one in settings if _has(one, word)] for title, settings in groups.items()}
    if not any(shown.values()):
        raise FathomError(f"No setting has {word!r} in its key, kind or meaning. Without --word all are listed.")
    width = min(shutil.get_terminal_size((120, 24)).columns, 140)
    for title, settings in shown.items():
        if settings:
            print("\n".join([f"# {title}", *lines(settings, width), ""]))
    return 0


def kind_of(path: Path) -> str:
    """Which of `KINDS` a file is, by the keys it has."""
    tree = read_yaml(path)
    return "study" if "arms" in tree else "selection" if "criterion" in tree else "recipe"


def _has(setting: Setting, word: str | None) -> bool:
    text = f"{setting.key} {setting.part} {setting.type} {setting.meaning}".lower()
    return word is None or word.lower() in text


def lines(settings: Sequence[Setting], width: int) -> Iterator[str]:
    """Key, value, type and default in one line, and below it the meaning."""
    part = ""
    for one in settings:
        if one.part != part:
            part = one.part
            yield f"\n## {part}" if part else ""
        default = "required" if one.default is None else f"default {one.default}"
        value = one.default if one.value is None else one.value
        notes = [one.type, *([] if one.default is not None and value == one.default else [default])]
        head = f"{one.key}={value or ''}   ({'; '.join(notes)})"
        yield from textwrap.wrap(head, width, subsequent_indent=" " * 2 * _INDENT, break_on_hyphens=False)
        if one.meaning:
            indent = " " * _INDENT
            yield from textwrap.wrap(
                one.meaning, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
            )
