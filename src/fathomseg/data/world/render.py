"""One frame of a clip, top to bottom: gather what is near, look at it, and paint what is seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, UInt8

from fathomseg.data.world import shade
from fathomseg.data.world.ground import CHUNK_M
from fathomseg.data.world.junction import junction
from fathomseg.data.world.labels import SKY
from fathomseg.data.world.mesh import Quads, join, turn
from fathomseg.data.world.plot import KERB_M, Plot
from fathomseg.data.world.raster import rasterise
from fathomseg.data.world.roadside import roadside
from fathomseg.data.world.route import Clip, Pose, progress, world_T_cam, world_T_chunk
from fathomseg.data.world.street import street
from fathomseg.data.world.town import atlas
from fathomseg.data.world.traffic import movers
from fathomseg.data.world.view import Grid, look
from fathomseg.data.world.weather import weather
from fathomseg.types import Camera

_CHUNKS_BEHIND, _CHUNKS_AHEAD = 1, 11
_SHADE_CHUNKS, _SHADE_NEAR_M, _SHADE_BITS = 5, 0.3, 3


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
class Chunk:
    """The still things of one piece of street, in the chunk's own frame."""

    quads: Quads
    shadows: Float64[np.ndarray, "k 10 2"]
    """Convex outlines (x, z) of the shade on the ground."""


@lru_cache(maxsize=1536)
def chunk(clip: Clip, index: int) -> Chunk:
    """Everything that stands still in a chunk (about 30 kB); a pure function of the clip and the index."""
    plot = Plot(clip, index)
    road = plot.street
    if road.is_junction(index):
        junction(plot)
    else:
        plot.carriageway(f"road_{'parking' if road.parking else 'plain'}_{road.kinds[0]}")
        roadside(plot, -1)
        roadside(plot, 1)
    quads = join([plot.sketch.build(), *plot.models])
    return Chunk(quads, np.array(plot.shadows, np.float64).reshape(-1, 10, 2))


def pinhole(clip: Clip, height: int, width: int) -> Camera:
    """The clip's camera for a picture size, its axis through the middle; the field of view across is the domain's."""
    f_px = 0.5 * width / float(np.tan(np.deg2rad(clip.look.hfov_deg) / 2))
    return Camera(f_px, f_px, (width - 1) / 2, (height - 1) / 2, height, width)


def camera_pose(clip: Clip, frame: int) -> Pose:
    """world_T_cam at a frame."""
    return world_T_cam(clip, frame, street(clip).lane)


def render(clip: Clip, frame: int, height: int, width: int) -> Frame:
    """Render a frame of height x width pixels; equal arguments give equal bytes in any order and any process."""
    look_of, sky_light, textures = clip.look, weather(clip), atlas(clip.domain)
    grid, pose = _grid(pinhole(clip, height, width)), camera_pose(clip, frame)
    cam_T_world = pose.inverse()
    quads, shadows = _gather(clip, frame, cam_T_world)
    view = look(quads, grid)
    seen = rasterise(view, textures, grid)
    surface = seen.surface.astype(np.intp)
    to_sun, up = cam_T_world.rotation @ sky_light.to_sun, cam_T_world.rotation @ np.array([0.0, -1.0, 0.0])
    gain = shade.light(view, sky_light, look_of, to_sun, up)
    level = np.append(view.quads.ground, 0).astype(np.uint8).take(surface)
    brightness = _brightness(level, shadows, cam_T_world, grid, sky_light.shadow)
    clear = np.exp(-np.float32(sky_light.fog_per_m) / np.maximum(seen.inverse_depth, np.float32(1e-4)))
    r, g, b = (0.96 * sky_light.exposure * c for c in look_of.horizon)
    texture = shade.albedo(view, surface, seen, textures, grid)
    planes = shade.surfaces(view, surface, texture, gain, brightness, clear, (r, g, b))
    shade.paint_sky(planes, surface == len(view.quads), grid, textures, look_of, sky_light, pose.rotation)
    image = shade.develop(planes, sky_light, look_of.noise, clip.dice(30, frame).below(1 << 60))

    surface, inverse_depth = surface[1::2, 1::2], seen.inverse_depth[1::2, 1::2]
    label = np.append(view.quads.label, SKY).astype(np.uint8).take(surface)
    depth = np.where(inverse_depth > 0, 1.0 / np.maximum(inverse_depth, np.float32(1e-9)), np.float32(0.0))
    moving = np.append(view.quads.moving, False).take(surface)
    return Frame(image, label, depth.astype(np.float32), moving, pose.matrix())


def _grid(camera: Camera) -> Grid:
    """Two samples per pixel each way and one more all around; odd samples are the pixel centres."""
    step = 0.5 / camera.fx
    x0, y0 = (-0.5 - camera.cx) / camera.fx, (-0.5 - camera.cy) / camera.fx
    return Grid(2 * camera.height + 1, 2 * camera.width + 1, x0, y0, step, step)


