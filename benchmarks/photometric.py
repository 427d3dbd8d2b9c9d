"""How much faster the photometric loss is than its formula computed scale by scale, as one JSON line.

    OMP_NUM_THREADS=1 python benchmarks/photometric.py [--runs 11] [--out results/photometric.json]

Forward and backward on the CPU, pixels 640 x 192, batch 4, two sources, four scales. Both variants get the same inputs
and take turns; times are CPU seconds of one thread, medians over the runs. The reference below is the textbook: at each
scale and for each source a grid by matrix products, one warp, SSIM from five averages, and the errors of the unmoved
sources again. Before anything is timed, values and gradients of the two are compared in float64, without the noise
that breaks the automask's ties.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from fathomseg.geometry.pose import se3
from fathomseg.losses.photometric import PhotometricLoss
from fathomseg.training.run_folder import origin

HEIGHT, WIDTH, BATCH, SOURCES, SCALES = 192, 640, 4, 2, 4


@dataclass
class Inputs:
    """One batch: images 0..1, sigmoid disparities from fine to coarse, and motions to both sources."""

    target: Tensor
    sources: Tensor
    disparities: list[Tensor]
    K: Tensor
    axis_angle: Tensor
    translation: Tensor

    @property
    def leaves(self) -> list[Tensor]:
        """What gets a gradient."""
        return [*self.disparities, self.axis_angle, self.translation]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=11, help="timed runs of each variant")
    parser.add_argument("--out", type=Path, help="also write the line to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    difference = compare()
    inputs = make()
    variants = {"reference": lambda: step(inputs, reference), "ours": lambda: step(inputs, ours)}
    seconds = {name: [] for name in variants}
    for _ in range(arguments.runs):
        for name, run in variants.items():
            seconds[name].append(timed(run))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    result = {
        "claim": "photometric loss, forward + backward, against the textbook formula scale by scale",
        "setting": {"height": HEIGHT, "width": WIDTH, "batch": BATCH, "sources": SOURCES, "scales": SCALES},
        "cpu_seconds_median": {name: round(value, 4) for name, value in medians.items()},
        "cpu_seconds_min_max": {name: [round(min(v), 4), round(max(v), 4)] for name, v in seconds.items()},
        "ratio": round(medians["reference"] / medians["ours"], 2),
        "runs": arguments.runs,
        "relative_difference_float64": difference,
        "origin": origin(),
    }
    line = json.dumps(result)
    print(line)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(line + "\n", encoding="utf-8")


def make() -> Inputs:
    """Smooth random images that move a little between frames, and disparities of a scene 2 to 50 m away."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(BATCH * (1 + SOURCES), 3, HEIGHT // 4, WIDTH // 4, generator=generator)
    images = F.interpolate(coarse, (HEIGHT, WIDTH), mode="bilinear").unflatten(0, (BATCH, 1 + SOURCES))
    disparities = []
    for scale in range(SCALES):
        size = (HEIGHT >> scale, WIDTH >> scale)
        noise = torch.rand(BATCH, 1, HEIGHT >> 4, WIDTH >> 4, generator=generator)
        disparities.append((0.001 + 0.05 * F.interpolate(noise, size, mode="bilinear")).requires_grad_())
    K = torch.tensor([[0.58 * WIDTH, 0, WIDTH / 2 - 0.5], [0, 1.92 * HEIGHT, HEIGHT / 2 - 0.5], [0, 0, 1]])
    motion = torch.randn(2, BATCH, SOURCES, 3, generator=generator) * torch.tensor([0.01, 0.1]).view(2, 1, 1, 1)
    axis_angle, translation = (part.clone().requires_grad_() for part in motion)
    return Inputs(images[:, 0], images[:, 1:], disparities, K.expand(BATCH, 3, 3), axis_angle, translation)


def poses(inputs: Inputs) -> Tensor:
    flat = se3(inputs.axis_angle.flatten(0, 1), inputs.translation.flatten(0, 1))
    return flat.unflatten(0, (BATCH, SOURCES))


def ours(inputs: Inputs, noise: float = 1e-5) -> Tensor:
    loss = PhotometricLoss(tie_breaker=noise)
    result = loss(inputs.target, inputs.sources, inputs.disparities, inputs.K, poses(inputs), (0.1, 100.0))
    return sum((term.weight * term.sum / term.count for term in result.terms.values()), torch.zeros(()))


