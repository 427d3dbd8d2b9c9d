"""Small networks for tests, and what they are looked at with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fathomseg.config import validate
from fathomseg.models.decoders.lw_refinenet import LwRefineNetDecoder
from fathomseg.models.network import Network
from fathomseg.tasks.depth_heads import DepthHead
from fathomseg.tasks.network import NetworkConfig
from fathomseg.tasks.normals import NormalHead
from fathomseg.tasks.segmentation import SegmentationHead

CLASSES = 5
NARROW = (4, 6, 8, 10, 12)
TINY = {"model": "test_efficientnet", "pretrained": "none"}
LITE = {"pretrained": "none"}
PADNET = {"name": "padnet"}


def unet(**settings: Any) -> dict[str, Any]:
    """A narrow depth decoder."""
    return {"name": "depth_unet", "channels": NARROW, **settings}


def config(tasks: Mapping[str, Any], **settings: Any) -> NetworkConfig:
    """A network of these tasks, with the smallest encoder unless another is given."""
    return validate(NetworkConfig, {"encoder": TINY, "tasks": tasks, **settings})


def segmenting(decoder: Mapping[str, Any], **settings: Any) -> NetworkConfig:
    """Classes alone; `dropout` is that of the task."""
    dropout = {"dropout": settings.pop("dropout")} if "dropout" in settings else {}
    return config({"segmentation": {"decoder": decoder, **dropout}}, **settings)


def seeing_depth(decoder: Mapping[str, Any], **settings: Any) -> NetworkConfig:
    """Depth alone."""
    return config({"depth": {"decoder": decoder}}, **settings)


def joint(decoder: Mapping[str, Any], **settings: Any) -> NetworkConfig:
    """Both, with decoders of one kind, and PAD-Net between them unless another link is given."""
    tasks = {"segmentation": {"decoder": decoder}, "depth": {"decoder": decoder}}
    return config(tasks, **{"links": PADNET, **settings})


def build(config: NetworkConfig, seed: int = 0) -> Network:
    """With heads, gates and links that tell images apart, which start near zero."""
    torch.manual_seed(seed)
    network = config.build(CLASSES)
    for module in network.modules():
        if isinstance(module, DepthHead | NormalHead):
            nn.init.normal_(module.conv.weight, std=0.1)
        elif isinstance(module, SegmentationHead):
            nn.init.normal_(list(module)[-1].weight)
        elif isinstance(module, LwRefineNetDecoder):
            for weights in module.parameters():
                nn.init.normal_(weights, std=weights.shape[1] ** -0.5)
    for name, parameter in network.named_parameters():
        if name.endswith("gate.weight") or name.startswith("links.units"):
            nn.init.normal_(parameter, std=0.1)
        elif name.endswith("mix.0.weight") or name == "heads.segmentation.1.0.weight":  # of separable heads
            nn.init.normal_(parameter)
    return network


def pair(links: Mapping[str, Any] | str, decoder: Mapping[str, Any] | None = None, **settings: Any) -> NetworkConfig:
    """Segmentation and depth, each with an encoder and a decoder of its own, and links between them."""
    branch = {"decoder": unet(stride=4) if decoder is None else decoder, "encoder": "own"}
    linked = {"name": links} if isinstance(links, str) else links
    return config({"segmentation": branch, "depth": branch}, links=linked, **settings)


def images(batch: int, height: int, width: int, seed: int = 1) -> Tensor:
    """Noise."""
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def flat(outputs: Mapping[str, Tensor | list[Tensor]]) -> dict[str, Tensor]:
    """Every tensor by a name of its own."""
    return {
        name if index is None else f"{name}{index}": tensor
        for name, value in outputs.items()
        for index, tensor in (enumerate(value) if isinstance(value, list) else [(None, value)])
    }


def assert_equal(a: Mapping[str, Tensor | list[Tensor]], b: Mapping[str, Tensor | list[Tensor]]) -> None:
    """Bit for bit."""
    a, b = flat(a), flat(b)
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


@contextmanager
def running(network: nn.Module) -> Iterator[list[str]]:
    """The names of the modules that run, in their order, as often as they run."""
    ran: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: ran.append(name)) for name, module in network.named_modules()
    ]
    yield ran
    for handle in handles:
        handle.remove()


def reached(network: nn.Module) -> set[str]:
    """The parameters with a gradient."""
    return {name for name, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


def scales_of_one(network: nn.Module) -> None:
    """ResNets start with scales of 0 in their residual branches, which stop gradients for one step."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
