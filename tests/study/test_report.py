"""What a study shows: complete, readable by programs, and without paths of the machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from rich.console import Console

from fathomseg.io.chart import svg as drawn
from fathomseg.study.folder import JobFolder
from fathomseg.study.plot import COLOURS
from fathomseg.study.report import Report, _rounded, redact_paths
from fathomseg.study.sheets import COLUMNS
from fathomseg.study.table import Cell, Record, grid
from tests.study.results import CELLS, RECORDS, record

FAILED = Cell("mixed", 10, 2)
ORIGIN = {
    "date": "2026-11-23T05:00:00+00:00",
    "command": ["fathom", "study", "x.yaml", "settings.data.root=/home/me/data/camvid"],
    "processor": "Some CPU",
    "gpu": None,
}
STUDY = {"settings": {"data": {"root": "data/camvid"}}, "arms": {"plain": {"recipe": "/home/me/recipes/camvid.yaml"}}}


@pytest.fixture
def report() -> Report:
    records = {cell: record for cell, record in RECORDS.items() if cell != FAILED}
    failed = {FAILED: "/home/me/data/camvid has no image | really"}
    return Report("Few & far", {"plain": "plain", "mixed": "with <mixing>"}, "plain", CELLS, records, failed)


def test_the_files(report: Report, tmp_path: Path) -> None:
    report.write(JobFolder(tmp_path), STUDY, ORIGIN)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "results.json",
        "results.md",
        "results.png",
        "results.svg",
    ]
    tree = json.loads((tmp_path / "results.json").read_text())
    assert tree["cells_wanted"] == 9
    assert len(tree["cells"]) == 8
    assert tree["commits"] == ["abc123"]
    assert tree["seeds"] == [0, 1, 2]
    assert tree["reference"] == {"arm": "plain", "budget": "all"}
    (failed,) = tree["failed"]
    assert failed == {"arm": "mixed", "budget": 10, "seed": 2, "error": "PATH/TO/camvid has no image | really"}
    (mixed,) = [row for row in tree["rows"] if row["arm"] == "mixed"]
    assert mixed["against"]["difference"] == 5.5
    assert mixed["verdict"] == "too few seeds"
    for file in ("results.json", "results.md", "results.svg"):
        assert "/home/me" not in (tmp_path / file).read_text()


def test_the_page(report: Report) -> None:
    lines = report.markdown(ORIGIN).splitlines()
    (header,) = [i for i, line in enumerate(lines) if line.startswith("| arm")]
    rows = [line for line in lines[header:] if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {len(COLUMNS) + 1}
    text = "\n".join(lines)
    assert "| plain | 10 | 3 of 3 | 42.0 ± 2.0 | 76.7 ± 5.8 |  |  | 2.0 | 1.5 |" in text
    assert "| with <mixing> | 10 | 2 of 3, 1 failed | 47.5 ± 3.5 | 90.5 ± 0.6 | +5.5 |  | 2.0 | 1.5 |" in text
    assert "- `mixed-10-2`: PATH/TO/camvid has no image \\| really" in text
    assert "settings.data.root=PATH/TO/camvid" in text
    assert "Some CPU" in text


def test_one_budget_is_not_compared_with_itself(report: Report) -> None:
    cells = [cell for cell in CELLS if cell.budget == 10]
    one = Report("One budget", {}, "plain", cells, {cell: RECORDS[cell] for cell in cells if cell in RECORDS}, {})
    (header,) = [line for line in one.markdown(ORIGIN).splitlines() if line.startswith("| arm")]
    assert "% of all" not in header
    assert "% of all" in report.markdown(ORIGIN)
    assert "| plain | 10 | 3 of 3 | 42.0 ± 2.0 |  |  | 2.0 | 1.5 |" in one.markdown(ORIGIN)


def test_significance_is_marked() -> None:
    whole = Report("All", {}, "plain", CELLS, RECORDS, {})
    assert "| +6.3 [+2.5, +10.1] | 0.019 * |" in whole.markdown(ORIGIN)


def test_a_probability_keeps_the_digits_that_decide() -> None:
    whole = Report("All", {}, "plain", CELLS, RECORDS, {})
    (mixed,) = [row for row in whole.tree({}, {})["rows"] if row["arm"] == "mixed"]
    assert mixed["p_holm"] == 0.0188
    small = {"p": 0.0049996, "score": 51.23456, "ece": 0.1234567}
    assert _rounded(small) == {"p": 0.005, "score": 51.2346, "ece": 0.1235}
    assert _rounded(0.0012345) == 0.00123


def test_the_terminal(report: Report) -> None:
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    with console.file:
        report.show(console)
    text = console.export_text()
    assert "2 of 3, 1 failed" in text
    assert "failed: mixed-10-2: /home/me/data/camvid has no image | really" in text  # here paths help


DEPTH = {"abs_rel": [0.1, 0.125, 0.15], "delta1": [0.9, 0.8, 0.7]}


def with_depth(cell: Cell, **others: object) -> Record:
    scores = {key: values[cell.seed] for key, values in DEPTH.items()}
    return record(cell, headlines={"segmentation": {"miou": 0.5}, "depth": scores}, **others)


def test_other_tasks_have_a_table_of_their_own(tmp_path: Path) -> None:
    """With the rows that have any: records of earlier versions have none."""
    records = {**RECORDS, **{cell: with_depth(cell) for cell in CELLS if cell.arm == "mixed"}}
    both = Report("Both", {"mixed": "with mixing"}, "plain", CELLS, records, {})
    lines = both.markdown(ORIGIN).splitlines()
    first = lines.index("Other tasks, mean ± spread over seeds:")
    assert lines[first + 2] == "| arm | labels | seeds | depth AbsRel ↓ | depth δ < 1.25 ↑ |"
    assert lines[first + 4 : first + 6] == ["| with mixing | 10 | 3 of 3 | 0.125 ± 0.025 | 0.800 ± 0.100 |", ""]
    both.write(JobFolder(tmp_path), STUDY, ORIGIN)
    tree = json.loads((tmp_path / "results.json").read_text())
    means = {row["arm"]: row["others"] for row in tree["rows"]}
    assert means["mixed"]["depth"]["abs_rel"] == {"n": 3, "mean": 0.125, "spread": 0.025}
    assert means["plain"] == {}
    assert "Other tasks" not in Report("Few", {}, "plain", CELLS, RECORDS, {}).markdown(ORIGIN)


def test_the_iou_of_classes_has_a_table_of_its_own() -> None:
    """Over the seeds whose ground truth shows the class; lists too long for a table are in results.json alone."""
    rare = [10.0, None, 20.0]
    records = {cell: record(cell, iou={"road": 90.0, "rare": rare[cell.seed]}) for cell in CELLS}
    lines = Report("Few", {}, "plain", CELLS, records, {}).markdown(ORIGIN).splitlines()
    first = lines.index("IoU by class, per cent, mean ± spread over seeds:")
    assert lines[first + 2] == "| arm | labels | seeds | road | rare |"
    assert lines[first + 4] == "| plain | 10 | 3 of 3 | 90.0 ± 0.0 | 15.0 ± 7.1 |"
    many = {cell: record(cell, iou={str(i): 1.0 for i in range(40)}) for cell in CELLS}
    long = Report("Many", {}, "plain", CELLS, many, {})
    assert "IoU by class" not in long.markdown(ORIGIN)
    assert long.tree(STUDY, ORIGIN)["rows"][0]["classes"]["39"]["mean"] == 1.0


def test_a_study_without_classes_shows_what_it_has() -> None:
    records = {cell: with_depth(cell, miou=None) for cell in CELLS}
    alone = Report("Depth", {}, "plain", CELLS, records, {})
    text = alone.markdown(ORIGIN)
    assert "mIoU" not in text
    assert "| arm | labels | seeds | depth AbsRel ↓ | depth δ < 1.25 ↑ | minutes | CPU min |" in text
    assert "| plain | 10 | 3 of 3 | 0.125 ± 0.025 | 0.800 ± 0.100 | 2.0 | 1.5 |" in text
    assert "no mIoU: no classes are predicted" in drawn(alone.plot())


def svg(report: Report, folder: Path) -> ElementTree.Element:
    report.write(JobFolder(folder), STUDY, ORIGIN)
    return ElementTree.parse(folder / "results.svg").getroot()


SPACE = "{http://www.w3.org/2000/svg}"


def test_the_plot_shows_every_training_where_it_belongs(report: Report, tmp_path: Path) -> None:
    root = svg(report, tmp_path)
    marks = [(float(u.get("x", "")), float(u.get("y", "")), str(u.get("style"))) for u in root.iter(f"{SPACE}use")]
    rings = [(x, y) for x, y, style in marks if "fill-opacity: 0" in style or "fill: none" in style]
    assert len(rings) == 8
    few, whole = sorted({x for x, _ in rings})  # all arms of a budget at one place
    assert [[x for x, _ in rings].count(x) for x in (few, whole)] == [5, 3]
    heights = [y for x, y in rings if x == whole]  # 50, 55 and 60 %, in the order of the seeds
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.02)
    assert heights[0] > heights[1]
    texts = {text.text for text in root.iter(f"{SPACE}text")}
    assert {"Few & far", "with <mixing>", "10", "367", "100 %", "95 %"} <= texts
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", (tmp_path / "results.svg").read_text())


def test_numbers_below_the_plot_do_not_touch(tmp_path: Path) -> None:
    cells = grid({"plain": [10, 11, 100, 104]}, [0])
    records = {cell: {**record(CELLS[0]), "images": cell.budget} for cell in cells}
    texts = {text.text for text in svg(Report("", {}, "plain", cells, records, {}), tmp_path).iter(f"{SPACE}text")}
    assert {"10", "100"} <= texts
    assert not {"11", "104"} & texts


def test_arms_of_one_budget_stand_above_each_other(tmp_path: Path) -> None:
    cells = [cell for cell in CELLS if cell.budget == 10 and cell in RECORDS]
    root = svg(Report("", {}, "plain", cells, {cell: RECORDS[cell] for cell in cells}, {}), tmp_path)
    marks = [(float(u.get("x", "")), float(u.get("y", "")), str(u.get("style"))) for u in root.iter(f"{SPACE}use")]
    rings = [(x, y) for x, y, style in marks if "fill-opacity: 0" in style or "fill: none" in style]
    assert len(rings) == len(cells) == 6
    first, second = sorted({y for _, y in rings})
    low, middle, high = sorted(x for x, y in rings if y == first)  # 40, 42 and 44 %
    assert high - middle == pytest.approx(middle - low, abs=0.02)
    assert [y for _, y in rings].count(second) == 3
    texts = {text.text for text in root.iter(f"{SPACE}text")}
    assert {"plain", "mixed", "mIoU, %, with 10 labelled images"} <= texts


def test_no_labels_stand_left_of_a_logarithmic_scale(tmp_path: Path) -> None:
    """An endless source teaches without them."""
    cells = grid({"plain": [0, 12, 120]}, [0])
    records = {cell: {**record(CELLS[0]), "images": cell.budget} for cell in cells}
    root = svg(Report("", {}, "plain", cells, records, {}), tmp_path)
    assert {"0", "12", "120"} <= {text.text for text in root.iter(f"{SPACE}text")}
    marks = [(float(u.get("x", "")), str(u.get("style"))) for u in root.iter(f"{SPACE}use")]
    rings = sorted({x for x, style in marks if "fill-opacity: 0" in style or "fill: none" in style})
    assert len(rings) == 3
    none, few, many = rings
    assert 0.4 < (few - none) / (many - few) < 0.6  # half as far as ten times more
    (line,) = [
        path
        for path in root.iter(f"{SPACE}path")
        if "#0072b2" in str(path.get("style")) and str(path.get("d")).count("L") == 2
    ]
    assert float(str(line.get("d")).split()[1]) == pytest.approx(none, abs=0.01)
    alone = {cell: one for cell, one in records.items() if cell.budget == 0}
    assert "0" in {text.text for text in svg(Report("", {}, "plain", cells, alone, {}), tmp_path).iter(f"{SPACE}text")}


def test_the_pixels_show_every_arm(report: Report, tmp_path: Path) -> None:
    report.write(JobFolder(tmp_path), STUDY, ORIGIN)
    picture = cv2.cvtColor(cv2.imread(str(tmp_path / "results.png")), cv2.COLOR_BGR2RGB)
    assert picture.shape[1] == 1120
    for colour in COLOURS[:2]:
        rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
        assert (np.abs(picture.astype(int) - rgb).max(2) < 12).sum() > 500


@pytest.mark.parametrize("finished", [0, 1])
def test_a_plot_of_almost_nothing(finished: int, tmp_path: Path) -> None:
    records = dict(list(RECORDS.items())[:finished])
    root = svg(Report("Begun", {}, "plain", CELLS, records, {}), tmp_path)
    assert ("no result yet" in {text.text for text in root.iter(f"{SPACE}text")}) == (finished == 0)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("/home/me/x.yaml", "PATH/TO/x.yaml"),
        ("/home/my own/big data", "PATH/TO/big data"),
        ("~/data/camvid", "PATH/TO/camvid"),
        ("../shared/data/camvid", "PATH/TO/camvid"),
        ("C:\\Users\\me\\camvid", "PATH/TO/camvid"),
        ("recipes/camvid.yaml", "recipes/camvid.yaml"),
        ("clips.data.root=data/kitti", "clips.data.root=PATH/TO/kitti"),
        ("labels.file=/home/me/chosen.txt", "labels.file=PATH/TO/chosen.txt"),
        ("train.steps=400", "train.steps=400"),
        ("and/or 1/2", "and/or 1/2"),
        (3, 3),
        (None, None),
    ],
)
def test_paths_of_the_machine_are_left_out(given: object, shown: object) -> None:
    assert redact_paths({"a": [given]}) == {"a": [shown]}


def test_paths_in_errors_end_at_a_space() -> None:
    told = "/home/me/data: no file /home/me/data/a.png; see https://example.org/help/me"
    assert redact_paths({"error": told}) == {
        "error": "PATH/TO/data: no file PATH/TO/a.png; see https://example.org/help/me"
    }
    assert redact_paths({"root": "data/camvid"}) == {"root": "PATH/TO/camvid"}
