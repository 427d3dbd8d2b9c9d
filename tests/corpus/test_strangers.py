"""A model or a checkpoint from a stranger cannot run code: a payload in every place where a file of weights is read.

`PLACES` is the table: what is read, where the payload is put, and who reads it. A new reader of weights is a row there.
"""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import fathomseg
from fathomseg.config import read_yaml
from fathomseg.data.datasets.camvid import CamVid
from fathomseg.depth_sources.huggingface import HuggingFaceDepth
from fathomseg.depth_sources.run import RunDepth
from fathomseg.distillation.teachers import RunTeacher
from fathomseg.engine.checkpoint import load_checkpoint
from fathomseg.errors import FathomError
from fathomseg.inference.card import load_pose
from fathomseg.io import array_store
from fathomseg.io.npz import read_npz
from fathomseg.io.stored_maps import read_map
from fathomseg.models.encoders import Encoder
from fathomseg.models.scene.saved import load_scene
from fathomseg.selection.annotation import cvat
from fathomseg.tasks import depth
from fathomseg.training.init_from import InitFrom
from fathomseg.types import ClassList
from tests import fakes
from tests.corpus.case import Place
from tests.corpus.inputs import CLASSES, COLOURS, folder
from tests.depth_sources.random_dpt import save_dpt
from tests.fuzz.test_readers import TASK
from tests.inference.tiny_onnx import save_known
from tests.objectives.scenes import save_scene_run
from tests.stages.saved_run import network_of, save_depth_run, save_run


class Attack:
    """Unpickled, it creates a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def payloads(mark: Path) -> Iterator[bytes]:
    """The attack in every format that can hold a pickle."""
    attack = Attack(mark)
    yield pickle.dumps(attack)
    for state in ({"a.weight": attack}, {"format": 1, "step": attack}, attack):
        for zipped in (True, False):
            buffer = io.BytesIO()
            torch.save(state, buffer, _use_new_zipfile_serialization=zipped)
            yield buffer.getvalue()
    objects = np.array([attack], object)
    for save in (lambda to: np.save(to, objects), lambda to: np.savez(to, depth=objects, disparity=objects)):
        buffer = io.BytesIO()
        save(buffer)
        yield buffer.getvalue()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("labelmap.txt", "SegmentationClass/0001-a.png", "data.pkl"):
            archive.writestr(name, pickle.dumps(attack))
    yield buffer.getvalue()


def run_weights(path: Path) -> object:
    return fathomseg.load(path.parent, "last" if path.name == "last.safetensors" else "ema")


def encoder_weights(path: Path) -> object:
    return Encoder(model="test_efficientnet", pretrained=path).build()


def start(path: Path) -> object:
    config = network_of(["segmentation"])
    return InitFrom(run=path.parent).into(config.build(classes=3, pretrained=False), config)


def depth_run(path: Path) -> object:
    data = CamVid(root=fakes.make_camvid(path.parent / "camvid", train=1, val=1))
    return RunDepth(run=path.parent).open(data, "cpu").disparity(data.ids("train"))


def masks(path: Path) -> object:
    with cvat.returned(path, TASK) as found:
        return [read() for _, read in found]


def pose_run(path: Path) -> object:
    return load_pose(path.parent)


PLACES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "weights of a run": ("seg/model.safetensors", run_weights),
    "last weights of a run": ("seg/last.safetensors", run_weights),
    "card of a run": ("seg/model.json", run_weights),
    "pose network": ("pose/pose.safetensors", pose_run),
    "scene model": ("scene/scene.safetensors", lambda path: load_scene(path.parent)),
    "init_from": ("seg/model.safetensors", start),
    "depth run": ("depth/model.safetensors", depth_run),
    "teacher": ("depth/model.safetensors", lambda path: RunTeacher(str(path.parent), "depth", "ema", "cpu", False)),
    "exported file": ("model.onnx", fathomseg.load),
    "encoder .pth": ("encoder.pth", encoder_weights),
    "encoder .pt": ("encoder.pt", encoder_weights),
    "encoder .bin": ("encoder.bin", encoder_weights),
    "encoder without an ending": ("encoder", encoder_weights),
    "encoder .safetensors": ("encoder.safetensors", encoder_weights),
    "checkpoint": ("run/checkpoint.pt", lambda path: load_checkpoint(path.parent)),
    "depth map .npy": ("maps/a.npy", read_map),
    "depth map .npz": ("maps/a.npz", read_map),
    "predicted depth .npy": ("maps/a.npy", depth._metres),
    "distilled .npz": ("depth/a.npz", lambda path: read_npz(path, "depth")),
    "array of the cache": ("cache/a.npy", array_store.load),
    "features of a selection": ("features/a.npy", array_store.mapped),
    "annotation export": ("job.zip", masks),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good runs, whose files are replaced one by one."""
    root = tmp_path_factory.mktemp("runs")
    save_run(root / "seg", ClassList(CLASSES, COLOURS), {}, size=(32, 32))
    save_depth_run(root / "pose", {}, size=(32, 32))
    save_depth_run(root / "depth", {}, size=(32, 32), pose=False)
    save_scene_run(root / "scene")
    return root


def test_the_payload_works(tmp_path: Path) -> None:
    """If it is unpickled: the tests below can fail."""
    mark = tmp_path / "mark"
    next(payloads(mark))
    pickle.loads(next(payloads(mark)))
    assert mark.exists()


