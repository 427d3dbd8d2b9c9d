"""Reading ahead: in order, and never far."""

from __future__ import annotations

from fathomseg.io.prefetch import ahead


def test_reading_ahead_keeps_order_and_its_distance() -> None:
    begun: list[int] = []

    def begin(item: int) -> int:
        begun.append(item)
        return item * item

    results = []
    for item, future in ahead(begin, range(50), threads=2):
        assert len(begun) <= item + 7
        results.append(future.result())
    assert results == [i * i for i in range(50)]
