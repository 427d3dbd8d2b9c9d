"""What a check asks to be looked at, and that its page says it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from fathomseg.data.datasets import Folder
from fathomseg.stages.check import check, page_path, write_check_page
from fathomseg.stages.check_report import CheckReport, SplitReport, warnings
from tests import fakes


def split(**changes: Any) -> SplitReport:
    usual: dict[str, Any] = {
        "images": 4,
        "labelled": 4,
        "with_neighbours": 0,
        "clips": 0,
        "cameras": 0,
        "sizes": {"8 x 16": 4},
        "pixels": {"road": 5000, "car": 500},
        "ignored": 0,
    }
    return SplitReport(**{**usual, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": 0, "labelled": 0, "sizes": {}, "pixels": {}}, "Split 'train' is empty"),
        ({"labelled": 0, "pixels": {}}, "Split 'train' has 4 images and no label"),
        ({"with_neighbours": 2, "cameras": 1}, "3 of 4 images have no known camera"),
        ({"sizes": {"8 x 16": 3, "9 x 16": 1}}, "images of 2 sizes"),
        ({"pixels": {"road": 5000, "car": 4}}, "below 0.1 % of the labelled pixels: car"),
        ({"pixels": {"road": 5000, "car": 0}}, "In val but never in train, so that their IoU stays 0: car"),
    ],
)
def test_what_may_spoil_a_training_is_told(changes: dict[str, Any], words: str) -> None:
    found = list(warnings(CheckReport("toy", {"train": split(**changes), "val": split()}, (), (), ())))
    assert sum(words in text for text in found) == 1
    assert len(found) == 1


def test_nothing_is_told_of_what_is_fine() -> None:
    assert not list(warnings(CheckReport("toy", {"train": split(), "val": split()}, (), (), ())))


def test_the_page_shows_samples_warnings_and_problems(tmp_path: Path) -> None:
    data = Folder(root=fakes.make_folder(tmp_path / "my<b>data", images=4))
    (data.root / "images" / "broken.png").write_bytes(b"no picture")
    report = check(data)
    write_check_page(tmp_path / "page.html", report, data)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<b>data" not in text
    assert "broken.png" in text
    for warning in warnings(report):
        assert warning.split(":")[0].split("'")[0] in text
    assert text.count("label, laid over it") >= 3
    assert text.count("strong colours and blur") >= 3
    assert page_path(data) == Path("runs/check/my<b>data.html")


def test_the_page_augments_images_to_train_on_each_in_its_own_way(tmp_path: Path) -> None:
    data = Folder(root=fakes.make_folder(tmp_path / "mydata", images=6, clips=1), val=("clips/*", "images/003"))
    for part in ("images", "labels"):  # one picture: only the augmentation can differ
        for path in (data.root / part).glob("*.png"):
            path.write_bytes((data.root / part / "000.png").read_bytes())
    write_check_page(tmp_path / "page.html", check(data), data)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    shown, augmented = text[text.index("label, laid over it") :].split("As training sees them")
    assert "images/003" in shown
    assert "clips/" in shown
    assert "images/003" not in augmented
    assert "clips/" not in augmented
    pictures = re.findall(r'src="(data:[^"]+)"', augmented)
    assert len(pictures) == len(set(pictures)) == 9


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    data = Folder(root=fakes.make_folder(tmp_path / "mydata", images=2, clips=0))
    write_check_page(tmp_path / "file" / "page.html", check(data), data)
    assert "cannot be written" in capsys.readouterr().err
