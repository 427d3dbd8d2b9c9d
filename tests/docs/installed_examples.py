"""Run as a program: `fathom` commands, one after the other in one process, with the package that PYTHONPATH names.

Reads a JSON list of [key, words, ...] on standard input and prints a JSON object of {key: what went wrong, or ""}.
"""

from __future__ import annotations

import json
import sys
import traceback

from typer.testing import CliRunner

import fathomseg
from fathomseg.cli import app


def run() -> None:
    """Everything is tried, so that one bad example does not hide the others."""
    found = {"package": fathomseg.__file__}
    for key, words in json.load(sys.stdin):
        done = CliRunner().invoke(app, words)
        found.setdefault(key, "")
        if done.exit_code:
            error = "".join(traceback.format_exception(done.exception))
            found[key] += f"fathom {' '.join(words)}\n{done.output}\n{error}"
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    run()
