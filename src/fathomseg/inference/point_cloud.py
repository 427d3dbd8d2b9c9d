"""A prediction as points in space: depth and camera give the place of every pixel, the image its colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8

from fathomseg.config import load
from fathomseg.data.datasets.description import CameraEntry
from fathomseg.data.intrinsics import pinhole
from fathomseg.errors import ConfigError, FathomError
from fathomseg.geometry.camera import intrinsics, rays
from fathomseg.inference.card import ModelCard
from fathomseg.io.ply import write_ply
from fathomseg.io.shapes import fitted
from fathomseg.losses.class_groups import SKY, among
from fathomseg.types import Camera, Prediction, Size


@dataclass(frozen=True, slots=True)
class ImageCamera:
    """The camera of images of any size: known for one size, or as a horizontal field of view."""

    given: Camera | float
    words: str
    """What the user gave."""

    @classmethod
    def of(cls, text: str | None, run: Path) -> ImageCamera:
        """`text` is a camera.yaml or degrees; None = the one camera whose focal length the run has learned. Raises
        `FathomError`."""
        if text is None:
            learned = sorted(run.glob("camera-*.yaml")) if run.is_dir() else []
            if len(learned) > 1:
                names = ", ".join(path.name for path in learned)
                raise FathomError(
                    f"{run} has learned several cameras ({names}): say which made the images by --camera "
                    f"{learned[0]}, or --camera DEGREES."
                )
            if not learned:
                raise FathomError(
                    "A point cloud needs the camera of the images, and none is known. Give --camera FILE, a "
                    "camera.yaml with width, height, fx, fy, cx and cy in pixels, or --camera DEGREES, the horizontal "
                    "field of view (phones have 60 to 75)."
                )
            text = str(learned[0])
        try:
            degrees = float(text)
        except ValueError:
            return cls(load(CameraEntry, Path(text)).camera(), text)
        if not 1 < degrees < 175:
            raise ConfigError(f"--camera {text} is taken for a horizontal field of view: give 1 to 175 degrees.")
        return cls(degrees, text)

    def camera(self, size: Size, where: str) -> Camera:
        """That of an image of this size. Raises `DataError` naming `where` if its shape is another."""
        return pinhole(size, self.given) if isinstance(self.given, float) else fitted(self.given, size, where)


@dataclass(frozen=True, slots=True)
class PointCloud:
    """Where the points of one image go, its camera, and how far away points may be."""

    path: Path
    image_camera: ImageCamera
    max_depth: float | None = None
    """In the unit of the depth; None = any."""

    def write(self, picture: UInt8[np.ndarray, "h w 3"], prediction: Prediction, card: ModelCard) -> None:
        """Write the PLY: x right, y down, z forward, in the unit of the depth, which a comment names; the class of a
        point is the id that label files of the dataset store."""
        assert prediction.depth is not None, "the task was predicted"
        sky = () if card.known_classes is None else among(SKY, card.known_classes.names)
        camera = self.image_camera.camera(picture.shape[:2], str(self.path))
        points, kept = points_of(prediction, camera, sky, self.max_depth)
        comments, ids = [f"unit {card.depth_unit or 'relative'}; x right, y down, z forward"], None
        if prediction.label is not None:
            known = card.class_list
            ids = np.asarray(known.stored_ids, np.uint16)[prediction.label[kept]]
            comments += [f"class {id} {name}" for id, name in zip(known.stored_ids, known.names, strict=True)]
        write_ply(self.path, points, picture[kept], ids, comments)


def points_of(
    prediction: Prediction, camera: Camera, sky: Sequence[int] = (), max_depth: float | None = None
) -> tuple[Float32[np.ndarray, "n 3"], Bool[np.ndarray, "h w"]]:
    """The point of every pixel in the camera's frame, row by row, and which pixels have one: what is as far as the
    network can say (disparity 0) has none, nor what is labelled as one of the classes `sky` or beyond `max_depth`, in
    the unit of the depth."""
    assert prediction.depth is not None, "points need a depth"
    depth = torch.from_numpy(np.ascontiguousarray(prediction.depth))
    points = rays(intrinsics([camera]), (camera.height, camera.width))[0] * depth
    kept = np.isfinite(prediction.depth) & (prediction.depth > 0)
    if prediction.disparity is not None:
        kept &= prediction.disparity > 0
    if prediction.label is not None:
        kept &= ~np.isin(prediction.label, sky)
    if max_depth is not None:
        kept &= prediction.depth <= max_depth
    return points.permute(1, 2, 0).numpy()[kept], kept


def refuse_unfit(card: ModelCard, tasks: set[str], run: str) -> None:
    """Raise `FathomError` for predictions whose points would be somewhere else."""
    if "depth" not in tasks:
        raise FathomError(f"{run} predicts no depth here, so there are no points; leave out --pointcloud.")
    if card.depth_alignment == "scale_shift":
        raise FathomError(
            f"The depth of {run} was learned up to a scale and a shift of 1 / depth, so its points would be bent. "
            "Leave out --pointcloud; with two known distances per image, `fathomseg.align` in Python gives metres."
        )
