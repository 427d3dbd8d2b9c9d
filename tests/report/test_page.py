"""The report: complete, self-contained, safe with hostile names, and right when a browser shows it."""

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
from fathomseg.evaluation.scoring import Scored
from fathomseg.io import draw
from fathomseg.metrics import depth as depth_metrics
from fathomseg.metrics import segmentation as segmentation_metrics
from fathomseg.metrics.depth import DepthProtocol, DepthScores
from fathomseg.metrics.segmentation import SegmentationScores
from fathomseg.report.depth import depth_section
from fathomseg.report.examples import examples
from fathomseg.report.html import environment
from fathomseg.report.motion import plan
from fathomseg.report.page import render, sections, write_page
from fathomseg.report.scores import show, write_scores
from fathomseg.report.section import Example, Examples, number, percent
from fathomseg.tasks import Depth
from fathomseg.types import ClassList
from tests.fakes import scene
from tests.report.browser import WHY_NOT, Tags, in_browser, layout
from tests.toy_drive import ToyDrive, world_T_cam

HOSTILE = "<script>alert(1)</script>"
CLASSES = ClassList(
    ("road", HOSTILE, 'quote" onload="x', "[red]sky", "unseen"),
    ((128, 64, 128), (0, 0, 142), (70, 130, 180), (107, 142, 35), (220, 20, 60)),
)


class Town(ToyDrive):
    """A dataset of these classes."""

    @property
    def classes(self) -> ClassList:
        return CLASSES


def labels(seed: int, confident: bool = True) -> dict[str, Any]:
    sums = SegmentationScores(CLASSES.names)
    for image in range(3):
        truth = scene(seed + image, (60, 80), 4)[1]
        rng = np.random.default_rng(seed + image)
        wrong = rng.random(truth.shape) < 0.2
        prediction = np.where(wrong, rng.integers(0, 5, truth.shape), truth).astype(np.uint8)
        confidence = torch.from_numpy(rng.uniform(0.3, 1, truth.shape).astype(np.float32))
        sums.update(torch.from_numpy(prediction), confidence if confident else None, torch.from_numpy(truth))
    return sums.result()


def depths(seed: int) -> DepthScores:
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
        "dataset": "town",
        "split": "val",
        "against": None,
        "size": [64, 128],
        "inference": {"mode": "slide", "flip": True},
        "scores": {
            "ema": {"segmentation": labels(0), "depth": depths(0).result()},
            "last": {"segmentation": labels(9), "depth": depths(7).result()},
        },
        "motion": motion_scores(DRIVES),
        "origin": {"date": "2026-01-02", "command": ["fathom", "evaluate", HOSTILE], "gpu": None, "machine": "x86_64"},
    }
    return {**found, **changes}


def of(task: str, **changes: Any) -> dict[str, Any]:
    """The result of one task alone."""
    scores = {weights: {task: tasks[task]} for weights, tasks in result()["scores"].items()}
    return result(scores=scores, motion=None, **changes)


def labelled(seed: int, size: tuple[int, int] = (60, 80)) -> Example:
    image, truth = scene(seed, size, 4)
    prediction = {"label": np.roll(truth, 3, axis=1)}
    return Example(f"val/{HOSTILE}/{seed}", {"miou": seed / 10}, image, truth, prediction)


def deep(seed: int, size: tuple[int, int] = (40, 60), sparse: bool = False) -> Example:
    rng = np.random.default_rng(seed)
    truth = np.linspace(60, 3, size[0], dtype=np.float32)[:, None].repeat(size[1], 1)
    truth[:2] = 0
    if sparse:
        truth[rng.random(size) > 0.05] = 0
    prediction = {"depth": np.linspace(25, 2, size[0], dtype=np.float32)[:, None].repeat(size[1], 1)}
    row = {"median": {"abs_rel": seed / 10}, "image": {"scale": 2.0}}
    return Example(f"val/{HOSTILE}/{seed}", row, scene(seed, size, 4)[0], truth, prediction)


