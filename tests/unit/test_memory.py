"""When memory is given back."""

from __future__ import annotations

from spantree_collector.write.memory import Burst, trim

MIB = 2**20


def test_a_burst_is_over_once_when_little_is_left_of_it() -> None:
    burst = Burst()
    in_flight = [0, 10, 100, 60, 24, 1, 0, 5, 0, 40, 2, 0]
    assert [burst.is_over(size * MIB) for size in in_flight] == [size in (24, 2) for size in in_flight]


def test_giving_back_does_no_harm() -> None:
    trim()
