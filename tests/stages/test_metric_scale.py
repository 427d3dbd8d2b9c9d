"""Metres for a run that learned depth from video: what is said, what the card holds, what is predicted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from fathomseg.config import validate
from fathomseg.inference.card import load_card
from fathomseg.inference.depth_scale import DepthScale
from fathomseg.io.depth_maps import read_scale
from fathomseg.stages import metric_scale, predict
from fathomseg.stages.recipe import Recipe
from fathomseg.stages.train import train
from tests.stages.tiny_depth import LOOP, drive, settings

SHORT = {**LOOP, "steps": 1, "save_every": 1}
KNOWN = DepthScale(metres_per_unit=3.0, source="poses", measured=40, spread=0.05)


def pretrain(folder: Path, **sections: object) -> Path:
    train(validate(Recipe, settings(train=SHORT, **sections)), folder, resume=False)
    return folder


def test_metres_reach_the_card_and_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(metric_scale, "scale_from_poses", lambda *_: KNOWN)
    run = pretrain(tmp_path / "run")
    assert "1 unit = 3 m (median of 40, spread 5 %), from the poses of the clips" in capsys.readouterr().err
    card = load_card(run)
    assert (card.depth_unit, card.depth_scale, card.depth_alignment) == ("metres", KNOWN, "none")
    assert card.tasks["depth"].depth_range == pytest.approx((0.3, 300.0))
    photo = next(drive(tmp_path / "photos", clips=1, frames=1).rglob("*.png"))
    assert predict.run(str(run), str(photo), str(tmp_path / "out"), device="cpu", pointcloud=True, camera="80") == 0
    assert read_scale(tmp_path / "out") == pytest.approx((0.3, 300.0))
    assert json.loads((tmp_path / "out" / "depth.json").read_text())["unit"] == "metres"
    cloud = next((tmp_path / "out" / "points").rglob("*.ply"))
    assert b"comment unit metres" in cloud.read_bytes()


def test_a_known_speed_comes_before_the_height(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = drive(tmp_path / "own", clips=1)
    given = []

    def of_speed(pose: object, dataset: object, ids: object, size: object, metres: float, device: object) -> DepthScale:
        given.append(metres)
        return KNOWN.model_copy(update={"source": "speed"})

    monkeypatch.setattr(metric_scale, "scale_from_speed", of_speed)
    known = {"data": {"name": "folder", "root": str(root)}, "streams": {"clips": {"camera": {"name": "field_of_view"}}}}
    scale = {"metres_per_frame": 0.8, "camera_height": 1.5}
    card = load_card(pretrain(tmp_path / "run", metric_scale=scale, **known))
    assert given == [0.8]
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
    measured = []

    def of_height(predictor: object, dataset: object, ids: Sequence[str], camera: Any, height: Any) -> DepthScale:
        measured.extend((camera(id).width, height(id)) for id in ids)
        return KNOWN.model_copy(update={"source": "camera_height"})

    monkeypatch.setattr(metric_scale, "scale_from_camera_height", of_height)
    card = load_card(pretrain(tmp_path / "height", **known))
    assert set(measured) == {(96, 1.5)}
    assert card.depth_scale is not None
    assert card.depth_scale.source == "camera_height"


def test_a_scale_that_is_not_wanted_is_not_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_scale, "scale_from_poses", lambda *_: KNOWN)
    run = pretrain(tmp_path / "run", metric_scale={"source": "none"})
    assert load_card(run).depth_unit == "relative"


def test_measurements_that_differ_leave_depth_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_scale, "scale_from_poses", lambda *_: KNOWN.model_copy(update={"spread": 0.9}))
    card = load_card(pretrain(tmp_path / "run"))
    assert (card.depth_unit, card.depth_scale, card.depth_alignment) == ("relative", None, "median")
