"""Writes docs/cli.md, docs/recipes.md, docs/results.md and the schemas of recipes: `python docs/generate.py`.

They are made from the command line, the headers and settings of recipes, and results/*.json. All are committed, so that
they can be read without a build; a test says when they are not current. The site shows the help of every verb as well
(hooks.py).
"""

from __future__ import annotations

import json
import re
import runpy
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
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
    """One line for every verb."""
    commands = verbs()
    lines = [
        "# Commands",
        "",
        _NOTE,
        "`fathom VERB --help` lists options. Settings of a recipe follow it as `group.key=value`; the last wins. Quote",
        "for the shell: `'init_from.parts=[encoder,decoder]'`.",
        "",
        "Exit codes: 0 done; 1 done, but some files or cells failed; 2 an error to fix; 130 interrupted.",
        "",
        "|verb|what it does|",
        "|---|---|",
        *(f"|`{name}`|{sentence(command.help)}|" for name, command in commands.items()),
    ]
    return "\n".join(lines) + "\n"


def verbs() -> dict[str, Any]:
    """The commands by name, in the order of use."""
    group: Any = typer.main.get_command(app)
    names = [name for name in VERBS if name in group.commands] + sorted(set(group.commands) - set(VERBS))
    return {name: group.commands[name] for name in names}


def all_verbs() -> str:
    """Every verb with its arguments and options, as in `--help`."""
    return "".join("\n" + "\n".join(verb(name, command)) + "\n" for name, command in verbs().items())


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
    """Every recipe: what it is, what it needs, and a number where one is measured."""
    lines = [
        "# Recipes",
        "",
        _NOTE,
        "A recipe is one experiment; its header says command, machine, time and result. Needs: what makes an",
        "earlier run (`pretrain depth-kitti`), or a GPU; others run on one CPU core. Results are mIoU or AbsRel, of a",
        "study its first arm. GiB and images/s of a training on a GPU are [ESTIMATED](speed.md#on-a-gpu).",
        "",
        "## Methods by dataset",
        "",
        "|method|recipes|",
        "|---|---|",
    ]
    for paths in by_method().values():
        links = " ".join(f"[{path.parent.name}](../{path.relative_to(ROOT)}){estimate(path)}" for path in paths)
        lines.append(f"|{what(paths[0])}|{links}|")
    for folder in sorted({path.parent for path in (ROOT / "recipes").rglob("*.yaml")}):
        if folder.name not in _METHODS:
            lines += [
                "",
                f"## {folder.relative_to(ROOT)}",
                "",
                "|recipe|what|needs|GPU|result|",
                "|---|---|---|---|---|",
            ]
            lines += [row(path) for path in sorted(folder.glob("*.yaml"))]
    return "\n".join(lines) + "\n"


_METHODS = ("camvid", "idd-lite", "streets", "cityscapes")
"""Folders that hold the same methods."""


def by_method() -> dict[str, list[Path]]:
    """The recipes of one method for several datasets, by its name."""
    found = defaultdict(list)
    for folder in _METHODS:
        for path in (ROOT / "recipes" / folder).glob("*.yaml"):
            found[path.stem].append(path)
    return dict(sorted(found.items()))


def row(path: Path) -> str:
    """One recipe."""
    link = f"[{path.stem}](../{path.relative_to(ROOT)})"
    return f"|{link}|{what(path)}|{needs(path)}|{estimate(path).removeprefix(_SPACE)}|{result(path)}|"


_SPACE = "&nbsp;"
_READING_LIMITS = 300
"""Images per second above which reading them limits a training, and no estimate of the network is of use."""


def estimate(path: Path) -> str:
    """Memory and speed on a GPU, as benchmarks/memory.py estimates them; empty for what trains no network."""
    one = estimates().get(path.relative_to(ROOT / "recipes").with_suffix("").as_posix())
    if one is None:
        return ""
    speed = f",{_SPACE}{one['images_per_s']}/s" if one["images_per_s"] <= _READING_LIMITS else ""
    return f"{_SPACE}{one['memory_gib']}{_SPACE}GiB{speed}"


