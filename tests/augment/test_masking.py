"""Masked consistency: blocks as large and as many as asked, a pure function of each image's key."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from jaxtyping import Bool

from fathomseg.augment import Masking
from fathomseg.mixing.draws import Use, generator
from fathomseg.types import Size
from tests.objectives.pointwise import Pointwise
from tests.objectives.test_pseudo_labels import KEYS, photographs, predicted, pseudo_labels

MEAN = torch.tensor([0.485, 0.456, 0.406])


def hidden(rule: Masking, keys: Sequence[int], size: Size) -> Bool[np.ndarray, "b h w"]:
    """Which pixels of black images are coloured."""
    return rule(torch.zeros(len(keys), 3, *size), keys).any(1).numpy()


def test_blocks_are_those_of_the_paper_at_its_size() -> None:
    found = hidden(Masking(), range(60), (512, 512))
    blocks = found.reshape(60, 8, 64, 8, 64)
    assert (blocks.all((2, 4)) | ~blocks.any((2, 4))).all()
    assert found.mean() == pytest.approx(0.7, abs=0.03)


def test_sides_that_blocks_do_not_divide_are_covered() -> None:
    assert hidden(Masking(block=0.25, ratio=1), [1], (30, 47)).all()
    assert not hidden(Masking(ratio=0), [1], (30, 47)).any()


@pytest.mark.parametrize("block", [0.01, 0.125, 0.3, 1])
@pytest.mark.parametrize("size", [(16, 32), (30, 47), (47, 30)])
def test_blocks_are_drawn_from_the_key_of_each_image(block: float, size: Size) -> None:
    """As whole masks were drawn on the host before; what travels now is a number for each block."""
    keys = (3, 4, 2**62)
    side = max(1, round(block * min(size)))
    rows, columns = (np.arange(length) // side for length in size)
    grids = [generator(key, Use.BLOCKS).random((rows[-1] + 1, columns[-1] + 1)) < 0.5 for key in keys]
    rule = Masking(block=block, ratio=0.5)
    np.testing.assert_array_equal(hidden(rule, keys, size), np.stack(grids)[:, rows][:, :, columns])
    assert rule.cells(keys, size).shape == (3, rows[-1] + 1, columns[-1] + 1)


def test_hidden_pixels_have_the_mean_colour_and_others_stay() -> None:
    image = torch.rand(2, 3, 16, 32)
    rule = Masking(block=0.25)
    found, planes = rule(image, (3, 4)), torch.from_numpy(hidden(rule, (3, 4), (16, 32)))[:, None].expand_as(image)
    assert torch.equal(found[~planes], image[~planes])
    assert torch.equal(found[planes], MEAN.view(1, 3, 1, 1).expand_as(image)[planes])
    np.testing.assert_array_equal(hidden(rule, (4,), (16, 32))[0], hidden(rule, (3, 4), (16, 32))[1])
    assert not np.array_equal(*hidden(rule, (3, 4), (16, 32)))


def test_of_a_strong_view_only_the_image_is_masked() -> None:
    batch = photographs()
    plain, masked = pseudo_labels(), pseudo_labels(masking={"block": 0.3, "ratio": 0.5})
    teacher = Pointwise(seed=1)(batch.image.float() / 255)["segmentation"].detach()
    (clean, (first,)), (seen, (second,)) = (
        config.views_of(predicted(config, batch, teacher)[0], KEYS) for config in (plain, masked)
    )
    assert torch.equal(first.label, second.label)
    assert torch.equal(first.weight, second.weight)
    assert 0.3 < (clean != seen).any(1).float().mean() < 0.7
