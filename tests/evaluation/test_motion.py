"""Camera motion: a pose network that knows the answers, in a unit of its own; clips; means over all of them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fathomseg.data.datasets.streets import Streets
from fathomseg.errors import DataError, Problem
from fathomseg.evaluation.motion import MEANING, clips, motion_scores, predict_drives
from fathomseg.geometry.trajectory import trajectory_scores
from fathomseg.models.pose import PoseConfig
from tests.stages.saved_joint_run import ENCODER
from tests.toy_drive import SIZE, ToyDrive, ToyPose, world_T_cam


def test_a_network_that_knows_the_motions_is_right_but_for_its_unit() -> None:
    dataset, pose = ToyDrive(lengths=(20, 3, 6)), ToyPose(unit=4.0).train()
    result = motion_scores(predict_drives(pose, dataset, dataset.ids("val"), SIZE))
    assert pose.training
    assert pose.pairs == [8, 8, 3, 2, 5]  # batches of 8 pairs; every pair once
    over_all = result["all"]
    assert over_all["ate_m"] < 1e-4
    assert over_all["rotation_deg"] < 1e-4
    assert over_all["direction_deg"] < 1e-3
    assert over_all["scale"] == pytest.approx(4.0, rel=1e-4)
    assert over_all["scale_spread"] < 1e-4
    assert (over_all["clips"], over_all["clips_too_short"], over_all["frames"]) == (2, 1, 26)
    assert [row["clip"] for row in result["clips"]] == ["c0/00", "c2/00"]
    assert {key for row in result["clips"] for key in row} | set(over_all) <= set(MEANING) | {"clip"}


def test_the_opposite_motion_is_as_wrong_as_can_be() -> None:
    dataset = ToyDrive(lengths=(8,))
    result = motion_scores(predict_drives(ToyPose(way=-1.0), dataset, dataset.ids("val"), SIZE))["all"]
    assert result["direction_deg"] == pytest.approx(180, abs=1e-2)
    assert result["ate_m"] > 1.5


def test_drives_begin_at_the_identity_and_hold_the_true_poses() -> None:
    dataset = ToyDrive(lengths=(6,))
    (drive,) = predict_drives(ToyPose(), dataset, dataset.ids("val"), SIZE)
    np.testing.assert_array_equal(drive.predicted[0], np.eye(4))
    np.testing.assert_allclose(drive.truth[5], world_T_cam(5))
    seen_from_first = np.linalg.inv(world_T_cam(0)) @ world_T_cam(5)
    np.testing.assert_allclose(drive.predicted[5], seen_from_first, atol=1e-5)


def test_means_over_clips_are_those_over_their_snippets() -> None:
    dataset = Streets(size=(32, 64), frames=9, val_clips=2)
    ids = [id for id in dataset.ids("val") if id not in ("val/0001/000000", "val/0001/000008")]
    pose = PoseConfig(encoder=ENCODER).build(pretrained=False)
    drives = predict_drives(pose, dataset, ids, (32, 64))
    result = motion_scores(drives)
    alone = [trajectory_scores(drive.predicted, drive.truth) for drive in drives]
    assert [len(drive.ids) for drive in drives] == [9, 7]
    for key in ("ate_m", "ate_zhou_m"):
        assert result["all"][key] == pytest.approx((5 * alone[0][key] + 3 * alone[1][key]) / 8)
    rotation = (8 * alone[0]["rotation_deg"] + 6 * alone[1]["rotation_deg"]) / 14
    assert result["all"]["rotation_deg"] == pytest.approx(rotation)
    assert alone[0]["ate_m"] != alone[1]["ate_m"]
    assert result["all"]["t_rel_percent"] is None


def test_nothing_to_score_is_null() -> None:
    result = motion_scores([])
    assert result["clips"] == []
    assert result["all"]["ate_m"] is result["all"]["scale"] is None
    assert result["all"]["clips"] == 0


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    step=st.integers(1, 3),
    left_out=st.sets(st.integers(0, 35), max_size=5),
)
def test_clips_are_the_longest_runs_of_neighbours(lengths: list[int], step: int, left_out: set[int]) -> None:
    dataset = ToyDrive(lengths=tuple(lengths))
    ids = [id for i, id in enumerate(dataset.ids("val")) if i not in left_out]
    found = clips(dataset, ids, step)
    frames = [id for clip in found for id in clip]
    assert len(frames) == len(set(frames))
    for clip in found:
        assert len(clip) > 1
        assert all(dataset.neighbour(a, step) == b for a, b in pairwise(clip))
        assert dataset.neighbour(clip[0], -step) not in ids
        assert dataset.neighbour(clip[-1], step) not in ids
    alone = set(ids) - set(frames)
    assert all(dataset.neighbour(id, way * step) not in ids for id in alone for way in (1, -1))


def test_without_poses_there_are_no_clips() -> None:
    dataset = ToyDrive(poses=False)
    assert clips(dataset, dataset.ids("val")) == []


class Broken(ToyDrive):
    def image(self, id: str) -> np.ndarray:
        if id in ("c0/02", "c1/00"):
            raise DataError([Problem(id, "bad image")])
        return super().image(id)


def test_every_bad_frame_is_named() -> None:
    class Any(ToyPose):
        def forward(self, first, second, K):  # type: ignore[no-untyped-def]
            return super().forward(first, first + 1 / 255, K)

    dataset = Broken(lengths=(7, 6))
    with pytest.raises(DataError) as caught:
        predict_drives(Any(), dataset, dataset.ids("val"), SIZE)
    assert [problem.where for problem in caught.value.problems] == ["c0/02", "c1/00"]
