"""Kind 16: smaller things, and broken files in the hands of the verbs that go on without them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from PIL import Image

from tests.corpus.case import Case, Done, Place, Works, refused, table, told
from tests.corpus.inputs import (
    COUNT,
    PREDICT,
    TRAIN_IT,
    choosing,
    describe,
    folder,
    learned,
    load,
    photo,
    save,
    truth,
    write,
)
from tests.fakes import make_video


def image(change: Callable[[Path], object]) -> Callable[[Place], None]:
    """One image of the folder is broken."""

    def make(place: Place) -> None:
        folder()
        choosing()
        change(Path("images/001.png"))

    return make


def cut(path: Path) -> object:
    return path.write_bytes(path.read_bytes()[:-30])


def skipped(place: Place, done: Done) -> None:
    assert "images/001.png" in done.err
    assert sorted((place.out / "selection.txt").read_text().split()) == ["images/000", "images/002", "images/003"]


def tiny(size: tuple[int, int]) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        folder()
        for i in range(COUNT):
            save(f"images/{i:03d}.png", np.zeros((*size, 3), np.uint8))
            save(f"labels/{i:03d}.png", np.arange(size[0] * size[1], dtype=np.uint8).reshape(size) % 3)

    return make


def video(name: str = "drive.mp4", **options: object) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        describe()
        make_video(Path("videos", name), [photo(truth(i)) for i in range(6)], **options)  # type: ignore[arg-type]

    return make


def without_key_frame(place: Place) -> None:
    """A recording cut out of another, as loop recorders do: it begins between two key frames."""
    describe()
    whole = make_video(Path("../whole.mkv"), [photo(truth(0)) + i for i in range(12)], gop=6, b_frames=0)
    Path("videos").mkdir()
    with av.open(str(whole)) as source, av.open("videos/drive.mkv", "w") as target:
        stream = source.streams.video[0]
        out = target.add_stream_from_template(stream)
        for number, packet in enumerate(source.demux(stream)):
            if packet.size and number >= 2:
                packet.stream = out
                target.mux(packet)


def frames(count: int) -> Works:
    def check(place: Place, done: Done) -> None:
        found = sorted((place.out / "ids").rglob("*.png"))
        assert len(found) == count
        assert {load(path).shape for path in found} == {(32, 32)}

    return Works(check)


def clip(count: int) -> Works:
    def check(place: Place, done: Done) -> None:
        report = json.loads(done.out)
        assert report["splits"]["clips"]["images"] == count
        assert report["problems"] == []

    return Works(check)


VIDEO = "predict @known.onnx videos --out ../out --tasks segmentation --no-overlay"
DENSE = "train recipe.yaml --out ../out train.batch=1 network.norm=batch network.tasks.segmentation.decoder.name="
DENSE += "deeplabv3plus"


def both_at_once(verb: str) -> Callable[[Place], None]:
    """Another command is at work in the folder."""

    def make(place: Place) -> None:
        folder()
        choosing()
        place.out.mkdir()
        from filelock import FileLock

        place.notes["lock"] = FileLock(place.out / ".fathom-lock")
        place.notes["lock"].acquire()

    return make


CASES: tuple[Case, ...] = table(
    *(
        (f"an image {what}: {verb}", "folder", image(change), words, then)
        for what, change, said in (
            ("of zero bytes", lambda p: p.write_bytes(b""), "is empty (0 bytes)"),
            ("cut off", cut, "cannot be decoded"),
            ("that is text", lambda p: p.write_text("x"), "is not an image of a known format"),
        )
        for verb, words, then in (
            ("check", "check --data .", told("images/001.png", said)),
            ("train", TRAIN_IT, refused("images/001.png", said)),
            ("predict", PREDICT, told("images/001.png", said)),
            ("select", "select select.yaml --budget 3 --out ../out", Works(skipped)),
            (
                "distill",
                "distill @seg . --all --task segmentation --out ../out --split all",
                told("images/001.png", said),
            ),
            ("evaluate", "evaluate @seg --data . --split train --no-report", refused("images/001.png", said)),
        )
    ),
    (
        "CMYK JPEG",
        "folder",
        lambda p: (
            folder(),
            Path("images/001.png").unlink(),
            Image.fromarray(photo(truth(1))).convert("CMYK").save("images/001.jpg"),
        ),
        TRAIN_IT,
        Works(learned),
    ),
    (
        "float image",
        "folder",
        lambda p: (
            folder(),
            Path("images/001.png").unlink(),
            Image.fromarray(truth(1).astype(np.float32)).save("images/001.tif"),
        ),
        TRAIN_IT,
        refused("images/001.tif", "floating-point"),
    ),
    ("one image, batch 1, batch norm", "folder", lambda p: folder(), DENSE, refused("network.norm")),
    ("images of 1 x 1", "folder", tiny((1, 1)), PREDICT, Works(lambda p, d: None)),
    ("images of 1 x 1, trained on", "folder", tiny((1, 1)), TRAIN_IT, refused("only the class 'red' has pixels")),
    ("images of 1 x 200", "folder", tiny((1, 200)), PREDICT, Works(lambda p, d: None)),
    ("a video", "clips", video(), VIDEO, frames(6)),
    ("a video of uneven times", "clips", video(times=(0, 10, 300, 310, 900, 2000)), VIDEO, frames(6)),
    ("a video with an upper-case ending", "clips", video("DRIVE.MP4"), VIDEO, frames(6)),
    ("a video without its key frame", "clips", without_key_frame, "check --data . --json", clip(6)),
    (
        "an empty video",
        "clips",
        lambda p: (describe(), write("videos/a.mp4", b"")),
        "check --data .",
        told("videos/a.mp4"),
    ),
    ("an empty video, predicted", "clips", lambda p: write("videos/a.mp4", b""), VIDEO, told("videos/a.mp4")),
    (
        "a video that is text",
        "clips",
        lambda p: (describe(), write("videos/a.mp4", "x" * 99)),
        "check --data .",
        told("videos/a.mp4"),
    ),
    (
        "half a video",
        "clips",
        lambda p: (video()(p), halve("videos/drive.mp4")),
        "check --data .",
        told("videos/drive.mp4"),
    ),
    (
        "an image called .mp4",
        "clips",
        lambda p: (describe(), save("videos/a.png", truth(0)), Path("videos/a.png").rename("videos/a.mp4")),
        "check --data .",
        Works(lambda p, d: None),
    ),
    (
        "a gap in a clip",
        "clips",
        lambda p: (describe(), [save(f"clips/a/{i}.png", photo(truth(i))) for i in (1, 2, 3, 6)]),
        "check --data .",
        told("missing neighbour", "clips/a/3.png"),
    ),
    (
        "frames of no clip",
        "clips",
        lambda p: (describe(), save("clips/a.png", photo(truth(0))), save("images/a.png", photo(truth(0)))),
        "check --data .",
        told("clips/a.png", "belongs to no clip"),
    ),
    (
        "camera.yml beside the clips",
        "clips",
        lambda p: (describe(), save("clips/d/1.png", photo(truth(0))), write("camera.yml", {"width": 1})),
        "check --data .",
        told("camera.yml", "is the camera of no clip"),
    ),
    (
        "nothing to predict",
        "none",
        lambda p: write("images/notes.txt", "x"),
        PREDICT,
        refused("images", "1 .txt", "Known endings"),
    ),
    ("no input", "none", lambda p: None, PREDICT, refused("There is no file or folder images")),
    ("no run", "folder", lambda p: folder(), "predict ../none images --out ../out", refused("../none", "fathom train")),
    (
        "a recipe as a run",
        "folder",
        lambda p: folder(),
        "predict recipe.yaml images --out ../out",
        refused("recipe.yaml is a file"),
    ),
    ("no recipe", "none", lambda p: None, "train none.yaml --out ../out", refused("No recipe at none.yaml")),
    (
        "a folder without dataset.yaml",
        "none",
        lambda p: save("images/a.png", truth(0)),
        "check --data .",
        refused("holds no dataset.yaml"),
    ),
    (
        "a dataset of no name",
        "none",
        lambda p: None,
        "check --data camvidd",
        refused("'camvidd'", "Did you mean 'camvid'"),
    ),
    (
        "a dataset elsewhere",
        "camvid",
        lambda p: None,
        "check --data camvid root=nowhere",
        refused("No CamVid at", "trainannot", "root=FOLDER"),
    ),
    *(
        (
            f"two commands in a folder: {verb}",
            "folder",
            both_at_once(verb),
            words,
            refused("is in use by", "give another folder"),
        )
        for verb, words in (
            ("train", TRAIN_IT),
            ("select", "select select.yaml --out ../out"),
            ("predict", PREDICT),
            ("distill", "distill @seg . --all --task segmentation --out ../out"),
        )
    ),
)


def halve(name: str) -> None:
    path = Path(name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
