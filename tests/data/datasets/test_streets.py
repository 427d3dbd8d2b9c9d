"""The generated world as a dataset: one answer per id, geometry that holds between frames, sensible proportions."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

from fathomseg.config import validate
from fathomseg.data.datasets.streets import Streets
from fathomseg.errors import ConfigError, FathomError
from tests.typecheck import unchecked

DOMAINS = ("day", "dusk", "overcast")
EVERY_DOMAIN = ("day", *(pytest.param(domain, marks=pytest.mark.slow) for domain in DOMAINS[1:]))
"""One look quickly, the others with the slow tests."""
ROAD, SKY = 0, 9


def digest(streets: Streets, id: str) -> str:
    """All arrays of a sample as one number."""
    parts = [streets.image(id), streets.label(id), streets.depth(id), streets.moving(id), streets.world_T_cam(id)]
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


class Warp(NamedTuple):
    """Image `there` resampled into view `here` by depth, camera and poses, by the textbook in float64."""

    image: np.ndarray
    defined: np.ndarray
    visible: np.ndarray
    """All four pixels around the place have the depth expected there."""
    met: np.ndarray
    """One of the pixels around the place has."""


def warp(streets: Streets, here: str, there: str) -> Warp:
    camera, depth = streets.camera(here), streets.depth(here).astype(np.float64)
    k = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    v, u = np.mgrid[: camera.height, : camera.width].astype(np.float64)
    points = np.linalg.inv(k) @ np.stack([u.ravel(), v.ravel(), np.ones(u.size)]) * depth.ravel()
    there_T_here = np.linalg.inv(streets.world_T_cam(there)) @ streets.world_T_cam(here)
    x, y, z = (k @ (there_T_here[:3, :3] @ points + there_T_here[:3, 3:])).reshape(3, *depth.shape)
    defined = (depth > 0) & (z > 0.3)
    x, y = x / np.where(defined, z, 1), y / np.where(defined, z, 1)
    defined &= (x >= 0) & (x <= camera.width - 1) & (y >= 0) & (y <= camera.height - 1)
    x, y = np.where(defined, x, 0), np.where(defined, y, 0)
    image = cv2.remap(
        streets.image(there).astype(np.float32), x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR
    )
    rows, columns, other = np.floor(y).astype(int), np.floor(x).astype(int), streets.depth(there)
    near = [
        other[np.minimum(rows + down, camera.height - 1), np.minimum(columns + right, camera.width - 1)]
        for down, right in ((0, 0), (0, 1), (1, 0), (1, 1))
    ]
    agree = [defined & (np.abs(depth_there - z) < 0.05 * z) for depth_there in near]
    return Warp(image.astype(np.float64), defined, np.logical_and.reduce(agree), np.logical_or.reduce(agree))


def test_ids_and_neighbours() -> None:
    streets = Streets(train_clips=2, val_clips=1, frames=3)
    expected = [f"train/{clip:04d}/{frame:06d}" for clip in range(2) for frame in range(3)]
    assert list(streets.ids("train")) == expected == sorted(expected)
    assert len(streets.ids("val")) == 3
    assert streets.neighbour("train/0001/000001", 1) == "train/0001/000002"
    assert streets.neighbour("train/0001/000001", -1) == "train/0001/000000"
    assert streets.neighbour("train/0001/000002", 1) is None
    assert streets.neighbour("train/0001/000000", -1) is None
    assert streets.has_label(expected[0])


@pytest.mark.parametrize(
    "id",
    ["train", "train/0000", "train/0064/000000", "train/0000/000032", "train/0/0", "trian/0000/000000", "", "a/b/c"],
)
def test_an_unknown_id_is_named_in_the_error(id: str) -> None:
    with pytest.raises(FathomError, match="no sample") as caught:
        Streets().image(id)
    assert repr(id) in str(caught.value)


def test_an_unknown_split_is_an_error_with_the_right_names() -> None:
    with pytest.raises(FathomError, match="train, val, test"):
        Streets().ids("training")


def test_shapes_types_and_read_only() -> None:
    streets, id = Streets(size=(48, 96)), "val/0003/000004"
    assert streets.image(id).shape == (48, 96, 3)
    assert streets.label(id).shape == streets.depth(id).shape == streets.moving(id).shape == (48, 96)
    assert (streets.image(id).dtype, streets.label(id).dtype, streets.depth(id).dtype) == ("uint8", "uint8", "float32")
    assert streets.label(id).max() < len(streets.classes)
    with pytest.raises(ValueError, match="read-only"):
        streets.image(id)[0, 0] = 0


@pytest.mark.slow
def test_the_same_bytes_in_any_order_and_any_process() -> None:
    ids = ["train/0000/000000", "val/0001/000009", "train/0003/000020", "train/0000/000001", "test/0002/000031"]
    streets = Streets(size=(64, 128), domain="dusk")
    first = {id: digest(streets, id) for id in ids}
    script = (
        "import sys, json; from fathomseg.data.datasets.streets import Streets\n"
        "import hashlib, numpy as np\n"
        "s, out = Streets(size=(64, 128), domain='dusk'), {}\n"
        "for id in json.loads(sys.argv[1]):\n"
        "    a = [s.image(id), s.label(id), s.depth(id), s.moving(id), s.world_T_cam(id)]\n"
        "    out[id] = hashlib.sha256(b''.join(np.ascontiguousarray(x).tobytes() for x in a)).hexdigest()\n"
        "print(json.dumps(out))\n"
    )
    command = [sys.executable, "-c", script, json.dumps(ids[::-1])]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(made.stdout) == first
    assert len(set(first.values())) == len(ids)


def test_the_number_of_frames_and_clips_changes_no_frame() -> None:
    id = "train/0001/000003"
    assert digest(Streets(size=(32, 64)), id) == digest(Streets(size=(32, 64), frames=400, train_clips=2), id)


def test_fingerprints_differ_where_pictures_do() -> None:
    id = "train/0001/000003"
    kinds = [Streets(), Streets(seed=1), Streets(domain="dusk"), Streets(size=(64, 128)), Streets(step=0.6)]
    assert len({streets.fingerprint(id, "image") for streets in kinds}) == len(kinds)
    assert len({digest(streets, id) for streets in kinds}) == len(kinds)
    assert len({Streets().fingerprint(id, kind) for kind in ("image", "label", "depth")}) == 3
    assert Streets(frames=7).fingerprint(id, "image") == Streets().fingerprint(id, "image")


@pytest.mark.parametrize("tree", [{"size": [0, 256]}, {"train_clips": 1_000_001}, {"test_clips": 0}])
def test_what_cannot_be_rendered_or_would_repeat_another_split_is_refused(tree: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(tree))):
        validate(Streets, tree)


def test_splits_and_seeds_show_different_streets() -> None:
    small = {"size": (32, 64)}
    pictures = {
        digest(Streets(seed=seed, **small), f"{split}/{clip:04d}/000000")
        for seed in (0, 1)
        for split in ("train", "val", "test")
        for clip in range(2)
    }
    assert len(pictures) == 12


@pytest.mark.parametrize("domain", EVERY_DOMAIN)
def test_the_next_frame_warped_by_depth_and_pose_is_this_frame(domain: str) -> None:
    """The photometric loss of self-supervised depth has its minimum at the truth: on average the warped neighbour is
    more than three times nearer than the unwarped one, and nearer than half in every clip; what is left is grain."""
    streets, ratios = Streets(domain=domain), []
    for seed in (0, 1, 2):
        for clip in (0, 5, 9):
            streets, here = Streets(domain=domain, seed=seed), f"train/{clip:04d}/000010"
            there = streets.neighbour(here, 1)
            assert there is not None
            warped = warp(streets, here, there)
            static = warped.visible & ~streets.moving(here)
            image, other = streets.image(here).astype(np.float64), streets.image(there).astype(np.float64)
            assert static.mean() > 0.3
            ratios.append(np.abs(other - image)[static].mean() / np.abs(warped.image - image)[static].mean())
    assert min(ratios) > 2.0
    assert np.mean(ratios) > 3.0


@pytest.mark.parametrize("domain", EVERY_DOMAIN)
@pytest.mark.parametrize("offset", [1, -2])
def test_what_is_not_flagged_as_moving_stands_still_in_the_world(domain: str, offset: int) -> None:
    """Depth of one frame, carried into another, meets the depth found there, except behind occlusions."""
    still, moving = [], []
    for clip in range(6):
        streets, here = Streets(domain=domain), f"train/{clip:04d}/000010"
        there = streets.neighbour(here, offset)
        assert there is not None
        warped, flag = warp(streets, here, there), streets.moving(here)
        still.append(warped.met[warped.defined & ~flag])
        moving.append(warped.met[warped.defined & flag])
    assert np.concatenate(still).mean() > 0.9
    assert np.concatenate(moving).mean() < np.concatenate(still).mean() - 0.25


@pytest.mark.parametrize("domain", EVERY_DOMAIN)
@pytest.mark.slow
def test_every_class_is_there_in_sensible_proportion(domain: str) -> None:
    streets = Streets(domain=domain, size=(64, 128))
    count = np.zeros(256)
    for k in range(100):
        id = f"train/{k // 4:04d}/{10 * (k % 4):06d}"
        with unchecked():  # of so many frames; the other tests check the shapes
            label, depth = streets.label(id), streets.depth(id)
        assert ((label == SKY) == (depth == 0)).all()
        assert depth[depth > 0].min() > 0.3
        count += np.bincount(label.ravel(), minlength=256)
    share = dict(zip(streets.classes.names, count / count.sum(), strict=False))
    assert count[len(streets.classes) :].sum() == 0
    assert min(share.values()) > 0.001
    assert max(share, key=lambda name: share[name]) == "road"
    assert 0.24 < share["road"] < 0.38
    assert 0.15 < share["building"] < 0.28
    assert 0.08 < share["vegetation"] < 0.18
    assert 0.05 < share["sky"] < 0.18
    assert 0.04 < share["car"] < 0.12


@pytest.mark.slow
def test_looks_differ_in_colour_light_and_camera() -> None:
    ids = [f"train/{clip:04d}/000000" for clip in range(12)]
    looks = {domain: Streets(domain=domain, size=(32, 64)) for domain in DOMAINS}
    for a, b in (("day", "dusk"), ("day", "overcast"), ("dusk", "overcast")):
        assert looks[a].camera(ids[0]).fx != looks[b].camera(ids[0]).fx
    heights = {name: np.mean([-s.world_T_cam(id)[1, 3] for id in ids]) for name, s in looks.items()}
    assert heights["overcast"] + 0.1 < heights["day"] < heights["dusk"] - 0.4

    def colours(name: str, chosen: list[str]) -> np.ndarray:
        """Share of pixels by hue and saturation."""
        hsv = [cv2.cvtColor(looks[name].image(id), cv2.COLOR_RGB2HSV).reshape(-1, 3) for id in chosen]
        table, _ = np.histogramdd(np.concatenate(hsv)[:, :2], bins=(9, 6), range=((0, 180), (0, 256)))
        return table / table.sum()

    within = max(np.abs(colours(name, ids[::2]) - colours(name, ids[1::2])).sum() for name in DOMAINS)
    for a, b in (("day", "dusk"), ("day", "overcast"), ("dusk", "overcast")):
        assert np.abs(colours(a, ids) - colours(b, ids)).sum() > 1.5 * within


@pytest.mark.parametrize("domain", EVERY_DOMAIN)
def test_there_is_texture_for_a_photometric_loss(domain: str) -> None:
    """More than half of all pixels but the sky differ from a neighbour by several levels, and most of the road does."""
    streets = Streets(domain=domain)
    everywhere, road = [], []
    for clip in range(12):
        id = f"train/{clip:04d}/000007"
        grey = cv2.GaussianBlur(streets.image(id), (3, 3), 0.8).astype(np.float64).mean(axis=2)
        steep = np.hypot(*np.gradient(grey)) > 1.5
        everywhere.append(steep[streets.depth(id) > 0].mean())
        road.append(steep[streets.label(id) == ROAD].mean())
    assert np.mean(everywhere) > 0.6
    assert np.mean(road) > 0.5


def test_a_drive_has_no_end() -> None:
    streets = Streets(size=(32, 64), frames=1_000_000)
    id = "train/0000/200000"
    assert streets.label(id).any()
    assert np.linalg.norm(streets.world_T_cam(id)[:3, 3]) > 1000
    near = streets.world_T_cam("train/0000/200001")[:3, 3] - streets.world_T_cam(id)[:3, 3]
    assert 0 <= np.linalg.norm(near) < 2.0
