"""What headless Chromium makes of a page at the width of a screen and of a telephone, its console included."""

from __future__ import annotations

import functools
import html
import os
import re
import subprocess
import threading
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.report.browser import CHROMIUM, FLAGS

WIDTHS = (1280, 400)
MEASURE = (
    "[...document.querySelectorAll('iframe')].map(f => { const d = f.contentDocument, e = d.documentElement; return"
    " [f.width, e.clientWidth, e.scrollWidth, [...d.images].filter(i => !i.complete || !i.naturalWidth).length,"
    " d.images.length, d.body.innerText.length,"
    " f.contentWindow.performance.getEntriesByType('resource')"
    ".filter(e => !e.responseStatus || e.responseStatus >= 400).length].join(' '); }).join(',')"
)


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
    missing: int
    """Files it asked for and did not get."""


@dataclass(frozen=True)
class Look:
    """What Chromium makes of a page."""

    widths: dict[int, Seen]
    errors: list[str]
    """What the console says: exceptions and messages of scripts."""


def look(address: str, folder: Path) -> Look:
    """Open a page that holds others in frames, since Chromium's own window has a smallest width."""
    flags = [*FLAGS, f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=4000"]
    done = subprocess.run(
        [str(CHROMIUM), *flags, "--dump-dom", address],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "HOME": str(folder)},
    )
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title, done.stderr[-2000:]
    rows = [[int(float(value)) for value in row.split()] for row in title[1].split(",")]
    assert [row[0] for row in rows] == list(WIDTHS), title[1]
    errors = re.findall(r":CONSOLE[:(]\d+\)?\] (.*)", done.stderr)
    return Look({width: Seen(*rest) for width, *rest in rows}, errors)


def in_frames(source: str) -> str:
    """A page of frames of each width; its title becomes what is measured once all are loaded."""
    style = 'height="900" style="border:0"'
    frames = "".join(f'<iframe width="{width}" {style} {source}></iframe>' for width in WIDTHS)
    return f"<title></title>{frames}<script>onload = () => {{ document.title = {MEASURE}; }}</script>"


def look_at(page: str, folder: Path) -> Look:
    """A page that needs no other file."""
    path = folder / "frames.html"
    path.write_text(in_frames(f'srcdoc="{html.escape(page)}"'), encoding="utf-8")
    return look(path.as_uri(), folder)


def look_at_site(site: Path, page: str, folder: Path) -> Look:
    """A page of a folder of pages, over HTTP as browsers want it."""
    (site / "frames.html").write_text(in_frames(f'src="{page}"'), encoding="utf-8")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = look(f"http://127.0.0.1:{server.server_port}/frames.html", folder)
        server.shutdown()
    return found
