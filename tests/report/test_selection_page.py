"""The page of a selection: its numbers against slow oracles, its size, and what a browser makes of it."""

from __future__ import annotations

import base64
import io
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import UInt8
from PIL import Image

from fathomseg.data.datasets.base import Dataset
from fathomseg.errors import DataError, FathomError, Problem
from fathomseg.report import selection_page
from fathomseg.report.selection_map import coverage, coverage_by_cells, curves, pool_map, principal_axes, project
from fathomseg.report.selection_page import render_selection
from fathomseg.report.thumbnails import thumbnail
from fathomseg.selection.result import Choice, Selection, Skipped
from fathomseg.types import ClassList
from tests.fakes import scene
from tests.report.browser import WHY_NOT, Tags, in_browser, layout

HOSTILE = "<script>alert(1)</script>"


class Noise(Dataset):
    """A pool of images that no JPEG makes small; those whose number is in `gone` cannot be read."""

    name: str = "noise"
    count: int = 40
    gone: tuple[int, ...] = ()
    height: int = 64

    @property
    def classes(self) -> ClassList:
        return ClassList(("a", "b"), ((1, 2, 3), (4, 5, 6)))

    @property
    def splits(self) -> tuple[str, ...]:
        return ("all",)

    def ids(self, split: str) -> list[str]:
        return [f"{HOSTILE}/{i:05d}" for i in range(self.count)]

    def image(self, id: str) -> UInt8[np.ndarray, "h w 3"]:
        number = int(id.rsplit("/", 1)[-1])
        if number in self.gone:
            raise DataError([Problem(id, "there is no such file")])
        if self.height != 64:
            return _noise(number % 7, self.height)
        return scene(number, (64, 128), 5)[0]


@cache
def _noise(seed: int, height: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, 2 * height, 3)).astype(np.uint8)


