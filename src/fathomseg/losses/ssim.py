"""The photometric error of a view against its target: SSIM and absolute difference (Godard et al. 2019).

    error(x, y) = alpha mean_c (1 - SSIM(x, y)) / 2 + (1 - alpha) mean_c |x - y|

This is where the time of self-supervised depth goes, so it is written for few passes over memory: everything about the
target is computed once, only the difference d = x - y is filtered, and the backward pass is worked out by hand.

With box sums (3x3 means times 9) Y = box(y), D = box(d), E = box(d d), F = box(y d) the terms of SSIM, times 81, are

    A1 = 2 mu_x mu_y + C1 = (2 Y Y + C1) + 2 Y D                 B1 = mu_x^2 + mu_y^2 + C1 = A1 + D D
    A2 = 2 s_xy + C2 = (18 box(y y) - 2 Y Y + C2) + 18 F - 2 Y D  B2 = s_x^2 + s_y^2 + C2 = A2 + 9 E - D D

    SSIM = A1 A2 / (B1 B2)

Unlike E[x x] - E[x]^2 this loses no digits where the images agree.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fathomseg.geometry.numerics import blocks

_C1, _C2 = 81 * 0.01**2, 81 * 0.03**2


class Target(NamedTuple):
    """A target image 0..1 and what the error needs of it; the error has no gradient into it."""

    image: Float[Tensor, "b 3 h w"]
    twice_sum: Float[Tensor, "b 3 h w"]
    """2 Y"""
    a1: Float[Tensor, "b 3 h w"]
    """2 Y Y + C1"""
    a2: Float[Tensor, "b 3 h w"]
    """18 box(y y) - 2 Y Y + C2"""

    @staticmethod
    @torch.no_grad()
    def of(image: Float[Tensor, "b 3 h w"]) -> Target:
        """The moments of an image, computed once for all its sources and scales."""
        y = image.detach().contiguous()
        Y = box(y)
        squared = 2 * Y * Y
        return Target(y, 2 * Y, squared + _C1, 18 * box(y * y) - squared + _C2)


def error(views: Float[Tensor, "b s 3 h w"], target: Target, alpha: float = 0.85) -> Float[Tensor, "b s h w"]:
    """The photometric error, 0..1, of `s` views of each target; at least 2x2 pixels.

    SSIM is taken over 3x3 windows with equal weights, the images reflected at their border.
    """
    out: Float[Tensor, "b s h w"] = _Error.apply(views, *target, alpha)  # type: ignore[no-untyped-call]
    return out


class _Error(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, views: Tensor, y: Tensor, Y2: Tensor, a1: Tensor, a2: Tensor, alpha: float) -> Tensor:
        target = [t[:, None].expand_as(views) for t in (y, Y2, a1, a2)]
        out = views.new_full(views.shape[:2] + views.shape[3:], alpha / 2)
        slopes = views.new_empty(3, *views.shape) if ctx.needs_input_grad[0] else None
        for block in blocks(views, 3):
            d = views[block] - target[0][block]
            y_, Y2_, a1_, a2_ = (t[block] for t in target)
            similarity = _ssim(d, y_, Y2_, a1_, a2_, None if slopes is None else slopes[:, *block])
            out[block[:2]] += similarity.mul_(-alpha / 6).add_(d.abs_(), alpha=(1 - alpha) / 3).sum(2)
        ctx.alpha = alpha
        ctx.save_for_backward(views, y, slopes)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        views, y, slopes = ctx.saved_tensors
        alpha: float = ctx.alpha
        y, gradient = y[:, None].expand_as(views), gradient[:, :, None].expand_as(views)
        out = torch.empty_like(views)
        for block in blocks(views, 3):
            g, d = gradient[block], views[block] - y[block]
            D, E, F = box_adjoint(slopes[:, *block] * g).unbind()
            D.addcmul_(d, E, value=2).addcmul_(y[block], F)
            torch.add(D.mul_(-alpha / 6), d.sign_().mul_(g), alpha=(1 - alpha) / 3, out=out[block])
        return out, None, None, None, None, None


def _ssim(d: Tensor, y: Tensor, Y2: Tensor, a1: Tensor, a2: Tensor, slopes: Tensor | None) -> Tensor:
    """SSIM of y + d and y, and its derivatives by D, E and F into `slopes`. Works in place to stay in the cache."""
    D, E, F = box(torch.stack([d, d * d, y * d])).unbind()
    YD, DD = D * Y2, D * D
    A1, A2 = a1 + YD, (a2 - YD).add_(F, alpha=18)
    b1, b2 = (A1 + DD).reciprocal_(), (A2 - DD).add_(E, alpha=9).reciprocal_()
    luminance, structure = A1.mul_(b1), A2.mul_(b2)
    ssim = luminance * structure
    if slopes is not None:
        # dB1 = dA1 + 2 D dD and dB2 = dA2 - 2 D dD + 9 dE, so with dA1 = 2 Y dD and dA2 = 18 dF - 2 Y dD:
        by_D, by_E, by_F = slopes.unbind()
        p, q = luminance.sub_(ssim).mul_(b2), structure.sub_(ssim).mul_(b1)
        torch.mul(ssim, b2, out=by_E)
        torch.mul(p, 18, out=by_F)
        torch.mul(q.sub_(p), Y2, out=by_D)
        by_D.addcmul_(D, torch.sub(by_E, b1.mul_(ssim), out=b1), value=2)
        by_E *= -9
    return ssim


def box(z: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b h w"]:
    """Sums over 3x3 windows, the image reflected at its border (without repeating the border). At least 2x2 pixels."""
    for axis in (-1, -2):
        total = _both_neighbours(z := z.contiguous(), axis)
        torch.mul(z.select(axis, 1), 2, out=total.select(axis, 0))
        torch.mul(z.select(axis, -2), 2, out=total.select(axis, -1))
        z = total.add_(z)
    return z


def box_adjoint(z: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b h w"]:
    """The transpose of `box`: what its gradient needs."""
    for axis in (-1, -2):
        total = _both_neighbours(z := z.contiguous(), axis)
        total.select(axis, 0).copy_(z.select(axis, 1))
        total.select(axis, -1).copy_(z.select(axis, -2))
        total.select(axis, 1).add_(z.select(axis, 0))
        total.select(axis, -2).add_(z.select(axis, -1))
        z = total.add_(z)
    return z


def _both_neighbours(z: Tensor, axis: int) -> Tensor:
    """z[i - 1] + z[i + 1] along an axis; the first and the last entry are left undefined."""
    # One addition over the flat memory, far faster than row by row; what it mixes up at the borders is overwritten.
    step, flat, out = z.stride(axis), z.view(-1), torch.empty_like(z)
    torch.add(flat[: -2 * step], flat[2 * step :], out=out.view(-1)[step:-step])
    return out