def _gather(clip: Clip, frame: int, cam_T_world: Pose) -> tuple[Quads, Float64[np.ndarray, "k 10 2"]]:
    """All surfaces near the camera in camera axes, and all outlines of shade as world (x, z)."""
    here = int(progress(clip, frame) // CHUNK_M)
    parts: list[tuple[Quads, Pose, bool]] = []
    shadows: list[Float64[np.ndarray, "k 10 2"]] = []
    for index in range(here - _CHUNKS_BEHIND, here + _CHUNKS_AHEAD + 1):
        still, place = chunk(clip, index), world_T_chunk(clip, index)
        parts.append((still.quads, place, False))
        if index < here + _SHADE_CHUNKS:
            shadows.append(_on_ground(still.shadows, place))
    for mover in movers(clip, frame):
        place = world_T_chunk(clip, mover.chunk)
        own = Pose(turn(mover.heading), np.array([mover.across, -mover.up, mover.along - mover.chunk * CHUNK_M]))
        parts.append((mover.quads, place.after(own), mover.moving))
        if mover.chunk < here + _SHADE_CHUNKS:
            shadows.append(_on_ground(mover.shadow(weather(clip).shadow_per_m(clip, mover.chunk))[None], place))
    return _moved(parts, cam_T_world), np.concatenate(shadows)


def _on_ground(shadows: Float64[np.ndarray, "k 10 2"], place: Pose) -> Float64[np.ndarray, "k 10 2"]:
    """Outlines (x, z) of a chunk's frame in the world."""
    return np.asarray(shadows @ place.rotation[np.ix_([0, 2], [0, 2])].T + place.shift[[0, 2]])


def _moved(parts: list[tuple[Quads, Pose, bool]], cam_T_world: Pose) -> Quads:
    """All parts, each from its own frame (given as world_T_part), in camera axes."""
    quads = join(part for part, _, _ in parts)
    poses = [cam_T_world.after(place) for _, place, _ in parts]
    part = np.repeat(np.arange(len(parts)), [len(q) for q, _, _ in parts])
    rotation, shift = np.array([p.rotation.T for p in poses]), np.array([p.shift for p in poses])
    corners = quads.corners @ rotation[part] + shift[part][:, None]
    return replace(quads, corners=corners, moving=np.array([moving for _, _, moving in parts])[part])


def _brightness(
    level: UInt8[np.ndarray, "h w"],
    shadows: Float64[np.ndarray, "k 10 2"],
    cam_T_world: Pose,
    grid: Grid,
    strength: float,
) -> Float32[np.ndarray, "h w"]:
    """What is left of the light at every sample of the ground where shade falls; 1 elsewhere."""
    brightness = np.ones(level.shape, np.float32)
    for which, up in ((1, 0.0), (2, KERB_M)):
        points = np.stack([shadows[..., 0], np.full(shadows.shape[:2], -up), shadows[..., 1]], axis=2)
        mask = _fill(points @ cam_T_world.rotation.T + cam_T_world.shift, grid)
        np.copyto(brightness, np.float32(1.0 - strength), where=(mask > 0) & (level == which))
    return brightness


def _fill(outlines: Float64[np.ndarray, "k 10 3"], grid: Grid) -> UInt8[np.ndarray, "h w"]:
    """Draw convex outlines in camera axes into a mask, cut off close in front of the camera."""
    mask, in_front = np.zeros((grid.height, grid.width), np.uint8), outlines[..., 2] > _SHADE_NEAR_M
    whole = in_front.all(axis=1)
    drawn = list(_to_samples(outlines[whole], grid))
    drawn += [_to_samples(_cut(outline, _SHADE_NEAR_M), grid) for outline in outlines[in_front.any(axis=1) & ~whole]]
    for points in drawn:
        cv2.fillConvexPoly(mask, points, 255, cv2.LINE_8, _SHADE_BITS)
    return mask


def _to_samples(points: Float64[np.ndarray, "*k 3"], grid: Grid) -> Int32[np.ndarray, "*k 2"]:
    """Where points in front of the camera lie on the grid of samples, in OpenCV's fixed-point (column, row)."""
    place = (points[..., :2] / points[..., 2:] - (grid.x0, grid.y0)) / (grid.dx, grid.dy)
    return np.asarray(np.clip(np.round(place * (1 << _SHADE_BITS)), -(1 << 24), 1 << 24), np.int32)


def _cut(outline: Float64[np.ndarray, "n 3"], near: float) -> Float64[np.ndarray, "m 3"]:
    """The part of a polygon with z >= near (Sutherland and Hodgman, 1974)."""
    kept = []
    for a, b in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if a[2] >= near:
            kept.append(a)
        if (a[2] >= near) != (b[2] >= near):
            kept.append(a + (near - a[2]) / (b[2] - a[2]) * (b - a))
    return np.array(kept)
