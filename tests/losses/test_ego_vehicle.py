"""Pseudo-labels of the camera's own car do not count, wherever a view shows it; labels of the source there do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fathomseg.config import validate
from fathomseg.data.transforms import View
from fathomseg.errors import ConfigError, DataError
from fathomseg.geometry.views import in_view
from fathomseg.losses.ego_vehicle import EgoVehicle
from fathomseg.types import Size
from tests import fakes
from tests.objectives.test_partner import TestByHand
from tests.objectives.test_pseudo_labels import known, logits_of, predicted, pseudo_labels, row


def theta(*views: View) -> torch.Tensor:
    return torch.from_numpy(np.stack([view.theta((20, 40)) for view in views]))


def counted(shown: torch.Tensor, view: torch.Tensor, size: Size) -> torch.Tensor:
    """1 or 0 for each pixel of the views."""
    return in_view(shown, view, size, "nearest")[:, 0]


def test_rows_of_the_whole_image_follow_crop_and_zoom() -> None:
    """Of 20 rows the first 2 and the last 5 are out: rows 2..14 count."""
    shown = EgoVehicle(top=0.1, bottom=0.25).shown()
    whole, lower, zoomed = View(0, 0, (20, 40), (20, 40)), View(10, 5, (10, 20), (20, 40)), View(0, 0, (4, 8), (20, 40))
    found = counted(shown, theta(whole, lower, zoomed), (20, 40))
    assert found[0, :, 0].tolist() == [0.0] * 2 + [1.0] * 13 + [0.0] * 5
    assert found[1, :, 0].tolist() == [1.0] * 10 + [0.0] * 10
    assert found[2, :, 0].tolist() == [0.0] * 10 + [1.0] * 10
    assert torch.equal(found, found[:, :, :1].expand_as(found))


def test_a_mask_is_mirrored_with_the_view(tmp_path: Path) -> None:
    hood = np.zeros((10, 20), np.uint8)
    hood[8:, :5] = 255
    fakes.save(tmp_path / "hood.png", hood)
    shown = EgoVehicle(mask=tmp_path / "hood.png", top=0.1).shown()
    found = counted(shown, theta(View(0, 0, (20, 40), (20, 40)), View(0, 0, (20, 40), (20, 40), flip=True)), (20, 40))
    expected = torch.ones(20, 40)
    expected[16:, :10], expected[:2] = 0, 0
    assert torch.equal(found[0], expected)
    assert torch.equal(found[1], expected.flip(1))


def test_what_leaves_nothing_to_learn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"top=0.6 and bottom=0.5 leave no row"):
        validate(EgoVehicle, {"top": 0.6, "bottom": 0.5})
    assert validate(EgoVehicle, {"top": 0.6, "bottom": 0.3}).shown().sum() == 100
    hood = np.full((10, 20), 255, np.uint8)
    hood[:2] = 0
    fakes.save(tmp_path / "hood.png", hood)
    assert EgoVehicle(mask=tmp_path / "hood.png").shown().sum() == 40
    with pytest.raises(DataError, match=r"hood.png: is nonzero wherever top and bottom leave rows"):
        EgoVehicle(mask=tmp_path / "hood.png", top=0.2).shown()


def test_pixels_are_found_as_exactly_in_mixed_precision() -> None:
    """In bfloat16 positions at the border of a large image are off by pixels."""
    shown, view = EgoVehicle(top=0.1, bottom=0.234).shown(), theta(View(3, 5, (17, 33), (20, 40)))
    with torch.autocast("cpu", torch.bfloat16):
        found = counted(shown, view, (512, 64))
    assert torch.equal(found, counted(shown, view, (512, 64)))


def test_pseudo_labels_there_do_not_count_and_truth_does() -> None:
    teacher = logits_of([[0.9, 0.6, 0.2]] * 2)
    label = torch.ones(2, 1, 3, dtype=torch.uint8)
    batch = known(row(2, 3), label=label, view=torch.eye(2, 3).repeat(2, 1, 1))
    batch = replace(batch, present={**batch.present, "label": torch.tensor([False, True])})
    config = pseudo_labels(weighting={"name": "none"}, teacher_sees="view")
    shown = torch.tensor([0.0, 1.0, 1.0]).view(1, 1, 1, 3)
    pixels, _ = config.pseudo_labelled(batch, batch.image / 255, teacher, None, shown=shown)
    assert pixels.weight[:, 0].tolist() == [[0, 1, 1], [1, 1, 1]]
    assert predicted(config, batch, teacher)[0].weight.min() == 1


def test_pasted_pixels_of_the_source_count_there_too() -> None:
    case = TestByHand()
    target = case.target(view=torch.eye(2, 3)[None])
    config = pseudo_labels(
        mixing={"name": "depthmix"}, partner="source", weighting={"name": "none"}, teacher_sees="view"
    )
    pixels, _found = config.pseudo_labelled(
        target, target.image / 255, case.teacher, None, shown=torch.zeros(1, 1, 1, 1)
    )
    _, (wanted,) = config.views_of(pixels, target.keys, config.true_pixels(case.source(), None))
    assert wanted.weight.flatten().tolist() == [0, 1, 1, 0]
