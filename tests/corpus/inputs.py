"""Plain inputs of known content, which cases make odd: pictures of three classes, and what is to be found in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from tests.corpus.case import Check, Done, Place, Works
from tests.stages.tiny import settings

SIZE = (32, 32)
CLASSES = ("red", "green", "blue")
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
COUNT = 4
"""Images; the last one is `val`."""
TRAIN = range(COUNT - 1)


def truth(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Class indices in blocks of 4 x 4, all three of them."""
    rng = np.random.default_rng(seed)
    cells = rng.permutation(np.arange(size[0] // 4 * (size[1] // 4)) % 3).reshape(size[0] // 4, -1)
    return np.kron(cells, np.ones((4, 4), int)).astype(np.uint8)


def photo(label: np.ndarray) -> np.ndarray:
    """The image of a label, from which the network `known.onnx` finds it exactly."""
    return np.array([(200, 0, 0), (0, 200, 0), (0, 0, 200)], np.uint8)[label]


def save(path: str | Path, pixels: np.ndarray | Image.Image, **options: Any) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(path, **options)
    return path


def load(path: str | Path) -> np.ndarray:
    """The pixels of an image file, as they are stored."""
    with Image.open(path) as image:
        return np.asarray(image)


def write(path: str | Path, content: object) -> Path:
    """Bytes as they are, text in UTF-8, anything else as YAML."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    path.write_bytes(content if isinstance(content, bytes) else text.encode())
    return path


def folder(root: str | Path = ".", count: int = COUNT, **description: Any) -> None:
    """A dataset folder of the user's, and recipes for it. `description` is put into dataset.yaml."""
    root = Path(root)
    describe(root, **description)
    for i in range(count):
        save(root / f"images/{i:03d}.png", photo(truth(i)))
        save(root / f"labels/{i:03d}.png", truth(i))
    write(root / "splits/val.txt", f"{count - 1:03d}.png\n")
    recipe(root=root)


def describe(root: str | Path = ".", **description: Any) -> None:
    write(Path(root) / "dataset.yaml", {"classes": list(CLASSES), **description})


def relabel(change: Callable[[np.ndarray], np.ndarray | Image.Image], ending: str = ".png", **options: Any) -> None:
    """Every label stored otherwise."""
    for i in range(COUNT):
        Path(f"labels/{i:03d}.png").unlink()
        save(f"labels/{i:03d}{ending}", change(truth(i)), **options)


def repaint(change: Callable[[np.ndarray], np.ndarray | Image.Image], ending: str = ".png", **options: Any) -> None:
    """Every image stored otherwise."""
    for i in range(COUNT):
        Path(f"images/{i:03d}.png").unlink()
        save(f"images/{i:03d}{ending}", change(photo(truth(i))), **options)


def recipe(path: str = "recipe.yaml", root: str | Path = ".", data: dict[str, Any] | None = None, **more: Any) -> None:
    """One step of training, on one image of each class at least."""
    tree = settings(Path(root), **{"data": data or {"name": "folder", "root": str(root)}, "size": list(SIZE)})
    tree["train"] |= {"steps": 1, "batch": 2, "log_every": 1, "save_every": 1}
    tree["network"]["tasks"]["segmentation"]["decoder"]["channels"] = 8
    tree["evaluation"]["split"] = None
    write(path, tree | more)


def choosing(
    path: str = "select.yaml", root: str | Path = ".", data: dict[str, Any] | None = None, **more: Any
) -> None:
    """A choice of all images of the pool, at random; of a folder none is held out."""
    source = data or {"name": "folder", "root": str(root), "val": []}
    tree = {"data": source, "split": "all", "size": list(SIZE), "criterion": {"name": "random"}, "budget": COUNT}
    plain = {"device": "cpu", "threads": 1, "report": False, "annotation": False, "copy_images": "none"}
    write(path, tree | plain | more)


def pixels(ids: Sequence[int]) -> list[int]:
    """Pixels of each class in these labels."""
    return np.bincount(np.concatenate([truth(i).ravel() for i in ids]), minlength=3).tolist()


# --- what must be found ----------------------------------------------------------------------------------------------


def counted(place: Place, done: Done) -> None:
    """`check --json`: every pixel of every label, and no problem."""
    report = json.loads(done.out)
    assert list(report["splits"]["all"]["pixels"].values()) == pixels(range(COUNT))
    assert report["splits"]["all"]["images"] == COUNT
    assert report["problems"] == []


def perfect(place: Place, done: Done) -> None:
    """`evaluate --json` of the truth or of a network that finds it."""
    scores = json.loads(done.out.splitlines()[-1])["scores"]
    assert scores
    assert all(one["segmentation"]["miou"] == 1.0 for one in scores.values())


def learned(place: Place, done: Done) -> None:
    """`train`: the labels it has counted."""
    record = json.loads((place.out / "data.json").read_text())
    assert record["streams"]["labelled"]["label_pixels"] == pixels(TRAIN)
    assert (place.out / "model.json").is_file()


def predicted(place: Place, done: Done) -> None:
    """`predict` by a network that finds the truth: its pixels, at the size of the image."""
    found = {path.stem: path for path in place.out.rglob("*.png") if "ids" in path.parts}
    assert sorted(found) == [f"{i:03d}" for i in range(COUNT)]
    for i in range(COUNT):
        np.testing.assert_array_equal(load(found[f"{i:03d}"]), truth(i))


def chosen(place: Place, done: Done) -> None:
    """`select` of a whole pool: every image of it."""
    ids = (place.out / "selection.txt").read_text().split()
    assert sorted(ids) == [f"images/{i:03d}" for i in range(COUNT)]


def saying(check: Check, *words: str) -> Works:
    """The same, and these words are said."""

    def both(place: Place, done: Done) -> None:
        check(place, done)
        flat = " ".join(done.text.split())
        assert not [word for word in words if word not in flat], done.text

    return Works(both)


CHECK = "check --data . --json"
EVALUATE = "evaluate @known.onnx --data . --tasks segmentation --no-report --json"
TRAIN_IT = "train recipe.yaml --out ../out"
PREDICT = "predict @known.onnx images --out ../out --tasks segmentation --no-overlay"
SELECT = "select select.yaml --out ../out"

READERS = (
    ("check", CHECK, Works(counted)),
    ("evaluate", EVALUATE, Works(perfect)),
    ("train", TRAIN_IT, Works(learned)),
)
"""The verbs that read labels, with what each must find."""
VIEWERS = (("evaluate", EVALUATE, Works(perfect)), ("predict", PREDICT, Works(predicted)))
"""The verbs that show images to a network, with what each must find."""
