"""The site builds without a warning, reads without the internet, and fits telephone and screen."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown import DOCS, ROOT
from tests.report.browser import WHY_NOT
from tests.report.looking import look_at_site

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("mkdocs", "material", "mkdocstrings")),
        reason="the extra `docs` is not installed: pip install '.[docs]'",
    ),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def test_every_page_is_there_with_what_it_links_outside(site: Path) -> None:
    for page in DOCS.rglob("*.md"):
        assert (site / page.relative_to(DOCS).with_suffix(".html")).is_file()
    shown = (site / "repository" / "recipes" / "camvid.yaml.txt").read_text(encoding="utf-8")
    assert shown == (ROOT / "recipes" / "camvid.yaml").read_text(encoding="utf-8")
    assert "repository/recipes/camvid.yaml.txt" in (site / "recipes.html").read_text(encoding="utf-8")


def test_api_pages_are_made_from_docstrings(site: Path) -> None:
    page = re.sub(r"<[^>]+>", "", (site / "api" / "types.html").read_text(encoding="utf-8"))
    assert "A pinhole camera for images of height x width pixels" in page
    assert "Normalised disparity 0..1, 1 = nearest" in page


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    source = r"""<(?:script|img|iframe)\b[^>]*\ssrc="?(https?:)?//"""
    style = r"""<link\b[^>]*stylesheet[^>]*href="?(https?:)?//"""
    fetched = re.compile(f"{source}|{style}")
    for page in site.rglob("*.html"):
        assert not fetched.search(page.read_text(encoding="utf-8")), page.name


@pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
@pytest.mark.parametrize("page", ["index.html", "recipes.html", "extend/mixing.html", "api/types.html", "streets.html"])
def test_pages_fit_and_load(site: Path, page: str, tmp_path: Path) -> None:
    found = look_at_site(site, page, tmp_path)
    assert found.errors == []
    for width, seen in found.widths.items():
        assert seen.needed <= seen.visible <= width
        assert (seen.broken, seen.missing) == (0, 0)
