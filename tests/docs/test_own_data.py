"""docs/own-data.md from top to bottom, on three tiny videos: every command does what the next one needs."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fathomseg.cli import app
from fathomseg.selection.annotation import load_task
from fathomseg.types import IGNORE
from tests import fakes
from tests.docs.markdown import DOCS, ROOT, blocks, commands
from tests.selection.annotation.tasks import from_cvat

TEXT = (DOCS / "own-data.md").read_text(encoding="utf-8")
SMALL = {
    "pretrain": [
        "train.steps=2",
        "size=[48,64]",
        "train.device=cpu",
        "train.threads=1",
        "streams.clips.frames.min_parallax=0",
    ],
    "train": ["train.steps=2", "size=[48,64]", "train.device=cpu", "train.threads=1"],
    "select": ["size=[48,64]", "device=cpu", "threads=1"],
}
LINES = [("background", (0, 0, 0)), ("road", (128, 64, 128)), ("car", (0, 0, 142)), ("sky", (70, 130, 180))]
VIDEOS = ("town", "harbour", "hills")
FRAMES = 8


def make_videos(folder: Path) -> None:
    for seed, name in enumerate(VIDEOS):
        pictures = [fakes.scene(seed, (48, 64), 4, shift=i)[0] for i in range(FRAMES)]
        fakes.make_video(folder / "videos" / f"{name}.mp4", pictures)


def annotate(selected: Path, job: Path) -> None:
    """What annotators draw in CVAT on the exported images, and export."""
    drawn = {}
    for image in load_task(selected / "annotation").images:
        _, clip, frame = image.id.split("/")
        label = fakes.scene(VIDEOS.index(clip), (48, 64), 4, shift=int(frame))[1]
        drawn[image.stem] = np.where(label == 3, IGNORE, label).astype(np.uint8)
    from_cvat(job, drawn, LINES)


def smaller(command: str) -> list[str]:
    words = shlex.split(command)[1:]
    if "--budget" in words:
        budget = words.index("--budget") + 1
        words[budget] = {"50": "6", "100": "9"}[words[budget]]
    if "--resume" in words:
        return words
    words += SMALL.get(words[0], [])
    if "criterion.name=diversity_and_difficulty" in words:
        words += ["criterion.first_stage=4", 'criterion.student={"steps": 2}']
    return words


@pytest.mark.slow
def test_the_path_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    data = tmp_path / "mydata"
    make_videos(data)
    (data / "dataset.yaml").write_text(blocks(TEXT, "yaml")[0].text, encoding="utf-8")
    shell = next(block.text for block in blocks(TEXT, "bash") if "grep" in block.text)
    done: list[str] = []
    for command in commands(TEXT):
        if command.startswith("fathom import-labels"):
            annotate(tmp_path / "selected", tmp_path / "job.zip")
        if command.startswith("fathom check") and (data / "labels").exists():
            subprocess.run(["bash", "-euc", shell], check=True, cwd=tmp_path)
        outcome = CliRunner().invoke(app, smaller(command))
        assert outcome.exit_code == 0, (command, outcome.output, outcome.exception)
        done.append(command.split()[1])
    assert done.count("train") == 2
    assert len(list((tmp_path / "depth" / "disparity").rglob("*.png"))) == FRAMES
    assert (data / "splits" / "val.txt").read_text().startswith("clips/harbour/")
    for run in ("baseline", "mine"):
        assert (tmp_path / "runs" / run / "evaluation" / "val" / "report.html").is_file()
        trained_on = (tmp_path / "runs" / run / "labelled.txt").read_text()
        assert "clips/" in trained_on
        assert "harbour" not in trained_on
    first, more = ((tmp_path / name / "selection.txt").read_text().split() for name in ("selected", "selected-2"))
    assert len(first) == 9
    assert not set(first) & set(more)
