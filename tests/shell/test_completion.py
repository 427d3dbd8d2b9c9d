"""What <TAB> offers, as the shells ask for it, and how long that takes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fathomseg.cli import app

ROOT = Path(__file__).resolve().parents[2]


def asked(line: str) -> dict[str, str]:
    """What bash tells the program at the end of a line, which it has split into words."""
    words = line.replace("=", " = ").split(" ")
    words = [word for i, word in enumerate(words) if word or i == len(words) - 1]
    if line.endswith("="):
        words.pop()
    return {
        "_FATHOM_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }


OWN_DATA = ("adapt-streets", "depth", "depth-supervised", "joint", "self-training", "semi-supervised", "sensor-depth")
OWN_DATA += ("unimatch-v2",)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("fathom rec", ["recipes"]),
        ("fathom train --res", ["--resume"]),
        ("fathom train own-d", ["own-data", *(f"own-data/{name}" for name in OWN_DATA)]),
        ("fathom pretrain depth-kit", ["depth-kitti", "depth-kitti-streets"]),
        ("fathom select select-own", ["select-own-images"]),
        ("fathom study studies/idd", ["studies/idd-lite"]),
        ("fathom train own-data data.ro", ["data.root=", "data.root=mydata"]),
        ("fathom train streets data.val", ["data.val_clips=", "data.val_clips=NUMBER"]),
        ("fathom train streets evaluation.inference.mode=", ["whole", "slide", "tiles"]),
        ("fathom train streets evaluation.inference.mode=s", ["slide"]),
        ("fathom train streets streams.labelled.labels.co", ["streams.labelled.labels.count=",
                                                            "streams.labelled.labels.count=12"]),
        ("fathom train camvid/depthmix objectives.pseudo_labels.mixing.na",
         ["objectives.pseudo_labels.mixing.name="]),
        ("fathom select select-streets budg", ["budget=", "budget=50"]),
        ("fathom check data.endl", []),
        ("fathom check streets data.endl", ["data.endless=", "data.endless=true", "data.endless=false"]),
        ("fathom predict runs/x photos data.", []),
        ("fathom evaluate runs/x evaluation.inference.fl",
         ["evaluation.inference.flip=", "evaluation.inference.flip=true", "evaluation.inference.flip=false"]),
    ],
)  # fmt: skip
def test_offers(line: str, offered: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(app, env=asked(line), prog_name="fathom").stdout.split()
    if line.endswith("mixing.na"):
        assert {f"{offered[0]}{rule}" for rule in ("classmix", "cutmix", "depthmix")} <= set(found)
    else:
        assert found == offered


def test_an_offer_takes_half_a_second_and_no_pytorch(tmp_path: Path) -> None:
    code = "import sys; sys.argv[0] = 'fathom'; from fathomseg.cli import main; main()"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **asked("fathom train camvid/depthmix objectives.pseudo")}
    seconds: list[float] = []
    while len(seconds) < 3 and min(seconds, default=99.0) > 0.5:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=env)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert "objectives.pseudo_labels.weight=" in done.stdout.split(), done.stderr
    assert min(seconds) <= 0.5
