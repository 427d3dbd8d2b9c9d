"""`fathom study`: what it accepts, what it refuses before anything starts, what it writes, and once in earnest."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from fathomseg.config import flat, load, validate
from fathomseg.errors import ConfigError, FathomError
from fathomseg.inference.card import CARD
from fathomseg.io.files import CONFIG
from fathomseg.models.encoders import Encoder
from fathomseg.stages import study as stage
from fathomseg.stages.study_config import Study, Training, labelled
from fathomseg.stages.study_page import write_study_page
from fathomseg.stages.study_runs import hashed, job, result, take_known
from fathomseg.study.folder import JobFolder
from fathomseg.study.report import Report
from fathomseg.study.runner import Job, Runner
from fathomseg.study.table import Cell, Record
from fathomseg.training.phases import trainings_in
from fathomseg.training.recipe import Recipe
from fathomseg.training.run_folder import IDS, ORIGIN
from fathomseg.training.stream_ids import budgets
from tests.stages.runs import same_run

ROOT = Path(__file__).resolve().parents[2]
BALANCE = "objectives.supervised.losses.segmentation.balance"


def balanced(weight: float) -> dict[str, Any]:
    return {"objectives": {"supervised": {"losses": {"segmentation": {"balance": weight}}}}}


def balance(recipe: Recipe) -> float:
    return recipe.objectives["supervised"].losses["segmentation"].balance  # type: ignore[union-attr]


def labels(recipe: Recipe) -> list[str]:
    return sorted(labelled(recipe))


@pytest.fixture
def write(tmp_path: Path, settings: Callable[..., dict[str, Any]]) -> Callable[..., Path]:
    """Writes a recipe and a study of it: two arms, budgets 2 and all, seeds 0 to 2; keywords replace whole parts."""

    def file(**parts: Any) -> Path:
        recipe, path = tmp_path / "tiny.yaml", tmp_path / "mine.yaml"
        recipe.write_text(yaml.safe_dump(settings()))
        arms = {
            "plain": {"recipe": str(recipe)},
            "balanced": {"recipe": str(recipe), "settings": balanced(0.5)},
        }
        path.write_text(yaml.safe_dump({"arms": arms, "budgets": [2, "all"], **parts}, sort_keys=False))
        return path

    return file


def test_settings_are_applied_from_the_general_to_the_special(write: Callable[..., Path]) -> None:
    study = load(Study, write(settings={**balanced(0.1), "train": {"steps": 7}}), ["settings.train.batch=2"])
    jobs = study.trainings()
    assert len(jobs) == 12
    plain, other = (jobs[Cell(arm, 2, 1)].recipe for arm in ("plain", "balanced"))
    assert (balance(plain), balance(other)) == (0.1, 0.5)
    assert (plain.train.steps, plain.train.batch, plain.streams["labelled"].labels.count, plain.seed) == (7, 2, 2, 1)
    assert jobs[Cell("plain", "all", 0)].recipe.streams["labelled"].labels.count is None


def test_the_seed_stands_in_any_text(write: Callable[..., Path]) -> None:
    study = load(Study, write(settings={"init_from": {"run": "runs/depth-{seed}"}}))
    assert '"runs/depth-2"' in " ".join(study.overrides(Cell("plain", 2, 2)))


def test_a_selection_is_used_for_budgets_and_not_for_all(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write()
    plain = load(Study, path).trainings()[Cell("plain", "all", 0)].recipe
    ids = labels(plain)[::-1]  # an order nobody would get by chance
    for seed in range(3):
        (tmp_path / f"chosen-{seed}.txt").write_text("\n".join(ids[seed:]))
    chosen = f"arms.plain.selection={tmp_path}/chosen-{{seed}}.txt"
    jobs = load(Study, path, [chosen]).trainings()
    for seed in range(3):
        recipe = jobs[Cell("plain", 2, seed)].recipe
        assert set(labels(recipe)) == set(ids[seed : seed + 2])
    whole = jobs[Cell("plain", "all", 1)].recipe
    assert set(labels(whole)) == set(ids)


def test_a_selection_takes_the_place_of_a_recipes_own_choice(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write()
    recipe = yaml.safe_load((tmp_path / "tiny.yaml").read_text())
    recipe["streams"] = {"labelled": {"labels": {"count": 2, "seed": 7}}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    ids = labels(load(Study, path).trainings()[Cell("plain", "all", 0)].recipe)
    (tmp_path / "chosen.txt").write_text("\n".join(ids[::-1]))
    cells = load(Study, path, [f"arms.plain.selection={tmp_path}/chosen.txt", "seeds=[0]"]).trainings()
    assert labels(cells[Cell("plain", 2, 0)].recipe) == sorted(ids[-2:])
    assert cells[Cell("balanced", 2, 0)].recipe.streams["labelled"].labels.seed == 7
    tree = results(cells, tmp_path / "runs")
    (tmp_path / "known.json").write_text(json.dumps(tree))
    assert take_known(JobFolder(tmp_path / "here"), cells, tmp_path / "known.json") == len(cells) == 4
    tree["recipes"]["plain"]["streams.labelled.labels.seed"] = 7  # as earlier versions wrote it, of one cell
    (tmp_path / "known.json").write_text(json.dumps(tree))
    assert take_known(JobFolder(tmp_path / "there"), cells, tmp_path / "known.json") == 4


def test_the_name_of_a_part_is_set_before_its_settings() -> None:
    tree = {"mixing": {"margin": 0.1, "name": "depthmix"}, "empty": {}, "x": None}
    assert list(flat(tree)) == [("mixing.name", "depthmix"), ("mixing.margin", 0.1), ("empty", {}), ("x", None)]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"arms": {}}, "arms: "),
        ({"arms": {"a/b": {"recipe": "x"}}}, "arms.a/b"),
        ({"budgets": [-1]}, "budgets.0"),
        ({"budgets": [4, 4]}, "has a value twice"),
        ({"budgets": []}, "budgets: "),
        ({"seeds": [-1]}, "seeds.0"),
        ({"baseline": "best"}, "baseline 'best' is none of the arms, which are plain, balanced"),
        ({"settings": {"train.steps": 3}}, "write 'train.steps' as nested mappings"),
        (
            {"settings": {"streams": {"labelled": {"labels": {"count": 3}}}}},
            "labels.count is what `budgets` and `seeds`",
        ),
        ({"sedes": [0]}, "did you mean 'seeds'"),
    ],
)
def test_what_is_no_study_is_refused(write: Callable[..., Path], parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(Study, write(**parts))
    assert message in str(error.value)


def test_all_mistakes_of_all_cells_are_told_at_once_and_nothing_starts(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    recipe = str(tmp_path / "tiny.yaml")
    arms = {
        "fine": {"recipe": recipe},
        "typo": {"recipe": recipe, "settings": {"optimiser": {"lrr": 1}}},
        "lost": {"recipe": "nowhere.yaml"},
        "unscored": {"recipe": recipe, "settings": {"evaluation": {"split": "exam"}}},
        "orphan": {"recipe": recipe, "settings": {"init_from": {"run": "runs/none"}, "evaluation": {"split": "exam"}}},
    }
    with pytest.raises(ConfigError) as error:
        stage.run(write(arms=arms, budgets=[2, 99]), [], tmp_path / "out", 1, [], False, False)
    text = str(error.value)
    for part in (
        "fine-99-0 and 8 more: labels.count is 99, but only 8",
        "typo-2-0 and 5 more: ",
        "did you mean 'lr'",
        "lost-2-0 and 5 more: No recipe at nowhere.yaml",
        "unscored-2-0 and 11 more: evaluation.split is 'exam'",
        "orphan-2-0 and 5 more: There is no run runs/none",
    ):
        assert part in text
    assert "fine-2" not in text
    assert not (tmp_path / "out").exists()


def test_a_scene_model_that_is_not_there_is_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    arms = [f"arms.{arm}.settings.objectives.scene_consistency.run=runs/no-scene" for arm in ("consistency", "both")]
    with pytest.raises(ConfigError, match=r"consistency-24-0 and 1 more: There is no run runs/no-scene"):
        load(Study, Path("recipes/studies/sync-streets.yaml"), ["seeds=[0]", *arms]).trainings()


def test_a_run_that_a_phase_needs_is_told_before_anything_starts(
    write: Callable[..., Path], settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    path = write(budgets=[2], seeds=[0])
    phases = {"first": ["init_from.run=runs/nowhere"], "second": [], "third": []}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(settings(phases=phases)))
    with pytest.raises(ConfigError) as error:
        load(Study, path).trainings()
    (said,) = str(error.value).splitlines()[1:]  # earlier phases are none that is missing
    assert said.startswith("plain-2-0 and 1 more: There is no run runs/nowhere")


def test_mistakes_of_arms_that_are_not_asked_for_stop_nobody(write: Callable[..., Path], tmp_path: Path) -> None:
    recipe = str(tmp_path / "tiny.yaml")
    later = {"recipe": recipe, "settings": {"init_from": {"run": "runs/not-yet"}}}
    study = load(Study, write(arms={"fine": {"recipe": recipe}, "later": later}, budgets=[2]))
    assert {cell.arm for cell in study.trainings(["fine"])} == {"fine"}
    with pytest.raises(ConfigError, match="not-yet"):
        study.trainings(["later"])


@pytest.mark.parametrize(("only", "workers", "message"), [(["x"], 1, "no such arm"), ([], 0, "--workers is 0")])
def test_bad_options_are_told(
    write: Callable[..., Path], only: list[str], workers: int, message: str, tmp_path: Path
) -> None:
    with pytest.raises(FathomError, match=message):
        stage.run(write(), [], tmp_path / "out", workers, only, False, False)


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Trainings take no time; those named in the set fail. A run has 40 % + 10 % a seed, balanced 3 % more."""
    failing: set[str] = set()

    def fake(cell: Cell, training: Training, run: Path) -> Job:
        recipe = training.recipe
        miou = 0.4 + 0.1 * recipe.seed + 0.03 * (balance(recipe) == 0.5)
        how = ["fail"] if run.name in failing else []
        ids = ",".join(labels(recipe))
        return replace(job(cell, training, run), start=(str(run), str(miou), ids, *how))

    def runner(*given: Any, **named: Any) -> Runner:
        return Runner(*given, **named, poll_s=0.05, program="tests.study.fake_run")

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(stage, "job", fake)
    monkeypatch.setattr(stage, "Runner", runner)
    return failing


