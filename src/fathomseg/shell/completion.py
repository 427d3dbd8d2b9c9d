"""What a shell offers at <TAB>: recipes by name, and keys of settings from the schemas that come with the package.

PyTorch is not imported, so that an answer takes a fraction of a second. A key that is alone on offer would get a space
behind it, so it comes with an example of its value: `data.root=` and `data.root=data/camvid`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fathomseg.named_recipes import listed, lookup

SCHEMAS: Final = Path(__file__).resolve().parents[1] / "settings" / "schemas"
"""Written by docs/generate.py."""

Node = Mapping[str, Any]
_BY_VERB: Final = {"select": "selection", "study": "study"}
_RECIPES_OF: Final = {"select": ("select",), "study": ("study",), "train": ("train", "pretrain")}
_RECIPES_OF_ALL: Final = ("train", "pretrain", "select", "study")


def recipe_or_setting(ctx: Any, incomplete: str) -> Iterator[str]:
    """First a recipe, then keys of its settings."""
    given = [*(ctx.params.get("arguments") or ()), *([ctx.params["file"]] if ctx.params.get("file") else [])]
    verb = "train" if ctx.info_name == "pretrain" else ctx.info_name or ""
    if not given and "=" not in incomplete:
        wanted = _RECIPES_OF.get(verb, _RECIPES_OF_ALL)
        yield from (one.name for one in listed() if one.verb in wanted and one.name.startswith(incomplete))
        return
    path = lookup(given[0]) if given else None
    yield from settings(_BY_VERB.get(verb, "recipe"), given[1:], incomplete, _tree(path))


def setting_in(*groups: str) -> Callable[[Any, str], Iterator[str]]:
    """Keys of these groups of a recipe alone, such as `data`."""

    def complete(ctx: Any, incomplete: str) -> Iterator[str]:
        given = ctx.params.get("arguments") or ctx.params.get("overrides") or ()
        found = settings("recipe", given, incomplete, {})
        return (one for one in found if one.startswith(groups))

    return complete


def settings(kind: str, given: Sequence[str], incomplete: str, tree: Node) -> Iterator[str]:
    """What may be typed for `incomplete`: keys, or values behind the sign of equality."""
    file = SCHEMAS / f"{kind}.json"
    root: Node = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    words = [word for word in given if word != "="]
    if words and "=" not in words[-1]:  # bash gives key, sign and value as words of their own
        yield from (one for one in _values(_at(root, words[-1], tree)) if one.startswith(incomplete))
        return
    key, equals, begun = incomplete.partition("=")
    if equals:
        yield from (f"{key}={one}" for one in _values(_at(root, key, tree)) if one.startswith(begun))
        return
    prefix, _, last = key.rpartition(".")
    prefix += "." if prefix else ""
    found = {name: nodes for name, nodes in _children(root, prefix, tree).items() if name.startswith(last)}
    while len(found) == 1:  # a group alone is opened, or the shell would put a space behind it
        name, nodes = next(iter(found.items()))
        if not _is_group(nodes):
            break
        prefix, found = f"{prefix}{name}.", _children(root, f"{prefix}{name}.", tree)
    alone = len(found) == 1
    for name, nodes in found.items():
        yield f"{prefix}{name}{'.' if _is_group(nodes) else '='}"
        if alone:
            yield from (f"{prefix}{name}={one}" for one in _values(nodes) or [_example(nodes, tree, prefix + name)])


def _tree(path: Path | None) -> Node:
    """The recipe, as far as it is one."""
    import yaml  # where it is needed: it takes longer than all the rest

    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader) if path is not None else None
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _alternatives(node: Node, root: Node) -> Iterator[Node]:
    """The node without references, each of its alternatives alone."""
    if "$ref" in node:
        yield from _alternatives(root["$defs"][node["$ref"].rpartition("/")[2]], root)
    elif "anyOf" in node:
        for one in node["anyOf"]:
            yield from _alternatives(one, root)
    else:
        yield node


def _children(root: Node, prefix: str, tree: Node) -> dict[str, list[Node]]:
    """The nodes inside a group, by name. Of parts told apart by a name, those the recipe has, if it has one."""
    here: Any = tree
    nodes, name = [root], ""
    for key in [key for key in prefix.split(".") if key]:
        nodes = _inside(nodes, here, name, root).get(key, [])
        here, name = (here.get(key) if isinstance(here, dict) else None), key
    return _inside(nodes, here, name, root)


def _inside(nodes: Sequence[Node], here: Any, key: str, root: Node) -> dict[str, list[Node]]:
    alternatives = [one for node in nodes for one in _alternatives(node, root)]
    said = here.get("name", key) if isinstance(here, dict) else key
    named = [one for one in alternatives if one.get("properties", {}).get("name", {}).get("const") == said]
    kinds = [one["properties"]["name"] for one in alternatives if "name" in one.get("properties", {})]
    found: dict[str, list[Node]] = {"name": kinds} if kinds else {}  # it can be changed to that of another part
    for one in named or alternatives:
        for name, node in one.get("properties", {}).items():
            if name != "name" or not kinds:
                found.setdefault(name, []).extend(_alternatives(node, root))
        if isinstance(rest := one.get("additionalProperties"), dict):
            for name in here if isinstance(here, dict) else ():
                found.setdefault(name, []).extend(_alternatives(rest, root))
    return found


def _at(root: Node, key: str, tree: Node) -> list[Node]:
    prefix, _, last = key.rpartition(".")
    return _children(root, prefix, tree).get(last, [])


def _is_group(nodes: Sequence[Node]) -> bool:
    return any("properties" in one or isinstance(one.get("additionalProperties"), dict) for one in nodes)


def _values(nodes: Sequence[Node]) -> list[str]:
    """The values that are known by name."""
    words = [value for one in nodes for value in one.get("enum", [one["const"]] if "const" in one else [])]
    words += ["true", "false"] if any(one.get("type") == "boolean" for one in nodes) else []
    return [str(word) for word in dict.fromkeys(words)]


def _example(nodes: Sequence[Node], tree: Node, key: str) -> str:
    """The value in the recipe, or a word for what belongs there."""
    value: Any = tree
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, str | int | float) and " " not in str(value):
        return str(value)
    kinds = {one.get("format", one.get("type")) for one in nodes}
    return "PATH" if "path" in kinds else "NUMBER" if kinds & {"integer", "number"} else "VALUE"
