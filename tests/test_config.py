"""Recipes: round trip, overrides, and errors that name every mistake."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import AfterValidator, BeforeValidator, Field, Tag

from fathomseg.config import Part, by_name, flat, load, named_by_key
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
        "part.widht: unknown key; did you mean 'width'?",
        "steps: is required",
    ]


def test_a_wrong_part_name_lists_the_right_ones() -> None:
    with pytest.raises(ConfigError, match=r"part: no such name 'xxl'; there is: large, small"):
        load(Whole, {"part": {"name": "xxl"}, "steps": 1})
    with pytest.raises(ConfigError, match="did you mean 'large'"):
        load(Whole, {"part": {"name": "larg"}, "steps": 1})


def test_an_override_can_begin_a_group_that_is_null() -> None:
    class Outer(Part):
        part: Small | None = None

    assert load(Outer, {"part": None}, ["part.width=4"]).part == Small(width=4)
    assert load(Outer, {}, ["part.width=4"]).part == Small(width=4)


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


AnySize = Annotated[Small | Large, Field(discriminator="name")]


class Keyed(Part):
    sizes: Annotated[Mapping[str, AnySize], BeforeValidator(named_by_key)] = {"small": Small(width=7)}


def test_a_part_in_a_mapping_is_named_by_its_key_unless_it_says_its_name(tmp_path: Path) -> None:
    given = {"sizes": {"large": {"rates": [3]}, "extra": {"name": "small", "width": 2}, "small": {}}}
    keyed = load(Keyed, given)
    assert list(keyed.sizes.items()) == [
        ("large", Large(rates=(3,))), ("extra", Small(width=2)), ("small", Small(width=7))
    ]  # fmt: skip
    write_config(keyed, tmp_path / "recipe.yaml")
    again = load(Keyed, tmp_path / "recipe.yaml")
    assert again == keyed
    assert list(again.sizes) == list(keyed.sizes)


def test_overrides_reach_into_a_mapping_of_parts() -> None:
    assert load(Keyed, {}).sizes == {"small": Small(width=7)}
    assert load(Keyed, {}, ["sizes.small.width=1"]).sizes == {"small": Small(width=1)}
    assert load(Keyed, {"sizes": {"large": {}}}, ["sizes.large.rates=[1]"]).sizes == {"large": Large(rates=(1,))}
    assert load(Keyed, {"sizes": {"large": {}}}, ["sizes.other.name=small"]).sizes == {
        "large": Large(), "other": Small()
    }  # fmt: skip
    assert load(Keyed, {"sizes": {"small": {"name": "large"}}}).sizes == {"small": Large()}


class KeyedExtra(Part):
    sizes: Annotated[Mapping[str, AnySize], BeforeValidator(named_by_key)] = {"extra": Small(width=7)}


def test_a_part_in_a_default_mapping_keeps_its_name() -> None:
    assert load(KeyedExtra, {"sizes": {"extra": {}}}).sizes == {"extra": Small(width=7)}


def test_mistakes_in_a_mapping_of_parts_are_named() -> None:
    with pytest.raises(ConfigError, match=r"sizes\.larg: no such name 'larg'; did you mean 'large'\?"):
        load(Keyed, {"sizes": {"larg": {"rates": [3]}}})
    with pytest.raises(ConfigError, match=r"sizes\.large\.ratse: unknown key; did you mean 'rates'\?"):
        load(Keyed, {"sizes": {"large": {"ratse": [3]}}})
    with pytest.raises(ConfigError, match=r"sizes\.extra\.widht: unknown key; did you mean 'width'\?"):
        load(Keyed, {"sizes": {"extra": {"name": "small", "widht": 3}}})


def _lower(key: str) -> str:
    if not key.islower():
        raise ValueError("a key has small letters")
    return key


class Plain(Part):
    width: int = 3


class Odd(Part):
    weights: Literal["auto", "none", "offline"] | Path = "auto"
    already: Literal["labelled"] | Annotated[Path, AfterValidator(lambda path: path)] | None = None
    scale: Literal[1, 2, 4] = 1
    size: tuple[int, int] | None = None
    rates: float | tuple[float, ...] = 0.5
    limit: Annotated[int, Field(gt=0)] | Literal["all"] = "all"
    bounded: Annotated[int, Field(gt=0)] | None = None
    count: int = 1
    flip: bool = False
    part: AnySize | None = None
    chosen: Annotated[Annotated[Small, Tag("small")] | Annotated[Large, Tag("large")], by_name("small")] = Small()
    inner: Inner | None = None
    loose: Plain | Path = Plain()
    keyed: Annotated[Mapping[str, AnySize], BeforeValidator(named_by_key)] = {}
    plain: Mapping[Annotated[str, AfterValidator(_lower)], Plain] = {}
    several: tuple[AnySize, ...] = ()


NAMES = "a group of settings whose name is one of 'large', 'small'"


@pytest.mark.parametrize(
    ("given", "messages"),
    [
        ({"weights": 3}, ["weights: must be one of 'auto', 'none', 'offline', or a path (given: 3)"]),
        ({"already": 3}, ["already: must be 'labelled', a path, or null (given: 3)"]),
        ({"scale": 3}, ["scale: must be one of 1, 2, 4 (given: 3)"]),
        ({"size": 3}, ["size: must be a list of 2 whole numbers, or null (given: 3)"]),
        ({"size": [3]}, ["size: must be a list of 2 whole numbers, or null (given: [3])"]),
        ({"size": [3, "x"]}, ["size.1: must be a whole number (given: 'x')"]),
        ({"rates": "x"}, ["rates: must be a number, or a list of numbers (given: 'x')"]),
        ({"rates": [1, "x"]}, ["rates: must be a number, or a list of numbers (given: [1, 'x'])"]),
        ({"limit": -1}, ["limit: must be 'all', or a whole number above 0 (given: -1)"]),
        ({"bounded": -1}, ["bounded: input should be greater than 0 (given: -1)"]),
        ({"bounded": "x"}, ["bounded: must be a whole number above 0, or null (given: 'x')"]),
        ({"count": 1.5, "flip": 7},
         ["count: must be a whole number (given: 1.5)", "flip: must be true or false (given: 7)"]),
        ({"part": 3}, [f"part: must be {NAMES}, or null (given: 3)"]),
        ({"part": "small"}, [f"part: must be {NAMES}, or null (given: 'small'); write {{name: small}}"]),
        ({"part": {"width": 3}}, ["part: needs a field 'name' that says which kind is meant; there is: large, small"]),
        ({"part": {"name": "smal"}}, ["part: no such name 'smal'; did you mean 'small'?"]),
        ({"part": {"name": "small", "width": "x"}}, ["part.width: must be a whole number (given: 'x')"]),
        ({"part": {"name": "large", "rates": [1, "x"]}}, ["part.rates.1: must be a whole number (given: 'x')"]),
        ({"part": {"name": "large", "widht": 1}}, ["part.widht: unknown key; there is: name, rates"]),
        ({"chosen": {"widht": 1}}, ["chosen.widht: unknown key; did you mean 'width'?"]),
        ({"chosen": {"name": "lerge"}}, ["chosen: no such name 'lerge'; did you mean 'large'?"]),
        ({"chosen": 3}, [f"chosen: must be {NAMES} (given: 3)"]),
        ({"inner": 3}, ["inner: must be a group of settings, or null (given: 3)"]),
        ({"inner": {"flp": 3}}, ["inner.flp: unknown key; did you mean 'flip'?"]),
        ({"loose": {"width": "x"}}, ["loose.width: must be a whole number (given: 'x')"]),
        ({"loose": {"widht": 3}}, ["loose.widht: unknown key; did you mean 'width'?"]),
        ({"loose": 3}, ["loose: must be a group of settings, or a path (given: 3)"]),
        ({"keyed": 3}, ["keyed: must be a group of settings (given: 3)"]),
        ({"keyed": {"small": 3}}, [f"keyed.small: must be {NAMES} (given: 3)"]),
        ({"keyed": {"smal": {"width": 3}}}, ["keyed.smal: no such name 'smal'; did you mean 'small'?"]),
        ({"keyed": {"small": {"widht": 3}}}, ["keyed.small.widht: unknown key; did you mean 'width'?"]),
        ({"keyed": {"small": {"name": "large", "rate": 3}}}, ["keyed.small.rate: unknown key; did you mean 'rates'?"]),
        ({"keyed": {"large": {"rates": "x"}}}, ["keyed.large.rates: must be a list of whole numbers (given: 'x')"]),
        ({"plain": {"a": {"widht": 3}}}, ["plain.a.widht: unknown key; did you mean 'width'?"]),
        ({"plain": {"A": {}}}, ["plain.A: a key has small letters (given: 'A')"]),
        ({"several": [{"name": "small"}, {"name": "small", "widht": 3}]},
         ["several.1.widht: unknown key; did you mean 'width'?"]),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_what_may_be_there(given: dict[str, object], messages: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        load(Odd, given)
    assert [line.strip() for line in str(error.value).splitlines()[1:]] == messages


class Texts(Part):
    name: str = "x"
    root: Path = Path("x")
    maybe: str | None = "x"
    one: Literal["yes", "no"] = "yes"
    names: tuple[str, ...] = ()
    count: int = 1
    rate: float = 1.0
    flip: bool = False
    size: tuple[int, int] | None = None
    path_or_number: int | Path = 0
    by_name: Mapping[str, Small] = {}
    anything: Mapping[str, object] = {}


@pytest.mark.parametrize(
    "text", ["2011_09_26", "2024-01-05", "2024-13-45", "0012", "1e3", "no", "a: b", "x #1", "{a", "1:30"]
)
def test_what_belongs_to_a_text_or_a_path_is_text(text: str, tmp_path: Path) -> None:
    texts = load(Texts, {}, [f"root={text}", f"maybe={text}", f"name={text}"])
    assert (texts.root, texts.maybe, texts.name) == (Path(text), text, text)
    if not set(text) & set(":#{"):  # which YAML needs quotes for
        (tmp_path / "r.yaml").write_text(
            f"root: {text}\nmaybe: {text}\nnames: [{text}, {text}]\nby_name: {{{text}: {{}}}}"
        )
        texts = load(Texts, tmp_path / "r.yaml", [f"name={text}"])
        assert (texts.root, texts.maybe, texts.names) == (Path(text), text, (text, text))
        assert list(texts.by_name) == [text]
        assert load(Texts, {}, [f"names=[{text}, b]"]).names == (text, "b")


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("maybe=null", "maybe", None),
        ("maybe=", "maybe", None),
        ("root=null", "root", Path("null")),
        ("root='2011_09_26'", "root", Path("2011_09_26")),
        ('root="x #1"', "root", Path("x #1")),
        ("one=no", "one", "no"),
        ("count=010", "count", 10),
        ("count=1_000", "count", 1000),
        ("rate=1e3", "rate", 1000.0),
        ("flip=no", "flip", False),
        ("flip=on", "flip", True),
        ("size=null", "size", None),
        ("size=[3, 4]", "size", (3, 4)),
        ("path_or_number=3", "path_or_number", 3),
        ("path_or_number=x", "path_or_number", Path("x")),
        ("anything={a: 2011_09_26, b: no, c: 3, d: 0.5}", "anything", {"a": "2011_09_26", "b": "no", "c": 3, "d": 0.5}),
    ],
)
def test_the_type_of_the_field_says_how_a_word_is_read(override: str, field: str, value: object) -> None:
    assert getattr(load(Texts, {}, [override]), field) == value


def test_a_whole_number_is_no_time_of_day() -> None:
    with pytest.raises(ConfigError, match=r"count: must be a whole number \(given: '12:30'\)"):
        load(Texts, {}, ["count=12:30"])


def test_a_group_may_be_given_at_once_and_then_changed() -> None:
    given = ["part={name: large, rates: [1]}", "part.rates=[2]", "steps=1"]
    assert load(Whole, {}, given).part == Large(rates=(2,))


def test_a_key_given_twice_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("steps: 1\nlr: 0.1\nsteps: 2\n")
    with pytest.raises(ConfigError, match="the key 'steps' is given twice, first in line 1"):
        load(Whole, tmp_path / "r.yaml")
    (tmp_path / "r.yaml").write_text("a: &all {lr: 0.1, steps: 1}\n<<: *all\nsteps: 2\n")
    with pytest.raises(ConfigError, match="a: unknown key"):
        load(Whole, tmp_path / "r.yaml")


class Deep(Part):
    name: Literal["deep"] = "deep"
    width: int = 5
    depth: int = 1


class Chosen(Part):
    part: Annotated[Deep | Large, Field(discriminator="name")] | Literal["none"] = Deep()


def test_another_name_drops_what_the_recipe_says_of_the_part_it_does_not_name() -> None:
    """As where the name is written: `depth` is of the default part."""
    recipe = {"part": {"depth": 3}}
    assert load(Chosen, recipe, ["part.name=large"]).part == Large()
    assert load(Chosen, recipe, ["part.name=deep"]).part == Deep(depth=3)
    assert load(Chosen, {"part": {"width": 2, "depth": 3}}, ["part.name=deep"]).part == Deep(width=2, depth=3)
    with pytest.raises(ConfigError, match=r"part\.depth: unknown key"):
        load(Chosen, {}, ["part.depth=3", "part.name=large"])
    with pytest.raises(ConfigError, match=r"part\.dept: unknown key; there is: name, rates"):
        load(Chosen, {"part": {"dept": 3}}, ["part.name=large"])


def test_an_unknown_key_of_a_part_among_other_kinds_gets_hints_of_that_part() -> None:
    with pytest.raises(ConfigError) as error:
        load(Chosen, {"part": {"name": "large", "depth": 3}})
    assert str(error.value).splitlines()[1:] == ["  part.depth: unknown key; there is: name, rates"]


def test_names_come_before_what_they_name() -> None:
    trees = {"a.b.width": 1, "a": {"c": {"width": 2, "name": "x"}, "name": "y"}, "a.b.name": "z"}
    assert [key for key, _ in flat(trees)] == ["a.b.name", "a.name", "a.c.name", "a.c.width", "a.b.width"]


def test_mistakes_of_the_command_line_are_not_laid_at_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("steps: 3\n")
    with pytest.raises(ConfigError) as error:
        load(Whole, path, ["stepz.many=2", "part.widht=1"])
    first, *rest = str(error.value).splitlines()
    assert first == f"What is given on the command line (beside {path}) is not valid:"
    assert [line.split(":")[0].strip() for line in rest] == ["stepz", "part.widht"]
    path.write_text("steps: 3\nlr: -1\n")
    with pytest.raises(ConfigError, match=rf"^{path} is not valid:\n  lr: .*\nWhat is given .*\n  steps: .*$"):
        load(Whole, path, ["steps=few"])
    with pytest.raises(ConfigError, match=rf"^{path} is not valid:\n  lr: .*\(given: -1\)$"):
        load(Whole, path, ["steps=4"])
    with pytest.raises(ConfigError, match=rf"^What is given by the study \(beside {path}\) is not valid:\n  lr: .*-2"):
        load(Whole, path, ["lr=-2"], "by the study")
