from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fathomseg.config import validate
from fathomseg.data.datasets.folder import Folder
from fathomseg.data.datasets.hash_split import by_hash
from fathomseg.data.labelled import Labels
from fathomseg.errors import ConfigError, DataError, FathomError
from fathomseg.training.recipe import Recipe
from fathomseg.training.warnings import tell_labels_used
from fathomseg.types import IGNORE
from tests.fakes import make_folder, save, scene, stored_label, write_yaml


def lists(root: Path, **ids: str) -> Folder:
    for name, text in ids.items():
        (root / "splits").mkdir(exist_ok=True)
        (root / "splits" / f"{name}.txt").write_text(text)
    return Folder(root=root)


def reasons(data: Folder, split: str = "all") -> list[str]:
    return [problem.reason for problem in data.problems(data.ids(split))]


@pytest.mark.parametrize("kind", ["ids", "colours"])
def test_stored_labels_become_indices(tmp_path: Path, kind: str) -> None:
    data = Folder(root=make_folder(tmp_path, labels=kind, seed=3))
    for i in range(10):
        image, label = scene(3 + i, (24, 32), 4)
        np.testing.assert_array_equal(data.image(f"images/{i:03d}"), image)
        np.testing.assert_array_equal(data.label(f"images/{i:03d}"), np.where(label == 3, IGNORE, label))


def test_without_lists_some_labelled_images_are_held_out(tmp_path: Path) -> None:
    data = Folder(root=make_folder(tmp_path, images=60, labelled=40, size=(4, 6)))
    train, val = set(data.ids("train")), set(data.ids("val"))
    assert train | val == {f"images/{i:03d}" for i in range(60)}
    assert not train & val
    assert all(data.has_label(id) for id in val)
    assert 4 <= len(val) <= 12
    assert set(data.ids("labelled")) == {f"images/{i:03d}" for i in range(40)} - val
    assert "no list of val: about 20 % of the labelled" in data.notes()[0]


@pytest.mark.parametrize("labelled", range(2, 9))
def test_a_few_labels_still_give_a_val_image_and_leave_some_to_train_on(tmp_path: Path, labelled: int) -> None:
    data = Folder(root=make_folder(tmp_path, images=9, labelled=labelled, size=(4, 6)))
    assert data.ids("val")
    assert data.ids("labelled")


def test_without_any_label_there_is_no_val(tmp_path: Path) -> None:
    data = Folder(root=make_folder(tmp_path, labels=None))
    assert data.splits == ("train", "clips", "all")
    assert reasons(data) == []


@pytest.mark.parametrize(
    ("made", "split", "words"),
    [
        (
            {"images": 0, "labels": None},
            "train",
            r"is: clips, all\. No frame .* is empty.*split=clips.*import-",
        ),
        ({"clips": 0, "labels": None}, "clips", r"is: train, all\. It has no video.*streams\.NAME\.split=train"),
    ],
)
def test_before_anything_is_labelled_it_says_what_to_do(
    tmp_path: Path, made: dict[str, Any], split: str, words: str
) -> None:
    data = Folder(root=make_folder(tmp_path, **made))
    with pytest.raises(FathomError, match=words):
        data.ids(split)
    with pytest.raises(FathomError, match=r"no split 'tarin'; there is: [\w, ]+\.$"):
        data.ids("tarin")


def test_of_splits_that_are_held_out_it_says_so(tmp_path: Path) -> None:
    data = Folder(root=make_folder(tmp_path, images=2, labels=None), val=("*",))
    for split in ("train", "clips"):
        with pytest.raises(FathomError, match=rf"no split '{split}'; there is: val, all\. .*held out: see `val`"):
            data.ids(split)


def test_lists_may_be_written_in_any_way(tmp_path: Path) -> None:
    make_folder(tmp_path, images=5)
    data = lists(tmp_path, train="# mine\n000\nimages/001\n\n002.png\r\n", val="images\\003.png\n")
    assert data.ids("train") == ("images/000", "images/001", "images/002")
    assert data.ids("val") == ("images/003",)
    assert "images/004" in data.ids("all")


def test_a_val_list_alone_leaves_the_rest_to_train(tmp_path: Path) -> None:
    make_folder(tmp_path, images=4)
    assert lists(tmp_path, val="000\n001").ids("train") == ("images/002", "images/003")


def test_a_train_list_alone_leaves_the_labelled_rest_to_val(tmp_path: Path) -> None:
    make_folder(tmp_path, images=4, labelled=2)
    assert lists(tmp_path, train="000\n").ids("val") == ("images/001",)


