"""Writes docs/cli.md, docs/recipes.md and the schemas of recipes from the sources: `python docs/generate.py`.

All are committed, so that they can be read without a build; a test says when they are not current.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from fathomseg.cli import app
from fathomseg.settings.schema import schema
from fathomseg.shell.completion import SCHEMAS

ROOT = Path(__file__).resolve().parent.parent
VERBS = (
    "check",
    "pretrain",
    "select",
    "import-labels",
    "train",
    "distill",
    "evaluate",
    "predict",
    "export",
    "study",
    "demo",
    "recipes",
    "settings",
)
"""In the order of use; others follow."""
_NOTE = "<!-- Written by docs/generate.py: change the source, not this page. -->\n"


def cli_page() -> str:
    """Every verb with its arguments and options, as in `--help`."""
    group: Any = typer.main.get_command(app)
    names = [name for name in VERBS if name in group.commands] + sorted(set(group.commands) - set(VERBS))
    lines = [
        "# Commands",
        "",
        _NOTE,
        "`fathom VERB --help` prints the same. Settings of a recipe are changed as `group.key=value` behind it; of",
        "several for one setting the last wins. Quote for the shell: `'init_from.parts=[encoder,decoder]'`.",
        "",
        "Exit codes: 0 done; 1 done, but files could not be used (`check`, `predict`, `distill`) or cells of a study",
        "failed; 2 an error you can fix, with a message; 130 a study was interrupted.",
        "",
        "| verb | what it does |",
        "|---|---|",
        *(f"| [`{name}`](#fathom-{name}) | {cell(group.commands[name].help)} |" for name in names),
    ]
    for name in names:
        lines += ["", *verb(name, group.commands[name])]
    return "\n".join(lines) + "\n"


def verb(name: str, command: Any) -> Iterator[str]:
    """One verb."""
    given = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    yield f"## fathom {name}"
    yield ""
    yield str(command.help)
    yield ""
    usage = " ".join(metavar(p) for p in given)
    needed = " ".join(f"{p.opts[0]} {p.name.upper()}" for p in options if p.required)
    yield "```text"
    yield " ".join(part for part in (f"fathom {name}", usage, needed, "[OPTIONS]") if part)
    yield "```"
    yield ""
    yield "| argument or option | meaning | default |"
    yield "|---|---|---|"
    for p in (*given, *options):
        yield f"| {spelled(p)} | {cell(p.help)} | {default(p)} |"


def metavar(argument: Any) -> str:
    """How an argument is written."""
    if argument.name == "overrides":
        return "[KEY=VALUE]..."
    return str(argument.metavar) if argument.metavar else argument.name.upper()


def spelled(parameter: Any) -> str:
    """How a parameter is written."""
    if parameter.param_type_name == "argument":
        return f"`{metavar(parameter)}`"
    kind = "" if parameter.is_flag else f" {parameter.name.upper()}"
    return ", ".join(f"`{name}{kind}`" for name in (*parameter.opts, *parameter.secondary_opts))


def default(parameter: Any) -> str:
    """The default value; empty where the help says it."""
    value = parameter.default
    if parameter.required:
        return "needed"
    if parameter.param_type_name == "argument" or value is None or callable(value) or str(value).startswith("Sentinel"):
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{value}`"


def cell(text: str | None) -> str:
    """Text as a cell of a table."""
    return re.sub(r"\s+", " ", text or "").replace("|", "\\|").strip()


def recipes_page() -> str:
    """Every recipe: what it is, and the command it begins with."""
    lines = [
        "# Recipes",
        "",
        _NOTE,
        "A recipe is one experiment in one file. Its header has requirements, machine, time and result. Any setting",
        "can be changed on the command line ([commands](cli.md)).",
    ]
    for folder in sorted({path.parent for path in (ROOT / "recipes").rglob("*.yaml")}):
        lines += ["", f"## {folder.relative_to(ROOT)}/", "", "| recipe | what it is |", "|---|---|"]
        for path in sorted(folder.glob("*.yaml")):
            lines.append(f"| [{path.stem}](../{path.relative_to(ROOT)}) | {cell(about(path))} |")
    return "\n".join(lines) + "\n"


def head(path: Path) -> list[str]:
    """The paragraphs of the comment a recipe begins with."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return [" ".join(part.split("\n")) for part in "\n".join(lines).split("\n\n")]


def about(path: Path) -> str:
    """The first paragraph, which says what a recipe is, and what is known of its time and result."""
    return " ".join(part for part in head(path) if not part.startswith("fathom "))


def schema_file(kind: str) -> str:
    """The JSON schema of a kind of recipe, which shell completion reads and editors may."""
    from fathomseg.stages.settings import KINDS

    return json.dumps(schema(KINDS[kind][0]), indent=1) + "\n"


PAGES = {"cli.md": cli_page, "recipes.md": recipes_page}
KINDS_OF_FILES = ("recipe", "selection", "study")


if __name__ == "__main__":
    for kind in KINDS_OF_FILES:
        SCHEMAS.mkdir(exist_ok=True)
        (SCHEMAS / f"{kind}.json").write_text(schema_file(kind), encoding="utf-8")
    for name, page in PAGES.items():
        (ROOT / "docs" / name).write_text(page(), encoding="utf-8")
