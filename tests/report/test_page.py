"""The report: complete, self-contained, safe with hostile names, and right when a browser shows it."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from fathomseg.metrics.segmentation import MEANING, SegmentationScores
from fathomseg.report.examples import Example
from fathomseg.report.page import render, write_page
from fathomseg.report.scores import percent, show, write_scores
from fathomseg.types import ClassList
from tests.fakes import scene
from tests.report.browser import CHROMIUM, Tags, in_browser

HOSTILE = "<script>alert(1)</script>"
CLASSES = ClassList(
    ("road", HOSTILE, 'quote" onload="x', "[red]sky", "unseen"),
    ((128, 64, 128), (0, 0, 142), (70, 130, 180), (107, 142, 35), (220, 20, 60)),
)


def scores(seed: int, confident: bool = True) -> dict[str, Any]:
    sums = SegmentationScores(CLASSES.names)
    for image in range(3):
        truth = scene(seed + image, (60, 80), 4)[1]
        rng = np.random.default_rng(seed + image)
        wrong = rng.random(truth.shape) < 0.2
        prediction = np.where(wrong, rng.integers(0, 5, truth.shape), truth).astype(np.uint8)
        confidence = torch.from_numpy(rng.uniform(0.3, 1, truth.shape).astype(np.float32))
        sums.update(torch.from_numpy(prediction), confidence if confident else None, torch.from_numpy(truth))
    return sums.result()


def result(confident: bool = True) -> dict[str, Any]:
    return {
        "run": f"runs/{HOSTILE}",
        "dataset": "folder",
        "split": "val",
        "against": None,
        "inference": {"mode": "slide", "flip": True},
        "scores": {"ema": scores(0, confident), "last": scores(9, confident)},
        "meaning": MEANING,
        "origin": {"date": "2026-01-02", "command": ["fathom", "evaluate", HOSTILE], "gpu": None, "machine": "x86_64"},
    }


def example(seed: int, size: tuple[int, int] = (60, 80)) -> Example:
    image, truth = scene(seed, size, 4)
    return Example(f"val/{HOSTILE}/{seed}", seed / 10, image, truth, np.roll(truth, 3, axis=1))


@pytest.fixture(scope="module")
def page() -> str:
    return render(
        result(), CLASSES, [example(8), example(7)], [example(1, (700, 1000)), example(2)], f"data: {HOSTILE}\n"
    )


def test_it_is_well_formed_and_needs_nothing_from_outside(page: str) -> None:
    tags = Tags(page)
    assert tags.open == []
    assert [tag for tag, _ in tags.found].count("script") == 1
    for tag, attributes in tags.found:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        for name in ("src", "href", "srcset", "data"):
            assert (attributes.get(name) or "data:").startswith("data:image/") or attributes.get(name) is None
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"https?://|url\(|@import", page)


def test_hostile_text_is_text(page: str) -> None:
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 8
    assert 'quote" onload' not in page


def test_numbers_are_those_of_the_scores(page: str) -> None:
    text = re.sub(r"<[^>]+>", " ", page)
    found = result()["scores"]
    for one in found.values():
        for key in ("miou", "boundary_miou", "pixel_accuracy", "ece"):
            assert percent(one[key], 2) in text
    assert "4 of 5 classes present" in text
    for row in found["ema"]["classes"][:4]:
        assert percent(row["iou"]) in text
    matrix = np.array(found["ema"]["confusion"])
    assert f"→ road: {percent(matrix[2, 0] / matrix[2].sum(), 2)} % ({matrix[2, 0]} pixels)" in page.replace(
        "\u202f", ""
    )
    assert page.count("<g>") == sum(1 for row in found["ema"]["calibration"] if row["pixels"])
    assert page.count('class="absent"') == 1


def test_pictures_show_image_label_prediction_and_errors(page: str) -> None:
    uris = re.findall(r'<img src="data:image/(\w+);base64,([^"]+)" alt="(\w+) of', page)
    assert [what for _, _, what in uris] == ["image", "label", "prediction", "errors"] * 4
    decoded = [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for _, data, _ in uris]
    assert decoded[0].shape == (336, 480, 3)  # worst images first; wide ones are scaled down
    one = example(2)
    np.testing.assert_array_equal(decoded[5], CLASSES.palette[one.truth])
    np.testing.assert_array_equal(decoded[6], CLASSES.palette[one.prediction])
    red = decoded[7].astype(int)[..., 0] - decoded[7].astype(int)[..., 1] > 90
    assert (red == (one.truth != one.prediction)).mean() > 0.9


def test_without_confidence_examples_or_configuration() -> None:
    bare = {**result(confident=False), "against": "their/predictions", "inference": None}
    bare["scores"] = {"predictions": bare["scores"]["ema"]}
    text = render(bare, CLASSES)
    assert Tags(text).open == []
    assert "<h1>predictions</h1>" in text
    assert "Calibration" not in text
    assert "<img" not in text


def test_nothing_labelled_is_a_page_of_dashes() -> None:
    empty = SegmentationScores(CLASSES.names)
    empty.update(torch.zeros(2, 2).byte(), torch.ones(2, 2), torch.full((2, 2), 255).byte())
    text = render({**result(), "scores": {"ema": empty.result()}}, CLASSES)
    assert "mIoU – %" in text
    assert "0 of 5 classes present" in text


def test_many_classes_show_the_largest() -> None:
    names = tuple(f"class {i}" for i in range(60))
    sums = SegmentationScores(names)
    truth = torch.arange(60, dtype=torch.uint8).repeat_interleave(torch.arange(1, 61)).reshape(1, -1)
    sums.update(truth, None, truth)
    many = ClassList(names, tuple((i, i, i) for i in range(60)))
    text = render({**result(), "scores": {"ema": sums.result()}}, many)
    assert "The 20 classes with the fewest pixels are left out" in text
    assert "class 20 → class 20" in text
    assert "class 19 → class 19" not in text


def test_files_are_written_whole(tmp_path: Path) -> None:
    configuration = tmp_path / "config.yaml"
    configuration.write_text("size: [4, 8]\n")
    images = {"ema": {"a,b": 0.5, "c": None}, "last": {"a,b": 1.0, "c": None}}
    write_scores(tmp_path / "out", result(), images)
    path = write_page(tmp_path / "out", result(), CLASSES, [], [], configuration)
    assert "size: [4, 8]" in path.read_text(encoding="utf-8")
    assert (tmp_path / "out" / "images.csv").read_text() == 'id,miou_ema,miou_last\n"a,b",0.5,1.0\nc,,\n'
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"scores.json", "images.csv", "report.html"}


def test_the_table_takes_names_literally() -> None:
    console = Console(file=io.StringIO(), width=160)
    show(result(), Path("out [bold]"), console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[red]sky" in printed
    assert "out [bold]" in printed
    assert percent(result()["scores"]["last"]["miou"], 2) in printed


# --- in a browser ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to show the page in")
@pytest.mark.parametrize("width", [400, 1280])
def test_it_fits_telephone_and_screen(page: str, tmp_path: Path, width: int) -> None:
    found = in_browser(
        page, tmp_path, "[d.documentElement.clientWidth, d.documentElement.scrollWidth].join(' ')", width
    )
    visible, needed = (int(value) for value in found.split())
    assert width - 20 <= visible <= width
    assert needed <= visible


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to show the page in")
def test_a_click_sorts_the_classes(page: str, tmp_path: Path) -> None:
    expression = (
        "(d.querySelectorAll('#classes thead th')[2].click(),"
        " [...d.querySelectorAll('#classes tbody tr td:nth-child(3)')].map(c => c.dataset.v).join(' '))"
    )
    order = [float(value) for value in in_browser(page, tmp_path, expression, 1280).split()]
    assert order == sorted(order, reverse=True)
    assert order[-1] == -1
    assert len(set(order)) == 5
