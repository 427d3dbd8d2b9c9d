"""The photometric loss against a slow textbook in float64, on the generated streets, and in the hard cases."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fathomseg.config import load
from fathomseg.data.datasets.streets import Streets
from fathomseg.errors import ConfigError
from fathomseg.geometry.camera import depth_to_disparity, intrinsics
from fathomseg.geometry.pose import relative, se3
from fathomseg.losses import ssim
from fathomseg.losses.disparity import smoothness
from fathomseg.losses.photometric import PhotometricLoss
from fathomseg.types import StepResult

Inputs = dict[str, Any]


def make(seed: int, h: int = 13, w: int = 18, b: int = 2, s: int = 2, dtype: torch.dtype = torch.float64) -> Inputs:
    """Smooth images, so that a rounded position does not jump to another slope; several scales of odd size."""
    g = torch.Generator().manual_seed(seed)
    v, u = torch.meshgrid(torch.arange(h).double(), torch.arange(w).double(), indexing="ij")
    waves = torch.rand(b, 1 + s, 3, 3, generator=g, dtype=torch.float64)[..., None, None]
    images = 0.5 + 0.4 * torch.sin(waves[:, :, :, 0] * u + waves[:, :, :, 1] * v + 6 * waves[:, :, :, 2])
    sizes = [(math.ceil(h / 2**k), math.ceil(w / 2**k)) for k in range(4)]
    disparities = [0.02 + 0.03 * torch.rand(b, 1, *size, generator=g, dtype=torch.float64) for size in sizes]
    motion = torch.randn(2, b * s, 3, generator=g, dtype=torch.float64) * torch.tensor([0.02, 0.1]).view(2, 1, 1)
    K = torch.tensor([[15.0, 0, 8.3], [0, 16, 6.1], [0, 0, 1]], dtype=torch.float64).expand(b, 3, 3)
    return {
        "target": images[:, 0].to(dtype),
        "sources": images[:, 1:].to(dtype),
        "disparities": [d.to(dtype).requires_grad_() for d in disparities],
        "K": K.to(dtype),
        "src_T_tgt": se3(*motion).view(b, s, 4, 4).to(dtype).requires_grad_(),
        "depth_range": (0.1, 100.0),
    }


def loss(result: StepResult) -> Tensor:
    return sum((t.weight * t.sum / t.count for t in result.terms.values()), torch.zeros(()))


# The textbook: one pixel, one source, one scale at a time, in float64.


def reflected(i: int, n: int) -> int:
    return -i if i < 0 else 2 * (n - 1) - i if i >= n else i


def textbook_error(x: Tensor, y: Tensor, alpha: float) -> Tensor:
    """x, y: 3 h w -> h w. SSIM by a loop over the nine shifts, mean absolute difference over the colours."""
    _, h, w = x.shape
    shifts = [
        ([reflected(r + i, h) for r in range(h)], [reflected(c + j, w) for c in range(w)])
        for i, j in itertools.product((-1, 0, 1), repeat=2)
    ]
    X, Y = (torch.stack([z[:, rows][:, :, columns] for rows, columns in shifts]) for z in (x, y))
    mx, my = X.mean(0), Y.mean(0)
    vx, vy = ((X - mx) ** 2).mean(0), ((Y - my) ** 2).mean(0)
    cov = ((X - mx) * (Y - my)).mean(0)
    similarity = (2 * mx * my + 0.01**2) * (2 * cov + 0.03**2) / ((mx**2 + my**2 + 0.01**2) * (vx + vy + 0.03**2))
    return alpha * ((1 - similarity) / 2).clamp(0, 1).mean(0) + (1 - alpha) * (x - y).abs().mean(0)


def textbook_view(image: Tensor, depth: Tensor, K: Tensor, T: Tensor) -> tuple[Tensor, Tensor]:
    """image 3 h w, depth h w -> view 3 h w and whether each pixel is inside; bilinear by hand."""
    _, h, w = image.shape
    v, u = torch.meshgrid(torch.arange(h).double(), torch.arange(w).double(), indexing="ij")
    points = torch.linalg.inv(K) @ torch.stack([u, v, torch.ones_like(u)]).flatten(1) * depth.flatten()
    x, y, z = K @ (T[:3, :3] @ points + T[:3, 3:])
    u, v = (x / z).view(h, w), (y / z).view(h, w)
    known = (u >= 0) & (u <= w - 1) & (v >= 0) & (v <= h - 1)
    u, v = u.clamp(0, w - 1), v.clamp(0, h - 1)
    left, top = u.detach().floor().clamp(max=w - 2), v.detach().floor().clamp(max=h - 2)
    a, b, i, j = u - left, v - top, top.long(), left.long()
    upper = image[:, i, j] * (1 - a) + image[:, i, j + 1] * a
    lower = image[:, i + 1, j] * (1 - a) + image[:, i + 1, j + 1] * a
    return upper * (1 - b) + lower * b, known


def textbook_smoothness(d: Tensor, image: Tensor) -> Tensor:
    d = d / (d.mean() + 1e-7)
    dx = (d[:, 1:] - d[:, :-1]).abs() * torch.exp(-(image[:, :, 1:] - image[:, :, :-1]).abs().mean(0))
    dy = (d[1:] - d[:-1]).abs() * torch.exp(-(image[:, 1:] - image[:, :-1]).abs().mean(0))
    return dx.mean() + dy.mean()


def textbook(part: PhotometricLoss, inputs: Inputs, valid: Tensor | None = None) -> Tensor:
    total, smooth, counted = torch.zeros(()).double(), torch.zeros(()).double(), 0.0
    b, s = inputs["sources"].shape[:2]
    h, w = inputs["target"].shape[-2:]
    for scale, small in enumerate(inputs["disparities"]):
        upsampled = torch.nn.functional.interpolate(small, (h, w), mode="bilinear", align_corners=False)
        depth = 1 / (1 / 100 + (1 / 0.1 - 1 / 100) * upsampled)
        reduced = torch.nn.functional.interpolate(inputs["target"], small.shape[-2:], mode="area")
        for k in range(b):
            target, errors, known, still = inputs["target"][k], [], [], []
            for n in range(s):
                source = inputs["sources"][k, n]
                view, there = textbook_view(source, depth[k, 0], inputs["K"][k], inputs["src_T_tgt"][k, n])
                errors.append(textbook_error(view, target, part.alpha))
                known.append(there if part.mask_out_of_view else torch.ones_like(there))
                still.append(textbook_error(source, target, part.alpha))
            E, seen, U = torch.stack(errors), torch.stack(known), torch.stack(still)
            if part.over_sources == "min":
                best, unmoved = torch.where(seen, E, math.inf).min(0).values, U.min(0).values
            else:
                best, unmoved = (E * seen).sum(0) / seen.sum(0).clamp(min=1), U.mean(0)
            counts = seen.any(0) if valid is None else seen.any(0) & valid[k, 0]
            best = torch.minimum(best, unmoved) if part.automask else best
            total, counted = total + best[counts].sum(), counted + counts.sum().item()
            smooth = smooth + textbook_smoothness(small[k, 0], reduced[k]) / 2**scale
    return total / counted + part.smoothness * smooth / b / len(inputs["disparities"])


VARIANTS: list[dict[str, Any]] = [
    {},
    {"over_sources": "mean"},
    {"automask": False},
    {"mask_out_of_view": True},
    {"mask_out_of_view": True, "over_sources": "mean", "automask": False},
    {"alpha": 0.3, "smoothness": 0.5},
]


def leaves(inputs: Inputs) -> list[Tensor]:
    return [*inputs["disparities"], inputs["src_T_tgt"]]


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_equals_the_textbook_in_value_and_gradient(settings: dict[str, Any], masked: bool) -> None:
    part = PhotometricLoss(tie_breaker=0, **settings)
    for seed in (0, 1):
        inputs = make(seed)
        valid = torch.rand(2, 1, 13, 18, generator=torch.Generator().manual_seed(seed)) < 0.7 if masked else None
        ours, expected = loss(part(**inputs, valid=valid)), textbook(part, inputs, valid)
        assert expected.item() > 0.01
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=0)
        pairs = zip(*(torch.autograd.grad(value, leaves(inputs)) for value in (ours, expected)), strict=True)
        for gradient, right in pairs:
            assert right.abs().max() > 1e-5
            torch.testing.assert_close(gradient, right, rtol=1e-6, atol=1e-9 * right.abs().max().item())


def test_float32_equals_the_textbook_to_1e_5() -> None:
    part = PhotometricLoss(tie_breaker=0)
    for seed in range(3):
        inputs, exact = make(seed, dtype=torch.float32), make(seed)
        ours, expected = loss(part(**inputs)), textbook(part, exact)
        assert ours.dtype == torch.float32
        assert ours.item() == pytest.approx(expected.item(), rel=1e-5)
        gradients = torch.autograd.grad(ours, leaves(inputs)), torch.autograd.grad(expected, leaves(exact))
        for gradient, right in zip(*gradients, strict=True):
            assert (gradient - right).norm() < 1e-5 * right.norm()


def test_noise_breaks_ties_with_the_generator_of_the_device() -> None:
    inputs = make(0) | {"src_T_tgt": torch.eye(4).double().expand(2, 2, 4, 4)}  # redrawn == unmoved at every pixel
    assert PhotometricLoss(tie_breaker=0)(**inputs).logs["automasked"] > 0.3
    torch.manual_seed(0)
    first, second = PhotometricLoss()(**inputs), PhotometricLoss()(**inputs)
    assert 0.3 < first.logs["automasked"] < 0.7
    assert first.terms["photometric"].sum != second.terms["photometric"].sum
    torch.manual_seed(0)
    assert PhotometricLoss()(**inputs).terms["photometric"].sum == first.terms["photometric"].sum


# The photometric error alone.


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 7), st.integers(2, 7), st.floats(0, 1))
def test_error_equals_the_textbook_at_any_size(seed: int, h: int, w: int, alpha: float) -> None:
    g = torch.Generator().manual_seed(seed)
    views, y = (torch.rand(*n, 3, h, w, generator=g, dtype=torch.float64) for n in ((2, 3), (2,)))
    error = ssim.error(views, ssim.Target.of(y), alpha)
    for b, s in itertools.product(range(2), range(3)):
        torch.testing.assert_close(error[b, s], textbook_error(views[b, s], y[b], alpha), rtol=1e-9, atol=1e-12)


def test_error_by_hand() -> None:
    black, white = torch.zeros(1, 3, 4, 5), torch.ones(1, 3, 4, 5)
    target = ssim.Target.of(black)
    views = torch.stack([black, white, white / 2], dim=1)
    error = ssim.error(views, target, 0.85)
    expected = [0.85 * (1 - 0.0001 / (m * m + 0.0001)) / 2 + 0.15 * m for m in (0.0, 1.0, 0.5)]
    torch.testing.assert_close(error[0, :, 2, 2], torch.tensor(expected))
    torch.testing.assert_close(error, error[:, :, 2:3, 2:3].expand_as(error))


@pytest.mark.parametrize("size", [(2, 2), (3, 2), (2, 4), (4, 3)])
def test_gradient_of_the_error(size: tuple[int, int]) -> None:
    g = torch.Generator().manual_seed(0)
    views, y = (torch.rand(*n, 3, *size, generator=g, dtype=torch.float64) for n in ((1, 2), (1,)))
    target = ssim.Target.of(y)
    assert torch.autograd.gradcheck(lambda x: ssim.error(x, target, 0.85), views.requires_grad_())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 7), st.integers(2, 7))
def test_the_adjoint_of_the_box_is_its_transpose(seed: int, h: int, w: int) -> None:
    a, b = torch.randn(2, 3, h, w, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close((ssim.box(a) * b).sum(), (a * ssim.box_adjoint(b)).sum())
    ones = torch.ones(1, h, w)
    assert ssim.box(ones).equal(9 * ones)


def test_one_large_call_equals_the_cache_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU runs, run here."""
    inputs = make(3)
    part = PhotometricLoss(tie_breaker=0)
    value = loss(part(**inputs))
    gradients = torch.autograd.grad(value, leaves(inputs))
    for module in ("fathomseg.losses.ssim", "fathomseg.geometry.warp"):
        monkeypatch.setattr(f"{module}.blocks", lambda tensor, dims: [(slice(None),) * dims])
    whole = loss(part(**inputs))
    torch.testing.assert_close(whole, value)
    for one, other in zip(torch.autograd.grad(whole, leaves(inputs)), gradients, strict=True):
        torch.testing.assert_close(one, other)


