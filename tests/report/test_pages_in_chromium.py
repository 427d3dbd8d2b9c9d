"""Every HTML page a command writes, as Chromium shows it: no errors, all pictures, no scrolling sideways.

The pages come from the commands themselves on tiny runs, not from the functions that render them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fathomseg.cli import app
from fathomseg.data.datasets import CamVid, Streets
from tests import fakes
from tests.report.browser import CHROMIUM
from tests.report.looking import look_at
from tests.stages.saved_joint_run import save_joint_run

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to show the pages in")


STREETS = Streets(size=(32, 64), train_clips=1, val_clips=1, frames=6)


def command(*words: str) -> None:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, (words, done.output, done.exception)


def labels(folder: Path) -> Path:
    data = CamVid(root=fakes.make_camvid(folder / "data", size=(48, 64)))
    return evaluated(save_joint_run(folder / "run", data, ["segmentation"], (24, 32), pose=False))


def depth(folder: Path) -> Path:
    return evaluated(save_joint_run(folder / "run", STREETS, ["depth"]))


def joint(folder: Path) -> Path:
    return evaluated(save_joint_run(folder / "run", STREETS))


def evaluated(run: Path) -> Path:
    command("evaluate", str(run))
    return run / "evaluation" / "val" / "report.html"


def selection(folder: Path) -> Path:
    recipe = fakes.write_yaml(
        folder / "select.yaml",
        {
            "data": {"name": "camvid", "root": str(fakes.make_camvid(folder / "data", train=9, size=(48, 64)))},
            "size": [48, 64],
            "criterion": {
                "name": "diversity",
                "features": {"name": "encoder", "encoder": {"model": "test_efficientnet", "pretrained": "none"}},
            },
            "budget": 4,
            "device": "cpu",
        },
    )
    command("select", str(recipe), "--out", str(folder / "selected"))
    return folder / "selected" / "selection.html"


@pytest.mark.parametrize("make", [labels, depth, joint, selection], ids=lambda make: make.__name__)
def test_a_page_shows_itself_whole(make: Callable[[Path], Path], tmp_path: Path) -> None:
    found = look_at(make(tmp_path).read_text(encoding="utf-8"), tmp_path)
    assert found.errors == []
    for width, seen in found.widths.items():
        assert width - 20 <= seen.visible <= width
        assert seen.needed <= seen.visible
        assert seen.pictures >= 4
        assert (seen.broken, seen.missing) == (0, 0)
        assert seen.letters > 300


def test_what_is_wrong_with_a_page_is_seen(tmp_path: Path) -> None:
    page = (
        "<p style='width:700px'>wide</p><img src='data:image/png;base64,AAAA'>"
        "<script src='https://nowhere.invalid/x.js'></script><script>console.error('first'); gone()</script>"
    )
    found = look_at(page, tmp_path)
    assert any("first" in error for error in found.errors)
    assert any("gone is not defined" in error for error in found.errors)
    assert found.widths[1280].needed <= 1280
    assert found.widths[400].needed >= 700
    assert (found.widths[400].broken, found.widths[400].pictures, found.widths[400].missing) == (1, 1, 1)
