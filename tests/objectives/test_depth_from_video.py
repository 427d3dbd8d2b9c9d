"""Self-supervised depth on the generated world: what is trained, what stays, and cameras that are learned along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fathomseg.data.cache import Cache
from fathomseg.data.datasets.streets import Streets
from fathomseg.data.loading import BatchSlice, Steps, Stream, loader
from fathomseg.data.transforms import Geometry
from fathomseg.engine.step import Step
from fathomseg.errors import FathomError
from fathomseg.geometry.pose import invert, se3
from fathomseg.objectives.photometric import PhotometricObjective
from fathomseg.types import Batch
from tests.objectives.steps import POSE, copied, make_step, moved, train, weighed

SIZE = (64, 128)
NETWORK = {
    "encoder": {"model": "test_resnet", "pretrained": "none"},
    "tasks": {"depth": {"decoder": {"name": "depth_unet", "channels": (8, 8, 16, 16, 32)}}},
}


def depth(
    focal_ids: dict[str, int] | None = None,
    more: dict[str, Any] | None = None,
    setup: dict[str, Any] | None = None,
    **settings: Any,
) -> Step:
    objectives = {"photometric": {"pose": POSE, **settings}, **(more or {})}
    return make_step(NETWORK, objectives, focal_ids=focal_ids, **(setup or {}))


def photometric(step: Step) -> PhotometricObjective:
    found = step.objectives["photometric"]
    assert isinstance(found, PhotometricObjective)
    return found


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    streets = Streets(size=SIZE, train_clips=2, frames=4)
    ids = [id for id in streets.ids("train") if streets.neighbour(id, -1) and streets.neighbour(id, 1)]
    neighbours = {id: {o: str(streets.neighbour(id, o)) for o in (-1, 1)} for id in ids}
    cache = Cache(streets, SIZE, folder=tmp_path_factory.mktemp("cache"))
    stream = Stream(cache, ids, ("image",), Geometry(scale=(1, 1), flip=0), 0, neighbours)
    (made,) = loader(stream, Steps(BatchSlice(4), 0, 1), workers=0, pin=False)
    for index, id in enumerate(made.ids):
        expected = torch.tensor(streets.image(str(streets.neighbour(id, 1)))).permute(2, 0, 1)
        assert torch.equal(made.targets["frames"][index, 1], expected), "the second frame is the one after"
    return made


def test_every_parameter_of_both_networks_is_trained_and_the_average_is_not(batch: Batch) -> None:
    step = depth().train()
    result = step({"clips": batch})
    assert set(result.terms) == {"photometric", "photometric.smoothness"}
    weighed(result).backward()
    for name, parameter in step.named_parameters():
        assert (parameter.grad is None) == name.startswith("ema."), name
    grouped = [p for group in step.parameter_groups(0.1, {}) for p in group["params"]]
    assert len(grouped) == sum(p.requires_grad for p in step.parameters())


def test_the_loss_by_weight_and_by_what_it_is_made_of(batch: Batch) -> None:
    settings = {"smoothness": 0.1, "below_horizon": 0.2, "scale": 0.3}
    terms = depth(weight=2.0, loss=settings)({"clips": batch}).terms
    weights = {name: term.weight for name, term in terms.items()}
    expected = {"": 2.0, ".smoothness": 0.2, ".below_horizon": 0.4, ".scale": 0.6}
    assert weights == pytest.approx({f"photometric{name}": weight for name, weight in expected.items()})


def test_a_small_step_along_the_gradient_lowers_the_loss_as_much_as_it_says(batch: Batch) -> None:
    step = depth(loss={"automask": False}).eval()
    before = weighed(step({"clips": batch}))
    before.backward()
    trained = [p for p in step.parameters() if p.grad is not None]
    slope = sum(float((p.grad.double() ** 2).sum()) for p in trained)
    rate = 2e-3 * before.item() / slope  # promises to lower the loss by 0.2 %
    with torch.no_grad():
        for parameter in trained:
            parameter -= rate * parameter.grad
        fallen = before.item() - weighed(step({"clips": batch})).item()
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


def test_a_frozen_encoder_stays_and_everything_else_moves(batch: Batch) -> None:
    step = depth().train()
    before, weights = copied(step), {name for name, _ in step.named_parameters()}
    train(step, {"clips": batch}, lr=1.0, encoder=0.0)
    assert not {
        n for n in moved(step, before) & weights if n.startswith(("network.encoders.", "ema.network.encoders."))
    }
    pose = "objectives.photometric.pose."
    for part in ("network.decoders.", "network.heads.", f"{pose}encoder.", f"{pose}decoder.", f"{pose}motion."):
        assert any(name.startswith(part) for name in moved(step, before)), part
    assert any("encoders" in name and "running_mean" in name for name in moved(step, before) - weights)
    held = {id(p) for group in step.parameter_groups(0.1, {"encoder": 0.0}) for p in group["params"]}
    assert not held & {id(p) for p in step.network.encoder_parameters()}
    assert held >= {id(p) for p in photometric(step).pose.encoder.parameters()}


def test_the_average_begins_as_what_training_began_with() -> None:
    """Weights put in after the step was built, as `init_from` may, are what the average knows after its first step."""
    step = depth().train()
    with torch.no_grad():
        for parameter in step.network.parameters():
            parameter.add_(1.0)
    step.after_step(0)
    pairs = zip(step.ema.network.parameters(), step.network.parameters(), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)
    assert not any("pose" in name for name in step.ema.state_dict())


class TestLearnedFocalLength:
    def test_only_cameras_to_be_learned_are_corrected(self) -> None:
        objective = photometric(depth({"a": 0, "b": 1, "c": 1}))
        assert objective.focal is not None
        with torch.no_grad():
            objective.focal.copy_(torch.tensor([0.0, 0.02]))
        assert objective.focal_factors() == pytest.approx([1.0, 1.2214028])  # e^0.2
        camera = torch.tensor([[100.0, 0, 40], [0, 90, 30], [0, 0, 1]]).repeat(4, 1, 1)
        camera[3, 0, 0] = 70
        found = objective.corrected(camera, ("a", "b", "c", "known"))
        assert torch.equal(found[[0, 3]], camera[[0, 3]])
        expected = torch.tensor([[122.14028, 0, 40], [0, 109.92625, 30], [0, 0, 1]])
        torch.testing.assert_close(found[1:3], expected.expand(2, 3, 3))

    def test_its_gradient_comes_from_its_own_images(self, batch: Batch) -> None:
        step = depth({batch.ids[0]: 0, batch.ids[1]: 2, "elsewhere": 1}).train()
        weighed(step({"clips": batch})).backward()
        focal = photometric(step).focal
        assert focal is not None
        assert focal.grad is not None
        gradient = focal.grad.tolist()
        assert gradient[1] == 0
        assert gradient[0] != 0
        assert gradient[2] != 0
        grouped = [p for group in step.parameter_groups(0.1, {}) if not group["decays"] for p in group["params"]]
        assert any(p is focal for p in grouped), "it is trained, and not pulled to what it began at"

    def test_nothing_is_learned_where_every_camera_is_known(self) -> None:
        assert photometric(depth()).focal is None
        assert photometric(depth()).focal_factors() == []

    @pytest.mark.parametrize("wrong", [0.8, 1.25])
    def test_a_turning_camera_tells_its_focal_length(self, wrong: float) -> None:
        """Far scenery seen by a camera that turns by a known angle: depth means nothing, the focal length all."""
        true, turn = 60.0, 0.06
        before, target, after = (scenery(angle, true).float()[None] for angle in (-turn, 0.0, turn))
        motion = se3(torch.tensor([[0.0, turn, 0.0]]), torch.zeros(1, 3))
        src_T_tgt = torch.stack([invert(motion), motion], dim=1)
        guess = torch.tensor([[[true * wrong, 0, 47.5], [0, true * wrong, 31.5], [0, 0, 1]]])
        objective = photometric(depth({"x": 0}))
        assert objective.focal is not None
        optimiser = torch.optim.Adam([objective.focal], lr=4e-3, betas=(0.5, 0.9))
        steps = 40
        for number in range(steps):
            optimiser.param_groups[0]["lr"] = 4e-3 * (1 - number / steps)
            camera = objective.corrected(guess, ("x",))
            disparity = torch.full((1, 1, 64, 96), 0.1 + 0.02 * number)
            sources = torch.stack([before, after], 1)
            result = objective.config.loss(target, sources, [disparity], camera, src_T_tgt, (0.1, 100.0))
            term = result.terms["photometric"]
            optimiser.zero_grad()
            (term.sum / term.count).backward()
            optimiser.step()
        assert wrong * objective.focal_factors()[0] == pytest.approx(1.0, rel=0.01)

    def test_each_camera_finds_its_own(self) -> None:
        """Two cameras of other focal lengths in one batch, given as the same one (as above)."""
        true, turn, guess = (54.0, 66.0), 0.06, 60.0
        pictures = [[scenery(angle, focal).float() for focal in true] for angle in (-turn, 0.0, turn)]
        before, target, after = (torch.stack(pair) for pair in pictures)
        motion = se3(torch.tensor([[0.0, turn, 0.0]]), torch.zeros(1, 3))
        src_T_tgt = torch.stack([invert(motion), motion], dim=1).repeat(2, 1, 1, 1)
        given = torch.tensor([[guess, 0, 47.5], [0, guess, 31.5], [0, 0, 1]]).repeat(2, 1, 1)
        objective = photometric(depth({"x": 1, "y": 0}, setup={"focal_cameras": [("b", 600.0), ("a", 60.0)]}))
        assert objective.focal is not None
        optimiser = torch.optim.Adam([objective.focal], lr=4e-3, betas=(0.5, 0.9))
        steps = 30
        for number in range(steps):
            optimiser.param_groups[0]["lr"] = 4e-3 * (1 - number / steps)
            camera = objective.corrected(given, ("x", "y"))
            disparity = torch.full((2, 1, 64, 96), 0.1)
            sources = torch.stack([before, after], 1)
            result = objective.config.loss(target, sources, [disparity], camera, src_T_tgt, (0.1, 100.0))
            term = result.terms["photometric"]
            optimiser.zero_grad()
            (term.sum / term.count).backward()
            optimiser.step()
        assert objective.focal_factors() == pytest.approx([true[1] / guess, true[0] / guess], rel=0.01)
        logs = objective.focal_logs()
        assert float(logs["focal_px.a"]) == pytest.approx(54, rel=0.01), "in pixels of its own stored images"
        assert float(logs["focal_px.b"]) == pytest.approx(660, rel=0.01)

    def test_the_correction_in_float64_is_the_pinholes(self) -> None:
        """Against the projection of points, one image at a time."""
        ids = tuple("pqrst")
        objective = photometric(depth({id: number for number, id in enumerate(ids[:4])})).double()
        assert objective.focal is not None
        with torch.no_grad():
            objective.focal.copy_(torch.tensor([-0.02, -0.005, 0.0, 0.03]))
        rng = np.random.default_rng(0)
        camera = np.zeros((5, 3, 3))
        camera[:, 0, 0], camera[:, 1, 1], camera[:, :2, 2] = rng.uniform(20, 90, 5), rng.uniform(20, 90, 5), 31.5
        camera[:, 2, 2] = 1
        found = objective.corrected(torch.from_numpy(camera), ids).detach().numpy()
        point = np.array([0.3, -0.2, 2.0])
        for number, factor in enumerate([np.exp(-0.2), np.exp(-0.05), 1.0, np.exp(0.3), 1.0]):
            u, v, _ = found[number] @ point / 2
            assert u == pytest.approx(camera[number, 0, 0] * factor * 0.15 + 31.5, rel=1e-7)
            assert v == pytest.approx(camera[number, 1, 1] * factor * -0.1 + 31.5, rel=1e-7)

    def test_every_batch_logs_every_camera(self, batch: Batch) -> None:
        cameras = [("a", 100.0), ("b", 50.0)]
        step = depth({batch.ids[0]: 0, "elsewhere": 1}, setup={"focal_cameras": cameras})
        logs = step({"clips": batch}).logs
        assert logs["photometric.focal_px.a"].item() == pytest.approx(100)
        assert logs["photometric.focal_px.b"].item() == pytest.approx(50)
        assert "given_px" not in "".join(step.state_dict())


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
