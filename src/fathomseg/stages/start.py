"""Starting a training from what an earlier one has learned."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from fathomseg.config import Part
from fathomseg.errors import FathomError
from fathomseg.io.progress import say
from fathomseg.models.init_from import transfer
from fathomseg.models.joint import JointNetwork
from fathomseg.models.pose import PoseNetwork
from fathomseg.models.saved import POSE, WEIGHTS, Weights, load_card, load_weights

StartPart = Literal["encoder", "decoder", "disparity", "pose"]


class Start(Part):
    """An earlier run, and which of its parts are taken over. What is loaded and what is not is always told."""

    run: Path
    """The folder of a run that has reached its end."""
    parts: tuple[StartPart, ...] = ("encoder",)
    """`encoder`, `decoder` (depth_unet in both), and between depth runs also `disparity` (the heads) and `pose`."""
    weights: Weights = "ema"
    """Averaged or last weights. There is one pose network, the last."""

    def into(self, network: nn.Module, pose: PoseNetwork | None = None) -> str:
        """Copy the parts into `network` and `pose`, in place; returns what was loaded and what was not.

        Raises `FathomError`, before anything is copied to the part in question, if the run lacks it or it differs.
        """
        load_card(self.run)
        state = load_weights(self.run / WEIGHTS[self.weights])
        lines = [f"Starting from {self.run} ({self.weights} weights), parts: {', '.join(self.parts)}"]
        joint = network if isinstance(network, JointNetwork) else None
        shared = ("encoder", "decoder") if joint is None else ("encoder", "decoder", "disparity")
        parts = [part for part in self.parts if part in shared]
        if joint is not None:
            routes = {to: origin for to, origin in joint.from_depth.items() if origin.rpartition(".")[2] in parts}
            lines.append(str(transfer(state, network, routes)))
            if "decoder" in parts and "decoders.segmentation" not in routes:
                lines.append("decoders.segmentation begins anew: a decoder for depth is of another kind (depth_unet)")
        elif parts:
            lines.append(str(transfer(state, network, {part: part for part in parts})))
        if "disparity" in self.parts and joint is None:
            heads = getattr(network, "heads", {})
            if "disparity" not in heads:
                raise FathomError(
                    "start.parts has `disparity`, but the network to be trained gives none. Leave it out."
                )
            prefix = "heads.disparity."
            own = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
            lines.append(_load("disparity heads", heads["disparity"], own, self.run))
        if "pose" in self.parts:
            if pose is None:
                raise FathomError("start.parts has `pose`, but this training has no pose network. Leave it out.")
            lines.append(_load("pose network", pose, load_weights(self.run / POSE), self.run))
        return "\n".join(lines)


def start(config: Start | None, network: nn.Module, pose: PoseNetwork | None = None) -> None:
    """Take over what the recipe asks for, and tell the person what it was."""
    if config is not None:
        say(config.into(network, pose))


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
            "both the same settings (encoder, decoder.channels, decoder.stride, scales, learner.pose), or leave it out."
        )
    module.load_state_dict(state)
    return f"{len(state)} tensors loaded: {what}"
