"""Several datasets in one: everything known of an image is what its own dataset knows."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fathomseg import config
from fathomseg.data.cache import Cache
from fathomseg.data.datasets import CamVid, Folder, Kitti, Several, Streets
from fathomseg.data.datasets.base import Dataset
from fathomseg.data.datasets.resolve import resolve_dataset
from fathomseg.data.datasets.several import ClassesDiffer
from fathomseg.data.labelled import Labels
from fathomseg.errors import ConfigError, FathomError
from fathomseg.stages.check import check
from tests.fakes import make_camvid, make_folder, make_kitti, write_yaml

SMALL = {"name": "streets", "size": [32, 64], "train_clips": 1, "val_clips": 1, "test_clips": 1, "frames": 2}


@pytest.fixture
def mixed(tmp_path: Path) -> Several:
    """A generated town, drives with cameras and poses, and the user's own folder: three sizes, three class lists."""
    kitti = {"name": "kitti", "root": make_kitti(tmp_path / "kitti", "odometry", frames=6)}
    mine = {"name": "folder", "root": make_folder(tmp_path / "mine")}
    return config.validate(Several, {"datasets": {"town": SMALL, "drives": kitti, "mine": mine}})


def alone(several: Several) -> list[tuple[str, Dataset]]:
    return list(several.datasets.items())


def equal(one: Any, other: Any) -> bool:
    return np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other


def test_every_accessor_answers_as_the_dataset_alone_does(mixed: Several) -> None:
    known = dict.fromkeys(("label", "depth", "camera", "world_T_cam"), 0)
    for key, dataset in alone(mixed):
        for id in {id for split in dataset.splits for id in dataset.ids(split)[:4]}:
            assert mixed.member(f"{key}/{id}") == (key, dataset, id)
            assert equal(mixed.image(f"{key}/{id}"), dataset.image(id))
            assert mixed.has_label(f"{key}/{id}") == dataset.has_label(id)
            for what in known:
                expected = getattr(dataset, what)(id)
                assert equal(getattr(mixed, what)(f"{key}/{id}"), expected)
                known[what] += expected is not None
            for kind in ("image", "label", "depth"):
                assert mixed.fingerprint(f"{key}/{id}", kind) == dataset.fingerprint(id, kind)  # type: ignore[arg-type]
            for offset in (-1, 1, 2):
                beside = dataset.neighbour(id, offset)
                assert mixed.neighbour(f"{key}/{id}", offset) == (None if beside is None else f"{key}/{beside}")
    assert min(known.values()) > 0, "each accessor must have been seen to give something"


DECIDED = {"fresh"}
"""Not forwarded: endless datasets are refused."""


