"""Spans as lines of text are the rows that they are in the binary format, whatever is in them."""

from __future__ import annotations

from typing import LiteralString

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.factories import NOON_NS, span
from tests.otlp_strategies import requests

from spantree_exporter.facts import Facts, read_facts
from spantree_exporter.otlp.decode import PROTOBUF, decode_request
from spantree_exporter.postgres.copy_binary import HEADER, TRAILER, RowUnencodable, span_rows
from spantree_exporter.postgres.copy_text import span_lines
from spantree_exporter.postgres.partitions import SENTINEL_DAY
from spantree_exporter.span import Event, Span
from spantree_exporter.sql import statements

_SQL = statements("write")


def _rows(url: str, statement: LiteralString, content: bytes) -> list[tuple[object, ...]]:
    """What the table holds after COPY; nothing of it is kept."""
    with psycopg.connect(url) as connection, connection.transaction(force_rollback=True):
        with connection.cursor().copy(statement) as copy:
            copy.write(content)
        return connection.execute("SELECT * FROM spantree.span ORDER BY trace_id, span_id, fingerprint").fetchall()


def _assert_equal_by_both(url: str, spans: list[Span], facts: list[Facts]) -> None:
    unique = {(one.trace_id, one.span_id, one.fingerprint): (one, fact) for one, fact in zip(spans, facts, strict=True)}
    kept = [one for one, _ in unique.values()]
    days = [SENTINEL_DAY] * len(kept)
    given_facts = [fact for _, fact in unique.values()]
    binary = b"".join([HEADER, *span_rows(3, days, kept, given_facts), TRAILER])
    text = b"".join(span_lines(3, days, kept, given_facts))
    stored = _rows(url, _SQL["copy_spans"], binary)
    assert len(stored) == len(kept)
    assert _rows(url, _SQL["copy_span_lines"], text) == stored


def test_a_span_with_everything_that_a_line_escapes_is_the_same_row(migrated_url: str) -> None:
    odd = 'tab\t newline\n return\r backslash\\ quote" \\N \\. {a,b} größe'
    full = span(1, name=odd, error=odd, events=[Event(5, odd, {odd: odd})], attributes={odd: odd, "path": r"C:\new"})
    full.anomalies, full.raw, full.trace_state = [odd, "", "NULL"], bytes(range(256)), odd
    full.dropped_attributes_count, full.dropped_events_count, full.dropped_links_count = 1, 2, 3
    empty = span(2, parent=1, name="")
    marks = [span(number, name=name) for number, name in ((3, "\\N"), (4, "\\."), (5, "NULL"))]
    _assert_equal_by_both(
        migrated_url, [full, empty, *marks], [{"kind": "step", "name": odd}, Facts(), Facts(), Facts(), Facts()]
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(requests, min_size=1, max_size=3))
def test_spans_of_any_request_are_the_same_rows(migrated_url: str, sent: list[ExportTraceServiceRequest]) -> None:
    spans = [one for request in sent for one in decode_request(request.SerializeToString(), PROTOBUF, NOON_NS).spans]
    _assert_equal_by_both(migrated_url, spans, [read_facts(one) for one in spans])


def test_blocks_hold_all_spans_in_order() -> None:
    spans = [span(number) for number in range(1, 700)]
    blocks = list(span_lines(0, [SENTINEL_DAY] * len(spans), spans, [Facts()] * len(spans)))
    assert len(blocks) > 1
    ids = [int(line.split(b"\t")[3]) for block in blocks for line in block.splitlines()]
    assert ids == list(range(1, 700))


def test_a_lone_surrogate_is_refused_by_the_name_of_its_span() -> None:
    with pytest.raises(RowUnencodable, match=r"^span 0000000000000001 of trace "):
        list(span_lines(0, [SENTINEL_DAY], [span(1)], [{"name": "\ud800"}]))
