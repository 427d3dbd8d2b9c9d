"""What one optimiser step of semi-supervised and joint training costs, as one JSON line.

    OMP_NUM_THREADS=1 python benchmarks/train_step.py [CASE ...] [--steps 5] [--out results/train_step.json] [--table]

ResNet-50, crop 256 x 256, 2 labelled + 2 unlabelled images, 12 classes, float32, one thread, random pixels and weights.
What is timed is the trainer's own step: forward passes of all streams, backward, clipping, SGD, averaging of the
teacher; reading data is left out. Times are CPU seconds (`time.process_time`), which other processes disturb less: the
smallest and the median after one step to warm up. GFLOP are those of the convolutions and matrix products of a step.

Losses, mixing and colours are those of Hoyer et al. 2021 in all cases. `transfer`: a segmentation network, DepthMix by
given disparity. `joint`: classes and disparity by one network, DepthMix by its own disparity; all four images have
their two neighbouring frames and so a photometric loss (`clips`: two clips in a stream of their own have it instead).
`paper`: the decoders of the paper, which answer at every pixel, on an encoder of output stride 16, and ResNet-18 for
the pose. Otherwise fpn, or depth_unet at a quarter of the size, at output stride 32, and the default pose network.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fathomseg.augment.colours import Blur, Colours
from fathomseg.data.colour import ColourJitter
from fathomseg.engine.balancing.fixed import Fixed
from fathomseg.engine.loop import Loop, Trainer, accelerator
from fathomseg.engine.optimiser import Optimiser
from fathomseg.losses.targets import ConfidentFraction
from fathomseg.mixing import DepthMix
from fathomseg.models.decoders import DepthUNet, Fpn
from fathomseg.models.encoders import Encoder
from fathomseg.models.links import NoLinks, PadNet
from fathomseg.models.pose import PoseConfig
from fathomseg.objectives import Photometric, PseudoLabels, Supervised
from fathomseg.objectives.base import Setup
from fathomseg.tasks import Depth, Segmentation
from fathomseg.tasks.network import NetworkConfig
from fathomseg.training.build import assembled
from fathomseg.training.run_folder import origin
from fathomseg.types import Batch

CLASSES, CROP, IMAGES = 12, 256, 2
LITE = "tf_efficientnet_lite0"
Shape = Sequence[int]
Batches = dict[str, Batch]
PAPER = DepthUNet(channels=(64, 128, 128, 256, 256), aspp=(6, 12, 18))


@dataclass(frozen=True)
class Case:
    """A network, and which streams have neighbouring frames to learn depth from (none: it gives classes alone)."""

    decoder: Fpn | DepthUNet
    output_stride: int
    frames: tuple[str, ...] = ()
    pose: str = LITE

    @property
    def encoder(self) -> Encoder:
        """The encoder, with random weights."""
        return Encoder(model="resnet50", output_stride=self.output_stride, pretrained="none")

    def step(self) -> nn.Module:
        """The training step, with random weights."""
        return build_step(self)

    def batches(self, step: int) -> Batches:
        """Random pixels for every stream."""
        streams = {"labelled", "unlabelled", *self.frames}
        generator = torch.Generator().manual_seed(step)
        return {name: random_batch(name, generator, name in self.frames, not self.frames) for name in sorted(streams)}


def random_batch(name: str, generator: torch.Generator, frames: bool, disparity: bool) -> Batch:
    """Images of one stream with what that stream carries."""

    def draw(high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=generator, dtype=torch.uint8)

    K = torch.tensor([[0.9 * CROP, 0, CROP / 2], [0, 0.9 * CROP, CROP / 2], [0, 0, 1]])
    keys = tuple(torch.randint(2**62, (IMAGES,), generator=generator).tolist())
    image = draw(256, IMAGES, 3, CROP, CROP).contiguous(memory_format=torch.channels_last)
    targets = {"label": draw(CLASSES, IMAGES, CROP, CROP)} if name == "labelled" else {}
    if disparity and name == "unlabelled":
        targets["disparity"] = draw(256, IMAGES, 1, CROP, CROP) / 255
    if frames:
        targets |= {"frames": draw(256, IMAGES, 2, 3, CROP, CROP), "camera": K.expand(IMAGES, 3, 3)}
    ids = tuple(f"{name}/{i}" for i in range(IMAGES))
    present = {target: torch.ones(IMAGES, dtype=torch.bool) for target in targets}
    return Batch(ids=ids, keys=keys, image=image, targets=targets, present=present)


JITTER = ColourJitter(probability=0.8, brightness=0.25, contrast=0.25, saturation=0.25, hue=0.25)
STRONG = Colours(jitter=JITTER, greyscale=0.0, blur=Blur(probability=0.5, sigma=(0.15, 1.15)))
NO_JITTER = ColourJitter(probability=0)


def build_step(case: Case) -> nn.Module:
    """One network and its objectives."""
    tasks = {"segmentation": Segmentation(decoder=case.decoder)}
    objectives = {
        "supervised": Supervised(),
        "pseudo_labels": PseudoLabels(
            weighting=ConfidentFraction(),
            normalize_by="all",
            mixing=DepthMix(),
            depth_scale="image" if case.frames else "given",
            augment=STRONG,
        ),
    }
    if case.frames:
        tasks["depth"] = Depth(decoder=case.decoder)
        pose = PoseConfig(encoder=Encoder(model=case.pose, pretrained="none"))
        objectives["photometric"] = Photometric(stream=case.frames, pose=pose)
    config = NetworkConfig(encoder=case.encoder, tasks=tasks, links=PadNet() if case.frames else NoLinks())
    network = config.build(CLASSES)
    streams = sorted({stream for objective in objectives.values() for stream in objective.streams})
    setup = Setup(config, steps=100, label_pixels={"labelled": torch.ones(CLASSES, dtype=torch.int64)})
    return assembled(
        network,
        config,
        objectives,
        {name: o.build(setup, network, o.brings(network, False)) for name, o in objectives.items()},
        {stream: None if stream == "unlabelled" else NO_JITTER for stream in streams},
        {"clips": {"segmentation"}} if "clips" in streams else None,
        0.99,
        Fixed(),
        None,
    )


BOTH = ("labelled", "unlabelled")
CASES = {
    "transfer": Case(Fpn(), 32),
    "transfer, output stride 16": Case(Fpn(), 16),
    "transfer, paper": Case(PAPER, 16),
    "joint": Case(DepthUNet(stride=4), 32, BOTH),
    "joint, clips": Case(DepthUNet(stride=4), 32, ("clips",)),
    "joint, paper": Case(PAPER, 16, BOTH, pose="resnet18"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"all if none is given: {'; '.join(CASES)}")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each case")
    parser.add_argument("--table", action="store_true", help="print a Markdown table instead of JSON")
    parser.add_argument("--out", type=Path, help="also write the line to this file")
    arguments = parser.parse_args()
    if unknown := set(arguments.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there is: {'; '.join(CASES)}")
    torch.set_num_threads(1)
    made_by = origin()  # now: by the end of the run the source tree may have moved on
    result = {
        "claim": "CPU seconds of one thread for one optimiser step",
        "setting": {"encoder": "resnet50", "crop": CROP, "images": [IMAGES, IMAGES], "classes": CLASSES},
        "steps": arguments.steps,
        "cases": {name: measure(CASES[name], arguments.steps) for name in arguments.cases or CASES},
        "origin": made_by,
    }
    print(table(result["cases"]) if arguments.table else json.dumps(result))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result) + "\n", encoding="utf-8")


def measure(case: Case, steps: int) -> dict[str, Any]:
    """CPU seconds and GFLOP of one step, and the passes it is made of."""
    torch.manual_seed(0)
    loop = Loop(batch=IMAGES, device="cpu", precision="fp32", threads=1)
    module = case.step()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(module, {}, loop, Optimiser(name="sgd"), Path(folder), 0, accelerator(loop))
        counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: backward_flop})
        with counter, passes(module) as images:
            seconds(trainer, 0, case)
        times = [seconds(trainer, step, case) for step in range(1, steps + 1)]
    return {
        "cpu_seconds_min": round(min(times), 2),
        "cpu_seconds_median": round(statistics.median(times), 2),
        "cpu_seconds_max": round(max(times), 2),
        "gflop": round(counter.get_total_flops() / 1e9),
        "passes": images,
    }


def seconds(trainer: Trainer, step: int, case: Case) -> float:
    """CPU seconds of one step of the trainer, on batches made before."""
    batches = case.batches(step)
    start = time.process_time()
    trainer._step(step, [batches])
    return time.process_time() - start


@contextmanager
def passes(module: nn.Module) -> Iterator[dict[str, list[int]]]:
    """The number of images (for the pose network: of pairs) in each pass; teachers go forward only."""
    found: dict[str, list[int]] = {}
    networks = {"student": module.network, "teacher": module.ema.network}
    parts = {name: network.encoders["shared"] for name, network in networks.items()}
    for name, part in module.named_modules():
        if name == "objectives.photometric.pose":
            parts["pose"] = part
    hooks = [
        part.register_forward_pre_hook(lambda _, inputs, name=name: found.setdefault(name, []).append(len(inputs[0])))
        for name, part in parts.items()
    ]
    yield found
    for hook in hooks:
        hook.remove()


def backward_flop(gradient: Shape, _x: Shape, weight: Shape, *others: Any, out_shape: Any = None) -> int:
    """FLOP of a convolution's backward pass; PyTorch's own formula takes grouped convolutions for dense ones.

    As many as forward for the gradient of the input, and again for that of the weight, if they are asked for.
    """
    to_input, to_weight, _ = others[-1]
    return 2 * math.prod(gradient) * math.prod(weight[1:]) * (to_input + to_weight)


def table(cases: dict[str, dict[str, Any]]) -> str:
    """The cases as Markdown."""
    lines = ["| case | CPU-s, smallest | CPU-s, median | GFLOP | passes |", "|---|---|---|---|---|"]
    for name, case in cases.items():
        times = f"{case['cpu_seconds_min']:.1f} | {case['cpu_seconds_median']:.1f}"
        made = ", ".join(f"{part} {' + '.join(map(str, images))}" for part, images in case["passes"].items())
        lines.append(f"| {name} | {times} | {case['gflop']} | {made} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
