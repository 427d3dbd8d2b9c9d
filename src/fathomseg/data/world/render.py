"""One frame of a clip, top to bottom: gather what is near, look at it, and paint what is seen."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from fathomseg.data.world import shade
from fathomseg.data.world.dice import Dice
from fathomseg.data.world.ground import CHUNK_M
from fathomseg.data.world.labels import SKY
from fathomseg.data.world.layout import KERB_M, chunk, street
from fathomseg.data.world.mesh import Quads, join, turn
from fathomseg.data.world.raster import Grid, look, rasterise
from fathomseg.data.world.route import Clip, Pose, progress, world_T_cam, world_T_chunk
from fathomseg.data.world.shadow import box_shadow
from fathomseg.data.world.town import town
from fathomseg.data.world.traffic import movers
from fathomseg.data.world.weather import weather

_CHUNKS_BEHIND, _CHUNKS_AHEAD = 1, 11


@dataclass(frozen=True)
class Frame:
    """Everything known about one frame. Sky has depth 0 (invalid: it is infinitely far)."""

    image: UInt8[np.ndarray, "h w 3"]
    label: UInt8[np.ndarray, "h w"]
    depth: Float32[np.ndarray, "h w"]
    """z-depth in metres at the pixel centre."""
    moving: Bool[np.ndarray, "h w"]
    """Whether the surface seen is on its way in the world between this frame and the next."""
    world_T_cam: Float64[np.ndarray, "4 4"]


@dataclass(frozen=True)
class Lens:
    """The pinhole of a picture of height x width pixels: f = focal length, the axis through the middle."""

    height: int
    width: int
    f_px: float

    @property
    def cx(self) -> float:
        """Column of the optical axis; pixel centres are integers."""
        return (self.width - 1) / 2

    @property
    def cy(self) -> float:
        """Row of the optical axis."""
        return (self.height - 1) / 2

    def grid(self) -> Grid:
        """Two samples per pixel each way and one more all around; odd samples are the pixel centres."""
        step = 0.5 / self.f_px
        x0, y0 = (-0.5 - self.cx) / self.f_px, (-0.5 - self.cy) / self.f_px
        return Grid(2 * self.height + 1, 2 * self.width + 1, x0, y0, step, step)


def lens(clip: Clip, height: int, width: int) -> Lens:
    """The lens of the clip's camera for a picture size; the field of view across is the domain's."""
    return Lens(height, width, 0.5 * width / float(np.tan(np.deg2rad(clip.look.hfov_deg) / 2)))


def camera_pose(clip: Clip, frame: int) -> Pose:
    """world_T_cam at a frame."""
    return world_T_cam(clip, frame, street(clip).lane)


def render(clip: Clip, frame: int, height: int, width: int) -> Frame:
    """Render a frame of height x width pixels; equal arguments give equal bytes in any order and any process."""
    look_of, sky_light, atlas = clip.look, weather(clip), town(clip.domain).atlas
    grid, pose = lens(clip, height, width).grid(), camera_pose(clip, frame)
    cam_T_world = pose.inverse()
    quads, shadows = _gather(clip, frame, cam_T_world)
    view = look(quads, grid)
    seen = rasterise(view, atlas, grid)
    empty = seen.surface == len(view.quads)

    to_sun, up = cam_T_world.rotation @ sky_light.to_sun, cam_T_world.rotation @ np.array([0.0, -1.0, 0.0])
    gain = shade.light(view, sky_light, look_of, to_sun, up)
    level = np.append(view.quads.ground, 0)[seen.surface]
    dim = _shade_factor(level, shadows, cam_T_world, grid, sky_light.shadow)
    haze = np.array(look_of.horizon, np.float32) * np.float32(0.96 * sky_light.exposure)
    texture = shade.albedo(view, seen, atlas, grid)
    colour = shade.surfaces(view, seen, texture, gain, dim, sky_light.fog_per_m, haze)
    shade.paint_sky(colour, empty, grid, atlas, look_of, sky_light, pose.rotation)
    image = shade.develop(colour, sky_light, look_of.noise, Dice(clip.seed, 30, frame).below(1 << 60))

    surface, inverse_depth = seen.surface[1::2, 1::2], seen.inverse_depth[1::2, 1::2]
    label = np.append(view.quads.label, SKY).astype(np.uint8)[surface]
    far = np.where(inverse_depth > 0, inverse_depth, np.inf)
    moving = np.append(view.quads.moving, False)[surface]
    return Frame(image, label, (1.0 / far).astype(np.float32), moving, pose.matrix())


def _gather(clip: Clip, frame: int, cam_T_world: Pose) -> tuple[Quads, Float64[np.ndarray, "k 10 2"]]:
    """All surfaces near the camera in camera axes, and all outlines of shade as world (x, z)."""
    here = int(progress(clip, frame) // CHUNK_M)
    parts, shadows = [], []
    for index in range(here - _CHUNKS_BEHIND, here + _CHUNKS_AHEAD + 1):
        still, place = chunk(clip, index), world_T_chunk(clip, index)
        motion = cam_T_world.after(place)
        parts.append(still.quads.moved(motion.rotation, motion.shift))
        if index < here + 5:
            shadows.append(still.shadows @ place.rotation[np.ix_([0, 2], [0, 2])].T + place.shift[[0, 2]])
    for mover in movers(clip, frame):
        place = world_T_chunk(clip, mover.chunk)
        own = Pose(turn(mover.heading), np.array([mover.across, -mover.up, mover.along - mover.chunk * CHUNK_M]))
        motion = cam_T_world.after(place).after(own)
        parts.append(mover.quads.moved(motion.rotation, motion.shift, mover.moving))
        wide, long, tall = mover.size
        drift = weather(clip).shadow_per_m(clip, mover.chunk)
        x, z = own.shift[0], own.shift[2]
        outline = box_shadow((x - wide, x + wide), (z - long, z + long), tall, drift)
        shadows.append((outline @ place.rotation[np.ix_([0, 2], [0, 2])].T + place.shift[[0, 2]])[None])
    return join(parts), np.concatenate(shadows)


def _shade_factor(
    level: UInt8[np.ndarray, "h w"],
    shadows: Float64[np.ndarray, "k 10 2"],
    cam_T_world: Pose,
    grid: Grid,
    strength: float,
) -> Float32[np.ndarray, "h w"]:
    """What is left of the light at every sample of the ground where shade falls; 1 elsewhere."""
    factor = np.ones(level.shape, np.float32)
    for which, up in ((1, 0.0), (2, KERB_M)):
        points = np.stack([shadows[..., 0], np.full(shadows.shape[:2], -up), shadows[..., 1]], axis=2)
        mask = _fill(points @ cam_T_world.rotation.T + cam_T_world.shift, grid)
        factor[(mask > 0) & (level == which)] = 1.0 - strength
    return factor


def _fill(outlines: Float64[np.ndarray, "k 10 3"], grid: Grid) -> UInt8[np.ndarray, "h w"]:
    """Draw convex outlines in camera axes into a mask, cut off close in front of the camera."""
    mask, near = np.zeros((grid.height, grid.width), np.uint8), 0.3
    depth = outlines[..., 2]
    for outline, whole in zip(
        outlines[(depth > near).any(axis=1)], (depth > near).all(axis=1)[(depth > near).any(axis=1)], strict=True
    ):
        points = outline if whole else _cut(outline, near)
        column = (points[:, 0] / points[:, 2] - grid.x0) / grid.dx
        row = (points[:, 1] / points[:, 2] - grid.y0) / grid.dy
        fixed = np.clip(np.stack([column, row], axis=1) * 8, -(1 << 24), 1 << 24).astype(np.int32)
        cv2.fillConvexPoly(mask, fixed, 255, cv2.LINE_8, 3)
    return mask


def _cut(outline: Float64[np.ndarray, "n 3"], near: float) -> Float64[np.ndarray, "m 3"]:
    """The part of a polygon with z >= near (Sutherland and Hodgman, 1974)."""
    kept = []
    for a, b in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if a[2] >= near:
            kept.append(a)
        if (a[2] >= near) != (b[2] >= near):
            kept.append(a + (near - a[2]) / (b[2] - a[2]) * (b - a))
    return np.array(kept)
