"""docs/extend: every example is put into a copy of the package just as its page says, and its command runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import fakes
from tests.docs.markdown import DOCS, ROOT, blocks, commands, links

pytestmark = pytest.mark.slow

EXAMPLES = sorted(set((DOCS / "extend").glob("*.md")) - {DOCS / "extend" / "index.md"})
SMALL = {
    "train": ["train.steps=2", "train.batch=2", "train.device=cpu", "train.threads=1", "evaluation.report=false"],
    "select": ["device=cpu", "threads=1", "size=[24,32]", "annotation=false", "report=false"],
    "check": ["--json"],
}
"""What makes a command small, by verb."""
WORLD = ["data.size=[64,96]", "data.train_clips=2", "data.val_clips=1", "data.frames=2"]
STREETS = ["size=[64,96]", "streams.labelled.labels.count=2", *WORLD]
LITTLE = ["network.encoder.model=test_efficientnet", "network.encoder.pretrained=none"]


def install(page: Path, package: Path) -> list[Path]:
    """Do to a copy of the package what a page says: add the example it links, and its lines to files there are."""
    text = page.read_text(encoding="utf-8")
    linked = [(page.parent / link).resolve() for link in links(text) if "examples/extend/" in link]
    assert len(linked) == 1, f"{page.name} must link its example, once"
    sources = [linked[0].read_text(encoding="utf-8"), *(block.text for block in blocks(text, "python"))]
    changed = []
    for source in sources:
        first, rest = source.split("\n", 1)
        kind = re.fullmatch(r"# (in )?src/fathomseg/([\w/]+\.py).*", first)
        assert kind, f"{page.name}: code must begin with the file it is for, not {first!r}"
        path = package / kind[2]
        if not kind[1]:
            assert not path.exists(), f"{kind[2]} is a file of the package already"
            path.write_text(rest, encoding="utf-8")
        else:
            path.write_text(extended(path.read_text(encoding="utf-8"), rest), encoding="utf-8")
        changed.append(path)
    return changed


def extended(source: str, lines: str) -> str:
    """The source with the import lines added, and with what a line `NAME = before ... after` adds to a union."""
    imports = [line for line in lines.splitlines() if line.startswith(("import ", "from "))]
    at = max(match.end() for match in re.finditer(r"^from .* import .*\n|^\)\n", source, re.MULTILINE))
    source = source[:at] + "".join(f"{line}\n" for line in imports) + source[at:]
    for line in (line for line in lines.splitlines() if " ... " in line or "... |" in line):
        before, added, after = re.fullmatch(r"(.*?)\.\.\.( \| (?:Annotated\[.*?\]|\w+))(.*)", line).groups()  # type: ignore[union-attr]
        start = re.search(re.escape(before.rstrip()) + r"\s*", source)
        assert start, f"there is no {before!r} to add to"
        end = re.compile(r",?\s*" + re.escape(after.lstrip(", ")[:-1]) if after else r"\n").search(source, start.end())
        assert end, f"there is no {after!r} behind it"
        source = source[: end.start()] + added + source[end.start() :]
    return source


def smaller(command: str) -> list[str]:
    """The words of a command with what makes it run in a second."""
    words = shlex.split(command)[1:]
    words += SMALL[words[0]]
    if words[0] == "train":
        words += STREETS if words[1].startswith("streets") else ["size=[24,32]", "streams.labelled.labels.count=3"]
        words += [] if "network.encoder.model=" in command else LITTLE
    return words


def make_pairs(folder: Path) -> None:
    for split, count in (("train", 4), ("val", 2)):
        for i in range(count):
            image, label = fakes.scene(i, (24, 32), 3)
            fakes.save(folder / split / f"{i:04d}.jpg", image)
            fakes.save(folder / split / f"{i:04d}_mask.png", label)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What went wrong with each page, in a package that holds all examples at once."""
    folder = tmp_path_factory.mktemp("extend")
    package = folder / "src" / "fathomseg"
    shutil.copytree(ROOT / "src" / "fathomseg", package, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "recipes").symlink_to(ROOT / "recipes")
    fakes.make_camvid(folder / "data" / "camvid", size=(24, 96))
    for path in (folder / "data" / "camvid" / "train").iterdir():
        left = np.asarray(Image.open(path))  # everything is 4 pixels of disparity away
        fakes.save(folder / "data" / "right" / "train" / path.name, np.roll(left, -4, axis=1))
    make_pairs(folder / "mypairs")
    fakes.make_folder(folder / "mydata", labelled=5)
    todo = []
    for page in EXAMPLES:
        text = page.read_text(encoding="utf-8")
        install(page, package)
        todo += [[page.stem, smaller(command)] for command in commands(text)]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("installed_examples.py"))],
        input=json.dumps(todo),
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"},
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, str] = json.loads(done.stdout)
    assert Path(found.pop("package")).parent == package
    return found


@pytest.mark.parametrize("page", EXAMPLES, ids=lambda page: page.stem)
def test_the_example_works_as_its_page_says(page: Path, outcome: dict[str, str]) -> None:
    assert page.stem in outcome, "a page must end in a command"
    assert not outcome[page.stem], outcome[page.stem]


def test_the_index_lists_every_page() -> None:
    index = (DOCS / "extend" / "index.md").read_text(encoding="utf-8")
    assert len(EXAMPLES) == 9
    assert [page.name for page in EXAMPLES if f"({page.name})" not in index] == []


def test_every_example_has_a_page() -> None:
    linked = "\n".join(page.read_text(encoding="utf-8") for page in EXAMPLES)
    files = sorted((ROOT / "examples" / "extend").glob("*.py"))
    assert len(files) == 9
    assert [file.name for file in files if f"(../../examples/extend/{file.name})" not in linked] == []


def test_extending_a_union() -> None:
    source = 'from a import (\n    B,\n)\nfrom c import D\n\nAny = Annotated[B | D, Field(discriminator="name")]\n'
    more = 'from e import E\n\nAny = Annotated[... | E, Field(discriminator="name")]\n'
    assert extended(source, more) == (
        "from a import (\n    B,\n)\nfrom c import D\nfrom e import E\n\n"
        'Any = Annotated[B | D | E, Field(discriminator="name")]\n'
    )
    tagged = 'from c import D\n\nAny = Annotated[\n    Annotated[D, Tag("d")], by_name("b")\n]\n'
    assert 'Annotated[D, Tag("d")] | Annotated[E, Tag("e")], by_name' in extended(
        tagged, 'Any = Annotated[... | Annotated[E, Tag("e")], by_name("b")]\n'
    )
    assert extended("from c import D\n\n_One = B | D\n\nx = 1\n", "_One = ... | E\n").endswith("B | D | E\n\nx = 1\n")
