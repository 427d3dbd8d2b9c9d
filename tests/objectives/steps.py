"""Tiny training steps, built from objectives as a training builds them, and batches of every kind for them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator
from torch import Tensor, nn

from fathomseg.config import Part, named_by_key, validate
from fathomseg.data.colour import ColourJitter
from fathomseg.engine.balancing import AnyBalancing, Fixed
from fathomseg.engine.step import Step
from fathomseg.models.network import Network
from fathomseg.objectives import AnyObjective
from fathomseg.objectives.base import Setup, groups_of
from fathomseg.objectives.check import misfits
from fathomseg.objectives.supervised import SupervisedObjective
from fathomseg.tasks.network import NetworkConfig
from fathomseg.training.build import assembled
from fathomseg.types import IGNORE, Batch, StepResult

CLASSES, SIZE = 4, (32, 48)
ENCODER = {"model": "test_resnet", "pretrained": "none"}
POSE = {"encoder": ENCODER}
FPN = {"name": "fpn", "channels": 8}
UNET = {"name": "depth_unet", "channels": [4, 4, 8, 8, 8], "stride": 4}
PLAIN = {"encoder": ENCODER, "tasks": {"segmentation": {"decoder": FPN}}}
DEPTH = {"encoder": ENCODER, "tasks": {"depth": {"decoder": {**UNET, "stride": 1}}}}
JOINT = {
    "encoder": ENCODER,
    "tasks": {"segmentation": {"decoder": UNET}, "depth": {"decoder": UNET}},
    "links": {"name": "padnet"},
}
TOGETHER = {"supervised": {}, "pseudo_labels": {}, "photometric": {"pose": POSE}}


class _Objectives(Part):
    objectives: Annotated[Mapping[str, AnyObjective], BeforeValidator(named_by_key)]
    balancing: AnyBalancing = Fixed()


def make_step(
    network: Mapping[str, Any] | Network,
    objectives: Mapping[str, Any],
    colours: Mapping[str, ColourJitter] | None = None,
    held_for: Mapping[str, Collection[str]] | None = None,
    ema_decay: float = 0.99,
    steps: int = 10,
    pixels: Sequence[int] = (100,) * CLASSES,
    focal_ids: Mapping[str, int] | None = None,
    balancing: Mapping[str, Any] | None = None,
    own_norms: Mapping[str, Collection[str]] | None = None,
    **known: Any,
) -> Step:
    """A step of these objectives on all streams they name; without random colours unless given.

    `pixels`: of every class, in every stream. `focal_ids`: cameras whose focal length is learned. `known` goes into
    the setup as it is. A network that is built already must have the classes `CLASSES`.
    """
    torch.manual_seed(0)
    config = validate(NetworkConfig, PLAIN if isinstance(network, Network) else network)
    given = validate(_Objectives, {"objectives": objectives, "balancing": balancing or {"name": "fixed"}})
    parts = given.objectives
    assert given.balancing.misfit(groups_of(parts, config)) is None
    named = {stream: [] for part in parts.values() for stream in (*part.streams, *part.partners)}
    finished = [part for part in parts.values() if getattr(part, "teacher", "") == "finished"]
    distilled = {stream: ["distilled_label"] for part in finished for stream in part.streams}
    targets = {stream: ["disparity", "label", *distilled.get(stream, [])] for stream in named}
    assert list(misfits(config, targets, parts)) == []
    built = network if isinstance(network, Network) else config.build(CLASSES, pretrained=False)
    brought = {name: part.brings(built, pretrained=False) for name, part in parts.items()}
    numbers = [-1, *(focal_ids or {}).values()]
    setup = Setup(
        config, steps, {stream: torch.tensor(pixels) for stream in named}, focal_ids or {}, [1.0] * (max(numbers) + 1)
    )
    setup = replace(setup, **known)
    modules = {}
    for name in sorted(parts, key=lambda name: parts[name].name != "supervised"):
        modules[name] = parts[name].build(setup, built, brought[name])
        if isinstance(modules[name], SupervisedObjective) and (weights := modules[name].class_weights()) is not None:
            setup = replace(setup, class_weights=weights)
    jitter = {stream: (colours or {}).get(stream) for stream in named}
    return assembled(built, config, parts, modules, jitter, held_for, ema_decay, given.balancing, own_norms)


def make_batch(
    seed: int,
    *kinds: str,
    count: int = 2,
    size: tuple[int, int] = SIZE,
    rows: Mapping[str, Sequence[int]] | None = None,
) -> Batch:
    """Noise with targets of these kinds: label, depth, disparity, normals, frames (with camera).

    `rows`: which samples have a target, where not all of them do; the others hold what `collate` puts there.
    """
    rng = torch.Generator().manual_seed(seed)
    height, width = size

    def draw(high: int, *shape: int) -> Tensor:
        return torch.randint(0, high, shape, dtype=torch.uint8, generator=rng)

    image = draw(256, count, 3, *size)
    focal = 0.8 * width
    camera = torch.tensor([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    targets: dict[str, Tensor] = {}
    if "label" in kinds:
        targets["label"] = draw(CLASSES, count, *size)
    if "depth" in kinds:
        targets["depth"] = 1 + 40 * torch.rand(count, 1, *size, generator=rng)
    if "disparity" in kinds:
        targets["disparity"] = torch.rand(count, 1, *size, generator=rng)
    if "normals" in kinds:
        targets["normals"] = nn.functional.normalize(torch.randn(count, 3, *size, generator=rng), dim=1)
    if "frames" in kinds:
        targets |= {"frames": draw(256, count, 2, 3, *size), "camera": camera.repeat(count, 1, 1)}
    present = {name: torch.ones(count, dtype=torch.bool) for name in targets}
    for name, having in (rows or {}).items():
        present[name] = torch.tensor([row in having for row in range(count)])
        for row in set(range(count)) - set(having):
            targets[name][row] = placeholder(name, image[row])
    ids = tuple(f"{seed}/{i}" for i in range(count))
    return Batch(ids, tuple(range(100 * seed, 100 * seed + count)), image, targets, present)


def placeholder(name: str, image: Tensor) -> Tensor:
    """What stands in the rows of samples without a target."""
    return {
        "label": torch.tensor(IGNORE, dtype=torch.uint8),
        "depth": torch.tensor(0.0),
        "disparity": torch.tensor(torch.nan),
        "normals": torch.tensor(0.0),
        "frames": image,
        "camera": torch.eye(3),
    }[name]


def weighed(result: StepResult) -> Tensor:
    """The loss of a step of one micro-batch."""
    return torch.stack([t.weight * t.sum / t.count.clamp(min=1) for t in result.terms.values()]).sum()


class Counted:
    """How often modules ran, in which mode they and the gradient were, and on how many images."""

    def __init__(self, **modules: nn.Module) -> None:
        self.calls: dict[str, list[tuple[bool, bool, int]]] = {name: [] for name in modules}
        for name, module in modules.items():
            module.register_forward_hook(self._note(name))

    def _note(self, name: str) -> Callable[..., None]:
        def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            first = inputs[0]
            while not isinstance(first, Tensor):
                first = next(iter(first.values() if isinstance(first, Mapping) else first))
            self.calls[name].append((module.training, torch.is_grad_enabled(), len(first)))

        return note


def train(
    step: Step, batches: Mapping[str, Batch], lr: float = 1e-2, encoder_lr: float = 1.0, **factors: float
) -> None:
    """One step of gradient descent."""
    groups = step.parameter_groups(encoder_lr, factors)
    optimiser = torch.optim.SGD([{"params": g["params"], "lr": lr * g["lr_scale"]} for g in groups])
    weighed(step(batches)).backward()
    optimiser.step()
    step.after_step(0)


def moved(step: Step, before: Mapping[str, Tensor]) -> set[str]:
    """The tensors that are no longer what they were."""
    return {
        name
        for name, tensor in step.state_dict().items()
        if isinstance(tensor, Tensor) and not torch.equal(tensor, before[name])
    }


def copied(module: nn.Module) -> dict[str, Tensor]:
    """Its tensors as they are."""
    return {name: tensor.clone() for name, tensor in module.state_dict().items() if isinstance(tensor, Tensor)}
