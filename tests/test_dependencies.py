"""Direct dependencies are few, and each is explained."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_direct_dependencies_are_few_and_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert len(project["dependencies"]) <= 20
    extras = [one for extra, found in project["optional-dependencies"].items() if extra != "dev" for one in found]
    (page,) = (ROOT / "docs").rglob("dependencies.md")
    explained = page.read_text()
    wanted = [re.split(r"[\[<>=]", one)[0] for one in (*project["dependencies"], *extras)]
    assert [one for one in wanted if not re.search(rf"(?<![\w-]){re.escape(one)}(?![\w-])", explained)] == []
