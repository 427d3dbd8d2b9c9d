"""Pages say what is so: generated ones are current, Python compiles, functions named in method notes exist."""

from __future__ import annotations

import importlib
import json
import re
import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from fathomseg.config import load
from fathomseg.training.phases import phase_recipes
from fathomseg.training.recipe import Recipe
from tests.docs.markdown import DOCS, PAGES, ROOT, blocks, name

GENERATED = runpy.run_path(str(DOCS / "generate.py"))["PAGES"]
METHODS = sorted(set((DOCS / "methods").glob("*.md")) - {DOCS / "methods" / "index.md"})


@pytest.mark.parametrize("page", sorted(GENERATED))
def test_generated_pages_are_current(page: str) -> None:
    assert (DOCS / page).read_text(encoding="utf-8") == GENERATED[page](), "run: python docs/generate.py"


def test_every_recipe_and_verb_is_on_its_page() -> None:
    recipes = (DOCS / "recipes.md").read_text(encoding="utf-8")
    paths = [str(path.relative_to(ROOT)) for path in (ROOT / "recipes").rglob("*.yaml")]
    assert len(paths) > 30
    assert [path for path in paths if f"(../{path})" not in recipes] == []
    cli = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| ?`([\w-]+)`", cli, re.MULTILINE)[:3] == ["check", "pretrain", "select"]


def test_the_site_shows_the_help_of_every_verb() -> None:
    shown = runpy.run_path(str(DOCS / "generate.py"))["all_verbs"]()
    assert re.findall(r"^## fathom (\w+)$", shown, re.MULTILINE)[:3] == ["check", "pretrain", "select"]
    assert "| `--budget BUDGET` | How many images to choose" in shown
    assert "| `--report`, `--no-report` | Write the HTML report. | on |" in shown


def test_what_a_recipe_needs_is_a_command() -> None:
    needed = set(re.findall(r"\|[^|]*`(pretrain|train) ([\w/-]+)`", (DOCS / "recipes.md").read_text(encoding="utf-8")))
    assert {
        ("pretrain", "own-data/depth"),
        ("pretrain", "depth-kitti"),
        ("train", "own-data/semi-supervised"),
    } <= needed
    for verb, recipe in needed:
        assert f"fathom {verb} recipes/{recipe}.yaml" in (ROOT / "recipes" / f"{recipe}.yaml").read_text(
            encoding="utf-8"
        )


def test_numbers_of_recipes_are_those_of_their_files() -> None:
    """Rounded as they are written; a deviation may be of the numbers of each seed."""
    rows = re.findall(
        r"\[(\d+\.\d+)(?:±[\d.]+)?\]\(\.\./results/(\w+\.json)\)", (DOCS / "recipes.md").read_text(encoding="utf-8")
    )
    assert len(rows) > 5
    for number, file in rows:
        stored = re.findall(r"-?\d+\.\d+", (ROOT / "results" / file).read_text(encoding="utf-8"))
        digits = len(number.partition(".")[2])
        assert number in {f"{float(one) * factor:.{digits}f}" for one in stored for factor in (1, 100)}, (number, file)


def test_every_result_is_on_its_page() -> None:
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    assert [path.name for path in (ROOT / "results").glob("*.json") if f"(../results/{path.name})" not in page] == []
    assert "48.9±0.6 +1.4" in page  # camvid_few_labels.json: three ways, 24 labels


def test_differences_are_marked_where_they_are_shown() -> None:
    """By the verdict, not by a p that was rounded: 0.04996 is 0.05 in a file."""
    script = runpy.run_path(str(DOCS / "generate_results.py"))
    marked, by_luck = script["with_difference"], script["_LUCK"]
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    verdicts = Counter[str]()
    for path in (ROOT / "results").glob("*.json"):
        tree = json.loads(path.read_text(encoding="utf-8"))
        for row in tree["rows"] if "cells_wanted" in tree and path.stem not in by_luck else ():
            if row["score"] and row["against"]:
                text = marked(row)
                assert text.endswith("*") == (row["verdict"] in ("better", "worse")), (path.name, row)
                assert f"|{text}|" in page
                verdicts[row["verdict"]] += 1
    assert {"better", "worse", "not shown"} <= verdicts.keys()
    assert "50.9±0.5 -3.5*" in page


