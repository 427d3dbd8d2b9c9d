"""Weights as safetensors files, which hold tensors and cannot carry code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fathomseg.errors import FathomError
from fathomseg.io.files import writing
from fathomseg.version import __version__

CARD: Final = "model.json"
"""What the weight files of a folder belong to."""


def save_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write one weight file in one stroke."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with writing(path) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt", "fathomseg": __version__})


def load_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of one weight file by name. Raises `FathomError` if it is missing or no safetensors file."""
    if not path.is_file():
        there = ", ".join(sorted(other.name for other in path.parent.glob("*.safetensors"))) or "none"
        raise FathomError(f"{path.parent} has no weights {path.name}; weight files in it: {there}.")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise FathomError(f"{path} is damaged or no safetensors file: {error}. Copy it again from its run.") from None


def load_into(network: nn.Module, path: Path) -> None:
    """Put the weights of a file into the network they were saved from, and into no other. Raises `FathomError`."""
    state = load_weights(path)
    if differences := _differences(network.state_dict(), state):
        shown = "\n".join(f"  {line}" for line in differences[:5])
        raise FathomError(
            f"{path} does not hold the weights of the network in {CARD} ({len(differences)} tensors differ):\n{shown}\n"
            "The two files must come from the same run."
        )
    network.load_state_dict(state)


def _differences(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """What keeps `given` from being the weights of a network that has `wanted`, one line a tensor."""
    lines = [f"{name}: missing" for name in wanted if name not in given]
    lines += [f"{name}: not part of the network" for name in given if name not in wanted]
    for name in wanted.keys() & given.keys():
        if wanted[name].shape != given[name].shape:
            shapes = [list(tensors[name].shape) for tensors in (given, wanted)]
            lines.append(f"{name}: is {shapes[0]}, should be {shapes[1]}")
    return sorted(lines)
