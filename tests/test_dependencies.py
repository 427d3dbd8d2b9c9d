"""Direct dependencies are few, and each is explained."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import torch
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent


def test_direct_dependencies_are_few_and_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert len(project["dependencies"]) <= 20
    extras = [one for extra, found in project["optional-dependencies"].items() if extra != "dev" for one in found]
    (page,) = (ROOT / "docs").rglob("dependencies.md")
    explained = page.read_text()
    wanted = [re.split(r"[\[<>=]", one)[0] for one in (*project["dependencies"], *extras)]
    assert [one for one in wanted if not re.search(rf"(?<![\w-]){re.escape(one)}(?![\w-])", explained)] == []


def test_weights_first_used_without_a_gradient_keep_theirs_under_autocast() -> None:
    """PyTorch issue 158232, in releases up to 2.10."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (torch_,) = (Requirement(one) for one in project["dependencies"] if re.match(r"torch\W", one))
    assert [one for one in ("2.10.0", "2.11.0", "2.13.0") if one in torch_.specifier] == ["2.11.0", "2.13.0"]
    layer, values = torch.nn.Linear(2, 2), torch.ones(1, 2)
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            layer(values)
        assert layer(values).requires_grad
