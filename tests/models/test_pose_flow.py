"""The pose network on flow: its fields by hand, what it learns of unseen shifts, training equals evaluation."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from fathomseg.config import validate
from fathomseg.learners.depth import SelfSupervisedDepth
from fathomseg.models.pose import PoseConfig
from fathomseg.models.pose_flow import FlowPose, FlowPoseNetwork, seen_motion


def network() -> FlowPoseNetwork:
    torch.manual_seed(0)
    return FlowPose().build()


def texture(height: int, width: int, count: int = 1) -> torch.Tensor:
    noise = torch.rand(count, 3, height // 3, width // 3, generator=torch.Generator().manual_seed(3))
    return F.interpolate(noise, (height, width), mode="bicubic").clamp(0, 1)


def test_the_fields_of_a_shift() -> None:
    image = texture(48, 64)
    fields, weight = seen_motion(image, torch.roll(image, 2, 3))  # 2 pixels to the right, half the width is 32
    assert fields.shape == (1, 11, 12, 16)
    assert torch.equal(fields[:, 10:], weight)
    inner = fields[0, :, 3:-3, 3:-3]
    x, y = inner[6], inner[7]
    assert (inner[0] - 50 * 2 / 32).abs().median() < 0.1
    assert inner[1].abs().median() < 0.1
    for channel, factor in ((2, x), (4, y)):
        torch.testing.assert_close(inner[channel], inner[0] * factor)
    for channel, factor in ((3, x), (5, y)):
        torch.testing.assert_close(inner[channel], inner[1] * factor)
    torch.testing.assert_close(inner[8], x * x)
    torch.testing.assert_close(inner[9], x * y)
    torch.testing.assert_close(fields[0, 6, 0], (torch.arange(16) + 0.5 - 8) / 8)
    torch.testing.assert_close(fields[0, 7, :, 0], (torch.arange(12) + 0.5 - 6) / 8)


def test_it_starts_near_standing_still_and_eval_equals_training() -> None:
    step, (first, second) = network(), texture(48, 64, 2).split(1)
    trained = step.train()(first, second)
    evaluated = step.eval()(first, second)
    for one, other in zip(trained, evaluated, strict=True):
        assert torch.equal(one, other), "no statistics of the batch"
    still, translation = step(first, first)
    assert still.abs().max() < 0.02
    assert translation.abs().max() < 0.02


def test_every_parameter_learns() -> None:
    step = network()
    axis_angle, translation = step(texture(48, 64, 2), texture(48, 64, 2).roll(2, 3))
    (axis_angle.sum() + translation.sum()).backward()
    assert all(parameter.grad is not None for parameter in step.parameters())
    assert step.encoder_parameters() == []


def test_it_learns_to_tell_shifts_of_unseen_pictures() -> None:
    step = network()
    pictures = texture(48, 64, 24)
    shifts = torch.randint(-4, 5, (24, 2), generator=torch.Generator().manual_seed(5))
    pairs = zip(pictures, shifts.tolist(), strict=True)
    moved = torch.cat([torch.roll(picture[None], (y, x), (2, 3)) for picture, (x, y) in pairs])
    wanted = 0.01 * torch.cat([shifts, torch.zeros(24, 1)], dim=1)
    optimiser = torch.optim.Adam(step.parameters(), lr=3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        loss = 100 * (step(pictures[:16], moved[:16])[0] - wanted[:16]).abs().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        error = (step(pictures[16:], moved[16:])[0] - wanted[16:]).abs().mean()
    constant = (wanted[:16].median(0).values - wanted[16:]).abs().mean()
    assert error < 0.3 * constant


def test_recipes_choose_by_name_and_old_ones_have_none() -> None:
    assert isinstance(validate(SelfSupervisedDepth, {"pose": {"name": "flow"}}).pose, FlowPose)
    assert isinstance(validate(SelfSupervisedDepth, {"pose": {"reduce": 2}}).pose, PoseConfig)
