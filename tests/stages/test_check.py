from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from fathomseg.cli import app
from fathomseg.data.datasets.camvid import CamVid
from fathomseg.data.datasets.folder import Folder
from fathomseg.data.datasets.several import Several
from fathomseg.data.datasets.streets import Streets
from fathomseg.data.held_out import shared_clips
from fathomseg.errors import FathomError
from fathomseg.stages.check import check, checked
from fathomseg.stages.check_report import show
from tests.fakes import make_camvid, make_cityscapes, make_folder, save, scene, stored_label, write_yaml


def small_camvid(root: Path) -> CamVid:
    """Three images of 2 x 4 with labels that can be counted by hand."""
    labels = {
        "train/0001TP_000030": [[0, 0, 0, 3], [3, 3, 11, 11]],
        "train/0001TP_000060": [[0, 0, 0, 0], [8, 8, 8, 8]],
        "val/0016E5_00001": [[3, 3, 3, 3], [3, 3, 3, 11]],
    }
    for id, label in labels.items():
        split, stem = id.split("/")
        save(root / split / f"{stem}.png", np.zeros((2, 4, 3), np.uint8))
        save(root / f"{split}annot" / f"{stem}.png", np.array(label, np.uint8))
    return CamVid(root=root)


def printed(dataset: CamVid | Folder, **options: object) -> str:
    stream = io.StringIO()
    show(check(dataset), Console(file=stream, width=200))
    return stream.getvalue()


def test_images_and_pixels_are_counted(tmp_path: Path) -> None:
    report = check(small_camvid(tmp_path))
    train, val = report.splits["train"], report.splits["val"]
    assert (train.images, train.labelled, train.sizes) == (2, 2, {"2 x 4": 2})
    assert {name: count for name, count in train.pixels.items() if count} == {"sky": 7, "road": 3, "car": 4}
    assert (train.ignored, train.labelled_pixels) == (2, 14)
    assert (val.pixels["road"], val.ignored) == (7, 1)
    assert "sky" not in report.absent_classes
    assert len(report.absent_classes) == 11 - 3
    assert report.problems == ()


def test_only_the_splits_asked_for_are_scanned(tmp_path: Path) -> None:
    dataset = small_camvid(tmp_path)
    dataset.files("val/0016E5_00001").image.write_bytes(b"")
    assert check(dataset, ["train"]).problems == ()
    assert len(check(dataset).problems) == 1
    with pytest.raises(FathomError, match="there is: train, val"):
        check(dataset, ["test"])


def test_the_print_names_shares_absent_classes_and_the_verdict(tmp_path: Path) -> None:
    text = printed(small_camvid(tmp_path))
    for expected in ("50.00 %", "21.43 %", "12.50 %", "2 x 4", "never occur: building, pole", "No problems found."):
        assert expected in text


def test_clips_neighbours_and_cameras_are_counted(tmp_path: Path) -> None:
    report = check(Folder(root=make_folder(tmp_path, clips=2, videos=1, frames=5)))
    clips = report.splits["clips"]
    assert (clips.images, clips.clips, clips.with_neighbours, clips.cameras, clips.labelled) == (15, 3, 9, 10, 0)
    assert report.splits["train"].with_neighbours == 0


def test_every_problem_and_note_is_printed(tmp_path: Path) -> None:
    make_folder(tmp_path, images=50, frames=9)
    for i in range(25):
        (tmp_path / "images" / f"{i:03d}.png").write_bytes(b"")
    (tmp_path / "clips/drive0/000004.jpg").unlink()
    text = printed(Folder(root=tmp_path))
    assert "26 problems:" in text
    assert text.count("is empty (0 bytes)") == 25
    assert "missing neighbour" in text
    assert "Note: There is no list of val: about 20 %" in text


def test_labels_that_cannot_be_read_say_nothing_of_the_classes(tmp_path: Path) -> None:
    dataset = small_camvid(tmp_path)
    for id in (id for split in dataset.splits for id in dataset.ids(split)):
        path = dataset.files(id).label
        assert path is not None
        path.write_bytes(b"")
    assert check(dataset).absent_classes == ()
    assert "never occur" not in printed(dataset)


def test_names_are_printed_as_they_are_not_as_markup(tmp_path: Path) -> None:
    make_folder(tmp_path, images=1)
    (tmp_path / "images" / "[red]x[bold].png").write_bytes(b"")
    assert "[red]x[bold].png: is empty" in printed(Folder(root=tmp_path))


