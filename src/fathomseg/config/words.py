"""YAML in which words keep their spelling until it is known what they are for.

YAML 1.1 makes a number of `2011_09_26`, a truth value of `no` and a date of `2024-01-05`, whatever they were meant as.
Here such a word is a `Word`: its text, and what YAML makes of it. Whoever knows the type of the field chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final

import yaml

_TAG: Final = "tag:yaml.org,2002:"
_MOST_NODES: Final = 1_000_000
"""Words, lists and mappings of a tree, with what is referred to counted each time."""


@dataclass(frozen=True, slots=True)
class Word:
    """An unquoted word that YAML takes for something else than text."""

    text: str
    """As it was written."""
    value: Any
    """What YAML makes of it: a number, a truth value, None, a date; of the text of a setting also a list or mapping."""

    def __str__(self) -> str:
        return self.text


def parse(text: str) -> Any:
    """The tree of a YAML text. Keys of mappings are text.

    Raises `yaml.YAMLError`, also for a key that is given twice, for what refers to itself, and for a short text that
    stands for a huge tree (references to references ...).
    """
    loader = _Loader(text)
    try:
        if (node := loader.get_single_node()) is None:
            return None
        _refuse_bomb(node)
        return loader.construct_document(node)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    finally:
        loader.dispose()


def unquoted(text: str) -> str | None:
    """What a text in quotes holds ("'2011'" -> "2011"); None for a text without quotes."""
    if len(text) < 2 or text[0] not in "\"'" or text[-1] != text[0]:
        return None
    try:
        inside = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    return inside if isinstance(inside, str) else None


def _refuse_bomb(root: yaml.Node) -> None:
    sizes: dict[int, int] = {}  # by the identity of a node; 0 while it is being counted

    def size(node: yaml.Node) -> int:
        if (known := sizes.get(id(node))) is not None:
            if not known:
                raise yaml.constructor.ConstructorError(None, None, "something refers to itself", node.start_mark)
            return known
        sizes[id(node)] = 0
        parts = node.value if isinstance(node, yaml.SequenceNode | yaml.MappingNode) else ()
        total = 1 + sum(size(part) for one in parts for part in (one if isinstance(one, tuple) else (one,)))
        if total > _MOST_NODES:
            raise yaml.constructor.ConstructorError(None, None, "its references make a huge tree", node.start_mark)
        sizes[id(node)] = total
        return total

    size(root)


class _Loader(yaml.SafeLoader):
    """Builds a `Word` where a plain scalar is no text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping with keys of text, each of which is there once."""
        own: dict[str, yaml.Mark] = {}
        for key, _ in node.value:
            if key.tag == f"{_TAG}merge":
                continue
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key.start_mark)
            if key.value in own:
                line = own[key.value].line + 1
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given twice, first in line {line}", key.start_mark
                )
            own[key.value] = key.start_mark
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}


def _word(build: Callable[[Any, Any], Any]) -> Callable[[_Loader, yaml.ScalarNode], Any]:
    def construct(loader: _Loader, node: yaml.ScalarNode) -> Any:
        try:
            value = build(loader, node)
        except ValueError:  # 2024-13-45 looks like a date
            return node.value
        return Word(node.value, value) if node.style is None else value

    return construct


for _kind in ("null", "bool", "int", "float", "timestamp"):
    _Loader.add_constructor(f"{_TAG}{_kind}", _word(yaml.SafeLoader.yaml_constructors[f"{_TAG}{_kind}"]))
