"""The task segmentation: decoding in strips, and averages of probabilities."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from fathomseg.tasks import resampling as module
from fathomseg.tasks.segmentation import Segmentation


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.integers(1, 40), st.integers(1, 400))
def test_decoding_in_strips_equals_interpolate(h: int, w: int, height: int, width: int, strip: int) -> None:
    logits = torch.randn(4, h, w, generator=torch.Generator().manual_seed(h * 100 + w)) * 3
    probabilities = F.interpolate(logits[None], (height, width), mode="bilinear", align_corners=False)[0].softmax(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_STRIP", {"cpu": strip})
        found = Segmentation().decode(logits, (height, width))
    torch.testing.assert_close(found["confidence"], probabilities.max(0).values, rtol=1e-4, atol=1e-5)
    chosen = probabilities.gather(0, found["label"].long()[None])[0]  # not the argmax itself: two classes may tie
    torch.testing.assert_close(chosen, probabilities.max(0).values, rtol=1e-4, atol=1e-5)


def test_views_are_averaged_as_probabilities() -> None:
    """Of two views of one pixel, 0.9 and 0.2 for class 1 make 0.55; a class of no probability stays finite."""
    task = Segmentation()
    views = [torch.tensor([[0.1, 0.9, 0.0]]), torch.tensor([[0.8, 0.2, 0.0]])]
    maps = [view.clamp(min=1e-38).log().view(1, 3, 1, 1) for view in views]
    mean = torch.stack([task.averaging(one, (1, 1)) for one in maps]).mean(0)
    found = task.decode(task.averaged(mean)[0], (2, 2))
    assert (found["label"] == 1).all()
    torch.testing.assert_close(found["confidence"], torch.full((2, 2), 0.55))
    assert task.averaged(mean).isfinite().all()
