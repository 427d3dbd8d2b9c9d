"""The result of a selection: what is stored, what is refused, and the hash of the pool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fathomseg.config import validate
from fathomseg.data.datasets.camvid import CamVid
from fathomseg.data.datasets.streets import Streets
from fathomseg.data.labelled import Labels
from fathomseg.errors import ConfigError, FathomError
from fathomseg.selection.result import Choice, Selection, load_selection, pool_hash
from tests import fakes


def choice(rank: int, id: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "rank": rank, "reason": "It is far from all others.", **more}


def selection(**changes: Any) -> Selection:
    chosen = [
        choice(1, "train/b"),
        choice(2, "train/ä", scores={"diversity": 2.5}, distance=2.5, nearest="train/b"),
        choice(3, "train/a", scores={"diversity": 0.125}, distance=0.125, nearest="train/ä"),
    ]
    base = {"dataset": "camvid", "split": "train", "pool_size": 9, "pool_hash": "0" * 64, "seed": 4}
    return validate(Selection, {**base, "criterion": {"name": "diversity"}, "chosen": chosen, **changes})


def test_what_is_saved_is_loaded_from_file_or_folder(tmp_path: Path) -> None:
    saved = selection(already=["train/c"], skipped=[{"id": "train/d", "reason": "is empty"}])
    saved.save(tmp_path / "out")
    assert load_selection(tmp_path / "out") == load_selection(tmp_path / "out" / "selection.json") == saved
    assert (tmp_path / "out" / "selection.txt").read_text(encoding="utf-8") == "train/b\ntrain/ä\ntrain/a\n"
    tree = json.loads((tmp_path / "out" / "selection.json").read_text(encoding="utf-8"))
    assert tree["chosen"][1]["nearest"] == "train/b"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["selection.json", "selection.txt"]


def test_the_list_of_ids_is_a_labels_file(tmp_path: Path) -> None:
    data = CamVid(root=fakes.make_camvid(tmp_path / "camvid"))
    ids = data.ids("train")
    selection(chosen=[choice(1, ids[4]), choice(2, ids[0]), choice(3, ids[2])]).save(tmp_path)
    file = tmp_path / "selection.txt"
    assert Labels(file=file).choose(data, "train", seed=0) == tuple(sorted((ids[4], ids[0], ids[2])))
    assert Labels(file=file, count=2).choose(data, "train", seed=0) == tuple(sorted((ids[4], ids[0])))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"chosen": [choice(1, "a"), choice(3, "b")]}, "ranks"),
        ({"chosen": [choice(1, "a"), choice(2, "a")]}, "twice"),
        ({"already": ["train/a"]}, "already"),
        ({"chosen": [choice(1, "a", distance=float("nan"))]}, "finite"),
        ({"chosen": [choice(1, "a", scores={"difficulty": float("inf")})]}, "finite"),
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        selection(**changes)


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "no .*selection.json"), ("{", "as JSON"), ("[]", "format"), ('{"format": 2}', "format")],
)
def test_a_file_that_is_no_selection_says_so(text: str | None, words: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "selection.json").write_text(text)
    with pytest.raises(FathomError, match=words):
        load_selection(tmp_path)


streets = Streets(train_clips=2, frames=4)


@given(st.permutations(list(streets.ids("train"))))
def test_the_hash_does_not_depend_on_the_order(ids: list[str]) -> None:
    assert pool_hash(streets, ids) == pool_hash(streets, streets.ids("train"))


def test_the_hash_changes_with_the_pool_and_its_files(tmp_path: Path) -> None:
    data = CamVid(root=fakes.make_camvid(tmp_path / "camvid"))
    ids = list(data.ids("train"))
    first = pool_hash(data, ids)
    assert len(first) == 64
    assert pool_hash(data, ids[1:]) != first
    path = data.files(ids[0]).image
    fakes.save(path, fakes.scene(99, (24, 40), 5)[0])
    changed = pool_hash(data, ids)
    path.unlink()
    assert len({first, changed, pool_hash(data, ids)}) == 3


def test_a_choice_has_finite_numbers_only() -> None:
    assert Choice(id="a", rank=1, reason="x").distance is None
