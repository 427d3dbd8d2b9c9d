from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fathomseg.data.datasets.folder import Folder
from fathomseg.data.datasets.hash_split import by_hash, hold_out_by_hash
from tests.fakes import make_folder

HELD = [f"images/{i:03d}" for i in range(200) if by_hash(f"images/{i:03d}", 20)]


@given(st.sets(st.sampled_from([*HELD, "images/000", "images/001"]), max_size=6), st.integers(1, 99))
def test_a_hold_out_takes_some_of_several_but_never_all(keys: set[str], percent: int) -> None:
    val = hold_out_by_hash(keys, percent)
    assert val <= keys
    assert bool(val) == (len(keys) > 1)
    assert len(val) < len(keys) or not keys


@pytest.mark.parametrize("labelled", [1, 2, 3])
def test_few_labels_that_chance_would_all_hold_out(tmp_path: Path, labelled: int) -> None:
    data = make_folder(tmp_path, images=3, labelled=3, clips=0, size=(4, 6))
    for i in range(3):
        for kind in ("images", "labels"):
            file = data / kind / f"{i:03d}.png"
            if kind == "labels" and i >= labelled:
                file.unlink()
            else:
                file.rename(data / kind / f"{HELD[i].removeprefix('images/')}.png")
    folder = Folder(root=data)
    assert len(folder.ids("labelled")) >= 1
    assert ("val" in folder.splits) == (labelled > 1)
    how = "the only labelled image, which is never held out"
    how = how if labelled == 1 else f"never all: {labelled - 1} of {labelled}"
    assert how in folder.notes()[0]
