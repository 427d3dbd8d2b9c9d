"""Verbs that share out their work give, file by file, what one process gives."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from fathomseg.cli import app
from fathomseg.inference.predicted import RECORD
from fathomseg.types import ClassList
from tests.fakes import make_camvid, save, scene
from tests.parallel.clusters import two_nodes
from tests.selection.pools import ENCODER
from tests.stages.saved_run import save_run

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore")]

CLASSES = ClassList(("road", "car", "sky"), ((128, 64, 128), (0, 0, 142), (255, 255, 0)))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with two_nodes() as nodes:
        yield nodes


@pytest.fixture(params=["local", "ray"])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "ray":
        request.getfixturevalue("cluster")
    return str(request.param)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Here and in the workers: convolutions of one thread and of two differ in the last bit."""
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fathom(*words: object) -> None:
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def hashes(folder: Path, *without: str) -> dict[str, str]:
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in names.items() if name not in without}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    return save_run(folder, CLASSES, {"name": "folder", "root": "/nowhere"}, tasks=("segmentation", "depth"))


def test_predictions(engine: str, run: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for number in range(200):
        save(photos / f"{number % 3}" / f"{number}.png", scene(number, (31 + number % 20, 45), 3)[0])
    words = ("predict", run, photos, "--device", "cpu", "--out")
    fathom(*words, tmp_path / "one")
    fathom(*words, tmp_path / "two", "--engine", engine, "--workers", 2)
    one = hashes(tmp_path / "one", RECORD)
    assert len(one) == 4 * 200 + 2
    assert hashes(tmp_path / "two", RECORD) == one


def test_a_teacher(engine: str, run: Path, tmp_path: Path) -> None:
    data = make_camvid(tmp_path / "camvid", train=5, val=1, size=(24, 32))
    words = (
        "distill",
        run,
        "camvid",
        f"root={data}",
        "--task",
        "depth",
        "--all",
        "--device",
        "cpu",
        "--batch",
        2,
        "--out",
    )
    fathom(*words, tmp_path / "one")
    fathom(*words, tmp_path / "two", "--engine", engine, "--workers", 2)
    one = hashes(tmp_path / "one", "provenance.json")
    assert len(one) >= 5
    assert hashes(tmp_path / "two", "provenance.json") == one
    fathom(*words, tmp_path / "two")  # and all of it is known to be there


def test_a_choice(engine: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_camvid(tmp_path / "camvid", train=24, val=1, size=(32, 64))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"data: {{name: camvid, root: {data}}}\nsize: [32, 64]\nbudget: 9\nreport: false\ndevice: cpu\n"
        f"criterion: {{name: diversity, features: {ENCODER}}}\n"
    )
    for name, words in (("one", ()), ("two", ("--engine", engine, "--workers", 2))):
        monkeypatch.setenv("FATHOM_CACHE", str(tmp_path / "cache" / name))
        fathom("select", recipe, "--out", tmp_path / name, *words)
    assert (tmp_path / "two" / "selection.txt").read_bytes() == (tmp_path / "one" / "selection.txt").read_bytes()
