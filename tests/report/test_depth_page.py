"""The report of a depth run: complete, self-contained, safe with hostile names, right in a browser."""

from __future__ import annotations

import base64
import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from fathomseg.evaluation import motion as motion_scoring
from fathomseg.evaluation.motion import Drive, motion_scores
from fathomseg.io import draw
from fathomseg.metrics import depth as depth_metrics
from fathomseg.metrics.depth import DepthScores
from fathomseg.report.depth_examples import DepthExample
from fathomseg.report.depth_page import render_depth, write_depth_page
from fathomseg.report.depth_scores import show_depth, write_depth_scores
from fathomseg.report.plan import plan
from fathomseg.report.scores import number
from tests.fakes import scene
from tests.report.browser import CHROMIUM, Tags, layout
from tests.toy_drive import world_T_cam

HOSTILE = "<script>alert(1)</script>"


def example(seed: int, size: tuple[int, int] = (40, 60), sparse: bool = False) -> DepthExample:
    rng = np.random.default_rng(seed)
    truth = np.linspace(60, 3, size[0], dtype=np.float32)[:, None].repeat(size[1], 1)
    truth[:2] = 0
    if sparse:
        truth[rng.random(size) > 0.05] = 0
    prediction = np.linspace(50, 4, size[0], dtype=np.float32)[:, None].repeat(size[1], 1)
    return DepthExample(f"val/{HOSTILE}/{seed}", seed / 10, scene(seed, size, 4)[0], prediction, truth, truth > 0)


def scores(seed: int) -> DepthScores:
    sums = DepthScores()
    for i in range(3):
        truth = torch.tensor(np.random.default_rng(seed + i).uniform(2, 60, (6, 8)))
        sums.update(f"{i},", 1.1 * truth + i + 0.1 * seed, truth)
    return sums


def drive(frames: int, name: str = "c0") -> Drive:
    truth = np.stack([world_T_cam(i) for i in range(frames)])
    predicted = np.linalg.inv(truth[0]) @ truth
    predicted[:, :3, 3] *= 0.25
    return Drive(tuple(f"{name}/{HOSTILE}/{i}" for i in range(frames)), predicted, truth)


DRIVES = [drive(6), drive(12, "c1"), drive(3, "c2")]


def result(**changes: Any) -> dict[str, Any]:
    found = {
        "run": f"runs/{HOSTILE}",
        "dataset": "streets",
        "split": "val",
        "limit": None,
        "against": None,
        "size": [64, 128],
        "flip": True,
        "depth_range": [0.1, 100.0],
        "scores": {"ema": scores(0).result(), "last": scores(7).result()},
        "motion": motion_scores(DRIVES),
        "meaning": {**depth_metrics.MEANING, **motion_scoring.MEANING},
        "origin": {"date": "2026-01-02", "command": ["fathom", "evaluate", HOSTILE], "gpu": None},
    }
    return {**found, **changes}


@pytest.fixture(scope="module")
def page() -> str:
    worst = [example(9, (400, 1000), sparse=True), example(8)]
    return render_depth(result(), DRIVES, [example(1), example(2)], worst, f"data: {HOSTILE}\n")


def test_it_is_well_formed_and_needs_nothing_from_outside(page: str) -> None:
    tags = Tags(page)
    assert tags.open == []
    for tag, attributes in tags.found:
        assert tag not in {"link", "iframe", "object", "embed", "base", "script"}
        assert (attributes.get("src") or "data:image/").startswith("data:image/")
        assert not [name for name in attributes if name.startswith("on") or name == "href"]
    assert not re.search(r"https?://|url\(|@import", page)


def test_hostile_text_is_text(page: str) -> None:
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 8


def test_numbers_and_their_meaning_are_those_of_the_scores(page: str) -> None:
    found = result()
    text = re.sub(r"<[^>]+>", " ", page)
    for one in found["scores"].values():
        for how in ("median", "none", "disparity"):
            for key in depth_metrics.ERRORS:
                assert number(one[how][key]) in text
    for key in ("ate_m", "rotation_deg", "direction_deg", "scale"):
        assert number(found["motion"]["all"][key]) in text
        assert number(found["motion"]["clips"][1][key]) in text
    cards = re.findall(r'<div class="value">([\d.]+).*?<div class="what">(.*?)</div>', page, flags=re.S)
    assert cards[0] == (
        number(found["scores"]["ema"]["median"]["abs_rel"]),
        "mean of |prediction - truth| / truth",
    )
    assert len(cards) == 8
    assert "averaged with the mirrored images" in page


