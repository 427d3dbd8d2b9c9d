"""Kind 9: files passed over. One lister for all verbs; what is skipped is named or counted, and links are followed."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

from tests import fakes
from tests.corpus.case import Case, Done, Place, Works, refused, table, told
from tests.corpus.inputs import (
    CHECK,
    COUNT,
    PREDICT,
    READERS,
    SELECT,
    TRAIN_IT,
    choosing,
    chosen,
    counted,
    folder,
    learned,
    photo,
    pixels,
    predicted,
    recipe,
    save,
    saying,
    truth,
    write,
)

ODD = ("images/IMG_1.HEIC", "images/raw.dng", "images/page.gif", "images/noending")


def beside(*names: str, content: bytes = b"x") -> Callable[[Place], None]:
    """A plain folder, and files beside what is known."""

    def make(place: Place) -> None:
        folder()
        choosing()
        for name in names:
            write(name, content)

    return make


def linked(place: Place) -> None:
    """Folders of images and labels that are links, one of which leads back up."""
    folder("store")
    for name in ("images", "labels", "splits", "dataset.yaml"):
        Path(name).symlink_to(Path("store", name))
    Path("store/images/up").symlink_to("..")
    Path("store/images/000.d").mkdir()
    Path("store/images/000.d/here").symlink_to("../../images")
    recipe()
    choosing()


def broken(place: Place) -> None:
    folder()
    Path("images/001.png").unlink()
    Path("images/001.png").symlink_to("/nowhere/001.png")


def renamed(part: str, change: Callable[[str], str]) -> Callable[[Place], None]:
    """Labels or images called otherwise."""

    def make(place: Place) -> None:
        folder()
        for path in sorted(Path(part).iterdir()):
            path.rename(path.with_name(change(path.name)))

    return make


def by_case(place: Place) -> None:
    """Two images whose names differ in case alone."""
    folder()
    for name, seed in (("A", 1), ("a", 2)):
        save(f"images/{name}.png", photo(truth(seed)))
        save(f"labels/{name}.png", truth(seed))


def six(place: Place, done: Done) -> None:
    report = json.loads(done.out)["splits"]["all"]
    assert report["images"] == COUNT + 2
    assert list(report["pixels"].values()) == pixels([*range(COUNT), 1, 2])


def forms(place: Place) -> None:
    """The name of an image composed, that of its label decomposed, as macOS stores names."""
    folder()
    save(f"images/{unicodedata.normalize('NFC', 'Zürich')}.png", photo(truth(7)))
    save(f"labels/{unicodedata.normalize('NFD', 'Zürich')}.png", truth(7))


def deep(place: Place) -> None:
    folder()
    for part in ("images", "labels"):
        Path(part, "a b/ü").mkdir(parents=True)
        for path in sorted(Path(part).glob("*.png")):
            path.rename(Path(part, "a b/ü", path.name))
    write("splits/val.txt", "a b/ü/003.png\n")


def gone(maker: Callable[[Path], Path], *patterns: str) -> Callable[[Place], None]:
    """Images of a dataset of the field that have gone, with their labels still there, and a misnamed label."""

    def make(place: Place) -> None:
        maker(Path("data"))
        for pattern in patterns:
            sorted(Path("data").rglob(pattern))[0].unlink()

    return make


def strange(maker: Callable[[Path], Path], *names: str) -> Callable[[Place], None]:
    """Files in a dataset of the field that belong to nothing."""

    def make(place: Place) -> None:
        maker(Path("data"))
        for name in names:
            save(Path("data", name), truth(0))

    return make


HIDDEN = ("images/.DS_Store", "images/._000.png", "images/Thumbs.db", "labels/@eaDir/000.png", "images/__MACOSX/a.png")

CASES: tuple[Case, ...] = table(
    (
        "endings nobody knows: check",
        "folder",
        beside(*ODD),
        "check --data .",
        saying(lambda place, done: None, "1 .HEIC", "1 .dng", "1 .gif", "without an ending"),
    ),
    ("endings nobody knows: train", "folder", beside(*ODD), TRAIN_IT, saying(learned, "3 labels are used", "1 .HEIC")),
    ("endings nobody knows: predict", "folder", beside(*ODD), PREDICT, saying(predicted, "1 .HEIC", "Not read")),
    (
        "labels in a format not read",
        "folder",
        beside("labels/000.npy", "labels/001.gif"),
        "check --data .",
        saying(lambda place, done: None, "1 .gif", "1 .npy", "Known endings"),
    ),
    (
        "videos not read",
        "folder",
        beside("videos/a.MTS", "videos/b.wmv"),
        "check --data .",
        saying(lambda place, done: None, "1 .MTS", "1 .wmv"),
    ),
    ("hidden and system files: check", "folder", beside(*HIDDEN), CHECK, Works(counted)),
    ("hidden and system files: train", "folder", beside(*HIDDEN), TRAIN_IT, Works(learned)),
    ("hidden and system files: predict", "folder", beside(*HIDDEN), PREDICT, Works(predicted)),
    ("hidden and system files: select", "folder", beside(*HIDDEN), SELECT, Works(chosen)),
    ("linked folders and a circle: check", "folder", linked, CHECK, Works(counted)),
    ("linked folders and a circle: train", "folder", linked, TRAIN_IT, Works(learned)),
    ("linked folders and a circle: predict", "folder", linked, PREDICT, Works(predicted)),
    ("linked folders and a circle: select", "folder", linked, SELECT, Works(chosen)),
    ("a link that leads nowhere: check", "folder", broken, "check --data .", told("images/001.png", "/nowhere")),
    ("a link that leads nowhere: train", "folder", broken, TRAIN_IT, refused("images/001.png", "/nowhere")),
    ("a link that leads nowhere: predict", "folder", broken, PREDICT, told("images/001.png", "/nowhere")),
    (
        "labels called otherwise: check",
        "folder",
        renamed("labels", lambda n: f"mask_{n}"),
        "check --data .",
        told("labels/mask_000.png", "is the label of no image"),
    ),
    ("labels called otherwise: train", "folder", renamed("labels", lambda n: f"mask_{n}"), TRAIN_IT, refused("label")),
    (
        "one label called otherwise",
        "folder",
        renamed("labels", lambda n: n.replace("001", "01")),
        TRAIN_IT,
        saying(lambda place, done: None, "2 labels are used", "labels/01.png", "is the label of no image"),
    ),
    ("upper-case endings: check", "folder", renamed("images", lambda n: n.upper()), CHECK, Works(counted)),
    ("upper-case endings: predict", "folder", renamed("images", lambda n: n.upper()), PREDICT, Works(predicted)),
    (
        "two images of one name",
        "folder",
        lambda p: (folder(), save("images/001.jpg", photo(truth(1)))),
        TRAIN_IT,
        refused("images/001.png", "the same name", "remove one"),
    ),
    (
        "two images of one name, checked",
        "folder",
        lambda p: (folder(), save("images/001.jpg", photo(truth(1)))),
        "check --data .",
        told("images/001.png", "the same name"),
    ),
    (
        "two images of one name, predicted",
        "folder",
        lambda p: (folder(), save("images/001.jpg", photo(truth(1)))),
        PREDICT,
        told("001", "has the same results as", "rename one"),
    ),
    ("names that differ in case", "folder", by_case, CHECK, Works(six)),
    ("composed and decomposed names", "folder", forms, "check --data .", told("labels/", "is the label of no image")),
    ("folders with spaces and umlauts: train", "folder", deep, TRAIN_IT, Works(learned)),
    ("folders with spaces and umlauts: predict", "folder", deep, PREDICT, Works(predicted)),
    (
        "labels whose image has gone",
        "camvid",
        gone(fakes.make_camvid, "train/*.png"),
        "check --data camvid root=data",
        told("trainannot/", "is the label of no image"),
    ),
    (
        "labels whose image has gone",
        "cityscapes",
        gone(lambda p: fakes.make_cityscapes(p, sequence=False), "train/*/*_leftImg8bit.png"),
        "check --data cityscapes root=data",
        told("_gtFine_labelIds.png", "is the label of no image"),
    ),
    (
        "images called otherwise",
        "cityscapes",
        strange(fakes.make_cityscapes, "leftImg8bit/train/aachen/aachen_000009_000019.png"),
        "check --data cityscapes root=data",
        told("aachen_000009_000019.png", "_leftImg8bit"),
    ),
    (
        "labels called otherwise",
        "cityscapes",
        strange(fakes.make_cityscapes, "gtFine/train/aachen/aachen_000000_000019_labels.png"),
        "check --data cityscapes root=data",
        told("aachen_000000_000019_labels.png", "_gtFine_labelIds"),
    ),
    (
        "files nobody reads",
        "camvid",
        lambda p: (fakes.make_camvid(Path("data")), write("data/train/a.gif", b"x")),
        "check --data camvid root=data",
        saying(lambda place, done: None, "1 .gif"),
    ),
    (
        "labels of idd_lite whose image has gone",
        "idd_lite",
        gone(fakes.make_idd_lite, "*_image.jpg"),
        "check --data idd_lite root=data",
        told("_label.png"),
    ),
    (
        "empty folders",
        "folder",
        lambda p: (folder(), shutil.rmtree("images"), Path("images").mkdir()),
        TRAIN_IT,
        refused("holds no images", "images/"),
    ),
    *(
        (f"a plain folder: {verb}", "folder", lambda p: (folder(), choosing()), words, then)
        for verb, words, then in READERS
    ),
)
