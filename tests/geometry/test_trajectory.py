"""Trajectory measures against numbers worked by hand, slow loops and properties."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fathomseg.errors import DataError, FathomError
from fathomseg.geometry.trajectory import (
    MEANING,
    align,
    angles,
    chain,
    from_first,
    inverse,
    read_poses,
    segment_errors,
    snippet_errors,
    step_errors,
    steps,
    trajectory_scores,
    umeyama,
)
from tests.typecheck import unchecked


def rotation(axis: list[float] | np.ndarray, angle: float) -> np.ndarray:
    """Rodrigues' formula."""
    x, y, z = np.asarray(axis, np.float64) / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * k + (1 - math.cos(angle)) * k @ k


def pose(t: list[float] | np.ndarray, r: np.ndarray | None = None) -> np.ndarray:
    made = np.eye(4)
    made[:3, 3] = t
    if r is not None:
        made[:3, :3] = r
    return made


def drive(frames: int, metres: float = 1.0, seed: int = 0) -> np.ndarray:
    """A wandering drive, from somewhere in the world, of about `metres` a frame."""
    rng = np.random.default_rng(seed)
    moves = [
        pose(
            [0.02 * rng.normal(), 0.01 * rng.normal(), metres * rng.uniform(0.5, 1.5)],
            rotation(rng.normal(size=3), 0.03),
        )
        for _ in range(frames - 1)
    ]
    return pose([5, 1, -3], rotation([1, 2, 3], 0.7)) @ chain(np.stack(moves))


def straight(*z: float) -> np.ndarray:
    return np.stack([pose([0, 0, at]) for at in z])


def scaled(poses: np.ndarray, factor: float) -> np.ndarray:
    made = poses.copy()
    made[:, :3, 3] *= factor
    return made


def test_a_perfect_prediction_has_no_error_in_any_measure() -> None:
    truth = drive(300)
    for how in ("none", "scale", "7dof"):
        scores = trajectory_scores(truth, truth, how)  # type: ignore[arg-type]
        errors = {key: value for key, value in scores.items() if key not in {"segments", "scale", "frames"}}
        assert all(value == pytest.approx(0, abs=1e-10) for value in errors.values()), errors
        assert scores["scale"] == pytest.approx(1)
        assert scores["segments"] > 20


def test_snippet_by_hand_with_three_frames() -> None:
    # Truth at 0, 1, 3 m; predicted 0, 1, 2. Best factor (1*1 + 2*3) / (1 + 4) = 7/5: 0, 1.4, 2.8; off by 0.4 and 0.2.
    error = snippet_errors(straight(0, 1, 2), straight(0, 1, 3), length=3)
    assert error.tolist() == [pytest.approx(math.sqrt((0.4**2 + 0.2**2) / 3))]


def test_step_errors_by_hand_with_three_frames() -> None:
    # Predicted straight ahead; the truth turns left by 2 degrees, then travels 30 degrees to the right of its axis.
    turned = rotation([0, 1, 0], math.radians(-2))
    sideways = [math.sin(math.radians(30)), 0, math.cos(math.radians(30))]
    truth = chain(np.stack([pose([0, 0, 1], turned), pose(sideways)]))
    turn, direction = step_errors(straight(0, 1, 2), truth)
    np.testing.assert_allclose(turn, [2, 0], atol=1e-12)
    np.testing.assert_allclose(direction, [0, 30], atol=1e-12)


def test_segments_by_hand() -> None:
    # 1 m a frame, predicted 5 % long, turning 0.01 degrees a frame: 100 m segments end at the first frame beyond.
    truth = straight(*range(0, 141))
    turning = chain(np.stack([pose([0, 0, 1.05])] * 140))
    errors = segment_errors(turning, truth, lengths_m=(100.0,), every=10)
    assert len(errors) == 4  # from 0, 10, 20, 30: the last ends at frame 131
    np.testing.assert_allclose(errors[:, 0], 101 * 0.05 / 100)
    np.testing.assert_allclose(errors[:, 1], 0, atol=1e-15)
    rolling = chain(np.stack([pose([0, 0, 1], rotation([0, 0, 1], math.radians(0.01)))] * 140))
    errors = segment_errors(rolling, truth, lengths_m=(100.0,), every=10)
    np.testing.assert_allclose(errors[:, 0], 0, atol=1e-15)  # turning about the direction of travel
    np.testing.assert_allclose(np.degrees(errors[:, 1]), 101 * 0.01 / 100)