def features(count: int, width: int = 12, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    groups = rng.normal(0, 4, (5, width))[rng.integers(0, 5, count)]
    return (groups + rng.normal(0, 1, (count, width))).astype(np.float16)


def choose(rows: np.ndarray, first: int, count: int) -> list[int]:
    """Farthest first, by a slow loop."""
    rows, chosen = rows.astype(float), [first]
    while len(chosen) < count:
        distances = np.min([np.linalg.norm(rows - rows[i], axis=1) for i in chosen], axis=0)
        chosen.append(int(distances.argmax()))
    return chosen


def a_selection(
    data: Noise, rows: list[int], already: tuple[int, ...] = (), skipped: tuple[int, ...] = ()
) -> Selection:
    ids = data.ids("all")
    chosen = tuple(
        Choice(
            id=ids[row],
            rank=rank,
            scores={"diversity": 10 / rank, f"e{HOSTILE}": 0.25},
            distance=10 / rank,
            nearest=ids[rows[0]] if rank > 1 else ids[already[0]] if already else None,
            part=(0.5, 0.25, 0.75, 0.375) if rank == 2 else None,
            reason=f"the image {HOSTILE} least like {rank} others",
        )
        for rank, row in enumerate(rows, start=1)
    )
    return Selection(
        dataset="noise",
        split="all",
        pool_size=data.count - len(skipped),
        pool_hash="cafe",
        criterion={"name": "diversity", "features": {"cells": [4, 8]}},
        features={"name": "encoder", "model": HOSTILE},
        seed=3,
        already=tuple(ids[i] for i in already),
        chosen=chosen,
        skipped=tuple(Skipped(id=ids[i], reason="is empty") for i in skipped),
        origin={"date": "2026-01-02", "command": ["fathom", "select", HOSTILE], "gpu": None},
    )


def near_half(id: str) -> np.ndarray:
    """Disparity of a slope, not known at the top."""
    found = np.linspace(0, 1, 32, dtype=np.float32)[:, None].repeat(64, 1)
    found[:4] = np.nan
    return found


@pytest.fixture(scope="module")
def page() -> str:
    data = Noise()
    rows = features(40)
    chosen = choose(rows, 5, 9)
    already = tuple(sorted(set(range(6)) - set(chosen)))[:2]
    return render_selection(a_selection(data, chosen, already), data, rows, near_half)


def test_the_part_that_is_new_is_framed(page: str) -> None:
    assert page.count('<i class="part"') == 1
    assert 'style="top:50.0%;left:25.0%;height:25.0%;width:12.5%"' in page


def slow_coverage(rows: np.ndarray, taken: list[int], order: list[int]) -> tuple[list[float], list[float]]:
    rows = rows.astype(np.float64)
    largest, mean = [], []
    for k in range(len(order) + 1):
        centres = [*taken, *order[:k]]
        nearest = [min((np.linalg.norm(row - rows[c]) for c in centres), default=np.nan) for row in rows]
        largest.append(max(nearest))
        mean.append(float(np.mean(nearest)))
    return largest, mean


@pytest.mark.parametrize("taken", [[], [3, 11]])
@pytest.mark.parametrize("offset", [0.0, 500.0])
def test_coverage_is_that_of_a_slow_loop(taken: list[int], offset: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fathomseg.report.selection_map._NUMBERS", 100)  # several chunks of rows
    rows = features(37).astype(np.float32) + np.float32(offset)
    order = [i for i in choose(rows, 20, 12) if i not in taken]
    found = coverage(rows, taken, order)
    largest, mean = slow_coverage(rows, taken, order)
    np.testing.assert_allclose(found.largest, largest, atol=1e-3, rtol=1e-4)
    np.testing.assert_allclose(found.mean, mean, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("taken", [[], [3, 11]])
def test_coverage_by_cells_is_that_of_a_slow_loop(taken: list[int]) -> None:
    rows, order = features(23, 12).astype(np.float32), [7, 1, 15]
    cells = rows.astype(np.float64).reshape(23, 3, 4).transpose(0, 2, 1)  # 4 cells of 3 channels
    found = coverage_by_cells(rows, 4, taken, order)
    for k in range(4):
        others = [cell for row in [*taken, *order[:k]] for cell in cells[row]]
        nearest = [min((np.linalg.norm(cell - o) for o in others), default=np.nan) for row in cells for cell in row]
        np.testing.assert_allclose(found.largest[k], max(nearest), rtol=1e-3)
        np.testing.assert_allclose(found.mean[k], np.mean(nearest), rtol=1e-3)


def test_a_page_measures_what_the_criterion_compares(page: str) -> None:
    data, rows = Noise(), features(40)
    criterion = {"name": "diversity", "compare": "cells", "features": {"grid": [2, 2]}}
    text = render_selection(a_selection(data, [5, 7]).model_copy(update={"criterion": criterion}), data, rows)
    assert "How far the 4 cells of the images of the pool are from the nearest cell of a labelled one" in text
    assert "compared as wholes" in page
    assert "compared as wholes" not in text


def test_coverage_ends_at_exactly_nothing() -> None:
    rows = features(30)
    found = coverage(rows, [0], list(range(1, 30)))
    assert found.largest[-1] == found.mean[-1] == 0
    assert (np.diff(found.largest) <= 0).all()
    assert found.mean[-2] > 0


def test_axes_are_those_of_the_covariance() -> None:
    rows = features(200, 30, seed=4)
    exact = rows.astype(np.float64)
    sizes, vectors = np.linalg.eigh(np.cov(exact.T))
    assert sizes[-2] / sizes[-3] > 1.1  # or the second would not be one direction
    axes, share = principal_axes(rows)
    assert share == pytest.approx(sizes[-2:].sum() / sizes.sum(), rel=1e-4)
    np.testing.assert_array_equal(principal_axes(rows)[0], axes)
    np.testing.assert_allclose(np.abs((axes * vectors[:, [-1, -2]]).sum(0)), 1, atol=1e-4)
    spread = project(rows, axes, np.arange(200)).astype(np.float64).var(axis=0, ddof=1)
    np.testing.assert_allclose(spread, sizes[[-1, -2]], rtol=1e-3)


@pytest.mark.parametrize(("count", "width"), [(1, 5), (2, 5), (7, 1), (9, 2)])
def test_small_and_flat_pools_have_a_map(count: int, width: int) -> None:
    for rows in (features(count, width), np.ones((count, width), np.float32)):
        found = pool_map(rows, [0], [])
        numbers = [value for point in (*found.chosen, *found.places) for value in point]
        assert np.isfinite(numbers).all()
        assert all(0 <= x <= found.width and 0 <= y <= found.height for x, y in (*found.chosen, *found.places))
        assert 0 <= found.share <= 1
        largest, mean = curves(rows, [0], [], seed=0)
        assert np.isfinite([largest.chosen[-1], mean.chosen[-1], largest.random[-1]]).all()
        assert largest.picture.startswith("<svg")


def test_the_map_keeps_neighbours_together_and_both_directions_on_one_scale() -> None:
    plane = np.array([[0, 0], [100, 0], [100, 10], [0, 10], [50, 5]], np.float64)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0][:2]
    found = pool_map((plane @ turn).astype(np.float32), [0, 2], [1])
    (zero, two), (one,), (three, four) = found.chosen, found.taken, found.places
    assert found.rows == [3, 4]
    assert found.share == pytest.approx(1, abs=1e-5)
    assert np.hypot(*np.subtract(zero, one)) / np.hypot(*np.subtract(two, one)) == pytest.approx(10, rel=0.01)
    np.testing.assert_allclose(np.mean([zero, two, one, three], axis=0), four, atol=0.2)


def test_dots_are_limited_and_evenly_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fathomseg.report.selection_map._DOTS", 10)
    found = pool_map(features(101), [50], [])
    assert found.rows == [0, 11, 22, 33, 44, 56, 67, 78, 89, 100] or len(set(np.diff(found.rows))) <= 2
    assert len(found.rows) == 10
    assert found.dots.count("M") == 10
    assert 50 not in found.rows


def test_curves_are_drawn_to_scale() -> None:
    rows = features(60, seed=2)
    order = choose(rows, 7, 20)
    largest, mean = curves(rows, order, [], seed=1)
    for curve, values in zip((largest, mean), slow_coverage(rows, [], order), strict=True):
        np.testing.assert_allclose(curve.chosen[1:], values[1:], rtol=1e-3)
        assert "images chosen" in curve.picture
        (line,) = re.findall(r'<path d="([^"]*)"[^>]*style="[^"]*rgb\(var\(--accent\)\)', curve.picture)
        points = np.array(re.findall(r"[ML] (\S+) (\S+)", line), float)
        down, wanted = points[:, 1] - points[0, 1], np.array(values[1:]) - values[1]
        np.testing.assert_allclose(down / down[-1], wanted / wanted[-1], atol=0.01)
    assert largest.chosen[-1] < largest.random[-1]  # farthest first is for this


def test_thumbnails_keep_their_limit() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (600, 1200, 3)).astype(np.uint8)
    sizes = {}
    for limit in (100_000, 20_000, 5_000, 1_000):
        text = thumbnail(picture, limit)
        assert len(text) <= limit
        sizes[limit] = Image.open(io.BytesIO(base64.b64decode(text.split(",")[1]))).size
    assert sizes[100_000] == (400, 200)
    assert sizes[100_000][0] > sizes[20_000][0] > sizes[5_000][0] > sizes[1_000][0]
    small = thumbnail(picture[:5, :9], 100_000)
    assert Image.open(io.BytesIO(base64.b64decode(small.split(",")[1]))).size == (9, 5)
    tall = Image.open(io.BytesIO(base64.b64decode(thumbnail(picture[:, :60], 100_000).split(",")[1])))
    assert tall.size == (12, 120)


def test_it_is_well_formed_and_needs_nothing_from_outside(page: str) -> None:
    tags = Tags(page)
    assert tags.open == []
    for tag, attributes in tags.found:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        assert (attributes.get("src") or "data:image/").startswith("data:image/")
        assert (attributes.get("href") or "#pick-1").startswith("#pick-")
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"https?://|url\((?!#)|@import", page)
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 30


