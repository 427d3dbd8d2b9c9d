"""JSON schemas of recipes, for editors: completion, types, and what each setting means.

A schema is looser than the program: a recipe that it refuses is wrong, one that it accepts may be.
"""

from __future__ import annotations

import inspect
from typing import Any, Final

from pydantic import BaseModel, BeforeValidator
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from fathomseg.config import named_by_key, without_null
from fathomseg.settings.docstrings import meanings

_BY_KEY: Final = "x-named-by-key"


def schema(kind: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a kind of recipe."""
    tree = kind.model_json_schema(schema_generator=_Generator)
    _name_by_key(tree, tree)
    tree["required"] = [name for name, field in kind.model_fields.items() if field.is_required()]
    return {"$schema": _Generator.schema_dialect, **tree}


class _Generator(GenerateJsonSchema):
    """What a recipe may leave out is not required, and a part need not say its `name`."""

    ignored_warning_kinds = frozenset({"skipped-choice", "non-serializable-default"})  # type: ignore[assignment]

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Of a part: a part inside another may get any of its settings from a default there."""
        tree = super().model_schema(schema)
        kind: type[BaseModel] = schema["cls"]
        tree.pop("required", None)
        for name, meaning in meanings(kind).items():
            if name in tree.get("properties", {}):
                tree["properties"][name]["description"] = meaning
        for name, field in kind.model_fields.items():
            if any(isinstance(one, BeforeValidator) and one.func is named_by_key for one in field.metadata):
                tree["properties"][name][_BY_KEY] = True
        return tree

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """Any of its parts: without a name, several may fit."""
        tree = super().tagged_union_schema(schema)
        tree.pop("discriminator", None)
        return {"anyOf": tree.pop("oneOf"), **tree} if "oneOf" in tree else tree

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        """A function in front of a field reads texts too: the name of a file that holds the value. Parts have none."""
        tree, function = super().function_before_schema(schema), schema["function"]["function"]
        if function is without_null:
            return {**tree, "additionalProperties": {"anyOf": [tree["additionalProperties"], {"type": "null"}]}}
        parts = function is named_by_key or schema["schema"]["type"] == "tagged-union"
        reads = inspect.isfunction(function) and not parts  # the validators of parts are methods
        return {"anyOf": [tree, {"type": "string"}]} if reads else tree

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        """What JSON cannot describe may be anything."""
        return {}


def _name_by_key(node: Any, root: dict[str, Any]) -> None:
    """In a mapping whose keys are the names of parts, each name leads to its part."""
    if isinstance(node, list):
        for one in node:
            _name_by_key(one, root)
    if not isinstance(node, dict):
        return
    if node.pop(_BY_KEY, False):
        inside = node.get("additionalProperties", {})
        for option in inside.get("anyOf", [inside]):
            part = root["$defs"][option["$ref"].rpartition("/")[2]]
            name = part["properties"]["name"].get("const")
            if name is not None:
                node.setdefault("properties", {})[name] = {"anyOf": [option, {"type": "null"}]}
    for one in node.values():
        _name_by_key(one, root)
