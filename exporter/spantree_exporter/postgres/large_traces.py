"""The spans of a trace that is too large to be read like others: a part at a time, and no more than fit in memory.

What is read is a function of what is stored, whatever the machine has: where all of it is too much, the spans that tell
most come first (assemble.budget), and the others are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg

from spantree_exporter.assemble import budget
from spantree_exporter.facts.storable import cut_name
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.postgres.partitions import date_of, day_number
from spantree_exporter.rows import SpanFacts
from spantree_exporter.sql import statements
from spantree_exporter.trace_key import TraceKey

_SQL: Final = statements("project")
_FETCHED_ROWS: Final = 2000
# What a span takes from being read to COPY, and that for each byte of its facts: as objects, as rows, as what is sent.
_SPAN_BYTES: Final = 2_400
_COPIES_OF_FACTS: Final = 3
# Of the 768 MiB that a writer may hold, itself included.
_MOST_BYTES: Final = 600 * 2**20
# Longer texts are hardly ever the same in two spans.
_SHARED_CHARS: Final = 100
_NO_LINKS: Final[list[tuple[str, str]]] = []
_NO_ANOMALIES: Final[list[str]] = []
_NO_ATTRIBUTES: Final[dict[str, Any]] = {}


@dataclass(slots=True)
class LargeTrace:
    """What was read of one trace; `days` is the day of each of `spans`.

    `left_out` spans are stored besides; `last_seen_ns` is of all of them.
    """

    spans: list[SpanFacts] = field(default_factory=list)
    days: list[int] = field(default_factory=list)
    left_out: int = 0
    last_seen_ns: int = 0


def read_large(connection: psycopg.Connection[Any], key: TraceKey, day_groups: Sequence[Sequence[int]]) -> LargeTrace:
    """The spans of one trace on the days of `day_groups`, each group by one statement. Raises psycopg.Error."""
    tenant_id, trace_id = key
    found = LargeTrace()
    # Texts, and numbers of more than one span, that were met before: of half a million spans they are half the memory.
    shared: dict[Any, Any] = {}
    with connection.transaction(), connection.cursor(binary=True) as cursor:
        parts: list[tuple[dict[str, Any], int, int]] = []
        for days in day_groups:
            of_days = {"tenant_id": tenant_id, "trace_id": trace_id.hex(), "days": [date_of(day) for day in days]}
            cursor.execute(_SQL["trace_size"], of_days)
            spans, facts_bytes, last_seen_ns = cursor.fetchone() or (0, 0, None)
            parts.append((of_days, spans, facts_bytes))
            found.last_seen_ns = max(found.last_seen_ns, last_seen_ns or 0)
        stored = sum(spans for _, spans, _ in parts)
        needed_bytes = sum(_weight(spans, facts_bytes) for _, spans, facts_bytes in parts)
        ranked = stored > budget.MAX_NODES or needed_bytes > _MOST_BYTES
        left_bytes = _MOST_BYTES
        for of_days, _, _ in parts:
            left_bytes = _read_part(connection, of_days, found, shared, left_bytes, ranked=ranked)
        found.left_out = stored - len(found.spans)
    return found


def _read_part(
    connection: psycopg.Connection[Any],
    of_days: dict[str, Any],
    found: LargeTrace,
    shared: dict[Any, Any],
    left_bytes: int,
    *,
    ranked: bool,
) -> int:
    """Read what fits into `left_bytes`, to the end of `found`; what is left of the bytes."""
    with connection.cursor("spans_of_trace") as cursor:
        limits = {"ranked": ranked, "most": budget.MAX_NODES - len(found.spans)}
        cursor.execute(_SQL["most_telling_spans"], of_days | limits, binary=True)
        while rows := cursor.fetchmany(_FETCHED_ROWS):
            for row in rows:
                *_, day, attributes, facts_bytes = row
                left_bytes -= _weight(1, facts_bytes)
                if left_bytes < 0:
                    return 0
                found.days.append(day_number(day))
                found.spans.append(_span_facts(row, attributes, shared))
    return left_bytes


def _weight(spans: int, facts_bytes: int) -> int:
    return spans * _SPAN_BYTES + facts_bytes * _COPIES_OF_FACTS


def _span_facts(row: Sequence[Any], attributes: dict[str, Any] | None, shared: dict[Any, Any]) -> SpanFacts:
    (
        _, _, span_id, parent_span_id, fingerprint, name, kind, status_code, status_message, start_ns, end_ns,
        received_ns, service, links, facts, anomalies, *_,
    ) = row  # fmt: skip
    same = shared.setdefault
    return SpanFacts(
        span_id, same(parent_span_id, parent_span_id), fingerprint, same(name, name), kind, status_code,
        same(status_message, status_message) if status_message else "", start_ns, end_ns,
        same(received_ns, received_ns), cut_name(same(service, service)),
        [(linked_trace, linked_span) for linked_trace, linked_span in links] if links else _NO_LINKS,
        _with_shared(facts, shared) if facts else Facts(), anomalies or _NO_ANOMALIES, attributes or _NO_ATTRIBUTES,
    )  # fmt: skip


def _with_shared(facts: Facts, shared: dict[Any, Any]) -> Facts:
    for key, value in facts.items():
        if type(value) is str and len(value) <= _SHARED_CHARS:
            facts[key] = shared.setdefault(value, value)  # type: ignore[literal-required]
    return facts
