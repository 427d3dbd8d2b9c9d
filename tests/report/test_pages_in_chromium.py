"""Every page a verb ends with, as Chromium shows it at two widths, dark and light: no errors, all pictures, nothing
clipped, no scrolling sideways, no label of a chart over another.

The pages come from the commands themselves on tiny runs; those of a study and of the demo, whose commands take
minutes, from the functions that render them.
FATHOM_SHOTS=folder keeps pictures of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.report.browser import WHY_NOT
from tests.report.looking import WIDTHS, look, look_at
from tests.report.pages import PAGES

pytestmark = [pytest.mark.slow, pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))]


@pytest.mark.parametrize("make", PAGES, ids=lambda make: make.__name__)
def test_a_page_shows_itself_whole(make: Callable[[Path], Path], tmp_path: Path) -> None:
    page = make(tmp_path)
    shots = os.environ.get("FATHOM_SHOTS")
    found = look(page.as_uri(), shots=None if shots is None else f"{shots}/{make.__name__}-{{}}.png")
    assert found.errors == []
    for seen_at in (found.widths, found.dark):
        for width in WIDTHS:
            seen = seen_at[width]
            assert width - 20 <= seen.visible <= width
            assert seen.needed <= seen.visible
            assert seen.bad == ()
            assert seen.pictures >= 4
            assert (seen.broken, seen.missing) == (0, 0)
            assert seen.letters > 300
    assert found.widths[400].paper != found.dark[400].paper


def test_what_is_wrong_with_a_page_is_seen(tmp_path: Path) -> None:
    page = (
        "<p style='width:700px'>wide</p><img src='data:image/png;base64,AAAA'>"
        "<p style='width:20px;height:20px;overflow:hidden'>clippedclippedclipped</p>"
        "<svg width=100 height=30><text x=5 y=20>under</text><text x=9 y=20>over</text></svg>"
        "<script src='https://nowhere.invalid/x.js'></script><script>console.error('first'); gone()</script>"
    )
    found = look_at(page, tmp_path, schemes=("light",))
    assert any("first" in error for error in found.errors)
    assert any("gone is not defined" in error for error in found.errors)
    assert found.widths[1280].needed <= 1280
    assert found.widths[400].needed >= 700
    assert (found.widths[400].broken, found.widths[400].pictures, found.widths[400].missing) == (1, 1, 1)
    bad = found.widths[400].bad
    assert any(text.startswith("beyond the page: wide") for text in bad)
    assert any(text.startswith("clipped: clipped") for text in bad)
    assert "over over: under" in bad
