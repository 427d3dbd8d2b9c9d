"""Every setting by its key; those of a recipe with values; all of them explained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import pytest
from pydantic import Field
from typer.testing import CliRunner

from fathomseg.cli import app
from fathomseg.config import ConfigError, Part, load, validate
from fathomseg.named_recipes import find
from fathomseg.settings.docstrings import meanings
from fathomseg.settings.walk import Setting, every, of
from fathomseg.stages.settings import KINDS, lines
from fathomseg.training.recipe import Recipe


class Near(Part):
    """Left."""

    name: Literal["near"] = "near"
    reach: Annotated[float, Field(gt=0)] = 2.5
    """How far,
    in metres."""


class Far(Part):
    """Right."""

    name: Literal["far"] = "far"
    root: str
    """Where."""


AnySide = Annotated[Near | Far, Field(discriminator="name")]


class Whole(Part):
    """A recipe."""

    side: AnySide = Near()
    """One side."""
    others: Mapping[str, AnySide] = Field(default_factory=dict)
    """More."""
    count: Annotated[int, Field(ge=1)] | None = None
    """A number."""


def test_the_settings_of_a_small_recipe() -> None:
    found = {(one.key, one.part): one for one in every(Whole)}
    assert list(found) == [
        ("side", ""),
        ("side.reach", "side.name=near"),
        ("side.root", "side.name=far"),
        ("others", ""),
        ("count", ""),
    ]
    assert found["side.reach", "side.name=near"] == Setting(
        "side.reach", "side.name=near", "a number above 0", "2.5", "How far, in metres."
    )
    assert found["side.root", "side.name=far"].default is None
    assert found["count", ""].default == "null"
    assert "at the first place of Near above" in found["others", ""].meaning


def test_the_values_of_a_recipe() -> None:
    whole = validate(Whole, {"others": {"a": {"name": "far", "root": "x"}}, "count": 3})
    assert {one.key: one.value for one in of(whole)} == {
        "side.name": "near",
        "side.reach": "2.5",
        "others.a.name": "far",
        "others.a.root": "x",
        "count": "3",
    }


def test_values_of_a_recipe_can_be_given_back_as_settings() -> None:
    recipe = load(Recipe, find("camvid/classmix"), ["data.root=/x"])
    again = [f"{one.key}={one.value}" for one in of(recipe) if one.key != "data.name"]
    again.sort(key=lambda text: not text.partition("=")[0].endswith(".name"))
    assert load(Recipe, {"data": {"name": "camvid"}, "size": [1, 1]}, again) == recipe


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_is_explained(kind: str) -> None:
    settings = list(every(KINDS[kind][0]))
    assert [one.key for one in settings if not one.meaning] == []
    assert [one.key for one in settings if not one.type] == []


class Nearer(Near):
    closer: int = 0
    """Closer still."""


def test_meanings_of_bases_count() -> None:
    assert dict(meanings(Nearer)) == {"reach": "How far, in metres.", "closer": "Closer still."}


def test_lines_say_what_must_be_given_and_what_is_changed() -> None:
    shown = list(lines([Setting("a.b", "", "a number", "1", "What.", "2"), Setting("c", "", "a path", None, "")], 80))
    assert shown == ["a.b=2   (a number; default 1)", "    What.", "c=   (a path; required)"]


def test_the_verb() -> None:
    done = CliRunner().invoke(app, ["settings", "camvid", "train.steps=7", "--word", "train.steps"])
    assert done.exit_code == 0, done.output
    assert "train.steps=7   (a whole number above 0; default" in done.stdout
    assert "optimiser" not in done.stdout
    every_kind = CliRunner().invoke(app, ["settings", "--word", "budget"])
    assert [line for line in every_kind.stdout.splitlines() if line.startswith("# ")] == [
        f"# {title}" for _, title in KINDS.values()
    ]
    assert isinstance(CliRunner().invoke(app, ["settings", "--word", "qqq"]).exception, ValueError)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("lr=1", "lr: unknown key.*'lr' is a key of optimiser.lr"),
        ("train.lr=1", "train.lr: unknown key.*'lr' is a key of optimiser.lr"),
        ("steps=1", "steps: unknown key; did you mean|steps: unknown key.*'steps' is a key of train.steps"),
        ("train.stepz=1", "train.stepz: unknown key; did you mean 'steps'"),
    ],
)
def test_a_key_in_the_wrong_place_is_shown_the_right_one(override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(Recipe, find("streets"), [override])


@pytest.mark.parametrize("key", ["name", "stride"])
def test_a_key_is_not_sought_where_nobody_means_it(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: unknown key") as raised:
        load(Recipe, find("streets"), [f"{key}=1"])
    assert "is a key of" not in str(raised.value)


def test_a_stream_misspelt_is_told_without_the_whole_recipe() -> None:
    with pytest.raises(ConfigError) as raised:
        load(Recipe, find("own-data/joint"), ["objectives.photometric.stream=clip"])
    assert "stream 'clip', but there is none: did you mean 'clips'? Or give streams.clip={}" in str(raised.value)
    assert "given:" not in str(raised.value)


def test_too_many_values_are_counted() -> None:
    with pytest.raises(ConfigError, match=r"size: holds 3 values; give at most 2$"):
        load(Recipe, find("own-data"), ["size=[1,2,3]"])


def test_a_word_that_is_no_setting_is_said_to_be_searched_for() -> None:
    for given, told in ((["own-data", "focal"], "fathom settings own-data --word focal"), (["focal"], "--word focal")):
        error = CliRunner().invoke(app, ["settings", *given]).exception
        assert isinstance(error, ConfigError)
        assert str(error).endswith(told)
