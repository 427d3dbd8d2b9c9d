"""What all tests share: checked types, the real images, where there are any, and a cache that is thrown away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import typecheck

typecheck.install()  # every annotation, shapes included, is checked at every call

_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that holds camvid/, idd_lite/ ...: FATHOM_REAL_DATA, or ../shared/data beside the repository."""
    folder = Path(os.environ.get("FATHOM_REAL_DATA", _ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the real images are not at {folder}; set FATHOM_REAL_DATA to their folder")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests must neither find nor leave anything in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FATHOM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