def test_labels_outside_the_labelled_list_are_never_opened(tmp_path: Path) -> None:
    make_folder(tmp_path, images=6)
    for i in (2, 3):
        (tmp_path / "labels" / f"00{i}.png").write_bytes(b"must not be opened")
    data = lists(tmp_path, labelled="000\n001", val="004\n005")
    assert data.ids("labelled") == ("images/000", "images/001")
    assert not data.has_label("images/002")
    assert data.label("images/003") is None
    assert data.label("images/004") is not None
    assert reasons(data) == []


def test_the_hold_out_takes_nothing_from_the_labelled_list(tmp_path: Path) -> None:
    make_folder(tmp_path, images=30, size=(4, 6))
    data = lists(tmp_path, labelled="\n".join(f"{i:03d}" for i in range(20)))
    assert len(data.ids("labelled")) == 20
    assert {id for id in data.ids("val") if id < "images/020"} == set()
    assert data.ids("val")


def test_every_wrong_line_of_the_lists_is_named(tmp_path: Path) -> None:
    make_folder(tmp_path, images=4, labelled=3)
    data = lists(tmp_path, train="000\n0010\n003", val="000\n", labelled="003\n001\n")
    with pytest.raises(DataError) as caught:
        data.ids("train")
    text = str(caught.value)
    assert "train.txt line 2: there is no image '0010'; did you mean images/00" in text
    assert "1 of its images are in train as well, for example images/000" in text
    assert "images/003 has no label file" in text
    assert "images/001 is not in train" in text
    assert len(caught.value.problems) == 4


def test_clips_and_videos_are_one_split_with_neighbours_and_cameras(tmp_path: Path) -> None:
    data = Folder(root=make_folder(tmp_path, images=1, clips=1, videos=1, frames=4))
    assert data.ids("clips") == tuple(f"clips/{c}/00000{i}" for c in ("drive0", "film0") for i in range(4))
    assert data.neighbour("clips/drive0/000003", 1) is None
    assert data.neighbour("clips/film0/000000", 1) == "clips/film0/000001"
    assert data.neighbour("images/000", 1) is None
    camera = data.camera("clips/drive0/000001")
    assert camera is not None
    assert (camera.fx, camera.cx, camera.cy) == (30.0, 15.5, 11.5)  # half the size the file gives
    assert data.camera("clips/film0/000001") is None
    expected = scene(900, (24, 32), 4, shift=2)[0]
    assert np.abs(data.image("clips/film0/000002").astype(int) - expected).mean() < 20  # lossy, but this frame


def test_cameras_of_videos_and_of_everything_else(tmp_path: Path) -> None:
    make_folder(tmp_path, images=1, videos=1)
    camera = {"width": 32, "height": 24, "fx": 20.0, "fy": 20.0, "cx": 15.5, "cy": 11.5}
    write_yaml(tmp_path / "videos" / "film0.yaml", camera)
    write_yaml(tmp_path / "dataset.yaml", {"classes": ["a", "b"], "camera": {**camera, "fx": 99.0}})
    data = Folder(root=tmp_path)
    fx = [data.camera(id).fx for id in ("clips/film0/000000", "clips/drive0/000000", "images/000")]  # type: ignore[union-attr]
    assert fx == [20.0, 30.0, 99.0]


def test_frames_of_clips_can_have_labels(tmp_path: Path) -> None:
    make_folder(tmp_path, images=0, labels=None, clips=3)
    for clip in range(3):
        for i in (1, 3):
            label = scene(500 + clip, (24, 32), 4, shift=i)[1]
            save(tmp_path / "labels/clips" / f"drive{clip}" / f"{i:06d}.png", stored_label(label, "ids"))
    data = Folder(root=tmp_path)
    train, val = data.ids("train"), data.ids("val")
    assert len(train) + len(val) == 6
    assert not {id.rsplit("/", 1)[0] for id in train} & {id.rsplit("/", 1)[0] for id in val}  # whole clips
    assert data.neighbour(train[0], 1) is not None
    assert reasons(data) == []


def test_a_gap_in_a_clip_is_a_missing_neighbour(tmp_path: Path) -> None:
    data = Folder(root=make_folder(tmp_path, clips=1, frames=8))
    data.files("clips/drive0/000003").image.unlink()
    data = data.model_copy()
    assert data.neighbour("clips/drive0/000002", 1) is None
    assert data.neighbour("clips/drive0/000002", 2) == "clips/drive0/000004"
    (problem,) = data.problems(data.ids("clips"))
    assert problem.where.endswith("clips/drive0/000002.jpg")
    assert "missing neighbour: the next frame is 000004" in problem.reason
    assert reasons(data, "train") == []  # the user did not ask for clips