def test_the_words_can_be_read_in_an_afternoon() -> None:
    counts = {page: len(page.read_text(encoding="utf-8").split()) for page in DOCS.rglob("*.md")}
    assert sum(counts.values()) <= 20_000, sorted(counts.items(), key=lambda item: -item[1])[:5]
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 750


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_and_yaml_are_sound(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8"), "python", "yaml"):
        if block.language == "yaml":
            yaml.safe_load(block.text)
        else:
            compile(block.text, f"{name(page)}:{block.line}", "exec", dont_inherit=True)


DEPTH: dict[str, Any] = {"network": {"tasks": {"depth": {}}}}
PAIRED: dict[str, Any] = {
    "data": {"name": "camvid", "root": "data/camvid"},
    "streams": {
        "source": {"data": {"name": "streets"}, "classes": "streets-camvid", "depth": {"name": "dataset"}},
        "unlabelled": {"depth": {"name": "dataset"}},
    },
}


@pytest.mark.parametrize(
    ("page", "around"),
    [
        ("training", {}),
        ("semi-supervised", {}),
        ("methods/three-ways", {}),
        ("networks", {}),
        ("pretraining", {}),
        ("methods/balancing", {}),
        ("adaptation", PAIRED),
        ("depth", DEPTH),
        ("methods/semantic-guidance", DEPTH),
    ],
)
def test_settings_of_a_training_are_valid(page: str, around: dict[str, Any]) -> None:
    """With what the page leaves out `around` them."""
    shown = blocks((DOCS / f"{page}.md").read_text(encoding="utf-8"), "yaml")
    assert shown
    for block in shown:
        tree = {"data": {"name": "streets"}, "size": [64, 96], **around, **yaml.safe_load(block.text)}
        recipe = load(Recipe, tree)
        phase_recipes(recipe, Path("runs/x"))


def exists(path: str) -> bool:
    """Whether `losses.targets.HardTarget` is a module of the package, or a name in one."""
    module, _, attribute = path.rpartition(".")
    try:
        return hasattr(importlib.import_module(f"fathomseg.{module}" if module else "fathomseg"), attribute)
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("page", METHODS, ids=name)
def test_functions_of_method_notes_exist(page: Path) -> None:
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    named = [path for row in rows for path in re.findall(r"`([\w.]+)`", row[1])]
    if not lines:  # a question that was measured, without formulas of its own
        named = re.findall(r"`(\w+(?:\.\w+)+)`", page.read_text(encoding="utf-8"))
        assert named
    else:
        assert len(named) >= 5
    assert [path for path in named if not exists(path) and not is_module(path)] == []


def is_module(path: str) -> bool:
    """Whether `losses.disparity` is a module."""
    return (ROOT / "src" / "fathomseg" / Path(*path.split("."))).with_suffix(".py").is_file()


def test_names_that_are_not_there_are_seen() -> None:
    assert exists("losses.targets.HardTarget")
    assert not exists("losses.targets.SofterTarget")
    assert not exists("losses.nowhere.f")
    assert is_module("losses.disparity")
    assert not is_module("losses.disparitie")


def test_every_page_is_in_the_navigation() -> None:
    text = re.sub(r"!!python/\S+", "", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = set(re.findall(r"[\w/-]+\.md", text))
    assert {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} <= listed


def test_every_module_of_the_api_pages_exists() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.md"))
    shown = re.findall(r"^::: (\S+)$", text, re.MULTILINE)
    assert len(shown) > 50
    for module in shown:
        path = ROOT / "src" / Path(*module.split("."))
        there = path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()
        assert there or exists(module.removeprefix("fathomseg.")), module


def test_flow_charts_become_rows_whose_arrows_point_down() -> None:
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    rows = runpy.run_path(str(DOCS / "hooks.py"))["rows"]
    chart = 'flowchart TD\n  a["A<br/>top"] --> b["B"]\n  b --> d\n  a --> c["C"]\n  c --> b\n'
    found = re.findall(r'<div class="row">(.*?)</div></div>', rows(chart))
    assert [re.findall(r"<div>(.*?)(?=</div>|$)", row) for row in found] == [["A<br/>top"], ["C"], ["B"], ["d"]]
    with pytest.raises(ValueError, match="cycle"):
        rows("a --> b\nb --> a\n")
    drawn = rows((DOCS / "architecture.md").read_text(encoding="utf-8").split("```mermaid\n")[1].split("```")[0])
    assert drawn.index("one file per verb") < drawn.index("step, loop") < drawn.index("camera, pose, warp")
