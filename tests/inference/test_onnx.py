"""Exported files in the place of a run folder: a network that is known gives what it must, a bad file a clear error."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import fathomseg
from fathomseg.errors import FathomError
from fathomseg.inference.card import ModelCard, load_card
from fathomseg.inference.device import pick_device
from fathomseg.inference.onnx import CARD_KEYS, OnnxNetwork, _providers, read_metadata
from fathomseg.inference.predictor import Predictor, load
from fathomseg.inference.settings import Inference, Window
from fathomseg.types import Prediction
from tests.inference.test_predictor import Known, photo
from tests.inference.tiny_onnx import BOTH, CARD, CELL, save_known
from tests.stages.saved_run import RANGE


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_known(tmp_path_factory.mktemp("onnx") / "known.onnx")


def fields(prediction: Prediction) -> dict[str, np.ndarray]:
    every = {name: getattr(prediction, name) for name in ("label", "confidence", "disparity", "depth")}
    return {name: array for name, array in every.items() if array is not None}


@pytest.mark.parametrize(
    "inference", [Inference(), Inference(flip=True), Inference(mode="slide", window=Window(size=(16, 16)))]
)
@pytest.mark.parametrize("tasks", [None, ("depth",), ("segmentation",)])
def test_predicts_as_the_network_it_was_made_from(
    file: Path, inference: Inference, tasks: tuple[str, ...] | None
) -> None:
    """Windows, mirrored views and decoding work on it unchanged."""
    images = [photo(24, 32), photo(61, 83, seed=1)]
    mine = load(file, device="cpu", inference=inference, tasks=tasks).predict(images)
    theirs = Predictor(Known(CELL), CARD, "cpu", inference, tasks).predict(images)
    for one, other in zip(mine, theirs, strict=True):
        assert fields(one).keys() == fields(other).keys()
        for name, array in fields(one).items():
            np.testing.assert_allclose(array, fields(other)[name], rtol=1e-5, atol=1e-6)
    assert any(
        not np.array_equal(a, b) for a, b in zip(fields(mine[0]).values(), fields(mine[1]).values(), strict=True)
    )


def test_the_public_function_takes_a_file_and_knows_its_classes(file: Path) -> None:
    predictor = fathomseg.load(str(file))
    assert predictor.classes == CARD.class_list
    assert (tuple(predictor.tasks), predictor.size) == (BOTH, (24, 32))
    with pytest.raises(FathomError, match=r"known\.onnx has no task 'normals'; it predicts segmentation, depth"):
        load(file, tasks=["normals"])


def test_metadata_come_back_as_they_were_written(file: Path) -> None:
    known = read_metadata(file)
    assert load_card(file) == CARD
    assert ModelCard.model_fields.keys() - set(CARD_KEYS) == {
        *("format", "pose", "pose_size", "cameras", "scene", "fathomseg")
    }
    assert known["fathomseg"] == fathomseg.__version__
    assert known["origin"] == {"run": "runs/known", "date": "2026-11-28"}
    assert (known["format"], known["precision"], known["tasks"]) == (1, "fp32", ["segmentation", "depth"])
    assert (known["depth"]["nearest"], known["depth"]["farthest"]) == RANGE
    assert known["depth"]["unit"] == "relative"
    assert known["normalisation"]["inside"] is True
    assert len(known["normalisation"]["shared"]["mean"]) == 3


def test_without_the_extra_it_says_what_to_install(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(FathomError, match=r"pip install 'fathomseg\[onnx\]'"):
        load(file)


def test_a_gpu_that_is_not_there(file: Path) -> None:
    with pytest.raises(FathomError, match="onnxruntime-gpu"):
        OnnxNetwork(file, CARD.tasks, "cuda")
    with pytest.raises(FathomError, match="cpu or cuda, not on mps"):
        OnnxNetwork(file, CARD.tasks, "mps")
    with pytest.raises(FathomError, match="no kind of device 'gpu'"):
        OnnxNetwork(file, CARD.tasks, "gpu")


def test_a_gpu_is_meant_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = SimpleNamespace(get_available_providers=lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    assert _providers(runtime, "cuda:1") == [("CUDAExecutionProvider", {"device_id": 1}), "CPUExecutionProvider"]
    assert _providers(runtime, None)[0] == ("CUDAExecutionProvider", {"device_id": 0})
    assert _providers(runtime, "cpu") == ["CPUExecutionProvider"]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert pick_device("cuda:1").index == 1
    with pytest.raises(FathomError, match=r"cuda:7 was asked for, but torch finds 2, numbered from 0"):
        pick_device("cuda:7")


def test_on_a_gpu_it_takes_the_batches_of_a_gpu(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = load(file, device="cpu")
    assert (predictor.batch, "on cpu" in repr(predictor)) == (1, True)
    session = SimpleNamespace(get_providers=lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(predictor.network, "session", session)
    assert (predictor.batch, "on cuda" in repr(predictor)) == (8, True)
    assert predictor.device.type == "cpu"  # where its outputs are


def test_a_fixed_size_is_the_only_one(tmp_path: Path) -> None:
    file = save_known(tmp_path / "fixed.onnx", sides=(24, 32))
    assert load(file).predict(photo(50, 60)).label is not None
    with pytest.raises(FathomError, match=r"cannot take images of 16 x 16 .*It takes 24 x 32 alone"):
        load(file, inference=Inference(size=(16, 16))).predict(photo(50, 60))


# --- files that are not what they should be -------------------------------------------------------------------------


def without_metadata(model: Any) -> None:
    del model.metadata_props[:]


def changed(**values: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        texts = {prop.key: prop.value for prop in model.metadata_props} | values
        helper.set_model_props(model, texts)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_metadata, "was not written by `fathom export`"),
        (changed(format="2"), "of a format this version reads"),
        (changed(classes="[oops"), "damaged metadata"),
        (changed(size='"large"'), "size: must be a list of 2 whole numbers"),
        (changed(network='{"tasks": {"teleport": {}}}'), "no such name 'teleport'"),
        (lambda model: model.graph.output.pop(), "outputs segmentation; expected"),
        (lambda model: setattr(model.graph.node[0], "op_type", "Nonsense"), "cannot be loaded"),
    ],
)
def test_foreign_and_damaged_models(tmp_path: Path, change: Callable[[Any], object], said: str) -> None:
    file = save_known(tmp_path / "bad.onnx", change=change)
    with pytest.raises(FathomError, match=r"bad\.onnx") as error:
        load(file)
    assert said in str(error.value)


def test_an_input_of_floats_is_another_programs_model(tmp_path: Path) -> None:
    with pytest.raises(FathomError, match="expected one input image, uint8"):
        load(save_known(tmp_path / "floats.onnx", kind=TensorProto.FLOAT))


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x07" * 50, None])
def test_files_that_are_no_models(tmp_path: Path, file: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(file.read_bytes()[:-300] if content is None else content)
    with pytest.raises(FathomError, match=r"bad\.onnx (is damaged|was not written by)"):
        load(path)
    with pytest.raises(FathomError, match="There is no file"):
        load(tmp_path / "none.onnx")


def outside(location: str, nested: bool = False) -> Callable[[Any], None]:
    """A weight that is said to lie in another file."""

    def change(model: Any) -> None:
        tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value=location)
        if nested:
            model.graph.node.append(helper.make_node("Constant", [], ["w"], value=tensor))
        else:
            model.graph.initializer.append(tensor)

    return change


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("location", ["/etc/passwd", "../secret.bin", "inside/../../secret.bin", "link.bin"])
def test_weights_outside_the_files_own_folder_are_refused(tmp_path: Path, location: str, nested: bool) -> None:
    (tmp_path / "secret.bin").write_bytes(b"\0" * 4)
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    file = save_known(folder / "sly.onnx", change=outside(location, nested))
    with pytest.raises(FathomError, match=r"sly\.onnx wants to read .* outside its own folder.*It is refused"):
        load(file)


def test_weights_in_its_own_folder_are_not_refused(tmp_path: Path) -> None:
    file = save_known(tmp_path / "two.onnx", change=outside("weights.bin"))
    assert read_metadata(file)["format"] == 1
