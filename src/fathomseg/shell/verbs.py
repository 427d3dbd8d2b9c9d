"""The class of every verb: it says what it waits for before PyTorch is imported, which takes seconds."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from fathomseg.io.outcome import forget, last_line
from fathomseg.io.ranks import is_first

F = TypeVar("F", bound=Callable[..., Any])

HELP = {"help_option_names": ["-h", "--help"]}
"""Settings of click: -h is --help, for the program and all its verbs."""


class Verb(TyperCommand):
    """A verb that imports PyTorch."""

    def invoke(self, ctx: Any) -> Any:
        """Say that it has begun, do it, and say last what came of it and which page to open. Ends by `typer.Exit`."""
        speaks = is_first()  # of torchrun's processes one
        if speaks and "torch" not in sys.modules:
            print(f"fathom {self.name}: loading PyTorch ...", file=sys.stderr, flush=True)
        forget()
        code = 0
        try:
            super().invoke(ctx)
        except typer.Exit as end:
            code = end.exit_code
        if speaks and (line := last_line()) is not None:
            print(f"fathom {self.name}: {line}", file=sys.stderr, flush=True)
        raise typer.Exit(code)


class QuickVerb(TyperCommand):
    """A verb that answers at once."""


class VerbTable(TyperGroup):
    """The program, which names its verbs to who asks for another."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As typer's; ends with the nearest verb, or else all of them, if there is none of this name."""
        if args and args[0] not in self.commands and not args[0].startswith("-") and not ctx.resilient_parsing:
            close = difflib.get_close_matches(args[0], self.commands, n=1)
            remedy = f"Did you mean {close[0]}?" if close else f"There are: {', '.join(self.commands)}."
            ctx.fail(f"No such command {args[0]!r}. {remedy}")
        return super().resolve_command(ctx, args)


class Verbs(typer.Typer):
    """A program whose verbs are of the class `Verb`."""

    def command(
        self, name: str | None = None, *, cls: type[TyperCommand] | None = None, **settings: Any
    ) -> Callable[[F], F]:
        """As typer's, with another default class."""
        return super().command(name, cls=cls or Verb, **settings)
