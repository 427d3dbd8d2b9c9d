"""Depth runs scored through the command's stage: files, options, stored maps, and what is missing said clearly."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fathomseg
from fathomseg.data.datasets.kitti import Kitti
from fathomseg.data.datasets.streets import Streets
from fathomseg.errors import FathomError
from fathomseg.evaluation.motion import evaluate_motion
from fathomseg.metrics.depth import DepthProtocol
from fathomseg.inference.card import load_pose
from fathomseg.stages.evaluate import run
from fathomseg.stages.evaluate_depth import evaluate_depth_run
from tests.fakes import make_folder, make_kitti
from tests.stages.saved_run import save_depth_run
from tests.stages.saved_run import save_run
from tests.typecheck import unchecked

DATA = Streets(size=(40, 72), frames=6, val_clips=2)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_depth_run(tmp_path_factory.mktemp("runs") / "depth", DATA.model_dump(mode="json"))


def arguments(**changes: Any) -> dict[str, Any]:
    defaults = {"data": None, "overrides": [], "split": "val", "weights": "ema", "mode": None}
    return {**defaults, "against": None, "as_json": True, "report": False, "limit": None, **changes}


def test_scores_equal_an_oracle_over_the_public_predictor(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(saved), **arguments(weights="both", report=True)) == 0
    result = json.loads(capsys.readouterr().out)  # nothing but JSON on standard output
    folder = saved / "evaluation" / "val"
    assert json.loads((folder / "scores.json").read_text()) == result
    assert (folder / "report.html").stat().st_size > 50_000
    rows = list(csv.DictReader((folder / "images.csv").read_text().splitlines()))
    assert [row["id"] for row in rows] == DATA.ids("val")
    for weights in ("ema", "last"):
        predictor = fathomseg.load_depth(saved, weights, "cpu")
        errors = []
        for id, row in zip(DATA.ids("val"), rows, strict=True):
            truth = DATA.depth(id).astype(np.float64)
            valid = (truth > 1e-3) & (truth < 80)
            guess = np.clip(predictor.predict(DATA.image(id)).depth.astype(np.float64), 1e-3, 80)
            errors.append(np.mean(np.abs(guess - truth)[valid] / truth[valid]))
            assert float(row[f"abs_rel_none_{weights}"]) == pytest.approx(errors[-1], rel=1e-9)
        assert result["scores"][weights]["none"]["abs_rel"] == pytest.approx(np.mean(errors), rel=1e-9)
    assert result["scores"]["ema"]["none"] != result["scores"]["last"]["none"]
    motion = evaluate_motion(load_pose(saved), DATA, DATA.ids("val"), (32, 64))
    assert result["motion"]["all"]["ate_m"] == pytest.approx(motion["all"]["ate_m"])
    assert result["motion"]["all"]["clips"] == 2


def test_flip_reaches_the_network_and_is_written_down(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = []
    for flip in (False, True):
        run(str(saved), **arguments(flip=flip))
        results.append(json.loads(capsys.readouterr().out))
    assert [one["flip"] for one in results] == [False, True]
    stored = [json.loads((saved / "evaluation" / name / "scores.json").read_text()) for name in ("val", "val-flip")]
    assert stored == results
    assert results[0]["scores"]["ema"]["median"] != results[1]["scores"]["ema"]["median"]
    with pytest.raises(FathomError, match="leave out --flip"):
        evaluate_depth_run(saved, against=saved, flip=True)


def test_tables_are_printed_without_json(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(str(saved), **arguments(as_json=False))
    out = capsys.readouterr().out
    assert "Means over 12 images" in out
    assert "unscaled" in out
    assert "Camera motion over 2 clips, 12 frames" in out


def test_the_options_of_the_protocol_count(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = []
    for options in ({}, {"max_depth": 12.0}, {"crop": "garg"}):
        run(str(saved), **arguments(limit=2, **options))
        results.append(json.loads(capsys.readouterr().out)["scores"]["ema"])
    assert [one["settings"]["max_depth"] for one in results] == [80.0, 12.0, 80.0]
    assert [one["settings"]["crop"] for one in results] == ["none", "none", "garg"]
    assert len({one["pixels"] for one in results}) == 3
    names = ("val-first2", "val-first2-max12", "val-first2-garg")
    stored = [json.loads((saved / "evaluation" / name / "scores.json").read_text()) for name in names]
    assert [one["scores"]["ema"] for one in stored] == results
    with unchecked(), pytest.raises(FathomError, match="no crop 'gorg'"):
        run(str(saved), **arguments(crop="gorg"))


def test_a_limit_has_a_folder_of_its_own_and_takes_images_with_depth(tmp_path: Path) -> None:
    root = make_kitti(tmp_path / "kitti", layout="raw", frames=4)  # the first frame of a drive has no depth
    saved = save_depth_run(tmp_path / "run", Kitti(root=root).model_dump(mode="json"), pose=False)
    whole = evaluate_depth_run(saved, weights="last", report=False)
    result = evaluate_depth_run(saved, weights="last", report=False, limit=2)
    assert whole["scores"]["last"]["images"] == 3
    assert result["scores"]["last"]["images"] == 2
    assert {path.name for path in (saved / "evaluation").iterdir()} == {"val", "val-first2"}
    assert result["motion"] is None
    with pytest.raises(FathomError, match="at least 1"):
        evaluate_depth_run(saved, limit=0)


def test_poses_alone_give_the_trajectory_alone(tmp_path: Path) -> None:
    root = make_kitti(tmp_path / "kitti", layout="odometry", frames=6)
    saved = save_depth_run(tmp_path / "run", Kitti(root=root).model_dump(mode="json"))
    result = evaluate_depth_run(saved)
    assert result["scores"] == {}
    assert result["motion"]["all"]["frames"] == 6
    assert (saved / "evaluation" / "val" / "images.csv").read_text() == "id\n"


def test_what_is_missing_is_said(saved: Path, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "own")
    with pytest.raises(FathomError, match=r"split 'train' of folder .* images has depth, and none of its clips"):
        run(str(saved), **arguments(data=str(folder), split="train"))
    root = make_kitti(tmp_path / "kitti", layout="odometry", frames=4)
    short = Kitti(root=root)
    with pytest.raises(FathomError, match="no clip with poses has 5 frames"):
        evaluate_depth_run(saved, dataset=short)
    with pytest.raises(FathomError, match="stored maps tell nothing of camera motion"):
        evaluate_depth_run(saved, dataset=short, against=tmp_path)
    alone = save_depth_run(tmp_path / "alone", short.model_dump(mode="json"), pose=False)
    with pytest.raises(FathomError, match="has no network for camera motion"):
        evaluate_depth_run(alone)
    assert evaluate_depth_run(alone, optional=True) == evaluate_depth_run(alone, split="test", optional=True) == {}
    assert not (alone / "evaluation").exists()


def test_options_of_the_other_kind_of_run_are_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(FathomError, match="leave out --mode"):
        run(str(saved), **arguments(mode="slide"))
    with pytest.raises(FathomError, match="no weights 'best'"):
        run(str(saved), **arguments(weights="best"))
    other = save_run(tmp_path, DATA.classes, DATA.model_dump(mode="json"))
    with pytest.raises(FathomError, match="gives no depth; --max-depth and --crop"):
        run(str(other), **arguments(crop="garg"))


def test_stored_maps_of_the_network_score_as_the_network(saved: Path, tmp_path: Path) -> None:
    predictor = fathomseg.load_depth(saved, device="cpu")
    for id in DATA.ids("val"):
        path = tmp_path / "maps" / f"{id}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, predictor.predict(DATA.image(id)).depth)
    ours, theirs = (
        next(iter(evaluate_depth_run(saved, against=against, weights="ema")["scores"].values()))
        for against in (None, tmp_path / "maps")
    )
    for how in ("none", "median", "disparity"):
        assert theirs[how] == pytest.approx(ours[how], rel=1e-5)
    assert (saved / "evaluation" / "val-maps" / "report.html").is_file()


def test_the_protocol_is_part_of_the_result(saved: Path) -> None:
    result = evaluate_depth_run(saved, protocol=DepthProtocol(max_depth=20.0), report=False, limit=1)
    assert result["scores"]["ema"]["settings"] == {"min_depth": 1e-3, "max_depth": 20.0, "crop": "none"}
    assert {"abs_rel", "median", "ate_m"} <= set(evaluate_depth_run(saved, report=False)["meaning"])