def test_images_come_in_order_with_depth_and_reason(page: str) -> None:
    cards = re.findall(r'<figure id="pick-(\d+)">(.*?)</figure>', page, flags=re.S)
    assert [int(rank) for rank, _ in cards] == list(range(1, 10))
    data, rows = Noise(), features(40)
    for (_, text), row in zip(cards, choose(rows, 5, 9), strict=True):
        image, depth = (
            np.asarray(Image.open(io.BytesIO(base64.b64decode(uri)))).astype(int)
            for uri in re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)
        )
        wanted = data.image(data.ids("all")[row]).astype(int)
        assert np.abs(image - wanted).mean() < 12
        assert depth.shape == (32, 64, 3)
        assert depth[:3].max() < 40  # not known
        assert depth[-1, :, 0].mean() > depth[-1, :, 2].mean()  # near is warm
        assert f"/{row:05d}" in text
    assert "least like 4 others" in cards[3][1]
    assert 'distance 2.5 to <a href="#pick-1">1</a>' in cards[3][1]
    assert "diversity 2.5" in cards[3][1]
    assert re.search(r"distance 10 to &lt;script", cards[0][1])


def test_the_map_marks_what_was_chosen_and_what_was_labelled(page: str) -> None:
    circles = [attributes for tag, attributes in Tags(page).found if tag == "circle"]
    kinds = [str(one["class"]).split()[0] for one in circles]
    assert (kinds.count("chosen"), kinds.count("taken"), kinds.count("seen")) == (9, 2, 29)
    assert [one["data-card"] for one in circles if "data-card" in one] == [str(i) for i in range(9, 0, -1)]
    rows = features(40)
    where = {one["data-text"]: (float(one["cx"] or 0), float(one["cy"] or 0)) for one in circles if "data-text" in one}
    places = pool_map(rows, choose(rows, 5, 9), [0, 1])
    assert sorted(where.values()) == sorted(places.places)
    assert "40 images in the pool" in page
    assert "· 2 of them labelled before" in page


