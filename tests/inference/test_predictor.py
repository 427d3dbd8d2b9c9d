"""Inference at any size: against F.interpolate, against networks whose answer is known, and through saved runs."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fathomseg.config import validate
from fathomseg.errors import ConfigError, FathomError
from fathomseg.inference import predictor as module
from fathomseg.inference.predictor import Inference, Predictor, Window, decode, load, trained_inference
from fathomseg.io.images import resize_image
from fathomseg.models.encoders import Encoder
from fathomseg.models.network import NetworkConfig
from fathomseg.inference.card import ModelCard, load_card, load_model, save_model
from tests.typecheck import unchecked

RGB = ClassList(("red", "green", "blue"), ((255, 0, 0), (0, 255, 0), (0, 0, 255)))


class Brightest(nn.Module):
    """Logits are the colour channels, sharpened, averaged over cells of `cell` x `cell` pixels."""

    def __init__(self, cell: int = 1) -> None:
        super().__init__()
        self.cell = cell
        self.dropout = nn.Dropout(0.9)
        self.seen: list[tuple[int, ...]] = []

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        self.seen.append(tuple(image.shape))
        assert 0 <= image.min() <= image.max() <= 1
        return {"segmentation": self.dropout(10 * F.avg_pool2d(image, self.cell, ceil_mode=True))}


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth random image, so that resizing does not decide its classes."""
    small = np.random.default_rng(seed).random((1, 3, 4, 5))
    large = F.interpolate(torch.from_numpy(small), (height, width), mode="bicubic", align_corners=False).clamp(0, 1)
    return (large[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)


def predictor(size: tuple[int, int] = (24, 32), cell: int = 1, **inference: object) -> Predictor:
    return Predictor(Brightest(cell), RGB, size, "cpu", Inference(**inference))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (24, 32), (301, 203), (1, 500)])
def test_any_size_gives_label_and_confidence_of_that_size(size: tuple[int, int]) -> None:
    prediction = predictor(cell=4).predict(photo(*size))
    assert prediction.label.shape == prediction.confidence.shape == size
    assert (prediction.label.dtype, prediction.confidence.dtype) == (np.uint8, np.float32)
    assert prediction.label.max() <= 2
    assert 1 / 3 <= prediction.confidence.min() <= prediction.confidence.max() <= 1


def test_known_classes_and_confidences() -> None:
    image = np.zeros((24, 32, 3), np.uint8)
    image[:, :16, 0], image[:, 16:, 2] = 255, 51
    prediction = predictor().predict(image)
    assert (prediction.label == np.where(np.arange(32) < 16, 0, 2)).all()
    np.testing.assert_allclose(prediction.confidence[:, 0], np.exp(10) / (np.exp(10) + 2), rtol=1e-5)
    np.testing.assert_allclose(prediction.confidence[:, -1], np.exp(2) / (np.exp(2) + 2), rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.integers(1, 40), st.integers(1, 400))
