"""The Dockerfile without Docker: what it copies is there, what it installs exists, and it starts the command line."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_everything_copied_is_there_and_enough_to_build() -> None:
    copied = [name for line in re.findall(r"^COPY (.*)$", TEXT, re.MULTILINE) for name in line.split()[:-1]]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert {"pyproject.toml", PROJECT["readme"], "src", "recipes"} <= set(copied)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split() if (ROOT / ".dockerignore").exists() else []
    assert not set(copied) & set(ignored)


def test_what_is_installed_exists_and_the_command_starts() -> None:
    extras = re.search(r"'/src\[([\w,]+)\]'", TEXT)
    assert extras is not None
    assert set(extras[1].split(",")) <= set(PROJECT["optional-dependencies"])
    assert re.search(r"^torch==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    entry = re.search(r"^ENTRYPOINT (.*)$", TEXT, re.MULTILINE)
    assert entry is not None
    assert json.loads(entry[1])[0] in PROJECT["scripts"]
    version = re.search(r"^FROM python:(\d+\.\d+)", TEXT, re.MULTILINE)
    assert version is not None
    assert PROJECT["requires-python"].startswith(">=3.")
    assert int(version[1].partition(".")[2]) >= int(PROJECT["requires-python"].partition(".")[2])
