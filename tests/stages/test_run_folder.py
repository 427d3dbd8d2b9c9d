"""What a resumed run may be told anew, and on which device a run is scored."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fathomseg.errors import ConfigError
from fathomseg.evaluation.ranks import processes
from fathomseg.stages.run_folder import own_device, refuse_changes


@pytest.mark.parametrize(
    "setting",
    [
        "data.root=elsewhere",
        "data.datasets.town.root=elsewhere",
        "clips.data.root=elsewhere",
        "unlabelled.data.datasets.my-town.root=elsewhere",
        "train.device=cpu",
    ],
)
def test_where_things_lie_and_run_may_change(setting: str) -> None:
    refuse_changes([setting])


@pytest.mark.parametrize(
    "setting",
    ["data.name=camvid", "data.datasets.town.name=kitti", "data.datasets.root=x", "train.deviceful=cpu", "seed=1"],
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
