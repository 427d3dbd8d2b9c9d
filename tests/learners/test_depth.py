"""Self-supervised depth on the generated world: motions point the right way, and learning lowers the depth error."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fathomseg.learners.depth import DepthLearner, SelfSupervisedDepth
from fathomseg.learners.video import recoloured
from fathomseg.models.depth_network import DepthNetworkConfig

from fathomseg.config import validate
from fathomseg.data.cache import Cache
from fathomseg.data.colour import ColourJitter
from fathomseg.data.datasets.streets import Streets
from fathomseg.data.loading import Share, Steps, Stream, loader
from fathomseg.data.transforms import Geometry
from fathomseg.errors import FathomError
from fathomseg.geometry.pose import invert, se3
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
    src_T_tgt = step.video.motions(*frames)
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
    jittered = recoloured(step.config.colour, grey, (1, 2))
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
    from fathomseg.data.datasets import CamVid
    from tests import fakes

    camvid = CamVid(root=fakes.make_camvid(tmp_path, val=3))
    middle = camvid.ids("val")[1]
    neighbours = {middle: {o: str(camvid.neighbour(middle, o)) for o in (-1, 1)}}
    stream = Stream(Cache(camvid, SIZE, folder=tmp_path / "c"), [middle], ("image",), Geometry(), 0, neighbours)
    with pytest.raises(FathomError, match=r"has no camera.*camera\.yaml"):
        stream[0]


def weighed(step: DepthLearner, batch: Batch) -> torch.Tensor:
    terms = step({"clips": batch}).terms.values()
    return torch.stack([t.weight * t.sum / t.count for t in terms]).sum()


class TestFeatureDistance:
    def test_value_by_hand(self, batch: Batch) -> None:
        step = learner(feature_distance=0.5)
        assert step.original is not None
        deepest = torch.zeros(2, 3, 2, 4)
        deepest[1] = 5.0
        step.original.forward = lambda image: [torch.full_like(deepest, 2.0)]  # type: ignore[method-assign]
        term = step._feature_distance(step.original, batch.image[:2].float(), deepest)
        assert term.sum.item() == pytest.approx(2 * 24**0.5 + 3 * 24**0.5)
        assert (term.count.item(), term.weight) == (2, 0.5)

    def test_equal_encoders_are_at_no_distance_and_others_at_a_distance_worked_out_in_float64(
        self, batch: Batch
    ) -> None:
        step = learner(feature_distance=1.0, colour={"probability": 0.0}).eval()
        assert step.original is not None
        assert step({"clips": batch}).terms["feature_distance"].sum.item() == 0
        with torch.no_grad():
            for parameter in step.network.encoder.parameters():
                parameter.mul_(1.1)
        term = step({"clips": batch}).terms["feature_distance"]
        image = batch.image.float() / 255
        ours, wanted = (e(image)[-1].detach().double().numpy() for e in (step.network.encoder, step.original))
        expected = sum(((ours[i] - wanted[i]) ** 2).sum() ** 0.5 for i in range(len(ours)))
        assert expected > 0
        assert term.sum.item() == pytest.approx(expected, rel=1e-5)
        assert term.count.item() == len(batch)

    def test_its_gradient_reaches_the_encoder_alone(self, batch: Batch) -> None:
        step = learner(feature_distance=1.0).train()
        with torch.no_grad():
            for parameter in step.network.encoder.parameters():
                parameter.mul_(1.1)
        step({"clips": batch}).terms["feature_distance"].sum.backward()
        moved = {name for name, p in step.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        assert moved
        assert all(name.startswith("network.encoder.") for name in moved)

    def test_the_original_is_saved_and_never_moves(self, batch: Batch) -> None:
        step = learner(feature_distance=1.0).train()
        assert step.original is not None
        before = {name: t.clone() for name, t in step.original.state_dict().items()}
        assert {f"original.{name}" for name in before} <= set(step.state_dict())
        train_once(step, batch)
        assert not step.original.training
        assert all(torch.equal(t, before[name]) for name, t in step.original.state_dict().items())
        first = "net.conv1.0.weight"
        assert not torch.equal(step.network.encoder.state_dict()[first], before[first])
        assert learner().original is None


def train_once(step: DepthLearner, batch: Batch, lr: float = 1e-2) -> None:
    optimiser = torch.optim.SGD([p for group in step.parameter_groups(1.0) for p in group["params"]], lr=lr)
    weighed(step, batch).backward()
    optimiser.step()
    step.after_step(0)


def changed(step: DepthLearner, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, tensor in step.state_dict().items() if not torch.equal(tensor, before[name])}


class TestFrozenEncoder:
    def test_its_weights_stay_and_everything_else_moves(self, batch: Batch) -> None:
        step = learner(train_encoder=False).train()
        before = {name: t.clone() for name, t in step.state_dict().items()}
        train_once(step, batch, lr=1.0)
        weights = {name for name, _ in step.named_parameters()}
        moved = changed(step, before) & weights
        assert not {name for name in moved if name.startswith(("network.encoder.", "ema.network.encoder."))}
        for part in (
            "network.decoder.",
            "network.heads.",
            "video.pose.encoder.",
            "video.pose.decoder.",
            "video.pose.motion.",
        ):
            assert any(name.startswith(part) for name in moved), part
        assert any("encoder" in name and "running_mean" in name for name in changed(step, before) - weights)

    def test_the_optimiser_does_not_know_it(self) -> None:
        step = learner(train_encoder=False)
        held = {id(p) for group in step.parameter_groups(0.1) for p in group["params"]}
        assert not held & {id(p) for p in step.network.encoder.parameters()}
        assert held >= {id(p) for p in step.pose.encoder.parameters()}


def test_the_average_begins_as_what_training_began_with(batch: Batch) -> None:
    """Weights put in after the learner was built, as `start` does, are what the average knows after its first step."""
    step = learner().train()
    with torch.no_grad():
        for parameter in step.network.parameters():
            parameter.add_(1.0)
    step.after_step(0)
    pairs = zip(step.ema.network.parameters(), step.network.parameters(), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)
    assert not any("pose" in name for name in step.ema.state_dict())


def guessing(guessed: dict[str, int], **settings: object) -> DepthLearner:
    torch.manual_seed(0)
    network = validate(DepthNetworkConfig, {"encoder": TINY, "decoder": {"channels": (8, 8, 16, 16, 32)}}).build()
    return validate(SelfSupervisedDepth, {"pose": {"encoder": TINY}, **settings}).build(network, guessed=guessed)


class TestLearnedFocalLength:
    def test_only_cameras_that_were_guessed_are_corrected(self) -> None:
        step = guessing({"a": 0, "b": 1, "c": 1})
        assert step.video.focal is not None
        with torch.no_grad():
            step.video.focal.copy_(torch.tensor([0.0, 0.02]))
        assert step.focal_factors() == pytest.approx([1.0, 1.2214028])  # e^0.2
        camera = torch.tensor([[100.0, 0, 40], [0, 90, 30], [0, 0, 1]]).repeat(4, 1, 1)
        camera[3, 0, 0] = 70
        found = step.video.corrected(camera, ("a", "b", "c", "known"))
        assert torch.equal(found[[0, 3]], camera[[0, 3]])
        expected = torch.tensor([[122.14028, 0, 40], [0, 109.92625, 30], [0, 0, 1]])
        torch.testing.assert_close(found[1:3], expected.expand(2, 3, 3))

    def test_its_gradient_comes_from_its_own_images(self, batch: Batch) -> None:
        ids = batch.ids
        step = guessing({ids[0]: 0, ids[1]: 2, "elsewhere": 1}).train()
        weighed(step, batch).backward()
        assert step.video.focal is not None
        assert step.video.focal.grad is not None
        gradient = step.video.focal.grad.tolist()
        assert gradient[1] == 0
        assert gradient[0] != 0
        assert gradient[2] != 0
        grouped = [p for group in step.parameter_groups(0.1) if not group["decays"] for p in group["params"]]
        assert any(p is step.video.focal for p in grouped), "it is trained, and not pulled to the guess"

    def test_nothing_is_learned_where_every_camera_is_known(self) -> None:
        assert learner().video.focal is None
        assert learner().focal_factors() == []

    @pytest.mark.parametrize("wrong", [0.8, 1.25])
    def test_a_turning_camera_tells_its_focal_length(self, wrong: float) -> None:
        """Far scenery seen by a camera that turns by a known angle: depth means nothing, the focal length all."""
        true, turn = 60.0, 0.06
        before, target, after = (scenery(angle, true).float()[None] for angle in (-turn, 0.0, turn))
        motion = se3(torch.tensor([[0.0, turn, 0.0]]), torch.zeros(1, 3))
        src_T_tgt = torch.stack([invert(motion), motion], dim=1)
        guess = torch.tensor([[[true * wrong, 0, 47.5], [0, true * wrong, 31.5], [0, 0, 1]]])
        step = guessing({"x": 0})
        assert step.video.focal is not None
        optimiser = torch.optim.Adam([step.video.focal], lr=4e-3, betas=(0.5, 0.9))
        steps = 40
        for number in range(steps):
            optimiser.param_groups[0]["lr"] = 4e-3 * (1 - number / steps)
            camera = step.video.corrected(guess, ("x",))
            disparity = torch.full((1, 1, 64, 96), 0.1 + 0.02 * number)
            term = step.config.loss(target, torch.stack([before, after], 1), [disparity], camera, src_T_tgt).terms[
                "photometric"
            ]
            optimiser.zero_grad()
            (term.sum / term.count).backward()
            optimiser.step()
        assert wrong * step.focal_factors()[0] == pytest.approx(1.0, rel=0.01)


def scenery(turn: float, focal: float, size: tuple[int, int] = (64, 96)) -> torch.Tensor:
    """What a camera that has turned about its vertical axis sees of a pattern at infinity, worked out for each pixel.

    The point at direction d lies at R(turn) d in the turned camera: this is `se3([0, turn, 0])` of the camera before.
    """
    v, u = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in size), indexing="ij")
    rays = torch.stack([(u - (size[1] - 1) / 2) / focal, (v - (size[0] - 1) / 2) / focal, torch.ones_like(u)])
    back = se3(torch.tensor([[0.0, -turn, 0.0]], dtype=torch.float64), torch.zeros(1, 3, dtype=torch.float64))
    x, y, z = torch.einsum("ij,jhw->ihw", back[0, :3, :3], rays)
    a, b = x / z, y / z
    waves = [(9.0, 4.0, 0.3), (5.0, -11.0, 1.1), (-14.0, 6.0, 2.0)]
    return torch.stack([0.5 + 0.4 * torch.sin(p * a + q * b + r) * torch.cos(3 * a - 2 * b + r) for p, q, r in waves])
