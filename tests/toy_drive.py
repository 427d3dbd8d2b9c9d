"""A data set worked by hand: grey frames whose brightness is their number, with depth and poses known in full."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from fathomseg.data.datasets.base import Dataset
from fathomseg.types import ClassList

SIZE = (6, 8)


class ToyDrive(Dataset):
    """Clips "c0", "c1" ... of `lengths` frames; every frame moves 1.5 m ahead and turns a little."""

    name: Literal["toy"] = "toy"
    lengths: tuple[int, ...] = (7,)
    poses: bool = True
    depth_from: int = 0
    """The first frame of each clip that has depth."""

    @property
    def classes(self) -> ClassList:
        return ClassList(("a", "b"), ((0, 0, 0), (1, 1, 1)))

    @property
    def splits(self) -> tuple[str, ...]:
        return ("val",)

    def ids(self, split: str) -> list[str]:
        return [f"c{clip}/{frame:02d}" for clip, length in enumerate(self.lengths) for frame in range(length)]

    def image(self, id: str) -> np.ndarray:
        return np.full((*SIZE, 3), 10 + int(id[-2:]), np.uint8)

    def depth(self, id: str) -> np.ndarray | None:
        """2 m on the left, 8 m on the right, unknown in the first row."""
        if int(id[-2:]) < self.depth_from:
            return None
        depth = np.full(SIZE, 2, np.float32)
        depth[:, 4:] = 8
        depth[0] = 0
        return depth

    def world_T_cam(self, id: str) -> np.ndarray | None:
        return world_T_cam(int(id[-2:])) if self.poses else None

    def neighbour(self, id: str, offset: int) -> str | None:
        clip, frame = id.split("/")
        other = int(frame) + offset
        return f"{clip}/{other:02d}" if 0 <= other < self.lengths[int(clip[1:])] else None


def motion(frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Axis-angle and translation of after_T_before from this frame to the next."""
    return np.array([0.0, 0.02 * (frame + 1), 0.0]), np.array([0.05 * frame, 0.0, -1.5])


def world_T_cam(frame: int) -> np.ndarray:
    """Rotation about y and translation, multiplied up from the first frame, which is turned and moved itself."""
    pose = np.eye(4)
    pose[:3, 3] = 3, -1, 40
    for number in range(frame):
        axis_angle, translation = motion(number)
        c, s = np.cos(axis_angle[1]), np.sin(axis_angle[1])
        after_T_before = np.array([[c, 0, s, translation[0]], [0, 1, 0, 0], [-s, 0, c, translation[2]], [0, 0, 0, 1]])
        pose = pose @ np.linalg.inv(after_T_before)
    return pose


class ToyPose(nn.Module):
    """Knows every motion from the brightness of the first frame; its unit is `unit` metres."""

    def __init__(self, unit: float = 1.0, way: float = 1.0) -> None:
        super().__init__()
        self.unit, self.way = unit, way
        self.pairs: list[int] = []

    def forward(self, first: Tensor, second: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
        assert not self.training
        assert K.shape == (len(first), 3, 3)
        numbers = [int(value) - 10 for value in (255 * first.mean((1, 2, 3))).round()]
        assert torch.equal((255 * (second - first).mean((1, 2, 3))).round(), torch.ones(len(first)))
        self.pairs.append(len(numbers))
        turns, moves = zip(*(motion(number) for number in numbers), strict=True)
        axis_angle, translation = (torch.tensor(np.stack(part), dtype=torch.float32) for part in (turns, moves))
        return axis_angle, self.way * translation / self.unit


class ToyDepth(nn.Module):
    """Twice as near on the left half as on the right one."""

    def forward(self, image: Tensor, tasks: Collection[str] = ()) -> dict[str, list[Tensor]]:
        disparity = torch.full_like(image[:, :1], 0.25)
        disparity[..., : image.shape[3] // 2] = 0.5
        return {"depth": [disparity]}
