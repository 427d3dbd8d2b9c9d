"""The page of a study: its table, its plot, and the predictions of its arms."""

from __future__ import annotations

import base64
import io
import re
from functools import partial

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from fathomseg.report.study_page import ArmPictures, arm_pictures, render_study
from fathomseg.study.report import Report
from fathomseg.study.table import Cell
from fathomseg.types import Prediction
from tests.report.browser import Tags
from tests.study.results import CELLS, RECORDS
from tests.toy_drive import ToyDrive

HOSTILE = "<script>alert(1)</script>"
FAILED = {Cell("mixed", 10, 2): f"no image {HOSTILE}"}
RECORDED = {cell: one for cell, one in RECORDS.items() if cell not in FAILED}
REPORT = Report(f"Few {HOSTILE}", {"plain": "plain", "mixed": f"with {HOSTILE}"}, "plain", CELLS, RECORDED, FAILED)
ORIGIN = {"date": "2026-01-02", "command": ["fathom", "study"], "gpu": None}


def everywhere(label: int | None, image: UInt8[np.ndarray, "h w 3"]) -> Prediction:
    """One class, or one depth, everywhere."""
    size = image.shape[:2]
    if label is None:
        return Prediction(depth=np.ones(size, np.float32))
    return Prediction(label=np.full(size, label, np.uint8))


def test_table_plot_and_failures() -> None:
    text = render_study(REPORT, None, ORIGIN)
    assert Tags(text).open == []
    assert HOSTILE not in text
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text.partition("</style>")[2]))
    assert "plain 10 3 of 3 42.0 ± 2.0 76.7 ± 5.8" in words
    assert "7 of 9" not in words
    assert f"{len(RECORDED)} of {len(CELLS)} trainings are finished, 1 failed" in words
    assert "mixed-10-2" in words
    assert text.count("<svg") == 1
    assert "labelled images" in words


def test_scores_of_other_tasks() -> None:
    depth = {cell: {**one, "headlines": {"depth": {"abs_rel": 0.1}}} for cell, one in RECORDED.items()}
    both = render_study(Report("Both", {}, "plain", CELLS, depth, {}), None, ORIGIN)
    assert (both.count("<table"), both.count("<svg")) == (2, 1)
    assert "depth AbsRel ↓" in both
    assert "0.100 ± 0.000" in both
    alone = {cell: {**one, "miou": None} for cell, one in depth.items()}
    text = render_study(Report("Depth", {}, "plain", CELLS, alone, {}), None, ORIGIN)
    assert (text.count("<table"), text.count("<svg")) == (1, 0)
    assert "mIoU" not in re.sub(r"<[^>]+>", " ", text.partition("</style>")[2])


def test_arms_stand_beside_each_other_and_the_truth() -> None:
    data = ToyDrive()
    id = data.ids("train")[0]
    found = arm_pictures(data, [id], {"zero": partial(everywhere, 0), "far": partial(everywhere, None)}, "Seed 0.")
    (figure,) = found.figures
    names = [name for name, _ in figure.pictures]
    assert names[:3] == ["image", "zero", "far"]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(figure.pictures[1][1].partition(",")[2]))))
    assert (shown == data.classes.colours[0]).all()
    assert found.classes == data.classes
    assert found.depth
    text = render_study(REPORT, ArmPictures(found.figures, found.what, found.classes, found.depth), ORIGIN)
    assert f'alt="zero of {id}"' in text
    assert "Colour map turbo" in text
