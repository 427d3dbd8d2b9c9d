"""The folder of a demo: one plan; the recipes it holds are valid."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
import yaml

from fathomseg.config import load
from fathomseg.data.datasets.streets import Streets
from fathomseg.data.held_out import shown
from fathomseg.demo import folder as module
from fathomseg.demo.folder import open_demo, recipes
from fathomseg.demo.plan import LABELS, ROWS, TASKS, TEACHER, Task, plan
from fathomseg.errors import FathomError
from fathomseg.stages.select_recipe import SelectRecipe
from fathomseg.study.folder import JobFolder, Spent
from fathomseg.training.recipe import Recipe

ASKED = {"minutes": 2.0, "seed": 1}
KINDS = {"pretrain": Recipe, "select": SelectRecipe, "train": Recipe}


def begin(path: Path, asked: dict[str, float] = ASKED, text: str = "x: 1\n") -> JobFolder:
    return open_demo(path, asked, [Task("a", "A", "train", 1.0, 0.0)], {"a": text})


def test_the_same_command_finds_its_folder_again(tmp_path: Path) -> None:
    begin(tmp_path / "demo")
    assert (tmp_path / "demo" / "recipes" / "a.yaml").read_text() == "x: 1\n"
    begin(tmp_path / "demo")
    (tmp_path / "empty").mkdir()
    begin(tmp_path / "empty")


@pytest.mark.parametrize(
    ("asked", "text", "message"),
    [
        (
            {"minutes": 10, "seed": 1},
            "x: 1\n",
            "started with --minutes 2 --seed 1, but now it is --minutes 10 --seed 1",
        ),
        ({"minutes": 2, "seed": 0}, "x: 1\n", "but now it is --minutes 2 --seed 0. Give the same to resume"),
        ({"minutes": 2, "seed": 1}, "x: 2\n", "another version of the program"),
    ],
)
def test_another_plan_is_refused(tmp_path: Path, asked: dict[str, float], text: str, message: str) -> None:
    begin(tmp_path)
    with pytest.raises(FathomError, match=message):
        begin(tmp_path, asked, text)


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(FathomError, match=r"is not the folder of a demo. Give another one \(--out\)"):
        begin(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_failed_is_tried_again_and_what_has_gone_is_done_again(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    folder.run("a").mkdir(parents=True)
    folder.spend("a", Spent(1.0, 0.5))
    folder.fail("a", "too green")
    assert begin(tmp_path).failure("a") is None
    folder.finish("a", {})
    assert begin(tmp_path).record("a") == {}
    folder.run("a").rmdir()
    assert begin(tmp_path).record("a") is None
    assert folder.spent("a") is None


def test_the_recipes_are_valid_and_keep_to_the_plan(tmp_path: Path) -> None:
    tasks = plan(10)
    made = recipes(tasks, seed=3)
    parts = {}
    for task in (task for task in tasks if not task.words):
        path = tmp_path / f"{task.name}.yaml"
        path.write_text(made[task.name])
        part = parts[task.name] = load(KINDS[task.verb], path)
        assert part.seed == 3
        assert f"fathom {' '.join(task.command)}" in made[task.name]
        if task.steps:
            assert part.train.steps == task.steps
            assert part.train.threads == 1
    rows = [parts[row.task] for row in ROWS]
    pool = parts["select"]
    assert parts[TEACHER] is rows[1]  # its network labels the others
    for row in rows:
        assert (row.data, row.size, row.optimiser.model_copy(update={"factors": {}}), row.network.encoder) == (
            rows[0].data,
            rows[0].size,
            rows[0].optimiser,
            rows[0].network.encoder,
        )
        assert row.train == rows[0].train
        first, own = (one.objectives["supervised"].losses["segmentation"] for one in (rows[0], row))
        assert own == first
        assert row.streams["labelled"].geometry == rows[0].streams["labelled"].geometry
        assert list(row.data.ids("train")) == list(pool.data.ids("train"))
    assert rows[0].streams["labelled"].labels.count == pool.budget == LABELS
    assert {str(row.streams["labelled"].labels.file) for row in rows[1:]} == {"runs/select/selection.txt"}


def test_nothing_is_learned_from_that_is_scored_on(tmp_path: Path) -> None:
    """Neither in the depth run, nor in the choice, nor as clips; frame by frame."""
    held_out: frozenset[str] = frozenset()
    seen: set[str] = set()
    for name, text in recipes(plan(2), seed=0).items():
        tree = yaml.safe_load(text)
        data = load(Streets, tree["data"])
        if name in {row.task for row in ROWS}:
            held_out = shown(data, data.ids("val"))
        streams = tree.get("streams", {}).values()
        for one in (tree["data"], *((stream or {}).get("data") for stream in streams)):
            if one is not None:
                dataset = load(Streets, one)
                seen |= shown(dataset, dataset.ids("train"))
    assert len(held_out) > 20
    assert len(seen) > 100
    assert not held_out & seen


def test_every_number_of_the_plan_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [task for task in TASKS if not task.words]
    names = {task.name: string.Template((module.RECIPES / f"{task.name}.yaml").read_text()) for task in told}
    for task in told:
        found = set(names[task.name].get_identifiers())
        assert found >= {"seed", "drives"}
        assert ("steps" in found) == (task.verb != "select")
