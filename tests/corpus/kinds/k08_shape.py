"""Kind 8: another shape or orientation. It is turned as the file says, everywhere alike, and never stretched to fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests import fakes
from tests.corpus.case import Case, Done, Place, Works, refused, table, told
from tests.corpus.inputs import (
    COUNT,
    PREDICT,
    READERS,
    VIEWERS,
    describe,
    folder,
    load,
    photo,
    save,
    truth,
    write,
)

TURNS = {1: 0, 6: 1, 3: 2, 8: 3}
"""Quarter turns to the left that undo each EXIF orientation."""
WIDE = (24, 40)


def turned(orientation: int, ending: str = ".jpg", label: str = "upright") -> Callable[[Place], None]:
    """Images stored turned, with the orientation that turns them upright; labels upright or as pixels are stored."""

    def make(place: Place) -> None:
        folder()
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"quality": 100, "subsampling": 0} if ending == ".jpg" else {}
        for i in range(COUNT):
            Path(f"images/{i:03d}.png").unlink()
            pixels = np.ascontiguousarray(np.rot90(photo(truth(i)), TURNS[orientation]))
            save(f"images/{i:03d}{ending}", pixels, exif=exif, **options)
            if label != "upright":
                save(f"labels/{i:03d}.png", np.ascontiguousarray(np.rot90(truth(i), TURNS[orientation])), exif=exif)

    return make


def lying(place: Place) -> None:
    """Wide images stored on their side, and labels of the pixels as they are stored."""
    folder()
    exif = Image.Exif()
    exif[0x0112] = 6
    for i in range(COUNT):
        save(f"images/{i:03d}.png", np.ascontiguousarray(np.rot90(photo(truth(i, WIDE)))), exif=exif)
        save(f"labels/{i:03d}.png", np.ascontiguousarray(np.rot90(truth(i, WIDE))))


def upright(place: Place, done: Done) -> None:
    for i in range(COUNT):
        assert load(place.out / f"ids/{i:03d}.png").shape == WIDE


def frames(sizes: list[tuple[int, int]]) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        describe()
        for i, size in enumerate(sizes):
            save(f"clips/drive/{i:03d}.png", photo(truth(i, size)))

    return make


def camera(width: int, height: int) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        frames([(32, 32)] * 3)(place)
        write("clips/drive/camera.yaml", {"width": width, "height": height, "fx": 60, "fy": 60, "cx": 9, "cy": 9})

    return make


def scaled(place: Place, done: Done) -> None:
    assert json.loads(done.out)["splits"]["clips"]["cameras"] == 3


def rotated(maker: Callable[[Path], Path], pattern: str) -> Callable[[Place], None]:
    """Maps of a dataset of the field, lying on their side."""

    def make(place: Place) -> None:
        maker(Path("data"))
        for path in sorted(Path("data").rglob(pattern)):
            pixels = load(path)
            save(path, np.ascontiguousarray(np.rot90(pixels)))

    return make


CASES: tuple[Case, ...] = table(
    *(
        (f"EXIF {o} of a {e}: {verb}", "folder", turned(o, e), words, then)
        for o, e in ((6, ".png"), (3, ".jpg"), (8, ".tif"))
        for verb, words, then in dict.fromkeys((*READERS[1:], *VIEWERS[1:]))
    ),
    ("EXIF of image and label alike", "folder", turned(6, ".png", "stored"), READERS[0][1], READERS[0][2]),
    (
        "EXIF is counted",
        "folder",
        turned(6, ".png"),
        "check --data .",
        Works(lambda place, done: said(done, "4 images have an EXIF orientation")),
    ),
    ("the label of the stored pixels", "folder", lying, "check --data .", told("labels/000.png", "40 x 24", "24 x 40")),
    (
        "the label of the stored pixels, trained on",
        "folder",
        lying,
        "train recipe.yaml --out ../out",
        refused("labels/000.png", "24 x 40"),
    ),
    ("predictions are upright", "folder", lying, PREDICT, Works(upright)),
    (
        "frames that change shape",
        "folder",
        frames([(32, 32), (32, 32), (32, 64)]),
        "check --data .",
        told("32 x 64", "make two clips"),
    ),
    ("the camera of another shape", "folder", camera(64, 32), "check --data .", told("camera", "32 x 64")),
    ("the camera of another size", "folder", camera(64, 64), "check --data . --json", Works(scaled)),
    (
        "depth on its side",
        "nyuv2",
        rotated(fakes.make_nyuv2, "depth/*.png"),
        "check --data nyuv2 root=data",
        told("depth/", "lies on its side"),
    ),
    (
        "labels on their side",
        "nyuv2",
        rotated(fakes.make_nyuv2, "seg40/*.png"),
        "check --data nyuv2 root=data",
        told("seg40/", "lies on its side"),
    ),
    (
        "labels on their side",
        "gta5",
        rotated(fakes.make_gta5, "labels/*.png"),
        "check --data gta5 root=data",
        told("labels/"),
    ),
    (
        "depth on its side",
        "synthia",
        rotated(fakes.make_synthia, "Depth/*/*.png"),
        "check --data synthia root=data",
        told("Depth/", "lies on its side"),
    ),
    (
        "depth on its side",
        "vkitti2",
        rotated(fakes.make_vkitti2, "depth_*.png"),
        "check --data vkitti2 root=data",
        told("depth_", "lies on its side"),
    ),
    (
        "depth on its side",
        "kitti",
        rotated(lambda path: fakes.make_kitti(path, "raw"), "groundtruth/*/*.png"),
        "check --data kitti root=data",
        told("groundtruth", "lies on its side"),
    ),
    (
        "labels on their side",
        "cityscapes",
        rotated(fakes.make_cityscapes, "*_labelIds.png"),
        "check --data cityscapes root=data",
        told("_labelIds.png"),
    ),
)


def said(done: Done, *words: str) -> None:
    assert not [word for word in words if word not in " ".join(done.text.split())], done.text
