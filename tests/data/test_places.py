"""Places of samples in their clips, and samples that lie apart."""

from __future__ import annotations

from pathlib import Path

from fathomseg.data.datasets.several import Several
from fathomseg.data.datasets.streets import Streets
from fathomseg.data.datasets.vkitti2 import VKitti2
from fathomseg.data.places import evenly, places, spread
from tests.fakes import make_vkitti2


def test_places_count_frames_within_clips_in_whatever_order() -> None:
    data = Streets(train_clips=2, frames=6)
    ids = ["train/0001/000004", "train/0000/000002", "train/0001/000001", "train/0001/000005"]
    found = places(data, ids)
    assert list(found) == ids
    assert [place for _, place in found.values()] == [4, 2, 1, 5]
    clips = [clip for clip, _ in found.values()]
    assert clips[0] == clips[2] == clips[3] != clips[1]


def test_other_weather_and_the_other_camera_are_the_same_place(tmp_path: Path) -> None:
    alone = VKitti2(root=make_vkitti2(tmp_path, cameras=(0, 1)), cameras=(0, 1))
    several = Several(datasets={"a": alone})
    for data, key in ((alone, ""), (several, "a/")):
        ids = [f"{key}Scene18/{v}/Camera_{c}/0000{i}" for v in ("clone", "fog") for c in (0, 1) for i in range(3)]
        found = places(data, ids)
        assert len(set(found.values())) == 3
        assert all(found[id][1] == int(id[-1]) for id in ids)
        first = f"{key}Scene18/clone/Camera_0/00001"
        assert data.moment(f"{key}Scene18/fog/Camera_1/00001") == first == data.moment(first)
        other = f"{key}Scene01/fog/Camera_0/00001"
        assert places(data, [first, other])[other][0] != places(data, [first, other])[first][0]


def test_variations_that_are_not_read_stand_for_nothing(tmp_path: Path) -> None:
    data = VKitti2(root=make_vkitti2(tmp_path), variations=("fog",))
    assert data.moment("Scene18/fog/Camera_0/00002") == "Scene18/fog/Camera_0/00002"


def test_spread_takes_what_lies_apart() -> None:
    where = {"a0": (0, 0), "a1": (0, 1), "a3": (0, 3), "a5": (0, 5), "b1": (1, 1)}
    assert spread(where, ["a0", "a1", "a3", "a5", "b1"], 3) == ["a0", "a3", "b1"]
    assert spread(where, ["a1", "a0", "a3", "a5", "b1"], 2) == ["a1", "a3", "a5", "b1"]
    assert spread(where, list(where), 1) == list(where)


def test_only_candidates_are_asked_whether_they_are_usable() -> None:
    where, asked = {id: (0, place) for place, id in enumerate("abcdef")}, []

    def usable(id: str) -> bool:
        asked.append(id)
        return id != "a"

    assert spread(where, list(where), 3, usable) == ["b", "e"]
    assert asked == ["a", "b", "e"]


def test_items_are_taken_evenly_from_everywhere() -> None:
    assert evenly(range(10), 4) == [0, 3, 6, 9]
    assert evenly(range(3), 4) == [0, 1, 2]
    assert evenly(range(9), 8) == [0, 1, 2, 3, 5, 6, 7, 8]  # by leaving out every second one there were five
    assert evenly("", 4) == []