def test_every_bad_file_is_listed(tmp_path: Path) -> None:
    make_folder(tmp_path, images=6, clips=0, videos=1)
    (tmp_path / "images/000.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    save(tmp_path / "labels/001.png", np.full((24, 32), 55, np.uint8))
    save(tmp_path / "labels/002.png", np.full((12, 16), 7, np.uint8))
    save(tmp_path / "labels/999.png", np.full((24, 32), 7, np.uint8))
    save(tmp_path / "labels/images/003.png", np.full((24, 32), 7, np.uint8))
    (tmp_path / "videos/broken.mp4").write_bytes(b"\0" * 999)
    save(tmp_path / "clips/000.png", np.zeros((24, 32, 3), np.uint8))
    data = Folder(root=tmp_path)
    found = "\n".join(str(problem) for problem in data.problems(data.ids("all")))
    for expected in (
        "000.png: ",
        "001.png: id 55 (768 pixels) not in the class list; add it to `classes` or to `ignore` in dataset.yaml",
        "002.png: the label is 12 x 16 (height x width) but its image is 24 x 32",
        "999.png: is the label of no image",
        f"images/003.png: is the label of no image; expected that of images/003 at {tmp_path / 'labels/003.png'}",
        "broken.mp4: cannot be read as a video",
        "clips/000.png: belongs to no clip",
    ):
        assert expected in found
    assert found.count("\n") == 6


def test_a_bad_camera_file_is_a_problem_and_named_once(tmp_path: Path) -> None:
    make_folder(tmp_path)
    write_yaml(tmp_path / "clips/drive0/camera.yaml", {"width": 10, "focal": 3})
    (text,) = reasons(Folder(root=tmp_path), "clips")
    assert "fx: is required" in text
    assert "focal: unknown key" in text


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    write_yaml(tmp_path / "dataset.yaml", {"classes": ["a", "b"]})
    with pytest.raises(FathomError, match=r"holds no images: expected them in images/"):
        Folder(root=tmp_path).ids("train")


@pytest.mark.parametrize(
    ("name", "reason"), [(b"a\nb.png", "line break"), (b"a\rb.PNG", "line break"), (b"stra\xdfe.png", "not UTF-8")]
)
def test_names_that_no_list_of_ids_can_hold_are_named(name: bytes, reason: str, tmp_path: Path) -> None:
    root = make_folder(tmp_path, images=3, clips=0)
    (root / "images" / "000.png").rename(root / "images" / os.fsdecode(name))
    with pytest.raises(DataError, match=reason) as error:
        Folder(root=root).ids("all")
    assert len(str(error.value).encode().splitlines()) == 2


def test_blanks_in_a_name_are_kept_in_lists(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "mine", images=4, clips=0)
    for part in ("images", "labels"):
        (root / part / "000.png").rename(root / part / "a .png")
    data = Folder(root=root, val=())
    (tmp_path / "ids.txt").write_text("images/a \nimages/001 \n")
    assert Labels(file=tmp_path / "ids.txt").choose(data, "train", 0) == ("images/001", "images/a ")


def test_a_folder_that_is_not_there_is_called_so(tmp_path: Path) -> None:
    with pytest.raises(FathomError, match=r"There is no folder .*mydata; expected one with images/"):
        Folder(root=tmp_path / "mydata").ids("train")


def test_a_bad_dataset_yaml_is_explained(tmp_path: Path) -> None:
    write_yaml(tmp_path / "dataset.yaml", {"classes": ["a"]})
    with pytest.raises(ConfigError, match="give 2 to 254"):
        Folder(root=tmp_path).classes  # noqa: B018


def test_a_clip_and_a_video_must_not_share_a_name(tmp_path: Path) -> None:
    make_folder(tmp_path, videos=1)
    save(tmp_path / "clips/film0/000000.jpg", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(DataError, match="has the name of"):
        Folder(root=tmp_path).ids("train")


class TestPatterns:
    """Drives are held out by patterns, in a list, in dataset.yaml or by a setting."""

    @pytest.fixture
    def drives(self, tmp_path: Path) -> Path:
        """Two photographs and three clips of three frames, of each of which the second has a label."""
        root = make_folder(tmp_path, images=2, clips=3, frames=3, size=(4, 6))
        for clip in range(3):
            label = stored_label(scene(clip, (4, 6), 4)[1], "ids")
            save(root / f"labels/clips/drive{clip}/000001.png", label)
        return root

    def described(self, root: Path, **lists: object) -> Folder:
        tree = {"classes": [{"name": "a", "id": 7}, {"name": "b", "id": 300}, {"name": "c", "id": 2}], "ignore": [9]}
        write_yaml(root / "dataset.yaml", {**tree, **lists})
        return Folder(root=root)

    @pytest.mark.parametrize("how", ["list", "yaml", "one", "setting", "over"])
    def test_a_drive_is_held_out_with_all_its_frames(self, drives: Path, how: str) -> None:
        pattern = "clips/drive1/*"
        match how:
            case "list":
                data = lists(drives, val=f"# a drive\n{pattern}\n")
            case "yaml":
                data = self.described(drives, val=[pattern])
            case "one":
                data = self.described(drives, val=pattern)
            case "setting":
                data = Folder(root=drives, val=pattern)
            case _:
                self.described(drives, val=["clips/drive0/*"])
                data = Folder(root=drives, val=(pattern,))
        drive = {f"clips/drive1/{i:06d}" for i in range(3)}
        assert set(data.ids("val")) == drive == data.held_out()
        assert len(data.ids("clips")) == 6
        assert set(data.ids("train")) == {"images/000", "images/001", "clips/drive0/000001", "clips/drive2/000001"}
        assert not drive & {id for split in ("train", "labelled", "clips") for id in data.ids(split)}
        assert len(data.ids("all")) == 11
        assert any("3 of 11 images are held out" in note for note in data.notes())

    def test_the_default_holds_out_all_frames_of_its_clips(self, drives: Path) -> None:
        data = Folder(root=drives)
        away = {id.rsplit("/", 1)[0] for id in data.ids("val") if id.startswith("clips/")}
        held = {id for id in data.ids("all") if id in data.ids("val") or id.rsplit("/", 1)[0] in away}
        assert data.held_out() == held
        assert not held & set(data.ids("clips"))
        many = Folder(root=drives, val_percent=99)
        assert len([id for id in many.held_out() if id.startswith("clips/")]) >= 6

    def test_a_frame_alone_is_held_out_alone(self, drives: Path) -> None:
        data = lists(drives, val="clips/drive1/000001\n")
        assert data.held_out() == {"clips/drive1/000001"}
        assert len(data.ids("clips")) == 8

    def test_train_and_labelled_take_patterns_too(self, drives: Path) -> None:
        data = Folder(root=drives, train=["clips/drive[02]/*", "*.png"], labelled="00?", val=[])
        assert len(data.ids("train")) == 8
        assert data.ids("labelled") == ("images/000", "images/001")
        assert "val" not in data.splits
        assert data.held_out() == frozenset()

    def test_a_split_may_be_a_pattern(self, drives: Path) -> None:
        assert Folder(root=drives).ids("clips/*/000000") == tuple(f"clips/drive{i}/000000" for i in range(3))
        with pytest.raises(FathomError, match=r"no sample that fits 'clips/x\*'; there is: train"):
            Folder(root=drives).ids("clips/x*")

    @pytest.mark.parametrize(
        ("entry", "said"),
        [
            ("clips/drive1", r"there is no image 'clips/drive1'; did you mean clips/drive1/\*"),
            ("drive1/*", r"no image fits the pattern 'drive1/\*'; did you mean clips/drive1/\*"),
            ("clips/nowhere/*", r"no image fits.*; images lie in clips/drive0, clips/drive1, clips/drive2, images"),
        ],
    )
    def test_what_fits_nothing_says_what_there_is(self, drives: Path, entry: str, said: str) -> None:
        with pytest.raises(DataError, match=said):
            self.described(drives, val=[entry]).ids("all")

    def test_two_lists_of_one_split_are_one_too_many(self, drives: Path) -> None:
        self.described(drives, val=["clips/drive1/*"])
        with pytest.raises(DataError, match=r"val\.txt.*val is in dataset\.yaml as well"):
            lists(drives, val="000\n").ids("all")

    def test_an_image_whose_name_looks_like_a_pattern_is_one(self, tmp_path: Path) -> None:
        make_folder(tmp_path, images=2, clips=0, size=(4, 6))
        save(tmp_path / "images/[0].png", scene(0, (4, 6), 4)[0])
        assert lists(tmp_path, val="[0].png\n").ids("val") == ("images/[0]",)


def test_a_hash_that_leaves_few_labels_to_train_on_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of few images it may hold out most."""
    keys = [f"images/{i:03d}" for i in range(200)]
    held = [key for key in keys if by_hash(key, 20)][:3]
    root = make_folder(tmp_path, images=200, labelled=0, size=(4, 6), clips=0)
    for key in [*held, next(key for key in keys if not by_hash(key, 20))]:
        save(root / "labels" / f"{key.removeprefix('images/')}.png", np.full((4, 6), 7, np.uint16))
    data = Folder(root=root)
    assert data.few_to_train() in data.notes()
    recipe = validate(Recipe, {"data": {"name": "folder", "root": str(root)}, "size": [32, 32]})
    tell_labels_used(recipe, {"labelled": data.ids("labelled")})
    said = " ".join(capsys.readouterr().err.split())
    assert "WARNING: val has 3 labels and train 1" in said
    assert "data.val=[images/NAME,...]" in said
    assert Folder(root=root, val=held).few_to_train() is None, "the user wants it so"
    save(root / "labels" / "199.png", np.full((4, 6), 7, np.uint16))
    assert Folder(root=root, val=held[:2]).few_to_train() is None
