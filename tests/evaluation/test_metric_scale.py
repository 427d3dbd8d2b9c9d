"""Metres per unit on the generated city, where poses, depth and the camera's height are known."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fathomseg.data.datasets.streets import Streets
from fathomseg.evaluation.metric_scale import (
    scale_from_camera_height,
    scale_from_poses,
    scale_from_speed,
    windows,
)
from fathomseg.geometry.camera import depth_to_disparity
from fathomseg.inference.card import ModelCard
from fathomseg.inference.depth_scale import DepthScale, mean_scale, median_scale
from fathomseg.inference.predictor import Predictor
from fathomseg.tasks.depth import Depth
from fathomseg.tasks.network import NetworkConfig

STREETS = Streets(size=(64, 128), train_clips=2, val_clips=1, frames=8)
IDS = list(STREETS.ids("train"))


class KnowsPoses(nn.Module):
    """The true motion of frames in their order, shorter by `unit`, by the number of calls."""

    def __init__(self, unit: float) -> None:
        super().__init__()
        self.unit, self.clip = unit, 0

    def forward(self, first: Tensor, second: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
        ids = IDS[8 * self.clip : 8 * self.clip + 8]
        self.clip += 1
        places = [STREETS.world_T_cam(id) for id in ids]
        moved = [np.linalg.inv(b) @ a for a, b in pairwise(places)]
        translation = torch.from_numpy(np.stack(moved))[:, :3, 3] / self.unit
        return torch.zeros(len(moved), 3, dtype=torch.float64), translation


class KnowsDepth(nn.Module):
    """The true depth of an image of the city, in units of `unit` metres."""

    def __init__(self, unit: float) -> None:
        super().__init__()
        self.unit = unit
        self.known = {STREETS.image(id).tobytes(): STREETS.depth(id) for id in IDS}

    def forward(self, images: Tensor, tasks: Collection[str] | None = None) -> dict[str, list[Tensor]]:
        (image,) = (images * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
        depth = torch.from_numpy(self.known[image.tobytes()].copy()) / self.unit
        disparity = depth_to_disparity(torch.where(depth > 0, depth, 1e6).clamp(0.1, 100), 0.1, 100)
        return {"depth": [disparity[None, None]]}


CARD = ModelCard(network=NetworkConfig(tasks={"depth": Depth()}), size=(64, 128), depth_unit="relative")


def test_the_scale_of_poses() -> None:
    found = scale_from_poses(KnowsPoses(7.0), STREETS, [IDS[:8], IDS[8:]], (64, 128), STREETS.camera)
    assert found is not None
    assert found.metres_per_unit == pytest.approx(7.0, rel=1e-5)
    assert (found.source, found.measured, found.reliable) == ("poses", 14, True)
    assert found.spread < 1e-4


def test_the_scale_of_the_speed() -> None:
    """Of a drive whose mean distance from frame to frame is known, though its speed is not the same everywhere."""
    places = [[STREETS.world_T_cam(id)[:3, 3] for id in IDS[start : start + 8]] for start in (0, 8)]
    moved = [float(np.linalg.norm(b - a)) for clip in places for a, b in pairwise(clip)]
    found = scale_from_speed(KnowsPoses(7.0), STREETS, IDS, (64, 128), STREETS.camera, sum(moved) / len(moved))
    assert found is not None
    assert found.metres_per_unit == pytest.approx(7.0, rel=1e-5)
    assert (found.source, found.measured) == ("speed", 14)
    assert "mean of 14" in str(found)


def test_the_error_of_a_mean_speed() -> None:
    scale = mean_scale([[1.0, 3.0], [4.0, 4.0]], 6.0)
    assert scale is not None
    assert (scale.metres_per_unit, scale.measured) == (2.0, 4)
    assert scale.spread == pytest.approx(1 / 3), "means of 2 and 4: a standard deviation of the square root of 2"
    assert mean_scale([], 1.0) is None
    assert mean_scale([[0.0, 0.0]], 1.0) is None


@pytest.mark.parametrize("unit", [1.0, 5.0])
def test_the_scale_of_the_camera_height(unit: float) -> None:
    predictor = Predictor(KnowsDepth(unit), CARD)
    found = scale_from_camera_height(predictor, STREETS, IDS, STREETS.camera, STREETS.camera_height)
    assert found is not None
    assert found.metres_per_unit == pytest.approx(unit, rel=0.03)
    assert found.reliable
    assert scale_from_camera_height(predictor, STREETS, IDS, STREETS.camera, lambda id: None) is None


def test_the_card_in_metres_multiplies_the_depth_of_every_disparity() -> None:
    scale = median_scale([4.0, 5.0, 5.0, 5.0, 6.0, 500.0, float("nan"), -1.0], "poses")
    assert scale == DepthScale(metres_per_unit=5.0, source="poses", measured=6, spread=1.4826 * 0.5 / 5)
    card = CARD.in_metres(scale)
    assert (card.depth_unit, card.depth_scale) == ("metres", scale)
    one = torch.rand(1, 4, 5)
    ours, theirs = (c.tasks["depth"].decode(one, (4, 5))["depth"] for c in (CARD, card))
    torch.testing.assert_close(theirs, 5 * ours)
    again = ModelCard.model_validate_json(card.model_dump_json())
    assert again == card


def test_what_disagrees_is_not_relied_on() -> None:
    wild, few = median_scale([1.0, 2.0, 5.0, 9.0, 20.0, 70.0], "poses"), median_scale([2.0, 2.0], "poses")
    assert wild is not None
    assert few is not None
    assert not wild.reliable
    assert not few.reliable
    assert median_scale([float("nan"), 0.0], "poses") is None


def test_frames_are_taken_from_all_of_a_long_clip_and_from_all_clips() -> None:
    clip = [f"{i:03d}" for i in range(801)]
    parts = windows([clip])
    assert [part[0] for part in parts] == ["000", "112", "224", "336", "456", "568", "680", "792"]
    assert all(list(part) == clip[int(part[0]) : int(part[0]) + 8] for part in parts)
    pairs = [[f"{i}a", f"{i}b"] for i in range(100)]
    assert sum(len(part) for part in windows(pairs)) == 64
    assert windows([["a"]]) == windows([]) == []
    assert windows([clip[:9]]) == [clip[:8]], "a frame alone shows no motion"