EXAMPLES = {
    "segmentation": Examples([labelled(8), labelled(7)], [labelled(1, (700, 1000)), labelled(2)]),
    "depth": Examples([deep(1), deep(2)], [deep(9, (400, 1000), sparse=True), deep(8)]),
}


def page_of(result: dict[str, Any], **options: Any) -> str:
    return render(result, sections(result, Town(), **options))


def test_a_task_without_a_section_of_its_own_has_a_table() -> None:
    meaning = {"edges": {"f1": "harmonic mean", "curve": "left to the file"}}
    found = result(
        scores={"ema": {"edges": {"f1": 0.143, "curve": [1, 2]}}},
        sections={"edges": "edges"},
        meaning=meaning,
        motion=None,
    )
    (section,) = sections(found, Town())
    assert (section.title, section.headline) == ("edges", "f1 0.143")
    assert [(card.name, card.value, card.meaning) for card in section.cards] == [("f1", "0.143", "harmonic mean")]
    assert '<td class="n">0.143</td>' in render(found, [section])


@pytest.fixture(scope="module")
def page() -> str:
    found = result()
    return render(found, sections(found, Town(), EXAMPLES, DRIVES), f"data: {HOSTILE}\n")


def pictures(page: str) -> list[tuple[str, np.ndarray]]:
    """What the pictures of the examples show, and their pixels."""
    uris = re.findall(r'<img src="data:image/\w+;base64,([^"]+)" alt="([\w, ]+) of val', page)
    return [(what, np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))) for data, what in uris]


def test_it_is_well_formed_and_needs_nothing_from_outside(page: str) -> None:
    tags = Tags(page)
    assert tags.open == []
    assert [tag for tag, _ in tags.found].count("script") == 1
    for tag, attributes in tags.found:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        for name in ("src", "href", "srcset", "data"):
            assert (attributes.get(name) or "#").startswith(("data:image/", "#"))
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"https?://|url\((?!#)|@import", page)


def test_hostile_text_is_text(page: str) -> None:
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 8
    assert 'quote" onload' not in page


def test_numbers_of_segmentation_are_those_of_the_scores(page: str) -> None:
    text = re.sub(r"<[^>]+>", " ", page)
    found = {weights: tasks["segmentation"] for weights, tasks in result()["scores"].items()}
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
    assert page.count('<g class="bin">') == sum(1 for row in found["ema"]["calibration"] if row["pixels"])
    assert page.count('class="absent"') == 1


def test_numbers_of_depth_and_motion_and_their_meaning_are_those_of_the_scores(page: str) -> None:
    found = result()
    text = re.sub(r"<[^>]+>", " ", page)
    for one in found["scores"].values():
        for how in ("median", "none", "scale_shift"):
            for key in depth_metrics.ERRORS:
                assert number(one["depth"][how][key]) in text
    for key in ("ate_m", "rotation_deg", "direction_deg", "scale"):
        assert number(found["motion"]["all"][key]) in text
        assert number(found["motion"]["clips"][1][key]) in text
    cards = re.findall(r'<div class="value">([\d.]+).*?<div class="what">(.*?)</div>', page, flags=re.S)
    assert len(cards) == 6 + 5 + 3
    first = found["scores"]["ema"]
    assert cards[0] == (percent(first["segmentation"]["miou"]), segmentation_metrics.MEANING["miou"])
    assert cards[6] == (number(first["depth"]["median"]["abs_rel"]), "mean of |prediction - truth| / truth")
    for meaning in (segmentation_metrics.MEANING, depth_metrics.MEANING, motion_scoring.MEANING):
        assert all(f"<dt>{key}</dt>" in page for key in meaning)
    assert "averaged with the mirrored image" in page
    assert "64 x 128 pixels" in page


