"""Masked consistency: blocks as large and as many as asked, a pure function of each image's key."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fathomseg.augment import Masking
from tests.objectives.pointwise import Pointwise
from tests.objectives.test_pseudo_labels import KEYS, photographs, predicted, pseudo_labels

MEAN = torch.tensor([0.485, 0.456, 0.406])


def test_blocks_are_those_of_the_paper_at_its_size() -> None:
    hidden = Masking().hidden(range(60), (512, 512))
    blocks = hidden.reshape(60, 8, 64, 8, 64)
    assert (blocks.all((2, 4)) | ~blocks.any((2, 4))).all()
    assert hidden.mean() == pytest.approx(0.7, abs=0.03)


def test_sides_that_blocks_do_not_divide_are_covered() -> None:
    hidden = Masking(block=0.25, ratio=1).hidden([1], (30, 47))
    assert hidden.shape == (1, 30, 47)
    assert hidden.all()
    assert not Masking(ratio=0).hidden([1], (30, 47)).any()


def test_hidden_pixels_have_the_mean_colour_and_others_stay() -> None:
    image = torch.rand(2, 3, 16, 32)
    rule = Masking(block=0.25)
    found, hidden = rule(image, (3, 4)), torch.from_numpy(rule.hidden((3, 4), (16, 32)))
    planes = hidden[:, None].expand(-1, 3, -1, -1)
    assert torch.equal(found[~planes], image[~planes])
    assert torch.equal(found[planes], MEAN.view(1, 3, 1, 1).expand_as(image)[planes])
    np.testing.assert_array_equal(rule.hidden((4,), (16, 32))[0], rule.hidden((3, 4), (16, 32))[1])
    assert not np.array_equal(*rule.hidden((3, 4), (16, 32)))


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
