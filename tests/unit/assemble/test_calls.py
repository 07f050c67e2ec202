"""Which services of a trace called each other."""

from __future__ import annotations

import random

from tests.unit.assemble.traces import TRACE, span

from spantree_exporter.assemble import assemble
from spantree_exporter.assemble.calls import PAIRS_MAX, calls_of
from spantree_exporter.span import KIND_CLIENT, KIND_SERVER


def test_a_call_is_a_span_whose_parent_is_of_another_service() -> None:
    spans = [
        span(1),
        span(2, 1),
        span(3, 2, service="bank"),
        span(4, 2, service="bank"),
        span(5, 4, service="bank"),
        span(6, 5, service="ledger"),
        span(7, 99, service="ledger"),
        span(8, 1, service=""),
        span(9, 8, service="bank"),
    ]
    told = ["bank", "ledger", "1", "shop", "bank", "2"]
    assert calls_of(spans) == told
    assert calls_of(spans[::-1]) == told
    assert assemble([*spans, *spans], TRACE).execution.calls == told


def test_two_sides_of_a_call_that_share_an_id_are_one_call() -> None:
    spans = [
        span(1),
        span(2, 1, kind=KIND_CLIENT, fingerprint=1),
        span(2, 1, kind=KIND_SERVER, fingerprint=2, service="bank"),
        span(3, 2, service="bank"),
    ]
    assert calls_of(spans) == calls_of(spans[::-1]) == ["shop", "bank", "1"]


def test_a_mark_that_a_span_runs_calls_nobody() -> None:
    assert calls_of([span(1), span(2, 1, service="bank", facts={"fold": "pending"})]) == []


def test_of_many_pairs_those_that_called_most_are_told() -> None:
    spans = [span(1), *(span(n, 1, service=f"s{n:05}") for n in range(2, PAIRS_MAX + 12))]
    spans.append(span(9_999, 1, service="s00511"))
    random.Random(3).shuffle(spans)
    told = calls_of(spans)
    assert len(told) == 3 * PAIRS_MAX
    assert told[-3:] == ["shop", "s00511", "2"]
    assert told[:3] == ["shop", "s00002", "1"]
