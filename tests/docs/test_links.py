"""Every link of every page leads somewhere: the file is there, and so is the heading."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.docs.markdown import PAGES, ROOT, anchors, links, name


def broken(text: str, page: Path) -> list[str]:
    """The links of a page that lead nowhere. Links to other sites are not followed."""
    local = [link for link in links(text) if not link.startswith(("https://", "mailto:"))]
    return [link for link in local if not leads(*link.partition("#")[::2], text, page)]


def leads(target: str, anchor: str, text: str, page: Path) -> bool:
    """Whether the file is there, inside the repository, and has the heading."""
    path = (page.parent / target).resolve()
    if target and not (path.exists() and path.is_relative_to(ROOT)):
        return False
    return not anchor or anchor in anchors(path.read_text(encoding="utf-8") if target else text)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page.read_text(encoding="utf-8"), page) == []


def test_what_is_linked_is_committed() -> None:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no git checkout, so nothing is ignored")
    there = {ROOT / line for line in listed.stdout.splitlines()}
    there |= {parent for path in there for parent in path.parents}
    for page in PAGES:
        local = [link.partition("#")[0] for link in links(page.read_text(encoding="utf-8")) if "://" not in link]
        assert [link for link in local if link and (page.parent / link).resolve() not in there] == [], name(page)


def test_broken_links_are_seen() -> None:
    page = ROOT / "docs" / "page.md"
    text = "# One `x`: two\n\n[a](#one-x-two) [b](#one-x) ![c](images/demo.jpg) [d](no.md) [e](data.md#nowhere)\n"
    text += "`[f](no.md)` [g](https://example.org/no)\n\n```md\n[h](no.md)\n```\n\n# Twice\n\n# Twice\n\n[i](#twice)\n"
    assert broken(text, page) == ["#one-x", "no.md", "data.md#nowhere", "#twice"]
