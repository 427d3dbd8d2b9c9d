"""What one image costs with each way to run a network, and what `fathom predict` adds to it.

    python benchmarks/latency.py [--run RUN] [--repeats 20] [--frames 200] [--out results/latency.json] [--table]

Without --run: the real-time joint network (recipes/realtime-joint.yaml, with its published encoder) for 40 classes and
depth, with random weights. Every case gets the same 8-bit image and gives logits and metres at a quarter of its size.
The cases take turns, so that whatever else the machine does disturbs all alike. Times are wall milliseconds: the
smallest, the median, and the quartiles as spread; `cpu` is the median of CPU milliseconds of all threads. `floor` is
the time of the network's multiplications at the rate of a float32 matrix product of 1024 x 1024 on as many threads:
what no float32 program is faster than.

End to end is what `fathom predict` does after loading: files are read, predicted, coloured and written, with the run
and with its .onnx, beside the time inside the network.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fathomseg.config import validate
from fathomseg.inference.card import ModelCard, load_model
from fathomseg.inference.export import to_int8, to_onnx
from fathomseg.inference.onnx import INPUT, OnnxNetwork
from fathomseg.inference.predict_folder import Work, find_jobs
from fathomseg.inference.predictor import Predictor
from fathomseg.inference.sources import find_files
from fathomseg.io import draw
from fathomseg.io.video_writer import VideoWriter
from fathomseg.models.network import Network
from fathomseg.tasks.network import NetworkConfig
from fathomseg.training.run_folder import origin
from fathomseg.types import Size

SIZES: Sequence[Size] = ((480, 640), (512, 1024))
THREADS = (1, 2)
PAUSE_S = 0.02
"""Between two cases: the threads of ONNX Runtime spin for a moment after their work."""

Case = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a run folder; otherwise random weights")
    parser.add_argument("--cases", nargs="*", help="only these")
    parser.add_argument("--sizes", nargs="*", default=[f"{w}x{h}" for h, w in SIZES], help="width x height")
    parser.add_argument("--threads", nargs="*", type=int, default=THREADS)
    parser.add_argument("--repeats", type=int, default=20, help="timed calls of each case")
    parser.add_argument("--frames", type=int, default=200, help="images, and frames of the video, end to end; 0 = none")
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    parser.add_argument("--table", action="store_true", help="print Markdown tables instead of JSON")
    arguments = parser.parse_args()
    made_by = origin()
    card, network = load_model(arguments.run) if arguments.run else random_network()
    network.eval()
    sizes = [(int(h), int(w)) for w, h in (text.split("x") for text in arguments.sizes)]
    with tempfile.TemporaryDirectory() as name:
        models = exported(network, card, sizes[0], Path(name))
        result: dict[str, Any] = {
            "claim": "milliseconds of one image by each way to run a network, and of fathom predict around it",
            "network": card.network.model_dump(mode="json"),
            "weights": str(arguments.run) if arguments.run else "random",
            "repeats": arguments.repeats,
            "versions": {"onnxruntime": onnxruntime.__version__},
            "latency": [],
            "end_to_end": [],
            "origin": made_by,
        }
        for threads in arguments.threads:
            for size in sizes:
                rows = latency(network, card, models, size, threads, arguments.repeats, arguments.cases)
                store(result, "latency", rows, arguments.out)
        for threads in arguments.threads if arguments.frames else ():
            rows = end_to_end(network, card, models, sizes[0], threads, arguments.frames, Path(name))
            store(result, "end_to_end", rows, arguments.out)
    print(tables(result) if arguments.table else json.dumps(result))


def store(result: dict[str, Any], part: str, rows: Iterable[dict[str, Any]], out: Path | None) -> None:
    """Add rows as they come, and write what there is: all of them take many minutes."""
    for row in rows:
        result[part].append(row)
        if out:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def random_network() -> tuple[ModelCard, Network]:
    """The real-time network of Nekrasov et al. 2019 with 40 classes and depth."""
    encoder = {"model": "mobilenetv2_100", "pretrained": "none", "taps": "stages"}
    segmentation = {"decoder": {"name": "lw_refinenet"}, "head": "separable", "dropout": 0.0}
    depth = {"decoder": "shared", "head": "separable", "output": "metric"}
    tasks = {"segmentation": segmentation, "depth": depth}
    config = validate(NetworkConfig, {"encoder": encoder, "tasks": tasks})
    classes = tuple(f"class {i}" for i in range(40))
    colours = tuple((13 * i % 256, 101 * i % 256, 57 * i % 256) for i in range(40))
    torch.manual_seed(0)
    card = ModelCard(network=config, classes=classes, colours=colours, size=SIZES[0], depth_unit="metres")
    return card, config.build(len(classes))


def photo(size: Size, seed: int = 0) -> np.ndarray:
    """Smooth colours with some noise: compresses like a photograph, not like noise."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((1, 3, 12, 16)))
    fine = nn.functional.interpolate(coarse, size, mode="bicubic").clamp(0, 1)[0].permute(1, 2, 0).numpy()
    return np.clip(255 * fine + rng.normal(0, 4, (*size, 3)), 0, 255).astype(np.uint8)


