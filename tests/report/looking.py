"""What Chromium makes of a page at the width of a screen and of a telephone, dark and light, its console included."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

from tests.report.browser import browser

WIDTHS = (1280, 400)
Scheme = Literal["light", "dark"]

MEASURE = """() => {
  document.querySelectorAll("details").forEach(one => one.open = true);
  const e = document.documentElement, bad = [];
  const say = (what, el) => bad.push(what + ": " + el.textContent.trim().slice(0, 60));
  const scrolls = el => { for (let p = el; p && p !== document.body; p = p.parentElement)
    if (["auto", "scroll"].includes(getComputedStyle(p).overflowX)) return true; return false; };
  const texts = el => [...el.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  for (const el of document.body.querySelectorAll("*")) {
    if (el.closest("svg, script, style") || !texts(el)) continue;
    const style = getComputedStyle(el), box = el.getBoundingClientRect();
    if (!box.width || !box.height) continue;
    if (["hidden", "clip"].includes(style.overflowX) && el.scrollWidth > el.clientWidth + 1) say("clipped", el);
    if (["hidden", "clip"].includes(style.overflowY) && el.scrollHeight > el.clientHeight + 1) say("clipped", el);
    if ((box.right > e.clientWidth + 1 || box.left < -1) && !scrolls(el)) say("beyond the page", el);
  }
  for (const svg of document.querySelectorAll("svg:not(#map)")) {
    const frame = svg.getBoundingClientRect();
    const boxes = [...svg.querySelectorAll("text")].filter(t => t.textContent.trim())
      .map(t => [t, t.getBoundingClientRect()]).filter(([, b]) => b.width);
    boxes.forEach(([t, b], i) => {
      if (b.left < frame.left - 2 || b.right > frame.right + 2 || b.top < frame.top - 2 || b.bottom > frame.bottom + 2)
        say("outside its chart", t);
      for (const [other, o] of boxes.slice(i + 1))
        if (Math.min(b.right, o.right) - Math.max(b.left, o.left) > 2
            && Math.min(b.bottom, o.bottom) - Math.max(b.top, o.top) > 3) say("over " + other.textContent.trim(), t);
    });
  }
  return {visible: e.clientWidth, needed: e.scrollWidth, pictures: document.images.length, bad,
    broken: [...document.images].filter(i => !i.complete || !i.naturalWidth).length,
    letters: document.body.innerText.length, paper: getComputedStyle(document.body).backgroundColor};
}"""


@dataclass(frozen=True)
class Seen:
    """What a page is like at one width."""

    visible: int
    """Pixels a reader has."""
    needed: int
    """Pixels the page takes."""
    broken: int
    """Pictures that did not load."""
    pictures: int
    letters: int
    paper: str
    """The colour of the page."""
    bad: tuple[str, ...]
    """Texts that are clipped, beyond the page, or over one another in a chart."""
    missing: int = 0
    """Files it asked for and did not get."""


@dataclass(frozen=True)
class Look:
    """What Chromium makes of a page."""

    widths: dict[int, Seen]
    dark: dict[int, Seen] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    """What the console says: exceptions and messages of scripts."""


def look(address: str, schemes: Sequence[Scheme] = ("light", "dark"), shots: str | None = None) -> Look:
    """Open a page at every width in these colour schemes; `shots`: where pictures of it go, `{}` stands for which."""
    found: dict[Scheme, dict[int, Seen]] = {"light": {}, "dark": {}}
    errors: list[str] = []
    for scheme in schemes:
        for width in WIDTHS:
            context = browser().new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            try:
                found[scheme][width] = _seen(context.new_page(), address, errors)
                if shots is not None:
                    context.pages[0].screenshot(path=shots.format(f"{scheme}-{width}"), full_page=True)
            finally:
                context.close()
    return Look(found["light"], found["dark"], errors)


def _seen(page: Any, address: str, errors: list[str]) -> Seen:
    """One page at one width; adds what its console says to `errors`."""
    missing: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("requestfailed", lambda request: missing.append(request.url))
    page.on("response", lambda answer: missing.append(answer.url) if answer.status >= 400 else None)
    page.goto(address, wait_until="load")
    measured = page.evaluate(MEASURE)
    measured["bad"] = tuple(measured["bad"])
    return Seen(**measured, missing=len(missing))


def look_at(page: str, folder: Path, **options: Any) -> Look:
    """A page that needs no other file."""
    path = folder / "looked-at.html"
    path.write_text(page, encoding="utf-8")
    return look(path.as_uri(), **options)


def look_at_site(site: Path, page: str, folder: Path) -> Look:
    """A page of a folder of pages, over HTTP as browsers want it."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = look(f"http://127.0.0.1:{server.server_port}/{page}", ("light",))
        server.shutdown()
    return found
