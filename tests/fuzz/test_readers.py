"""Every reader of files from strangers, fed with damaged ones: it returns, or raises `FathomError`, and nothing else.

`TARGETS` is the table: a reader, the name of the file it is given, and where the file's content comes from. A reader of
a new kind of file is a line there.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from fathomseg import config, text
from fathomseg.data.class_match import read_mapping
from fathomseg.data.datasets import cityscapes, kitti_calibration, vkitti2
from fathomseg.data.datasets.description import CameraEntry, Description
from fathomseg.data.datasets.folder import Folder
from fathomseg.data.datasets.maps import read_any_depth, read_depth
from fathomseg.data.datasets.streets import Streets
from fathomseg.distillation.provenance import read_provenance
from fathomseg.engine.checkpoint import load_checkpoint
from fathomseg.errors import FathomError
from fathomseg.evaluation.stored import refuse_other_classes
from fathomseg.inference.card import load_card
from fathomseg.inference.onnx import read_metadata
from fathomseg.inference.predicted import RECORD, Record
from fathomseg.inference.settings import trained_inference
from fathomseg.io import coco, images, label_images, owned
from fathomseg.io.depth_maps import read_scale
from fathomseg.io.files import read_ids
from fathomseg.io.normal_maps import read_normals
from fathomseg.io.npz import read_npz
from fathomseg.io.stored_maps import read_map
from fathomseg.io.video import read_frame, video_index
from fathomseg.io.yolo import class_names, label_of, parse_description
from fathomseg.models.encoders.pretrained import read_weights
from fathomseg.models.saved import load_weights
from fathomseg.selection.annotation import cvat, label_studio
from fathomseg.selection.annotation.task import Task, TaskClass, TaskImage, load_task
from fathomseg.selection.result import load_selection
from fathomseg.stages.study_runs import _read_known
from fathomseg.tasks import depth
from fathomseg.training.recipe import Recipe
from fathomseg.training.run_folder import own_device
from tests import fakes
from tests.fuzz import seeds
from tests.fuzz.seeds import damaged, written
from tests.inference.tiny_onnx import save_known
from tests.stages import tiny

TASK = Task(
    dataset="folder",
    classes=(TaskClass(name="dark", colour=(10, 20, 30)), TaskClass(name="bright", colour=(200, 0, 0))),
    images=(TaskImage(stem="0001-a", id="images/a", size=(4, 6)),),
)
MASK = np.zeros((4, 6, 3), np.uint8)
MASK[:2], MASK[2:] = (10, 20, 30), (200, 0, 0)
CAMERA = {"width": 64, "height": 48, "fx": 60.0, "fy": 60.0, "cx": 31.5, "cy": 23.5}
DESCRIPTION = {
    "classes": [{"name": "a", "id": 1, "colour": [1, 2, 3]}, {"name": "b", "id": 2}],
    "ignore": [0],
    "bits": 12,
    "camera": CAMERA,
    "unpainted": "a",
}
SCORES = {"classes": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}]}
PROVENANCE = {
    "format": 1,
    "task": "segmentation",
    "gives": "label",
    "teacher": {"kind": "run", "source": "x", "weights": "0", "settings": {"flip": False}},
    "dataset": "folder",
    "split": "train",
    "date": "2024-01-01",
    "images": {"images/a": {"pixels": "0", "source": "1"}},
}
CARD = {
    "format": 1,
    "network": {"tasks": {"segmentation": {"decoder": {"name": "fpn"}}}},
    "classes": ["a", "b"],
    "colours": [[0, 0, 0], [1, 1, 1]],
    "size": [48, 64],
}
REGION = {
    "type": "brushlabels",
    "original_height": 4,
    "original_width": 6,
    "value": {"format": "rle", "rle": [0, 0, 0, 96, 57, 219, 255], "brushlabels": ["dark"]},
}
STUDIO = [{"data": {"stem": "0001-a"}, "annotations": [{"updated_at": "1", "result": [REGION]}]}]
REGIONS = ([[0, 0, 4, 0, 4, 3]], {"size": [4, 6], "counts": [2, 20, 2]}, {"size": [4, 6], "counts": "2d02"})
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "height": 4, "width": 6}],
    "categories": [{"id": 1, "name": "a"}],
    "annotations": [{"id": i, "image_id": 1, "category_id": 1, "segmentation": s} for i, s in enumerate(REGIONS)],
}
YOLO = b"0 0.1 0.1 0.9 0.1 0.5 0.9\n0 0 0 1 0 1 1 0 1\n"
NAMED = {"train": "images", "names": {0: "a", 1: "b"}}
EXPORT = {"labelmap.txt": b"background:0,0,0::\ndark:10,20,30::\nbright:200,0,0::\n"}
CHOSEN = {"rank": 1, "id": "images/a", "score": 1.0}
SELECTION = {
    "format": 1,
    "dataset": "folder",
    "split": "train",
    "pool_size": 1,
    "pool_hash": "0",
    "criterion": {"name": "random"},
    "seed": 0,
    "chosen": [CHOSEN],
}
CELLS = {"cells": [{"arm": "a", "budget": 1, "seed": 0}], "recipes": {"a": {}}}
CALIBRATION = b"calib_time: 09\nP0: 1 0 0 0 0 1 0 0 0 0 1 0\nP2: 720 0 600 45 0 720 170 0 0 0 1 0\n"
TABLE = b"frame camera a b c d\n0 0 725 725 620 187\n1 0 725 725 620 187\n"
TENSORS = {"a.weight": torch.ones(2, 3), "b": torch.zeros(4, dtype=torch.int64)}


class Target(NamedTuple):
    """One reader."""

    read: Callable[[Path], Any]
    """Given the file."""
    name: str
    """What the file is called."""
    content: st.SearchStrategy[bytes]


def _dumped(tree: Any) -> str:
    return yaml.safe_dump(tree, allow_unicode=True)


def _yaml(tree: Any) -> st.SearchStrategy[bytes]:
    return written(_dumped, tree)


def _json(tree: Any) -> st.SearchStrategy[bytes]:
    return written(json.dumps, tree)


def _masks(path: Path) -> None:
    with cvat.returned(path, TASK) as masks:
        for _, read in masks:
            read()


def _brushes(path: Path) -> None:
    for _, read in label_studio.returned(path, TASK):
        read()


def _regions(path: Path) -> None:
    image, file = (4, 6), coco.read_coco(path)
    for one in file.images:
        with suppress(FathomError):
            file.label(one, image, {1: 0}, 255)


def _calibration(path: Path) -> None:
    calibration = kitti_calibration.Calibration(path)
    calibration.camera(2, (24, 80))
    calibration.baseline(0, 2)


def _frames(path: Path) -> None:
    for frame in range(min(video_index(path).frames, 3)):
        read_frame(path, frame)


def _images(path: Path) -> None:
    for read in (images.image_size, images.is_turned, images.bits_used, images.read_rgb):
        with suppress(FathomError):
            read(path)


def _labels(path: Path) -> None:
    for read in (
        label_images.read_values,
        label_images.read_drawing,
        lambda path: label_images.read_stored(path, lossy=True),
    ):
        with suppress(FathomError):
            read(path)


def _lists(path: Path) -> None:
    folder = path.parent.parent
    if not (folder / "images").is_dir():
        fakes.write_yaml(folder / "dataset.yaml", {"classes": ["a", "b"]})
        fakes.save(folder / "images/a.png", seeds.PIXELS)
    Folder(root=folder).ids("all")


def _export(mask: bytes) -> bytes:
    return seeds.packed(**EXPORT, **{"SegmentationClass/0001-a.png": mask})


def _video(tmp: Path) -> bytes:
    return fakes.make_video(tmp / "seed.mp4", [np.full((16, 32, 3), 20 * i, np.uint8) for i in range(6)]).read_bytes()


def targets(tmp: Path) -> dict[str, Target]:
    """All of them; some seeds are written by ffmpeg, torch and onnx first."""
    torch.save({"format": 1, "state": TENSORS}, tmp / "seed.pt")
    torch.save(TENSORS, tmp / "seed.pth")
    numbers = (np.arange(24.0).reshape(4, 6), np.arange(24, dtype=np.float32).reshape(1, 4, 6))
    arrays = damaged(tuple(map(seeds.array_file, numbers)))
    archives = damaged(tuple(seeds.array_file(one, "disparity") for one in numbers))
    pfm = b"Pf\n6 4\n-1.0\n" + np.arange(24, dtype="<f4").tobytes()
    return {
        "image": Target(_images, "a.png", damaged(seeds.IMAGES)),
        "label": Target(_labels, "a.png", damaged(seeds.IMAGES)),
        "depth png": Target(lambda p: read_depth(p, 256), "a.png", damaged(seeds.IMAGES)),
        "normals": Target(read_normals, "a.png", damaged(seeds.IMAGES)),
        "map npy": Target(read_map, "a.npy", arrays),
        "map npz": Target(read_map, "a.npz", archives),
        "map pfm": Target(read_map, "a.pfm", damaged((pfm,))),
        "map tiff": Target(read_map, "a.tif", damaged(seeds.IMAGES)),
        "depth npy": Target(depth._metres, "a.npy", arrays),
        "npz": Target(lambda p: read_npz(p, "disparity"), "a.npz", archives),
        "own depth": Target(lambda p: read_any_depth(p, 0.001), "a.npy", arrays),
        "video": Target(_frames, "a.mp4", damaged((_video(tmp),))),
        "text": Target(text.read_text, "a.txt", st.binary(max_size=60)),
        "ids": Target(read_ids, "a.txt", damaged((b"images/a\nimages/b\n", "Stra\u00dfe\n".encode("utf-16")))),
        "splits": Target(_lists, "splits/train.txt", damaged((b"a.png\n# all\nimages/a\n",))),
        "dataset.yaml": Target(lambda p: config.load(Description, p), "dataset.yaml", _yaml(DESCRIPTION)),
        "camera.yaml": Target(lambda p: config.load(CameraEntry, p), "camera.yaml", _yaml(CAMERA)),
        "stereo": Target(kitti_calibration.read_stereo, "camera.yaml", _yaml({**CAMERA, "baseline": 0.5})),
        "recipe": Target(lambda p: config.load(Recipe, p), "r.yaml", _yaml(tiny.settings(Path("/nowhere")))),
        "classes": Target(read_mapping, "classes.yaml", _yaml({"road": "street", "sky": None})),
        "inference": Target(lambda p: trained_inference(p.parent), "config.yaml", _yaml(tiny.settings(Path("/no")))),
        "device": Target(lambda p: own_device(p.parent), "config.yaml", _yaml(tiny.settings(Path("/no")))),
        "card": Target(lambda p: load_card(p.parent), "model.json", _json(CARD)),
        "provenance": Target(lambda p: read_provenance(p.parent), "provenance.json", _json(PROVENANCE)),
        "depth.json": Target(lambda p: read_scale(p.parent), "depth.json", _json({"nearest": 1.0, "farthest": 9.0})),
        "classes.json": Target(lambda p: refuse_other_classes(p.parent, Streets()), "classes.json", _json(SCORES)),
        "annotation": Target(lambda p: load_task(p.parent), "annotation.json", _json(TASK.model_dump(mode="json"))),
        "selection": Target(load_selection, "selection.json", _json(SELECTION)),
        "label studio": Target(_brushes, "export.json", _json(STUDIO)),
        "coco": Target(_regions, "c.json", _json(COCO)),
        "yolo": Target(lambda p: label_of(p.read_bytes(), (4, 6), {0: 0}, 255, "a"), "a.txt", damaged((YOLO,))),
        "data.yaml": Target(lambda p: class_names(parse_description(text.read_text(p), "d"), "d"), "d", _yaml(NAMED)),
        "results": Target(_read_known, "results.json", _json(CELLS)),
        "record": Target(lambda p: Record(p.parent), RECORD, _json({"file": "a", "maker": "b"})),
        "owned": Target(lambda p: owned.foreign(p.parent), owned.LIST, _json({"config.yaml": "3|4"})),
        "cvat": Target(_masks, "a.zip", damaged((_export(seeds.image("PNG", MASK)),))),
        "cvat masks": Target(_masks, "a.zip", damaged((seeds.image("PNG", MASK),)).map(_export)),
        "cityscapes camera": Target(
            cityscapes._read_camera, "c.json", _json({"intrinsic": {"fx": 1, "fy": 1, "u0": 1, "v0": 1}})
        ),
        "kitti calibration": Target(_calibration, "calib.txt", damaged((CALIBRATION,))),
        "vkitti table": Target(lambda p: vkitti2._Table(p, 4).row(0, 0), "intrinsic.txt", damaged((TABLE,))),
        "vkitti colours": Target(vkitti2._read_colours, "colors.txt", damaged((b"Category r g b\nRoad 1 2 3\n",))),
        "safetensors": Target(load_weights, "a.safetensors", damaged((save(TENSORS),))),
        "pth": Target(read_weights, "a.pth", damaged(((tmp / "seed.pth").read_bytes(),))),
        "checkpoint": Target(lambda p: load_checkpoint(p.parent), "checkpoint.pt", _pt(tmp)),
        "onnx": Target(read_metadata, "a.onnx", damaged((save_known(tmp / "seed.onnx").read_bytes(),))),
    }


def _pt(tmp: Path) -> st.SearchStrategy[bytes]:
    return damaged(((tmp / "seed.pt").read_bytes(),))


NAMES = (
    *("image", "label", "depth png", "normals", "map npy", "map npz", "map pfm", "map tiff", "depth npy", "npz"),
    *("own depth", "video", "text", "ids", "splits", "dataset.yaml", "camera.yaml", "stereo", "recipe", "classes"),
    *("inference", "device", "card", "provenance", "depth.json", "classes.json", "annotation", "selection"),
    *(
        "label studio",
        "coco",
        "yolo",
        "data.yaml",
        "results",
        "record",
        "owned",
        "cvat",
        "cvat masks",
        "cityscapes camera",
        "kitti calibration",
        "vkitti table",
    ),
    *("vkitti colours", "safetensors", "pth", "checkpoint", "onnx"),
)
"""Of `targets`, so that each is a test of its own before any seed is written."""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    found = targets(tmp_path_factory.mktemp("seeds"))
    assert tuple(found) == NAMES
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("examples", [10, pytest.param(2000, marks=pytest.mark.long)])
def test_a_damaged_file_is_refused_in_words(
    name: str, examples: int, table: dict[str, Target], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "MOST_PIXELS", 100_000)  # a header may promise gigabytes
    target, numbers = table[name], itertools.count()

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(content=target.content)
    def run(content: bytes) -> None:
        # A folder for each, since readers remember files by name, size and time.
        folder = tmp_path / str(next(numbers))
        path = folder / target.name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        with suppress(FathomError):
            target.read(path)
        shutil.rmtree(folder)

    run()
