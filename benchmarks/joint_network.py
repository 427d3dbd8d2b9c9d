"""What the joint network costs beside a segmentation network, as one JSON line.

    OMP_NUM_THREADS=1 python benchmarks/joint_network.py [--model tf_efficientnet_lite0] [--size 192 256] [--table]

Multiply-adds (MACs) are counted by PyTorch for one forward pass of the batch and do not depend on the machine; those of
the backward pass are twice as many. Times are CPU milliseconds of one thread, the fastest of several runs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fathomseg.models.decoders import DepthUNet, Fpn
from fathomseg.models.encoders import Encoder
from fathomseg.models.links import NoLinks, PadNet
from fathomseg.models.network import Network
from fathomseg.tasks import Depth, Segmentation
from fathomseg.tasks.network import NetworkConfig
from fathomseg.training.run_folder import origin

CLASSES, BATCH = 11, 2
OUTPUTS = {
    "all": ("segmentation", "early_segmentation", "depth"),
    "segmentation": ("segmentation",),
    "depth": ("depth",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    parser.add_argument("--size", nargs=2, type=int, default=[192, 256], metavar=("H", "W"))
    parser.add_argument("--table", action="store_true", help="print a Markdown table instead of JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    encoder = Encoder(model=arguments.model, pretrained="none")
    image = torch.rand(BATCH, 3, *arguments.size).to(memory_format=torch.channels_last)
    rows = {"segmentation network, fpn": measure(network(encoder, Fpn()), image)}
    mixed = network(encoder, Fpn(), DepthUNet(stride=4))
    for name, outputs in OUTPUTS.items():
        rows[f"joint, fpn and depth_unet, stride 4, {name}"] = measure(mixed, image, outputs)
    for stride in (4, 2, 1):
        decoder = DepthUNet(stride=stride)
        rows[f"segmentation network, depth_unet, stride {stride}"] = measure(network(encoder, decoder), image)
        joint = network(encoder, decoder, decoder)
        for name, outputs in OUTPUTS.items():
            rows[f"joint, stride {stride}, {name}"] = measure(joint, image, outputs)
        rows[f"joint, stride {stride}, no exchange"] = measure(network(encoder, decoder, decoder, NoLinks()), image)
    result = {"model": arguments.model, "size": arguments.size, "batch": BATCH, "rows": rows, "origin": origin()}
    print(table(rows) if arguments.table else json.dumps(result))


def network(
    encoder: Encoder,
    segmentation: Fpn | DepthUNet,
    depth: DepthUNet | None = None,
    links: PadNet | NoLinks | None = None,
) -> Network:
    """For classes, or for classes and depth with messages between the branches."""
    tasks = {"segmentation": Segmentation(decoder=segmentation)}
    if depth is not None:
        tasks["depth"] = Depth(decoder=depth)
    links = links or (NoLinks() if depth is None else PadNet())
    return NetworkConfig(encoder=encoder, tasks=tasks, links=links).build(CLASSES)


def measure(network: nn.Module, image: Tensor, *outputs: Any) -> dict[str, float]:
    """Parameters, multiply-adds and times of one network."""
    network = network.to(memory_format=torch.channels_last)

    def infer() -> None:
        with torch.no_grad():
            network.eval()(image, *outputs)

    def train() -> None:
        found = network.train()(image, *outputs).values()
        maps = [one for value in found for one in (value if isinstance(value, list) else [value])]
        sum(one.square().sum() for one in maps).backward()
        network.zero_grad(set_to_none=True)

    with FlopCounterMode(display=False) as counter:
        infer()
    return {
        "parameters": sum(p.numel() for p in network.parameters()) / 1e6,
        "gmacs": counter.get_total_flops() / 2e9,
        "infer_ms": milliseconds(infer),
        "train_ms": milliseconds(train),
    }


def milliseconds(run: Callable[[], object], repeats: int = 5) -> float:
    """CPU milliseconds of the fastest of several runs."""
    run()
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        run()
        times.append(time.process_time() - begin)
    return min(times) * 1e3


def table(rows: dict[str, dict[str, float]]) -> str:
    lines = ["| network | M parameters | GMACs | forward, ms | forward + backward, ms |", "|---|---|---|---|---|"]
    for name, row in rows.items():
        numbers = f"{row['parameters']:.2f} | {row['gmacs']:.2f} | {row['infer_ms']:.0f} | {row['train_ms']:.0f}"
        lines.append(f"| {name} | {numbers} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
