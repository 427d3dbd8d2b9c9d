"""Looking at a page: its tags, and Debian's Chromium driven by Playwright."""

from __future__ import annotations

import atexit
import importlib.util
import shutil
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WHY_NOT = (
    "no Chromium to show the pages in (apt-get install chromium)"
    if CHROMIUM is None
    else None
    if importlib.util.find_spec("playwright")
    else "no playwright to drive Chromium (pip install '.[dev]')"
)
"""The reason why no page can be shown; None where one can."""
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


@cache
def browser() -> Any:
    """One browser for all tests of a process, with a profile of its own."""
    from playwright.sync_api import sync_playwright

    driver = sync_playwright().start()
    found = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
    atexit.register(driver.stop)
    atexit.register(found.close)
    return found


def in_browser(page: str, folder: Path, expression: str, width: int) -> str:
    """The value of a JavaScript expression about the document `d`, shown `width` pixels wide."""
    path = folder / "page.html"
    path.write_text(page, encoding="utf-8")
    context = browser().new_context(viewport={"width": width, "height": 900})
    try:
        shown = context.new_page()
        shown.goto(path.as_uri(), wait_until="load")
        return str(shown.evaluate(f"() => {{ const d = document; return {expression}; }}"))
    finally:
        context.close()


def layout(page: str, folder: Path, width: int) -> tuple[int, ...]:
    """Of the page shown `width` pixels wide: width seen, width needed, pictures that did not load, all pictures."""
    expression = (
        "[d.documentElement.clientWidth, d.documentElement.scrollWidth,"
        " [...d.images].filter(i => !i.complete || !i.naturalWidth).length, d.images.length].join(' ')"
    )
    return tuple(int(value) for value in in_browser(page, folder, expression, width).split())
