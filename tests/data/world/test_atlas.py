from __future__ import annotations

import numpy as np

from fathomseg.data.world.atlas import pack
from fathomseg.data.world.canvas import Canvas, Texture, cloudy_noise


def plain(height: int, width: int, key: int, wraps: bool = False) -> Texture:
    rng = np.random.default_rng(key)
    return Texture(rng.integers(0, 256, (height, width, 4)).astype(np.uint8), wraps=wraps)


def test_every_copy_is_found_where_the_tables_say_with_its_margin() -> None:
    textures = {"a": plain(16, 32, 1, wraps=True), "b": plain(64, 16, 2), "c": plain(8, 8, 3)}
    atlas = pack(textures)
    used = np.zeros(atlas.rgba.shape[:2], int)
    for name, texture in textures.items():
        t = atlas.index[name]
        assert atlas.size[t].tolist() == [texture.rgba.shape[1], texture.rgba.shape[0]]
        for copy in range(atlas.first[t], atlas.first[t] + atlas.levels[t]):
            (x, y), (w, h) = atlas.origin[copy].astype(int), atlas.extent[copy].astype(int)
            used[y - 2 : y + h + 2, x - 2 : x + w + 2] += 1
        (x, y), (w, h) = atlas.origin[atlas.first[t]].astype(int), atlas.extent[atlas.first[t]].astype(int)
        found = atlas.rgba[y - 2 : y + h + 2, x - 2 : x + w + 2]
        mode = "wrap" if texture.wraps else "edge"
        np.testing.assert_array_equal(found, np.pad(texture.rgba, ((2, 2), (2, 2), (0, 0)), mode=mode))
    assert used.max() == 1


def test_reduced_copies_are_means_of_two_by_two_texels() -> None:
    texture = plain(8, 8, 5)
    atlas = pack({"a": texture})
    (x, y), (w, h) = atlas.origin[1].astype(int), atlas.extent[1].astype(int)
    expected = texture.rgba.reshape(4, 2, 4, 2, 4).astype(float).mean(axis=(1, 3))
    assert (w, h) == (4, 4)
    assert np.abs(atlas.rgba[y : y + h, x : x + w] - expected).max() <= 0.51


def test_holes_keep_their_area_in_every_copy() -> None:
    """A crown of loose leaves covers the same share of the picture from near and far."""
    canvas, rng = Canvas(64, 64), np.random.default_rng(4)
    for x, y in rng.uniform(0.05, 0.95, (90, 2)):
        canvas.ellipse(x, y, 0.03, 0.04, (60, 100, 40))
    texture = canvas.texture()
    assert texture.cover is not None
    area, naive = (texture.cover > 127).mean(), texture.cover.reshape(8, 8, 8, 8).mean(axis=(1, 3)) > 127
    atlas = pack({"crown": texture})
    assert atlas.holed.tolist() == [True]
    assert abs(naive.mean() - area) > 0.05
    for cover in atlas.covers[:4]:
        assert abs((cover > 127).mean() - area) < 0.03


def test_colours_run_on_beyond_the_outline() -> None:
    canvas = Canvas(32, 32)
    canvas.ellipse(0.5, 0.5, 0.3, 0.3, (200, 40, 10))
    texture = canvas.texture()
    assert texture.cover is not None
    assert texture.cover[0, 0] == 0
    assert np.abs(texture.rgba[..., :3].astype(int) - (200, 40, 10)).max() <= 2


def test_cloudy_noise_repeats_without_a_seam() -> None:
    noise = cloudy_noise(64, 9, [(4, 1.0), (8, 0.5)])
    inner = np.abs(np.diff(noise, axis=0)).max()
    assert np.abs(noise[0] - noise[-1]).max() <= inner * 1.2
    assert np.abs(noise[:, 0] - noise[:, -1]).max() <= np.abs(np.diff(noise, axis=1)).max() * 1.2
    assert noise.std() > 0.1
