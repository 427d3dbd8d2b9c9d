"""docs/own-data.md from top to bottom, on three tiny videos: every command does what the next one needs, and nothing
is learned from the drive that is held out."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from fathomseg.cli import app
from fathomseg.data.cache import Cache
from fathomseg.data.datasets.folder import Folder
from fathomseg.selection.annotation import load_task
from fathomseg.selection.result import load_selection
from fathomseg.types import IGNORE
from tests import fakes
from tests.docs.markdown import DOCS, ROOT, blocks, commands
from tests.selection.annotation.tasks import from_cvat

TEXT = (DOCS / "own-data.md").read_text(encoding="utf-8")
PATH, GOING_ON = TEXT.split("## Going on")
TRAINING = ["train.steps=2", "train.device=cpu", "train.threads=1", "train.workers=0"]
STILL = "streams.clips.frames.min_parallax=0"
SMALL = {
    "pretrain": [*TRAINING, "size=[32,64]", STILL],
    "train": [*TRAINING, "size=[64,96]"],  # ONNX is no more general than the maps it is traced with: one row is too few
    "select": ["size=[32,64]", "device=cpu", "threads=1"],
}
MORE = {
    "own-data/select": ["criterion.first_stage=3", 'criterion.student={"steps": 2}'],
    "own-data/joint": ["streams.clips.size=[32,64]", STILL],
}
BUDGETS = {"50": "6", "20": "3", "100": "8"}
LINES = [("background", (0, 0, 0)), ("road", (128, 64, 128)), ("car", (0, 0, 142)), ("sky", (70, 130, 180))]
LINES += [("other", (110, 110, 110))]
VIDEOS = ("town", "harbour", "hills")
SIZE, FRAMES = (32, 64), 6
HELD_OUT = "clips/harbour/"


def is_setting(word: str) -> bool:
    return "=" in word and not word.startswith("--")


def test_the_path_is_short() -> None:
    found = list(commands(PATH))
    assert found[0].startswith("fathom check")
    assert found[-2].startswith("fathom export")
    assert len(found) <= 12
    lines = [line for block in blocks(TEXT, "bash") for line in block.text.splitlines()]
    assert [line for line in lines if len(line) > 100 or not line.startswith("fathom ")] == []
    assert max(sum(map(is_setting, shlex.split(command))) for command in commands(TEXT)) <= 3


def annotate(selected: Path, job: Path) -> None:
    """What annotators draw in CVAT on the exported images, and export; the fourth class is left unpainted."""
    drawn = {}
    for image in load_task(selected / "annotation").images:
        _, clip, frame = image.id.split("/")
        label = fakes.scene(VIDEOS.index(clip), SIZE, 4, shift=int(frame))[1]
        drawn[image.stem] = np.where(label == 3, IGNORE, label).astype(np.uint8)
    from_cvat(job, drawn, LINES)


def smaller(command: str) -> list[str]:
    """The words of a command, cut to a tiny training; a recipe's name becomes its path."""
    words = shlex.split(command)[1:]
    if "--budget" in words:
        budget = words.index("--budget") + 1
        words[budget] = BUDGETS[words[budget]]
    if "--resume" in words or words[0] not in SMALL:
        return words
    name = words[1]
    return [words[0], str(ROOT / "recipes" / f"{name}.yaml"), *words[2:], *SMALL[words[0]], *MORE.get(name, [])]


class Reads:
    """Which samples were opened during each command."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now: set[str] = set()
        self._spy(monkeypatch, Cache, "read", lambda id, *_: [id])
        self._spy(monkeypatch, Cache, "prepare", lambda wanted, *_: [id for id, _ in wanted])
        for method in ("image", "label"):
            self._spy(monkeypatch, Folder, method, lambda id: [id])

    def _spy(self, monkeypatch: pytest.MonkeyPatch, kind: type, name: str, ids: Callable[..., list[str]]) -> None:
        original = getattr(kind, name)

        def spied(self_: Any, *given: Any, **more: Any) -> Any:
            result = original(self_, *given, **more)
            if name != "label" or result is not None:  # what has no label is asked for it, and opens nothing
                self.now.update(ids(*given))
            return result

        monkeypatch.setattr(kind, name, spied)

    def take(self) -> set[str]:
        """What was opened since the last call."""
        found, self.now = self.now, set()
        return found


def listed(run: Path) -> Iterator[str]:
    """The samples that a run says it has learned from."""
    for path in run.glob("labelled*.txt"):
        yield from path.read_text().split()
    for path in run.glob("frames-*.csv"):
        with path.open(newline="") as stream:
            yield from (id for row in csv.DictReader(stream) for id in row.values())


@pytest.mark.long
def test_the_path_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FATHOM_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "mydata"
    for seed, name in enumerate(VIDEOS):
        pictures = [fakes.scene(seed, SIZE, 4, shift=i)[0] for i in range(FRAMES)]
        fakes.make_video(data / "videos" / f"{name}.mp4", pictures)
    (data / "dataset.yaml").write_text(blocks(TEXT, "yaml")[0].text, encoding="utf-8")
    reads = Reads(monkeypatch)
    said = {}
    for command in commands(TEXT):
        verb = command.split()[1]
        if verb == "import-labels":
            annotate(tmp_path / command.split("--selection ")[1].split()[0], tmp_path / command.split()[2])
        reads.take()
        outcome = CliRunner().invoke(app, smaller(command))
        assert outcome.exit_code == 0, (command, outcome.output, outcome.exception)
        said[command] = outcome.output
        opened = {id for id in reads.take() if id.startswith(HELD_OUT)}
        if verb in ("pretrain", "select") and "select-val" not in command:
            assert opened == set(), command
        if verb == "train":  # those it is scored on
            assert opened == scored_on(data), command
    assert len(list((tmp_path / "depth" / "disparity").rglob("*.png"))) == FRAMES
    runs = {path.name for path in (tmp_path / "runs").iterdir()} - {"check"}
    assert runs == {"depth", "baseline", "semi-supervised", "joint", "self-training"}
    for run in runs:
        learned = [*listed(tmp_path / "runs" / run)]
        assert learned
        assert not [id for id in learned if id.startswith(HELD_OUT)]
        assert (tmp_path / "runs" / run / "evaluation" / "val" / "report.html").is_file() == (run != "depth")
    first, val, more = (load_selection(tmp_path / name) for name in ("selected", "selected-val", "selected-2"))
    assert (len(first.ids), len(val.ids), len(more.ids)) == (8, 3, 6)
    assert first.pool_size == more.pool_size == 2 * FRAMES
    assert all(id.startswith(HELD_OUT) for id in val.ids)
    assert not [id for id in (*first.ids, *more.ids) if id.startswith(HELD_OUT)]
    assert any("focal length" in text and "clips-64x32" in text for text in said.values())


def scored_on(data: Path) -> set[str]:
    folder = Folder(root=data)
    return {id for id in folder.ids("val") if folder.has_label(id)}
