"""The example runs where neither PyTorch nor fathomseg can be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from fathomseg.io.video import read_frame, video_index
from fathomseg.types import Size
from tests.fakes import make_video
from tests.inference.tiny_onnx import save_known

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "onnx_video.py"
ALONE = """
import runpy, sys
for name in ("torch", "fathomseg", "timm", "onnx"):
    sys.modules[name] = None  # an import of it fails
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ALONE, str(EXAMPLE), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def metric(model: Any) -> None:
    """Metadata that says that the output is a depth in metres, and that the network is used at half the size."""
    depth = {"nearest": 0.1, "farthest": 100.0, "unit": "metres", "depth": "the output, within these limits"}
    known = {entry.key: entry.value for entry in model.metadata_props}
    inference = json.loads(known["inference"]) | {"size": [12, 16]}
    onnx.helper.set_model_props(model, {**known, "depth": json.dumps(depth), "inference": json.dumps(inference)})


@pytest.mark.parametrize(("change", "size"), [(lambda model: None, (24, 32)), (metric, (12, 16))])
def test_a_video_becomes_a_video(tmp_path: Path, change: Callable[[Any], object], size: Size) -> None:
    """Left half red, right half blue; the known network takes red for disparity, or for metres."""
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:, :32, 0], frame[:, 32:, 2] = 255, 255
    model, out = save_known(tmp_path / "known.onnx", change=change), tmp_path / "seen.mp4"
    done = run(model, make_video(tmp_path / "drive.mp4", [frame] * 5), "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("5 frames, ")
    height, width = size
    assert (video_index(out).frames, video_index(out).size) == (5, (height, 2 * width))
    seen = read_frame(out, 2).astype(int)
    classes, depth = seen[:, :width], seen[:, width:]
    row, left, right = height // 2, width // 5, width - width // 5
    assert classes[row, left, 0] > 150 > 100 > classes[row, left, 2]
    assert classes[row, right, 2] > 150 > 100 > classes[row, right, 0]
    near, far = (left, right) if size == (24, 32) else (right, left)
    warmth = depth[row, :, 0] - depth[row, :, 2]
    assert warmth[near] > 60
    assert warmth[far] < 30


def with_normals(model: Any) -> None:
    """Metadata as it was, and as the only output the normals 2 RGB - 1."""
    make, constant, graph = onnx.helper.make_node, onnx.numpy_helper.from_array, model.graph
    graph.node.extend([make("Mul", ["cells", "two"], ["twice"]), make("Sub", ["twice", "one"], ["normals"])])
    graph.initializer.extend([constant(np.float32(2), "two"), constant(np.float32(1), "one")])
    del graph.output[:]
    graph.output.append(onnx.helper.make_tensor_value_info("normals", onnx.TensorProto.FLOAT, ["n", 3, "h", "w"]))


def test_normals_to_the_right_are_red(tmp_path: Path) -> None:
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:, :32, 0], frame[:, 32:, 2] = 255, 255
    model, out = save_known(tmp_path / "known.onnx", change=with_normals), tmp_path / "seen.mp4"
    done = run(model, make_video(tmp_path / "drive.mp4", [frame] * 5), "--out", out)
    assert done.returncode == 0, done.stderr
    seen = read_frame(out, 2).astype(int)
    assert seen[12, 6, 0] > 150 > 100 > seen[12, 6, 2]
    assert seen[12, 26, 2] > 150 > 100 > seen[12, 26, 0]


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    done = run(save_known(tmp_path / "known.onnx"), tmp_path / "none.mp4", "--out", tmp_path / "seen.mp4")
    assert done.returncode == 1
    assert "no frame could be read" in done.stderr
    assert not (tmp_path / "seen.mp4").exists()
