from __future__ import annotations

import numpy as np

from fathomseg.data.datasets.class_counts import absences, much_ignored


def test_a_third_may_be_ignored_and_no_more() -> None:
    assert much_ignored(0, 0) is None
    assert much_ignored(100, 300) is None
    found = much_ignored(101, 300)
    assert found is not None
    assert found.startswith("34 % of the pixels of labelled images are ignored")
    assert "`unpainted: NAME`" in found


def test_the_value_of_ignored_pixels_is_asked_for_where_there_is_one() -> None:
    counts = np.zeros(256, np.int64)
    counts[[0, 255]] = 50
    assert "should their value be one of these?" in str(absences(["road", "car"], counts))
    assert (
        absences(["road", "car"], counts, stored=False) == "no pixel has the class car; nothing can be learned of it."
    )