def test_the_title_has_a_number_of_every_task(page: str) -> None:
    first = result()["scores"]["ema"]
    title = re.findall("<title>(.*?)</title>", page)[0]
    for words in (f"mIoU {percent(first['segmentation']['miou'])} %", "AbsRel 0.020", "ATE 0.000 m"):
        assert words in title


def test_pictures_of_labels_show_image_label_prediction_and_errors(page: str) -> None:
    found = pictures(page)[:16]
    assert [what for what, _ in found] == ["image", "label", "prediction", "errors"] * 4
    shown = [picture for _, picture in found]
    assert shown[0].shape == (336, 480, 3)  # worst images first; wide ones are scaled down
    one = labelled(2)
    np.testing.assert_array_equal(shown[5], CLASSES.palette[one.truth])
    np.testing.assert_array_equal(shown[6], CLASSES.palette[one.prediction["label"]])
    red = shown[7].astype(int)[..., 0] - shown[7].astype(int)[..., 1] > 90
    assert (red == (one.truth != one.prediction["label"])).mean() > 0.9


def test_pictures_of_depth_show_image_scaled_prediction_truth_and_error(page: str) -> None:
    found = pictures(page)[16:]
    assert [what for what, _ in found] == ["image", "predicted depth, scaled", "truth", "error"] * 4
    shown = [picture for _, picture in found]
    assert shown[0].shape == (192, 480, 3)
    seen = (shown[2] > 0).any(2).mean()  # 5 in 100 pixels, of which each cell shows one if it has any
    assert 0.15 < seen < 0.25
    one = deep(8)
    prediction = 2 * one.prediction["depth"]
    np.testing.assert_array_equal(shown[5], draw.depth_picture(prediction))
    np.testing.assert_array_equal(shown[6], draw.depth_picture(one.truth))
    np.testing.assert_array_equal(shown[7], draw.depth_error_picture(prediction, one.truth))


class Found:
    """Predictions of depth by id."""

    card = None

    def __init__(self, depths: dict[str, np.ndarray]) -> None:
        self.depths = depths

    def read(self, id: str) -> np.ndarray:
        return self.depths[id]

    def predict(self, id: str, stored: np.ndarray, truths: object) -> dict[str, dict[str, torch.Tensor]]:
        return {"depth": {"depth": torch.from_numpy(stored)}}


@pytest.mark.parametrize(("alignment", "worst"), [("none", "c0/00"), ("median", "c0/01"), ("scale_shift", "c0/01")])
def test_depth_is_judged_and_shown_as_it_is_scored(alignment: Any, worst: str) -> None:
    """Of two images one is twice too deep, which scaling hides; the other is wrong by 30 % here and there."""
    town = Town(lengths=(2,))
    truth = town.depth("c0/00")
    assert truth is not None
    rough = truth * np.where(np.arange(48).reshape(6, 8) % 2, 0.7, 1.3).astype(np.float32)
    predicted = {"c0/00": np.maximum(2 * truth, 1), "c0/01": np.maximum(rough, 1)}
    scores = DepthScores(DepthProtocol(alignment=alignment))
    for id, depth in predicted.items():
        scores.update(id, torch.from_numpy(depth), torch.from_numpy(truth))
    scored = Scored(scores.result(), {id: scores.images[id] for id in predicted})
    found = examples(Found(predicted), town, Depth(), scored, count=1)
    assert [one.id for one in found.worst] == [worst]
    section = depth_section({"ema": scored.result}, town, found)
    assert [card.name for card in section.cards].count("AbsRel, unscaled") == 1
    (figure,) = section.figures["Worst images"]
    assert figure.score == f"AbsRel {number(scored.rows[worst][alignment]['abs_rel'])}"
    assert (figure.score == "AbsRel 1.000") == (alignment == "none")
    name, data = figure.pictures[1]
    assert name == ("predicted depth" if alignment == "none" else "predicted depth, scaled")
    depth, valid = predicted[worst].astype(float), truth > 0
    fit = np.polyfit(1 / depth[valid], 1 / truth[valid], 1)
    wanted = {
        "none": depth,
        "median": depth * np.median(truth[valid]) / np.median(depth[valid]),
        "scale_shift": 1 / np.maximum(np.polyval(fit, 1 / depth), 1 / 80),
    }[alignment]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))))
    np.testing.assert_allclose(picture, draw.depth_picture(wanted.astype(np.float32)), atol=2)


