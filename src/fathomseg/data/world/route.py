"""Where the street runs, and where the camera is at every frame of a clip.

The street is a chain of straight pieces (chunks) of 20 m with small turns between them. A place on it is (along,
across): metres from its start, and metres to the right of its middle line. Traffic keeps to the right.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float64

from fathomseg.data.world.dice import Dice
from fathomseg.data.world.domains import DOMAINS, Domain, DomainName
from fathomseg.data.world.ground import CHUNK_M
from fathomseg.data.world.mesh import turn

_START_M = 2.5 * CHUNK_M
_BLOCK = 256
"""Tables are computed for a multiple of this many frames or chunks; a longer table begins with the shorter one."""

Rotation = Float64[np.ndarray, "3 3"]
Vector = Float64[np.ndarray, " 3"]


@dataclass(frozen=True)
class Clip:
    """The name of one endless drive; everything in it is a pure function of these three and the frame."""

    domain: DomainName
    seed: int
    metres_per_frame: float

    @property
    def look(self) -> Domain:
        """The settings of the domain."""
        return DOMAINS[self.domain]

    def dice(self, *key: int) -> Dice:
        """Draws that belong to this clip."""
        return Dice(self.seed, list(DOMAINS).index(self.domain), *key)


@dataclass(frozen=True)
class Pose:
    """A rigid motion: point_here = rotation @ point_there + shift, metres."""

    rotation: Rotation
    shift: Vector

    def inverse(self) -> Pose:
        """The motion back."""
        return Pose(self.rotation.T, -self.rotation.T @ self.shift)

    def after(self, first: Pose) -> Pose:
        """This motion applied after `first`."""
        return Pose(self.rotation @ first.rotation, self.rotation @ first.shift + self.shift)

    def matrix(self) -> Float64[np.ndarray, "4 4"]:
        """The homogeneous 4x4 matrix."""
        full = np.eye(4)
        full[:3, :3], full[:3, 3] = self.rotation, self.shift
        return full


@lru_cache(maxsize=8192)
def world_T_chunk(clip: Clip, index: int) -> Pose:
    """Pose of a chunk's own frame: origin on the middle line where the chunk begins, z along it. Index may be < 0."""
    headings, nodes = _chain(clip, max(index, 0) // _BLOCK + 1)
    return Pose(turn(float(headings[index + 1])), np.array([nodes[index + 1, 0], 0.0, nodes[index + 1, 1]]))


def turns(clip: Clip, index: int) -> tuple[float, float]:
    """The angles (radians, positive to the right) by which the street turns where a chunk begins and where it ends."""
    headings, _ = _chain(clip, (max(index, 0) + 1) // _BLOCK + 1)
    before, here, after = headings[index], headings[index + 1], headings[index + 2]
    return float(here - before), float(after - here)


@lru_cache(maxsize=256)
def _chain(clip: Clip, blocks: int) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, "n 2"]]:
    """Heading and start (x, z) of chunks -1, 0, 1, ... Headings are two slow waves, so the street never closes."""
    dice = clip.dice(2)
    step = np.arange(-1, blocks * _BLOCK + 2, dtype=np.float64)
    headings = np.zeros_like(step)
    for _ in range(2):
        period, phase = dice.uniform(13.0, 34.0), dice.uniform(0.0, 2.0 * np.pi)
        headings += dice.uniform(0.25, 0.75) * 0.034 * period / np.pi * np.sin(2.0 * np.pi * step / period + phase)
    moves = CHUNK_M * np.stack([np.sin(headings), np.cos(headings)], axis=1)
    nodes = np.concatenate([np.zeros((1, 2)), np.cumsum(moves, axis=0)[:-1]])
    return headings, nodes


@lru_cache(maxsize=256)
def _progress(clip: Clip, blocks: int) -> Float64[np.ndarray, " n"]:
    """Metres along the street at every frame. One clip in twelve stands still for about 15 of every 160 frames."""
    dice = clip.dice(3)
    frame = np.arange(blocks * _BLOCK + 2, dtype=np.float64)
    period, phase = dice.uniform(40.0, 90.0), dice.uniform(0.0, 2.0 * np.pi)
    speed = clip.metres_per_frame * dice.uniform(0.8, 1.2) * (1.0 + 0.3 * np.sin(2.0 * np.pi * frame / period + phase))
    if dice.chance(1 / 12):
        nearness = np.cos(2.0 * np.pi * (frame - dice.uniform(8.0, 150.0)) / 160.0)
        speed *= np.clip((0.955 - nearness) / 0.12, 0.0, 1.0)
    return _START_M + np.cumsum(speed)


def progress(clip: Clip, frame: int) -> float:
    """Metres the camera has come along the street at a frame >= 0."""
    return float(_progress(clip, frame // _BLOCK + 1)[frame])


def world_T_cam(clip: Clip, frame: int, across: float) -> Pose:
    """Pose of the camera in the lane whose middle is `across` metres to the right: it weaves, nods, rolls, bounces."""
    dice, time = clip.dice(4), float(frame)
    along = progress(clip, frame)
    index, ahead = int(along // CHUNK_M), along % CHUNK_M

    def sway(amplitude: float, low: float, high: float) -> float:
        period, phase = dice.uniform(low, high), dice.uniform(0.0, 2.0 * np.pi)
        return amplitude * float(np.sin(2.0 * np.pi * time / period + phase))

    place = world_T_chunk(clip, index)
    first, last = turns(clip, index)
    bend = first / 2 * (ahead / CHUNK_M - 1) + last / 2 * ahead / CHUNK_M
    mounting = dice.uniform(-0.012, 0.012), dice.uniform(-0.015, 0.015), dice.uniform(-0.008, 0.008)
    yaw = bend + mounting[0] + sway(0.022, 30, 60) + sway(0.005, 5, 9)
    pitch = mounting[1] - float(np.deg2rad(clip.look.camera_tilt_deg)) + sway(0.006, 9, 17) + sway(0.003, 3.5, 6)
    roll = mounting[2] + sway(0.006, 14, 30) + sway(0.002, 4, 7)
    aside = across + sway(0.3, 35, 70)
    height = clip.look.camera_height_m * dice.uniform(0.95, 1.05) + sway(0.02, 6, 11)
    rotation = place.rotation @ turn(yaw) @ _tilt(pitch, roll)
    return Pose(rotation, place.rotation @ np.array([aside, -height, ahead]) + place.shift)


def _tilt(pitch: float, roll: float) -> Rotation:
    """Pitch about x (positive looks up), then roll about z (positive leans right)."""
    cp, sp, cr, sr = np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    nod = np.array([[1.0, 0.0, 0.0], [0.0, cp, -sp], [0.0, sp, cp]])
    lean = np.array([[cr, -sr, 0.0], [sr, cr, 0.0], [0.0, 0.0, 1.0]])
    return np.asarray(nod @ lean)
