"""What video teaches: order of frames, motions, cameras, what is compared, and that depth is learned from it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fathomseg.config import validate
from fathomseg.data.colour import ColourJitter
from fathomseg.geometry.alignment import align
from fathomseg.geometry.pose import invert, se3
from fathomseg.losses.moving import ResidualFlow
from fathomseg.objectives import photometric
from fathomseg.objectives.base import ordered, recoloured
from fathomseg.objectives.photometric import Photometric, PhotometricObjective, motion_error
from fathomseg.types import Batch

SIZE = (24, 32)


def video(
    focal_ids: dict[str, int] | None = None,
    align: bool = False,
    moving: dict[str, object] | None = None,
    **loss: object,
) -> PhotometricObjective:
    torch.manual_seed(0)
    pose = {"encoder": {"model": "test_resnet", "pretrained": "none"}}
    settings = {"pose": pose, "align": align, "moving": moving or {"name": "none"}, "loss": loss}
    config = validate(Photometric, settings)
    factors = [1.0] * (1 + max((focal_ids or {"": 0}).values()))
    return PhotometricObjective(config, config.pose.build(), (0.1, 100.0), focal_ids, factors)


def clip(count: int = 2) -> Batch:
    pixels = torch.randint(0, 256, (count, 3, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    camera = torch.tensor([[30.0, 0, 15.5], [0, 30, 11.5], [0, 0, 1]]).expand(count, 3, 3)
    ids = tuple(f"clip/{i}" for i in range(count))
    targets = {"frames": pixels[:, [0, 2]], "camera": camera}
    present = dict.fromkeys(targets, torch.ones(count, dtype=torch.bool))
    return Batch(ids, tuple(range(count)), pixels[:, 1], targets, present)


def test_frames_are_in_the_order_of_time() -> None:
    batch = clip()
    frames = ordered(batch)
    for place, expected in enumerate((batch.targets["frames"][:, 0], batch.image, batch.targets["frames"][:, 1])):
        assert torch.equal(frames[:, place], expected / 255)


def test_a_sample_has_the_same_colours_in_all_its_frames_and_others_have_others() -> None:
    grey = torch.full((2, 3, 3, 8, 8), 0.5)
    seen = recoloured(ColourJitter(probability=1.0), grey, (1, 2))
    torch.testing.assert_close(seen[:, 0], seen[:, 2])
    torch.testing.assert_close(seen[:, 0], seen[:, 1])
    assert not torch.allclose(seen[0, 0], seen[1, 0])


def test_motions_are_target_first() -> None:
    """The pose network sees both pairs earlier frame first; the way back to the frame before is the inverse."""
    step, calls = video(), []
    turn, move = torch.tensor([[0.0, 0.1, 0.0]] * 4), torch.tensor([[0.0, 0.0, z] for z in (1.0, 2.0, 3.0, 4.0)])

    def pose(first: Tensor, second: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
        calls.append((first, second, K))
        return turn, move

    step.pose.forward = pose  # type: ignore[method-assign]
    before, target, after = torch.rand(3, 2, 3, *SIZE).unbind(0)
    cameras = torch.rand(2, 3, 3)
    src_T_tgt = step.motions(before, target, after, cameras)
    ((first, second, K),) = calls
    assert torch.equal(K, torch.cat([cameras, cameras]))
    assert torch.equal(first, torch.cat([before, target]))
    assert torch.equal(second, torch.cat([target, after]))
    torch.testing.assert_close(src_T_tgt[:, 0], invert(se3(turn[:2], move[:2])))
    torch.testing.assert_close(src_T_tgt[:, 1], se3(turn[2:], move[2:]))


def test_the_loss_compares_the_frames_as_they_are_whatever_the_networks_see() -> None:
    step, batch = video(tie_breaker=0.0), clip()
    step.pose.forward = lambda first, second, K: (torch.zeros(4, 3), torch.full((4, 3), 0.02))  # type: ignore[method-assign]
    disparities = [torch.rand(2, 1, *SIZE)]
    clean = ordered(batch)
    one, other = (step.losses(batch, seen, clean, disparities).terms for seen in (clean, 1 - clean))
    assert one["photometric"].sum == other["photometric"].sum > 0
    assert one["smoothness"].sum == other["smoothness"].sum > 0
    brighter = replace(batch, image=(batch.image // 2))
    assert (
        step.losses(brighter, clean, ordered(brighter), disparities).terms["photometric"].sum != one["photometric"].sum
    )


def test_still_frames_that_are_alike_have_no_error() -> None:
    """Known answer: the same frame three times and no motion is redrawn exactly, whatever the depth."""
    step, batch = video(automask=False, smoothness=0.0), clip()
    batch = replace(batch, targets={**batch.targets, "frames": batch.image[:, None].expand(-1, 2, -1, -1, -1)})
    step.pose.forward = lambda first, second, K: (torch.zeros(4, 3), torch.zeros(4, 3))  # type: ignore[method-assign]
    term = step.losses(batch, ordered(batch), ordered(batch), [torch.rand(2, 1, *SIZE)]).terms["photometric"]
    assert (term.sum / term.count).item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("keep", [0.0, 0.4])
def test_the_share_of_moving_pixels_is_logged_of_what_is_no_padding(keep: float) -> None:
    step, batch = video(moving={"name": "classes", "keep": keep}), clip()
    step.moving = (1,)
    label = torch.zeros(2, *SIZE, dtype=torch.uint8)
    label[:, :12, :8] = 1  # an eighth of the picture, a quarter of what is left without the lower half
    valid = torch.ones(2, *SIZE, dtype=torch.bool)
    valid[:, 12:] = False
    batch = replace(batch, targets={**batch.targets, "label": label})
    for shown, share in ((None, 1 / 8), (valid, 1 / 4)):
        one = replace(batch, valid=shown)
        assert step.losses(one, ordered(one), ordered(one), [torch.rand(2, 1, *SIZE)]).logs[
            "moving"
        ].item() == pytest.approx(share)


def test_pixels_of_padding_are_not_compared() -> None:
    step, batch = video(tie_breaker=0.0), clip()
    valid = torch.ones(2, *SIZE, dtype=torch.bool)
    valid[:, :7] = False
    disparities = [torch.rand(2, 1, *SIZE), torch.rand(2, 1, 12, 16)]
    whole, part = (
        step.losses(one, ordered(one), ordered(one), disparities).terms["photometric"]
        for one in (batch, replace(batch, valid=valid))
    )
    assert whole.count == 2 * 2 * 24 * 32
    assert part.count == 2 * 2 * 17 * 32
    assert 0 < part.sum < whole.sum


@pytest.mark.parametrize("moving", ["classes", "residual_flow"])
def test_motion_is_aligned_by_what_does_not_move(moving: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"name": moving, **({"min_confidence": 0.5} if moving == "classes" else {})}
    step, batch = video(align=True, moving=settings), clip()
    step.moving = (1,)
    label, valid = torch.zeros(2, *SIZE, dtype=torch.uint8), torch.ones(2, *SIZE, dtype=torch.bool)
    label[0, 4:12, :20], valid[:, -3:] = 1, False
    sure = torch.ones(2, *SIZE)
    sure[0, 4:6] = 0.2
    targets = {**batch.targets, "distilled_label": label, "distilled_label_confidence": sure}
    batch = replace(batch, targets=targets, valid=valid)
    expected = valid & ((label != 1) | (sure < 0.5))
    if moving == "residual_flow":
        places = torch.rand(2, *SIZE) < 0.3
        monkeypatch.setattr(ResidualFlow, "moving", lambda self, views: places)
        expected = valid & ~places
    seen = []

    def spy(*given: Tensor) -> Tensor:
        seen.append(given[5])
        return given[4]

    monkeypatch.setattr(photometric, "align", spy)
    result = step.losses(batch, ordered(batch), ordered(batch), [torch.rand(2, 1, *SIZE)])
    assert torch.equal(seen[-1][:, 0], expected)
    assert result.terms["photometric"].count == expected.sum()


def test_only_cameras_to_be_learned_are_corrected() -> None:
    step = video(focal_ids={"clip/0": 1, "elsewhere": 0})
    assert step.focal is not None
    with torch.no_grad():
        step.focal.copy_(torch.tensor([0.5, 0.02]))
    batch = clip()
    found = step.corrected(batch.targets["camera"], batch.ids)
    factor = 1.2214028  # e^0.2
    expected = torch.tensor([[30 * factor, 0, 15.5], [0, 30 * factor, 11.5], [0, 0, 1]])
    torch.testing.assert_close(found[0], expected)
    assert torch.equal(found[1], batch.targets["camera"][1])
    assert step.focal_factors() == pytest.approx([148.41316, factor])
    assert video().focal_factors() == []


class TestAlignedMotions:
    def test_the_loss_is_taken_at_the_aligned_motions(self) -> None:
        batch, flat = clip(), torch.full((2, 1, *SIZE), 0.3, requires_grad=True)
        step = video(align=True, tie_breaker=0.0)
        result = step.losses(batch, ordered(batch), ordered(batch), [flat])
        images, sources = ordered(batch)[:, 1], ordered(batch)[:, [0, 2]]
        r = step.config.loss.inverse_depth(flat, images, (0.1, 100.0))
        begun = step.motions(*ordered(batch).unbind(1), batch.targets["camera"])
        better = align(images, sources, r, batch.targets["camera"], begun)
        assert not torch.equal(better, begun)
        expected = step.config.loss(images, sources, [flat], batch.targets["camera"], better, (0.1, 100.0)).terms[
            "photometric"
        ]
        torch.testing.assert_close(result.terms["photometric"].sum, expected.sum)

    def test_the_network_learns_from_the_aligned_motions_alone_and_depth_from_the_images_alone(self) -> None:
        batch, flat = clip(), torch.full((2, 1, *SIZE), 0.3, requires_grad=True)
        step = video(align=True)
        terms = step.losses(batch, ordered(batch), ordered(batch), [flat]).terms
        assert set(terms) == {"photometric", "smoothness", "motion"}
        terms["photometric"].sum.backward(retain_graph=True)
        assert flat.grad is not None
        assert flat.grad.abs().sum() > 0
        assert all(p.grad is None or not p.grad.any() for p in step.pose.parameters())
        flat.grad = None
        terms["motion"].sum.backward()
        assert flat.grad is None
        assert any(p.grad is not None and p.grad.any() for p in step.pose.parameters())

    def test_the_error_of_a_motion_by_hand(self) -> None:
        still = torch.eye(4).expand(1, 1, 4, 4)
        turned = se3(torch.tensor([[0.0, 0.0, 0.1]]), torch.tensor([[1.0, 0.0, -2.0]]))[None]
        r = torch.tensor([0.1, 0.2, 0.25, 0.3, 9.0]).view(1, 1, 1, 5)
        term = motion_error(still, turned, r)
        entries = 2 * math.sin(0.1) + 2 * (1 - math.cos(0.1))
        assert float(term.sum) == pytest.approx(entries + 3 * 0.25, rel=1e-5)
        assert float(term.count) == 1
