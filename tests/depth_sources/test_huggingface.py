"""Depth models of transformers: tiny random ones saved by the test, and every way in which one cannot be had."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors.torch import load_file, save_file

from fathomseg.data.datasets.camvid import CamVid
from fathomseg.depth_sources import HuggingFaceDepth, prepare
from fathomseg.depth_sources import huggingface as module
from fathomseg.depth_sources.normalise import normalise
from fathomseg.errors import FathomError
from fathomseg.models.compat import ensure_timm_imports
from tests.depth_sources.random_dpt import save_dpt, say_something
from tests.fakes import make_camvid

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="needs the extra hf: pip install 'fathomseg[hf]'"
)
# transformers leaves its settings files to the garbage collector to close
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> CamVid:
    return CamVid(root=make_camvid(tmp_path_factory.mktemp("data"), train=3, size=(24, 40)))


@pytest.fixture(scope="module")
def dpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DPT of random weights that works at 32 x 32."""
    folder = tmp_path_factory.mktemp("dpt")
    save_dpt(folder)
    return folder


@pytest.fixture(scope="module")
def depth_anything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Depth Anything of random weights that keeps the shape of the image, in multiples of 14 pixels."""
    ensure_timm_imports()
    transformers = pytest.importorskip("transformers", reason="needs the extra hf")
    folder = tmp_path_factory.mktemp("depth_anything")
    torch.manual_seed(1)
    backbone = transformers.Dinov2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=28,
        patch_size=14,
        out_features=["stage1", "stage2"],
        reshape_hidden_states=False,
    )
    settings = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[8, 8],
        reassemble_factors=[2, 1],
        fusion_hidden_size=8,
        head_hidden_size=4,
    )
    network = transformers.DepthAnythingForDepthEstimation(settings)
    say_something(network, network.head.conv3.bias)
    network.save_pretrained(folder)
    size = {"height": 28, "width": 28}
    transformers.DPTImageProcessor(size=size, keep_aspect_ratio=True, ensure_multiple_of=14).save_pretrained(folder)
    return folder


def by_hand(folder: Path, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The model's own depth of one image, resized, normalised and run without any image processor."""
    from transformers import AutoModelForDepthEstimation

    network = AutoModelForDepthEstimation.from_pretrained(folder).eval()
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    pixels = torch.nn.functional.interpolate(pixels.float(), size, mode="bicubic", antialias=True).round().clamp(0, 255)
    with torch.inference_mode():
        found = network(pixel_values=(pixels / 255 - 0.5) / 0.5).predicted_depth[:, None]
    return torch.nn.functional.interpolate(found, image.shape[:2], mode="bicubic", align_corners=False)[0, 0].numpy()


@needs_transformers
def test_disparity_is_what_the_model_says(data: CamVid, dpt: Path, depth_anything: Path) -> None:
    for folder, size in ((dpt, (32, 32)), (depth_anything, (28, 42))):
        maps = HuggingFaceDepth(model=str(folder)).open(data, "cpu").disparity(data.ids("train"))
        for id, disparity in zip(data.ids("train"), maps, strict=True):
            assert disparity is not None
            assert disparity.shape == (24, 40)
            expected = by_hand(folder, data.image(id), size)
            assert np.ptp(expected) > 0.01  # it says something
            np.testing.assert_allclose(disparity, expected, atol=0.02 * np.ptp(expected))
        assert np.abs(maps[0] - maps[1]).max() > 0.1 * np.ptp(maps[0])  # type: ignore[operator, arg-type]


@needs_transformers
def test_depth_is_inverted(data: CamVid, dpt: Path) -> None:
    id = data.ids("train")[0]
    depth = HuggingFaceDepth(model=str(dpt)).disparity(data, id)
    disparity = HuggingFaceDepth(model=str(dpt), gives="depth").disparity(data, id)
    assert depth is not None
    assert disparity is not None
    np.testing.assert_allclose(disparity * depth, 1, rtol=1e-5)


