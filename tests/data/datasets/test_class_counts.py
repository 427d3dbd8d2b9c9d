from __future__ import annotations

from fathomseg.data.datasets.class_counts import much_ignored


def test_a_third_may_be_ignored_and_no_more() -> None:
    assert much_ignored(0, 0) is None
    assert much_ignored(100, 300) is None
    found = much_ignored(101, 300)
    assert found is not None
    assert found.startswith("34 % of the pixels of labelled images are ignored")
    assert "`unpainted: NAME`" in found
