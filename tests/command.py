"""The command line, called in this process."""

from __future__ import annotations

from typer.testing import CliRunner

from fathomseg.cli import app


def fathom(*words: object) -> str:
    """What a command prints that must not fail."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, (words, done.output, done.exception)
    return done.output