@needs_transformers
def test_prepared_in_batches_and_loaded_only_if_needed(
    data: CamVid, dpt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, ids = HuggingFaceDepth(model=str(dpt), batch=2), data.ids("train")
    prepared = prepare(source, data, ids, (24, 40), tmp_path, device="cpu")
    for id in ids:
        raw = source.disparity(data, id)
        assert raw is not None
        np.testing.assert_allclose(prepared.read(id).values, normalise(raw).values, atol=1e-3)
    monkeypatch.setattr(module, "ensure_timm_imports", lambda: pytest.fail("the network was loaded again"))
    assert prepare(source, data, ids, (24, 40), tmp_path, device="cpu") == prepared


@needs_transformers
def test_near_and_far_are_never_confused(depth_anything: Path, data: CamVid, tmp_path: Path) -> None:
    with pytest.raises(FathomError, match=r"gives disparity, by its config.json. Set gives: disparity"):
        HuggingFaceDepth(model=str(depth_anything), gives="depth").disparity(data, data.ids("train")[0])
    metric = Path(shutil.copytree(depth_anything, tmp_path / "metric"))
    settings = json.loads((metric / "config.json").read_text()) | {"depth_estimation_type": "metric", "max_depth": 20}
    (metric / "config.json").write_text(json.dumps(settings))
    with pytest.raises(FathomError, match="Set gives: depth"):
        HuggingFaceDepth(model=str(metric)).disparity(data, data.ids("train")[0])
    assert HuggingFaceDepth(model=str(metric), gives="depth").disparity(data, data.ids("train")[0]) is not None


@needs_transformers
def test_the_fingerprint_follows_weights_settings_and_meaning(dpt: Path, data: CamVid, tmp_path: Path) -> None:
    id = data.ids("train")[0]

    def text(folder: Path, **settings: object) -> str | None:
        return HuggingFaceDepth(model=str(folder), **settings).open(data).fingerprint(id)  # type: ignore[arg-type]

    copy = Path(shutil.copytree(dpt, tmp_path / "copy"))
    (copy / "README.md").write_text("says nothing")
    assert text(copy) == text(dpt)
    processor = copy / "preprocessor_config.json"
    processor.write_text(processor.read_text().replace("32", "64"))
    weights = Path(shutil.copytree(dpt, tmp_path / "weights"))
    tensors = load_file(weights / "model.safetensors")
    save_file({name: t + 1 for name, t in tensors.items()}, weights / "model.safetensors", {"format": "pt"})
    assert len({text(dpt), text(dpt, gives="depth"), text(copy), text(weights)}) == 4


@needs_transformers
def test_pickles_and_code_are_never_loaded(dpt: Path, data: CamVid, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(dpt, tmp_path / "pickled"))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(FathomError, match="no weights as safetensors"):
        HuggingFaceDepth(model=str(folder)).open(data)
    code = Path(shutil.copytree(dpt, tmp_path / "code"))
    settings = json.loads((code / "config.json").read_text())
    settings |= {
        "model_type": "own",
        "auto_map": dict.fromkeys(("AutoConfig", "AutoModelForDepthEstimation"), "evil.Thing"),
    }
    (code / "config.json").write_text(json.dumps(settings))
    (code / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Thing: pass\n")
    with pytest.raises(FathomError, match="cannot be loaded"):
        HuggingFaceDepth(model=str(code)).disparity(data, data.ids("train")[0])
    assert not (tmp_path / "ran").exists()


@needs_transformers
def test_damaged_models(dpt: Path, data: CamVid, tmp_path: Path) -> None:
    id = data.ids("train")[0]
    cut = Path(shutil.copytree(dpt, tmp_path / "cut"))
    (cut / "model.safetensors").write_bytes((dpt / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(FathomError, match="cannot be loaded"):
        HuggingFaceDepth(model=str(cut)).disparity(data, id)
    tensors = load_file(dpt / "model.safetensors")
    lacking = Path(shutil.copytree(dpt, tmp_path / "lacking"))
    kept = {name: t for name, t in tensors.items() if not name.startswith("head")}
    save_file(kept, lacking / "model.safetensors", {"format": "pt"})
    with pytest.raises(FathomError, match=r"lack .* tensors"):
        HuggingFaceDepth(model=str(lacking)).disparity(data, id)
    broken = Path(shutil.copytree(dpt, tmp_path / "broken"))
    nans = {name: torch.full_like(t, torch.nan) for name, t in tensors.items()}
    save_file(nans, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(FathomError, match="no finite number"):
        HuggingFaceDepth(model=str(broken)).disparity(data, id)


def test_without_the_package(data: CamVid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FathomError, match=r'pip install "fathomseg\[hf\]"'):
        HuggingFaceDepth(model="owner/name").open(data)


def failing(error: Exception) -> Callable[..., str]:
    def download(*_: object, **__: object) -> str:
        raise error

    return download


def test_a_model_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    unknown = RepositoryNotFoundError.__new__(RepositoryNotFoundError)
    for error, words in (
        (
            LocalEntryNotFoundError("offline"),
            "the hub cannot be reached and the model was not fetched before. Go online",
        ),
        (unknown, "has no model owner/name"),
        (OSError("disk full\nmore"), "at revision v1 cannot be had: disk full. Go"),
    ):
        monkeypatch.setattr(huggingface_hub, "snapshot_download", failing(error))
        with pytest.raises(FathomError, match=words):
            module.model_folder("owner/name", "v1")
    for name in ("./models/dpt", "dpt", "a/b/c", "/models/dpt"):
        with pytest.raises(FathomError, match="no folder"):
            module.model_folder(name, None)
    with pytest.raises(FathomError, match="no revisions"):
        module.model_folder(str(tmp_path), "main")
    assert module.model_folder(str(tmp_path), None) == tmp_path


def test_offline_without_a_stub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The hub's own client, told to be offline with an empty cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FathomError, match=r"owner/name cannot be had: .*\. Go online"):
        module.model_folder("owner/name", None)


def test_a_snapshot_takes_settings_and_safetensors_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, object] = {}

    def download(name: str, **settings: object) -> str:
        asked.update(settings, name=name)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert module.model_folder("owner/name", "abc") == tmp_path
    assert asked == {"name": "owner/name", "revision": "abc", "allow_patterns": ["*.json", "model*.safetensors"]}
