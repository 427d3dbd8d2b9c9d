"""The example runs where neither PyTorch nor fathomseg can be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from fathomseg.io.video import read_frame, video_index
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


def test_a_video_becomes_a_video(tmp_path: Path) -> None:
    """Left half red and near, right half blue and far, as the known network sees it."""
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:, :32, 0], frame[:, 32:, 2] = 255, 255
    model, out = save_known(tmp_path / "known.onnx"), tmp_path / "seen.mp4"
    done = run(model, make_video(tmp_path / "drive.mp4", [frame] * 5), "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("5 frames, ")
    assert (video_index(out).frames, video_index(out).size) == (5, (24, 64))
    seen = read_frame(out, 2).astype(int)
    classes, depth = seen[:, :32], seen[:, 32:]
    assert classes[12, 6, 0] > 150 > 100 > classes[12, 6, 2]
    assert classes[12, 26, 2] > 150 > 100 > classes[12, 26, 0]
    assert depth[12, 6].sum() > 400 > 100 > depth[12, 26].sum()


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    done = run(save_known(tmp_path / "known.onnx"), tmp_path / "none.mp4", "--out", tmp_path / "seen.mp4")
    assert done.returncode == 1
    assert "no frame could be read" in done.stderr
    assert not (tmp_path / "seen.mp4").exists()
