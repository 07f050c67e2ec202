"""One span sent more than once is one step; spans that only share an id are several."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.assemble.traces import TRACE, span

from spantree_exporter.assemble import assemble
from spantree_exporter.facts import Facts
from spantree_exporter.rows import SpanFacts
from spantree_exporter.span import KIND_CLIENT, KIND_SERVER


def versions(*spans: SpanFacts) -> list[tuple[int | None, str, int | None]]:
    """(fingerprint, status, end) of each node but the root."""
    nodes = assemble([span(1, None, (0, 100), "root"), *spans], TRACE).nodes[1:]
    return [(n.fingerprint, n.status, n.ended_ns) for n in nodes]


def test_the_end_speaks_for_the_start_and_a_later_end_for_an_earlier() -> None:
    started = span(2, 1, (10, 0), "fetch", fingerprint=1)
    ended = span(2, 1, (10, 50), "fetch", fingerprint=2)
    later = span(2, 1, (10, 60), "fetch", failed=True, fingerprint=3)
    assert versions(started) == [(1, "running", None)]
    assert versions(ended, started) == [(2, "completed", 50)]
    assert versions(started, later, ended) == [(3, "failed", 60)]
    assert assemble([started, ended, later], TRACE).execution.span_count == 3


def test_what_only_an_earlier_version_says_stays_but_not_how_it_stood() -> None:
    early: Facts = {"input": "q", "status": "waiting", "error_type": "Oops", "conversation_id": "c"}
    late: Facts = {"output": "a", "conversation_id": "d"}
    spans = [
        span(2, None, (10, 20), "chat", fingerprint=1, facts=early),
        span(2, None, (10, 50), "chat", fingerprint=2, facts=late),
    ]
    execution = assemble(spans, TRACE).execution
    told = (execution.status, execution.input, execution.output, execution.conversation_id)
    assert told == ("completed", "q", "a", "d")


def test_growing_usage_of_one_end_counts_once_and_in_full() -> None:
    spans = [
        span(2, None, (10, 50), "chat", fingerprint=9 - n, facts={"kind": "llm", "output_tokens": 10 * n})
        for n in range(1, 4)
    ]
    execution = assemble(spans, TRACE).execution
    assert (execution.total_count, execution.output_tokens) == (1, 30)


def test_the_same_span_by_two_ways_is_one() -> None:
    direct, collected = span(2, 1, (10, 50), "a", fingerprint=1), span(2, 1, (10, 50), "a", fingerprint=2)
    assert len(versions(direct, collected)) == 1


def test_spans_that_only_share_an_id_stay_apart() -> None:
    one = span(2, 1, (10, 50), "a", fingerprint=1)
    assert len(versions(one, span(2, 1, (11, 50), "a", fingerprint=2))) == 2
    client = span(2, 1, (10, 50), "a", kind=KIND_CLIENT, fingerprint=3)
    assert len(versions(client, span(2, 1, (10, 50), "a", kind=KIND_SERVER, fingerprint=4))) == 2
    first = span(2, 1, (10, 20), "a", failed=True, fingerprint=5, facts={"attempt": 1, "task_id": "t"})
    assert len(versions(first, span(2, 1, (10, 50), "a", fingerprint=6, facts={"attempt": 2, "task_id": "t"}))) == 2
    assert len(versions(one, span(2, 1, (10, 50), "b", service="other", fingerprint=7))) == 2


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0, 20, 30]), st.booleans(), st.integers(0, 3)), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_versions_in_any_order_are_one_node(sent: list[tuple[int, bool, int]], rng: random.Random) -> None:
    spans = [
        span(2, None, (10, end), "a", failed=failed, fingerprint=n, facts={"output_tokens": tokens} if tokens else {})
        for n, (end, failed, tokens) in enumerate(sent)
    ]
    shuffled = rng.sample(spans, len(spans))
    assembled = assemble(shuffled, TRACE)
    assert assembled == assemble(spans, TRACE)
    assert len(assembled.nodes) == 1
    assert (assembled.nodes[0].ended_ns or 0) == max(end for end, _, _ in sent)
