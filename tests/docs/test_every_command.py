"""Every command that a page prints is run by a test: here in the order of the page, with nothing changed but sizes."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fathomseg.cli import app
from fathomseg.report.demo_page import OWN_DATA
from fathomseg.training import streams
from tests.docs import sandbox
from tests.docs.markdown import PAGES, ROOT, commands, name, other_commands

DEMO_PAGE = "the page of the demo"
TAKEN_FOR_GRANTED: dict[str, tuple[Callable[[], None], ...]] = {
    "README.md": (sandbox.own_data,),
    "docs/adaptation.md": (sandbox.camvid_at_home,),
    "docs/annotation.md": (sandbox.unlabelled_data, sandbox.drawn),
    "docs/data.md": (sandbox.own_data, sandbox.camvid_at_home, sandbox.own_recipe),
    "docs/deploy.md": (sandbox.run_of_classes, sandbox.film),
    "docs/depth.md": (sandbox.depth_run, sandbox.joint_run, sandbox.kitti_with_depth, sandbox.photos, sandbox.film),
    "docs/distill.md": (sandbox.half_nyuv2, sandbox.teachers),
    "docs/methods/balancing.md": (sandbox.joint_run, sandbox.scored_baselines),
    "docs/methods/scene-consistency.md": (),
    "docs/methods/semantic-guidance.md": (),
    "docs/methods/synchronized.md": (),
    "docs/methods/unimatch.md": (sandbox.cityscapes,),
    "docs/pretraining.md": (sandbox.own_data,),
    "docs/scaling.md": (sandbox.cluster, sandbox.photos),
    "docs/selection.md": (sandbox.unlabelled_data,),
    "docs/semi-supervised.md": (sandbox.kitti, sandbox.camvid, sandbox.own_data),
    "docs/study.md": (),
    "docs/training.md": (sandbox.camvid,),
    DEMO_PAGE: (sandbox.videos,),
}
"""What is there before the first command of a page is run."""
ELSEWHERE = {
    "docs/demo.md": "tests/stages/test_demo.py",
    "docs/own-data.md": "tests/docs/test_own_data.py",
    "docs/extend/": "tests/docs/test_extend.py",
}
"""Pages, or folders of them, whose commands another test runs."""
STAND_INS = {
    "docker build -t fathomseg .": "tests/test_dockerfile.py",
    'docker run --rm --gpus all --shm-size 8g -v "$PWD:/work" fathomseg VERB ...': "tests/test_dockerfile.py",
    "python docs/generate.py": "tests/docs/test_pages.py",
    "python examples/onnx_video.py model.onnx 0": "tests/examples/test_onnx_video.py",
    "python benchmarks/memory.py --table": "tests/docs/test_benchmarks.py",
    "benchmarks/networks.py --table": "tests/docs/test_benchmarks.py",
    "benchmarks/scaling.py --table": "tests/docs/test_benchmarks.py",
    "benchmarks/train_step.py --table": "tests/docs/test_benchmarks.py",
}
"""Commands other than `fathom`, each with the test of what it runs."""
FIRST = ("README.md", "docs/training.md")
"""Pages that are run with every change."""


def text_of(page: str) -> str:
    return f"```bash\n{OWN_DATA}\n```\n" if page == DEMO_PAGE else (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=pytest.mark.slow if page in FIRST else pytest.mark.long) for page in TAKEN_FOR_GRANTED],
)
@pytest.mark.filterwarnings("ignore")  # of transformers and Ray
@pytest.mark.timeout(900)
def test_the_commands_of_a_page_work(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.at_home(monkeypatch, tmp_path / "home")
    monkeypatch.setattr(streams, "_COUNTED", 4)
    for make in TAKEN_FOR_GRANTED[page]:
        make()
    for command in commands(text_of(page)):
        words = sandbox.smaller(command)
        if words[0] == "import-labels" and not Path(words[1]).exists():  # people have drawn in the meantime
            sandbox.draw(Path(words[words.index("--selection") + 1]), Path(words[1]))
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, (command, words, done.output, done.exception)
        if "--out" in words:
            assert any(Path(words[words.index("--out") + 1]).iterdir()), command


def test_every_page_with_commands_is_run() -> None:
    """`fathom demo` itself is run by tests/stages/test_demo.py."""
    shown = {name(page): set(commands(page.read_text(encoding="utf-8"))) - {"fathom demo"} for page in PAGES}
    having = {page for page, found in shown.items() if found} | {DEMO_PAGE}
    run = {page for page in having if page in TAKEN_FOR_GRANTED or page.startswith(tuple(ELSEWHERE))}
    assert having - run == set(), "say in TAKEN_FOR_GRANTED what these pages need"
    assert {*TAKEN_FOR_GRANTED} - having == set(), "these have no commands"
    for page, test in ELSEWHERE.items():
        assert any(found.startswith(page) for found in having), f"{page} has no commands"
        assert page.rstrip("/").split("/")[-1].removesuffix(".md") in (ROOT / test).read_text(encoding="utf-8")


def test_every_other_command_has_a_test() -> None:
    shown = {command for page in PAGES for command in other_commands(page.read_text(encoding="utf-8"))}
    assert shown == set(STAND_INS), "say in STAND_INS which test runs what these run"
    for command, test in STAND_INS.items():
        script = re.search(r"\w+\.py", command)
        assert (script[0] if script else "Dockerfile") in (ROOT / test).read_text(encoding="utf-8"), command


def test_only_sizes_and_steps_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    printed = "fathom train camvid/depthmix data.root=~/x streams.labelled.labels.count=24 'a.b=[c,d]' --out ~/runs/x"
    words = sandbox.smaller(printed)
    kept = shlex.split(printed)[1:]
    kept[kept.index("streams.labelled.labels.count=24")] = "streams.labelled.labels.count=2"
    kept[kept.index("~/runs/x")] = os.fspath(Path("/home/me/runs/x"))
    assert words[: len(kept)] == kept
    assert {text.split("=")[0] for text in words[len(kept) :]} <= {
        *("train.batch", "train.device", "train.threads", "train.steps", "size"),
    }
    assert sandbox.smaller("fathom select --resume selected --budget 100") == [
        "select",
        "--resume",
        "selected",
        "--budget",
        "8",
    ]
    assert sandbox.smaller("fathom evaluate runs/x --flip") == ["evaluate", "runs/x", "--flip"]
