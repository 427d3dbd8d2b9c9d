"""What a resumed run may be told anew, and on which device a run is scored."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from fathomseg.data.labelled import Labels
from fathomseg.errors import ConfigError, FathomError
from fathomseg.evaluation.ranks import processes
from fathomseg.stages.run_folder import begin, labelled_ids, own_device, refuse_changes


@pytest.mark.parametrize(
    "setting",
    [
        "data.root=elsewhere",
        "data.datasets.town.root=elsewhere",
        "streams.clips.data.root=elsewhere",
        "streams.unlabelled.data.datasets.my-town.root=elsewhere",
        "train.device=cpu",
    ],
)
def test_where_things_lie_and_run_may_change(setting: str) -> None:
    refuse_changes([setting])


@pytest.mark.parametrize(
    "setting",
    [
        "data.name=camvid",
        "data.datasets.town.name=kitti",
        "data.datasets.root=x",
        "clips.data.root=x",
        "streams.clips.root=x",
        "train.deviceful=cpu",
        "seed=1",
    ],
)
def test_what_is_learned_may_not(setting: str) -> None:
    with pytest.raises(ConfigError, match=f"{setting} cannot be given; only data.root, .* the root of each dataset"):
        refuse_changes(["data.root=elsewhere", setting])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("train: {device: cpu}\n", "cpu"), ("train: {device: cuda}\n", "cuda"), ("train: {}\n", "auto"), (None, "auto")],
)
def test_the_device_of_a_run(tmp_path: Path, text: str | None, wanted: str) -> None:
    if text is not None:
        (tmp_path / "config.yaml").write_text(text)
    assert own_device(tmp_path) == wanted


@pytest.mark.parametrize(("wanted", "device"), [("cpu", "cpu"), ("auto", "cuda"), ("cuda", "cuda")])
def test_a_run_on_the_cpu_is_scored_there(monkeypatch: pytest.MonkeyPatch, wanted: str, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with processes(wanted) as found:
        assert found.type == device


def test_only_what_a_failed_run_has_left_makes_way(tmp_path: Path) -> None:
    """Its own files, by the streams of its own configuration; a folder with anything else is kept."""
    (tmp_path / "config.yaml").write_text("streams: {mine: {}}")
    for name in ("origin.json", "mine.txt", "frames-mine.csv"):
        (tmp_path / name).write_text("{}")
    begin(tmp_path, Labels(), {"other": ["a", "b"]}, Accelerator(cpu=True))
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", "origin.json", "other.txt"}
    assert labelled_ids(tmp_path, ["other", "clips"]) == {"other": ("a", "b")}
    (tmp_path / "config.yaml").write_text("streams: {mine: {}}")
    with pytest.raises(FathomError, match="exists and is not empty"):
        begin(tmp_path, Labels(), {}, Accelerator(cpu=True))
    assert (tmp_path / "other.txt").is_file()
