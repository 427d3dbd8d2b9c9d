"""The depth student: it learns the teacher's disparity where that is known, and nothing elsewhere."""

from __future__ import annotations

import math

import torch
from fathomseg.learners.imitation import Imitation, ImitationLearner
from fathomseg.models.depth_network import DepthNetworkConfig

from fathomseg.config import validate
from fathomseg.data.transforms import Geometry
from fathomseg.engine.optimiser import Optimiser
from fathomseg.losses.disparity import berhu
from fathomseg.losses.segmentation import upsample
from fathomseg.types import Batch

NETWORK = {
    "encoder": {"model": "test_efficientnet", "pretrained": "none"},
    "decoder": {"channels": [4, 4, 8, 8, 8], "stride": 4, "norms": True},
    "scales": 1,
}


def learner(**settings: object) -> ImitationLearner:
    torch.manual_seed(0)
    return validate(Imitation, settings).build(validate(DepthNetworkConfig, NETWORK).build(pretrained=False))


def batch() -> Batch:
    """Brightness tells disparity: 0.1 and 0.8 in blocks."""
    g = torch.Generator().manual_seed(0)
    near = torch.randint(0, 2, (4, 1, 2, 3), generator=g).repeat_interleave(16, 2).repeat_interleave(16, 3)
    image = (40 + 170 * near + torch.randint(-20, 21, (4, 3, 32, 48), generator=g)).to(torch.uint8)
    return Batch(tuple("abcd"), (1, 2, 3, 4), image, disparity=0.1 + 0.7 * near.float())


def test_the_loss_is_berhu_at_the_teachers_resolution() -> None:
    step, data = learner().eval(), batch()
    assert data.disparity is not None
    data.disparity[:, :, 28:] = math.nan
    term = step({"images": data}).terms["imitation"]
    finest = step.network(data.image.float() / 255)["disparity"][0]
    assert finest.shape == (4, 1, 8, 12)
    total, count = berhu(upsample(finest, (32, 48)), data.disparity)
    torch.testing.assert_close(term.sum, total)
    assert term.count == count == step.counts({"images": data})["imitation"] == 4 * 28 * 48
    assert total > 0


def test_it_learns_the_teachers_disparity() -> None:
    step, data = learner(geometry=Geometry(scale=(1, 1), flip=0)), batch()
    assert data.disparity is not None
    schedule = Optimiser(lr=1e-2, encoder_lr=1.0, warmup=0)
    optimiser = schedule.build(step.parameter_groups(1.0))
    step.train()
    first = None
    for i in range(60):
        schedule.set_lr(optimiser, i, 60)
        term = step({"images": data}).terms["imitation"]
        first = first or term.sum.item()
        optimiser.zero_grad()
        (term.sum / term.count).backward()
        optimiser.step()
        step.after_step(i)
    with torch.no_grad():
        found = upsample(step.ema.network(data.image.float() / 255)["disparity"][0], (32, 48))
    assert term.sum.item() < 0.3 * first
    assert (found - data.disparity).abs().mean() < 0.1  # a constant is 0.35 off
