"""A query that a library tells and its driver tells again is one node."""

from __future__ import annotations

from tests.unit.assemble.traces import TRACE, span

from spantree_exporter.assemble import assemble
from spantree_exporter.facts import Facts
from spantree_exporter.rows import SpanFacts


def query(
    span_id: int, parent: int, at: tuple[int, int], text: str, *, library: bool, failed: bool = False
) -> SpanFacts:
    facts: Facts = {"kind": "db", "input": text}
    if library:
        facts["by_driver"] = True
    elif failed:
        facts["error_type"] = "UniqueViolation"
    return span(span_id, parent, at, "SELECT shop" if library else "SELECT", failed=failed, facts=facts)


def test_the_drivers_query_is_part_of_the_librarys_and_says_why_it_failed() -> None:
    spans = [
        span(1, None, (0, 100), "store"),
        query(2, 1, (10, 20), "select 1", library=True),
        query(3, 1, (11, 19), "select 1", library=False),
        query(4, 1, (30, 40), "select 1", library=True, failed=True),
        query(5, 1, (31, 39), "select 1", library=False, failed=True),
    ]
    for given in (spans, spans[::-1]):
        assembled = assemble(given, TRACE)
        assert [(n.span_id, n.name, n.status, n.error_type, n.folded_span_ids) for n in assembled.nodes] == [
            (1, "store", "completed", None, []),
            (2, "SELECT shop", "completed", None, [3]),
            (4, "SELECT shop", "failed", "UniqueViolation", [5]),
        ]


def test_queries_that_run_at_a_time_have_one_of_the_driver_each() -> None:
    spans = [span(1, None, (0, 100), "store")]
    spans += [query(n, 1, (n * 10, n * 10 + 50), "select 1", library=True) for n in (2, 3)]
    spans += [query(n + 10, 1, (n * 10 + 1, n * 10 + 49), "select 1", library=False) for n in (2, 3)]
    assert [(n.span_id, n.folded_span_ids) for n in assemble(spans, TRACE).nodes] == [(1, []), (2, [12]), (3, [13])]


def test_what_was_asked_past_the_library_stays() -> None:
    spans = [
        span(1, None, (0, 100), "store"),
        query(2, 1, (5, 9), "select 1", library=False),
        query(3, 1, (10, 20), "select 1", library=True),
        query(4, 1, (12, 19), "select 2", library=False),
        query(5, 1, (15, 25), "select 1", library=False),
        query(6, 3, (12, 18), "select 1", library=False),
    ]
    assert [n.span_id for n in assemble(spans, TRACE).nodes] == [1, 2, 3, 6, 4, 5]