def exported(network: Network, card: ModelCard, size: Size, folder: Path) -> dict[str, Path]:
    """The .onnx files by precision."""
    import onnx

    model = to_onnx(network, card.tasks, size)
    files = {"onnx": folder / "fp32.onnx", "onnx int8": folder / "int8.onnx"}
    onnx.save(model, files["onnx"])
    onnx.save(to_int8(model, [photo(size, seed) for seed in range(8)]), files["onnx int8"])
    return files


def cases(
    network: Network, card: ModelCard, models: Mapping[str, Path], image: np.ndarray, threads: int
) -> dict[str, Case]:
    """Every way to run the network on one image."""
    pixels, names = torch.from_numpy(image[None]), tuple(card.tasks)
    last = network_of(network, card).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    compiled = torch.compile(last)

    def planes() -> Tensor:
        return pixels.permute(0, 3, 1, 2).float() / 255  # an image of a camera is channels_last already

    found: dict[str, Case] = {
        "eager": lambda: network(planes().contiguous(), names),
        "channels_last": lambda: last(planes(), names),
        "compile": lambda: compiled(planes(), names),
    }
    for name, file in models.items():
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        found[name] = lambda session=session: session.run(None, {INPUT: image[None]})
    if importlib.util.find_spec("openvino") is not None:
        openvino: Any = importlib.import_module("openvino")
        how = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        for name, file in models.items():
            ready = openvino.Core().compile_model(str(file), "CPU", how)
            found[name.replace("onnx", "openvino")] = lambda ready=ready: ready({INPUT: image[None]})
    return found


def network_of(network: Network, card: ModelCard) -> Network:
    """A copy with weights of its own."""
    copy = card.build().eval()
    copy.load_state_dict(network.state_dict())
    return copy


def latency(
    network: Network,
    card: ModelCard,
    models: Mapping[str, Path],
    size: Size,
    threads: int,
    repeats: int,
    only: Sequence[str] | None,
) -> list[dict[str, Any]]:
    """One row for each case at a size and a number of threads, after one call each to warm up."""
    torch.set_num_threads(threads)
    image = photo(size)
    chosen = {n: c for n, c in cases(network, card, models, image, threads).items() if only is None or n in only}
    square = torch.rand(1024, 1024)
    chosen["matmul"] = lambda: square @ square
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            network(torch.from_numpy(image[None]).permute(0, 3, 1, 2) / 255, tuple(card.tasks))
        multiplications = counter.get_total_flops() / 2
        times = turns(chosen, repeats)
    rate = 1024**3 / min(wall for wall, _ in times.pop("matmul"))
    place = {"size": list(size), "threads": threads}
    floor = {"gmac": multiplications / 1e9, "gmac_per_s": rate / 1e9, "ms": 1e3 * multiplications / rate}
    return [{**place, "case": name, **summary(pairs), "floor": floor} for name, pairs in times.items()]