def test_settings_and_origin(page: str) -> None:
    text = re.sub(r"<[^>]+>", "", page)
    for part in ("name diversity · features.cells [4, 8]", "model &lt;script", "cafe", "2026-01-02", "fathom select"):
        assert part in text


def test_without_features_or_depth() -> None:
    data = Noise(count=5)
    text = render_selection(a_selection(data, [3]), data, None)
    assert Tags(text).open == []
    assert "<h1>1 image to label</h1>" in text
    assert "<svg" not in text
    assert "<script" not in text
    assert text.count("<img") == 1


def test_skipped_images_are_no_rows_and_images_that_have_gone_are_passed_over() -> None:
    data = Noise(count=12, gone=(2, 7))
    chosen = a_selection(data, [0, 4, 11], skipped=(2,))
    text = render_selection(chosen, data, features(11))
    assert "1 more could not be read" in text
    assert text.count('class="seen"') == 7  # 12 without 3 chosen, the skipped one and the one that has gone
    with pytest.raises(FathomError, match="features of 12 images, but the pool has 11"):
        render_selection(chosen, data, features(12))
    with pytest.raises(FathomError, match="2 images of the selection are not in the pool"):
        render_selection(chosen, data, features(2), pool=[data.ids("all")[0], data.ids("all")[1]])


def test_many_choices_are_listed_without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection_page, "_CARDS", 3)
    monkeypatch.setattr(selection_page, "_LISTED", 4)
    data = Noise(count=12)
    text = render_selection(a_selection(data, list(range(9))), data, features(12))
    assert text.count('<figure id="pick-') == 3
    assert "6 further images, without pictures" in text
    assert re.findall(r'<tr><td class="n">(\d+)', text) == ["4", "5", "6", "7"]
    assert "And 2 more: see selection.json" in text


@pytest.mark.slow
def test_the_page_of_a_large_pool_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection_page, "_CARDS", 60)  # as many bytes in larger pictures, in less time
    data = Noise(count=10_000, height=300)
    rows = features(10_000)
    chosen = list(range(0, 7_500, 15))
    half = _noise(1, 200)[..., 0] / np.float32(255)
    text = render_selection(a_selection(data, chosen), data, rows, lambda id: half)
    assert 3e6 < len(text.encode()) < 10e6
    assert text.count("h0M") == 9_499


# --- in a browser ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
@pytest.mark.parametrize("width", [400, 1280])
def test_it_fits_telephone_and_screen_and_pictures_load(page: str, tmp_path: Path, width: int) -> None:
    visible, needed, broken, pictures = layout(page, tmp_path, width)
    assert width - 20 <= visible <= width
    assert needed <= visible
    assert (broken, pictures) == (0, 20)


@pytest.mark.slow
@pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
def test_pointing_at_the_map_shows_the_nearest_image(page: str, tmp_path: Path) -> None:
    point = (
        "(mark => { const b = mark.getBoundingClientRect(); d.getElementById('map').dispatchEvent(new"
        " d.defaultView.PointerEvent('pointermove', {clientX: b.x + b.width / 2, clientY: b.y + b.height / 2}));"
        " const text = d.getElementById('shown').textContent, src = d.querySelector('#shown img').src;"
        " const card = d.getElementById('pick-' + mark.dataset.card);"
        " return [text.includes(mark.dataset.text || card.querySelector('figcaption span').textContent),"
        " src === (mark.dataset.image || card.querySelector('img').src),"
        " d.getElementById('lit').getAttribute('cx') === mark.getAttribute('cx')].join(' '); })"
    )
    every = f"[...d.querySelectorAll('#map circle[data-card], #map circle[data-image]')].map({point})"
    found = in_browser(page, tmp_path, f"d.getElementById('shown').textContent.slice(0, 1) + {every}.join(' ')", 1280)
    assert found[0] == "1"  # the first image, before anything is pointed at
    answers = found[1:].split()
    assert len(answers) == 3 * 38
    assert answers.count("true") >= 3 * 38 - 3  # where two marks lie on one another, either may be shown
