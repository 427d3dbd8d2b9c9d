"""What several processes cost one training: measured with two on this machine, estimated for GPUs.

    OMP_NUM_THREADS=1 python benchmarks/scaling.py [--out results/scaling.json]
    python benchmarks/scaling.py --table

Measured: seconds a step of one process of one thread with 2 images, and of two such processes (gloo) with 2 images
each, DDP. Where cores and memory were the processes' own, the second would be the first and what is sent.

Estimated: a step of 0.3 s on one GPU and after it, as if nothing overlapped, what a rank sends in a ring of n. DDP
reduces the gradients, which is 2 (n - 1) / n of 4 bytes for each weight; FSDP gathers the weights twice, reduces their
gradients once, and gathers the teacher's, 4 (n - 1) / n. Overlap makes it better, waiting for data worse.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from fathomseg.training.run_folder import origin

STEPS: Final = 30
GPUS: Final = (2, 8, 32)
LINKS: Final = {"10 Gbit/s": 1.25e9, "200 Gbit/s": 25e9, "NVLink, 400 GB/s": 400e9}
NETWORKS: Final = {"EfficientNet-Lite0 with FPN": 4e6, "ResNet-101 with DeepLabv3+": 60e6, "ViT-L with DPT": 340e6}
"""Weights, about."""
STEP_S: Final = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="also write the line to this file")
    parser.add_argument("--table", action="store_true", help="measure nothing: the estimates")
    arguments = parser.parse_args()
    if arguments.table:
        print(table())
        return
    seconds = {str(count): step_seconds(count) for count in (1, 2)}
    line = json.dumps({"seconds_a_step": seconds, "efficiency": seconds["1"] / seconds["2"], "origin": origin()})
    print(line)
    if arguments.out:
        arguments.out.write_text(line + "\n", encoding="utf-8")


def step_seconds(count: int) -> float:
    """Of a training by so many processes, 2 images each, without its first ten steps."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        settings = [f"train.steps={STEPS}", f"train.batch={2 * count}", "train.log_every=10", "train.device=cpu"]
        settings += ["train.threads=1", "evaluation.every=0", "evaluation.split=null"]
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"] if count > 1 else []
        command = ["-m", "fathomseg.cli", "train", "recipes/streets.yaml", *settings, "--out", str(run)]
        subprocess.run([sys.executable, *launcher, *command], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    spent = {line["step"]: line["seconds"] for line in lines if line["kind"] == "train"}
    return float((spent[STEPS] - spent[10]) / (STEPS - 10))


def table() -> str:
    """As Markdown: the share of the GPUs' time that is not spent sending, DDP / FSDP."""
    lines = [f"| network | link | {' | '.join(f'{n} GPUs' for n in GPUS)} |", f"|---|---|{'---|' * len(GPUS)}"]
    for network, weights in NETWORKS.items():
        for link, bandwidth in LINKS.items():
            cells = [
                f"{efficiency(weights, bandwidth, n, 2):.0%} / {efficiency(weights, bandwidth, n, 4):.0%}" for n in GPUS
            ]
            lines.append(f"| {network} | {link} | {' | '.join(cells)} |")
    return "\n".join(lines)


def efficiency(weights: float, bandwidth: float, gpus: int, times: int) -> float:
    """Of a step after which every rank sends `times` the weights, but for the part that is its own."""
    sending = times * (gpus - 1) / gpus * 4 * weights / bandwidth
    return STEP_S / (STEP_S + sending)


if __name__ == "__main__":
    main()
