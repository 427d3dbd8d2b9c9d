"""`val` of the datasets `coco` and `yolo`: images and patterns that are held out, whatever the files say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fathomseg.data.datasets.coco import CocoFolder
from fathomseg.data.datasets.resolve import resolve_dataset
from fathomseg.data.datasets.yolo import YoloFolder
from fathomseg.data.held_out import HeldOut
from fathomseg.errors import DataError
from tests.fakes import make_coco, make_yolo

KINDS = {"coco": (make_coco, CocoFolder), "yolo": (make_yolo, YoloFolder)}
ALL = [f"{split}/000{number}" for split in ("train", "val") for number in range(3)]

Made = Callable[..., CocoFolder | YoloFolder]


@pytest.fixture(params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    """The dataset with these settings: three images in train, three in val."""
    make, kind = KINDS[request.param]
    root = make(tmp_path, images=3)
    return lambda **settings: kind(root=root, **settings)


@pytest.mark.parametrize(
    ("val", "held"),
    [
        (("train/0001",), ["train/0001"]),
        (("train/0001.png", "val/0002"), ["train/0001", "val/0002"]),
        (("0001",), ["train/0001", "val/0001"]),
        (("*/000[12]",), ["train/0001", "train/0002", "val/0001", "val/0002"]),
        (("000[02].png",), ["train/0000", "train/0002", "val/0000", "val/0002"]),
        (("val/*",), ["val/0000", "val/0001", "val/0002"]),
        ((), []),
    ],
)
def test_what_is_held_out(made: Made, val: tuple[str, ...], held: list[str]) -> None:
    data = made(val=val)
    rest = [id for id in ALL if id not in held]
    assert list(data.ids("train")) == rest
    assert [*data.ids("val")] == held if held else "val" not in data.splits
    assert data.held_out() == set(held)
    assert HeldOut.of(data, split=None).without(data, ALL) == rest, "also where nothing is scored"
    assert len(data.notes()) == 1


def test_every_entry_that_is_no_image_is_named(made: Made) -> None:
    with pytest.raises(DataError) as error:
        made(val=("harbour/*", "train/0001", "0009.png")).ids("train")
    assert "data.val: no image of train or val fits 'harbour/*'; they are called train/0000, train/0001 ..." in str(
        error.value
    )
    assert "fits '0009.png'" in str(error.value)
    assert "train/0001'" not in str(error.value)


def test_it_is_a_setting_of_a_command(made: Made) -> None:
    root = made().root
    assert resolve_dataset(str(root), ["val=[0001]"]).ids("val") == ("train/0001", "val/0001")
    assert resolve_dataset(str(root), ["val=train/*"]).ids("train") == ("val/0000", "val/0001", "val/0002")
