"""Point clouds read back from their bytes: places, colours, classes, and what has no point."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fathomseg.errors import DataError, FathomError
from fathomseg.inference.card import ModelCard
from fathomseg.inference.point_cloud import ImageCamera, PointCloud, refuse_unfit
from fathomseg.tasks.depth import Depth
from fathomseg.tasks.network import NetworkConfig
from fathomseg.tasks.segmentation import Segmentation
from fathomseg.types import Camera, Prediction

CARD = ModelCard(
    network=NetworkConfig(tasks={"segmentation": Segmentation(), "depth": Depth()}),
    classes=("road", "wall"),
    colours=((1, 2, 3), (4, 5, 6)),
    ids=(7, 300),
    size=(2, 3),
    depth_unit="metres",
)
PICTURE = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
DEPTH = np.array([[2, 4, 80], [1, 3, 5]], np.float32)
PREDICTION = Prediction(
    label=np.array([[0, 1, 1], [0, 0, 1]], np.uint8),
    disparity=np.where(DEPTH < 80, 0.5, 0).astype(np.float32),
    depth=DEPTH,
)


def read(path: Path) -> tuple[list[str], np.ndarray]:
    """Header and vertices, by the words of the header alone."""
    content = path.read_bytes()
    head, body = content.split(b"end_header\n", 1)
    lines = head.decode("ascii").splitlines()
    kinds = {"float": "<f4", "uchar": "u1", "ushort": "<u2"}
    fields = [(words[2], kinds[words[1]]) for line in lines if (words := line.split())[0] == "property"]
    count = next(int(line.split()[-1]) for line in lines if line.startswith("element vertex"))
    found = np.frombuffer(body, np.dtype(fields))
    assert len(found) == count
    return lines, found


def test_points_by_hand(tmp_path: Path) -> None:
    cloud = PointCloud(tmp_path / "a.ply", ImageCamera(Camera(2.0, 4.0, 1.0, 0.5, 2, 3), ""))
    cloud.write(PICTURE, PREDICTION, CARD)
    lines, found = read(cloud.path)
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    assert "comment unit metres; x right, y down, z forward" in lines
    assert "comment class 300 wall" in lines
    pixels = [(0, 0), (1, 0), (0, 1), (1, 1), (2, 1)]  # (2, 0) is as far as can be
    expected = [((u - 1) / 2 * DEPTH[v, u], (v - 0.5) / 4 * DEPTH[v, u], DEPTH[v, u]) for u, v in pixels]
    np.testing.assert_allclose([tuple(found[n][i] for n in "xyz") for i in range(5)], expected, rtol=1e-6)
    assert found["red"].tolist() == [PICTURE[v, u, 0] for u, v in pixels]
    assert found["blue"].tolist() == [PICTURE[v, u, 2] for u, v in pixels]
    assert found["class"].tolist() == [7, 300, 7, 7, 300]


def test_neither_sky_nor_what_is_too_far_has_points(tmp_path: Path) -> None:
    image_camera = ImageCamera(Camera(2.0, 4.0, 1.0, 0.5, 2, 3), "")
    cloud = PointCloud(tmp_path / "a.ply", image_camera)
    cloud.write(PICTURE, PREDICTION, CARD.model_copy(update={"classes": ("road", "Sky")}))
    assert read(cloud.path)[1]["z"].tolist() == [2, 1, 3]
    near = PointCloud(tmp_path / "b.ply", image_camera, max_depth=4)
    near.write(PICTURE, PREDICTION, CARD)
    assert read(near.path)[1]["z"].tolist() == [2, 4, 1, 3]
    near.write(PICTURE, replace(PREDICTION, label=None), CARD)
    assert read(near.path)[1]["z"].tolist() == [2, 4, 1, 3]


def test_a_camera_of_another_size_is_scaled_and_of_another_shape_refused(tmp_path: Path) -> None:
    small = PointCloud(tmp_path / "small.ply", ImageCamera(Camera(2, 2, 1, 0.5, 2, 3), ""))
    large = PointCloud(tmp_path / "large.ply", ImageCamera(Camera(20, 20, 14.5, 9.5, 20, 30), ""))
    for cloud in (small, large):
        cloud.write(PICTURE, PREDICTION, CARD)
    for name in "xyz":
        np.testing.assert_allclose(read(small.path)[1][name], read(large.path)[1][name], rtol=1e-5, atol=1e-6)
    with pytest.raises(DataError, match="another shape than its image"):
        ImageCamera(Camera(2, 2, 1, 1, 300, 100), "").camera((2, 300), "x.png")


def test_where_the_camera_comes_from(tmp_path: Path) -> None:
    assert ImageCamera.of("90", tmp_path).camera((10, 20), "").fx == pytest.approx(10)
    with pytest.raises(FathomError, match=r"--camera FILE, a camera.yaml .* --camera DEGREES"):
        ImageCamera.of(None, tmp_path)
    with pytest.raises(FathomError, match="1 to 175 degrees"):
        ImageCamera.of("200", tmp_path)
    (tmp_path / "camera-mine.yaml").write_text("{width: 20, height: 10, fx: 7, fy: 7, cx: 9.5, cy: 4.5}")
    assert ImageCamera.of(None, tmp_path).camera((10, 20), "").fx == 7


def test_what_has_no_points_is_refused() -> None:
    with pytest.raises(FathomError, match="predicts no depth"):
        refuse_unfit(CARD, {"segmentation"}, "run")
    with pytest.raises(FathomError, match=r"fathomseg\.align"):
        refuse_unfit(CARD.model_copy(update={"depth_alignment": "scale_shift"}), {"depth"}, "run")
