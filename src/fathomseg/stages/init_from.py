"""Starting a training from what an earlier one has learned."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from fathomseg.config import Part
from fathomseg.errors import FathomError
from fathomseg.inference.card import POSE, WEIGHTS, Weights, load_card
from fathomseg.models.init_from import transfer
from fathomseg.models.network import SHARED, Network, early
from fathomseg.models.pose import PoseNetwork
from fathomseg.models.saved import load_weights
from fathomseg.tasks.network import NetworkConfig

InitPart = Literal["encoder", "decoder", "head", "links", "pose"]


class InitFrom(Part):
    """An earlier run, and which of its parts are taken over. What is loaded and what is not is always told."""

    run: Path
    """The folder of a run that has reached its end."""
    parts: tuple[InitPart, ...] = ("encoder",)
    """`encoder`; `decoder`: that which the same task reads, or depth for a task the run does not have (of one kind);
    `head`: of the same task, for depth its disparity; `links`; `pose`: the pose network and learned focal lengths. A
    decoder and its head may have levels the other lacks, which begin anew."""
    weights: Weights = "ema"
    """Averaged or last weights. There is one pose network, the last."""

    def into(self, network: Network, ours: NetworkConfig, pose: PoseNetwork | None = None) -> str:
        """Copy the parts into `network` (as `ours` has built it) and `pose`, in place; returns what was loaded and what
        not.

        Raises `FathomError`, before anything is copied to the part in question, if the run lacks it or it differs.
        """
        theirs = load_card(self.run).network
        state = load_weights(self.run / WEIGHTS[self.weights])
        lines = [f"Starting from {self.run} ({self.weights} weights), parts: {', '.join(self.parts)}"]
        routes: dict[str, str] = {}
        for part in self.parts:
            if part == "pose":
                continue
            found, anew = _routes(part, network, ours, theirs)
            if not found:
                raise FathomError(
                    f"init_from.parts has {part!r}, but {self.run} has none that fits: its tasks are "
                    f"{', '.join(theirs.tasks)}, those to be trained {', '.join(network.tasks)}. Leave it out."
                )
            routes |= found
            lines += [f"{name} begins anew: {self.run} has none of its kind" for name in anew]
        if routes:
            lines.append(str(transfer(state, network, routes)))
        if "pose" in self.parts:
            if pose is None:
                raise FathomError("init_from.parts has `pose`, but this training has no pose network. Leave it out.")
            lines.append(_load("pose network", pose, load_weights(self.run / POSE), self.run))
        return "\n".join(lines)


def _routes(
    part: str, network: Network, ours: NetworkConfig, theirs: NetworkConfig
) -> tuple[dict[str, str], list[str]]:
    """{part of this network: that of the run it starts from}, and parts of this network that start from nothing."""
    found: dict[str, str] = {}
    if part == "encoder":
        for name in network.encoders:
            own = name in theirs.branches and theirs.branches[name].encoder != SHARED
            if own or theirs.has_shared_encoder:
                found[f"encoders.{name}"] = f"encoders.{name if own else SHARED}"
    elif part == "decoder":
        for task in network.decoders:
            origin = theirs.branch_of(task) or theirs.branch_of("depth")
            if origin is not None and _decoder_name(theirs, origin) == _decoder_name(ours, task):
                found[f"decoders.{task}"] = f"decoders.{origin}"
    elif part == "head":
        found = {f"heads.{task}": f"heads.{task}" for task in network.tasks if task in theirs.tasks}
        early_too = [task for task in network.early_heads if early(task) in theirs.outputs]
        return found | {f"early_heads.{task}": f"early_heads.{task}" for task in early_too}, []
    elif network.links is not None and theirs.links.name != "none":
        found["links"] = "links"
    everything = {"encoder": tuple(network.encoders), "decoder": tuple(network.decoders)}.get(part, ())
    return found, [f"{part}s.{name}" for name in everything if f"{part}s.{name}" not in found]


def _decoder_name(network: NetworkConfig, branch: str) -> str:
    decoder = network.branches[branch].decoder
    return decoder if isinstance(decoder, str) else decoder.name


def _load(what: str, module: nn.Module, state: dict[str, Tensor], run: Path) -> str:
    """Load a part that must agree in every tensor."""
    wanted = module.state_dict()
    odd = sorted(
        name
        for name in wanted.keys() | state.keys()
        if name not in wanted or name not in state or wanted[name].shape != state[name].shape
    )
    if odd:
        raise FathomError(
            f"The {what} of {run} differs from the one to be trained in {len(odd)} tensors, for example {odd[0]}. Give "
            "both the same settings (objectives.photometric.pose), or leave it out."
        )
    module.load_state_dict(state)
    return f"{len(state)} tensors loaded: {what}"