def turns(chosen: Mapping[str, Case], repeats: int) -> dict[str, list[tuple[float, float]]]:
    """(wall, CPU) seconds of every call."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in chosen}
    for repeat in range(-1, repeats):
        for name, case in chosen.items():
            time.sleep(PAUSE_S)
            wall, cpu = time.perf_counter(), time.process_time()
            case()
            if repeat >= 0:
                times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return times


def summary(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    walls = sorted(1e3 * wall for wall, _ in pairs)
    quartiles = statistics.quantiles(walls, n=4) if len(walls) > 1 else walls * 3
    return {
        "ms": {"min": walls[0], "median": statistics.median(walls), "quartiles": [quartiles[0], quartiles[2]]},
        "cpu_ms": statistics.median(1e3 * cpu for _, cpu in pairs),
    }


class Timed(nn.Module):
    """A network that knows how long it has worked."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.seconds = network, 0.0

    def forward(self, *arguments: Any) -> Any:
        """What the network gives."""
        began = time.perf_counter()
        found = self.network(*arguments)
        self.seconds += time.perf_counter() - began
        return found


def end_to_end(
    network: Network, card: ModelCard, models: Mapping[str, Path], size: Size, threads: int, frames: int, folder: Path
) -> Iterator[dict[str, Any]]:
    """`fathom predict` on a folder of JPEGs and on a video of one size, that of the network."""
    torch.set_num_threads(threads)
    pictures = [photo(size, seed) for seed in range(min(frames, 8))]
    sources = {"images": folder / "images", "video": folder / "drive.mp4"}
    if not sources["video"].exists():
        for i in range(frames):
            draw.write(sources["images"] / f"{i:04d}.jpg", pictures[i % len(pictures)])
        with VideoWriter(sources["video"], Fraction(25)) as video:
            for i in range(frames):
                video.add(pictures[i % len(pictures)])
    last = network_of(network, card).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    used: dict[str, nn.Module] = {"run": last, **{n: OnnxNetwork(m, card.tasks, "cpu") for n, m in models.items()}}
    for name, one in used.items():
        for kind, source in sources.items():
            timed = Timed(one)
            predictor = Predictor(timed, card.model_copy(update={"size": size}))
            predictor.predict(pictures[0])  # to warm up
            timed.seconds = 0.0
            with tempfile.TemporaryDirectory() as out:
                jobs, _ = find_jobs(find_files(source, Path(out)), Path(out), predictor.tasks, views=True)
                wall, cpu = time.perf_counter(), time.process_time()
                work = Work(predictor)
                work.do(jobs)
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            each = {"ms": 1e3 * wall / frames, "network_ms": 1e3 * timed.seconds / frames, "cpu_ms": 1e3 * cpu / frames}
            place = {"network": name, "input": kind, "size": list(size), "threads": threads, "frames": work.predicted}
            yield {**place, **each, "per_second": frames / wall}


def tables(result: Mapping[str, Any]) -> str:
    lines = [
        "| width x height | threads | case | ms, median | quartiles | CPU-ms | x floor |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["latency"]:
        height, width = row["size"]
        ms, floor = row["ms"], row["floor"]["ms"]
        low, high = ms["quartiles"]
        lines.append(
            f"| {width} x {height} | {row['threads']} | {row['case']} | {ms['median']:.0f} | {low:.0f} to {high:.0f} "
            f"| {row['cpu_ms']:.0f} | {ms['median'] / floor:.1f} |"
        )
    lines += ["", "| input | threads | network | ms an image | of it in the network | CPU-ms | images/s |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for row in result["end_to_end"]:
        lines.append(
            f"| {row['input']} | {row['threads']} | {row['network']} | {row['ms']:.0f} | {row['network_ms']:.0f} "
            f"| {row['cpu_ms']:.0f} | {row['per_second']:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
