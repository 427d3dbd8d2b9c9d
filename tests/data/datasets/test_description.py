from __future__ import annotations

from pathlib import Path

import pytest

from fathomseg import config
from fathomseg.data.datasets.description import CameraEntry, Description
from fathomseg.errors import ConfigError
from tests.fakes import write_yaml

ROAD, CAR = {"name": "road", "id": 7, "colour": [128, 64, 128]}, {"name": "car", "id": -3, "colour": "#00008e"}


def read(**tree: object) -> Description:
    return config.load(Description, {"classes": [ROAD, CAR], **tree})


def faults(**tree: object) -> str:
    with pytest.raises(ConfigError) as caught:
        read(**tree)
    return str(caught.value)


def test_classes_ids_and_colours_are_taken_as_written() -> None:
    described = read(ignore=[0, 255])
    assert described.class_list().names == ("road", "car")
    assert described.class_list().colours == ((128, 64, 128), (0, 0, 142))
    assert described.label_map().values == (7, -3)
    assert described.label_map().ignored == (0, 255)


def test_names_alone_are_enough() -> None:
    described = read(classes=["road", "car", "sky"])
    assert described.label_map().values == (0, 1, 2)
    assert described.label_map().ignored == (255,)
    assert len(set(described.class_list().colours)) == 3


def test_colour_labels_map_colours() -> None:
    labels = read(labels="colours", ignore=["#000000"]).label_map()
    assert labels.values == (0x804080, 0x00008E)
    assert labels.ignored == (0,)
    assert read(labels="colours").label_map().ignored == ()


def test_all_mistakes_of_form_come_at_once(tmp_path: Path) -> None:
    classes = [{"name": "road", "idd": 1}, {"name": ["sky"], "id": 2}, {"name": "car", "colour": [0, 0, 256]}]
    path = write_yaml(tmp_path / "dataset.yaml", {"classes": classes, "labels": "colors", "ignored": [1]})
    with pytest.raises(ConfigError) as caught:
        config.load(Description, path)
    text = str(caught.value)
    for part in (str(path), "classes.0.idd", "did you mean 'id'", "classes.1.name", "classes.2.colour.2", "labels:"):
        assert part in text
    assert "ignored: unknown key; did you mean 'ignore'?" in text


@pytest.mark.parametrize("names", ["[yes, no]", "[on, off]", "[0, 1]", "[01, 02]", "[2011_09_26, car]", "[1e3, 1:30]"])
def test_class_names_are_text_as_they_are_written(names: str, tmp_path: Path) -> None:
    path = tmp_path / "dataset.yaml"
    path.write_text(f"classes: {names}\n")
    assert config.load(Description, path).class_list().names == tuple(names.strip("[]").split(", "))
    entries = "".join(f"- {{name: {name}, id: {i}}}\n" for i, name in enumerate(names.strip("[]").split(", ")))
    path.write_text(f"classes:\n{entries}")
    assert config.load(Description, path).class_list().names == tuple(names.strip("[]").split(", "))


def test_all_mistakes_of_meaning_come_at_once() -> None:
    text = faults(classes=[ROAD, {"name": "road", "id": 7}, "sky"], ignore=[7, 9])
    for part in ("'road' is given twice", "id 7 is given twice", "without one: sky", "id 7 is both a class and in"):
        assert part in text


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"labels": "colours", "classes": [ROAD, "sky", "tree"]}, "needs a colour; without one: sky, tree"),
        ({"labels": "colours", "ignore": [3]}, "`ignore` must list colours"),
        ({"ignore": [[0, 0, 0]]}, "`ignore` must list ids"),
        ({"labels": "colours", "ignore": ["#804080"]}, "colour (128, 64, 128) is both a class and in"),
        ({"classes": "classes.txt"}, "must be a list in dataset.yaml itself, not a file: a line `- NAME` per class"),
        ({"classes": ["road"]}, "has one class; give 2 to 254"),
        ({"classes": [{"name": "a", "colour": "#12345x"}, "b"]}, "classes.0.colour"),
        ({"camera": {"width": 10, "height": 0, "fx": 1.0}}, "camera.height"),
    ],
)
def test_each_mistake_is_named(tree: dict[str, object], expected: str) -> None:
    assert expected in faults(**tree)


def test_a_camera_entry_is_the_camera() -> None:
    entry = config.load(CameraEntry, {"width": 8, "height": 6, "fx": 5, "fy": 4, "cx": 3.5, "cy": 2.5, "fps": 10})
    camera = entry.camera()
    assert (camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height) == (5, 4, 3.5, 2.5, 8, 6)


@pytest.mark.parametrize(
    ("names", "unpainted", "index"),
    [
        (["road", "other"], None, 255),
        (["road", "other"], "other", 1),
        (["road", "background"], None, 1),
        (["road", "background"], "ignore", 255),
        (["road", "ignore"], "ignore", 1),
    ],
)
def test_one_setting_says_what_nobody_has_painted(names: list[str], unpainted: str | None, index: int) -> None:
    described = read(classes=names, unpainted=unpainted)
    assert described.unpainted_index == index
    assert described.label_map().unpainted == index


def test_unpainted_is_a_class_or_ignore() -> None:
    assert "`unpainted` is 'sky'; expected ignore or a class: road, car" in faults(unpainted="sky")