@pytest.mark.slow
def test_a_study_from_its_first_failure_to_its_table(
    write: Callable[..., Path], tmp_path: Path, faked: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write(title="Mine", budgets=[2]), tmp_path / "out"
    faked.add("balanced-2-1")
    assert stage.run(path, [], out, 2, ["balanced"], False, False) == 1
    said = capsys.readouterr()
    assert "failed: balanced-2-1: no room in" in said.out
    assert "--retry" in said.err
    assert "3 of 3 trainings done" in said.err
    assert sorted((out / "runs" / "notes.txt").read_text().split()) == [f"balanced-2-{seed}" for seed in range(3)]

    faked.clear()
    assert stage.run(path, [], out, 1, [], False, False) == 1  # still failed, as nobody asked to try again
    assert stage.run(path, [], out, 1, [], False, True) == 0
    notes = (out / "runs" / "notes.txt").read_text().split()
    assert len(notes) == 7
    assert notes.count("balanced-2-1") == 2

    assert stage.run(path, [], out, 1, [], True, False) == 0
    assert (out / "runs" / "notes.txt").read_text().split() == notes
    tree = json.loads((out / "results.json").read_text())
    plain, balanced = tree["rows"]
    assert plain["score"]["mean"] == pytest.approx(50)
    assert plain["score"]["spread"] == pytest.approx(10)
    assert balanced["against"]["difference"] == pytest.approx(3)
    assert balanced["verdict"] == "better"
    assert tree["failed"] == []
    assert {cell["images"] for cell in tree["cells"]} == {2}
    assert tree["study"]["arms"]["plain"]["recipe"] == "PATH/TO/tiny.yaml"
    for file in ("results.json", "results.md", "results.svg"):
        assert str(tmp_path) not in (out / file).read_text()
    assert (out / "results.md").read_text().startswith("# Mine\n")
    assert "<h1>Mine</h1>" in (out / "results.html").read_text()


def test_runs_started_with_other_settings_are_not_mixed_in(
    write: Callable[..., Path], tmp_path: Path, camvid: Path, faked: set[str]
) -> None:
    path, out = write(budgets=[2], seeds=[0]), tmp_path / "out"
    training = load(Study, path).trainings()[Cell("plain", 2, 0)]
    folder = out / "runs" / "plain-2-0"
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text(yaml.safe_dump(training.recipe.model_dump(mode="json")))
    with pytest.raises(FathomError) as error:
        stage.run(path, ["settings.train.steps=9"], out, 1, [], False, False)
    assert "1 trainings" in str(error.value)
    assert "plain-2-0:\n  train.steps: then 6, now 9" in str(error.value)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.symlink_to(camvid)
    moved = [f"settings.data.root={elsewhere}", "settings.train.workers=0"]
    assert stage.run(path, moved, out, 1, [], False, False) == 0


@pytest.mark.slow
def test_what_another_machine_has_trained_is_not_trained_again(
    write: Callable[..., Path], tmp_path: Path, faked: set[str], camvid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, there, here = write(budgets=[2]), tmp_path / "there", tmp_path / "here"
    assert stage.run(path, ["seeds=[0,1]"], there, 1, [], False, False) == 0
    file = tmp_path / "known.json"
    file.write_text((there / "results.json").read_text())
    assert str(camvid) not in file.read_text()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.symlink_to(camvid)
    moved = [f"settings.data.root={elsewhere}"]
    assert stage.run(path, moved, here, 1, [], False, False, [file]) == 0
    assert "4 trainings are known from" in capsys.readouterr().err
    assert sorted((here / "runs" / "notes.txt").read_text().split()) == ["balanced-2-2", "plain-2-2"]
    then, now = (json.loads((folder / "results.json").read_text()) for folder in (there, here))
    assert len(now["cells"]) == 6
    assert [cell for cell in now["cells"] if cell["seed"] < 2] == then["cells"]
    assert now["recipes"] == then["recipes"]
    assert [then["recipes"][arm][BALANCE] for arm in ("plain", "balanced")] == [0.0, 0.5]
    assert stage.run(path, moved, here, 1, [], True, False, [file]) == 0  # all are there
    assert "are known" not in capsys.readouterr().err


def test_known_trainings_of_another_study_are_refused(
    write: Callable[..., Path], tmp_path: Path, faked: set[str]
) -> None:
    path, there, here = write(budgets=[2], seeds=[0]), tmp_path / "there", tmp_path / "here"
    assert stage.run(path, [], there, 1, [], False, False) == 0
    file = there / "results.json"
    with pytest.raises(FathomError) as error:
        stage.run(path, ["settings.optimiser.lr=0.1"], here, 1, [], False, False, [file])
    assert "2 trainings in" in str(error.value)
    assert "optimiser.lr: then 0.01, now 0.1" in str(error.value)
    plain = load(Study, path).trainings()[Cell("plain", 2, 0)].recipe
    whole = load(Study, write()).trainings()[Cell("plain", "all", 0)].recipe
    other = sorted(set(labels(whole)) - set(labels(plain)))
    (tmp_path / "chosen.txt").write_text("\n".join(other))
    with pytest.raises(FathomError, match=r"1 trainings .*\n.*labels of other images"):
        stage.run(path, [f"arms.plain.selection={tmp_path}/chosen.txt"], here, 1, [], False, False, [file])
    assert not (here / "cells").exists()


def test_results_without_a_run_are_not_mixed_with_other_settings(
    write: Callable[..., Path], tmp_path: Path, faked: set[str]
) -> None:
    """Of another machine, or whose runs were removed."""
    path, out = write(budgets=[2]), tmp_path / "out"
    cells = load(Study, path, ["seeds=[0]"]).trainings()
    file = tmp_path / "known.json"
    file.write_text(json.dumps(results(cells, tmp_path / "runs")))
    assert take_known(JobFolder(out), cells, file) == 2
    assert stage.run(path, ["seeds=[0]"], out, 1, [], False, False) == 0
    with pytest.raises(FathomError, match=r"plain-2-0:\n  train.steps: then 6, now 9"):
        stage.run(path, ["settings.train.steps=9"], out, 1, [], False, False)
    for cell in cells:
        record = JobFolder(out).record(cell)
        assert record is not None
        del record["settings"]["train.batch"]  # as of a version that had no such setting
        JobFolder(out).finish(cell, record)
    assert stage.run(path, ["seeds=[0]"], out, 1, [], False, False) == 0


def finished(run: Path, recipe: Recipe, scores: dict[str, Any]) -> Path:
    """What a training leaves that a study reads."""
    (run / "evaluation" / "val").mkdir(parents=True)
    for stream, ids in budgets(recipe).items():
        (run / IDS.format(stream)).write_text("".join(f"{id}\n" for id in ids))
    made = dict.fromkeys(("commit", "date", "machine", "processor", "gpu", "threads", "torch"), "x")
    (run / ORIGIN).write_text(json.dumps(made))
    (run / "evaluation" / "val" / "scores.json").write_text(json.dumps({"scores": scores}))
    return run


def results(trainings: Mapping[Cell, Training], runs: Path) -> dict[str, Any]:
    """What results.json says of these trainings, all finished without scores."""
    records: dict[Cell, Record] = {}
    for cell, training in trainings.items():
        found = result(cell, finished(runs / str(cell), training.recipe, {}), training)
        assert found is not None
        records[cell] = {**found, "minutes": 1.0, "cpu_minutes": 1.0}
    return Report("", {}, "plain", list(trainings), records, {}).tree({}, {})


@pytest.mark.parametrize(("budget", "images"), [(0, 0), (12, 12)])
def test_labels_of_the_source_are_no_budget(
    budget: int, images: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    study = load(Study, Path("recipes/studies/adapt-streets-dusk.yaml"), ["seeds=[0]"])
    cell = Cell("joint", budget, 0)
    training = study.trainings(["joint"])[cell]
    scores = {name: {"segmentation": {"miou": 0.5, "images": 3, "pixel_accuracy": 0.5}} for name in ("ema", "last")}
    run = finished(tmp_path / "run", training.recipe, scores)
    assert len((run / "source.txt").read_text().splitlines()) == 1000
    found = result(cell, run, training)
    assert found is not None
    assert found["images"] == images
    assert found["labelled"] == hashed(labelled(training.recipe)), "which labels of the source still tells them apart"


def test_a_run_with_no_score_of_a_task_is_a_result(write: Callable[..., Path], tmp_path: Path) -> None:
    """Of clips with poses and nothing else."""
    cell = Cell("plain", 2, 0)
    training = load(Study, write(budgets=[2])).trainings()[cell]
    found = result(cell, finished(tmp_path / "run", training.recipe, {}), training)
    assert found is not None
    assert (found["miou"], found["scored_images"], found["main_scores"], found["images"]) == (None, 0, {}, 2)
    whole = {**found, "minutes": 1.0, "cpu_minutes": 1.0}
    assert "plain" in Report("Motion", {}, "plain", [cell], {cell: whole}, {}).markdown({})


def test_settings_of_a_seed_are_compared_as_they_are_written(
    write: Callable[..., Path], tmp_path: Path, camvid: Path
) -> None:
    """Both seeds are known, each with a teacher and data of its own; other data make another arm."""
    for name in ("half-0", "half-1", "other-0", "other-1"):
        (tmp_path / name).symlink_to(camvid)
    teacher = "streams.labelled.distilled.segmentation.folder"
    taught = {
        "streams": {"labelled": {"distilled": {"segmentation": {"folder": "runs/teacher-{seed}"}}}},
        "objectives": {"supervised": {"distilled": {"segmentation": {}}}},
    }
    recipe = str(tmp_path / "tiny.yaml")
    half = {"recipe": recipe, "settings": {"data": {"root": f"{tmp_path}/half-{{seed}}"}}}
    path = write(arms={"plain": {"recipe": recipe}, "half": half}, budgets=[2], settings=taught)
    tree = results(load(Study, path, ["seeds=[0,1]"]).trainings(), tmp_path / "runs")
    written = tree["recipes"]["half"]
    assert (written["data.root"], written[teacher]) == ("half-{seed}", "runs/teacher-{seed}")
    assert tree["recipes"]["plain"] != written
    file = tmp_path / "known.json"

    def taken(here: str, *overrides: str) -> int:
        file.write_text(json.dumps(tree))
        now = load(Study, path, ["seeds=[0,1]", *overrides]).trainings()
        return take_known(JobFolder(tmp_path / here), now, file)

    assert taken("all") == 4
    with pytest.raises(FathomError, match=r"data\.root: then half-\{seed\}, now other-\{seed\}"):
        taken("refused", f"arms.half.settings.data.root={tmp_path}/other-{{seed}}")
    del written["data.root"]  # as earlier versions wrote it
    written[teacher] = "runs/teacher-1"
    assert taken("earlier") == 4
    written[teacher] = "runs/pupil-1"
    with pytest.raises(FathomError, match=r"then runs/pupil-1, now runs/teacher-\{seed\}"):
        taken("refused")


def test_the_page_is_written_without_the_data(write: Callable[..., Path], tmp_path: Path, camvid: Path) -> None:
    """As `--table` does where the runs lie and the images do not."""
    cell = Cell("plain", 2, 0)
    training = load(Study, write(budgets=[2])).trainings()[cell]
    folder = JobFolder(tmp_path)
    run = finished(folder.run(cell), training.recipe, {})
    found = result(cell, run, training)
    assert found is not None
    gone = training.recipe.model_copy(
        update={"data": training.recipe.data.model_copy(update={"root": tmp_path / "no"})}
    )
    (run / CONFIG).write_text(yaml.safe_dump(gone.model_dump(mode="json")))
    (run / CARD).write_text("{}")
    report = Report(
        "Mine", {"plain": "plain"}, "plain", [cell], {cell: {**found, "minutes": 1.0, "cpu_minutes": 1.0}}, {}
    )
    text = write_study_page(folder, report, {}).read_text()
    assert "No pictures: No CamVid at PATH/TO/no" in text
    assert "evenly spread" not in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize("text", ["", "[]", '{"rows": []}', '{"cells": [{"arm": "a"}]}', None])
def test_what_are_no_results_is_told(
    write: Callable[..., Path], tmp_path: Path, faked: set[str], text: str | None
) -> None:
    file = tmp_path / "some.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(FathomError, match=r"some\.json (is not the|cannot be read.*Give the) results\.json of a study"):
        stage.run(write(), [], tmp_path / "out", 1, [], False, False, [file])


@pytest.mark.slow
def test_a_failed_run_is_tried_again_with_new_settings_if_asked_to(
    write: Callable[..., Path], tmp_path: Path, faked: set[str]
) -> None:
    path, out = write(budgets=[2], seeds=[0]), tmp_path / "out"
    training = load(Study, path).trainings()[Cell("plain", 2, 0)]
    faked.add("plain-2-0")
    assert stage.run(path, [], out, 1, ["plain"], False, False) == 1
    (out / "runs" / "plain-2-0" / CONFIG).write_text(yaml.safe_dump(training.recipe.model_dump(mode="json")))
    faked.clear()
    with pytest.raises(FathomError, match="other settings"):
        stage.run(path, ["settings.optimiser.lr=0.1"], out, 1, ["plain"], False, False)
    assert stage.run(path, ["settings.optimiser.lr=0.1"], out, 1, ["plain"], False, True) == 0


def test_the_command_of_a_cell_gives_its_recipe(write: Callable[..., Path], tmp_path: Path) -> None:
    trainings = load(Study, write(settings={"train": {"threads": 2, "batch": 3}})).trainings()
    cell, run = Cell("plain", 2, 1), tmp_path / "run"
    made = job(cell, trainings[cell], run)
    verb, recipe, *words = made.start
    assert (verb, recipe) == ("train", str(trainings[cell].path))
    assert words[-2:] == ["--out", str(run)]
    assert {"seed=1", "streams.labelled.labels.count=2", "train.batch=3"} <= set(words)
    assert load(Recipe, trainings[cell].path, words[:-2]) == trainings[cell].recipe
    assert made.resume == ("train", "--resume", str(run), "train.threads=2")


def test_a_resumed_cell_is_told_where_the_data_of_every_stream_lies(write: Callable[..., Path], tmp_path: Path) -> None:
    cell, run = Cell("plain", 2, 1), tmp_path / "run"
    roots = ("data.datasets.town.root=a", "streams.clips.data.root=b", "streams.unlabelled.data.datasets.sea.root=c")
    training = replace(load(Study, write()).trainings()[cell], overrides=("seed=1", *roots, "train.batch=3"))
    assert job(cell, training, run).resume == ("train", "--resume", str(run), *roots)


STUDIES = sorted((ROOT / "recipes" / "studies").glob("*.yaml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_studies_of_the_project_are_valid(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for data and depth runs, which are not here."""
    monkeypatch.chdir(ROOT)
    study = load(Study, path)
    recipes = {cell: load(Recipe, study.arms[cell.arm].recipe, study.overrides(cell)) for cell in study.cells()}
    told = {cell for cell in recipes if "steps" in (study.arms[cell.arm].title or "")}
    steps = {recipe.train.steps * max(1, len(recipe.phases)) for cell, recipe in recipes.items() if cell not in told}
    assert len(steps) == 1, "arms are compared after equal steps, but for those whose title says so"
    trained = {id(one): one for recipe in recipes.values() for one in trainings_in(recipe, Path("run")).values()}
    kinds = [one.network.encoder for one in trained.values()]
    kinds += [task.encoder for one in trained.values() for task in one.network.tasks.values()]
    weights = {encoder.pretrained for encoder in kinds if isinstance(encoder, Encoder)}
    assert weights <= {"auto", "none", "offline"}, "a path is a file that nobody has"
    datasets = {cell: recipe.data.model_dump(exclude={"root"}) for cell, recipe in recipes.items()}
    assert all(dataset == datasets[study.cells()[0]] for dataset in datasets.values()), "perhaps a part of it elsewhere"
    assert f"fathom study recipes/studies/{path.name}" in path.read_text()


def test_an_empty_mapping_is_no_study() -> None:
    with pytest.raises(ConfigError) as error:
        validate(Study, {})
    assert {"arms: is required"} <= {line.strip() for line in str(error.value).splitlines()}


@pytest.mark.long
def test_the_real_thing_stopped_resumed_and_compared(write: Callable[..., Path], whole: Path, tmp_path: Path) -> None:
    """A cell that was interrupted ends as the same recipe trained alone ends, to the last bit."""
    path, out = write(budgets=["all"], seeds=[0]), tmp_path / "out"
    words = [
        sys.executable,
        "-m",
        "fathomseg.cli",
        "study",
        str(path),
        "settings.train.save_every=1",
        "--out",
        str(out),
    ]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as first:
        plain = out / "runs" / "plain-all-0"
        end = time.monotonic() + 200
        while not (plain / "checkpoint.pt").exists() and time.monotonic() < end:
            time.sleep(0.01)
        first.send_signal(signal.SIGTERM)
        _, said = first.communicate(timeout=200)
    assert first.returncode == 130, said
    assert "The same command resumes the study." in said
    assert "Stopped after step" in (out / "cells" / "plain-all-0.log").read_text()
    assert not (out / "cells" / "plain-all-0.json").exists()

    done = subprocess.run([*words, "--workers", "2"], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    log = (out / "cells" / "plain-all-0.log").read_text()
    assert "--resume" in log
    same_run(plain, whole)
    tree = json.loads((out / "results.json").read_text())
    scores = json.loads((whole / "evaluation" / "val" / "scores.json").read_text())["scores"]
    found = {cell["arm"]: cell for cell in tree["cells"]}
    assert found["plain"]["miou"] == pytest.approx(100 * scores["ema"]["segmentation"]["miou"], abs=1e-4)
    assert found["plain"]["images"] == 8
    assert found["balanced"]["cpu_minutes"] > 0
    assert "1 of 1" in done.stdout
