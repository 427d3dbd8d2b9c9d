"""A teacher that sees the whole image: what it says of it is found again at the pixels of the student's view."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fathomseg.data.cache import Cache
from fathomseg.data.datasets.folder import Folder
from fathomseg.data.loading import Stream, collate
from fathomseg.data.transforms import Geometry
from fathomseg.losses.segmentation import upsample
from fathomseg.objectives.base import Base, Nets, to_unit
from fathomseg.objectives.pseudo_labels import PseudoLabels, PseudoLabelsObjective
from fathomseg.objectives.teacher import Teacher
from fathomseg.types import IGNORE, Batch
from tests import fakes
from tests.objectives.pointwise import Pointwise
from tests.objectives.steps import CLASSES, make_batch, make_step

SIZE = (32, 48)
NATIVE = (64, 96)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Four images of noise, twice as large as the working size."""
    root, rng = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    for number in range(4):
        fakes.save(root / "images" / f"{number}.png", rng.integers(0, 256, (*NATIVE, 3), dtype=np.uint8))
    fakes.write_yaml(root / "dataset.yaml", {"classes": ["a", "b"]})
    return Folder(root=root)


def batch_of(data: Folder, folder: Path, with_whole: bool = True, detail: int = 1, **geometry: object) -> Batch:
    """A view of each image."""
    cache = Cache(data, (SIZE[0] * detail, SIZE[1] * detail), folder=folder)
    part = Geometry(**geometry)  # type: ignore[arg-type]
    stream = Stream(cache, data.ids("train"), ("image",), part, 5, working=SIZE, with_whole=with_whole)
    return collate([stream[position] for position in range(4)])


def labels(batch: Batch, sees: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The pseudo-labels of a teacher of single pixels, and their weights; its disparity is the red channel."""
    config = PseudoLabels(teacher_sees=sees, weighting={"name": "none"}, mixing={"name": "depthmix"})  # type: ignore[arg-type]
    clean, teacher = to_unit(batch.image), Pointwise(seed=1)
    seen = Teacher("ema", config.teacher_sees, by_depth=True).seen(batch, clean)
    pixels, _ = config.pseudo_labelled(batch, clean, teacher(seen)["segmentation"].detach(), seen[:, :1])
    assert pixels.disparity is not None
    return pixels.label, pixels.disparity


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_of_a_crop_it_says_what_it_says_of_the_whole_image(data: Folder, tmp_path: Path, flip: float) -> None:
    """Without a zoom nothing is interpolated: a teacher of single pixels says the same either way."""
    batch = batch_of(data, tmp_path, crop=(20, 24), scale=(1, 1), flip=flip)
    assert tuple(batch.targets["whole"].shape) == (4, 3, *SIZE)
    (label, disparity), (expected, known) = labels(batch, "whole"), labels(batch, "view")
    assert len(label.unique()) > 1
    assert (label == expected).float().mean() > 0.999  # a tie may be broken by rounding
    torch.testing.assert_close(disparity, known, atol=1e-4, rtol=0)


def test_padding_is_ignored_and_the_rest_is_where_it_is(data: Folder, tmp_path: Path) -> None:
    batch = batch_of(data, tmp_path, scale=(0.5, 0.5))
    label, disparity = labels(batch, "whole")
    assert batch.valid is not None
    assert batch.valid.float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert torch.equal(label == IGNORE, ~batch.valid)
    assert torch.equal(disparity[:, 0].isnan(), ~batch.valid)
    # Half as large, a pixel is the mean of four; so is what a linear teacher says between four pixels.
    assert (label == labels(batch, "view")[0]).float().mean() > 0.99


def test_zooming_in_shows_the_pixels_of_the_stored_image_where_the_view_says(data: Folder, tmp_path: Path) -> None:
    batch = batch_of(data, tmp_path, detail=2, scale=(2, 2))
    mirrored = 0
    for id, image, theta in zip(batch.ids, batch.image, batch.targets["view"], strict=True):
        assert theta[:, :2].abs().diagonal().tolist() == [0.5, 0.5]
        top, left = round(float(theta[1, 2] + 0.5) * NATIVE[0] / 2), round(float(theta[0, 2] + 0.5) * NATIVE[1] / 2)
        expected = data.image(id)[top : top + SIZE[0], left : left + SIZE[1]]
        flipped = bool(theta[0, 0] < 0)
        mirrored += flipped
        np.testing.assert_array_equal(image.permute(1, 2, 0), expected[:, ::-1] if flipped else expected)
    assert 0 < mirrored < 4


def test_it_is_shown_the_whole_image_in_one_pass() -> None:
    seen = []
    for sees in ("whole", "view"):
        step = make_step(Pointwise(CLASSES), {"supervised": {}, "pseudo_labels": {"teacher_sees": sees}})
        objective, batch = step.objectives["pseudo_labels"], make_batch(2)
        assert isinstance(objective, PseudoLabelsObjective)
        targets = {"whole": make_batch(5, size=(64, 64)).image, "view": torch.eye(2, 3).repeat(2, 1, 1)}
        batch = Batch(batch.ids, batch.keys, batch.image, targets, dict.fromkeys(targets, torch.ones(2).bool()))
        step.ema.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[2:]))
        objective.request(batch, Base.of(batch, None), Nets(step.network, step.ema.network))
    assert [tuple(size) for size in seen] == [(64, 64), (32, 48)]


def test_a_view_of_everything_is_scaled_as_ever() -> None:
    maps, config = torch.randn(2, 3, 8, 12), PseudoLabels()
    batch = make_batch(2)
    targets = {"whole": batch.image, "view": torch.eye(2, 3).repeat(2, 1, 1)}
    whole = Batch(batch.ids, batch.keys, batch.image, targets, dict.fromkeys(targets, torch.ones(2).bool()))
    torch.testing.assert_close(config._in_view(maps, whole, (32, 48)), upsample(maps, (32, 48)), atol=1e-5, rtol=0)
    assert config._in_view(maps, batch, (32, 48)).shape == (2, 3, 32, 48)


def test_it_is_found_as_exactly_in_mixed_precision(data: Folder, tmp_path: Path) -> None:
    batch = batch_of(data, tmp_path, crop=(20, 24), scale=(1, 2))
    config, maps = PseudoLabels(), torch.rand(4, 3, *SIZE)
    expected = config._in_view(maps, batch, (400, 480))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(config._in_view(maps, batch, (400, 480)), expected)


def test_images_come_along_only_if_they_are_wanted(data: Folder, tmp_path: Path) -> None:
    assert not {"whole", "view"} & batch_of(data, tmp_path, with_whole=False).targets.keys()
    assert np.array_equal(batch_of(data, tmp_path).image, batch_of(data, tmp_path, with_whole=False).image)


def test_whole_images_are_as_large_as_is_said(data: Folder, tmp_path: Path) -> None:
    """Never larger than what is prepared, and in steps of a size that networks can place."""
    shapes = [
        tuple(batch_of(data, tmp_path, detail=detail, **given).targets["whole"].shape[2:])
        for detail, given in ((2, {}), (1, {"whole": 1.5}), (2, {"whole": 1.5}), (2, {"whole": 0.5}))
    ]
    height, width = SIZE
    assert shapes == [SIZE, SIZE, (height * 3 // 2, width * 3 // 2), (height // 2, width // 2)]
    assert Geometry(whole=1.4).whole_size((144, 192), (288, 384)) == (208, 272)
    assert Geometry(whole=1.4).whole_size((144, 192), (202, 269)) == (192, 256)
