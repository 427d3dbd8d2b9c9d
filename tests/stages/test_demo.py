"""`fathom demo` through the command line: what it refuses, stopping and resuming, and once in earnest, made small."""

from __future__ import annotations

import json
import os
import shlex
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fathomseg.cli import app
from fathomseg.demo import folder
from fathomseg.demo.folder import demo_folder
from fathomseg.demo.plan import LABELS, ROWS, TASKS
from fathomseg.errors import FathomError
from fathomseg.stages import demo
from fathomseg.study.folder import scores
from fathomseg.study.runner import Runner
from tests.docs.markdown import DOCS, commands
from tests.stages import tiny_demo

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("minutes", ["0", "-1", "nan"])
def test_minutes_must_be_positive(minutes: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["demo", "--minutes", minutes, "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, FathomError)
    assert f"--minutes is {minutes}; give a positive number" in str(done.exception)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo whose commands take a second and train nothing."""
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    for task in (task for task in TASKS if not task.words):
        (recipes / f"{task.name}.yaml").write_text(json.dumps({"steps": 20, "pause": 0.02}))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(folder, "RECIPES", recipes)
    monkeypatch.setattr(demo, "Runner", lambda *given, **named: Runner(*given, **named, program="tests.demo.fake_demo"))
    monkeypatch.setattr(demo, "show", lambda *_: None)


@pytest.mark.usefixtures("fake")
@pytest.mark.slow
def test_ctrl_c_leaves_what_the_same_command_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"

    def interrupt() -> None:
        while demo_folder(out).record("depth") is None:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert demo.run(out, 2.5, 7) == 130
    thread.join()
    text = capsys.readouterr().err
    assert "7 of 7 commands to run" in text
    assert f"Stopped. What is done is kept; resume with: fathom demo --minutes 2.5 --seed 7 --out {out}" in text
    assert demo.run(out, 2.5, 7) == 0
    text = capsys.readouterr().err
    assert "fathom pretrain" not in text
    assert "fathom train recipes/joint.yaml --out runs/joint" in text
    notes = (out / "runs" / "notes.txt").read_text().splitlines()
    assert notes.count("depth from 0") == 1
    assert all(sum(line == f"{task.name} from 0" for line in notes) <= 1 for task in TASKS if task.verb == "train")
    assert demo.run(out, 2.5, 7) == 0
    assert "to run" not in capsys.readouterr().err


@pytest.mark.usefixtures("fake")
def test_another_plan_is_refused_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "plan", lambda minutes: TASKS[:1])
    assert demo.run(tmp_path / "demo", 2.5, 0) == 0
    with pytest.raises(FathomError, match=r"started with --minutes 2.5 --seed 0, but now it is --minutes 10 --seed 0"):
        demo.run(tmp_path / "demo", 10, 0)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_whole_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command in earnest, with six steps each; then the page, again without training, and after a loss."""
    tiny_demo.make_tiny(monkeypatch, tiny_demo.write_recipes(tmp_path / "recipes"))
    out = tmp_path / "demo"
    done = CliRunner().invoke(app, ["demo", "--out", str(out), "--minutes", "2", "--seed", "1"])
    assert done.exit_code == 0, (done.output, done.exception)
    for row in ROWS:
        assert row.title in done.stdout
    for named in ("report.html", "demo.jpg"):
        assert str(out / named) in done.stderr
    for task in TASKS:
        assert f"fathom {' '.join(task.command)}" in done.stderr
    results = json.loads((out / "results.json").read_text())
    assert results["asked"] == {"minutes": 2.0, "seed": 1}
    assert [row["name"] for row in results["rows"]] == [row.task for row in ROWS]
    for row in results["rows"]:
        assert row["miou"] == scores(out / "runs" / row["name"], "val")["segmentation"]["miou"]
        assert row["gain"] == row["miou"] - results["rows"][0]["miou"]
        assert f"{100 * row['miou']:.1f}" in done.stdout
    assert len({row["miou"] for row in results["rows"]}) > 1
    assert all(task["cpu_minutes"] > 0.02 for task in results["tasks"])
    labelled = {row.task: (out / "runs" / row.task / "labelled.txt").read_text().split() for row in ROWS}
    chosen = (out / "runs" / "select" / "selection.txt").read_text().split()
    assert len(chosen) == len(labelled["random"]) == LABELS
    assert all(labelled[name] == sorted(chosen) for name in ("chosen", "pseudo", "joint"))
    height, width = (2 * side for side in tiny_demo.SIZE)
    poster = np.asarray(Image.open(out / "demo.jpg"))
    assert poster.shape[1] == 5 * width + 4 * 4
    assert poster.shape[0] > 3 * height
    assert (out / "report.html").read_text().count("<img") == 5 * 6 + 4 * 3 + 2 * LABELS + 9 + 1  # the scale of depth

    first, *others = commands((DOCS / "demo.md").read_text(encoding="utf-8"))
    assert (first, [command.split()[1] for command in others]) == ("fathom demo", ["evaluate", "predict"])
    with monkeypatch.context() as inside:
        inside.chdir(out)
        for command in others:
            done_there = CliRunner().invoke(app, shlex.split(command)[1:])
            assert done_there.exit_code == 0, (command, done_there.output, done_there.exception)
    assert len(list((out / "predictions").rglob("*.png"))) >= 12

    (out / "report.html").unlink()
    again = CliRunner().invoke(app, ["demo", "--out", str(out), "--minutes", "2", "--seed", "1"])
    assert again.exit_code == 0
    assert "to run" not in again.stderr
    assert again.stdout == done.stdout
    assert (out / "report.html").is_file()


@pytest.mark.slow
def test_an_error_of_a_real_command_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipes = tiny_demo.write_recipes(tmp_path / "recipes")
    with (recipes / "depth.yaml").open("a") as file:
        file.write("colour: green\n")
    tiny_demo.make_tiny(monkeypatch, recipes)
    monkeypatch.setattr(demo, "plan", lambda minutes: tuple(replace(task) for task in TASKS[:1]))
    with pytest.raises(FathomError) as error:
        demo.run(tmp_path / "demo", 2, 0)
    text = str(error.value)
    assert "A part of the demo has failed: learn depth from clips: " in text
    assert "colour: unknown key" in text
    assert str(tmp_path / "demo" / "logs" / "depth.log") in text
