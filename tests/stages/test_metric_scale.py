"""Metres for a run that learned depth from video: what is said, what the card holds, what is predicted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from fathomseg.config import validate
from fathomseg.evaluation.motion import cameras_of
from fathomseg.inference.card import ModelCard, load_card
from fathomseg.inference.depth_scale import DepthScale
from fathomseg.io.depth_maps import read_scale
from fathomseg.models.pose import PoseNetwork
from fathomseg.stages import predict
from fathomseg.stages.train import train
from fathomseg.tasks.depth import Depth
from fathomseg.tasks.network import NetworkConfig
from fathomseg.training import metric_scale
from fathomseg.training.metric_scale import MetricScale, with_scale
from fathomseg.training.recipe import Recipe
from tests.stages.saved_joint_run import network_of
from tests.stages.tiny_depth import LOOP, SIZE, clips, drive, settings
from tests.toy_drive import ToyDrive

SHORT = {**LOOP, "steps": 1, "save_every": 1}
CARD = ModelCard(network=NetworkConfig(tasks={"depth": Depth()}), size=(64, 128), depth_unit="relative")
KNOWN = DepthScale(metres_per_unit=3.0, source="poses", measured=40, spread=0.05)


def pretrain(folder: Path, resume: bool = False, **sections: object) -> Path:
    train(validate(Recipe, settings(train=SHORT, **sections)), folder, resume=resume)
    return folder


def test_metres_reach_the_card_and_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(metric_scale, "scale_from_poses", lambda *_: KNOWN)
    run = pretrain(tmp_path / "run")
    assert "1 unit = 3 m (median of 40, spread 5 %), from the poses of the clips" in capsys.readouterr().err
    card = load_card(run)
    assert (card.depth_unit, card.depth_scale, card.depth_alignment) == ("metres", KNOWN, "median")
    assert card.tasks["depth"].depth_range == pytest.approx((0.3, 300.0))
    photo = next(drive(tmp_path / "photos", clips=1, frames=1).rglob("*.png"))
    out = str(tmp_path / "out")
    assert not predict.predicted(str(run), str(photo), out, device="cpu", pointcloud=True, camera="80").problems
    assert read_scale(tmp_path / "out") == pytest.approx((0.3, 300.0))
    assert json.loads((tmp_path / "out" / "depth.json").read_text())["unit"] == "metres"
    cloud = next((tmp_path / "out" / "points").rglob("*.ply"))
    assert b"comment unit metres" in cloud.read_bytes()


def test_a_known_speed_comes_before_the_height(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = drive(tmp_path / "own", clips=1)
    (clip,) = (root / "clips").iterdir()
    for number in (5, 6, 7):  # the camera stands at the end
        shutil.copy(clip / "000004.png", clip / f"{number:06d}.png")
    given = []

    def of_speed(
        pose: object, dataset: object, ids: list[str], size: object, camera: Any, metres: float, step: int, device: Any
    ) -> DepthScale:
        given.append((metres, step, len({camera(id) for id in ids}), len(ids)))
        return KNOWN.model_copy(update={"source": "speed"})

    monkeypatch.setattr(metric_scale, "scale_from_speed", of_speed)
    known = {"data": {"name": "folder", "root": str(root)}, "streams": {"clips": {"camera": {"name": "field_of_view"}}}}
    scale = {"metres_per_frame": 0.8, "camera_height": 1.5}
    card = load_card(pretrain(tmp_path / "run", metric_scale=scale, **known))
    assert given == [(0.8, 1, 1, 8)], "a mean speed is one of all frames, not of those alone in which the camera moves"
    assert card.depth_unit == "metres"
    assert card.depth_scale is not None
    assert card.depth_scale.source == "speed"


def test_without_poses_the_height_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = drive(tmp_path / "own", clips=1)
    known = {"data": {"name": "folder", "root": str(root)}, "streams": {"clips": {"camera": {"name": "field_of_view"}}}}
    assert load_card(pretrain(tmp_path / "relative", **known)).depth_unit == "relative"
    assert "give camera_height: METRES in dataset.yaml" in capsys.readouterr().err
    described = yaml.safe_load((root / "dataset.yaml").read_text())
    (root / "dataset.yaml").write_text(yaml.safe_dump({**described, "camera_height": 1.5}))
    pretrain(tmp_path / "no-ground", **known)
    told = capsys.readouterr().err
    assert "the camera's height is known, but predicted depth shows no level ground ahead" in told
    assert "give camera_height: METRES" not in told
    measured = []

    def of_height(predictor: object, dataset: object, ids: Sequence[str], camera: Any, height: Any) -> DepthScale:
        measured.extend((camera(id).width, height(id)) for id in ids)
        return KNOWN.model_copy(update={"source": "camera_height"})

    monkeypatch.setattr(metric_scale, "scale_from_camera_height", of_height)
    card = load_card(pretrain(tmp_path / "height", **known))
    assert set(measured) == {(96, 1.5)}
    assert card.depth_scale is not None
    assert card.depth_scale.source == "camera_height"
    card = load_card(pretrain(tmp_path / "relative", resume=True, **known))
    assert card.depth_unit == "metres", "as the line says that asks for the height"


def test_a_scale_that_is_not_wanted_is_not_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_scale, "scale_from_poses", lambda *_: KNOWN)
    run = pretrain(tmp_path / "run", metric_scale={"source": "none"})
    assert load_card(run).depth_unit == "relative"


def test_measurements_that_differ_leave_depth_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_scale, "scale_from_poses", lambda *_: KNOWN.model_copy(update={"spread": 0.9}))
    card = load_card(pretrain(tmp_path / "run"))
    assert (card.depth_unit, card.depth_scale, card.depth_alignment) == ("relative", None, "median")


def test_depth_learned_elsewhere_stays_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A unit of the clips need not be one of the images the network is for."""
    monkeypatch.setattr(metric_scale, "scale_from_poses", lambda *_: KNOWN)
    elsewhere = {"name": "folder", "root": str(drive(tmp_path / "own", clips=1))}
    run = pretrain(
        tmp_path / "run", streams=clips(data=elsewhere, camera={"name": "field_of_view"}, split="clips", size=[32, 64])
    )
    card = load_card(run)
    assert (card.depth_unit, card.depth_scale) == ("relative", None)
    assert "Depth stays relative: it was learned from folder" in capsys.readouterr().err
    assert (card.size, card.pose_size) == (SIZE, (32, 64))


