"""Kind 12: images of more than 8 bits. The depth is found or stated, by the file or on the command line."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from tests import fakes
from tests.corpus.case import Case, Done, Place, Works, refused, table, told
from tests.corpus.inputs import (
    COUNT,
    EVALUATE,
    PREDICT,
    TRAIN_IT,
    VIEWERS,
    folder,
    learned,
    load,
    photo,
    save,
    saying,
    truth,
)


def deep(
    depth: int, ending: str = ".png", change: Callable[[np.ndarray], np.ndarray] = lambda x: x, **more: Any
) -> Callable[[Place], None]:
    """Colour images of so many bits, in files of 16."""

    def make(place: Place) -> None:
        folder(**more)
        for i in range(COUNT):
            Path(f"images/{i:03d}.png").unlink()
            pixels = change(photo(truth(i)).astype(np.uint16) << (depth - 8))
            encoded = cv2.imencode(ending, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1]
            Path(f"images/{i:03d}{ending}").write_bytes(bytes(encoded))

    return make


def dim(depth: int, **more: Any) -> Callable[[Place], None]:
    """Images of so many bits, one of which is dark: taken alone it seems to have 8 bits."""

    def make(place: Place) -> None:
        deep(depth, **more)(place)
        pixels = photo(truth(0)).astype(np.uint16)
        Path("images/000.png").write_bytes(bytes(cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1]))

    return make


def dark(place: Place, done: Done) -> None:
    """With stated bits a dark image stays dark: what is predicted is not that of a bright one."""
    place.fathom("predict", "@seg", "images", "--out", "../found", "--no-overlay")
    stated, found = (load(f"../{o}/ids/000.png") for o in ("out", "found"))
    black = save("../black/000.png", photo(truth(0)) >> 4)
    place.fathom("predict", "@seg", str(black), "--out", "../as8", "--no-overlay")
    np.testing.assert_array_equal(stated, load("../as8/ids/000.png"))
    assert (stated != found).any()


def bits(expected: int, count: int = COUNT) -> Works:
    return saying(lambda place, done: None, f"{count} image", f"of which they use {expected}")


def grey(place: Place) -> None:
    """Thermal images: one channel of 14 bits."""
    folder()
    for i in range(COUNT):
        save(f"images/{i:03d}.png", photo(truth(i)).max(2).astype(np.uint16) << 6)


def by_default(place: Place, done: Done) -> None:
    report = json.loads(done.out)
    assert report["problems"] == []


def stated_in_file(place: Place) -> None:
    """PNGs whose sBIT says 12."""
    deep(12)(place)
    for i in range(COUNT):
        path = Path(f"images/{i:03d}.png")
        content, chunk = path.read_bytes(), b"sBIT" + bytes([12, 12, 12])
        path.write_bytes(
            content[:33] + struct.pack(">I", 3) + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[33:]
        )


def full(place: Place, done: Done) -> None:
    report = json.loads(done.out)
    assert not any("of which they use" in note for note in report["notes"])


BOTH = (("evaluate", EVALUATE), ("predict", PREDICT))

CASES: tuple[Case, ...] = table(
    *(
        (f"{b} bits in 16, {e}: {verb}", "folder", deep(b, e), words, then)
        for b, e in ((12, ".png"), (16, ".png"), (10, ".tiff"), (14, ".png"))
        for verb, words, then in VIEWERS
    ),
    ("12 bits found", "folder", deep(12), "check --data .", bits(12)),
    ("12 bits stated by sBIT", "folder", stated_in_file, "check --data .", bits(12)),
    ("16 bits", "folder", deep(16), "check --data . --json", Works(full)),
    ("12 bits stated in dataset.yaml", "folder", dim(12, bits=12), "check --data .", bits(12)),
    ("12 bits stated to check", "folder", dim(12), "check --data . bits=12", bits(12)),
    ("12 bits stated to check, by a recipe", "folder", dim(12), "check --data recipe.yaml data.bits=12", bits(12)),
    ("8 bits stated of 12", "folder", deep(12), "check --data . bits=8", told("images/000.png", "8 bits end at 255")),
    (
        "8 bits stated of 12 to train",
        "folder",
        deep(12),
        TRAIN_IT + " data.bits=8",
        refused("images/00", "mend `bits`"),
    ),
    ("12 bits stated to train", "folder", dim(12), TRAIN_IT + " data.bits=12", Works(learned)),
    (
        "12 bits stated to predict",
        "folder",
        dim(12),
        "predict @seg images --out ../out --no-overlay --bits 12",
        Works(dark),
    ),
    (
        "12 bits known to the run",
        "folder",
        lambda p: trained_on_12(p),
        "predict ../run images --out ../out --no-overlay",
        Works(lambda p, d: as_stated(p)),
    ),
    ("8 bits stated of 12 to predict", "folder", deep(12), PREDICT + " --bits 8", told("images/000.png", "--bits")),
    ("99 bits to predict", "folder", deep(12), PREDICT + " --bits 99", refused("--bits", "8", "16")),
    ("12 bits stated to evaluate", "folder", deep(12), EVALUATE + " bits=12", VIEWERS[0][2]),
    (
        "32 bits",
        "folder",
        lambda p: one_of(p, np.full((32, 32), 70000, np.int32)),
        TRAIN_IT,
        refused("images/000.tif", "70000", "save it with 16 bits"),
    ),
    (
        "negative values",
        "folder",
        lambda p: one_of(p, np.full((32, 32), -5, np.int32)),
        "check --data .",
        told("images/000.tif", "-5", "save it with 16 bits"),
    ),
    ("several pages", "folder", lambda p: pages(p), TRAIN_IT, refused("images/000.tif", "holds 2 pages")),
    ("one channel of 14 bits", "folder", grey, "check --data .", bits(14)),
    (
        "images of 16 bits",
        "gta5",
        lambda p: wide(p),
        "check --data gta5 root=data",
        saying(lambda place, done: None, "1 image has 16 bits"),
    ),
)


def one_of(place: Place, pixels: np.ndarray) -> None:
    folder()
    Path("images/000.png").unlink()
    save("images/000.tif", pixels)


def pages(place: Place) -> None:
    folder()
    Path("images/000.png").unlink()
    page = Image.fromarray(photo(truth(0)))
    page.save("images/000.tif", save_all=True, append_images=[page])


def trained_on_12(place: Place) -> None:
    dim(12, bits=12)(place)
    place.fathom("train", "recipe.yaml", "--out", "../run")


def as_stated(place: Place) -> None:
    """By default the run reads images as it was trained on them."""
    place.fathom("predict", "../run", "images", "--out", "../said", "--no-overlay", "--bits", "12")
    for i in range(COUNT):
        one, other = (load(f"../{o}/ids/{i:03d}.png") for o in ("out", "said"))
        np.testing.assert_array_equal(one, other)
    assert json.loads(Path("../run/model.json").read_text())["bits"] == 12


def wide(place: Place) -> None:
    fakes.make_gta5(Path("data"))
    path = sorted(Path("data/images").glob("*.png"))[0]
    pixels = cv2.imread(str(path)).astype(np.uint16) * 16
    path.write_bytes(bytes(cv2.imencode(".png", pixels)[1]))
