"""What a training says of pseudo-labels for images that all have labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fathomseg.stages import train as stage
from tests import fakes
from tests.stages.test_streams import SIZE, recipe

NETWORK = {"encoder": {"model": "test_efficientnet", "pretrained": "none"}}


class Told(Exception):
    """Everything has been said that is said before the first step."""


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """What a training on own data says before its first step, by the clips there are and by its streams."""

    def stop(*_: object) -> None:
        raise Told

    def train(clips: int, streams: dict[str, Any]) -> str:
        root = fakes.make_folder(tmp_path / "mydata", images=6, clips=clips, size=SIZE)
        data = {"name": "folder", "root": str(root)}
        with pytest.raises(Told):
            stage.train(recipe(root, data=data, streams=streams, network=NETWORK), tmp_path / "run", resume=False)
        return capsys.readouterr().err

    monkeypatch.setattr(stage, "build_step", stop)
    return train


@pytest.mark.parametrize(
    ("clips", "streams", "words"),
    [
        (1, {"labelled": {}, "unlabelled": {}}, "are in clips and all: set streams.unlabelled.split=clips."),
        (
            0,
            {"labelled": {}, "unlabelled": {}},
            "Add images without labels, or give others as streams.unlabelled.data.",
        ),
        (1, {"labelled": {}, "unlabelled": {"split": "clips"}}, None),
        (0, {"labelled": {"labels": {"count": 3}}, "unlabelled": {}}, None),
    ],
)
def test_pseudo_labels_without_an_unlabelled_image_are_warned_of(
    said: Any, clips: int, streams: dict[str, Any], words: str | None
) -> None:
    text = said(clips, streams)
    assert "labelled: " in text
    warned = [line for line in text.splitlines() if line.startswith("WARNING: unlabelled: the labels of all its ")]
    assert len(warned) == (words is not None)
    assert all(line.endswith(str(words)) for line in warned)
