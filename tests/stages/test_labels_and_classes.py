"""A class list that contradicts the labels, and data that is another one when a run is resumed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fathomseg.config import validate
from fathomseg.data.datasets.folder import Folder
from fathomseg.errors import FathomError
from fathomseg.stages.check import check
from fathomseg.stages.train import train, trained
from fathomseg.training.recipe import Recipe
from tests.fakes import save, scene, write_yaml

Settings = Callable[..., dict[str, Any]]


def masks(folder: Path, values: list[int], classes: list[Any], count: int = 4, **tree: Any) -> Path:
    """Images with labels whose class i is stored as values[i]."""
    write_yaml(folder / "dataset.yaml", {"classes": classes, **tree})
    for i in range(count):
        image, label = scene(i, (24, 32), len(values))
        save(folder / "images" / f"{i:03d}.png", image)
        save(folder / "labels" / f"{i:03d}.png", np.array(values, np.uint8)[label])
    return folder


def of(settings: Settings, root: Path, **sections: Any) -> dict[str, Any]:
    loop = {"steps": 2, "batch": 2, "log_every": 2, "save_every": 2, "device": "cpu", "threads": 1}
    return settings(data={"name": "folder", "root": str(root)}, size=[24, 32], train=loop, **sections)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 255], r"only the class 'wall' has pixels.*values in the label files: 0 \(.* 255 \(.*ignore: \[\]"),
        ([1, 1], r"only the class 'crack' has pixels.*1 \(100 %\).*do not begin at 0.*background that nobody painted"),
        ([255, 255], r"every pixel is ignored.*255 \(100 %\)"),
    ],
)
def test_labels_of_fewer_than_two_classes_stop_training(
    values: list[int], message: str, settings: Settings, tmp_path: Path
) -> None:
    root = masks(tmp_path / "data", values, ["wall", "crack"])
    with pytest.raises(FathomError, match=f"(?is){message}"):
        train(validate(Recipe, of(settings, root)), tmp_path / "run", resume=False)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    problems = [str(problem) for problem in check(Folder(root=root)).problems]
    assert len(problems) == 1
    assert "Pixel values in the label files" in problems[0]


def test_the_remedy_that_is_told_works_and_a_class_without_pixels_is_a_warning(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = [{"name": "wall", "id": 0}, {"name": "crack", "id": 255}, {"name": "door", "id": 3}]
    root = masks(tmp_path / "data", [0, 255], classes, ignore=[])
    train(validate(Recipe, of(settings, root)), tmp_path / "run", resume=False)
    assert "WARNING: in the labels that are learned from no pixel has the class door" in capsys.readouterr().err
    assert check(Folder(root=root)).problems == ()


@pytest.fixture
def begun(settings: Settings, tmp_path: Path) -> tuple[Path, Path]:
    """A run, and its data."""
    root = masks(tmp_path / "data", [0, 1, 2], ["a", "b", "c"], count=6)
    train(validate(Recipe, of(settings, root)), tmp_path / "run", resume=False)
    return tmp_path / "run", root


def again(folder: Path) -> None:
    trained(None, [], None, folder)


@pytest.mark.parametrize("classes", [["b", "a", "c"], ["a", "b", "c", "d"], ["a", "b", "C"]])
def test_another_class_list_is_refused_on_resume(begun: tuple[Path, Path], classes: list[str]) -> None:
    folder, root = begun
    again(folder)
    write_yaml(root / "dataset.yaml", {"classes": classes})
    with pytest.raises(FathomError, match=rf"began with 3 classes \(a, b, c\), but folder has {len(classes)} now"):
        again(folder)


def test_other_images_or_labels_are_refused_on_resume(begun: tuple[Path, Path]) -> None:
    folder, root = begun
    record = json.loads((folder / "data.json").read_text())
    count = record["streams"]["labelled"]["count"]
    assert count == len((folder / "labelled.txt").read_text().split())
    assert record["classes"] == ["a", "b", "c"]
    ids = (folder / "labelled.txt").read_text().split()
    labels = {"classes": [{"name": "a", "id": 1}, {"name": "b", "id": 0}, {"name": "c", "id": 2}]}
    before = (root / "dataset.yaml").read_text()
    write_yaml(root / "dataset.yaml", labels)  # the same names of other ids
    with pytest.raises(FathomError, match="stream 'labelled': the labels of its images have changed"):
        again(folder)
    (root / "dataset.yaml").write_text(before)
    again(folder)
    (folder / "labelled.txt").write_text("".join(f"{id}\n" for id in ids[:-1]))
    with pytest.raises(FathomError, match=f"stream 'labelled': then {count} images, now {count - 1}"):
        again(folder)


def test_other_images_to_score_on_are_refused_on_resume(begun: tuple[Path, Path]) -> None:
    folder, root = begun
    (root / "splits").mkdir()
    held_out = [id for id in Folder(root=root).ids("all") if id not in (folder / "labelled.txt").read_text()]
    (root / "splits" / "val.txt").write_text("\n".join([*held_out, (folder / "labelled.txt").read_text().split()[0]]))
    with pytest.raises(
        FathomError, match=f"the evaluation split: then {len(held_out)} images, now {len(held_out) + 1}"
    ):
        again(folder)
    assert yaml.safe_load((folder / "config.yaml").read_text())["evaluation"]["split"] == "val"