# Generated streets: the loss must prefer the truth.


def street(id: str, size: tuple[int, int] = (96, 192)) -> tuple[Inputs, Tensor, Tensor]:
    """Target, both neighbours, exact poses; exact depth (sky at 100 m), and the pixels that stand still."""
    streets = Streets(size=size)
    neighbours = [streets.neighbour(id, offset) for offset in (-1, 1)]
    ids = [id, *(n for n in neighbours if n is not None)]
    images = torch.stack([torch.tensor(streets.image(i)) for i in ids]).permute(0, 3, 1, 2)[None] / 255
    poses = torch.stack([torch.tensor(streets.world_T_cam(i)) for i in ids])[None]
    depth = torch.tensor(streets.depth(id))[None, None]
    inputs = {
        "target": images[:, 0],
        "sources": images[:, 1:],
        "K": intrinsics([streets.camera(id)]),
        "src_T_tgt": relative(poses[:, 1:], poses[:, :1].expand_as(poses[:, 1:])).float(),
        "depth_range": (0.1, 200.0),
    }
    return inputs, torch.where(depth > 0, depth, 100.0), torch.tensor(streets.moving(id)).logical_not()[None, None]


@pytest.mark.parametrize("id", ["train/0000/000004", "train/0005/000011", "val/0002/000007"])
def test_the_loss_is_lowest_at_the_true_depth(id: str) -> None:
    inputs, depth, still = street(id)
    part = PhotometricLoss(smoothness=0)

    def at(factor: float, **settings: Any) -> float:
        disparity = depth_to_disparity(depth * factor, 0.1, 200.0)
        result = part.model_copy(update=settings)(**inputs, disparities=[disparity], valid=still)
        return loss(result).item()

    true, unmoved = at(1.0, automask=False), at(1e6, automask=False)
    assert true < 0.6 * unmoved
    for factor in (0.8, 1.25):
        assert true < 0.95 * at(factor, automask=False)
        assert at(1.0) < at(factor)


