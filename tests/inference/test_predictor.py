"""Inference at any size and of all tasks: against F.interpolate, and against networks whose predictions are known."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

import fathomseg
from fathomseg.config import validate
from fathomseg.errors import ConfigError, DataError, FathomError
from fathomseg.geometry.camera import disparity_to_depth
from fathomseg.inference.card import ModelCard
from fathomseg.inference.predictor import Predictor, load
from fathomseg.inference.settings import Inference, Window, trained_inference
from fathomseg.io.images import resize_image
from fathomseg.models.links import PadNet
from fathomseg.tasks import resampling as module
from fathomseg.types import ClassList, Prediction
from tests.fakes import save
from tests.stages.saved_run import RANGE, TASKS, build, network_of, save_run
from tests.typecheck import unchecked

RGB = ClassList(("red", "green", "blue"), ((255, 0, 0), (0, 255, 0), (0, 0, 255)))
BOTH = ("segmentation", "depth")


class Known(nn.Module):
    """Logits are the colour channels, sharpened, averaged over cells of `cell` x `cell` pixels; disparity is the mean
    of the cell's red."""

    def __init__(self, cell: int = 1) -> None:
        super().__init__()
        self.cell = cell
        self.dropout = nn.Dropout(0.9)
        self.seen: list[tuple[int, ...]] = []

    def forward(self, image: Tensor, outputs: Collection[str]) -> dict[str, Any]:
        self.seen.append(tuple(image.shape))
        assert 0 <= image.min() <= image.max() <= 1
        cells = F.avg_pool2d(image, self.cell, ceil_mode=True)
        found = {
            "segmentation": self.dropout(10 * cells),
            "depth": [self.dropout(cells[:, :1]), cells[:, :1, ::2, ::2]],
        }
        return {name: found[name] for name in outputs}


