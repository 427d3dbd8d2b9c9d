"""Category-level modulation: the identity at first, one way, and by hand."""

from __future__ import annotations

import pytest
import torch

from fathomseg.config import validate
from fathomseg.models.links.modulation import CategoryScale, Modulation
from fathomseg.tasks.network import NetworkConfig
from tests.models.networks import TINY, images

UNET = {"name": "depth_unet", "channels": [4, 4, 8, 8, 8], "stride": 2}


def config(**settings: object) -> NetworkConfig:
    tasks = {"segmentation": {"decoder": UNET}, "depth": {"decoder": UNET}}
    return validate(NetworkConfig, {"encoder": TINY, "tasks": tasks, "links": {"name": "modulation", **settings}})


def test_it_changes_nothing_before_it_has_learned() -> None:
    network = config().build(4).eval()
    image = images(1, 32, 64)
    with torch.no_grad():
        on = network(image)["depth"]
        assert network.links is not None
        network.links.on = False
        off = network(image)["depth"]
    assert all(torch.equal(a, b) for a, b in zip(on, off, strict=True))


def test_scales_and_offsets_by_hand() -> None:
    """Two categories, of which the map tells the first for sure where it is positive."""
    made = CategoryScale(1, 3, 2)
    with torch.no_grad():
        made.categories.weight.copy_(torch.tensor([100.0, -100.0]).view(2, 1, 1, 1))
        made.categories.bias.zero_()  # type: ignore[union-attr]
        made.scale.weight.copy_(torch.tensor([[1.0, 0], [0, 2], [0, 0]]).view(3, 2, 1, 1))
        made.offset.weight.copy_(torch.tensor([[0.0, 5], [0, 0], [7, 0]]).view(3, 2, 1, 1))
        x = torch.full((1, 3, 1, 2), 10.0)
        found = made(x, torch.tensor([1.0, -1.0]).view(1, 1, 1, 2))
    assert found[0, :, 0, 0].tolist() == [20, 10, 17]
    assert found[0, :, 0, 1].tolist() == [15, 30, 10]


@pytest.mark.parametrize("detach", [False, True])
def test_it_goes_one_way_and_its_gradient_too_unless_stopped(detach: bool) -> None:
    network = config(detach=detach).build(4)
    assert network.links is not None
    for name in ("scale", "offset"):
        torch.nn.init.normal_(getattr(network.links.units["depth"], name).weight)  # type: ignore[union-attr]
    image = images(2, 32, 64)
    found = network(image)
    found["depth"][0].sum().backward(retain_graph=True)
    reached = {name for name, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    assert any(name.startswith("decoders.segmentation") for name in reached) is not detach
    assert any(name.startswith("links.units.depth.categories") for name in reached)
    network.zero_grad()
    found["segmentation"].sum().backward()
    reached = {name for name, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    assert not any(name.startswith(("decoders.depth", "links")) for name in reached)


def test_segmentation_alone_runs_no_depth_and_depth_runs_both() -> None:
    part = Modulation()
    assert part.misfit({"depth": "shared", "normals": "shared"}) == (
        "links.sender is 'segmentation', but there is: depth, normals"
    )
    network = config().build(4).eval()
    calls: list[str] = []
    for name, decoder in network.decoders.items():
        decoder.blocks["4"].register_forward_hook(lambda *_, name=name: calls.append(name))  # type: ignore[union-attr, index]
    network(images(1, 32, 64), ["segmentation"])
    assert calls == ["segmentation"]
    calls.clear()
    network(images(1, 32, 64), ["depth"])
    assert sorted(calls) == ["depth", "segmentation"]