# Hard cases.


def test_flat_images_give_zero_and_finite_gradients() -> None:
    inputs = make(0, b=1)
    inputs["target"] = torch.full_like(inputs["target"], 0.4)
    inputs["sources"] = torch.full_like(inputs["sources"], 0.4)
    value = loss(PhotometricLoss(smoothness=0, tie_breaker=0)(**inputs))
    assert value.item() == pytest.approx(0, abs=1e-12)
    for gradient in torch.autograd.grad(value, leaves(inputs), allow_unused=True):
        assert gradient is None or gradient.abs().max() < 1e-9


def test_a_standing_camera_is_masked_and_has_no_gradient() -> None:
    inputs = make(0)
    inputs["sources"] = inputs["target"][:, None].expand_as(inputs["sources"])
    result = PhotometricLoss(smoothness=0, tie_breaker=0)(**inputs)
    assert result.logs["automasked"] == 1
    for gradient in torch.autograd.grad(loss(result), leaves(inputs), allow_unused=True):
        assert gradient is None or (gradient == 0).all()
    for weight in (torch.full((2, 1, 13, 18), 0.25), torch.zeros(2, 1, 13, 18)):
        weight[..., :4] = 0
        share = PhotometricLoss(smoothness=0, tie_breaker=0)(**inputs, weight=weight).logs["automasked"]
        assert share == (1 if weight.any() else 0), "a share of what counts"


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_no_valid_pixel_gives_zero_over_zero_and_no_gradient(settings: dict[str, Any]) -> None:
    inputs = make(0)
    result = PhotometricLoss(**settings)(**inputs, valid=torch.zeros(2, 1, 13, 18, dtype=torch.bool))
    term = result.terms["photometric"]
    assert (term.sum.item(), term.count.item(), result.logs["automasked"].item()) == (0, 0, 0)
    for gradient in torch.autograd.grad(term.sum, leaves(inputs)):
        assert (gradient == 0).all()


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_scenes_behind_the_source_count_nowhere(settings: dict[str, Any]) -> None:
    inputs = make(0)
    away = torch.eye(4).double().repeat(2, 2, 1, 1)
    away[..., 2, 3] = -1000.0
    inputs["src_T_tgt"] = away.requires_grad_()
    term = PhotometricLoss(**settings)(**inputs).terms["photometric"]
    assert (term.sum.item(), term.count.item()) == (0, 0)
    for gradient in torch.autograd.grad(term.sum, leaves(inputs)):
        assert (gradient == 0).all()