class Sided(nn.Module):
    """Class 0 and near on the left half of what it is shown, class 1 and far on the right, so views disagree."""

    def forward(self, image: Tensor, outputs: Collection[str]) -> dict[str, Any]:
        left = (torch.arange(image.shape[3]) < image.shape[3] / 2).float().expand(len(image), 1, *image.shape[2:])
        logits = torch.cat((2 * left, 2 - 2 * left, torch.zeros_like(left)), 1)
        return {"segmentation": logits, "depth": [0.25 + left / 2]}


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth random image, so that resizing does not decide its classes."""
    small = np.random.default_rng(seed).random((1, 3, 4, 5))
    large = F.interpolate(torch.from_numpy(small), (height, width), mode="bicubic", align_corners=False).clamp(0, 1)
    return (large[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)


def around(
    network: nn.Module, size: tuple[int, int], tasks: Collection[str] | None = None, **inference: object
) -> Predictor:
    """A predictor of both tasks around a network."""
    card = ModelCard(network=network_of(BOTH), classes=RGB.names, colours=RGB.colours, size=size)
    return Predictor(network, card, "cpu", Inference(**inference), tasks)  # type: ignore[arg-type]


def predictor(size: tuple[int, int] = (24, 32), cell: int = 1, **inference: object) -> Predictor:
    return around(Known(cell), size, **inference)


def fields(prediction: Prediction) -> dict[str, np.ndarray]:
    """What is predicted, by name."""
    every = {name: getattr(prediction, name) for name in ("label", "confidence", "disparity", "depth")}
    return {name: array for name, array in every.items() if array is not None}


def assert_same(one: Prediction, other: Prediction, rtol: float = 0) -> None:
    assert fields(one).keys() == fields(other).keys()
    for name, array in fields(one).items():
        np.testing.assert_allclose(array, fields(other)[name], rtol=rtol, err_msg=name)


# --- sizes and values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (24, 32), (301, 203), (1, 500)])
def test_any_size_gives_all_fields_at_that_size(size: tuple[int, int]) -> None:
    found = fields(predictor(cell=4).predict(photo(*size)))
    assert {name: (array.shape, array.dtype) for name, array in found.items()} == {
        "label": (size, np.uint8),
        **dict.fromkeys(("confidence", "disparity", "depth"), (size, np.float32)),
    }
    assert found["label"].max() <= 2
    assert 1 / 3 <= found["confidence"].min() <= found["confidence"].max() <= 1
    assert 0 <= found["disparity"].min() <= found["disparity"].max() <= 1
    assert RANGE[0] * 0.999 <= found["depth"].min() <= found["depth"].max() <= RANGE[1] * 1.001


def test_known_classes_confidences_and_depths() -> None:
    image = np.zeros((24, 32, 3), np.uint8)
    image[:, :16, 0], image[:, 16:, 2] = 255, 51
    found = fields(predictor().predict(image))
    left = np.arange(32) < 16
    assert (found["label"] == np.where(left, 0, 2)).all()
    np.testing.assert_allclose(found["confidence"][:, 0], np.exp(10) / (np.exp(10) + 2), rtol=1e-5)
    np.testing.assert_allclose(found["confidence"][:, -1], np.exp(2) / (np.exp(2) + 2), rtol=1e-5)
    assert (found["disparity"] == left).all()
    np.testing.assert_allclose(found["depth"], np.broadcast_to(np.where(left, *RANGE), (24, 32)), rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.integers(1, 40), st.integers(1, 400))
def test_decoding_in_strips_equals_interpolate(h: int, w: int, height: int, width: int, strip: int) -> None:
    logits = torch.randn(4, h, w, generator=torch.Generator().manual_seed(h * 100 + w)) * 3
    probabilities = F.interpolate(logits[None], (height, width), mode="bilinear", align_corners=False)[0].softmax(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_STRIP", {"cpu": strip})
        found = TASKS["segmentation"].decode(logits, (height, width))
    torch.testing.assert_close(found["confidence"], probabilities.max(0).values, rtol=1e-4, atol=1e-5)
    chosen = probabilities.gather(0, found["label"].long()[None])[0]  # not the argmax itself: two classes may tie
    torch.testing.assert_close(chosen, probabilities.max(0).values, rtol=1e-4, atol=1e-5)


def test_whole_mode_resizes_to_the_working_size_and_upsamples_logits_and_disparity() -> None:
    image, whole = photo(61, 83), predictor(cell=4)
    found = fields(whole.predict(image))
    assert whole.network.seen == [(1, 3, 24, 32)]
    small = torch.from_numpy(resize_image(image, (24, 32))).permute(2, 0, 1)[None] / 255
    cells = F.interpolate(F.avg_pool2d(small, 4), (61, 83), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(found["confidence"], (10 * cells).softmax(1).amax(1)[0], rtol=1e-4)
    assert (found["label"] == cells.argmax(1)[0].numpy()).mean() > 0.999
    np.testing.assert_allclose(found["disparity"], cells[0, 0], atol=1e-6)
    np.testing.assert_allclose(found["depth"], disparity_to_depth(cells[0, 0], *RANGE), rtol=1e-4)


def test_what_is_printed_of_a_predictor_and_of_the_package() -> None:
    config = network_of(BOTH)
    card = ModelCard(network=config, size=(24, 32), classes=RGB.names, colours=RGB.colours)
    both = Predictor(build(config, 3, 0), card)
    shown = "segmentation, depth, 3 classes: red, green, blue; at 24 x 32 (height x width) on cpu"
    assert repr(both) == f"Predictor({shown})"
    depth = Predictor(both.network, card, inference=Inference(size=(48, 64)), tasks=["depth"])
    assert repr(depth) == "Predictor(depth; at 48 x 64 (height x width) on cpu)"
    assert dir(fathomseg) == sorted(fathomseg.__all__)


def test_inference_at_another_size_than_the_training() -> None:
    other = Predictor(Known(), around(Known(), (24, 32)).card, "cpu", Inference(size=(12, 20)))
    other.predict(photo(61, 83))
    assert other.size == (12, 20)
    assert other.network.seen == [(1, 3, 12, 20)]


def test_an_image_of_other_proportions_keeps_them() -> None:
    upright = predictor((32, 96))
    image = np.zeros((60, 80, 3), np.uint8)
    image[30:, :, 0] = 255
    found = upright.predict(image)
    (shape,) = upright.network.seen
    assert shape == (1, 3, 64, 64), "at steps of 32 the nearest to 4 : 3 with as many pixels"
    assert found.label is not None
    assert (found.label[32:] == 0).all()
    stretched = Predictor(Known(), upright.card, "cpu", Inference(size=(32, 96)))
    stretched.predict(image)
    assert stretched.network.seen == [(1, 3, 32, 96)]


# --- what may be given ----------------------------------------------------------------------------------------------


def test_a_batch_of_different_sizes_is_one_pass_for_each_proportion_and_equals_single_images() -> None:
    images, batched = [photo(23, 30), photo(47, 21, 1), photo(24, 32, 2)], predictor(cell=4)
    together = batched.predict_batch(images)
    assert batched.network.seen == [(2, 3, 24, 32), (1, 3, 40, 16)]
    for image, one in zip(images, together, strict=True):
        assert_same(one, predictor(cell=4).predict(image), rtol=1e-6)


def test_a_list_and_an_iterator_are_predicted_in_batches() -> None:
    images = [photo(20, 30, seed) for seed in range(5)]
    alone = [predictor().predict(image) for image in images]
    listed = predictor()
    found = listed.predict(images, batch=2)
    assert isinstance(found, list)
    assert [shape[0] for shape in listed.network.seen] == [2, 2, 1]
    for one, expected in zip(found, alone, strict=True):
        assert_same(one, expected)
    assert_same(predictor().predict(tuple(images))[4], alone[4])
    assert predictor().predict([]) == []

    read: list[int] = []

    def reading() -> Iterator[np.ndarray]:
        for number, image in enumerate(images):
            read.append(number)
            yield image

    lazy = predictor().predict(reading(), batch=2)
    assert isinstance(lazy, Iterator)
    assert read == []  # nothing happens before it is asked for
    assert_same(next(lazy), alone[0])
    assert read == [0, 1]  # and no more is read than the batch
    for one, expected in zip(lazy, alone[1:], strict=True):
        assert_same(one, expected)
    with pytest.raises(FathomError, match="batch must be at least 1, but is 0"):
        predictor().predict(images, batch=0)


def test_paths_pil_images_rgb_and_grey_arrays_are_the_same_image(tmp_path: Path) -> None:
    image = photo(20, 30)
    path, expected = save(tmp_path / "a.png", image), predictor().predict(image)
    for one in (path, str(path), Image.fromarray(image)):
        assert_same(predictor().predict(one), expected)
    mixed = predictor().predict([image, str(path), Image.fromarray(image)])
    assert_same(mixed[1], expected, rtol=1e-6)
    grey = image[..., 0]
    expected = predictor().predict(np.dstack([grey] * 3))
    for one in (grey, Image.fromarray(grey)):
        assert_same(predictor().predict(one), expected)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((4, 4, 3)), r"float64 of shape \(4, 4, 3\)\. Values of 0\.\.1 become"),
        (np.zeros((4, 4, 4), np.uint8), r"uint8 of shape \(4, 4, 4\)\. Drop the fourth channel"),
        (np.zeros((3, 4, 5), np.uint8), r"uint8 of shape \(3, 4, 5\)\. Put the channels last"),
        (np.zeros((0, 4, 3), np.uint8), r"uint8 of shape \(0, 4, 3\)"),
        (torch.zeros(3, 4, 4), r"a Tensor\."),
        (7, r"a int\."),
    ],
)
def test_what_is_no_image_is_refused_with_what_it_is(bad: object, message: str) -> None:
    with unchecked():
        for one in (bad, [bad], [photo(4, 4), bad]):
            with pytest.raises(FathomError, match=rf"a path, a PIL image, or a uint8 array.* this one is {message}"):
                predictor().predict(one)  # type: ignore[call-overload]


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"empty\.png: is empty"):
        predictor().predict(tmp_path / "empty.png")
    with pytest.raises(DataError, match=r"none\.png: there is no such file"):
        predictor().predict([photo(4, 4), str(tmp_path / "none.png")])


@pytest.mark.parametrize("tasks", [("segmentation",), ("depth",), BOTH])
def test_nan_from_the_network_is_an_error(tasks: tuple[str, ...]) -> None:
    class Broken(nn.Module):
        def forward(self, image: Tensor, outputs: Collection[str]) -> dict[str, Any]:
            return {"segmentation": image * torch.nan, "depth": [image[:, :1] * torch.nan]}

    with pytest.raises(FathomError, match="NaN"):
        around(Broken(), (8, 8), tasks).predict(photo(8, 8))


# --- windows and mirrors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [(24, 32), (10, 10), (7, 32), (3, 50), (500, 500)])
@pytest.mark.parametrize("flip", [False, True])
def test_windows_of_a_pointwise_network_change_nothing(window: tuple[int, int], flip: bool) -> None:
    image = photo(24, 32)
    slide = predictor(mode="slide", window=Window(size=window), flip=flip).predict(image)
    assert_same(slide, predictor().predict(image), rtol=1e-5)


def test_depth_sees_the_whole_image_where_classes_see_windows() -> None:
    sliding = around(Known(), (24, 32), None, mode="slide", window=Window(size=(24, 24)))
    sliding.predict(photo(24, 32))
    assert sorted(sliding.network.seen) == [(1, 3, 24, 24), (1, 3, 24, 24), (1, 3, 24, 32)]
    sided = around(Sided(), (4, 6), None, mode="slide", window=Window(size=(4, 4), stride=0.5))
    disparity = sided.maps(torch.zeros(1, 3, 4, 6, dtype=torch.uint8))["depth"]
    assert disparity[0, 0, 0].tolist() == [0.75] * 3 + [0.25] * 3


def test_overlapping_windows_average_probabilities_by_weight() -> None:
    sided = around(Sided(), (4, 6), None, mode="slide", window=Window(size=(4, 4), stride=0.5))
    logits = sided.maps(torch.zeros(1, 3, 4, 6, dtype=torch.uint8))["segmentation"]
    # Windows at columns 0..3 and 2..5 with weights 1 2 2 1: column 2 is right (2) in one and left (1) in the other.
    likely, unlikely = (np.exp(x) / (np.exp(2) + 2) for x in (2, 0))
    expected = (2 * unlikely + 1 * likely) / 3
    assert logits.exp()[0, 0, 0, 2].item() == pytest.approx(expected, rel=1e-5)
    assert logits.exp()[0, 0, 0, 0].item() == pytest.approx(likely, rel=1e-5)


@pytest.mark.parametrize("shape", [(40, 56), (24, 32), (25, 90), (10, 200)])
@pytest.mark.parametrize("flip", [False, True])
def test_tiles_are_windows_at_the_scale_of_the_image(shape: tuple[int, int], flip: bool) -> None:
    image, how = photo(*shape), {"window": Window(size=(16, 20), stride=0.5), "flip": flip}
    tiles = around(Sided(), (24, 32), ("segmentation",), mode="tiles", **how).predict(image)
    slide = around(Sided(), shape, ("segmentation",), mode="slide", **how).predict(image)
    assert_same(tiles, slide, rtol=1e-5)
    assert len(np.unique(tiles.label)) > 1 or flip  # Sided and its mirror cancel out


def test_tiles_are_by_default_as_large_as_the_images_of_the_training() -> None:
    tiled = around(Known(), (24, 32), None, mode="tiles")
    prediction = tiled.predict(photo(60, 80))
    assert set(tiled.network.seen) == {(1, 3, 24, 32), (1, 3, 24, 32)}  # the windows, and the whole image for depth
    assert len(tiled.network.seen) == 1 + 16
    assert prediction.label is not None
    assert (prediction.label == photo(60, 80).argmax(2)).mean() > 0.99
    with pytest.raises(FathomError, match=r"mode: tiles.*Set the mode to whole or slide"):
        tiled.maps(torch.zeros(1, 3, 24, 32, dtype=torch.uint8))


def test_tiles_of_a_row_go_through_the_network_together(monkeypatch: pytest.MonkeyPatch) -> None:
    image = photo(40, 100)
    one_by_one = around(Sided(), (24, 32), ("segmentation",), mode="tiles").predict(image)
    monkeypatch.setattr("fathomseg.inference.predictor.BATCH", {"cpu": 3})
    network = Known()
    around(network, (24, 32), ("segmentation",), mode="tiles").predict(image)
    assert network.seen == [(3, 3, 24, 32), (2, 3, 24, 32)] * 2  # two rows of five
    assert_same(around(Sided(), (24, 32), ("segmentation",), mode="tiles").predict(image), one_by_one, rtol=1e-5)


def test_tiles_never_hold_the_map_of_the_whole_image(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *size, **more: held.append(size[0]) or zeros(*size, **more))
    around(Known(), (24, 32), ("segmentation",), mode="tiles").predict(photo(500, 40))
    assert max(held) <= 24


def test_flip_averages_probabilities_and_disparity_with_the_mirrored_image() -> None:
    found = around(Sided(), (4, 6), flip=True).maps(torch.zeros(1, 3, 4, 6, dtype=torch.uint8))
    expected = (np.exp(2) + 1) / 2 / (np.exp(2) + 2)
    np.testing.assert_allclose(found["segmentation"].exp()[0, :2].numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(found["depth"].numpy(), 0.5, rtol=1e-6)
    mirrored = around(Known(), (24, 32), flip=True).predict(photo(24, 32))  # the mirror is mirrored back
    assert_same(mirrored, predictor().predict(photo(24, 32)), rtol=1e-5)


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


def test_inference_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"window\.stride"):
        validate(Inference, {"mode": "slide", "window": {"stride": 0}})
    with pytest.raises(ConfigError, match="mode"):
        validate(Inference, {"mode": "windows"})


# --- tasks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("links", [None, PadNet()], ids=["no links", "padnet"])
@pytest.mark.parametrize("inference", [{}, {"flip": True}, {"mode": "slide"}], ids=["whole", "flip", "slide"])
def test_all_tasks_at_once_equal_each_alone(links: PadNet | None, inference: dict[str, object]) -> None:
    network = build(network_of(BOTH, links), len(RGB), seed=3)
    image = photo(50, 70)
    together = fields(around(network, (48, 64), **inference).predict(image))
    assert all(np.ptp(array) > 0 for array in together.values())
    alone = [fields(around(network, (48, 64), [task], **inference).predict(image)) for task in BOTH]
    assert [set(found) for found in alone] == [{"label", "confidence"}, {"disparity", "depth"}]
    for name, array in (alone[0] | alone[1]).items():
        np.testing.assert_array_equal(together[name], array, err_msg=name)


@pytest.mark.parametrize("links", [None, PadNet()], ids=["no links", "padnet"])
def test_one_pass_of_the_encoder_serves_all_tasks_and_the_whole_batch(links: PadNet | None) -> None:
    network = build(network_of(BOTH, links), len(RGB), seed=3)
    passes: list[int] = []
    network.encoders["shared"].register_forward_hook(lambda _, given, __: passes.append(len(given[0])))
    subject = around(network, (48, 64))
    subject.predict(photo(50, 70))
    assert passes == [1]
    subject.predict([photo(50, 70), photo(31, 40), photo(48, 64)])
    assert passes == [1, 3]
    around(network, (48, 64), flip=True).predict(photo(50, 70))
    assert passes == [1, 3, 1, 1]


def test_a_task_that_is_not_wanted_is_not_computed() -> None:
    network = build(network_of(BOTH), len(RGB), seed=3)
    network.heads["depth"].register_forward_hook(lambda *_: pytest.fail("depth was computed"))
    subject = around(network, (48, 64), ["segmentation"])
    assert (subject.predict(photo(9, 9)).depth, list(subject.tasks)) == (None, ["segmentation"])
    assert subject.classes == RGB
    with pytest.raises(FathomError, match="knows no classes; it predicts depth"):
        _ = around(network, (48, 64), ["depth"]).classes
    with pytest.raises(FathomError, match="has no task 'normals'; it predicts segmentation, depth"):
        around(network, (48, 64), ["normals"])


def test_the_network_is_left_in_the_mode_it_was_in() -> None:
    subject = predictor()
    subject.network.train()
    subject.network.dropout.eval()
    image = photo(24, 32)
    assert_same(subject.predict(image), subject.predict(image))  # dropout would show
    assert subject.network.training
    assert not subject.network.dropout.training


# --- runs -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of both tasks whose averaged weights and last ones differ."""
    folder = save_run(tmp_path_factory.mktemp("run"), RGB, {}, size=(48, 64), tasks=BOTH)
    (folder / "config.yaml").write_text("evaluation:\n  inference:\n    flip: true\n")
    return folder


