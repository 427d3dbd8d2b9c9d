"""docs/annotation.md: its Python runs, and the files it names are those that are written."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from fathomseg.data.datasets.folder import Folder
from tests.fakes import make_folder
from tests.selection.annotation.tasks import drawing, from_cvat, selection

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "annotation.md").read_text(encoding="utf-8")
CODE = re.findall(r"(<!-- needs a run -->\n)?```python\n(.*?)```", TEXT, re.DOTALL)


def test_the_round_trip_of_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_folder(Path("mydata"), labels=None)
    selection(["images/004", "images/002"]).save(Path("selected"))
    label = drawing(5, (24, 32), 3)
    lines = [("background", (0, 0, 0)), ("road", (1, 1, 1)), ("car", (2, 2, 2)), ("sky", (3, 3, 3))]
    from_cvat(Path("job.zip"), {"0001-images-004": label}, lines)
    names: dict[str, object] = {}
    for needs_run, code in CODE:
        if not needs_run:
            exec(compile(code, "docs", "exec", dont_inherit=True), names)
    done = names["done"]
    assert done.labelled == ("images/004",)  # type: ignore[attr-defined]
    assert done.empty == ("images/002",)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(Folder(root=Path("mydata")).label("images/004"), label)
    for name in re.findall(r"^\|`([\w./-]+)`", TEXT, re.MULTILINE):
        if "town" not in name:
            assert (Path("selected/annotation") / name).is_file(), name