def reference(inputs: Inputs, noise: float = 1e-5) -> Tensor:
    """The loss as the formulas read, one scale and one source at a time."""
    transforms, total = poses(inputs), torch.zeros(())
    for scale, small in enumerate(inputs.disparities):
        disparity = F.interpolate(small, (HEIGHT, WIDTH), mode="bilinear", align_corners=False)
        depth = 1 / (1 / 100 + (1 / 0.1 - 1 / 100) * disparity)
        warped, still = [], []
        for s in range(SOURCES):
            points = backproject(depth, torch.linalg.inv(inputs.K))
            grid = project(points, inputs.K, transforms[:, s])
            view = F.grid_sample(inputs.sources[:, s], grid, padding_mode="border", align_corners=True)
            warped.append(photometric_error(view, inputs.target))
            still.append(photometric_error(inputs.sources[:, s], inputs.target))
        identity = torch.cat(still, 1)
        identity = identity + torch.randn(identity.shape) * noise
        total = total + torch.cat([identity, *warped], 1).min(1).values.mean()
        image = F.interpolate(inputs.target, small.shape[-2:], mode="area")
        total = total + 1e-3 / 2**scale * smooth(small / (small.mean((2, 3), keepdim=True) + 1e-7), image)
    return total / len(inputs.disparities)


def backproject(depth: Tensor, inverse_K: Tensor) -> Tensor:
    """Homogeneous points, b x 4 x pixels."""
    v, u = torch.meshgrid(torch.arange(float(HEIGHT)), torch.arange(float(WIDTH)), indexing="ij")
    pixels = torch.stack([u.flatten(), v.flatten(), torch.ones(HEIGHT * WIDTH)]).expand(len(depth), 3, -1)
    points = depth.flatten(2) * (inverse_K @ pixels)
    return torch.cat([points, torch.ones_like(points[:, :1])], 1)


def project(points: Tensor, K: Tensor, src_T_tgt: Tensor) -> Tensor:
    """Sampling positions -1..1, b x h x w x 2."""
    projected = K @ src_T_tgt[:, :3] @ points
    pixels = (projected[:, :2] / projected[:, 2:]).unflatten(2, (HEIGHT, WIDTH)).permute(0, 2, 3, 1)
    return pixels / torch.tensor([WIDTH - 1.0, HEIGHT - 1.0]) * 2 - 1


def photometric_error(x: Tensor, y: Tensor) -> Tensor:
    return 0.85 * ssim_term(x, y).mean(1, True) + 0.15 * (x - y).abs().mean(1, True)


def ssim_term(x: Tensor, y: Tensor) -> Tensor:
    x, y = F.pad(x, (1, 1, 1, 1), mode="reflect"), F.pad(y, (1, 1, 1, 1), mode="reflect")
    mu_x, mu_y = F.avg_pool2d(x, 3, 1), F.avg_pool2d(y, 3, 1)
    var_x = F.avg_pool2d(x * x, 3, 1) - mu_x**2
    var_y = F.avg_pool2d(y * y, 3, 1) - mu_y**2
    covariance = F.avg_pool2d(x * y, 3, 1) - mu_x * mu_y
    numerator = (2 * mu_x * mu_y + 0.01**2) * (2 * covariance + 0.03**2)
    denominator = (mu_x**2 + mu_y**2 + 0.01**2) * (var_x + var_y + 0.03**2)
    return ((1 - numerator / denominator) / 2).clamp(0, 1)


def smooth(disparity: Tensor, image: Tensor) -> Tensor:
    total = torch.zeros(())
    for axis in (-1, -2):
        edges = torch.exp(-image.diff(dim=axis).abs().mean(1, True))
        total = total + (disparity.diff(dim=axis).abs() * edges).mean()
    return total


def step(inputs: Inputs, loss: Callable[..., Tensor], **settings: float) -> tuple[Tensor, ...]:
    """One forward and one backward pass: the value and the gradients."""
    value = loss(inputs, **settings)
    return value.detach(), *torch.autograd.grad(value, inputs.leaves)


def compare() -> dict[str, float]:
    """Difference of the value, and the largest of the gradients' relative to their largest entry, in float64."""
    torch.set_default_dtype(torch.float64)
    inputs = make()
    first, second = step(inputs, reference, noise=0.0), step(inputs, ours, noise=0.0)
    torch.set_default_dtype(torch.float32)
    relative = [float((a - b).abs().max() / a.abs().max()) for a, b in zip(first, second, strict=True)]
    return {"value": relative[0], "gradient": max(relative[1:])}


def timed(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


if __name__ == "__main__":
    main()
