"""Small pools for the tests of selection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fathomseg.data.cache import Cache
from fathomseg.data.datasets.camvid import CamVid
from fathomseg.selection.pool import Pool
from tests import fakes

SIZE = (32, 64)
STUDENT: dict[str, Any] = {
    "network": {
        "encoder": {"model": "test_efficientnet", "pretrained": "none"},
        "tasks": {"depth": {"decoder": {"channels": [4, 4, 8, 8, 8], "stride": 4}}},
    },
    "steps": 3,
    "batch": 2,
}
ENCODER: dict[str, Any] = {
    "name": "encoder",
    "encoder": {"model": "test_efficientnet", "pretrained": "none"},
    "grid": [1, 2],
}


def camvid(folder: Path, images: int = 10) -> CamVid:
    """A fake CamVid; images are `train/...`."""
    return CamVid(root=fakes.make_camvid(folder, train=images, val=1, size=SIZE))


def pool(data: CamVid, folder: Path, already: tuple[str, ...] = (), seed: int = 0, **more: Any) -> Pool:
    """The split `train` as a pool."""
    ids = tuple(data.ids("train"))
    return Pool(Cache(data, SIZE), ids, already, folder, seed, device="cpu", threads=1, **more)
