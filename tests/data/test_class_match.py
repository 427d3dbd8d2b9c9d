"""Classes of one dataset as those of another: by name, by mapping, and what people are told."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fathomseg.config import load, validate
from fathomseg.data.class_match import SHIPPED, ClassMatch, match_classes, read_mapping
from fathomseg.data.datasets import camvid, cityscapes, synthia, vkitti2
from fathomseg.data.datasets.streets import Streets
from fathomseg.errors import ConfigError, FathomError
from fathomseg.io.files import write_config
from fathomseg.training.stream_config import StreamConfig
from fathomseg.types import IGNORE
from tests.fakes import write_yaml

THEIRS = ("Road", "tree", "van", "lorry", "moon")
OURS = ("sky", "road", "Tree", "car")


def test_equal_names_match_in_any_case_and_the_rest_is_ignored() -> None:
    match = match_classes(THEIRS, OURS)
    assert match.partners == (1, 2, None, None, None)
    assert match.table[:6].tolist() == [1, 2, IGNORE, IGNORE, IGNORE, IGNORE]
    assert match.shared == ("road", "Tree")
    assert not match.same


def test_names_match_whatever_their_case_underscores_and_hyphens() -> None:
    match = match_classes(("Road", "traffic_light", "traffic sign", "truck"), ("road", "traffic light", "Traffic-Sign"))
    assert match.partners == (0, 1, 2, None)
    assert match.by_name == {
        "Road": "road",
        "traffic_light": "traffic light",
        "traffic sign": "Traffic-Sign",
        "truck": None,
    }
    assert match_classes(("traffic_light",), ("lamp", "road"), {"Traffic Light": "LAMP"}).partners == (0,)


def test_a_mapping_joins_classes_and_has_the_last_word() -> None:
    match = match_classes(THEIRS, OURS, {"van": "car", "LORRY": "Car", "tree": None})
    assert match.partners == (1, None, 3, 3, None)
    assert match.shared == ("road", "car")
    left = ("sky", "road", "Tree", "car", "(ignored)")
    right = ("-", "Road", "-", "van, lorry", "tree, moon")
    assert list(match.lines()) == [f"  {ours:<9}  {theirs}" for ours, theirs in zip(left, right, strict=True)]


def test_equal_lists_need_no_change() -> None:
    assert match_classes(OURS, OURS).same
    assert not match_classes(OURS, OURS[::-1]).same


@given(st.permutations(range(6)), st.integers(1, 6))
def test_every_pixel_keeps_its_name_and_ignore_stays_ignore(order: list[int], kept: int) -> None:
    names = tuple("abcdef")
    theirs = tuple(names[i] for i in order)
    match = match_classes(theirs, names[:kept])
    label = np.array([*range(6), IGNORE], np.uint8)
    expected = [names.index(name) if name in names[:kept] else IGNORE for name in theirs]
    assert match.table[label].tolist() == [*expected, IGNORE]


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(
        FathomError, match=r"None of the 2 classes \(a, b ...\) has a partner.*with streams.x.classes: a YAML file"
    ):
        match_classes(("a", "b"), OURS, setting="streams.x.classes")
    with pytest.raises(FathomError, match=r"classes maps 'vna', which is no class there; .*Did you mean 'van'"):
        match_classes(THEIRS, OURS, {"vna": "car"})
    with pytest.raises(FathomError, match=r"classes maps 'van' to 'cat', which is no class there; there is: sky, road"):
        match_classes(THEIRS, OURS, {"van": "cat"})


def test_a_file_becomes_part_of_the_saved_recipe(tmp_path: Path) -> None:
    path = write_yaml(tmp_path / "mine.yaml", {"van": "car", "tree": None})
    config = validate(StreamConfig, {"classes": str(path)})
    assert config.classes == {"van": "car", "tree": None}
    write_config(config, tmp_path / "config.yaml")
    path.unlink()
    assert load(StreamConfig, tmp_path / "config.yaml") == config
    assert validate(StreamConfig, {"classes": "streets-camvid"}).classes == yaml.safe_load(
        (SHIPPED / "streets-camvid.yaml").read_text()
    )
    with pytest.raises(ConfigError, match=r"classes: .*no file nowhere.yaml.*streets-camvid, .*, vkitti2-cityscapes"):
        validate(StreamConfig, {"classes": "nowhere.yaml"})
    with pytest.raises(ConfigError, match="must hold a mapping"):
        validate(StreamConfig, {"classes": str(write_yaml(path, ["van"]))})


def test_the_mapping_of_a_file(tmp_path: Path) -> None:
    path = write_yaml(tmp_path / "m.yaml", {"van": "car", "Road": None, "tree": "tree"})
    match = match_classes(THEIRS, OURS, read_mapping(path), "--classes")
    assert match.by_name == {"Road": None, "tree": "Tree", "van": "car", "lorry": None, "moon": None}
    assert read_mapping("streets-camvid") == read_mapping(SHIPPED / "streets-camvid.yaml")
    for wrong in (["van"], {}, {"van": ["car"]}):
        with pytest.raises(ConfigError, match="must hold a mapping"):
            read_mapping(write_yaml(path, wrong))
    with pytest.raises(ConfigError, match=rf"there is no file mine\.yaml in {re.escape(str(Path.cwd()))}, where paths"):
        read_mapping("mine.yaml")
    with pytest.raises(ConfigError, match=r"there is no file .*nowhere\.yaml; give a YAML file"):
        read_mapping(tmp_path / "nowhere.yaml")


def shipped(name: str, theirs: tuple[str, ...], ours: tuple[str, ...]) -> ClassMatch:
    return match_classes(theirs, ours, validate(StreamConfig, {"classes": name}).classes)


def test_those_that_come_with_the_package_fit_their_datasets() -> None:
    streets = shipped("streets-camvid", Streets().classes.names, camvid.CLASSES.names)
    assert streets.shared == camvid.CLASSES.names
    assert [name for name, partner in zip(streets.theirs, streets.partners, strict=True) if partner is None] == [
        "terrain"
    ]
    assert shipped("cityscapes-camvid", cityscapes.CLASSES.names, camvid.CLASSES.names).shared == camvid.CLASSES.names
    assert shipped("synthia-camvid", synthia.CLASSES.names, camvid.CLASSES.names).shared == camvid.CLASSES.names
    back = shipped("camvid-cityscapes", camvid.CLASSES.names, cityscapes.CLASSES.names)
    assert len(back.shared) == len(camvid.CLASSES), "each has a partner of its own"
    virtual = shipped("vkitti2-cityscapes", vkitti2.CLASSES.names, cityscapes.CLASSES.names)
    assert "traffic light" in virtual.shared
    assert "person" not in virtual.shared
    for path in SHIPPED.glob("mapillary-*.yaml"):
        mapping = yaml.safe_load(path.read_text())
        assert set(mapping.values()) <= set(cityscapes.CLASSES.names)
        assert {"rider", "train", "traffic sign"} <= set(mapping.values())
