"""Training in shards (FSDP2): each rank keeps its part of every weight, gradient, optimiser state and averaged weight.

Accelerate's own configuration asks for it (`accelerate launch --config_file`), and names the blocks that are gathered
one at a time; beside them the network and its averaged copy are units. Weights are gathered in float32 and used under
autocast, so that the losses are those of DDP. Checkpoints hold whole tensors, and are those of a training that is not
in shards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fathomseg.engine.balancing.fixed import FixedBalancer
from fathomseg.errors import FathomError

if TYPE_CHECKING:
    import accelerate

    from fathomseg.engine.step import Step

# What is imported inside functions takes long, and is for those alone who train in shards.


def in_shards(accelerate: accelerate.Accelerator) -> bool:
    """Whether Accelerate's configuration asks for FSDP."""
    return bool(accelerate.distributed_type == "FSDP")


def plan(plugin: Any, step: Step) -> None:
    """Tell Accelerate's FSDP plugin what to shard. Raises `FathomError` for a configuration this step cannot do."""
    from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy
    from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy

    blocks, known = plugin.transformer_cls_names_to_wrap or [], {type(part).__name__ for part in step.modules()}
    needed = {
        "fsdp_version: 2": plugin.fsdp_version == 2,
        "fsdp_activation_checkpointing: false": not plugin.activation_checkpointing,
        "fsdp_offload_params: false": not isinstance(plugin.cpu_offload, CPUOffloadPolicy),
        f"fsdp_transformer_layer_cls_to_wrap of: {', '.join(sorted(known))}": known.issuperset(blocks),
    }
    if missing := [setting for setting, met in needed.items() if not met]:
        raise FathomError(f"A training in shards needs this in Accelerate's configuration: {missing[0]}.")
    if not isinstance(step.balancer, FixedBalancer) or step.own_norms:
        raise FathomError("A training in shards needs balancing.name=fixed, and no stream with batch_norm=own.")
    plugin.transformer_cls_names_to_wrap = [*blocks, type(step.network).__name__]
    plugin.auto_wrap_policy = transformer_auto_wrap_policy
    plugin.mixed_precision_policy = MixedPrecisionPolicy()  # its others halve targets and losses, too
    plugin.cpu_ram_efficient_loading = False  # every rank has made the same weights


@contextmanager
def unsharded(network: nn.Module) -> Iterator[None]:
    """All weights on every rank, for passes without gradient of which ranks may make unequal numbers."""
    units: list[Any] = [part for part in network.modules() if hasattr(part, "unshard")]
    for unit in units:
        unit.set_reshard_after_forward(False, recurse=False)
        unit.unshard()
    try:
        yield
    finally:
        for unit in units:
            unit.set_reshard_after_forward(True, recurse=False)
            unit.reshard()


def full(tensor: Tensor) -> Tensor:
    """The whole of a tensor in shards; all ranks must ask for it."""
    found: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return found


def whole(state: Any, keep: bool) -> Any:
    """A state whose shards are whole tensors on the CPU, gathered one by one; None where they are not to be kept."""
    if isinstance(state, Mapping):
        return {key: whole(value, keep) for key, value in state.items()}
    if not hasattr(state, "full_tensor"):
        return state
    found = full(state)
    return found.cpu() if keep else None


def load(module: nn.Module, optimiser: torch.optim.Optimizer, weights: Mapping[str, Tensor], state: Any) -> None:
    """Load the `whole` states of a module and its optimiser, each rank its parts."""
    places = module.state_dict()
    module.load_state_dict({name: _cut(value, places.get(name)) for name, value in weights.items()})
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    own = {i: {k: _cut(v, parameters[i]) for k, v in moments.items()} for i, moments in state["state"].items()}
    optimiser.load_state_dict({**state, "state": own})


def _cut(value: Any, place: Any) -> Any:
    """The value in shards like those of `place`, if that is in shards and of its shape."""
    if not (hasattr(place, "full_tensor") and isinstance(value, Tensor) and value.shape == place.shape):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(place.device), place.device_mesh, place.placements)
