"""What each decoder costs on the default encoder: parameters, multiply-adds and CPU time, as one JSON line.

    OMP_NUM_THREADS=1 python benchmarks/networks.py [--model tf_efficientnet_lite0] [--size 256 256] [--table]

Multiply-adds (MACs) are counted by PyTorch for one image and do not depend on the machine. Times are CPU seconds of one
thread, the fastest of several runs: inference of one image, and forward + backward of a batch of four.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from fathomseg.models.decoders import DeepLabV3, DeepLabV3Plus, Fpn, UNet
from fathomseg.models.encoders import Encoder
from fathomseg.models.network import SHARED, Network
from fathomseg.tasks import Segmentation
from fathomseg.tasks.network import NetworkConfig
from fathomseg.training.run_folder import origin

CASES = {
    "fpn (default)": (Fpn(), 32),
    "fpn channels=64": (Fpn(channels=64), 32),
    "fpn channels=64 separable=false": (Fpn(channels=64, separable=False), 32),
    "fpn separable=false": (Fpn(separable=False), 32),
    "deeplabv3plus": (DeepLabV3Plus(), 16),
    "deeplabv3plus separable=true": (DeepLabV3Plus(separable=True), 16),
    "deeplabv3": (DeepLabV3(), 16),
    "unet": (UNet(), 32),
    "unet stride=4": (UNet(stride=4), 32),
}
"""Name -> (decoder, output stride of the encoder)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    parser.add_argument("--size", nargs=2, type=int, default=[256, 256], metavar=("H", "W"))
    parser.add_argument("--table", action="store_true", help="print a Markdown table instead of JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = {}
    for name, (decoder, stride) in CASES.items():
        encoder = Encoder(model=arguments.model, output_stride=stride, pretrained="none")
        rows[name] = measure(
            NetworkConfig(encoder=encoder, tasks={"segmentation": Segmentation(decoder=decoder)}), tuple(arguments.size)
        )
    result = {"model": arguments.model, "size": arguments.size, "rows": rows, "origin": origin()}
    print(table(rows) if arguments.table else json.dumps(result))


def measure(config: NetworkConfig, size: tuple[int, int]) -> dict[str, Any]:
    """Costs of one network with 19 classes."""
    torch.manual_seed(0)
    network = config.build(19).to(memory_format=torch.channels_last)
    one, four = (torch.rand(b, 3, *size).to(memory_format=torch.channels_last) for b in (1, 4))
    network.eval()
    encoder = network.encoders[SHARED]
    encoder_macs = macs(encoder, one)
    with torch.inference_mode():
        inference = fastest(lambda: network(one), 7)
    network.train()
    return {
        "encoder_output_stride": encoder.pyramid.strides[-1],
        "stride": network.decoders["segmentation"].stride,
        "encoder_mparams": parameters(encoder),
        "decoder_mparams": parameters(network) - parameters(encoder),
        "encoder_gmacs": encoder_macs,
        "decoder_gmacs": macs(network.eval(), one) - encoder_macs,
        "inference_ms": 1e3 * inference,
        "train_batch4_ms": 1e3 * fastest(lambda: train_step(network.train(), four), 3),
    }


def train_step(network: Network, images: Tensor) -> None:
    network.zero_grad()
    network(images)["segmentation"].square().mean().backward()


def parameters(module: torch.nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


def macs(module: torch.nn.Module, image: Tensor) -> float:
    """Billions of multiply-adds in convolutions and matrix products."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(image)
    return counter.get_total_flops() / 2e9


def fastest(run: Callable[[], object], times: int) -> float:
    """CPU seconds of the fastest run: the one least disturbed by whatever else the machine does."""
    run()
    seconds = []
    for _ in range(times):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return min(seconds)


def table(rows: dict[str, dict[str, Any]]) -> str:
    lines = ["| decoder | OS | answers at | M parameters | GMACs | infer 1, ms | train 4, ms |", "|---" * 7 + "|"]
    for name, row in rows.items():
        cells = [name, row["encoder_output_stride"], f"1/{row['stride']}"]
        cells += [f"{row[f'encoder_{what}']:.2f} + {row[f'decoder_{what}']:.2f}" for what in ("mparams", "gmacs")]
        cells += [f"{row[what]:.0f}" for what in ("inference_ms", "train_batch4_ms")]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
