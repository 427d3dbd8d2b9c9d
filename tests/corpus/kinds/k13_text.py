"""Kind 13: text in other encodings, and lists as people write them. One reader; what has no mark must be UTF-8."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests import fakes
from tests.corpus.case import Case, Done, Place, Works, refused, table, told
from tests.corpus.inputs import (
    CHECK,
    TRAIN_IT,
    VIEWERS,
    choosing,
    chosen,
    counted,
    folder,
    learned,
    photo,
    save,
    truth,
    write,
)

LABELLED = "train recipe.yaml --out ../out streams.labelled.labels.file=ids.txt"
IDS = "images/000\nimages/001\nimages/002\n"


def saved(name: str, encoding: str, text: str | None = None) -> Callable[[Place], None]:
    """A text file of the plain folder, in another encoding; with this text if any."""

    def make(place: Place) -> None:
        folder()
        choosing()
        content = Path(name).read_text() if text is None else text
        write(name, content.encode(encoding))

    return make


def listed(*lines: str, end: str = "\n") -> Callable[[Place], None]:
    """splits/val.txt in these words."""

    def make(place: Place) -> None:
        folder()
        write("splits/val.txt", "".join(line + end for line in lines))

    return make


def hashes(place: Place) -> None:
    """Images whose names begin as a comment does."""
    folder()
    for part in ("images", "labels"):
        for path in sorted(Path(part).iterdir()):
            path.rename(path.with_name(f"#{path.name}"))
    write("splits/val.txt", "# those of the drive home\n#003.png\n")


def held(*ids: str) -> Works:
    def check(place: Place, done: Done) -> None:
        report = json.loads(done.out)
        assert report["problems"] == []
        assert report["splits"]["val"]["images"] == len(ids)
        assert report["splits"]["train"]["images"] == 4 - len(ids)

    return Works(check)


def field(maker: Callable[[Path], Path], pattern: str, encoding: str = "utf-16") -> Callable[[Place], None]:
    """A text file of a dataset of the field in another encoding."""

    def make(place: Place) -> None:
        maker(Path("data"))
        for path in Path("data").rglob(pattern):
            path.write_bytes(path.read_text().encode(encoding))

    return make


def scenes(place: Place, done: Done) -> None:
    report = json.loads(done.out)
    assert report["problems"] == []
    assert all(split["images"] for split in report["splits"].values())


def gta(place: Place) -> None:
    fakes.make_gta5(Path("data"))
    write("data/train.txt", "00001\n00002\n".encode("utf-16"))
    write("data/val.txt", "images/00150.png\r\n".encode("utf-8-sig"))


def gta_cp(place: Place) -> None:
    gta(place)
    write("data/train.txt", "Straße\n".encode("cp1252"))


CASES: tuple[Case, ...] = table(
    *(
        (f"{name} in {encoding}", "folder", saved(name, encoding), words, then)
        for encoding in ("utf-8-sig", "utf-16")
        for name, words, then in (
            ("splits/val.txt", CHECK, held("3")),
            ("dataset.yaml", CHECK, Works(counted)),
            ("recipe.yaml", TRAIN_IT, Works(learned)),
        )
    ),
    ("ids to label in utf-16", "folder", saved("ids.txt", "utf-16", IDS), LABELLED, Works(learned)),
    (
        "ids to label with CRLF",
        "folder",
        saved("ids.txt", "utf-8", IDS.replace("\n", "\r\n")),
        LABELLED,
        Works(learned),
    ),
    (
        "ids to label with spaces behind",
        "folder",
        saved("ids.txt", "utf-8", IDS.replace("\n", "  \n")),
        LABELLED,
        Works(learned),
    ),
    (
        "a selection's recipe in utf-16",
        "folder",
        saved("select.yaml", "utf-16"),
        "select select.yaml --out ../out",
        Works(chosen),
    ),
    (
        "dataset.yaml in cp1252",
        "folder",
        saved("dataset.yaml", "cp1252", "classes: [Straße, Gebäude, x]\n"),
        TRAIN_IT,
        refused("dataset.yaml", "is not text in UTF-8", "save it as UTF-8"),
    ),
    (
        "splits/val.txt in cp1252",
        "folder",
        saved("splits/val.txt", "cp1252", "# Straße\n003.png\n"),
        TRAIN_IT,
        refused("splits/val.txt", "save it as UTF-8"),
    ),
    (
        "splits/val.txt in cp1252, checked",
        "folder",
        saved("splits/val.txt", "cp1252", "# Straße\n003.png\n"),
        "check --data .",
        told("splits/val.txt", "save it as UTF-8"),
    ),
    (
        "utf-16 without its mark",
        "folder",
        saved("splits/val.txt", "utf-16-le", "003.png\n"),
        TRAIN_IT,
        refused("splits/val.txt", "UTF-16 without its mark"),
    ),
    (
        "a recipe in cp1252",
        "folder",
        saved("recipe.yaml", "cp1252", "# für Zürich\ndata: {}\n"),
        TRAIN_IT,
        refused("recipe.yaml", "save it as UTF-8"),
    ),
    (
        "ids to label in cp1252",
        "folder",
        saved("ids.txt", "cp1252", "Straße\n"),
        LABELLED,
        refused("ids.txt", "save it as UTF-8"),
    ),
    (
        "a study in cp1252",
        "folder",
        saved("study.yaml", "cp1252", "title: Zürich\n"),
        "study study.yaml --out ../out",
        refused("study.yaml", "save it as UTF-8"),
    ),
    (
        "a file of ids that is an image",
        "folder",
        lambda p: (folder(), save("ids.png", truth(0)), Path("ids.png").rename("ids.txt")),
        LABELLED,
        refused("ids.txt"),
    ),
    ("CRLF, spaces, an empty line", "folder", listed("003.png  ", "", "  001.png", end="\r\n"), CHECK, held("3", "1")),
    ("backslashes", "folder", listed("images\\003.png"), CHECK, held("3")),
    ("without endings", "folder", listed("003", "images/002"), CHECK, held("3", "2")),
    ("names that begin with #", "folder", hashes, CHECK, held("3")),
    ("the same name twice", "folder", listed("003.png", "003"), CHECK, held("3")),
    (
        "columns",
        "folder",
        listed("images/003.png labels/003.png"),
        TRAIN_IT,
        refused("splits/val.txt line 1", "there is no image"),
    ),
    ("quotes", "folder", listed('"003.png"'), TRAIN_IT, refused("splits/val.txt line 1", "did you mean images/003")),
    (
        "a list in train and in val",
        "folder",
        lambda p: (folder(), write("splits/train.txt", "003\n001\n")),
        TRAIN_IT,
        refused("splits/val.txt", "are in train as well", "images/003"),
    ),
    (
        "calibration in utf-16",
        "kitti",
        field(lambda p: fakes.make_kitti(p, "odometry"), "calib.txt"),
        "check --data kitti root=data --json",
        Works(scenes),
    ),
    (
        "camera of a clip in utf-16",
        "folder",
        lambda p: clip("utf-16"),
        "check --data . --json",
        Works(lambda p, d: with_camera(d)),
    ),
    (
        "camera of a clip in cp1252",
        "folder",
        lambda p: clip("cp1252", "# Größe\n"),
        "check --data .",
        told("camera.yaml", "save it as UTF-8"),
    ),
    (
        "colours in utf-16",
        "vkitti2",
        field(fakes.make_vkitti2, "*.txt"),
        "check --data vkitti2 root=data --json",
        Works(scenes),
    ),
    (
        "colours in cp1252",
        "vkitti2",
        lambda p: (
            fakes.make_vkitti2(Path("data")),
            [write(f, "Straße 1 2 3\n".encode("cp1252")) for f in Path("data").rglob("colors.txt")],
        ),
        "check --data vkitti2 root=data",
        told("colors.txt", "save it as UTF-8"),
    ),
    (
        "configuration in utf-16",
        "mapillary",
        field(fakes.make_mapillary, "*.json"),
        "check --data mapillary root=data --json",
        Works(scenes),
    ),
    (
        "cameras in utf-16",
        "cityscapes",
        field(fakes.make_cityscapes, "*_camera.json"),
        "check --data cityscapes root=data --json",
        Works(scenes),
    ),
    (
        "lists in utf-16",
        "nyuv2",
        field(fakes.make_nyuv2, "*.txt"),
        "check --data nyuv2 root=data --json",
        Works(scenes),
    ),
    ("lists in utf-16", "gta5", gta, "check --data gta5 root=data --json", Works(scenes)),
    ("lists in cp1252", "gta5", gta_cp, "check --data gta5 root=data", told("train.txt", "save it as UTF-8")),
    (
        "classes of a teacher in cp1252",
        "folder",
        lambda p: (folder(), write("map.yaml", "Straße: red\n".encode("cp1252"))),
        "distill @seg . --task segmentation --out ../out --all --classes map.yaml",
        refused("map.yaml", "save it as UTF-8"),
    ),
    ("a plain folder", "folder", lambda p: folder(), VIEWERS[0][1], VIEWERS[0][2]),
)


def clip(encoding: str, comment: str = "") -> None:
    folder(count=1)
    for i in range(3):
        save(f"clips/drive/{i}.png", photo(truth(i)))
    text = comment + "width: 64\nheight: 64\nfx: 60\nfy: 60\ncx: 31.5\ncy: 31.5\n"
    write("clips/drive/camera.yaml", text.encode(encoding))


def with_camera(done: Done) -> None:
    assert json.loads(done.out)["splits"]["clips"]["cameras"] == 3
