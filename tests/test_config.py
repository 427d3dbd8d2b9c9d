"""Recipes: round trip, overrides, and errors that name every mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from fathomseg.config import Part, load
from fathomseg.errors import ConfigError
from fathomseg.io.files import write_config


class Small(Part):
    name: Literal["small"] = "small"
    width: int = 3


class Large(Part):
    name: Literal["large"] = "large"
    rates: tuple[int, ...] = (6, 12)


class Whole(Part):
    part: Annotated[Small | Large, Field(discriminator="name")] = Small()
    lr: Annotated[float, Field(gt=0)] = 1e-3
    steps: int
    root: Path = Path("x")


def test_overrides_apply_in_order_and_a_new_name_drops_the_old_settings() -> None:
    tree = {"steps": 1, "part": {"name": "small", "width": 9}}
    whole = load(Whole, tree, ["part.name=large", "part.rates=[1, 2]", "lr=5", "lr=1e-5"])
    assert whole == Whole(part=Large(rates=(1, 2)), lr=1e-5, steps=1)
    assert tree == {"steps": 1, "part": {"name": "small", "width": 9}}, "the caller's mapping must not change"


class Inner(Part):
    flip: float = 0.5
    scale: tuple[float, float] = (0.5, 2.0)


class Outer(Part):
    inner: Inner = Inner(scale=(1.0, 1.0))


class Outermost(Part):
    outer: Outer = Outer(inner=Inner(flip=0.25))
    part: Annotated[Small | Large, Field(discriminator="name")] = Small(width=7)


def test_what_is_not_given_of_a_part_stays_as_the_field_has_it() -> None:
    """Outer says scale 1: turning the flip off must not bring the scale of the class back."""
    assert load(Outer, {"inner": {"flip": 0}}) == Outer(inner=Inner(flip=0, scale=(1.0, 1.0)))
    assert load(Outer, {}, ["inner.flip=0"]).inner.scale == (1.0, 1.0)
    assert load(Outer, {"inner": {"scale": [0.5, 2]}}).inner == Inner()
    assert load(Outermost, {"outer": {"inner": {"scale": [3, 4]}}}).outer.inner == Inner(flip=0.25, scale=(3.0, 4.0))
    assert load(Outermost, {"part": {"name": "small"}}).part == Small(width=7)
    assert load(Outermost, {"part": {"name": "large"}}).part == Large()


def test_every_mistake_is_named_with_its_path_and_the_nearest_right_key() -> None:
    with pytest.raises(ConfigError) as error:
        load(Whole, {"part": {"name": "small", "widht": 4}, "lrr": 3, "lr": -1})
    lines = str(error.value).splitlines()
    assert lines[0] == "configuration is not valid:"
    assert sorted(line.strip() for line in lines[1:]) == [
        "lr: input should be greater than 0 (given: -1)",
        "lrr: unknown key; did you mean 'lr'?",
        "part.small.widht: unknown key; did you mean 'width'?",
        "steps: is required",
    ]


def test_a_wrong_part_name_lists_the_right_ones() -> None:
    with pytest.raises(ConfigError, match=r"part: no such name 'xxl'; there is: large, small"):
        load(Whole, {"part": {"name": "xxl"}, "steps": 1})
    with pytest.raises(ConfigError, match="did you mean 'large'"):
        load(Whole, {"part": {"name": "larg"}, "steps": 1})


@pytest.mark.parametrize("override", ["lr", "=3", "a..b=1", "lr.x=1"])
def test_a_malformed_override_is_an_error(override: str) -> None:
    with pytest.raises(ConfigError):
        load(Whole, {"steps": 1, "lr": 0.1}, [override])


def test_save_and_load_round_trip(tmp_path: Path) -> None:
    whole = Whole(part=Large(rates=(3,)), steps=7, lr=1e-7, root=tmp_path / "ä b")
    write_config(whole, tmp_path / "recipe.yaml")
    assert load(Whole, tmp_path / "recipe.yaml") == whole
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"], "no temporary file is left"


def test_scientific_notation_without_a_dot_is_a_number(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("steps: 3\nlr: 1e-4\n")  # PyYAML reads 1e-4 as text
    assert load(Whole, tmp_path / "r.yaml").lr == 1e-4


def test_a_missing_or_broken_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No recipe at"):
        load(Whole, tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load(Whole, tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="must hold a mapping"):
        load(Whole, tmp_path / "list.yaml")


def test_parts_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Small().width = 4  # type: ignore[misc]
