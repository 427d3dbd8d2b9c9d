from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fathomseg.data.datasets.hash_split import by_hash
from fathomseg.data.datasets.idd_lite import IddLite
from fathomseg.types import IGNORE
from tests.fakes import make_idd_lite, scene


def sequences(data: IddLite, split: str) -> set[str]:
    return {id.split("/")[1] for id in data.ids(split)}


def test_whole_sequences_are_held_out_and_stay_so_when_data_is_added(tmp_path: Path) -> None:
    few = IddLite(root=make_idd_lite(tmp_path, sequences=30, frames=1, size=(4, 6)))
    before = sequences(few, "train"), sequences(few, "val")
    assert not before[0] & before[1]
    assert len(before[1]) == sum(by_hash(str(i), 20) for i in range(30)) > 0
    more = IddLite(root=make_idd_lite(tmp_path, sequences=40, frames=2, size=(4, 6)))
    assert before[0] <= sequences(more, "train")
    assert before[1] <= sequences(more, "val")
    assert sequences(IddLite(root=tmp_path, val_percent=60), "val") > before[1]


def test_about_the_asked_share_is_held_out() -> None:
    assert sum(by_hash(f"sequence {i}", 20) for i in range(2000)) == pytest.approx(400, abs=60)


def test_a_real_val_folder_is_used(tmp_path: Path) -> None:
    data = IddLite(root=make_idd_lite(tmp_path, sequences=3, with_val=True))
    assert len(data.ids("train")) == len(data.ids("val")) == 6
    assert data.ids("val")[0] == "val/0/000000"
    assert data.notes() == ()


def test_void_stays_ignored(tmp_path: Path) -> None:
    data = IddLite(root=make_idd_lite(tmp_path, sequences=2, seed=9))
    _, label = scene(9 + 100, (23, 32), 8)
    np.testing.assert_array_equal(data.label("train/1/000000"), np.where(label == 7, IGNORE, label))


@pytest.mark.realdata
def test_the_real_idd_lite(real_data: Path) -> None:
    data = IddLite(root=real_data / "idd_lite")
    assert len(data.ids("train")) == 1152
    assert len(data.ids("val")) == 251
    assert all(data.has_label(id) for id in data.ids("train"))
    labels = [data.label(id) for id in data.ids("val")[::10]]
    assert {label.shape for label in labels if label is not None} == {(227, 320)}
    assert set(np.unique(labels).tolist()) == {*range(7), IGNORE}