@cache
def estimates() -> dict[str, Any]:
    """By recipe what results/memory_estimate.json says."""
    file = ROOT / "results" / "memory_estimate.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))["recipes"])


def what(path: Path) -> str:
    """The first sentence of the header, without its dataset and what it says in passing."""
    text = re.sub(r" \([^)]*docs/[^)]*\)|, on the generated city", "", sentence(" ".join(about(path)))).rstrip(".")
    text = re.sub(
        r"^(CamVid|IDD-Lite|Cityscapes|The generated city|NYU Depth v2|Your own data): (.)",
        lambda m: m[2].upper(),
        text,
    )
    if len(text.split()) > 12:
        text = re.sub(r" \([^()]*\)$", "", text)
    while len(text.split()) > 10 and re.search(r"[,;:] [^,;:()]*$", text):
        text = re.sub(r"[,;:] [^,;:()]*$", "", text)
    return text


def needs(path: Path) -> str:
    """The commands that make the runs the header names, and machines."""
    text = " ".join(about(path))
    runs = re.findall(r"Needs [^.]*?(?:run|model) (runs/[\w-]+)", text)
    return " ".join(
        [
            *(f"`{made_by()[run]}`" for run in runs),
            *(["GPU"] if re.search(r"One GPU|For a GPU|for a GPU", text) else []),
        ]
    )


@cache
def made_by() -> dict[str, str]:
    """By run the command that makes it, as the header of some recipe says."""
    heads = (" ".join(about(path)) for path in sorted((ROOT / "recipes").rglob("*.yaml")))
    made = re.compile(r"(runs/[\w-]+) \(fathom (\w+) recipes/([\w/-]+)\.yaml")
    return {run: f"{verb} {recipe}" for head in heads for run, verb, recipe in made.findall(head)}


def result(path: Path) -> str:
    """The first number the header expects, with the file named nearest to it."""
    text = " ".join(about(path))
    files = list(re.finditer(r"results/(\w+)\.json", text))
    if not files:
        return ""
    number = re.search(r"(?<=mIoU )\d+\.\d( \+- \d+\.\d)?|\d+\.\d \+- \d+\.\d|(?<=AbsRel )0\.\d+", text)
    file = min(files, key=lambda one: abs(one.start() - number.start())) if number else files[0]
    return f"[{number[0].replace(' +- ', '±') if number else 'measured'}](../results/{file[1]}.json)"


def about(path: Path) -> list[str]:
    """The paragraphs of the comment a recipe begins with, without commands."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    parts = [" ".join(part.split("\n")) for part in "\n".join(lines).split("\n\n")]
    return [part for part in parts if not part.startswith(("fathom ", "python "))]


def sentence(text: str | None) -> str:
    """The first sentence, as a cell of a table."""
    return re.split(r"(?<!\bal\.)(?<=[.?]) ", cell(text))[0]


def schema_file(kind: str) -> str:
    """The JSON schema of a kind of recipe, which shell completion reads and editors may."""
    from fathomseg.stages.settings import KINDS

    return json.dumps(schema(KINDS[kind][0]), indent=1) + "\n"


RESULTS = runpy.run_path(str(ROOT / "docs" / "generate_results.py"))
PAGES = {"cli.md": cli_page, "recipes.md": recipes_page, "results.md": RESULTS["results_page"]}
KINDS_OF_FILES = ("recipe", "selection", "study")


if __name__ == "__main__":
    for kind in KINDS_OF_FILES:
        SCHEMAS.mkdir(exist_ok=True)
        (SCHEMAS / f"{kind}.json").write_text(schema_file(kind), encoding="utf-8")
    for name, page in PAGES.items():
        (ROOT / "docs" / name).write_text(page(), encoding="utf-8")
