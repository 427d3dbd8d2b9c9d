"""Results that can be published: no paths of the machine they were made on."""

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Final

_PATH: Final = re.compile(
    r"(?<![\w.:/\\~-])(?:~|\.\.|[A-Za-z]:)?(?:[/\\](?:[\w.@+~-]+[/\\])+|(?<=~)[/\\]|(?<=\.\.)[/\\])([\w.@+~-]+)"
)
"""Somewhere in a text: an absolute path of two parts or more, or one that begins with ~ or .. ; group 1 is its name."""

_MARK: Final = r"PATH/TO/\1"


def redact_paths(value: Any, key: str = "") -> Any:
    """The same tree of mappings, lists and values, with PATH/TO/name for every path outside the working folder.

    Whatever a setting `root` holds is taken for such a path, since it says where somebody keeps the data. What
    is called `error` is prose, where a path ends at a space; anywhere else it may have spaces in it.
    """
    if isinstance(value, dict):
        return {name: redact_paths(inner, name) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact_paths(inner, key) for inner in value]
    if not isinstance(value, str) or key == "error":
        return _PATH.sub(_MARK, value) if isinstance(value, str) else value
    setting, equals, given = value.partition("=")
    if equals and " " not in setting:  # of a command line
        return f"{setting}={redact_paths(given, setting.rpartition('.')[2])}"
    if key == "root" or PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute():
        return f"PATH/TO/{PureWindowsPath(value).name}"
    return _PATH.sub(_MARK, value)