class Stops(ToyDrive):
    """The camera stands from the fifth of eight frames on."""

    lengths: tuple[int, ...] = (8,)

    def image(self, id: str) -> np.ndarray:
        return np.full((6, 8, 3), 10 + min(int(id[-2:]), 4), np.uint8)


class Ahead(PoseNetwork):
    """Knows by how much frames get brighter how far the camera went: 1.5 m a step, in units of 7 m."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[int, ...]] = set()
        self.steps: set[float] = set()

    def forward(self, first: Tensor, second: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
        self.seen.add(tuple(first.shape[2:]))
        steps = (255 * (second - first).mean((1, 2, 3))).round()
        self.steps |= set(steps.tolist())
        return torch.zeros(len(steps), 3), torch.outer(steps, torch.tensor([0.0, 0.0, -1.5 / 7]))


def measured(scale: MetricScale, pose: PoseNetwork, card: ModelCard = CARD, apart: int = 1) -> list[DepthScale]:
    dataset = Stops()
    every = dataset.ids("val")
    runs = [every[first : first + 2 * apart + 1 : apart] for first in range(5 - 2 * apart)]
    return scale.measure(card, network_of(["depth"]), pose, dataset, runs, every, cameras_of(dataset))


def test_a_mean_speed_counts_frames_in_which_the_camera_stands() -> None:
    scale = MetricScale(source="speed", metres_per_frame=4 * 1.5 / 7)
    (found,) = measured(scale, Ahead())
    assert found.metres_per_unit == pytest.approx(7.0, rel=1e-5)


@pytest.mark.parametrize("apart", [1, 2])
@pytest.mark.parametrize("source", ["poses", "speed"])
def test_motions_are_measured_between_frames_as_far_apart_as_those_learned_from(source: Any, apart: int) -> None:
    pose = Ahead()
    mean = {1: 4 / 7, 2: 7 / 6}[apart]  # of steps 1 1 1 1 0 0 0, or 2 2 2 1 0 0
    (found,) = measured(MetricScale(source=source, metres_per_frame=1.5 * mean / apart), pose, apart=apart)
    assert found.metres_per_unit == pytest.approx(7.0, rel=2e-3), "by poses it moves sideways, too"
    assert max(pose.steps) == apart
    assert pose.steps == {apart} or source == "speed"


@pytest.mark.parametrize("size", [None, (16, 48)])
@pytest.mark.parametrize("source", ["poses", "speed"])
def test_motions_are_measured_at_the_size_they_were_learned_at(size: tuple[int, int] | None, source: Any) -> None:
    pose = Ahead()
    measured(MetricScale(source=source, metres_per_frame=1.0), pose, CARD.model_copy(update={"pose_size": size}))
    assert pose.seen == {size or CARD.size}


def test_what_cannot_be_relied_on_is_not_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    few = KNOWN.model_copy(update={"measured": 3})
    high = KNOWN.model_copy(update={"source": "camera_height"})
    monkeypatch.setattr(metric_scale, "scale_from_poses", lambda *_: few)
    monkeypatch.setattr(metric_scale, "Predictor", lambda *_, **__: None)
    monkeypatch.setattr(metric_scale, "scale_from_camera_height", lambda *_: high)
    assert measured(MetricScale(), Ahead()) == [high]
    monkeypatch.setattr(metric_scale, "scale_from_camera_height", lambda *_: high.model_copy(update={"measured": 4}))
    assert measured(MetricScale(), Ahead()) == [few], "the first one is reported"
    assert measured(MetricScale(source="poses"), Ahead()) == [few]


@pytest.mark.parametrize(("metres", "unit"), [(3.5, "metres"), (2.4, "relative"), (3.7, "relative")])
def test_two_sources_that_contradict_each_other_are_no_scale(
    metres: float, unit: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """KNOWN is 3 m by poses."""
    high = KNOWN.model_copy(update={"source": "camera_height", "metres_per_unit": metres})
    monkeypatch.setattr(metric_scale, "scale_from_poses", lambda *_: KNOWN)
    monkeypatch.setattr(metric_scale, "Predictor", lambda *_, **__: None)
    monkeypatch.setattr(metric_scale, "scale_from_camera_height", lambda *_: high)
    found = measured(MetricScale(), Ahead())
    assert found == [KNOWN, high]
    card = with_scale(CARD, found)
    assert (card.depth_unit, card.depth_scale) == (unit, KNOWN if unit == "metres" else None)
    told = capsys.readouterr().err
    assert ("Set metric_scale.source to the one that is right (poses or camera_height)" in told) == (unit != "metres")
    assert with_scale(CARD, measured(MetricScale(source="camera_height"), Ahead())).depth_scale == high
