"""Memory and speed a training of each recipe would need on a GPU, estimated without one.

    python benchmarks/memory.py [RECIPE ...] [--out results/memory_estimate.json] [--table]

Networks are built on PyTorch's meta device, where shapes are computed and numbers are not. One image of each stream
goes through what its objectives want of it: FLOP are those of convolutions and matrix products, activations the
tensors that autograd would keep for the backward pass, each once. A step then is, for B images of a stream:

- supervised, photometric and the like: one pass with gradient, the union of the outputs they learn;
- pseudo_labels: one pass of the teacher without gradient, unless it is finished, one of the student per strong view;
- photometric also: one pair of frames per neighbour through the pose network.

memory = parameters x (weights 4 + gradient 4 + average 4 + optimiser 8 or 4 bytes) + activations x bytes / 4, where
`--bytes` is 2 for bf16 and 4 for float32. The time of a step is the longer of (3 x FLOP with gradient + FLOP without) /
`--tflops` and 5 x activations / `--gb-per-s` (written, read, read again, gradient written and read), both what a GPU
reaches, not its peak. These are estimates: fragmentation, losses and reading of data are left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from fathomseg.config import load
from fathomseg.data.datasets.folder import DESCRIPTION, Folder
from fathomseg.errors import FathomError
from fathomseg.models.pose import FlowPoseNetwork
from fathomseg.named_recipes import find, listed
from fathomseg.training.build import build_networks
from fathomseg.training.recipe import Recipe
from fathomseg.training.run_folder import origin

_MEASURED: dict[str, tuple[float, float]] = {}
"""What passes cost that were counted before: many recipes share a network and a size."""


def estimated() -> list[str]:
    """The recipes that train a network, by name."""
    return [one.name for one in listed() if one.verb in ("train", "pretrain")]


OWN = {"classes": [f"class {number}" for number in range(10)]}
"""What dataset.yaml of own data is taken to say."""


def estimate(path: Path, tflops: float, gb_per_s: float, width: int) -> dict[str, Any]:
    """What a step of a recipe needs."""
    recipe = load(Recipe, path)
    if isinstance(recipe.data, Folder) and not recipe.data.root.exists():
        with TemporaryDirectory() as folder:
            (Path(folder) / DESCRIPTION).write_text(json.dumps(OWN), encoding="utf-8")
            return of_recipe(load(Recipe, path, [f"data.root={folder}"]), tflops, gb_per_s, width)
    return of_recipe(recipe, tflops, gb_per_s, width)


def of_recipe(recipe: Recipe, tflops: float, gb_per_s: float, width: int) -> dict[str, Any]:
    """The same of one that is read."""
    with torch.device("meta"):
        network, brought = build_networks(recipe, pretrained=False)
    network.train()
    flop = activations = images = 0.0
    for name, stream in recipe.streams.items():
        batch, objectives = stream.batch or recipe.train.batch, recipe.objectives_of(name)
        geometry = stream.geometry
        size = (geometry.crop if geometry else None) or stream.size or recipe.size
        images += batch
        base = {o for key, one in objectives.items() if one.name != "pseudo_labels" for o in one.learns(recipe.network)}
        if base:
            cost, kept = measure(network, recipe, size, sorted(base))
            flop, activations = flop + 3 * batch * cost, activations + batch * kept
        for one in objectives.values():
            if one.name == "pseudo_labels":
                cost, kept = measure(network, recipe, size, ["segmentation"])
                views = 2 if one.complementary_dropout else 1
                passes = 3 * views + (one.teacher != "finished")
                flop += batch * passes * cost
                activations += batch * views * kept
        if "photometric" in {one.name for one in objectives.values()}:
            pose = next(modules["pose"] for modules in brought.values() if "pose" in modules)
            cost, kept = measure_pair(pose, size)
            flop, activations = flop + 3 * 2 * batch * cost, activations + 2 * batch * kept
    parameters = sum(p.numel() for module in (network, *brought.values()) for p in module.parameters())
    state = parameters * (4 + 4 + 4 + (8 if recipe.optimiser.name == "adamw" else 4))
    moved = 5 * activations * width / 4
    if not flop:
        raise FathomError("It trains no network but what an objective brings, which is not counted.")
    seconds = max(flop / (tflops * 1e12), moved / (gb_per_s * 1e9))
    return {
        "images": int(images),
        "parameters_m": round(parameters / 1e6, 1),
        "gflop": round(flop / 1e9),
        "memory_gib": round((state + activations * width / 4) / 2**30, 1),
        "images_per_s": round(images / seconds),
    }


def measure(network: nn.Module, recipe: Recipe, size: tuple[int, int], outputs: Collection[str]) -> tuple[float, float]:
    """FLOP of the forward pass of one image, and float32 bytes its backward pass keeps."""
    key = f"{recipe.network.model_dump_json()} {len(recipe.data.classes)} {size} {outputs}"
    if key not in _MEASURED:
        image = torch.empty(2, 3, *size, device="meta")
        _MEASURED[key] = counted(lambda: network(image, outputs), network)
    return _MEASURED[key]


def measure_pair(pose: nn.Module, size: tuple[int, int]) -> tuple[float, float]:
    """The same of one pair of frames in the pose network; optical flow itself, which is not learned, is left out."""
    if isinstance(pose, FlowPoseNetwork):
        fields = torch.empty(2, pose.decoder[0].in_channels, size[0] // 4, size[1] // 4, device="meta")
        return counted(lambda: pose.decoder(fields), pose)
    first, second = (torch.empty(2, 3, *size, device="meta") for _ in range(2))
    return counted(lambda: pose(first, second, torch.eye(3, device="meta").expand(2, 3, 3)), pose)


def counted(run: Any, module: nn.Module) -> tuple[float, float]:
    """Of one of two images: BatchNorm wants more than one."""
    kept: dict[int, int] = {}
    own = {id(p) for p in module.parameters()}
    alive: list[Tensor] = []  # so that no address is used twice

    def keep(tensor: Tensor) -> Tensor:
        if id(tensor) not in own:
            alive.append(tensor)
            kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    counter = FlopCounterMode(display=False)
    no_autocast = patch.object(torch, "autocast", lambda *_, **__: nullcontext())  # it does not know the meta device
    with counter, no_autocast, saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return counter.get_total_flops() / 2, sum(kept.values()) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", help="recipes by name or path; all that train if none is given")
    parser.add_argument("--tflops", type=float, default=30.0, help="what the GPU reaches")
    parser.add_argument("--gb-per-s", type=float, default=500.0, help="of its memory")
    parser.add_argument("--bytes", type=int, default=2, choices=(2, 4), help="of an activation")
    parser.add_argument("--table", action="store_true", help="print a Markdown table instead of JSON")
    parser.add_argument("--out", type=Path, help="also write the result to this file")
    arguments = parser.parse_args()
    found, left_out = {}, {}
    for name in arguments.recipes or estimated():
        print(name, file=sys.stderr, flush=True)
        try:
            found[name] = estimate(find(name), arguments.tflops, arguments.gb_per_s, arguments.bytes)
        except FathomError as error:  # a run or a model it begins with is not here
            left_out[name] = str(error).splitlines()[0]
    result = {
        "claim": "ESTIMATED, not measured: memory and speed of a training step on a GPU",
        "assumed": {
            "tflops": arguments.tflops,
            "gb_per_s": arguments.gb_per_s,
            "bytes_per_activation": arguments.bytes,
        },
        "recipes": found,
        "left_out": left_out,
        "origin": origin(),
    }
    print(table(found) if arguments.table else json.dumps(result))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def table(found: dict[str, dict[str, Any]]) -> str:
    """The recipes as Markdown."""
    lines = ["|recipe|images a step|GFLOP|GiB|images/s|", "|---|---|---|---|---|"]
    for name, one in found.items():
        lines.append(f"|{name}|{one['images']}|{one['gflop']}|{one['memory_gib']}|{one['images_per_s']}|")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