def oracle_segments(predicted: np.ndarray, truth: np.ndarray, lengths: tuple[float, ...]) -> list[tuple[float, float]]:
    """The benchmark's description, in loops."""
    path = [0.0]
    for i in range(1, len(truth)):
        path.append(path[-1] + float(np.linalg.norm(truth[i][:3, 3] - truth[i - 1][:3, 3])))
    found = []
    for first in range(0, len(truth), 10):
        for length in lengths:
            last = next((i for i in range(first, len(truth)) if path[i] > path[first] + length), None)
            if last is None:
                continue
            true = np.linalg.inv(truth[first]) @ truth[last]
            guess = np.linalg.inv(predicted[first]) @ predicted[last]
            error = np.linalg.inv(guess) @ true
            angle = math.acos(max(min(0.5 * (np.trace(error[:3, :3]) - 1), 1.0), -1.0))
            found.append((float(np.linalg.norm(error[:3, 3])) / length, angle / length))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_segments_equal_the_loops(seed: int) -> None:
    truth, predicted = drive(260, 1.2, seed), drive(260, 1.2, seed + 10)
    expected = oracle_segments(predicted, truth, (50, 100, 200))
    assert len(expected) > 20
    np.testing.assert_allclose(segment_errors(predicted, truth, (50, 100, 200)), expected, rtol=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_snippets_equal_the_loops(seed: int) -> None:
    truth, predicted = drive(12, 1.0, seed), drive(12, 0.1, seed + 10)
    for start, error in enumerate(snippet_errors(predicted, truth)):
        p = [(np.linalg.inv(predicted[start]) @ predicted[start + k])[:3, 3] for k in range(5)]
        t = [(np.linalg.inv(truth[start]) @ truth[start + k])[:3, 3] for k in range(5)]
        f = sum(a @ b for a, b in zip(p, t, strict=True)) / sum(a @ a for a in p)
        exact = math.sqrt(sum(float(((f * a - b) ** 2).sum()) for a, b in zip(p, t, strict=True)) / 5)
        assert error == pytest.approx(exact, rel=1e-10)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 1000),
    st.floats(0.01, 100),
    st.floats(0, math.pi),
    st.lists(st.floats(-50, 50), min_size=3, max_size=3),
)
def test_umeyama_recovers_a_similarity(seed: int, scale: float, angle: float, shift: list[float]) -> None:
    rng = np.random.default_rng(seed)
    points, turn = rng.normal(size=(10, 3)), rotation(rng.normal(size=3), angle)
    found = umeyama(points, scale * points @ turn.T + shift)
    assert found.scale == pytest.approx(scale, rel=1e-9)
    np.testing.assert_allclose(found.rotation, turn, atol=1e-9)
    np.testing.assert_allclose(found.translation, shift, atol=1e-9 * (50 + scale))


def test_umeyama_never_mirrors_and_beats_its_neighbours() -> None:
    rng = np.random.default_rng(3)
    source = rng.normal(size=(20, 3))
    target = source * [1, 1, -1] + 0.1 * rng.normal(size=(20, 3))  # a mirror image fits best
    found = umeyama(source, target)
    assert np.linalg.det(found.rotation) == pytest.approx(1)

    def cost(turn: np.ndarray, scale: float) -> float:
        moved = scale * (source - source.mean(0)) @ turn.T + target.mean(0)
        return float(((moved - target) ** 2).sum())

    best = cost(found.rotation, found.scale)
    for _ in range(50):
        assert best <= cost(rotation(rng.normal(size=3), 0.05) @ found.rotation, found.scale)
        assert best <= cost(found.rotation, found.scale * rng.uniform(0.9, 1.1))


def test_umeyama_of_a_straight_line_and_of_a_point() -> None:
    line = np.array([[0.0, 0, z] for z in range(4)])
    found = umeyama(line, 3 * line[:, [2, 0, 1]] + 1)
    np.testing.assert_allclose(found.scale * line @ found.rotation.T + found.translation, 3 * line[:, [2, 0, 1]] + 1)
    assert umeyama(np.zeros((4, 3)), line).scale == 1


def test_alignment_undoes_the_world_and_the_scale_but_only_as_far_as_told() -> None:
    truth = drive(200)
    predicted = pose([3, 2, 1], rotation([3, 1, 0], 2.0)) @ scaled(truth, 0.05)
    for how in ("scale", "7dof"):
        aligned, scale = align(predicted, truth, how)  # type: ignore[arg-type]
        assert scale == pytest.approx(20)
        np.testing.assert_allclose(from_first(aligned), from_first(truth), atol=1e-9)
    aligned, scale = align(predicted, truth, "none")
    assert scale == 1
    np.testing.assert_allclose(aligned[:, :3, 3], 0.05 * from_first(truth)[:, :3, 3], atol=1e-9)
    errors = trajectory_scores(predicted, truth, "none")
    assert errors["t_rel_percent"] == pytest.approx(95, abs=3)  # path, not chord, is 100 m long
    assert errors["ate_m"] == pytest.approx(0, abs=1e-9)  # each snippet is scaled
    assert errors["direction_deg"] == pytest.approx(0, abs=1e-6)


