"""Pixels that say where they come from: every field of a pixel is a function of its number in the batch."""

from __future__ import annotations

import torch
from torch import Tensor

from fathomseg.mixing import Pixels
from fathomseg.types import IGNORE


def coded(batch: int, size: tuple[int, int], classes: int = 6, seed: int = 0) -> Pixels:
    """Numbered pixels; labels in blocks, a tenth ignored; a tenth invalid (and ignored); a tenth without disparity."""
    rng = torch.Generator().manual_seed(seed)
    number = torch.arange(batch * size[0] * size[1], dtype=torch.float32).view(batch, *size)
    label = torch.randint(classes, (batch, *size), generator=rng, dtype=torch.uint8)
    valid = torch.rand((batch, *size), generator=rng) > 0.1
    label[(torch.rand((batch, *size), generator=rng) < 0.1) | ~valid] = IGNORE
    disparity = torch.rand((batch, 1, *size), generator=rng)
    disparity[torch.rand((batch, 1, *size), generator=rng) < 0.1] = torch.nan
    planes = number[:, None].expand(-1, 3, -1, -1)
    return Pixels(planes, label, number / number.numel(), valid, disparity, planes[:, :2] + 0.25, planes[:, None] + 0.5)


def numbers(pixels: Pixels) -> Tensor:
    """The number, in the original batch, of the pixel that is seen at each place (b h w)."""
    return pixels.image[:, 0].long()


def assert_moved_alike(moved: Pixels, original: Pixels, where: Tensor | None = None) -> None:
    """Every field of `moved` comes from the pixel its image comes from, at the places `where` (everywhere)."""
    number = numbers(moved)
    mask = torch.ones_like(moved.valid) if where is None else where
    source = number[mask]
    for name in ("label", "weight", "valid"):
        field, before = getattr(moved, name), getattr(original, name)
        assert torch.equal(field[mask], before.flatten()[source]), name
    assert moved.disparity is not None
    assert original.disparity is not None
    found, expected = moved.disparity[:, 0][mask], original.disparity.flatten()[source]
    assert torch.equal(found.nan_to_num(-1), expected.nan_to_num(-1))
    for channel in range(3):
        assert torch.equal(moved.image[:, channel][mask], source.float())
        assert moved.probabilities is not None
        assert torch.equal(moved.probabilities[:, channel % 2][mask], source.float() + 0.25)
        assert moved.frames is not None
        assert torch.equal(moved.frames[:, 0, channel][mask], source.float() + 0.5)
