"""Depth maps that any program has stored, found by the names of the samples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from fathomseg.errors import DataError, Problem
from fathomseg.evaluation.stored import ByName
from fathomseg.geometry.camera import inverse_depth
from fathomseg.io.depth_maps import read_disparity, read_scale
from fathomseg.metrics.depth import DepthProtocol


@dataclass(frozen=True)
class DepthFromFolder:
    """Depth as 16-bit disparity PNGs (as `fathom predict` writes them) or as .npy files of metres.

    `depth_range` is the depth of disparity 1 and of 0 where no depth.json lies with the PNGs. Maps of another size than
    the truth are resampled in inverse depth, as the predictions of a network are. `ids` are those of the whole split.
    """

    folder: Path
    ids: tuple[str, ...]
    depth_range: tuple[float, float]
    protocol: DepthProtocol

    def read(self, id: str) -> Float32[np.ndarray, "h w"]:
        """Inverse depth; 0 or NaN where nothing was predicted. Raises `DataError`."""
        path = self._files.path(id)
        if path.suffix.lower() == ".npy":
            return _inverse(_metres(path))
        disparity = torch.from_numpy(read_disparity(path))
        return inverse_depth(disparity, *self._range).numpy()

    def predict(
        self, id: str, stored: Float32[np.ndarray, "h2 w2"], truth: Float[np.ndarray, "h w"]
    ) -> Float32[Tensor, "h w"]:
        """Depth at the size of the truth. Raises `DataError` if it is missing at a pixel that counts."""
        inverse = torch.from_numpy(stored)
        if stored.shape != truth.shape:
            inverse = F.interpolate(inverse[None, None], truth.shape, mode="bilinear", align_corners=False)[0, 0]
        missing = ~(torch.isfinite(inverse) & (inverse > 0)) & self.protocol.valid(torch.tensor(truth))
        if count := int(missing.sum()):
            reason = f"holds no positive depth at {count} pixels whose true depth counts"
            raise DataError([Problem(str(self._files.path(id)), reason)])
        return 1 / inverse

    @cached_property
    def _files(self) -> ByName:
        return ByName(self.folder, self.ids, (".png", ".npy"))

    @cached_property
    def _range(self) -> tuple[float, float]:
        return read_scale(self.folder) or self.depth_range


def _metres(path: Path) -> Float[np.ndarray, "h w"]:
    """The depth map in a .npy file. Raises `DataError` if it holds something else."""
    try:
        depth = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError([Problem(str(path), f"cannot be read as .npy ({error})")]) from None
    if not isinstance(depth, np.ndarray) or depth.ndim != 2 or depth.dtype.kind != "f" or not depth.size:
        what = f"{depth.dtype} of shape {depth.shape}" if isinstance(depth, np.ndarray) else "an archive"
        raise DataError([Problem(str(path), f"holds {what}; expected floating-point depth of height x width, metres")])
    return depth


def _inverse(depth: Float[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    inverse = np.zeros(depth.shape, np.float32)
    np.divide(1, depth, out=inverse, where=np.isfinite(depth) & (depth > 0), casting="unsafe")
    return inverse