def test_driving_backwards_is_not_forgiven_by_a_negative_scale() -> None:
    truth = straight(0, 1, 2, 3, 4, 5)
    expected = math.sqrt((1 + 4 + 9 + 16) / 5)
    np.testing.assert_allclose(snippet_errors(scaled(truth, -1), truth), expected)
    assert step_errors(scaled(truth, -1), truth)[1].tolist() == [180] * 5
    assert align(scaled(truth, -1), truth, "scale")[1] == 0


def test_no_motion_predicted_and_no_motion_true() -> None:
    still, moving = straight(*[0.0] * 6), straight(0, 0.1, 0.2, 0.2, 0.24, 1)
    turn, direction = step_errors(still, moving)
    assert direction.tolist() == [90, 90, 90]  # two steps of less than 5 cm do not count
    assert turn.tolist() == [0] * 5
    scores = trajectory_scores(still, moving)
    assert scores["t_rel_percent"] is scores["r_rel_deg_per_100m"] is None
    assert trajectory_scores(moving, still)["direction_deg"] is None
    assert trajectory_scores(moving, still)["ate_m"] == 0  # the best scale is nothing


def test_small_and_large_angles_are_exact() -> None:
    wanted = [0.0, 1e-9, 1e-4, 1.0, math.pi - 1e-6, math.pi]
    found = angles(np.stack([rotation([1, -2, 0.5], angle) for angle in wanted]))
    np.testing.assert_allclose(found, wanted, rtol=1e-7, atol=1e-15)


def test_chain_and_steps_are_inverse() -> None:
    truth = from_first(drive(20))
    np.testing.assert_allclose(chain(steps(truth)), truth, atol=1e-12)
    np.testing.assert_allclose(inverse(truth) @ truth, np.tile(np.eye(4), (20, 1, 1)), atol=1e-12)


def test_the_result_is_json_and_its_keys_are_explained() -> None:
    scores = json.loads(json.dumps(trajectory_scores(drive(150, seed=1), drive(150)), allow_nan=False))
    assert scores.keys() == MEANING.keys()
    assert scores["ate_zhou_m"] == pytest.approx(scores["ate_m"] / math.sqrt(5))
    assert min(scores["ate_m"], scores["t_rel_percent"], scores["rotation_deg"], scores["direction_deg"]) > 0


def test_poses_survive_a_file_to_the_last_bit(tmp_path: Path) -> None:
    truth = drive(7)
    lines = (" ".join(repr(float(value)) for value in pose[:3].reshape(-1)) for pose in truth)
    (tmp_path / "poses.txt").write_text("".join(f"{line}\n" for line in lines))
    np.testing.assert_array_equal(read_poses(tmp_path / "poses.txt"), truth)
    first = (tmp_path / "poses.txt").read_text().splitlines()[0].split()
    assert [float(first[i]) for i in (3, 7, 11)] == truth[0, :3, 3].tolist()


@pytest.mark.parametrize("bad", ["1 2 3", "a " * 12, "nan " * 12, "1 " * 13, ""])
def test_a_bad_pose_file_is_named_with_its_line(tmp_path: Path, bad: str) -> None:
    good = "1 0 0 0 0 1 0 0 0 0 1 0"
    (tmp_path / "poses.txt").write_text(f"{good}\n{bad}\n{good}\n")
    with pytest.raises(DataError, match=r"poses.txt line 2: is not a pose; expected 12"):
        read_poses(tmp_path / "poses.txt")


def test_trajectories_that_do_not_fit_are_refused() -> None:
    with unchecked(), pytest.raises(FathomError, match="5 predicted poses for 6 true ones"):
        trajectory_scores(drive(5), drive(6))
    with pytest.raises(FathomError, match="A snippet has 5 frames, but the trajectory only 4"):
        trajectory_scores(drive(4), drive(4))
    with pytest.raises(FathomError, match="not finite"):
        trajectory_scores(drive(6) * np.nan, drive(6))
    with unchecked(), pytest.raises(FathomError, match=r"shape \(6, 3\)"):
        align(drive(6)[:, :3, 3], drive(6), "7dof")


@pytest.mark.realdata
def test_the_real_odometry_clip(real_data: Path) -> None:
    truth = read_poses(real_data / "kitti_clips" / "odometry_gray" / "poses.txt")
    assert trajectory_scores(scaled(truth, 0.03), truth)["t_rel_percent"] < 1e-4
    worse = trajectory_scores(chain(np.tile(pose([0, 0, 1]), (800, 1, 1))), truth)  # always straight on
    assert worse["t_rel_percent"] > 10
    assert worse["r_rel_deg_per_100m"] > 10
    assert worse["ate_m"] < 0.2
