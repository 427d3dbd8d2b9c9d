"""The task `normals`: unit vectors all the way, a mirror that negates x, and a loss of directions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fathomseg.data.datasets.streets import Streets
from fathomseg.data.normals import true_normals
from fathomseg.inference.card import ModelCard
from fathomseg.inference.predictor import Predictor
from fathomseg.inference.settings import Inference
from fathomseg.tasks import Normals, NormalsLoss
from fathomseg.tasks.network import NetworkConfig
from fathomseg.types import Batch

STREETS = Streets(size=(48, 96), train_clips=1, val_clips=1, frames=2)


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=1)


def batch(truth: torch.Tensor) -> Batch:
    image = torch.zeros(len(truth), 3, *truth.shape[2:], dtype=torch.uint8)
    return Batch(
        ("a",) * len(truth), (0,) * len(truth), image, {"normals": truth}, {"normals": torch.ones(len(truth)).bool()}
    )


def test_the_truth_is_that_of_depth_and_camera() -> None:
    id = STREETS.ids("val")[0]
    truth = Normals().truth(STREETS, id)
    np.testing.assert_array_equal(truth, true_normals(STREETS.depth(id), STREETS.camera(id)))
    lengths = np.linalg.norm(truth, axis=2)
    assert (np.isclose(lengths, 1, atol=1e-5) | (lengths == 0)).all()
    assert (lengths[STREETS.depth(id) == 0] == 0).all()
    up = truth[40:, 30:60].reshape(-1, 3).mean(0)
    assert up[1] < -0.9, "the road faces up"
    assert Normals().has_truth(STREETS, id)


def test_the_loss_is_the_cosine_distance_over_known_pixels() -> None:
    criterion = NormalsLoss().build(Normals(), None)
    truth, found = unit(2, 3, 4, 6), unit(2, 3, 4, 6, seed=1)
    truth[0, :, :2] = 0
    total, count = criterion(found, batch(truth), 0.0)
    known = truth.norm(dim=1) > 0
    expected = (1 - (found.double() * truth.double()).sum(1))[known].sum()
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert count.item() == known.sum() == criterion.count(batch(truth)).item() == 36
    exact = criterion(truth, batch(truth), 0.0)[0]
    assert exact.item() == pytest.approx(0, abs=1e-4)


def test_nothing_known_costs_nothing() -> None:
    criterion = NormalsLoss().build(Normals(), None)
    found = unit(1, 3, 4, 6).requires_grad_()
    total, count = criterion(found, batch(torch.zeros(1, 3, 8, 12)), 0.0)
    total.backward()
    assert (total.item(), count.item(), found.grad.abs().sum().item()) == (0, 0, 0)


def test_decoding_gives_unit_vectors_of_any_size() -> None:
    found = Normals().decode(unit(1, 3, 5, 7)[0], (20, 33))["normals"]
    assert found.shape == (20, 33, 3)
    torch.testing.assert_close(found.norm(dim=2), torch.ones(20, 33))


def test_the_mirror_negates_x() -> None:
    n = unit(1, 3, 4, 6)
    mirrored = Normals().mirrored(n)
    assert torch.equal(mirrored[:, 0], -n.flip(3)[:, 0])
    assert torch.equal(mirrored[:, 1:], n.flip(3)[:, 1:])
    assert torch.equal(Normals().mirrored(mirrored), n)


class Walls(torch.nn.Module):
    """A perfect network: what is bright in the left half of the picture faces right, by the brightness of the pixel."""

    def forward(self, image: torch.Tensor, tasks: object) -> dict[str, torch.Tensor]:
        x = torch.linspace(-1, 1, image.shape[3]).expand_as(image[:, 0])
        return {"normals": F.normalize(torch.stack([-x, 0.3 * image[:, 0], -torch.ones_like(x)], dim=1), dim=1)}


def test_flipping_in_inference_leaves_a_symmetric_network_as_it_is() -> None:
    card = ModelCard(network=NetworkConfig(tasks={"normals": Normals()}), size=(8, 16))
    image = np.random.default_rng(0).integers(0, 255, (8, 16, 3)).astype(np.uint8)
    plain, flipped = (Predictor(Walls(), card, inference=Inference(flip=flip)).predict(image) for flip in (False, True))
    np.testing.assert_allclose(plain.normals, flipped.normals, atol=1e-6)
    assert np.abs(plain.normals[..., 0]).max() > 0.5
    np.testing.assert_allclose(np.linalg.norm(flipped.normals, axis=2), 1, atol=1e-5)
