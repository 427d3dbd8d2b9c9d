"""docs/extend: the example task, objective and link learn something in a tiny training step."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown import DOCS, ROOT
from tests.docs.test_extend import install


@pytest.mark.slow
def test_the_examples_learn(tmp_path: Path) -> None:
    """In a copy of the package that holds them just as their pages say."""
    package = tmp_path / "src" / "fathomseg"
    shutil.copytree(ROOT / "src" / "fathomseg", package, ignore=shutil.ignore_patterns("__pycache__"))
    for page in ("task", "objective", "link"):
        install(DOCS / "extend" / f"{page}.md", package)
    done = subprocess.run(
        [sys.executable, "-m", "tests.docs.installed_steps"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{package.parent}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"},
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert Path(done.stdout.split()[-1]).parent == package