def test_decoding_in_strips_equals_interpolate(h: int, w: int, height: int, width: int, strip: int) -> None:
    logits = torch.randn(4, h, w, generator=torch.Generator().manual_seed(h * 100 + w)) * 3
    probabilities = F.interpolate(logits[None], (height, width), mode="bilinear", align_corners=False)[0].softmax(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_STRIP", strip)
        label, confidence = decode(logits, (height, width))
    torch.testing.assert_close(confidence, probabilities.max(0).values, rtol=1e-4, atol=1e-5)
    chosen = probabilities.gather(0, label.long()[None])[0]  # not the argmax itself: two classes may tie
    torch.testing.assert_close(chosen, probabilities.max(0).values, rtol=1e-4, atol=1e-5)


def test_whole_mode_resizes_to_the_working_size_and_upsamples_logits() -> None:
    image, whole = photo(61, 83), predictor(cell=4)
    prediction = whole.predict(image)
    assert whole.network.seen == [(1, 3, 24, 32)]
    small = torch.from_numpy(resize_image(image, (24, 32))).permute(2, 0, 1)[None] / 255
    logits = F.interpolate(10 * F.avg_pool2d(small, 4), (61, 83), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(prediction.confidence, logits.softmax(1).amax(1)[0], rtol=1e-4)
    assert (prediction.label == logits.argmax(1)[0].numpy()).mean() > 0.999


def test_a_batch_of_different_sizes_is_one_pass_and_equals_single_images() -> None:
    images, batched = [photo(20, 30), photo(47, 21, 1), photo(24, 32, 2)], predictor(cell=4)
    together = batched.predict_batch(images)
    assert batched.network.seen == [(3, 3, 24, 32)]
    for image, one in zip(images, together, strict=True):
        alone = predictor(cell=4).predict(image)
        np.testing.assert_array_equal(one.label, alone.label)
        np.testing.assert_allclose(one.confidence, alone.confidence, rtol=1e-6)


@pytest.mark.parametrize("window", [(24, 32), (10, 10), (7, 32), (3, 50), (500, 500)])
@pytest.mark.parametrize("flip", [False, True])
def test_windows_of_a_pointwise_network_change_nothing(window: tuple[int, int], flip: bool) -> None:
    image = photo(24, 32)
    whole = predictor().predict(image)
    slide = predictor(mode="slide", window=Window(size=window), flip=flip).predict(image)
    np.testing.assert_array_equal(slide.label, whole.label)
    np.testing.assert_allclose(slide.confidence, whole.confidence, rtol=1e-5)


class Sided(nn.Module):
    """Class 0 on the left half of what it is shown, class 1 on the right, so windows and mirrors disagree."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        left = (torch.arange(image.shape[3]) < image.shape[3] / 2).float().expand(len(image), 1, *image.shape[2:])
        return {"segmentation": torch.cat((2 * left, 2 - 2 * left, torch.zeros_like(left)), 1)}


def test_overlapping_windows_average_probabilities_by_weight() -> None:
    sided = Predictor(Sided(), RGB, (4, 6), "cpu", Inference(mode="slide", window=Window(size=(4, 4), stride=0.5)))
    logits = sided.logits(torch.zeros(1, 3, 4, 6, dtype=torch.uint8))
    # Windows at columns 0..3 and 2..5 with weights 1 2 2 1: column 2 is right (2) in one and left (1) in the other.
    likely, unlikely = (np.exp(x) / (np.exp(2) + 2) for x in (2, 0))
    expected = (2 * unlikely + 1 * likely) / 3
    assert logits.exp()[0, 0, 0, 2].item() == pytest.approx(expected, rel=1e-5)
    assert logits.exp()[0, 0, 0, 0].item() == pytest.approx(likely, rel=1e-5)


def test_flip_averages_with_the_mirrored_prediction() -> None:
    sided = Predictor(Sided(), RGB, (4, 6), "cpu", Inference(flip=True))
    probabilities = sided.logits(torch.zeros(1, 3, 4, 6, dtype=torch.uint8)).exp()
    expected = (np.exp(2) + 1) / 2 / (np.exp(2) + 2)
    np.testing.assert_allclose(probabilities[0, :2].numpy(), expected, rtol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.integers(1, 60)] * 2), st.tuples(*[st.integers(1, 40)] * 2), st.floats(0.05, 1.0))
def test_windows_cover_every_pixel_and_overlap_as_asked(
    image: tuple[int, int], size: tuple[int, int], stride: float
) -> None:
    covered = np.zeros(image, int)
    boxes = Window(size=size, stride=stride).boxes(image)
    for top, left, height, width in boxes:
        assert 0 <= top <= top + height <= image[0]
        assert 0 <= left <= left + width <= image[1]
        assert (height, width) == (min(size[0], image[0]), min(size[1], image[1]))
        covered[top : top + height, left : left + width] += 1
    assert covered.min() >= 1
    tops = sorted({box[0] for box in boxes})
    assert all(b - a <= max(1, np.ceil(size[0] * stride)) for a, b in pairwise(tops))


def test_default_window_is_a_square() -> None:
    assert Window().boxes((30, 70)) == [(0, 0, 30, 30), (0, 20, 30, 30), (0, 40, 30, 30)]


def test_the_network_is_left_in_the_mode_it_was_in() -> None:
    subject = predictor()
    subject.network.train()
    subject.network.dropout.eval()
    image = photo(24, 32)
    first, second = subject.predict(image), subject.predict(image)
    np.testing.assert_array_equal(first.confidence, second.confidence)  # dropout would show
    assert subject.network.training
    assert not subject.network.dropout.training


@pytest.mark.parametrize("bad", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_image_is_refused_with_its_shape(bad: np.ndarray) -> None:
    with unchecked(), pytest.raises(FathomError, match=r"uint8 array of height x width x 3 .* shape \("):
        predictor().predict(bad)


def test_nan_from_the_network_is_an_error() -> None:
    class Broken(nn.Module):
        def forward(self, image: Tensor) -> dict[str, Tensor]:
            return {"segmentation": image * float("nan")}

    with pytest.raises(FathomError, match="NaN"):
        Predictor(Broken(), RGB, (8, 8)).predict(photo(8, 8))


def test_inference_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"window\.stride"):
        validate(Inference, {"mode": "slide", "window": {"stride": 0}})
    with pytest.raises(ConfigError, match="mode"):
        validate(Inference, {"mode": "tiles"})


# --- saved models ---------------------------------------------------------------------------------------------------

SMALL = NetworkConfig(encoder=Encoder(model="mobilenetv3_small_050", pretrained="none"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with random networks: the averaged weights and the last ones differ."""
    folder = tmp_path_factory.mktemp("run")
    card = ModelCard(network=SMALL, classes=RGB.names, colours=RGB.colours, size=(48, 64))
    for seed, file in enumerate(("model.safetensors", "last.safetensors")):
        torch.manual_seed(seed)
        network = SMALL.build(classes=3, pretrained=False)
        nn.init.normal_(network.heads["segmentation"][1].weight)
        save_model(folder, card, network.to(memory_format=torch.channels_last).state_dict(), file)
    (folder / "config.yaml").write_text("evaluation:\n  inference:\n    flip: true\n")
    return folder


def copied(run: Path, folder: Path) -> Path:
    for path in run.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_saved_network_predicts_what_the_network_in_memory_does(run: Path) -> None:
    torch.manual_seed(0)
    network = SMALL.build(classes=3, pretrained=False)
    nn.init.normal_(network.heads["segmentation"][1].weight)
    image = photo(50, 70)
    expected = Predictor(network, RGB, (48, 64), "cpu", Inference(flip=True)).predict(image)
    loaded = load(run, device="cpu")
    assert loaded.classes == RGB
    assert loaded.inference == Inference(flip=True)
    np.testing.assert_allclose(loaded.predict(image).confidence, expected.confidence, rtol=1e-4)
    np.testing.assert_array_equal(loaded.predict(image).label, expected.label)
    assert not np.allclose(load(run, "last", "cpu").predict(image).confidence, expected.confidence)


def test_nothing_but_the_three_files_is_left(run: Path) -> None:
    assert {p.name for p in run.iterdir()} == {"model.json", "model.safetensors", "last.safetensors", "config.yaml"}
    assert json.loads((run / "model.json").read_text())["format"] == 1
    assert load_card(run).size == (48, 64)


def test_mode_replaces_the_mode_of_the_run(run: Path, tmp_path: Path) -> None:
    assert trained_inference(run, "slide") == Inference(mode="slide", flip=True)
    assert trained_inference(tmp_path, flip=True) == Inference(flip=True)
    assert trained_inference(tmp_path) == Inference()
    with pytest.raises(ConfigError, match="mode"):
        trained_inference(run, "tiles")


def test_missing_files_say_what_is_there(run: Path, tmp_path: Path) -> None:
    with pytest.raises(FathomError, match=r"There is no .*model\.json\. .* holds no model"):
        load(tmp_path)
    folder = copied(run, tmp_path)
    (folder / "last.safetensors").unlink()
    with pytest.raises(FathomError, match=r"no weights last\.safetensors; weight files in it: model\.safetensors"):
        load(folder, "last")
    with unchecked(), pytest.raises(FathomError, match="no weights 'best'; choose from ema, last"):
        load(folder, "best")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "not a model of a format"),
        ('{"format": 2}', "not a model of a format"),
        ('{"format": 1}', "size: is required"),
    ],
)
def test_foreign_cards_are_refused(run: Path, tmp_path: Path, text: str, message: str) -> None:
    folder = copied(run, tmp_path)
    (folder / "model.json").write_text(text)
    with pytest.raises(FathomError, match=message):
        load_model(folder)


def test_damaged_or_foreign_weights_are_refused(run: Path, tmp_path: Path) -> None:
    folder = copied(run, tmp_path)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FathomError, match="damaged or no safetensors"):
        load_model(folder)
    state = load_file(run / "model.safetensors")
    state["heads.segmentation.1.bias"] = torch.zeros(7)
    state["extra"] = state.pop("heads.segmentation.1.weight")
    save_file(state, folder / "model.safetensors")
    with pytest.raises(
        FathomError, match=r"(?s)3 tensors differ.*extra: not part.*bias: is \[7\], should be \[3\].*missing"
    ):
        load_model(folder)


def test_a_card_needs_one_colour_a_class() -> None:
    with pytest.raises(ConfigError, match="3 class names but 2 colours"):
        validate(ModelCard, {"network": {}, "classes": list("abc"), "colours": [[0, 0, 0]] * 2, "size": [4, 4]})


def test_unknown_devices_are_refused(run: Path) -> None:
    with pytest.raises(FathomError, match="no kind of device 'gpu'"):
        load(run, device="gpu")
