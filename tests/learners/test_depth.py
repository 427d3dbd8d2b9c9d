"""Self-supervised depth on the generated world: motions point the right way, and learning lowers the depth error."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fathomseg.config import validate
from fathomseg.data.cache import Cache
from fathomseg.data.colour import ColourJitter
from fathomseg.data.loading import Share, Steps, Stream, loader
from fathomseg.data.streets import Streets
from fathomseg.data.transforms import Geometry
from fathomseg.errors import FathomError
from fathomseg.geometry.pose import invert, se3
from fathomseg.learners.depth import DepthLearner, SelfSupervisedDepth
from fathomseg.models.depth_network import DepthNetworkConfig
from fathomseg.types import Batch

SIZE = (64, 128)
TINY = {"model": "test_resnet", "pretrained": "none"}


def learner(**settings: object) -> DepthLearner:
    torch.manual_seed(0)
    network = validate(DepthNetworkConfig, {"encoder": TINY, "decoder": {"channels": (8, 8, 16, 16, 32)}}).build()
    return validate(SelfSupervisedDepth, {"pose": {"encoder": TINY}, **settings}).build(network)


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    streets = Streets(size=SIZE, train_clips=2, frames=4)
    ids = [id for id in streets.ids("train") if streets.neighbour(id, -1) and streets.neighbour(id, 1)]
    neighbours = {id: {o: str(streets.neighbour(id, o)) for o in (-1, 1)} for id in ids}
    cache = Cache(streets, SIZE, folder=tmp_path_factory.mktemp("cache"))
    stream = Stream(cache, ids, ("image",), Geometry(scale=(1, 1), flip=0), 0, neighbours)
    (made,) = loader(stream, Steps(Share(4), 0, 1), workers=0, pin=False)
    for index, id in enumerate(made.ids):
        assert made.frames is not None
        expected = torch.tensor(streets.image(str(streets.neighbour(id, 1)))).permute(2, 0, 1)
        assert torch.equal(made.frames[index, 1], expected), "the second frame is the one after"
    return made


def test_every_parameter_of_both_networks_is_trained_and_the_average_is_not(batch: Batch) -> None:
    step = learner().train()
    result = step({"clips": batch})
    assert set(result.terms) == {"photometric", "smoothness"}
    torch.stack([t.weight * t.sum / t.count for t in result.terms.values()]).sum().backward()
    for name, parameter in step.named_parameters():
        assert (parameter.grad is None) == name.startswith("ema."), name
    grouped = [p for group in step.parameter_groups(0.1) for p in group["params"]]
    assert len(grouped) == sum(p.requires_grad for p in step.parameters())


def test_motions_are_target_first_and_asked_for_in_order_of_time(batch: Batch) -> None:
    step = learner()
    frames = torch.rand(3, 2, 3, *SIZE).unbind(0)
    calls = []

    def pose(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append((first, second))
        return torch.tensor([[0.0, 0.1, 0.0]] * 4), torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 2.0]] * 2).sort(0).values

    step.pose.forward = pose  # type: ignore[method-assign]
    src_T_tgt = step._motions(*frames)
    (first, second), *others = calls
    assert not others, "one call for both pairs"
    assert torch.equal(first, torch.cat([frames[0], frames[1]]))
    assert torch.equal(second, torch.cat([frames[1], frames[2]]))
    forward = se3(torch.tensor([[0.0, 0.1, 0.0]] * 2), torch.tensor([[0.0, 0.0, 1.0]] * 2))
    torch.testing.assert_close(src_T_tgt[:, 0], invert(forward))
    assert torch.equal(src_T_tgt[:, 1, :3, 3], torch.tensor([[0.0, 0.0, 2.0]] * 2))


def test_all_frames_of_a_sample_get_the_same_colours() -> None:
    step = learner(colour=ColourJitter(probability=1.0).model_dump())
    grey = torch.full((2, 3, 3, 8, 8), 0.5)
    jittered = step._jittered(grey, (1, 2))
    torch.testing.assert_close(jittered[:, 0], jittered[:, 2])
    assert not torch.allclose(jittered[0, 0], jittered[1, 0])


def test_a_small_step_along_the_gradient_lowers_the_loss_as_much_as_it_says(batch: Batch) -> None:
    step = learner(colour={"probability": 0.0}, loss={"automask": False}).eval()

    def loss() -> torch.Tensor:
        terms = step({"clips": batch}).terms.values()
        return torch.stack([t.weight * t.sum / t.count for t in terms]).sum()

    before = loss()
    before.backward()
    trained = [p for p in step.parameters() if p.grad is not None]
    slope = sum(float((p.grad.double() ** 2).sum()) for p in trained if p.grad is not None)
    rate = 2e-3 * before.item() / slope  # promises to lower the loss by 0.2 %
    with torch.no_grad():
        for parameter in trained:
            parameter -= rate * parameter.grad
        fallen = before.item() - loss().item()
    assert fallen == pytest.approx(2e-3 * before.item(), rel=0.5)


def test_a_clip_without_a_camera_is_an_error(tmp_path: Path) -> None:
    from fathomseg.data import CamVid
    from tests import fakes

    camvid = CamVid(root=fakes.make_camvid(tmp_path, val=3))
    middle = camvid.ids("val")[1]
    neighbours = {middle: {o: str(camvid.neighbour(middle, o)) for o in (-1, 1)}}
    stream = Stream(Cache(camvid, SIZE, folder=tmp_path / "c"), [middle], ("image",), Geometry(), 0, neighbours)
    with pytest.raises(FathomError, match=r"has no camera.*camera\.yaml"):
        stream[0]
