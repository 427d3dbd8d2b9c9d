"""Reading Markdown pages: their blocks, links, anchors, and the commands they show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
SHELLS = ("bash", "sh", "console")

_FENCE = re.compile(r"^( *)```([\w-]*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_OTHER = re.compile(r"(?<![\w/])(docker \w+[^`\n]*|python [\w/]+\.py[^`\n#]*|benchmarks/\w+\.py --[^`\n]*)")
_HEADING = re.compile(r"^#{1,6} (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    language: str
    text: str
    line: int
    """The line of its fence, from 1."""


def name(page: Path) -> str:
    """How tests call a page."""
    return str(page.relative_to(ROOT))


def blocks(text: str, *languages: str) -> list[Block]:
    """The fenced blocks of these languages; of all without any."""
    found = [Block(m[2], m[3], text[: m.start()].count("\n") + 1) for m in _FENCE.finditer(text)]
    return [block for block in found if block.language in languages or not languages]


def prose(text: str) -> str:
    """The page without fenced blocks and code spans, in which nothing is a link."""
    return re.sub(r"`[^`\n]*`", "`code`", _FENCE.sub("", text))


def links(text: str) -> list[str]:
    """The targets of all links and pictures."""
    return _LINK.findall(prose(text))


def anchors(text: str) -> set[str]:
    """The anchors of the headings as GitHub and the site make them; not of headings that occur twice on the page."""
    headings = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", found) for found in _HEADING.findall(_FENCE.sub("", text)))
    slugs = [re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings]
    return {slug for slug in slugs if slugs.count(slug) == 1}


def commands(text: str) -> Iterator[str]:
    """The `fathom ...` lines of the shell blocks, without their comments; continued lines are one."""
    for block in blocks(text, *SHELLS):
        for line in block.text.replace("\\\n", " ").splitlines():
            command = re.sub(r"\s#\s.*$", "", line).strip().removeprefix("$ ")
            if command.startswith("fathom "):
                yield command


def other_commands(text: str) -> list[str]:
    """Commands of Docker, and scripts of the repository with what is given to them, in blocks and in prose."""
    return [found.strip() for found in _OTHER.findall(text)]
