from __future__ import annotations

from pathlib import Path

import pytest

from fathomseg.data.datasets.camvid import CamVid
from fathomseg.data.datasets.coco import CocoFolder
from fathomseg.data.datasets.folder import Folder
from fathomseg.data.datasets.resolve import dataset_kinds, resolve_dataset
from fathomseg.data.datasets.yolo import YoloFolder
from fathomseg.errors import ConfigError, FathomError
from tests.fakes import make_camvid, make_coco, make_folder, make_yolo, write_yaml


def test_a_name_with_its_root(tmp_path: Path) -> None:
    assert resolve_dataset("camvid", [f"root={tmp_path}", "frame_step=30"]) == CamVid(root=tmp_path, frame_step=30)


def test_a_folder_or_its_dataset_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "mine")
    expected = Folder(root=tmp_path / "mine", val_percent=30)
    monkeypatch.chdir(tmp_path)
    for text in (str(tmp_path / "mine"), "mine", "./mine/", "mine/dataset.yaml"):
        assert resolve_dataset(text, ["val_percent=30"]) == expected


def test_the_data_of_a_recipe_whatever_else_it_holds(tmp_path: Path) -> None:
    recipe = write_yaml(tmp_path / "r.yaml", {"data": {"name": "camvid", "root": "a"}, "network": {"decoder": "x"}})
    assert resolve_dataset(str(recipe), [f"data.root={tmp_path}"]) == CamVid(root=tmp_path)


def test_recipes_for_own_data_read_what_check_reads(tmp_path: Path) -> None:
    make_coco(tmp_path / "coco", images=2)
    make_yolo(tmp_path / "yolo", images=2)
    make_folder(tmp_path / "mine")
    kinds = {"coco": CocoFolder, "yolo": YoloFolder, "mine": Folder, "nowhere": Folder}
    for name, kind in kinds.items():
        data = resolve_dataset("own-data", [f"data.root={tmp_path / name}"])
        assert data == kind(root=tmp_path / name)
        assert name == "nowhere" or data == resolve_dataset(str(tmp_path / name))
    with pytest.raises(FathomError, match=r"set data\.name=coco or data\.name=yolo"):
        _ = data.classes
    both = {"name": "several", "datasets": {one: {"name": "folder", "root": str(tmp_path / one)} for one in kinds}}
    recipe = write_yaml(tmp_path / "r.yaml", {"data": both})
    assert [one.name for one in resolve_dataset(str(recipe)).datasets.values()] == ["coco", "yolo", "folder", "folder"]
    with pytest.raises(ConfigError, match=r"data\.unpaintet: unknown key; did you mean 'unpainted'"):
        resolve_dataset("own-data", [f"data.root={tmp_path / 'coco'}", "data.unpaintet=sky"])


def test_relative_roots_become_absolute_and_home_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_camvid(tmp_path / "a" / "camvid")
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "b")
    data = CamVid(root=Path("../a/camvid"))
    assert data.root == tmp_path / "a" / "camvid"
    monkeypatch.setenv("HOME", str(tmp_path / "a"))
    assert CamVid(root=Path("~/camvid")) == data


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("camvd", "Did you mean 'camvid'"),
        ("nothing.yaml", "expected a recipe or dataset.yaml that exists"),
        ("empty", "holds no dataset.yaml.*camvid root=empty"),
    ],
)
def test_what_cannot_be_resolved_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FathomError, match=expected):
        resolve_dataset(text)


def test_settings_are_validated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"camvid is not complete: root is required.*`camvid root=PATH`"):
        resolve_dataset("camvid")
    with pytest.raises(ConfigError, match="root: is required"):
        resolve_dataset("camvid", ["rot=x"])
    with pytest.raises(ConfigError, match="rot: unknown key; did you mean 'root'"):
        resolve_dataset("camvid", [f"rot={tmp_path}"])
    with pytest.raises(ConfigError, match="data: is required"):
        resolve_dataset(str(write_yaml(tmp_path / "r.yaml", {"size": [1, 2]})))
    with pytest.raises(ConfigError, match="no such name 'camvit'; did you mean 'camvid'"):
        resolve_dataset(str(write_yaml(tmp_path / "s.yaml", {"data": {"name": "camvit"}})))
    with pytest.raises(ConfigError, match=r"'train\.steps=3' is not used: only the data of .*t\.yaml counts here"):
        resolve_dataset(str(write_yaml(tmp_path / "t.yaml", {"data": {"name": "streets"}})), ["train.steps=3"])
    with pytest.raises(ConfigError, match=r"did you mean 'data\.root=nowhere'"):
        resolve_dataset(str(tmp_path / "t.yaml"), ["dta.roott=nowhere"])


def test_every_dataset_has_the_name_it_is_listed_by() -> None:
    assert {"camvid", "cityscapes", "folder", "idd_lite"} <= set(dataset_kinds())
