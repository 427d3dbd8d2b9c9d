"""The page of a demo: its numbers, its pictures, that it needs nothing else, and that its commands work."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fathomseg.demo.folder import Result
from fathomseg.demo.pictures import Pictures, Strip
from fathomseg.demo.plan import ROWS, plan
from fathomseg.report.demo_page import OWN_DATA, DemoPage, Tiles, render
from fathomseg.study.folder import Spent
from fathomseg.types import ClassList
from tests.report.browser import WHY_NOT, Tags, in_browser

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "<script>alert(1)</script>"
CLASSES = ClassList(("road", f"car{HOSTILE}", "truck"), ((1, 2, 3), (250, 20, 30), (9, 9, 9)))
IOUS = [(0.5, 0.1), (0.625, 0.15), (0.7, 0.05), (0.75, 0.3)]


def picture(level: int) -> np.ndarray:
    made = np.full((32, 64, 3), level, np.uint8)
    made[:, :level] = 255 - level
    return made


def strip(title: str, count: int, first: int) -> Strip:
    return Strip(title, tuple((f"{title} {i}", picture(first + i)) for i in range(count)))


def scores(road: float, car: float) -> dict[str, Any]:
    ious = (road, car, None)
    return {
        "miou": (road + car) / 2,
        "images": 77,
        "classes_present": 2,
        "classes": [{"name": name, "iou": iou} for name, iou in zip(CLASSES.names, ious, strict=True)],
    }


def a_page() -> DemoPage:
    first = sum(IOUS[0]) / 2
    rows = [
        Result(row, own := scores(*ious), own["miou"] - first, Spent(1.5, 1.25))
        for row, ious in zip(ROWS, IOUS, strict=True)
    ]
    pictures = Pictures(
        depth=(strip("depth one", 3, 0), strip("depth two", 3, 3)),
        chosen=strip("chosen", 12, 6),
        random=strip("random", 12, 18),
        mix=strip("mix", 9, 30),
        predictions=(strip(HOSTILE, 6, 39), strip("street", 6, 45)),
    )
    tasks = [(task, Spent(2.0, 1.5)) for task in plan(10)]
    origin = {"date": "2026-01-02", "command": ["fathom", "demo", HOSTILE], "gpu": None}
    return DemoPage(rows, tasks, pictures, CLASSES, 0.1875, {"minutes": 10.0, "seed": 7}, origin)


@pytest.fixture(scope="module")
def text() -> str:
    return render(a_page())


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text.partition("</style>")[2]))


def test_it_is_well_formed_and_needs_nothing_from_outside(text: str) -> None:
    tags = Tags(text)
    assert tags.open == []
    for tag, attributes in tags.found:
        assert tag not in {"link", "iframe", "object", "embed", "base", "script", "a"}
        assert (attributes.get("src") or "data:image/").startswith("data:image/")
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"https?://|url\(|@import", text)
    assert HOSTILE not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 4


def test_rows_scores_and_gains(text: str) -> None:
    words = plain(text)
    # mIoU of the rows: 30, 38.75, 37.5, 52.5
    for row, score, gain in zip(
        ROWS, ("30.0", "38.8", "37.5", "52.5"), ("baseline", "+8.8", "+7.5", "+22.5"), strict=True
    ):
        assert f"{row.title} {score} % {gain} {row.what}" in words
    assert "77 images" in words
    assert "0.188 AbsRel" in words
    assert "minutes 10.0 · seed 7" in words
    bars = [(float(a), float(b)) for a, b in re.findall(r'<i style="left:([\d.]+)%;width:([\d.]+)%', text)]
    assert [left for left, _ in bars] == [4.0] * 3  # where the baseline is
    assert [width for _, width in bars] == pytest.approx(
        [100 / 1.08 * gain / 22.5 for gain in (8.75, 7.5, 22.5)], abs=0.1
    )


def test_a_row_below_the_baseline_has_its_bar_on_the_other_side() -> None:
    page = a_page()
    worse = replace(page.rows[1], gain=-0.2)
    text = render(replace(page, rows=[page.rows[0], worse, *page.rows[2:]]))
    (left, width) = map(float, re.findall(r'<i class="down" style="left:([\d.]+)%;width:([\d.]+)%', text)[0])
    (zero,) = set(re.findall(r'<u style="left:([\d.]+)%', text))
    assert left == pytest.approx(4 / 1, abs=0.1)
    assert left + width == pytest.approx(float(zero), abs=0.2)


def test_tiles_say_what_the_criterion_measures() -> None:
    tiles = Tiles([None, *np.arange(1.5, 12.5)], 7.25), Tiles([None, *np.arange(0.5, 11.5)], 9.75)
    words = plain(render(replace(a_page(), tiles=tiles)))
    assert "chosen, in their order: the pool is within 7.2" in words
    assert "random: the pool is within 9.8" in words
    assert "new by 1.5 chosen 1" in words
    assert words.count("new by") == 22


def test_classes_with_their_gain(text: str) -> None:
    words = plain(text)
    assert "road 50.0 62.5 70.0 75.0 +25.0" in words
    assert "alert(1)&lt;/script&gt; 10.0 15.0 5.0 30.0 +20.0" in words
    assert "truck – – – – –" in words
    assert "mean 30.0 38.8 37.5 52.5 +22.5" in words
    assert "#fa141e" in text


def test_every_picture_is_there_in_order(text: str) -> None:
    found = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(code))))
        for code in re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)
    ]
    order = [*range(39, 51), *range(6), *range(6, 18), *range(18, 30), *range(30, 39)]
    assert len(found) == len(order)
    for shown, level in zip(found, order, strict=True):
        assert np.abs(shown.astype(int) - picture(level)).mean() < 10
        assert abs(int(np.median(shown[:, 56:])) - level) <= 3
    alts = [attributes["alt"] for tag, attributes in Tags(text).found if tag == "img"]
    assert len(set(alts)) == len(alts)


def test_costs_and_commands(text: str) -> None:
    words = plain(text)
    for task, _ in a_page().tasks:
        assert f"{task.title} {task.steps or '–'} 2.0 1.5 fathom {' '.join(task.command)}" in words
    assert "together 14.0 10.5" in words
    for line in OWN_DATA.splitlines():
        assert line.strip() in text
    assert "gpu" not in words


@pytest.mark.slow
@pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
@pytest.mark.parametrize("width", [400, 1280])
def test_it_fits_telephone_and_screen_and_pictures_load(text: str, tmp_path: Path, width: int) -> None:
    expression = (
        "[d.documentElement.clientWidth, d.documentElement.scrollWidth,"
        " [...d.images].filter(i => !i.complete || !i.naturalWidth).length, d.images.length,"
        " Math.min(...[...d.images].map(i => i.clientWidth))].map(Math.round).join(' ')"
    )
    visible, needed, broken, pictures, smallest = map(int, in_browser(text, tmp_path, expression, width).split())
    assert width - 20 <= visible <= width
    assert needed <= visible
    assert (broken, pictures) == (0, 52)
    assert smallest > 90
