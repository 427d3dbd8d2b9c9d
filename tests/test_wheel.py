"""What is published: a wheel, installed in a fresh environment outside the clone, does what the README says."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from fathomseg.named_recipes import names
from tests import fakes
from tests.docs import sandbox
from tests.docs.markdown import commands

ROOT = Path(__file__).resolve().parent.parent
BUILD = "import sys; from setuptools import build_meta as b; getattr(b, sys.argv[1])(sys.argv[2])"


def run(*command: str | Path, folder: Path, given: str | None = None) -> str:
    """Run a program without the clone on its path; returns what it printed."""
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**env, "OMP_NUM_THREADS": "1"},
        input=given,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist of the clone, and the wheel made from the sdist."""
    folder = tmp_path_factory.mktemp("build")
    clone, dist = folder / "clone", folder / "dist"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "recipes"):
        shutil.copytree(ROOT / name, clone / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, clone / name)
    run(sys.executable, "-c", BUILD, "build_sdist", dist, folder=clone)
    sdist = next(dist.glob("*.tar.gz"))
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    run(sys.executable, "-c", BUILD, "build_wheel", dist, folder=folder / sdist.name.removesuffix(".tar.gz"))
    return sdist, next(dist.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment with the wheel; what it depends on comes from the one of the tests."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder, folder=folder.parent)
    run(sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--no-deps", "--no-index",
        "--quiet", built[1], folder=folder.parent)  # fmt: skip
    site = next((folder / "lib").glob("python*/site-packages"))
    (site / "depends.pth").write_text(sysconfig.get_path("purelib") + "\n")  # its own .pth files are not read
    return folder / "bin"


@pytest.mark.slow
def test_sdist_and_wheel_hold_every_recipe_and_what_the_pages_need(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as wheel, tarfile.open(built[0]) as sdist:
        inside = {name for name in wheel.namelist() if name.startswith("fathomseg/")}
        packed = {name.partition("/src/")[2] for name in sdist.getnames() if "/src/fathomseg/" in name}
    assert {f"fathomseg/recipes/{name}.yaml" for name in names()} <= inside
    package = ROOT / "src" / "fathomseg"
    files = {path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path.relative_to(package.parent).as_posix() for path in files} - inside == set()
    assert inside <= packed


@pytest.mark.slow
def test_twine_finds_nothing_wrong(built: tuple[Path, Path]) -> None:
    if importlib.util.find_spec("twine") is None:
        pytest.skip("twine is not installed: pip install '.[dev]'")
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout.count("PASSED")) == (0, 2), done.stdout + done.stderr


@pytest.mark.slow
def test_recipes_and_choices_are_those_of_the_wheel(environment: Path, tmp_path: Path) -> None:
    listed = json.loads(run(environment / "fathom", "recipes", "--json", folder=tmp_path))
    assert [one["name"] for one in listed] == names()
    code = "from fathomseg.named_recipes import find; print(find('studies/choices/camvid-cells-0.txt'))"
    found = Path(run(environment / "python", "-c", code, folder=tmp_path).strip())
    assert environment.parent in found.parents
    assert found.read_text().startswith("train/")


@pytest.mark.long
def test_the_commands_of_the_readme_work(environment: Path, tmp_path: Path) -> None:
    """In a folder with nothing but the data."""
    fakes.make_folder(tmp_path / "mydata", videos=1)
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    todo = [[command, sandbox.smaller(command)] for command in commands(page)]
    assert len(todo) >= 4
    script = ROOT / "tests" / "docs" / "installed_examples.py"
    found = json.loads(run(environment / "python", script, folder=tmp_path, given=json.dumps(todo)))
    assert environment.parent in Path(found.pop("package")).parents
    assert {line: said for line, said in found.items() if said} == {}