@pytest.mark.parametrize("place", PLACES)
def test_nothing_runs(place: str, runs: Path, tmp_path: Path) -> None:
    name, read = PLACES[place]
    path, mark = tmp_path / name, tmp_path / "mark"
    path.parent.mkdir(exist_ok=True)
    if (runs / name).parent != runs and (runs / name).parent.is_dir():
        for file in (runs / name).parent.iterdir():
            (path.parent / file.name).write_bytes(file.read_bytes())
    for payload in payloads(mark):
        path.write_bytes(payload)
        found: object = None
        with suppress(FathomError):
            found = read(path)
        assert found is None, f"{place} took it for what it is not"
        assert not mark.exists(), f"{place} ran code"


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:pathlib.Path.touch [{}]", "!!python/name:os.system", "!!python/object/new:os.system [{}]"],
)
def test_yaml_makes_no_objects(tag: str, tmp_path: Path) -> None:
    path, mark = tmp_path / "recipe.yaml", tmp_path / "mark"
    path.write_text(f"data: {tag.format(json.dumps(str(mark)))}\n")
    with pytest.raises(FathomError, match=r"recipe\.yaml"):
        read_yaml(path)
    assert not mark.exists()


@pytest.mark.parametrize("where", ["/etc/passwd", "../secret.bin", "link.bin"])
def test_an_exported_file_reads_no_other_as_weights(where: str, tmp_path: Path) -> None:
    from tests.inference.test_onnx import outside

    (tmp_path / "secret.bin").write_bytes(bytes(4))
    inner = tmp_path / "models"
    inner.mkdir()
    (inner / "link.bin").symlink_to(tmp_path / "secret.bin")
    file = save_known(inner / "sly.onnx", change=outside(where))
    root = tmp_path / "mine"
    root.mkdir()
    place = Place(root, tmp_path)
    fakes.save(root / "a.png", np.zeros((32, 32, 3), np.uint8))
    for words in (
        ("predict", str(file), "a.png", "--out", "../out"),
        ("evaluate", str(file), "--data", "camvid", "root=x"),
    ):
        done = place.fathom(*words, code=2)
        assert "sly.onnx" in done.err
    assert not place.out.exists()


@pytest.mark.slow
def test_models_of_hugging_face_hold_tensors_alone(tmp_path: Path) -> None:
    """Shards that are pickles, a pickle beside safetensors, code of model and image processor."""
    pytest.importorskip("transformers", reason="needs the extra hf")
    good, mark = tmp_path / "good", tmp_path / "mark"
    save_dpt(good)
    data = CamVid(root=fakes.make_camvid(tmp_path / "camvid", train=1, val=1))
    code = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\nclass Thing: pass\n"

    def read(change: Callable[[Path], object]) -> object:
        copy = tmp_path / f"copy{len(list(tmp_path.iterdir()))}"
        copy.mkdir()
        for file in good.iterdir():
            (copy / file.name).write_bytes(file.read_bytes())
        change(copy)
        with suppress(FathomError):
            return HuggingFaceDepth(model=str(copy)).open(data, "cpu").disparity(data.ids("train"))
        return None

    def sharded(copy: Path) -> None:
        names = list(load_file(copy / "model.safetensors"))
        (copy / "model.safetensors").unlink()
        save_file({"a": torch.zeros(1)}, copy / "model-extra.safetensors")
        index = {"metadata": {}, "weight_map": dict.fromkeys(names, "pytorch_model.bin")}
        (copy / "model.safetensors.index.json").write_text(json.dumps(index))
        torch.save({name: Attack(mark) for name in names}, copy / "pytorch_model.bin")

    def beside(copy: Path) -> None:
        torch.save(Attack(mark), copy / "pytorch_model.bin")

    def coded(copy: Path) -> None:
        for name in ("config.json", "preprocessor_config.json"):
            if (copy / name).is_file():
                tree = json.loads((copy / name).read_text())
                kinds = ("AutoConfig", "AutoModelForDepthEstimation", "AutoImageProcessor")
                tree["auto_map"] = dict.fromkeys(kinds, "evil.Thing")
                (copy / name).write_text(json.dumps(tree))
        (copy / "evil.py").write_text(code)

    def adapted(copy: Path) -> None:
        (copy / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "."}')
        torch.save(Attack(mark), copy / "adapter_model.bin")

    assert read(lambda copy: None) is not None
    assert read(sharded) is None
    for change in (beside, coded, adapted):
        read(change)
    assert not mark.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        "predict ../seg images --out ../out",
        "evaluate ../seg --data . --no-report",
        "distill ../seg . --task segmentation --all --out ../out",
        "export ../seg ../m.onnx",
        "train recipe.yaml init_from.run=../seg --out ../out",
        "train recipe.yaml network.encoder.pretrained=../seg/model.safetensors --out ../out",
    ],
)
def test_commands_refuse_it_in_words(words: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, mark = tmp_path / "mine", tmp_path / "mark"
    root.mkdir()
    monkeypatch.chdir(root)
    folder()
    place = Place(root, runs)
    place.network("seg")
    for name in ("model.safetensors", "last.safetensors"):
        (tmp_path / "seg" / name).write_bytes(list(payloads(mark))[1])
    done = place.fathom(*words.split(), code=2)
    assert "safetensors" in done.err
    assert "error:" in done.err
    assert not mark.exists()