def test_a_plan_lays_a_scaled_prediction_on_the_truth() -> None:
    drawn = plan(drive(12))
    assert drawn.scale == pytest.approx(4)
    np.testing.assert_allclose(drawn.truth, drawn.predicted, atol=1e-6)
    positions = (np.linalg.inv(world_T_cam(0)) @ np.stack([world_T_cam(i) for i in range(12)]))[:, [0, 2], 3]
    np.testing.assert_allclose(drawn.truth, positions, atol=1e-6)
    (line,) = re.findall(r'<path d="([^"]*)"[^>]*stroke-dasharray', drawn.picture)
    path = np.array(re.findall(r"[ML] (\S+) (\S+)", line), float)
    units = np.ptp(path, axis=0).max() / np.ptp(positions, axis=0).max()  # per metre, alike in both directions
    np.testing.assert_allclose(path[-1] - path[0], (positions[-1] - positions[0]) * [units, -units], rtol=0.01)


def test_a_camera_that_stands_still_has_a_plan() -> None:
    still = np.tile(np.eye(4), (5, 1, 1))
    drawn = plan(Drive(("a",) * 5, still, still))
    assert not drawn.truth.any()
    assert drawn.picture.startswith("<svg")


def test_one_task_has_no_section_of_another() -> None:
    pages = {
        "Segmentation": page_of(of("segmentation", against="their/maps", inference=None)),
        "Depth": page_of(of("depth", against="their/maps", inference=None)),
        "Camera motion": page_of(result(scores={}), drives=DRIVES),
    }
    for title, text in pages.items():
        assert Tags(text).open == []
        assert re.findall("<h2>(.*?)</h2>", text) == [title, "Settings", "Origin"]
        assert "<img" not in text
        assert ("<h1>maps</h1>" in text) == (title != "Camera motion")


def test_without_confidence_there_is_no_calibration() -> None:
    text = page_of(result(scores={"predictions": {"segmentation": labels(0, confident=False)}}, motion=None))
    assert Tags(text).open == []
    assert "Calibration" not in text
    assert "calibration error</div>" not in text


def test_nothing_labelled_is_a_page_of_dashes() -> None:
    empty = SegmentationScores(CLASSES.names)
    empty.update(torch.zeros(2, 2).byte(), torch.ones(2, 2), torch.full((2, 2), 255).byte())
    text = page_of(result(scores={"ema": {"segmentation": empty.result(), "depth": DepthScores().result()}}))
    assert "mIoU – %" in text
    assert "AbsRel –" in text
    assert "0 of 5 classes present" in text


def test_many_classes_show_the_largest() -> None:
    names = tuple(f"class {i}" for i in range(60))

    class Many(ToyDrive):
        @property
        def classes(self) -> ClassList:
            return ClassList(names, tuple((i, i, i) for i in range(60)))

    sums = SegmentationScores(names)
    truth = torch.arange(60, dtype=torch.uint8).repeat_interleave(torch.arange(1, 61)).reshape(1, -1)
    sums.update(truth, None, truth)
    found = result(scores={"ema": {"segmentation": sums.result()}})
    text = render(found, sections(found, Many()))
    assert "The 20 classes with the fewest pixels are left out" in text
    assert "class 20 → class 20" in text
    assert "class 19 → class 19" not in text


