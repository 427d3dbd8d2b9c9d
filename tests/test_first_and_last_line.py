"""Every verb says that it has begun before it imports PyTorch, and says last what came of it and which page to open."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from typer.testing import CliRunner

from fathomseg import cli
from fathomseg.io import outcome
from fathomseg.io.files import write_text
from fathomseg.io.spoken import EVERY_S, ProgressLines
from fathomseg.selection.annotation import load_task
from fathomseg.shell.verbs import QuickVerb, Verb
from tests import fakes
from tests.selection.annotation.tasks import from_cvat

ROOT = Path(__file__).resolve().parent.parent
VERBS: dict[str, Any] = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
LISTS = {"recipes", "settings"}
"""Their answer is a list and nothing more."""

CITY = "data.size=[32,64] data.train_clips=2 data.val_clips=1 data.frames=3"
TINY = "network.encoder.model=test_efficientnet network.encoder.pretrained=none"
RUN = f"{CITY} size=[32,64] train.steps=1 train.batch=1 train.device=cpu train.threads=1"
LINES = {
    "check": (f"check streets {CITY}", r"streets: \d+ images in 3 splits, no problem; open runs/check/streets\.html"),
    "train": (
        f"train streets {RUN} {TINY} streams.labelled.labels.count=1 --out run",
        r"run on val: mIoU \d+\.\d %; open run/.*\.html",
    ),
    "pretrain": (
        f"pretrain depth-streets {RUN} {TINY} evaluation.split=null evaluation.report=false --out depth",
        "1 steps are done, the run is in depth",
    ),
    "evaluate": (
        "evaluate run --weights ema --limit 1",
        r"run on val: mIoU \d+\.\d %; open run/evaluation/.*report\.html",
    ),
    "predict": ("predict run images --out out", r"segmentation of 1 file in out, [\d.]+ images/s"),
    "distill": (
        "distill run run/config.yaml --task segmentation --out distilled --everything --split val",
        r"segmentation of \d+ images in distilled",
    ),
    "export": ("export run model.onnx", r"model\.onnx, [\d.]+ MB; try it: fathom predict model\.onnx INPUT --out DIR"),
    "select": (
        "select select-own-images data.root=mine size=[24,32] device=cpu threads=1 budget=2 --out chosen "
        "criterion.features.encoder.model=test_efficientnet criterion.features.encoder.pretrained=none",
        r"2 of \d+ images chosen, listed in chosen/selection\.txt; open chosen/selection\.html",
    ),
    "import-labels": (
        "import-labels job.zip --selection chosen --out mine --overwrite",
        r"\d images of mine have a label now",
    ),
    "study": (
        "study study.yaml --table --out table",
        r"0 of 1 trainings; results in table/results\.md; open table/results\.html",
    ),
}
"""By verb a command, in the order in which they need each other, and its last line behind `fathom VERB: `."""


def test_the_table_has_every_verb() -> None:
    assert set(LINES) | LISTS | {"demo"} == set(VERBS)
    assert "conclude(" in (ROOT / "src" / "fathomseg" / "stages" / "demo.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_that_imports_pytorch_says_so_first(verb: str) -> None:
    assert isinstance(VERBS[verb], QuickVerb if verb == "recipes" else Verb)


def test_the_first_line_comes_within_a_second(tmp_path: Path) -> None:
    """In seconds of the processor: those on the clock are other programs' too."""
    code = "import sys; sys.argv[0] = 'fathom'; from fathomseg.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "train", "streets", "train.stepz=1"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
    )
    assert process.stderr is not None
    first = process.stderr.readline()
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    spent = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    process.kill()
    process.communicate()
    assert first == "fathom train: loading PyTorch ...\n"
    assert spent < 1


@pytest.mark.parametrize(
    "exports", [pytest.param(False, marks=pytest.mark.slow), pytest.param(True, marks=pytest.mark.long)]
)
def test_the_last_line_is_the_result_and_the_page(
    exports: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exporting takes as long as all others together."""
    monkeypatch.chdir(tmp_path)
    fakes.save(tmp_path / "images" / "a.png", fakes.scene(0, (32, 64), 3)[0])
    fakes.make_folder(tmp_path / "mine", labelled=6)
    arm = {"recipe": "streets", "settings": {"data": {"train_clips": 2, "val_clips": 1}}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"arms": {"a": arm}, "budgets": [1], "seeds": [0]}))
    wrong = {}
    for verb, (command, last) in LINES.items():
        if verb == "export" and not exports:
            continue
        if verb == "import-labels":
            annotate(tmp_path / "chosen", tmp_path / "job.zip")
        done = CliRunner().invoke(cli.app, command.split())
        lines = done.stderr.strip().splitlines() or [""]
        if done.exit_code or not re.fullmatch(f"fathom {verb}: {last}", lines[-1]):
            wrong[verb] = (done.exit_code, lines[-3:], done.exception)
    assert wrong == {}


def annotate(chosen: Path, job: Path) -> None:
    images = load_task(chosen / "annotation").images
    drawn = {image.stem: np.arange(np.prod(image.size), dtype=np.int64).reshape(image.size) % 2 for image in images}
    from_cvat(job, drawn, [("background", (0, 0, 0)), ("road", (128, 64, 128)), ("car", (0, 0, 142))])


def test_the_page_is_the_last_one_written_since_the_verb_began(tmp_path: Path) -> None:
    outcome.forget()
    write_text(tmp_path / "a.html", "")
    write_text(tmp_path / "b.html", "")
    write_text(tmp_path / "c.json", "")
    assert outcome.last_line() is None
    outcome.conclude("first")
    outcome.conclude("all done")
    assert outcome.last_line() == f"all done; open {tmp_path / 'b.html'}"
    outcome.forget()
    outcome.conclude("again")
    assert outcome.last_line() == "again"


def test_long_waits_speak_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    spoken = ProgressLines("scoring ema", clock=lambda: now[0])
    for done in range(1, 11):
        now[0] += EVERY_S / 2
        spoken.tell(done, 10)
    late = ProgressLines("distilling", clock=lambda: now[0])
    for passed, done in ((1000.0, 101), (EVERY_S, 111)):  # a slow start, and what was done before, tell no pace
        now[0] += passed
        late.tell(done, 121)
    assert capsys.readouterr().err.splitlines() == [
        "scoring ema: 2 of 10, about 80 s left",
        "scoring ema: 4 of 10, about 60 s left",
        "scoring ema: 6 of 10, about 40 s left",
        "scoring ema: 8 of 10, about 20 s left",
        "distilling: 101 of 121",
        "distilling: 111 of 121, about 20 s left",
    ]
