"""The docstrings under the fields of parts. Python drops them, so they are read from the source."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pydantic import BaseModel


@cache
def meanings(kind: type[BaseModel]) -> Mapping[str, str]:
    """By field of a part what the docstring under it says, in one line; those of its bases included."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            found |= _documented(inspect.getsourcefile(base) or "").get(base.__qualname__, {})
    return found


@cache
def _documented(file: str) -> Mapping[str, Mapping[str, str]]:
    """By class of a file and by field the docstring under it."""
    tree = ast.parse(Path(file).read_text(encoding="utf-8")) if file else ast.Module([], [])
    return dict(_classes(tree, ""))


def _classes(tree: ast.Module | ast.ClassDef, prefix: str) -> list[tuple[str, dict[str, str]]]:
    found = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found += [(prefix + node.name, _fields(node)), *_classes(node, f"{prefix}{node.name}.")]
    return found


def _fields(node: ast.ClassDef) -> dict[str, str]:
    """The text behind each annotated name."""
    pairs = zip(node.body, node.body[1:], strict=False)
    return {
        field.target.id: inspect.cleandoc(text.value.value).replace("\n", " ")
        for field, text in pairs
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
