"""Which pixels move: by class, and by flow that the motion of the camera does not explain; and what is left out."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch
import torch.nn.functional as F

from fathomseg.config import validate
from fathomseg.errors import FathomError
from fathomseg.losses.class_groups import known_classes
from fathomseg.losses.moving import AnyMoving, Moving, MovingClasses, ResidualFlow, Views
from fathomseg.losses.photometric import PhotometricLoss
from fathomseg.types import IGNORE, ClassList

SIZE = (48, 64)
K = torch.tensor([[[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]]])
STILL = torch.eye(4).expand(1, 2, 4, 4)
LIST = ClassList(("road", "car"), ((0, 0, 0),) * 2)


def texture(seed: int, size: tuple[int, int] = SIZE) -> torch.Tensor:
    """Noise of a few pixels."""
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, size[0] // 3, size[1] // 3, generator=g)
    return F.interpolate(coarse, size, mode="bicubic", align_corners=False).clamp(0, 1)


def scene(shift: int) -> Views:
    """A still camera; a square of 18 pixels that moves by `shift` pixels a frame to the right."""
    ground, square = texture(0), texture(1, (18, 18))
    frames = []
    for step in (-1, 0, 1):
        frame = ground.clone()
        left = 22 + shift * step
        frame[..., 14:32, left : left + 18] = square
        frames.append(frame)
    label = torch.zeros(1, *SIZE, dtype=torch.uint8)
    label[:, 14:32, 22:40] = 1
    sources = torch.stack([frames[0], frames[2]], dim=1)
    return Views(frames[1], sources, torch.full((1, 1, *SIZE), 0.1), K, STILL, {"label": label})


@pytest.mark.parametrize("part", [kind() for kind in get_args(get_args(AnyMoving)[0])], ids=lambda part: part.name)
def test_every_way(part: Moving) -> None:
    assert validate(type(part), part.model_dump()) == part
    weight = part.weight(scene(2), part.indices(LIST))
    assert (weight is None) == (part.name == "none")
    if weight is not None:
        assert weight.shape == (1, 1, *SIZE)
        assert weight.min() >= 0
        assert weight.max() == 1


def test_classes_that_move_count_as_little_as_they_are_told_to() -> None:
    views = scene(0)
    weight = MovingClasses(keep=0.25).weight(views, MovingClasses().indices(LIST))
    assert weight is not None
    assert torch.equal(weight[:, 0] == 0.25, views.targets["label"] == 1)
    assert torch.equal(weight[:, 0] == 1, views.targets["label"] != 1)


def test_flow_finds_the_square_that_moves_and_not_the_one_that_stands() -> None:
    moving = ResidualFlow().moving(scene(2))
    square = scene(2).targets["label"] == 1
    assert moving[square].float().mean() > 0.6
    assert moving[~square].float().mean() < 0.1
    assert not ResidualFlow().moving(scene(0)).any()


def test_flow_may_count_for_some_classes_alone() -> None:
    """Where nothing says what a pixel is, it counts."""
    views, part = scene(2), ResidualFlow(classes=("Car",))
    moving, car = ResidualFlow().moving(views), views.targets["label"] == 1
    assert (moving & ~car).any()
    assert torch.equal(part.weight(views, part.indices(LIST))[:, 0] == 0, moving & car)
    assert part.uses() == {"label", "distilled_label"}
    assert ResidualFlow().uses() == frozenset()
    assert part.weight(replace(views, targets={}), part.indices(LIST)).all()
    with pytest.raises(FathomError, match=r"moving\.classes has 'tram'"):
        ResidualFlow(classes=("tram",)).indices(LIST)


def test_a_wrong_depth_everywhere_moves_nothing() -> None:
    """The threshold is relative: all of it differs alike from what the camera's motion says."""
    views = scene(0)
    ahead = torch.eye(4).repeat(1, 2, 1, 1)
    ahead[0, 0, 0, 3], ahead[0, 1, 0, 3] = 0.5, -0.5  # 2.5 pixels, at the depth of 10
    wrong = Views(views.image, views.sources, views.inverse_depth, K, ahead, views.targets)
    assert not ResidualFlow().moving(wrong).any()
    assert ResidualFlow(times=0).moving(wrong).float().mean() > 0.5


def test_pixels_that_are_left_out_have_no_loss_and_no_gradient() -> None:
    torch.manual_seed(0)
    views = scene(2)
    disparity = torch.rand(1, 1, *SIZE, requires_grad=True)
    weight = torch.ones(1, 1, *SIZE)
    weight[..., 14:32, 22:40] = 0
    motion = torch.eye(4).repeat(1, 2, 1, 1)
    motion[..., 0, 3] = 0.1
    loss = PhotometricLoss(smoothness=0, automask=False)
    term = loss(views.image, views.sources, [disparity], K, motion, (0.1, 100.0), weight=weight).terms["photometric"]
    assert float(term.count) == float(weight.sum())
    term.sum.backward()
    assert disparity.grad is not None
    inner = disparity.grad[..., 16:30, 24:38]  # SSIM of a pixel looks at its neighbours
    assert not inner.any()
    assert disparity.grad.any()
    whole = loss(views.image, views.sources, [disparity], K, motion, (0.1, 100.0)).terms["photometric"]
    ones = torch.ones_like(weight)
    same = loss(views.image, views.sources, [disparity], K, motion, (0.1, 100.0), weight=ones).terms["photometric"]
    torch.testing.assert_close(same.sum, whole.sum)
    assert same.count == whole.count


def test_a_teacher_stands_in_for_labels() -> None:
    label = torch.tensor([[[0, IGNORE]]], dtype=torch.uint8)
    other = torch.tensor([[[1, 1]]], dtype=torch.uint8)
    sure = torch.tensor([[[0.25, 0.5]]])
    teacher = {"distilled_label": other, "distilled_label_confidence": sure}
    for targets, least, classes, confidence in (
        ({"label": label, **teacher}, 0.0, [0, 1], [1.0, 0.5]),  # an image's own label is sure
        ({"label": label, **teacher}, 0.6, [0, IGNORE], [1.0, 0.5]),
        (teacher, 0.5, [IGNORE, 1], [0.25, 0.5]),
        ({"distilled_label": other}, 1.0, [1, 1], [1.0, 1.0]),
        ({"label": label}, 1.0, [0, IGNORE], [1.0, 1.0]),
    ):
        found = known_classes(targets, least)
        assert found is not None
        assert found[0].dtype == torch.uint8
        assert (found[0][0, 0].tolist(), found[1][0, 0].tolist()) == (classes, confidence)
    assert known_classes({}, 0.0) is None


def test_a_teacher_must_be_sure_that_something_moves() -> None:
    confidence = torch.full((1, *SIZE), 0.4)
    confidence[:, :20] = 0.8
    label, part = scene(0).targets["label"], MovingClasses(min_confidence=0.5)
    car, teacher = label == 1, {"distilled_label": label, "distilled_label_confidence": confidence}
    views = replace(scene(0), targets=teacher)
    weight = part.weight(views, part.indices(LIST))
    assert weight is not None
    assert torch.equal(weight[:, 0] == 0, car & (confidence > 0.5))
    always = MovingClasses().weight(views, part.indices(LIST))
    assert always is not None
    assert torch.equal(always[:, 0] == 0, car)
    assert "distilled_label_confidence" in part.uses()
    assert "distilled_label_confidence" not in MovingClasses().uses()