def test_pixels_that_are_not_valid_have_no_say() -> None:
    inputs, valid = make(0), torch.ones(2, 1, 13, 18, dtype=torch.bool)
    valid[..., 9:, :] = False  # a bonnet
    before = PhotometricLoss(tie_breaker=0)(**inputs, valid=valid).terms["photometric"]
    inputs["target"] = inputs["target"].clone()
    inputs["target"][..., 10:, :] = 0.77  # row 9 is within the window of row 8, which counts
    after = PhotometricLoss(tie_breaker=0)(**inputs, valid=valid).terms["photometric"]
    assert before.count == after.count == 4 * 2 * 9 * 18
    torch.testing.assert_close(before.sum, after.sum)


def test_a_second_camera_is_used_for_the_sources() -> None:
    inputs, zoomed = make(0), make(0)
    K_src = inputs["K"][:, None].expand(2, 2, 3, 3)
    same = loss(PhotometricLoss(tie_breaker=0)(**inputs, K_src=K_src))
    torch.testing.assert_close(same, loss(PhotometricLoss(tie_breaker=0)(**inputs)))
    # Moving the sources' principal point by a pixel moves their images by a pixel.
    moved = K_src + torch.tensor([[0, 0, 1.0], [0, 0, 0], [0, 0, 0]]).double()
    zoomed["sources"] = torch.cat([zoomed["sources"][..., :1], zoomed["sources"][..., :-1]], dim=-1)
    part = PhotometricLoss(tie_breaker=0, automask=False, mask_out_of_view=True)
    shifted, original = part(**zoomed, K_src=moved), part(**inputs)
    assert shifted.terms["photometric"].count <= original.terms["photometric"].count
    interior = torch.zeros(2, 1, 13, 18, dtype=torch.bool)
    interior[..., 4:-4, 5:-5] = True
    torch.testing.assert_close(
        part(**zoomed, K_src=moved, valid=interior).terms["photometric"].sum,
        part(**inputs, valid=interior).terms["photometric"].sum,
    )


