"""Looking at a page: its tags, and what headless Chromium makes of it."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Tags(HTMLParser):
    """Start tags with their attributes, and a check that they are closed in order."""

    VOID = frozenset({"meta", "img", "br", "line", "rect", "circle", "polyline"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def in_browser(page: str, folder: Path, expression: str, width: int) -> str:
    """The value of a JavaScript expression about the document `d`, shown `width` pixels wide.

    It is shown in a frame, because Chromium's own window has a smallest width.
    """
    path = folder / "frame.html"
    path.write_text(
        f'<title></title><iframe width="{width}" height="900" style="border:0" srcdoc="{html.escape(page)}"></iframe>'
        "<script>document.querySelector('iframe').onload = event => {"
        f"const d = event.target.contentDocument; document.title = {expression}; }}</script>",
        encoding="utf-8",
    )
    profile = f"--user-data-dir={folder / 'profile'}"
    done = subprocess.run(
        [str(CHROMIUM), *FLAGS, profile, "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "HOME": str(folder)},
    )
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title, done.stderr[-2000:]
    return title[1]


def layout(page: str, folder: Path, width: int) -> tuple[int, ...]:
    """Of the page shown `width` pixels wide: width seen, width needed, pictures that did not load, all pictures."""
    expression = (
        "[d.documentElement.clientWidth, d.documentElement.scrollWidth,"
        " [...d.images].filter(i => !i.complete || !i.naturalWidth).length, d.images.length].join(' ')"
    )
    return tuple(int(value) for value in in_browser(page, folder, expression, width).split())
