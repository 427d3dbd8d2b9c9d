"""Teachers of transformers: tiny random models saved by the test."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fathomseg.data.class_match import match_classes
from fathomseg.data.datasets.folder import Folder
from fathomseg.distillation.files import read_part
from fathomseg.distillation.huggingface import HuggingFaceLabels
from fathomseg.distillation.provenance import read_provenance
from fathomseg.errors import FathomError
from tests.depth_sources.random_dpt import save_dpt
from tests.distillation.teachers import distill, own_data, save_segformer

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs the extra hf"),
    # transformers leaves its settings files to the garbage collector to close
    pytest.mark.filterwarnings(
        "ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
    ),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return own_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def segformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_segformer(tmp_path_factory.mktemp("segformer"), ("Road", "car", "spaceship", "tree"))


@pytest.mark.parametrize("flip", [False, True])
def test_classes_of_a_model(segformer: Path, data: Folder, tmp_path: Path, flip: bool) -> None:
    transformers = pytest.importorskip("transformers")
    names = data.classes.names
    (tmp_path / "m.yaml").write_text(json.dumps({"Road": names[1], "car": names[0], "tree": names[2]}))
    out = tmp_path / "out"
    assert distill(f"hf:{segformer}", data, out, classes=tmp_path / "m.yaml", flip=flip) == 0
    known = read_provenance(out)
    assert (known.teacher.kind, known.teacher.revision) == ("huggingface", None)
    assert known.matched == {"Road": names[1], "car": names[0], "spaceship": None, "tree": names[2]}
    network = transformers.SegformerForSemanticSegmentation.from_pretrained(segformer).eval()
    processor = transformers.SegformerImageProcessor.from_pretrained(segformer)
    id = next(iter(known.images))
    views = []
    for image in [data.image(id), np.ascontiguousarray(data.image(id)[:, ::-1])]:
        with torch.no_grad():
            logits = network(**processor(images=[image], return_tensors="pt")).logits
        wide = torch.nn.functional.interpolate(logits, image.shape[:2], mode="bilinear", align_corners=False)[0]
        views.append(wide.softmax(0))
    p = (views[0] + views[1].flip(2)) / 2 if flip else views[0]
    assert len(p.argmax(0).unique()) > 1
    wanted = np.array([1, 0, 255, 2])[p.argmax(0).numpy()]
    found = read_part(out, id, "label", known.classes)
    assert (found == wanted).mean() > 0.999


def test_all_of_an_image_is_seen_where_a_processor_crops(data: Folder, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    cropping = save_segformer(tmp_path / "cropping", data.classes.names, crops=True)
    assert distill(f"hf:{cropping}", data, tmp_path / "out") == 0
    known = read_provenance(tmp_path / "out")
    assert known.teacher.settings["center_crop"] is False
    network = transformers.SegformerForSemanticSegmentation.from_pretrained(cropping).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(cropping)
    assert processor.do_center_crop
    id = next(iter(known.images))
    image = data.image(id)  # 24 x 32
    with torch.no_grad():
        inputs = processor(images=[image], return_tensors="pt", do_center_crop=False)
        assert inputs["pixel_values"].shape[2:] == (64, 85)
        logits = network(**inputs).logits
    wanted = torch.nn.functional.interpolate(logits, image.shape[:2], mode="bilinear", align_corners=False)[0].argmax(0)
    assert len(wanted.unique()) > 1
    assert (read_part(tmp_path / "out", id, "label", known.classes) == wanted.numpy()).mean() > 0.999


def test_images_of_one_size_go_through_a_model_together(segformer: Path) -> None:
    names = ("Road", "car", "spaceship", "tree")
    match, teacher = match_classes(names, names, None, ""), HuggingFaceLabels(f"hf:{segformer}", "cpu", False)
    shapes = [(24, 32), (24, 32), (32, 24), (24, 32)]
    images = [np.random.default_rng(i).integers(0, 255, (*size, 3), np.uint8) for i, size in enumerate(shapes)]
    alone = [teacher.predict([image], match, False)[0]["label"] for image in images]
    passes: list[int] = []
    teacher.network.register_forward_hook(lambda network, given, result: passes.append(len(result.logits)))
    together = teacher.predict(images, match, False)
    assert passes == [2, 1, 1]
    for one, wanted in zip(together, alone, strict=True):
        assert (one["label"] == wanted).mean() > 0.999


def test_a_model_of_another_kind_is_refused(segformer: Path, data: Folder, tmp_path: Path) -> None:
    with pytest.raises(FathomError, match="cannot be loaded as a model for depth estimation"):
        distill(f"hf:{segformer}", data, tmp_path / "out", "depth")


def test_depth_of_a_model(data: Folder, tmp_path: Path) -> None:
    save_dpt(tmp_path / "dpt")
    teacher = f"hf:{tmp_path / 'dpt'}"
    assert distill(teacher, data, tmp_path / "metres", "depth", gives="depth") == 0
    assert distill(teacher, data, tmp_path / "relative", "depth") == 0
    metres, relative = (read_provenance(tmp_path / name) for name in ("metres", "relative"))
    assert (metres.gives, metres.unit) == ("depth", "metres")
    assert (relative.gives, relative.unit) == ("disparity", "relative")
    id = data.ids("train")[0]
    a, b = (
        read_part(tmp_path / name, id, part, None) for name, part in (("metres", "depth"), ("relative", "disparity"))
    )
    np.testing.assert_array_equal(a, b)  # the same numbers, of which only a setting says what they are
    assert a.std() > 0
    assert a.shape == data.image(id).shape[:2]
