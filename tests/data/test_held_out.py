"""The one place that says which images are held out."""

from __future__ import annotations

from pathlib import Path

import pytest

from fathomseg.config import validate
from fathomseg.data.datasets.folder import Folder
from fathomseg.data.datasets.several import Several
from fathomseg.data.held_out import NOTHING, HeldOut, shared_clips, warning
from fathomseg.data.labelled import Labels
from fathomseg.data.video_stream import training_ids
from fathomseg.errors import ConfigError, FathomError
from tests import fakes

HARBOUR = tuple(f"clips/drive1/{i:06d}" for i in range(3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Three clips of three frames, the second held out; a frame of each has a label."""
    root = fakes.make_folder(tmp_path_factory.mktemp("own"), images=2, clips=3, frames=3, size=(4, 6))
    for clip in range(3):
        fakes.save(
            root / f"labels/clips/drive{clip}/000001.png", fakes.stored_label(fakes.scene(0, (4, 6), 4)[1], "ids")
        )
    return Folder(root=root, val="clips/drive1/*")


def test_it_is_known_whatever_the_dataset_is_called(folder: Folder) -> None:
    held = HeldOut.of(folder)
    assert held.without(folder, folder.ids("all")) == [id for id in folder.ids("all") if id not in HARBOUR]
    plain = Folder(root=folder.root, val=())
    assert set(HARBOUR) < set(plain.ids("clips"))
    assert held.without(plain, plain.ids("all")) == held.without(folder, folder.ids("all"))
    tree = {"datasets": {"mine": folder.model_dump(mode="json"), "again": plain.model_dump(mode="json")}}
    both = validate(Several, tree)
    assert both.held_out() == {f"mine/{id}" for id in HARBOUR}
    left = HeldOut.of(both, None).without(both, both.ids("all"))
    assert not [id for id in left if "/drive1/" in id]
    assert len(left) == 2 * 8
    assert both.clip("mine/clips/drive1/000000") == "mine/clips/drive1"


def test_it_is_known_through_links_and_other_settings(tmp_path: Path) -> None:
    root = fakes.make_folder(tmp_path / "own", images=0, clips=1, frames=3, size=(4, 6))
    (root / "images").mkdir()
    (root / "images" / "held.jpg").symlink_to("../clips/drive0/000001.jpg")
    held = HeldOut.of(Folder(root=root, val="images/held"))
    left = ["clips/drive0/000000", "clips/drive0/000002"]
    (tmp_path / "linked").symlink_to("own")
    for other in (
        Folder(root=root),
        Folder(root=tmp_path / "linked"),
        Folder(root=root, bits=12),
        Several(datasets={"mine": Folder(root=tmp_path / "linked", bits=12)}),
    ):
        found = held.without(other, other.ids("all"))
        assert [id.removeprefix("mine/") for id in found] == left


def test_nothing_to_hold_out(folder: Folder) -> None:
    assert NOTHING.without(folder, HARBOUR) == list(HARBOUR)
    assert (HeldOut.of(folder) | NOTHING) == HeldOut.of(folder)


def test_clips_are_learned_from_without_it_even_if_nothing_is_scored(folder: Folder) -> None:
    for split in (None, "all", "clips", "clips/*"):
        ids = training_ids(folder, split, None)
        assert len(ids) >= 6
        assert not set(ids) & set(HARBOUR)


def test_no_budget_has_its_labels(folder: Folder, tmp_path: Path) -> None:
    held = HeldOut.of(folder)
    assert Labels().choose(folder, "all", 0, held) == (
        "clips/drive0/000001",
        "clips/drive2/000001",
        "images/000",
        "images/001",
    )
    (tmp_path / "ids.txt").write_text("images/000\nclips/drive1/000001\n")
    with pytest.raises(FathomError, match=r"lists 1 images that are held out to be scored on.*clips/drive1/000001"):
        Labels(file=tmp_path / "ids.txt").choose(folder, "all", 0, held)
    with pytest.raises(ConfigError, match="seed"):
        validate(Labels, {"count": 2, "seed": -1})


def test_labels_that_are_all_held_out_are_told_apart_from_none(folder: Folder) -> None:
    told = r"All 4 images of split 'train' of folder that have a label are held out .*evaluation.split, and data.val="
    with pytest.raises(FathomError, match=told):
        Labels().choose(folder, "train", 0, HeldOut.of(folder, "train"))


def test_shared_clips_are_counted_and_told(folder: Folder) -> None:
    scored = ["clips/drive0/000001", *HARBOUR, "images/000"]
    used = ["clips/drive0/000000", "clips/drive0/000002", "clips/drive2/000001", "images/000"]
    assert shared_clips(folder, scored, used) == {"clips/drive0": (1, 2)}
    text = warning(folder, shared_clips(folder, scored, used), "val", "train")
    assert text is not None
    assert "clips/drive0 (1 and 2 of its frames)" in text
    assert "data.val=[clips/NAME/*]" in text
    assert warning(folder, shared_clips(folder, HARBOUR, used), "val", "train") is None
