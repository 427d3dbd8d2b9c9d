"""Farthest-point picking over two actors of Ray, and what it would take for pools of 10^7 and 10^8 images on N nodes.

    python benchmarks/farthest_point.py [--rows 1000000] [--out results/farthest_point.json]
    python benchmarks/farthest_point.py --table results/farthest_point.json

1,000 picks from 1,000,000 x 256 features (float16, memory-mapped, 10,000 places as in video), by two actors of one
thread each and by one process of one thread; both must pick the same rows. A pass compares all rows with m new picks;
its processor time is a + b m for each row of an actor. `--table` works out larger pools from a and b, the passes and
the reading measured here: rows are shared out evenly over nodes with two free cores, features lie in memory, and what
the actors send and are sent at each pass goes through one link.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from selection import Counted, make

from fathomseg.parallel import open_engine
from fathomseg.parallel.base import Actor, all_of
from fathomseg.selection.picker import block_rows
from fathomseg.selection.shard import CANDIDATES, Shard, cut
from fathomseg.study.terminal import duration
from fathomseg.training.run_folder import origin

WIDTH: Final = 256
ACTORS: Final = 2
CENTRES: Final = (1, 64, 512)
NODES: Final = (1, 4, 16, 64)
LINK_BYTES_S: Final = 1.25e9
"""An assumption: 10 Gbit/s to the process that picks."""
ROW_BYTES: Final = 2 * WIDTH + 4 + 4 + 8 + 1 + 8
"""Of a row in an actor: features, squared length, squared distance, nearest, taken, score."""


class Measured(Shard):
    """Says what memory its process has needed."""

    def peak_gib(self) -> float:
        """With the pages of the file that are mapped."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

    def cpu_seconds(self) -> float:
        """Of its process so far."""
        return time.process_time()


def load(path: Path, rows: tuple[int, int], step: int) -> Measured:
    """A shard in an actor."""
    return Measured(np.load(path, mmap_mode="c")[slice(*rows)], rows[0], "cpu", step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--picks", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="also write the line to this file")
    parser.add_argument("--table", type=Path, help="measure nothing: the estimates from this file")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(json.loads(arguments.table.read_text(encoding="utf-8"))))
        return
    line = json.dumps({**measure(arguments.rows, arguments.picks), "origin": origin()})
    print(line)
    if arguments.out:
        arguments.out.write_text(line + "\n", encoding="utf-8")


def measure(rows: int, picks: int) -> dict[str, Any]:
    """Times and memory of the actors, and of one process."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = make(Path(folder) / "features.npy", rows, WIDTH, places=max(1, rows // 100))
        features = np.load(path, mmap_mode="c")
        step = block_rows(WIDTH, CANDIDATES)
        with open_engine("ray") as engine:
            shards = [engine.actor(load, path, part, step, retries=0) for part in cut(rows, step, ACTORS)]
            reading = spent(shards, ("sums",))
            found, seconds, passes = picked(features, picks, shards)
            peaks = all_of(shards, "peak_gib")
            centres = {m: pass_seconds(features, shards, m) for m in CENTRES}
        alone, alone_seconds, _ = picked(features, picks, None)
    return {
        "rows": rows,
        "width": WIDTH,
        "picks": picks,
        "actors": ACTORS,
        "passes": passes,
        "reading_cpu_seconds": round(reading, 3),
        "picking_wall_seconds": round(seconds, 2),
        "one_process_wall_seconds": round(alone_seconds, 2),
        "load_average": os.getloadavg()[0],
        "same_rows": found == alone,
        "pass_cpu_seconds": {m: round(value, 3) for m, value in centres.items()},
        "rows_per_second_of_two_cores": {m: round(rows / value) for m, value in centres.items()},
        "actor_peak_rss_gib": [round(one, 3) for one in peaks],
    }


def picked(features: np.ndarray, picks: int, shards: list[Actor] | None) -> tuple[list[int], float, int]:
    """The rows, the seconds from the mean of the pool to the last pick, and how often the pool was compared."""
    began = time.perf_counter()
    picker = Counted(features, shards=shards)
    picker.take([picker.central()])
    rows = [pick.row for pick in picker.pick(picks - 1)]
    return rows, time.perf_counter() - began, picker.passes


def pass_seconds(features: np.ndarray, shards: list[Actor], count: int) -> float:
    """One pass that finds the candidates and compares all rows with `count` others."""
    rows = np.arange(count)
    centres = features[rows].astype(np.float32)
    return spent(shards, ("best", CANDIDATES), ("update", rows, centres))


def spent(shards: list[Actor], *calls: tuple[Any, ...]) -> float:
    """Processor seconds of calls, of the actor that takes longest: what else runs on the machine does not count."""
    before = all_of(shards, "cpu_seconds")
    for call in calls:
        all_of(shards, *call)
    return max(now - then for now, then in zip(all_of(shards, "cpu_seconds"), before, strict=True))


def estimate(found: dict[str, Any], rows: int, nodes: int, passes: int) -> tuple[float, float]:
    """Seconds of picking, and GiB on each node, of which each has as many actors as were measured."""
    each = found["rows"] / found["actors"]
    first, last = CENTRES[0], CENTRES[-1]
    times = {int(m): value / each for m, value in found["pass_cpu_seconds"].items()}
    b = (times[last] - times[first]) / (last - first)
    a = times[first] - first * b
    actors = nodes * found["actors"]
    reading = (
        3 * found["reading_cpu_seconds"] / each * rows / actors
    )  # to check them, for their mean, for what is near it
    message = CANDIDATES * (4 * WIDTH + 28) + found["picks"] / passes * 4 * WIDTH
    sent = passes * actors * message / LINK_BYTES_S
    return reading + rows / actors * (passes * a + found["picks"] * b) + sent, rows / nodes * ROW_BYTES / 2**30


def table(found: dict[str, Any]) -> str:
    """As Markdown: with as many passes as were measured, and at worst, with one for each pick."""
    lines = ["| images | nodes | picking | one pass a pick | memory of a node |", "|---|---|---|---|---|"]
    for rows in (found["rows"], 10**7, 10**8):
        for nodes in NODES:
            usual, memory = estimate(found, rows, nodes, found["passes"])
            worst, _ = estimate(found, rows, nodes, found["picks"])
            lines.append(
                f"| {rows:.0e} | {nodes} | {duration(usual / 60)} | {duration(worst / 60)} | {memory:.1f} GiB |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