def test_a_saved_network_predicts_what_the_network_in_memory_does(run: Path) -> None:
    image = photo(50, 70)
    expected = around(build(network_of(BOTH), len(RGB), seed=0), (48, 64), flip=True).predict(image)
    loaded = load(run, device="cpu")
    assert loaded.classes == RGB
    assert loaded.inference == Inference(flip=True)
    assert_same(loaded.predict(image), expected, rtol=1e-4)
    last = load(run, "last", "cpu").predict(image)
    assert not np.allclose(fields(last)["disparity"], fields(expected)["disparity"])
    assert not np.allclose(fields(last)["confidence"], fields(expected)["confidence"])
    depth = fathomseg.load(run, device="cpu", inference=Inference(), tasks=["depth"])
    assert set(fields(depth.predict(image))) == {"disparity", "depth"}
    assert not np.allclose(fields(depth.predict(image))["disparity"], fields(expected)["disparity"])


def test_mode_replaces_the_mode_of_the_run(run: Path, tmp_path: Path) -> None:
    assert trained_inference(run, "slide") == Inference(mode="slide", flip=True)
    assert trained_inference(tmp_path, flip=True) == Inference(flip=True)
    assert trained_inference(tmp_path) == Inference()
    with pytest.raises(ConfigError, match="mode"):
        trained_inference(run, "windows")


def test_what_a_run_does_not_have_is_named(run: Path, tmp_path: Path) -> None:
    segmenting = save_run(tmp_path / "classes", RGB, {})
    with pytest.raises(FathomError, match=r"classes has no task 'depth'; it predicts segmentation"):
        load(segmenting, device="cpu", tasks=["depth"])
    with unchecked(), pytest.raises(FathomError, match="no weights 'best'; choose from ema, last"):
        load(run, "best")  # type: ignore[arg-type]
    with pytest.raises(FathomError, match="no kind of device 'gpu'"):
        load(run, device="gpu")
    with pytest.raises(FathomError, match=r"^.* holds no model\. Give a folder"):
        load(tmp_path)