def test_pictures_show_image_prediction_truth_and_error(page: str) -> None:
    uris = re.findall(r'<img src="data:image/\w+;base64,([^"]+)" alt="([\w, ]+) of', page)
    assert [what for _, what in uris[:4]] == ["image", "predicted disparity, scaled", "truth", "error"]
    decoded = [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data, _ in uris]
    assert len(decoded) == 16
    assert decoded[0].shape == (192, 480, 3)
    seen = (decoded[2] > 0).any(2).mean()  # 5 in 100 pixels, of which each cell shows one if it has any
    assert 0.15 < seen < 0.25
    one = example(8)
    np.testing.assert_array_equal(decoded[5], draw.depth_picture(one.prediction))
    np.testing.assert_array_equal(decoded[6], draw.depth_picture(one.truth))
    np.testing.assert_array_equal(decoded[7], draw.depth_error_picture(one.prediction, one.truth))


def test_a_plan_lays_a_scaled_prediction_on_the_truth() -> None:
    drawn = plan(drive(12))
    assert drawn.scale == pytest.approx(4)
    true, guess = (
        np.array([[float(x) for x in point.split(",")] for point in points.split()])
        for points in (drawn.truth, drawn.predicted)
    )
    np.testing.assert_allclose(true, guess, atol=0.11)
    assert true.min() >= 0
    assert true.max() <= drawn.side
    positions = (np.linalg.inv(world_T_cam(0)) @ np.stack([world_T_cam(i) for i in range(12)]))[:, [0, 2], 3]
    units = np.ptp(true, axis=0).max() / np.ptp(positions, axis=0).max()  # per metre, alike in both directions
    np.testing.assert_allclose(true - true[0], (positions - positions[0]) * [units, -units], atol=0.2)
    spacing = np.diff([across for across, _ in drawn.grid])
    np.testing.assert_allclose(spacing, drawn.step_m * units, atol=0.2)
    assert drawn.step_m in (0.5, 1, 2, 5)


def test_a_camera_that_stands_still_has_a_plan() -> None:
    still = np.tile(np.eye(4), (5, 1, 1))
    drawn = plan(Drive(("a",) * 5, still, still))
    assert set(drawn.truth.split()) == {"150.0,150.0"}


def test_only_motion_or_only_depth() -> None:
    motion = render_depth(result(scores={}), DRIVES)
    depth = render_depth(result(motion=None, meaning=depth_metrics.MEANING, against="their/maps"))
    for text in (motion, depth):
        assert Tags(text).open == []
    assert "Camera motion</h2>" in motion
    assert "AbsRel" not in re.sub(r"<title>.*?</title>", "", motion)
    assert "Camera motion" not in depth
    assert "<h1>maps</h1>" in depth
    assert "<svg" not in depth


def test_files_and_tables(tmp_path: Path) -> None:
    found = result()
    images = {"ema": scores(0).images, "last": scores(7).images}
    write_depth_scores(tmp_path, found, images)
    write_depth_page(tmp_path, found, DRIVES, [], [], tmp_path / "none.yaml")
    assert {file.name for file in tmp_path.iterdir()} == {"scores.json", "images.csv", "report.html"}
    rows = list(csv.DictReader((tmp_path / "images.csv").read_text().splitlines()))
    assert [row["id"] for row in rows] == ["0,", "1,", "2,"]
    assert float(rows[2]["abs_rel_median_last"]) == images["last"]["2,"]["median"]["abs_rel"]
    assert float(rows[0]["scale_image_ema"]) == pytest.approx(1 / 1.1)
    console = Console(file=io.StringIO(), width=160)
    show_depth({**found, "dataset": "[bold]"}, Path("out [red]"), console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[bold] val" in printed
    assert "out [red]" in printed
    assert number(found["scores"]["last"]["none"]["rmse"]) in printed
    assert "2 clips, 18 frames" in printed


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to show the page in")
@pytest.mark.parametrize("width", [400, 1280])
def test_it_fits_telephone_and_screen_and_pictures_load(page: str, tmp_path: Path, width: int) -> None:
    visible, needed, broken, pictures = layout(page, tmp_path, width)
    assert width - 20 <= visible <= width
    assert needed <= visible
    assert (broken, pictures) == (0, 18)
