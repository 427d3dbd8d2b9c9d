"""The schemas: current, true of every recipe, and false of a recipe with a mistake."""

from __future__ import annotations

import json
import runpy
from typing import Any

import jsonschema
import pytest
import yaml

from fathomseg.named_recipes import find, names
from fathomseg.shell.completion import SCHEMAS
from fathomseg.stages.settings import KINDS, kind_of
from tests.docs.markdown import DOCS

TREES: dict[str, dict[str, Any]] = {kind: json.loads((SCHEMAS / f"{kind}.json").read_text()) for kind in KINDS}
CHECKS = {kind: jsonschema.Draft202012Validator(tree) for kind, tree in TREES.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_current_and_sound(kind: str) -> None:
    written = runpy.run_path(str(DOCS / "generate.py"))["schema_file"](kind)
    assert (SCHEMAS / f"{kind}.json").read_text(encoding="utf-8") == written, "run: python docs/generate.py"
    jsonschema.Draft202012Validator.check_schema(TREES[kind])


@pytest.mark.parametrize("name", names())
def test_every_recipe_fits_its_schema(name: str) -> None:
    path = find(name)
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert [f"{error.json_path}: {error.message}" for error in CHECKS[kind_of(path)].iter_errors(tree)] == []


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("camvid", "train.stepz", 3),
        ("camvid", "train.steps", "many"),
        ("camvid", "data.name", "camvit"),
        ("camvid", "data.rot", "x"),
        ("camvid", "size", [1, 2, 3]),
        ("camvid", "objectives.supervised.losses.segmentation.balanze", 1),
        ("camvid", "streams.labelled", 3),
        ("camvid/depthmix", "objectives.pseudo_labels.mixing.name", "mixmix"),
        ("depth-kitti", "network.tasks.depth.decoder.strid", 2),
        ("select-streets", "budgt", 3),
        ("select-streets", "criterion.name", "best"),
        ("studies/camvid", "seedz", [0]),
        ("studies/camvid", "arms.chosen.recip", "x"),
    ],
)
def test_a_mistake_is_seen(name: str, path: str, value: Any) -> None:
    tree = yaml.safe_load(find(name).read_text(encoding="utf-8"))
    *groups, key = path.split(".")
    node = tree
    for group in groups:
        node = node[group]
    node[key] = value
    assert not CHECKS[kind_of(find(name))].is_valid(tree)


def test_a_stream_may_be_null_as_in_what_takes_it_out() -> None:
    tree = yaml.safe_load(find("camvid/three-ways").read_text(encoding="utf-8"))
    assert CHECKS["recipe"].is_valid({**tree, "streams": {**tree["streams"], "clips": None}})


def test_what_must_be_given_is_required() -> None:
    assert set(TREES["recipe"]["required"]) == {"data", "size"}
    assert not CHECKS["recipe"].is_valid({"data": {"name": "streets"}})


def test_fields_have_their_meaning() -> None:
    meant = TREES["recipe"]["$defs"]["Loop"]["properties"]["steps"]["description"]
    assert "step" in meant.lower()
    described = [
        p for d in TREES["recipe"]["$defs"].values() for n, p in d.get("properties", {}).items() if n != "name"
    ]
    assert sum("description" in one for one in described) > 0.95 * len(described)
