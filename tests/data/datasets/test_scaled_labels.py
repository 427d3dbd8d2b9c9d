"""Labels of images that are stored smaller than they were published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fathomseg.data.datasets.camvid import CamVid
from fathomseg.data.datasets.idd_lite import IddLite
from fathomseg.data.datasets.mapillary import Mapillary
from fathomseg.data.datasets.maps import ScaledLabels
from fathomseg.errors import DataError
from tests.fakes import make_camvid, make_idd_lite, make_mapillary, save


@pytest.mark.parametrize(
    ("kind", "make"), [(CamVid, make_camvid), (IddLite, make_idd_lite), (Mapillary, make_mapillary)]
)
def test_labels_follow_an_image_that_is_stored_smaller(
    tmp_path: Path, kind: type[ScaledLabels], make: Callable[..., Path]
) -> None:
    data = kind(root=make(tmp_path, size=(24, 32)))
    id = data.ids("train")[0]
    full, before = data.label(id), data.fingerprint(id, "label")
    assert full is not None
    assert full.shape == (24, 32)
    image = data.files(id).image
    save(image, np.zeros((12, 16, 3), np.uint8))
    np.testing.assert_array_equal(data.label(id), full[1::2, 1::2])
    assert data.fingerprint(id, "label") != before, "or the cache would give the label of the larger image"
    save(image, np.zeros((12, 30, 3), np.uint8))
    with pytest.raises(DataError, match="another shape than its image of 12 x 30"):
        data.label(id)
