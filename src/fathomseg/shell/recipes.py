"""`fathom recipes`: the recipes that come with the package, a line each, by the verb they are for."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from fathomseg.errors import FathomError
from fathomseg.named_recipes import Named, listed, nearest

_VERBS = ("train", "pretrain", "select", "study")
_INDENT = "    "


def run(word: str | None, as_json: bool) -> int:
    """List them on standard output, all or those that have a word. Returns the exit code."""
    found = listed(word)
    if not found:
        near = nearest(word or "")
        hint = f"; did you mean {', '.join(near)}?" if near else "."
        raise FathomError(f"No recipe has {word!r} in its name or header{hint} `fathom recipes` lists all.")
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=2, ensure_ascii=False))
        return 0
    print("\n".join(lines(found, shutil.get_terminal_size((120, 24)).columns)))
    return 0


def lines(recipes: Sequence[Named], width: int) -> Iterator[str]:
    """A heading for each verb, then name and first sentence in one line, and below it what was measured, if it was."""
    column = max(len(one.name) for one in recipes) + 2
    for verb in [verb for verb in _VERBS if any(one.verb == verb for one in recipes)]:
        yield f"fathom {verb} NAME"
        for one in (one for one in recipes if one.verb == verb):
            yield f"  {one.name:{column}}{textwrap.shorten(one.about, max(width - column - 2, 20), placeholder=' ...')}"
            if one.expected is not None:
                yield from textwrap.wrap(
                    f"expected: {one.expected}",
                    width - 4,
                    initial_indent=_INDENT + "  ",
                    subsequent_indent=_INDENT + "  ",
                )
        yield ""
    yield "The header of a recipe says more: machine, time, what it needs. Its settings: fathom settings NAME"
