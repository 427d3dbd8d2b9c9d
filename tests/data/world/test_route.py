from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from fathomseg.data.world import route
from fathomseg.data.world.ground import CHUNK_M
from fathomseg.data.world.mesh import turn
from fathomseg.data.world.render import camera_pose
from fathomseg.data.world.route import Clip, Pose, progress, turns, world_T_chunk

CLIPS = [Clip("day", 3, 0.7), Clip("dusk", 4, 0.7), Clip("overcast", 5, 1.0)]


def test_poses_compose_and_invert_like_their_matrices() -> None:
    a, b = Pose(turn(0.3), np.array([1.0, 2.0, 3.0])), Pose(turn(-1.1), np.array([-4.0, 0.5, 2.0]))
    np.testing.assert_allclose(a.after(b).matrix(), a.matrix() @ b.matrix(), atol=1e-12)
    np.testing.assert_allclose(a.inverse().matrix(), np.linalg.inv(a.matrix()), atol=1e-12)


def test_turn_takes_forward_to_the_heading() -> None:
    np.testing.assert_allclose(turn(np.pi / 2) @ (0, 0, 1), (1, 0, 0), atol=1e-12)
    np.testing.assert_allclose(turn(0.2) @ (0, 0, 1), (np.sin(0.2), 0, np.cos(0.2)))


@pytest.mark.parametrize("clip", CLIPS)
def test_each_piece_begins_where_the_last_one_ends(clip: Clip) -> None:
    for index in (0, 1, 57, 255, 256, 511, 512):
        here, following = world_T_chunk(clip, index), world_T_chunk(clip, index + 1)
        end = here.rotation @ np.array([0, 0, CHUNK_M]) + here.shift
        np.testing.assert_allclose(end, following.shift, atol=1e-9)
        bend = turns(clip, index)[1]
        np.testing.assert_allclose(here.rotation @ turn(bend), following.rotation, atol=1e-12)
        assert turns(clip, index + 1)[0] == pytest.approx(bend)
        assert abs(bend) < 0.12


@pytest.mark.parametrize("clip", CLIPS)
def test_longer_tables_begin_with_the_shorter_ones(clip: Clip) -> None:
    for table in (lambda n: route._progress(clip, n), lambda n: route._chain(clip, n)[1]):
        np.testing.assert_array_equal(table(3)[: len(table(1))], table(1))


def test_speed_stays_within_bounds_and_standing_still_is_rare() -> None:
    standing, share = 0, []
    for seed in range(120):
        clip = Clip("day", seed, 0.7)
        steps = np.diff([progress(clip, frame) for frame in range(161)])
        assert (steps >= 0).all()
        assert steps.max() < 1.3
        standing += bool((steps < 1e-9).any())
        share.append((steps < 1e-9).mean())
    assert 2 <= standing <= 25
    assert 0 < np.mean(share) < 0.02


@pytest.mark.parametrize("clip", CLIPS)
def test_the_camera_moves_in_all_six_degrees_of_freedom(clip: Clip) -> None:
    poses = [camera_pose(clip, frame) for frame in range(40)]
    motions = [a.inverse().after(b) for a, b in pairwise(poses)]
    shifts = np.array([m.shift for m in motions])
    angles = np.array([(m.rotation - m.rotation.T)[[2, 0, 1], [1, 2, 0]] / 2 for m in motions])
    assert (shifts[:, 2] > -0.05).all()
    assert np.median(shifts[:, 2]) == pytest.approx(clip.metres_per_frame, rel=0.5)
    assert (shifts.std(axis=0) > 1e-4).all()
    assert (angles.std(axis=0) > 1e-4).all()
    assert np.abs(angles).max() < 0.06
    for pose in poses:
        np.testing.assert_allclose(pose.rotation @ pose.rotation.T, np.eye(3), atol=1e-12)