def test_bad_lists_are_reported_not_raised(tmp_path: Path) -> None:
    make_folder(tmp_path)
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits/val.txt").write_text("nowhere\n")
    report = check(Folder(root=tmp_path))
    assert [problem.reason.split(";")[0] for problem in report.problems] == ["there is no image 'nowhere'"]


def test_the_command_prints_json_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_cityscapes(tmp_path)
    assert not checked("cityscapes", [f"root={tmp_path}"], json=True).problems
    report = json.loads(capsys.readouterr().out)
    assert report["splits"]["train"]["images"] == 2
    assert report["splits"]["clips"]["with_neighbours"] == 6
    assert sum(report["splits"]["val"]["pixels"].values()) + report["splits"]["val"]["ignored"] == 2 * 32 * 64


def test_the_exit_code_tells_of_problems(tmp_path: Path) -> None:
    make_camvid(tmp_path / "camvid")
    recipe = write_yaml(tmp_path / "recipe.yaml", {"data": {"name": "camvid", "root": str(tmp_path / "camvid")}})
    command = ["check", str(recipe), "--no-report"]
    assert CliRunner().invoke(app, command).exit_code == 0
    save(tmp_path / "camvid/trainannot/0001TP_006690.png", np.full((24, 32), 40, np.uint8))
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    text = " ".join(done.stdout.split())
    assert "1 problem:" in text
    assert "id 40 (768 pixels) not in the class list" in text


@pytest.mark.realdata
def test_the_real_sets_have_no_problems(real_data: Path) -> None:
    assert check(CamVid(root=real_data / "camvid"), ["val"]).problems == ()


def drives(root: Path, **lists: object) -> Folder:
    """Two clips of four frames, each with a label on its second; `lists` of dataset.yaml."""
    make_folder(root, images=2, clips=2, frames=4)
    tree = yaml.safe_load((root / "dataset.yaml").read_text())
    write_yaml(root / "dataset.yaml", {**tree, **lists})
    for clip in range(2):
        save(root / f"labels/clips/drive{clip}/000001.png", stored_label(scene(clip, (24, 32), 4)[1], "ids"))
    return Folder(root=root)


def test_a_clip_on_both_sides_is_a_warning(tmp_path: Path) -> None:
    notes = check(drives(tmp_path / "bad", val=["clips/drive0/000001"])).notes
    assert [n for n in notes if "val and clips share clips: clips/drive0 (1 and 3 of its frames)" in n]
    notes = check(drives(tmp_path / "good", val=["clips/drive0/*"])).notes
    assert not [n for n in notes if "share clips" in n]
    assert [n for n in notes if "4 of 10 images are held out" in n]


def test_the_drive_that_camvids_own_val_shares_with_train_is_told(tmp_path: Path) -> None:
    def warnings(data: CamVid) -> list[str]:
        return [note for note in check(data).notes if "share clips" in note]

    data = CamVid(root=make_camvid(tmp_path, train=60, val=3, size=(4, 6)))
    assert not warnings(data)
    save(tmp_path / "train/0016E5_00390.png", scene(0, (4, 6), 5)[0])
    (told,) = warnings(CamVid(root=tmp_path))
    assert "val and train share clips: 0016E5 (3 and 1 of its frames)." in told
    assert "too good: that is so in CamVid's own splits" in told
    assert told.endswith("seconds away from the others.")
    assert "dataset.yaml" not in told
    blocks = CamVid(root=tmp_path, blocks=True)
    assert shared_clips(blocks, blocks.ids("val"), blocks.ids("train")) == {"0016E5": (3, 1)}
    both = Several(datasets={"a": blocks, "town": Streets()})
    assert both.clip("a/val/0016E5_07959") == "a/0016E5"
    assert both.clips_remedy() == f"of a, {blocks.clips_remedy()}"


@pytest.mark.parametrize(("ignored", "told"), [([9, 7], True), ([], False)])
def test_much_that_is_ignored_is_noted(tmp_path: Path, ignored: list[int], told: bool) -> None:
    make_folder(tmp_path, images=4, clips=0)
    named = {"car": 300, "sky": 2} if told else {"car": 300, "sky": 2, "road": 7, "other": 9}
    classes = [{"name": name, "id": id} for name, id in named.items()]
    write_yaml(tmp_path / "dataset.yaml", {"classes": classes, "ignore": ignored})
    report = check(Folder(root=tmp_path))
    share = report.splits["all"].ignored / (report.splits["all"].ignored + report.splits["all"].labelled_pixels)
    assert (share > 1 / 3) == told
    assert any("of the pixels of labelled images are ignored" in note for note in report.notes) == told