def test_a_task_of_ones_own_has_the_section_it_names() -> None:
    """The second of a kind goes by the task's name."""
    scores = {weights: {"ranges": tasks["depth"], **tasks} for weights, tasks in result()["scores"].items()}
    kinds = {"ranges": "depth", "segmentation": "segmentation", "depth": "depth"}
    found = result(scores=scores, sections=kinds, motion=None)
    made = sections(found, Town(), {"depth": EXAMPLES["depth"]})
    assert [one.title for one in made] == ["Segmentation", "Depth", "depth"]
    assert [bool(one.figures) for one in made] == [False, False, True]
    alone = result(scores={"ema": {"ranges": scores["ema"]["depth"]}}, sections=kinds, motion=None)
    assert [one.headline for one in sections(alone, Town())] == [made[1].headline]
    page = Tags(render(found, made))
    assert [a["href"] for tag, a in page.found if tag == "a"] == [f"#section-{i}" for i in (1, 2, 3)]
    assert [a["id"] for tag, a in page.found if tag == "section" and "id" in a] == [f"section-{i}" for i in (1, 2, 3)]


def test_files_are_written_whole(tmp_path: Path) -> None:
    configuration = tmp_path / "config.yaml"
    configuration.write_text("size: [4, 8]\n")
    found, ids = result(), ["a,b", "c", "1,", "none"]
    rows = {
        "ema": {"segmentation": {"a,b": {"miou": 0.5}, "c": {"miou": None}}, "depth": depths(0).images},
        "last": {"segmentation": {"a,b": {"miou": 1.0}, "c": {"miou": None}}, "depth": depths(7).images},
    }
    write_scores(tmp_path / "out", found, ids, rows)
    path = write_page(tmp_path / "out", found, sections(found, Town(), {}, DRIVES), configuration)
    assert "size: [4, 8]" in path.read_text(encoding="utf-8")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"scores.json", "images.csv", "report.html"}
    table = list(csv.DictReader((tmp_path / "out" / "images.csv").read_text().splitlines()))
    assert [row["id"] for row in table] == ["a,b", "c", "1,"]
    assert [row["miou_last"] for row in table] == ["1.0", "", ""]
    assert float(table[2]["abs_rel_median_last"]) == depths(7).images["1,"]["median"]["abs_rel"]
    assert [row["scale_image_ema"] != "" for row in table] == [False, False, True]


def test_the_tables_take_names_literally() -> None:
    found = result(dataset="[bold]")
    console = Console(file=io.StringIO(), width=160)
    show(found, sections(found, Town()), Path("out [red]"), console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    for words in ("[red]sky", "[bold] val: depth", "[bold] val: camera motion", "out [red]", "2 clips, 18 frames"):
        assert words in printed
    last = found["scores"]["last"]
    assert percent(last["segmentation"]["miou"], 2) in printed
    assert number(last["depth"]["none"]["rmse"]) in printed


# --- in a browser ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
@pytest.mark.parametrize("width", [400, 1280])
def test_it_fits_telephone_and_screen_and_pictures_load(page: str, tmp_path: Path, width: int) -> None:
    visible, needed, broken, shown = layout(page, tmp_path, width)
    assert width - 20 <= visible <= width
    assert needed <= visible
    assert (broken, shown) == (0, 34)


@pytest.mark.slow
@pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
def test_a_click_sorts_the_classes(page: str, tmp_path: Path) -> None:
    expression = (
        "(d.querySelectorAll('#classes thead th')[2].click(),"
        " [...d.querySelectorAll('#classes tbody tr td:nth-child(3)')].map(c => c.dataset.v).join(' '))"
    )
    order = [float(value) for value in in_browser(page, tmp_path, expression, 1280).split()]
    assert order == sorted(order, reverse=True)
    assert order[-1] == -1
    assert len(set(order)) == 5


def test_a_command_with_spaces_can_be_copied_into_a_shell() -> None:
    macro = '{% import "parts.html" as parts %}{{ parts.origin(made) }}'
    page = environment().from_string(macro).render(made={"command": ["fathom", "check", "my data"]})
    assert "<code>fathom check &#39;my data&#39;</code>" in page