@pytest.mark.parametrize("broken", ["target", "sources", "disparities", "K", "src_T_tgt"])
def test_nan_is_not_hidden(broken: str) -> None:
    inputs = make(0)
    tensor = inputs[broken][1] if broken == "disparities" else inputs[broken].detach().clone()
    with torch.no_grad():
        tensor.view(-1)[5] = math.nan
    if broken != "disparities":
        inputs[broken] = tensor
    assert loss(PhotometricLoss(over_sources="mean")(**inputs)).isnan()
    assert loss(PhotometricLoss()(**inputs)).isnan()


def test_autocast_changes_nothing() -> None:
    inputs = make(0, dtype=torch.float32)
    part = PhotometricLoss(tie_breaker=0)
    expected = loss(part(**inputs))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loss(part(**inputs)), expected, rtol=0, atol=0)
        halves = [d.bfloat16() for d in inputs["disparities"]]
        assert loss(part(**inputs | {"disparities": halves})).dtype == torch.float32


def test_smoothness_halves_with_every_octave() -> None:
    inputs = make(0, h=16, w=32)
    every = [PhotometricLoss()(**inputs | {"disparities": [d]}).terms["smoothness"] for d in inputs["disparities"]]
    together = PhotometricLoss()(**inputs).terms["smoothness"]
    assert together.weight == 1e-3
    torch.testing.assert_close(together.sum, torch.stack([t.sum for t in every]).mean())
    area = torch.nn.functional.interpolate(inputs["target"], (4, 8), mode="area")
    torch.testing.assert_close(every[2].sum, smoothness(inputs["disparities"][2], area)[0] / 4)


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="over_sources"):
        load(PhotometricLoss, {"over_sources": "max"})


def test_what_is_looked_at_is_what_the_loss_compares() -> None:
    """Without automask, the mean of the error that is shown is the loss of one map; nothing moved is nothing warped."""
    config, inputs = PhotometricLoss(automask=False), make(3)
    inputs |= {"src_T_tgt": inputs["src_T_tgt"].detach(), "disparities": [inputs["disparities"][0].detach()]}
    term = config(**inputs).terms["photometric"]
    rest = {name: inputs[name] for name in ("target", "sources", "K", "src_T_tgt", "depth_range")}
    _, error = config.look(disparity=inputs["disparities"][0], **rest)
    assert float(error.sum()) == pytest.approx(float(term.sum), rel=1e-9)
    still = torch.eye(4, dtype=torch.float64).expand(2, 2, 4, 4)
    warped, _ = config.look(disparity=inputs["disparities"][0], **{**rest, "src_T_tgt": still})
    torch.testing.assert_close(warped, inputs["sources"], atol=1e-6, rtol=0)
