"""Complementary channel dropout: what one view loses the other sees twice, in all maps of an image or in none."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fathomseg.augment import complementary


class TestComplementaryDropout:
    maps = (torch.rand(12, 3, 8, 8), torch.rand(12, 5, 4, 4) + 0.1, torch.rand(12, 7, 2, 2) + 0.1)

    def dropped(self, seed: int = 0) -> list[Tensor]:
        torch.manual_seed(seed)
        pair = [torch.cat([one, one]) for one in self.maps]  # the two views show the same, to be told apart by masks
        return complementary(pair)

    def test_both_views_together_see_everything_twice(self) -> None:
        image, *features = self.dropped()
        assert torch.equal(image, torch.cat([self.maps[0]] * 2)), "the image itself is not touched"
        for found, whole in zip(features, self.maps[1:], strict=True):
            first, second = found.chunk(2)
            torch.testing.assert_close(first + second, 2 * whole)

    def test_channels_are_whole_missing_or_double(self) -> None:
        _, *features = self.dropped()
        for found, whole in zip(features, self.maps[1:], strict=True):
            factor = found.chunk(2)[0] / whole
            assert torch.equal(factor, factor[:, :, :1, :1].expand_as(factor)), "one factor a channel"
            assert set(factor.round(decimals=3).unique().tolist()) <= {0.0, 1.0, 2.0}

    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 10**6))
    def test_an_image_is_whole_in_all_maps_or_in_none(self, seed: int) -> None:
        _, *features = self.dropped(seed)
        whole = [
            (found.chunk(2)[0] == kept).flatten(1).all(1) for found, kept in zip(features, self.maps[1:], strict=True)
        ]
        # 12 channels by chance all kept would be doubled, not whole.
        assert torch.equal(*whole)

    def test_maps_of_equally_many_channels_lose_the_same(self) -> None:
        """As UniMatch V2 treats the four maps of a transformer; maps of other widths have draws of their own."""
        torch.manual_seed(0)
        ones = [torch.ones(64, 3, 1, 1), *(torch.ones(64, 20, 1, 1) for _ in range(4)), torch.ones(64, 21, 1, 1)]
        _, first, *others, other = complementary(ones)
        assert len(first[:32].flatten(1).unique(dim=0)) > 10, "each image has a draw of its own"
        assert all(torch.equal(first, one) for one in others)
        assert not torch.equal(first, other[:, :20])

    def test_about_half_of_the_images_and_of_the_channels(self) -> None:
        torch.manual_seed(0)
        ones = torch.ones(2000, 40, 1, 1)
        _, found = complementary([torch.ones(2000, 3, 1, 1), ones])
        first = found[:1000, :, 0, 0]
        whole = (first == 1).all(1)
        assert 0.45 < whole.float().mean() < 0.55
        assert 0.48 < (first[~whole] == 2).float().mean() < 0.52
