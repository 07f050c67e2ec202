"""What Tempo's search answers of the traces that were found."""

from __future__ import annotations

import pytest

from spantree_api.span_search.tempo import go_length


@pytest.mark.parametrize(
    ("ns", "wanted"),
    [
        (0, "0s"), (7, "7ns"), (1_500, "1.5µs"), (12_500_000, "12.5ms"), (10**9, "1s"), (1_000_000_001, "1.000000001s"),
        (60 * 10**9, "1m0s"), (3_723_500_000_000, "1h2m3.5s"), (3_600 * 10**9, "1h0m0s"), (-5_000_000, "-5ms"),
    ],
)  # fmt: skip
def test_lengths_of_time_are_written_as_go_does(ns: int, wanted: str) -> None:
    assert go_length(ns) == wanted
