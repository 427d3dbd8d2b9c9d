"""How long exact greedy picking takes and what memory it needs, as one JSON line.

    OMP_NUM_THREADS=2 python benchmarks/selection.py [--out results/selection_speed.json]

1,000 picks from 100,000 images x 512 features, of two kinds: `clusters`, places of a hundred near-duplicates each as
in video, and `noise`, where all images are about equally far apart. Then a few picks from 1,000,000 x 256. Features
are float16 in a memory-mapped file. Every case runs in a process of its own: `peak_rss_gib` is all its memory, with
the pages of the file that are mapped. `passes` counts how often the pool was read; one pass a pick is what the plain
algorithm needs, `plain_cpu_seconds_a_pick` what such a pass takes. Curves are [picks, CPU seconds so far].
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fathomseg.selection.farthest_first import FarthestFirst
from fathomseg.training.run_folder import origin

CASES = {
    "clusters": {"rows": 100_000, "width": 512, "picks": 1000, "places": 1000},
    "noise": {"rows": 100_000, "width": 512, "picks": 1000, "places": 0},
    "million": {"rows": 1_000_000, "width": 256, "picks": 20, "places": 10_000},
}


class Counted(FarthestFirst):
    """Counts how often the whole pool is compared."""

    passes = 0

    def _update(self, group: Any, rows: Any) -> None:
        self.passes += 1
        super()._update(group, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, help="only this case, in this process")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="also write the line to this file")
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(measure(**CASES[arguments.case], threads=arguments.threads)))
        return
    cases = {}
    for case in CASES:
        command = [sys.executable, __file__, "--case", case, "--threads", str(arguments.threads)]
        cases[case] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    result = {
        "claim": "exact farthest-point picking: 1,000 of 100,000 x 512 in 60 s; 1,000,000 x 256 within 4 GiB",
        "cases": cases,
        "load_average": load,
        "origin": origin(),
    }
    line = json.dumps(result)
    print(line)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(line + "\n", encoding="utf-8")


def measure(rows: int, width: int, picks: int, places: int, threads: int) -> dict[str, Any]:
    """Times and memory of one case."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        features = np.load(make(Path(folder) / "features.npy", rows, width, places), mmap_mode="c")
        began, cpu = time.perf_counter(), time.process_time()
        picker = Counted(features)
        picker.take([picker.central()])
        curve = [[1, round(time.process_time() - cpu, 2)]]
        chosen = 1
        while chosen < picks:
            more = min(max(chosen, 10), picks - chosen)
            picker.pick(more)
            chosen += more
            curve.append([chosen, round(time.process_time() - cpu, 2)])
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        passes, plain = picker.passes, time.process_time()
        picker.pick(1)
        plain = time.process_time() - plain
    return {
        "rows": rows,
        "width": width,
        "picks": picks,
        "threads": threads,
        "cpu_seconds": round(cpu_seconds, 2),
        "wall_seconds": round(seconds, 2),
        "passes": passes,
        "plain_cpu_seconds_a_pick": round(plain, 3),
        "peak_rss_gib": round(peak, 3),
        "growth": curve,
    }


def make(path: Path, rows: int, width: int, places: int, block: int = 10_000) -> Path:
    """Standardised features: `places` centres (0 = none) with small deviations about them, or noise alone."""
    rng = np.random.default_rng(0)
    matrix = np.lib.format.open_memmap(path, "w+", np.float16, (rows, width))
    centres = rng.standard_normal((places, width), np.float32) if places else None
    for start in range(0, rows, block):
        noise = rng.standard_normal((min(block, rows - start), width), np.float32)
        which = rng.integers(places, size=len(noise)) if places else None
        matrix[start : start + len(noise)] = noise if centres is None else 0.95 * centres[which] + 0.3 * noise
    matrix.flush()
    return path


if __name__ == "__main__":
    main()
