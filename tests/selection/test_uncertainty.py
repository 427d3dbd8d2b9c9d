"""Entropy and margin by hand, and the ranking of a pool by a run."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from fathomseg.inference.predictor import load
from fathomseg.selection.uncertainty import Entropy, Margin
from tests.selection.pools import SIZE, camvid, pool
from tests.stages.saved_run import save_run

LOGITS = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]]).log().T[None, :, :, None]
"""Two pixels of one image."""


def test_entropy_by_hand() -> None:
    entropy = Entropy(run=Path("x")).uncertainty(LOGITS.clamp(min=-1e4))
    expected = -(0.5 * math.log(0.5) + 0.5 * math.log(0.25)) / math.log(3) / 2
    assert float(entropy) == pytest.approx(expected, rel=1e-5)
    assert float(Entropy(run=Path("x")).uncertainty(torch.zeros(1, 7, 2, 2))) == pytest.approx(1)


def test_margin_by_hand() -> None:
    assert float(Margin(run=Path("x")).uncertainty(LOGITS)) == pytest.approx((0.75 + 0.0) / 2)
    assert float(Margin(run=Path("x")).uncertainty(torch.zeros(1, 7, 2, 2))) == pytest.approx(1)


@pytest.mark.parametrize("kind", [Entropy, Margin])
def test_the_least_sure_images_come_first(kind: type[Entropy | Margin], tmp_path: Path) -> None:
    data = camvid(tmp_path / "camvid")
    run = save_run(tmp_path / "run", data.classes, {"name": "camvid", "root": str(data.root)}, size=(48, 64))
    part = kind(run=run)
    whole = pool(data, tmp_path / "work")
    scores = part.scores(whole)
    predictor = load(run, device="cpu")
    for row in (0, 7):
        image = torch.from_numpy(whole.read([whole.ids[row]], whole.at(predictor.size_for(SIZE)))).permute(0, 3, 1, 2)
        assert scores[row] == pytest.approx(float(part.uncertainty(predictor.maps(image)["segmentation"])), rel=1e-4)
    known = pool(data, tmp_path / "work", already=tuple(sorted(whole.ids[i] for i in (1, int(scores.argmax())))))
    choices = part.choose(known, 5).choices
    expected = [id for id in np.array(whole.ids)[np.argsort(-scores)] if id not in known.already][:5]
    assert [choice.id for choice in choices] == expected
    assert choices[0].scores == {part.name: pytest.approx(float(np.sort(scores)[::-1][1]), abs=1)}
    assert "unsure" in choices[0].reason
    assert whole.size == SIZE
