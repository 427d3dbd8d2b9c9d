"""Every `fathom ...` command of every page and recipe parses: its verb, options, recipe and settings exist."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer

from fathomseg.cli import app
from fathomseg.config import load
from fathomseg.data.datasets.resolve import dataset_kinds, resolve_dataset
from fathomseg.named_recipes import find, packaged
from fathomseg.shell.arguments import data_first
from fathomseg.stages.select_recipe import SelectRecipe
from fathomseg.stages.study_config import Study
from fathomseg.training.recipe import Recipe
from fathomseg.training.run_folder import refuse_changes
from tests.docs.markdown import DOCS, PAGES, ROOT, commands, name

KINDS: dict[str, Any] = {"train": Recipe, "pretrain": Recipe, "select": SelectRecipe}
VERBS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
PLACEHOLDER = re.compile(r"^[A-Z][A-Z_/]*(\.yaml)?$|^\.\.\.$")
"""RECIPE, STUDY.yaml: what the reader is to replace."""
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))


def check(command: str, new_parts: bool = False) -> None:
    """Raise an error that says what is wrong with a command. `new_parts`: settings may name parts yet to be added."""
    verb, *words = shlex.split(command)[1:]
    if verb.startswith("-") or PLACEHOLDER.match(verb):
        return
    assert verb in VERBS, f"there is no verb {verb!r}"
    given = VERBS[verb].make_context(verb, list(words)).params
    if new_parts:
        return
    if verb in KINDS and given["resume"] is None:
        check_recipe(KINDS[verb], *given["arguments"])
    elif verb in ("train", "pretrain"):
        refuse_changes(given["arguments"] or [])
    elif verb == "check":
        check_data(*data_first(given["arguments"], given["data"]))
    elif verb == "evaluate" and given["data"]:
        check_data(given["data"], given["overrides"] or [])
    elif verb == "study":
        check_recipe(Study, str(given["file"]), *(given["overrides"] or []))


def check_recipe(kind: Any, recipe: str, *settings: str) -> None:
    """The recipe is there and valid with these settings. Names with "mine" are the reader's own."""
    if not PLACEHOLDER.match(recipe) and "mine" not in recipe:
        load(kind, find(recipe), [text for text in settings if text != "..."])


def check_data(data: str, settings: list[str]) -> None:
    """A dataset's or recipe's name with settings that it has, or a path, which is the reader's own."""
    if data in dataset_kinds() or (packaged(data) and "mine" not in data):
        resolve_dataset(data, settings)


def check_mention(span: str) -> None:
    """A command in running text may leave things out; what it names must be there."""
    verb, *words = shlex.split(span)[1:]
    assert verb in VERBS or PLACEHOLDER.match(verb), f"there is no verb {verb!r}"
    known = {name for parameter in VERBS[verb].params for name in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in words if word.startswith("--") and word not in known]
    assert not unknown, f"{verb} has no option {unknown[0]}"
    paths = [word for word in words if word.startswith("recipes/") and "mine" not in word]
    demo = ROOT / "src" / "fathomseg" / "demo"  # its commands are run in its own folder
    assert all(packaged(path) or (ROOT / path).exists() or (demo / path).exists() for path in paths), paths


def said(source: str) -> Iterator[str]:
    """Commands that texts of the program name, in backquotes or after a colon; X stands for what is filled in."""
    tree = ast.parse(source)
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            text = node.value
        else:
            continue
        yield from re.findall(r"`(fathom [a-z][^`]*)`", text)
        yield from re.findall(r": (fathom [a-z]+ .*?)\.?$", text)


def mentions(text: str) -> Iterator[str]:
    """Code spans that begin with a verb."""
    spans = re.findall(r"`(fathom [a-z][^`\n]*)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return (span for span in spans if "|" not in span)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_commands_of_a_page_are_right(page: Path) -> None:
    text, wrong = page.read_text(encoding="utf-8"), []
    todo = [(partial(check, new_parts=page.parent == DOCS / "extend"), command) for command in commands(text)]
    for look, command in [*todo, *((check_mention, span) for span in mentions(text))]:
        try:
            look(command)
        except Exception as error:
            wrong.append(f"{command}: {error}")
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_stand_in_shell_blocks(page: Path) -> None:
    """Where the tests find them."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(r"^ *(?:\$ )?(fathom [a-z].*)$", text, re.MULTILINE)
    assert len(found) == len(list(commands(text)))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(ROOT / "recipes")))
def test_the_command_of_a_recipe_is_right(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    heads = [line.lstrip("# ") for line in lines if line.startswith("#   fathom ")]
    assert heads, "a recipe begins with its command"
    assert str(path.relative_to(ROOT)) in heads[0]
    for command in heads:
        check(command)


def test_commands_the_program_names_are_right() -> None:
    package = ROOT / "src" / "fathomseg"
    found = {span for path in package.rglob("*.py") for span in said(path.read_text(encoding="utf-8"))}
    for path in package.rglob("*.html"):
        found |= set(re.findall(r"<code>(fathom [a-z][^<{]*)</code>", path.read_text(encoding="utf-8")))
    assert len(found) > 15
    assert {"fathom check X", "fathom predict X INPUT --out DIR", "fathom check --json"} <= found
    wrong = []
    for span in found:
        try:
            check_mention(span)
        except AssertionError as error:
            wrong.append(f"{span}: {error}")
    assert wrong == []


@pytest.mark.parametrize("span", ["fathom trian x", "fathom train --output x", "fathom train recipes/no.yaml"])
def test_wrong_mentions_are_seen(span: str) -> None:
    check_mention("fathom predict --tasks")
    with pytest.raises(AssertionError, match=r"trian|--output|no\.yaml"):
        check_mention(span)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("fathom trian recipes/camvid.yaml", "no verb 'trian'"),
        ("fathom train recipes/camvid.yaml --output x", "--output"),
        ("fathom train recipes/camvid.yaml train.stepz=3", "stepz"),
        ("fathom train recipes/no.yaml", "no.yaml"),
        ("fathom train --resume runs/x train.steps=3", "train.steps=3"),
        ("fathom study recipes/studies/streets.yaml seed=1", "seed"),
        ("fathom check --data camvid rot=x", "rot"),
        ("fathom predict runs/x", "INPUT|source|[Mm]issing"),
        ("fathom evaluate runs/x --data streets frame=2", "frame"),
    ],
)
def test_wrong_commands_are_seen(command: str, said: str) -> None:
    with pytest.raises(Exception, match=said):  # click's own errors, ours, and those of the test
        check(command)
