"""KITTI's cameras: projection matrices in its files, and rectified stereo pairs, which turn disparity into depth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final

import numpy as np
from jaxtyping import Float32, Float64, UInt16
from pydantic import Field

from fathomseg import config
from fathomseg.data.datasets.description import CameraEntry
from fathomseg.errors import ConfigError, DataError, Problem
from fathomseg.io.shapes import SPARE, fitted
from fathomseg.text import read_text
from fathomseg.types import Camera, Size

_RAW: Final = "calib_cam_to_cam"
_ODOMETRY_SIZES: Final[Mapping[int, Size]] = {719: (376, 1241), 722: (375, 1242), 707: (370, 1226)}
"""Size of the original images of the odometry benchmark, by their rounded focal length; calib.txt does not say it."""
LEVELS_PER_PIXEL: Final = 256
"""KITTI stores disparity as 16-bit whole numbers, in 1/256 pixel."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """One calibration file: calib_cam_to_cam.txt (raw), calib_cam_to_cam/000000.txt (2015) or calib.txt (odometry).

    Cameras are known by KITTI's numbers, 0 to 3: left and right grayscale, left and right colour.
    """

    path: Path

    def camera(self, number: int, stored: Size) -> Camera:
        """The camera of images stored at this size, whatever size it was calibrated at. Raises `DataError`."""
        projection = self._projection(number)
        focal_x, focal_y, centre = float(projection[0, 0]), float(projection[1, 1]), projection[:2, 2]
        size = self._size(number, focal_x) or stored
        return fitted(
            Camera(focal_x, focal_y, float(centre[0]), float(centre[1]), *size), stored, str(self.path), SPARE
        )

    def position(self, number: int) -> Float64[np.ndarray, " 3"]:
        """Where a camera stands in the coordinates of camera 0, in metres. Raises `DataError`."""
        projection = self._projection(number)
        return np.asarray(-np.linalg.solve(projection[:, :3], projection[:, 3]))

    def baseline(self, left: int, right: int) -> float:
        """How far camera `right` stands from camera `left` along the rows of the images, in metres. Raises `DataError`.

        That is (P_left[0, 3] - P_right[0, 3]) / focal length, so disparity = focal length x baseline / depth.
        """
        projection = self._projection(left)
        baseline = float((projection[0, 3] - self._projection(right)[0, 3]) / projection[0, 0])
        if baseline <= 0:
            reason = f"has a baseline of {baseline:g} m from camera {left} to camera {right}; it must be positive"
            raise DataError([Problem(str(self.path), reason)])
        return baseline

    def _projection(self, number: int) -> Float64[np.ndarray, "3 4"]:
        """K [I | t] of a rectified camera, in pixels and metres."""
        return self._row(f"P_rect_{number:02d}" if self._is_raw else f"P{number}", 12).reshape(3, 4)

    def _size(self, number: int, focal_px: float) -> Size | None:
        """(height, width) of the images the numbers were measured on."""
        if not self._is_raw:
            return _ODOMETRY_SIZES.get(round(focal_px))
        width, height = self._row(f"S_rect_{number:02d}", 2)
        return int(height), int(width)

    @property
    def _is_raw(self) -> bool:
        return _RAW in (self.path.stem, self.path.parent.name)

    def _row(self, key: str, count: int) -> Float64[np.ndarray, " count"]:
        row = self._rows.get(key)
        if row is None or len(row) != count or not np.isfinite(row).all() or row[0] <= 0:
            reason = f"is not a calibration file of KITTI; expected a line {key!r} with {count} numbers"
            raise DataError([Problem(str(self.path), reason)])
        return row

    @cached_property
    def _rows(self) -> Mapping[str, Float64[np.ndarray, " n"]]:
        """The rows of numbers by their names; rows of text, such as the date, are left out."""
        rows = {}
        for line in read_text(self.path).splitlines():
            key, _, text = line.partition(":")
            try:
                rows[key.strip()] = np.array([float(word) for word in text.split()])
            except ValueError:
                continue
        return rows


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
