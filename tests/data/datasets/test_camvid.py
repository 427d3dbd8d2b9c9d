from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fathomseg.data.datasets.camvid import CamVid
from fathomseg.errors import FathomError
from fathomseg.types import IGNORE
from tests.fakes import make_camvid, save, scene


def test_ids_and_neighbours_follow_the_frame_numbers(tmp_path: Path) -> None:
    data = CamVid(root=make_camvid(tmp_path, train=3, val=3, test=2))
    assert data.splits == ("train", "val", "test")
    assert data.ids("train") == ("train/0001TP_006690", "train/0001TP_006720", "train/0001TP_006750")
    assert data.neighbour("train/0001TP_006690", 1) is None  # a second later
    assert data.neighbour("val/0016E5_07959", 1) == "val/0016E5_07961"
    assert data.neighbour("val/0016E5_07959", 2) == "val/0016E5_07963"
    assert data.neighbour("val/0016E5_07959", -1) is None
    assert data.neighbour("test/Seq05VD_f07961", -1) == "test/Seq05VD_f07959"
    assert CamVid(root=tmp_path, frame_step=30).neighbour("train/0001TP_006690", 1) == "train/0001TP_006720"


def test_a_clip_is_a_drive(tmp_path: Path) -> None:
    data = CamVid(root=make_camvid(tmp_path, train=1, val=1, test=1))
    assert [data.clip(data.ids(split)[0]) for split in data.splits] == ["0001TP", "0016E5", "Seq05VD"]


def test_labels_are_the_stored_ids_with_void_ignored(tmp_path: Path) -> None:
    data = CamVid(root=make_camvid(tmp_path, train=1, seed=4))
    image, label = scene(4, (24, 32), 12)
    np.testing.assert_array_equal(data.image("train/0001TP_006690"), image)
    np.testing.assert_array_equal(data.label("train/0001TP_006690"), np.where(label == 11, IGNORE, label))
    assert (label == 11).any()


def test_an_unknown_id_is_answered_with_the_nearest(tmp_path: Path) -> None:
    data = CamVid(root=make_camvid(tmp_path, train=2))
    with pytest.raises(FathomError, match=r"no sample 'train/0001TP_00669'; did you mean 'train/0001TP_006690'"):
        data.has_label("train/0001TP_00669")


def test_jpeg_images_are_the_same_samples(tmp_path: Path) -> None:
    jpeg = CamVid(root=make_camvid(tmp_path / "jpg", suffix=".jpg"))
    assert jpeg.ids("train") == CamVid(root=make_camvid(tmp_path / "png")).ids("train")
    assert jpeg.has_label(jpeg.ids("train")[0])


def test_two_files_for_one_id_are_refused(tmp_path: Path) -> None:
    make_camvid(tmp_path, train=1)
    save(tmp_path / "train" / "0001TP_006690.jpg", np.zeros((24, 32, 3), np.uint8))
    with pytest.raises(ValueError, match="has the same name as"):
        CamVid(root=tmp_path).ids("train")


def test_hidden_files_and_other_endings_are_passed_over(tmp_path: Path) -> None:
    make_camvid(tmp_path, train=2)
    (tmp_path / "train" / "._0001TP_006690.png").write_bytes(b"resource fork")
    (tmp_path / "train" / "Thumbs.db").write_bytes(b"")
    assert len(CamVid(root=tmp_path).ids("train")) == 2


def test_blocks_are_ten_seconds_of_every_fifty_with_a_gap_around_them(tmp_path: Path) -> None:
    make_camvid(tmp_path, train=60, size=(2, 3))  # seconds 223 to 282: of each fifty 23 to 49, then 0 to 32
    plain, data = CamVid(root=tmp_path), CamVid(root=tmp_path, blocks=True)
    assert (plain.splits, data.splits) == (("train", "val"), ("train", "val", "blocks"))
    assert data.ids("val") == plain.ids("val")

    def seconds(split: str) -> list[int]:
        return [int(id[-6:]) // 30 for id in data.ids(split)]

    assert seconds("blocks") == [*range(223, 230), *range(270, 280)]
    assert seconds("train") == [*range(232, 268), 282]
    assert set(data.ids("blocks")) < set(plain.ids("train"))
    block = data.ids("blocks")[0]
    assert data.clip(block) == plain.clip(block) == "0001TP"
    np.testing.assert_array_equal(data.label(block), plain.label(block))


@pytest.mark.realdata
def test_the_real_blocks_show_every_drive_and_class(real_data: Path) -> None:
    data = CamVid(root=real_data / "camvid", blocks=True)
    drives = {id.split("/")[1].split("_")[0] for id in data.ids("train")}
    assert {id.split("/")[1].split("_")[0] for id in data.ids("blocks")} == drives
    assert {split: len(data.ids(split)) for split in data.splits} == {"train": 251, "val": 101, "blocks": 84}
    labels = [data.label(id) for id in data.ids("blocks")]
    assert {int(value) for label in labels if label is not None for value in np.unique(label)} == {*range(11), IGNORE}


@pytest.mark.realdata
def test_the_real_camvid(real_data: Path) -> None:
    data = CamVid(root=real_data / "camvid")
    assert {split: len(data.ids(split)) for split in data.splits} == {"train": 367, "val": 101}
    clip = ["val/0016E5_07959"]
    while (after := data.neighbour(clip[-1], 1)) is not None:
        clip.append(after)
    assert clip == list(data.ids("val"))
    assert not any(data.neighbour(id, 1) for id in data.ids("train"))
    labels = [data.label(id) for id in data.ids("train")[::20]]
    assert {label.shape for label in labels if label is not None} == {(360, 480)}
    assert set(np.unique(labels).tolist()) == {*range(11), IGNORE}
    # as the image shows: a building on the left, cars on the right, sky between them
    first = data.label("train/0001TP_006690")
    assert first is not None
    for name, window in (("building", np.s_[:160, :60]), ("car", np.s_[200:280, 420:]), ("sky", np.s_[:80, 180:240])):
        assert (first[window] == data.classes.names.index(name)).mean() > 0.8


def test_files_that_belong_to_nothing_are_told(tmp_path: Path) -> None:
    data = CamVid(root=make_camvid(tmp_path, train=2, val=1))
    assert list(data.layout_problems(())) == []
    save(tmp_path / "trainannot" / "other.png", scene(0, (24, 32), 5)[1])
    (tmp_path / "val" / "a.gif").touch()
    (problem,) = data.layout_problems(())
    assert problem.where.endswith("trainannot/other.png")
    assert problem.reason == f"is the label of no image; expected its image in {tmp_path / 'train'}"
    assert data.passed_over()[0].startswith("val/ holds files that are not read: 1 .gif.")
    for i in range(30):
        save(tmp_path / "trainannot" / f"more{i}.png", scene(0, (24, 32), 5)[1])
    assert [problem.where for problem in data.layout_problems(())] == [str(tmp_path / "trainannot")]
