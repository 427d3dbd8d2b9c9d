"""The renderer's geometry against answers worked by hand and against a ray caster that knows no tricks."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fathomseg.data.world.atlas import Atlas, pack
from fathomseg.data.world.canvas import Texture
from fathomseg.data.world.mesh import Quads, Sketch, join
from fathomseg.data.world.raster import Seen, rasterise
from fathomseg.data.world.shade import albedo
from fathomseg.data.world.view import Grid, View, look

GRID = Grid(height=41, width=61, x0=-0.75, y0=-0.5, dx=0.025, dy=0.025)


@cache
def atlas() -> Atlas:
    rng = np.random.default_rng(0)
    plain = Texture(rng.integers(0, 256, (16, 16, 4)).astype(np.uint8), wraps=True)
    cover = np.zeros((16, 16), np.uint8)
    cover[:, 8:] = 255
    return pack({"plain": plain, "half": Texture(plain.rgba, cover)})


def seen(quads: Quads, grid: Grid = GRID) -> tuple[View, Seen]:
    view = look(quads, grid)
    return view, rasterise(view, atlas(), grid)


def rays(grid: Grid = GRID) -> np.ndarray:
    v, u = np.mgrid[: grid.height, : grid.width]
    return np.stack([grid.x0 + u * grid.dx, grid.y0 + v * grid.dy, np.ones(u.shape)], axis=-1)


def cast(quads: Quads, grid: Grid = GRID) -> np.ndarray:
    """Nearest depth along every ray, one quad at a time, by splitting it into two triangles (Moeller-Trumbore)."""
    ray, nearest = rays(grid), np.full((grid.height, grid.width), np.inf)
    for q in range(len(quads)):
        a, b, c, d = quads.corners[q]
        if not quads.thin[q] and np.cross(b - a, d - a) @ a >= 0:
            continue
        for p, e, f in ((a, b - a, c - a), (a, c - a, d - a)):
            across = np.cross(ray, f)
            det = across @ e
            with np.errstate(divide="ignore", invalid="ignore"):
                u = (across @ -p) / det
                turned = np.cross(-p, e)
                v = (ray @ turned) / det
                z = (turned @ f) / det
            hit = (np.abs(det) > 1e-12) & (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9) & (z > 0.15)
            nearest = np.where(hit & (z < nearest), z, nearest)
    return nearest


def test_level_ground_has_the_depth_of_the_textbook() -> None:
    """A camera 1.5 m above level ground: z = 1.5 / y on the ray (x, y, 1), whatever x is, and nothing above y = 0."""
    sketch = Sketch(atlas())
    sketch.quad(((-90, -1.5, -5), (90, -1.5, -5), (90, -1.5, 500), (-90, -1.5, 500)), "plain", 0, ground=1)
    _, found = seen(sketch.build())
    y = rays()[..., 1]
    below = y > 1.5 / 499
    np.testing.assert_allclose(1 / found.inverse_depth[below], 1.5 / y[below], rtol=1e-5)
    assert (found.inverse_depth[y <= 0] == 0).all()


def test_a_wall_in_front_hides_exactly_its_own_rectangle() -> None:
    sketch = Sketch(atlas())
    sketch.wall((-40, 10), (40, 10), -30, 30, "plain", 1)
    sketch.wall((-1.01, 5), (1.01, 5), -0.51, 0.51, "plain", 2)
    view, found = seen(sketch.build())
    ray = rays()
    near = (np.abs(ray[..., 0]) <= 0.202) & (np.abs(ray[..., 1]) <= 0.102)
    np.testing.assert_array_equal(view.quads.label[found.surface], np.where(near, 2, 1))
    np.testing.assert_allclose(1 / found.inverse_depth, np.where(near, 5.0, 10.0), rtol=1e-5)


def test_walls_are_seen_from_their_front_only_and_thin_ones_from_both_sides() -> None:
    for thin in (False, True):
        sketch = Sketch(atlas())
        sketch.wall((3, 5), (-3, 5), -3, 3, "plain", 1, thin=thin)
        _, found = seen(sketch.build())
        assert (found.inverse_depth > 0).any() == thin


def random_quads(seed: int, count: int) -> Quads:
    """Parallelograms all around, some reaching behind the camera, some tiny, half of them seen from both sides."""
    rng = np.random.default_rng(seed)
    parts = []
    for k in range(count):
        corner = rng.uniform((-4, -3, -1), (4, 3, 14))
        size = rng.choice([0.15, 1.0, 6.0])
        right, up = rng.normal(size=3) * size, rng.normal(size=3) * size
        sketch = Sketch(atlas())
        sketch.quad([(0, 0, 0)] * 4, "plain", k % 200, thin=bool(k % 2))
        corners = np.stack([corner, corner + right, corner + right + up, corner + up])[None]
        parts.append(Quads(**{**vars(sketch.build()), "corners": corners}))
    return join(parts)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 25))
def test_depth_equals_that_of_a_ray_caster(seed: int, count: int) -> None:
    """On all but the few samples that lie on an edge to rounding. What is nearer than 20 cm is not asked for."""
    quads = random_quads(seed, count)
    _, found = seen(quads)
    expected = 1 / cast(quads)
    wrong = np.abs(found.inverse_depth - expected) > 1e-4 * np.maximum(expected, 0.01)
    wrong &= np.maximum(expected, found.inverse_depth) < 1 / 0.2
    assert wrong.sum() <= 2


def test_neighbours_that_share_an_edge_leave_no_gap() -> None:
    """A strip of ground in pieces, turned a little, meets every ray below the horizon that the whole would meet."""
    sketch = Sketch(atlas())
    edges = np.linspace(-3.0, 300.0, 40)
    for near, far in pairwise(edges):
        for left, right in ((-80.0, -1.0), (-1.0, 2.0), (2.0, 80.0)):
            corners = ((left, -1.2, near), (right, -1.2, near), (right, -1.2, far), (left, -1.2, far))
            sketch.quad(corners, "plain", 0, ground=1)
    turned = sketch.build().placed(0.0, 0.0, 0.07)
    _, found = seen(turned)
    assert (found.inverse_depth[rays()[..., 1] > 1.2 / 60] > 0).all()


@pytest.mark.parametrize("half_width", [0.4, 4.0])
def test_holes_are_cut_where_the_texture_says(half_width: float) -> None:
    """The texture's left half is open: only the right half of the wall is there, drawn large or small."""
    sketch = Sketch(atlas())
    sketch.wall((-half_width, 8), (half_width, 8), -half_width, half_width, "half", 1, thin=True)
    _, found = seen(sketch.build())
    x, y = rays()[..., 0] * 8, rays()[..., 1] * 8
    inside = (np.abs(x) < half_width * 0.97) & (np.abs(y) < half_width * 0.97)
    border = 0.12 * half_width
    assert (found.inverse_depth[inside & (x > border)] > 0).all()
    assert (found.inverse_depth[inside & (x < -border)] == 0).all()


def test_texture_lies_where_its_coordinates_put_it() -> None:
    """One texel per sample on a wall facing the camera: the samples show the texels in order, undistorted."""
    sketch = Sketch(atlas())
    sketch.wall((-4, 10), (0, 10), 0, 4, "plain", 1)
    view, found = seen(sketch.build())
    texture = albedo(view, found.surface.astype(np.intp), found, atlas(), GRID)
    first = atlas().first[atlas().index["plain"]]
    (x, y), (w, h) = atlas().origin[first].astype(int), atlas().extent[first].astype(int)
    texels = atlas().rgba[y : y + h, x : x + w].astype(float)
    rows, columns = slice(5, 20), slice(15, 30)
    # Samples lie on the corners of texels here, so each shows the mean of the four around it.
    padded = np.pad(texels, ((1, 0), (1, 0), (0, 0)), mode="wrap")
    expected = (padded[:-1, :-1] + padded[1:, :-1] + padded[:-1, 1:] + padded[1:, 1:]) / 4
    np.testing.assert_allclose(texture[rows, columns], expected[1:, 1:], atol=3)
