"""Rectified stereo pairs: from stored disparity to depth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import numpy as np
from jaxtyping import Float32, UInt16
from pydantic import Field

from fathomseg import config
from fathomseg.data.datasets.description import CameraEntry
from fathomseg.errors import ConfigError, DataError, Problem
from fathomseg.types import Camera, Size

LEVELS_PER_PIXEL: Final = 256
"""KITTI stores disparity as 16-bit whole numbers, in 1/256 pixel."""


@dataclass(frozen=True, slots=True)
class Stereo:
    """A rectified stereo pair: its left camera, and how far the right one stands from it in metres."""

    camera: Camera
    baseline_m: float

    def resized(self, size: Size) -> Stereo:
        """The pair for images stored at another size."""
        return replace(self, camera=self.camera.resized(size))

    def depth(self, disparity: UInt16[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
        """z-depth = focal length x baseline / disparity, in metres; 0 where nothing was measured.

        `disparity` is as KITTI stores it: in 1/256 pixel of the camera's images, 0 = not measured.
        """
        depth = np.zeros(disparity.shape, np.float32)
        product = np.float32(self.camera.fx * self.baseline_m * LEVELS_PER_PIXEL)
        np.divide(product, disparity, out=depth, where=disparity > 0, dtype=np.float32)
        return depth


USUAL: Final = Stereo(Camera(fx=721.5377, fy=721.5377, cx=609.5593, cy=172.854, height=375, width=1242), 0.5327)
"""KITTI's car on 2011_09_26 (most recordings): P_rect_02 of calib_cam_to_cam.txt, and from there to P_rect_03."""


class StereoEntry(CameraEntry):
    """The file `camera.yaml` of a rectified stereo pair."""

    baseline: Annotated[float, Field(gt=0)]
    """How far the right camera stands from the left one, in metres."""


def read_stereo(path: Path) -> Stereo:
    """The pair described by a `camera.yaml`. Raises `DataError` naming every mistake."""
    try:
        entry = config.load(StereoEntry, path)
    except ConfigError as error:
        raise DataError([Problem(str(path), str(error))]) from None
    return Stereo(entry.camera(), entry.baseline)