def test_no_accessor_of_a_dataset_is_forgotten(mixed: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    public = {name for name in vars(Dataset) if not name.startswith(("_", "model_"))} - DECIDED
    assert public <= vars(Several).keys()
    id, named = mixed.ids("test")[0], {"neighbour", "moment", "clip"}
    inner = id.removeprefix("town/")
    asked = 0
    for name in sorted(public):
        accessor = getattr(Dataset, name)
        parameters = [*inspect.signature(accessor).parameters] if callable(accessor) else []
        if parameters[1:2] != ["id"] or name == "label_map":  # which may be asked of all
            continue
        monkeypatch.setattr(Streets, name, lambda self, *given, name=name: f"{name} {given}", raising=False)
        more = list(range(len(parameters) - 2))
        answer = f"{name} {(inner, *more)}"
        assert getattr(mixed, name)(id, *more) == (f"town/{answer}" if name in named else answer)
        asked += 1
    assert asked >= 20


def test_a_pattern_fits_ids_with_the_names_of_datasets(mixed: Several) -> None:
    assert mixed.ids("town/*") == [id for id in mixed.every_id() if id.startswith("town/")]
    assert mixed.ids("*/clips/*") == [f"mine/{id}" for id in mixed.datasets["mine"].ids("clips/*")]
    assert mixed.ids("drives/00/*")
    with pytest.raises(FathomError, match=r"no sample that fits 'twon/\*'; there is: train, val"):
        mixed.ids("twon/*")


def test_endless_ones_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'b' is endless, .*set endless=false, or give it a stream of"):
        config.validate(Several, {"datasets": {"a": SMALL, "b": {**SMALL, "endless": True}}})


def test_a_split_holds_the_images_of_the_datasets_that_have_it(mixed: Several) -> None:
    expected: dict[str, list[str]] = {}
    for key, dataset in alone(mixed):
        for split in dataset.splits:
            expected.setdefault(split, []).extend(f"{key}/{id}" for id in dataset.ids(split))
    assert mixed.splits == tuple(expected)
    assert {split: list(mixed.ids(split)) for split in mixed.splits} == {s: sorted(ids) for s, ids in expected.items()}
    assert {id.split("/")[0] for id in mixed.ids("test")} == {"town"}
    assert {id.split("/")[0] for id in mixed.ids("train")} == {"town", "drives", "mine"}


def test_equal_classes_are_the_classes_and_different_ones_are_named_only_when_asked_for(
    mixed: Several, tmp_path: Path
) -> None:
    with pytest.raises(
        ClassesDiffer, match=r"'town' \(streets\) and 'drives' \(kitti\).* class \d+ is '.+' in the fir"
    ):
        mixed.classes  # noqa: B018
    towns = Several(datasets={"a": Streets(), "b": Streets(seed=1, domain="dusk")})
    assert towns.classes == Streets().classes
    folders = {"a": Folder(root=make_folder(tmp_path / "a")), "b": Folder(root=make_folder(tmp_path / "b"))}
    description = (tmp_path / "b/dataset.yaml").read_text()
    (tmp_path / "b/dataset.yaml").write_text(description.replace("#4682b4", "#4682b5"))
    with pytest.raises(ClassesDiffer, match="the same names but other colours"):
        Several(datasets=folders).classes  # noqa: B018
    longer = description.replace("classes:", "classes:\n- {name: tree, id: 40}").replace("sky", "air")
    (tmp_path / "b/dataset.yaml").write_text(longer)
    with pytest.raises(ClassesDiffer, match="class 0 is 'road' in the first and 'tree' in the second"):
        Several(datasets={key: folder.model_copy() for key, folder in folders.items()}).classes  # noqa: B018


def test_problems_are_those_of_the_datasets(mixed: Several, tmp_path: Path) -> None:
    (tmp_path / "kitti/sequences/01/calib.txt").unlink()
    (tmp_path / "mine/images/003.png").write_bytes(b"")
    found = list(mixed.problems([*mixed.ids("all"), *mixed.ids("train")]))
    assert [problem.reason.split(",")[0] for problem in found] == [
        "there is no such file",
        "is empty (0 bytes); replace or remove it",
    ]
    assert list(mixed.problems(mixed.ids("test"))) == []  # of the generated town
    assert list(mixed.layout_problems(mixed.ids("all"))) == found[:1]


def test_check_counts_images_shows_notes_and_says_why_it_counts_no_classes(mixed: Several, tmp_path: Path) -> None:
    (tmp_path / "kitti/sequences/01/image_2/000003.png").unlink()
    report = check(mixed)
    assert report.splits["train"].images == len(mixed.ids("train"))
    assert set(report.splits["train"].sizes) == {"32 x 64", "24 x 80", "24 x 32"}
    assert report.splits["clips"].clips == 1
    assert report.splits["train"].pixels == {}
    assert "have different classes" in report.notes[0]
    assert [note.split(":")[0] for note in report.notes[1:]] == ["drives"] * 2 + ["mine"] * 4
    assert ["missing neighbour" in problem.reason for problem in report.problems] == [True]


def test_check_counts_classes_where_they_are_the_same(tmp_path: Path) -> None:
    one, two = (CamVid(root=make_camvid(tmp_path / name, seed=seed)) for name, seed in (("a", 0), ("b", 50)))
    both = check(Several(datasets={"one": one, "two": two}))
    apart = [check(data).splits["train"].pixels for data in (one, two)]
    assert both.splits["train"].pixels == {name: sum(part[name] for part in apart) for name in one.classes.names}
    assert both.problems == ()
    assert sum(both.splits["train"].pixels.values()) > 0


def test_a_bad_id_or_split_is_answered_with_what_there_is(mixed: Several) -> None:
    for id in ("twon/train/0000/000000", "town", "", "/train"):
        with pytest.raises(FathomError, match="have no sample"):
            mixed.image(id)
    with pytest.raises(FathomError, match="ids begin with the dataset's name: town/, drives/, mine/"):
        mixed.member("twon/train/0000/000000")
    with pytest.raises(FathomError, match="have no split 'tset'; there is: train, val, test, all"):
        mixed.ids("tset")


@pytest.mark.parametrize(
    ("datasets", "expected"),
    [
        ({"a": {"name": "camvid", "rot": "x"}}, r"datasets\.a\.rot: unknown key; did you mean 'root'"),
        ({"a": {"name": "camvid"}}, r"datasets\.a\.root: is required"),
        ({"a": {"name": "camvit"}}, r"datasets\.a: no such name 'camvit'; did you mean 'camvid'"),
        ({"a": {"root": "x"}}, r"datasets\.a: needs a field 'name'"),
        ({"a": {"name": "several", "datasets": {"b": SMALL}}}, r"datasets\.a: no such name 'several'"),
        ({"a/b": SMALL}, "must not be empty or contain '/'"),
        ({"": SMALL}, "must not be empty or contain '/'"),
        ({}, "holds 0 values; give at least 1"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, datasets: dict[str, Any], expected: str) -> None:
    recipe = write_yaml(tmp_path / "r.yaml", {"data": {"name": "several", "datasets": datasets}})
    with pytest.raises(ConfigError, match=expected):
        resolve_dataset(str(recipe))


def test_it_is_resolved_from_a_recipe_and_from_overrides(tmp_path: Path) -> None:
    make_camvid(tmp_path)
    expected = Several(datasets={"a": Streets(seed=3), "b": CamVid(root=tmp_path, frame_step=30)})
    tree = {"a": {"name": "streets"}, "b": {"name": "camvid", "root": "nowhere"}}
    recipe = write_yaml(tmp_path / "r.yaml", {"data": {"name": "several", "datasets": tree}})
    changes = ["datasets.a.seed=3", f"datasets.b.root={tmp_path}", "datasets.b.frame_step=30"]
    assert resolve_dataset(str(recipe), [f"data.{change}" for change in changes]) == expected
    assert resolve_dataset("several", ["datasets.a.name=streets", "datasets.b.name=camvid", *changes]) == expected
    assert expected != Several(datasets={"a": Streets(seed=4), "b": CamVid(root=tmp_path, frame_step=30)})


def test_equal_ones_have_equal_hashes_in_whatever_order(tmp_path: Path) -> None:
    members = {"a": Streets(seed=1), "b": Kitti(root=tmp_path)}
    one, other = Several(datasets=members), Several(datasets=dict(reversed(members.items())))
    assert one == other
    assert hash(one) == hash(other)
    assert hash(one) != hash(Several(datasets={"a": Streets(seed=2), "b": Kitti(root=tmp_path)}))


def test_the_cache_is_shared_with_the_dataset_alone(tmp_path: Path) -> None:
    camvid = CamVid(root=make_camvid(tmp_path / "camvid"))
    both = Several(datasets={"a": camvid, "town": config.validate(Streets, SMALL)})
    id = camvid.ids("train")[0]
    array = Cache(camvid, (12, 16), tmp_path / "cache").read(id, "image")
    files = set((tmp_path / "cache").rglob("*.npy"))
    np.testing.assert_array_equal(Cache(both, (12, 16), tmp_path / "cache").read(f"a/{id}", "image"), array)
    assert set((tmp_path / "cache").rglob("*.npy")) == files
    assert len(files) == 1


def test_a_label_budget_is_chosen_over_all_of_them(tmp_path: Path) -> None:
    members = {name: CamVid(root=make_camvid(tmp_path / name, train=8)) for name in ("a", "b")}
    chosen = Labels(count=8).choose(Several(datasets=members), "train", seed=0)
    assert {id.split("/")[0] for id in chosen} == {"a", "b"}
    assert len(set(chosen)) == 8


@given(st.lists(st.text("ab-. /0", max_size=3), min_size=1, max_size=4, unique=True))
def test_ids_lead_back_to_their_dataset_whatever_the_names(names: Sequence[str]) -> None:
    tree = {"datasets": {name: {**SMALL, "seed": place} for place, name in enumerate(names)}}
    if any(not name or "/" in name for name in names):
        with pytest.raises(ConfigError, match="must not be empty or contain"):
            config.validate(Several, tree)
        return
    several = config.validate(Several, tree)
    ids = several.ids("train")
    assert len(ids) == 2 * len(names)
    assert list(ids) == sorted(set(ids))
    assert [f"{key}/{id}" for key, _, id in map(several.member, ids)] == ids
    assert {several.member(id)[1].seed for id in ids} == set(range(len(names)))  # type: ignore[attr-defined]
