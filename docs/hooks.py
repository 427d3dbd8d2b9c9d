"""What MkDocs does beside its plugins: files of the repository that pages link to become files of the site.

Pages link to recipes, results and sources by relative paths (`../recipes/camvid.yaml`), as GitHub shows them. On the
site these lie below `repository/`; a folder becomes a page that lists its files.

A link to an example of docs/extend on a line of its own shows the file, and the page of the commands gets the help of
every verb: both would be long to read in the repository.

Flow charts, which GitHub draws with a script from elsewhere, become rows of boxes, each row above those it points to.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from posixpath import normpath, relpath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"(\]\()((?:\.\./)+[^)#\s]+)")
_INSIDE = "repository"
_EXAMPLE = re.compile(r"^\[`(examples/extend/\w+\.py)`\]\(.*\)$", re.MULTILINE)
_CHART = re.compile(r"```mermaid\n(.*?)```", re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every file that some page links to outside of docs/, once."""
    for page in list(files.documentation_pages()):
        for link in _LINK.findall(page.content_string):
            target = outside(page.src_uri, link[1])
            if target is not None and files.get_file_from_path(uri(target)) is None:
                files.append(shown(target, config))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links out of docs/ to where these files are on the site, and lay out flow charts."""

    def moved(match: re.Match[str]) -> str:
        target = outside(page.file.src_uri, match[2])
        if target is None:
            return match[0]
        return match[1] + relpath(uri(target), str(Path(page.file.src_uri).parent))

    if page.file.src_uri == "cli.md":
        markdown += runpy.run_path(str(ROOT / "docs" / "generate.py"))["all_verbs"]()
    markdown = _EXAMPLE.sub(code, _LINK.sub(moved, markdown))
    return _CHART.sub(lambda match: rows(match[1]), markdown)


def code(match: re.Match[str]) -> str:
    """The link, and the file it leads to."""
    return f"{match[0]}\n\n```python\n{(ROOT / match[1]).read_text(encoding='utf-8')}```"


def outside(page: str, link: str) -> str | None:
    """The path in the repository of a link out of docs/; None for links that stay inside."""
    path = normpath(f"docs/{Path(page).parent.as_posix()}/{link}")
    return None if path.startswith(("docs/", "..")) else path


def uri(target: str) -> str:
    """Where a file or folder of the repository is on the site. Sources are shown as text, not run or downloaded."""
    if (ROOT / target).is_dir():
        return f"{_INSIDE}/{target}/index.md"
    return f"{_INSIDE}/{target}.txt" if target.endswith((".py", ".yaml", ".json")) else f"{_INSIDE}/{target}"


def shown(target: str, config: MkDocsConfig) -> File:
    """A file of the repository, or a page that lists the files of a folder."""
    path = ROOT / target
    if not path.is_dir():
        return File.generated(config, uri(target), abs_src_path=str(path), inclusion=InclusionLevel.NOT_IN_NAV)
    names = sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
    lines = "".join(f"- `{name}`\n" for name in names if "__pycache__" not in name)
    text = f"# {target}/\n\nFiles of the repository:\n\n{lines}"
    return File.generated(config, uri(target), content=text, inclusion=InclusionLevel.NOT_IN_NAV)


def rows(chart: str) -> str:
    """A flow chart as HTML: rows of boxes, so that every arrow points to a lower row."""
    labels = dict(re.findall(r'(\w+)\["([^"]*)"\]', chart))
    arrows = re.findall(r"(\w+)(?:\[[^\]]*\])? --> (\w+)", chart)
    depth = dict.fromkeys((name for arrow in arrows for name in arrow), 0)
    for _ in depth:  # the longest way from the top, found after as many rounds as there are boxes
        for above, below in arrows:
            depth[below] = max(depth[below], depth[above] + 1)
    if max(depth.values()) >= len(depth):
        raise ValueError("the chart has a cycle, so its boxes have no order")
    boxes = [[labels.get(name, name) for name in depth if depth[name] == row] for row in range(max(depth.values()) + 1)]
    html = "".join(f'<div class="row">{"".join(f"<div>{box}</div>" for box in row)}</div>' for row in boxes)
    html = re.sub("`([^`]*)`", r"<code>\1</code>", html)
    return f'<div class="chart">{html}</div>'
