r"""Spans -> lines of COPY ... (FORMAT text), for Citus, whose coordinator hands jsonb on unread in this format alone.

    line    fields, a tab between two, a newline at the end; \N for NULL
    field   what the type's input function reads, with backslash, tab, newline and carriage return escaped

https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.2
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import orjson

from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.postgres.copy_binary import RowUnencodable
from spantree_exporter.postgres.partitions import date_of
from spantree_exporter.span import Span

# Lines that are joined into one bytes at a time, as in copy_binary.
_BLOCK_LINES: Final = 256
_NULL: Final = b"\\N"
# What most spans have: no status message and trace state; no events, links and dropped counts; no anomalies and raw.
_NULLS_2: Final = b"\t".join([_NULL] * 2)
_NULLS_5: Final = b"\t".join([_NULL] * 5)

# tenant_id, day, trace_id, span_id, fingerprint, parent_span_id, kind, status_code, start_ns, end_ns, flags,
# received_ns, name, [status_message, trace_state], [resource_id, scope], attributes, [events, links, dropped counts],
# facts, [anomalies, raw]
_LINE: Final = b"%d\t%b\t%b\t%d\t%d\t%b\t%d\t%d\t%d\t%d\t%d\t%d\t%b\t%b\t%b\t%b\t%b\t%b\t%b\n"


def span_lines(tenant_id: int, days: Sequence[int], spans: Sequence[Span], facts: Sequence[Facts]) -> Iterator[bytes]:
    """Blocks of lines for `span`, in order; `days` and `facts` belong to `spans` by index.

    Raises RowUnencodable at the first span that no line can hold.
    """
    dates = {day: date_of(day).isoformat().encode() for day in set(days)}
    senders: dict[tuple[int, int], bytes] = {}
    for first in range(0, len(spans), _BLOCK_LINES):
        lines: list[bytes] = []
        for index in range(first, min(first + _BLOCK_LINES, len(spans))):
            span = spans[index]
            resource, scope = span.resource, span.scope
            if (sender := senders.get((id(resource), id(scope)))) is None:
                sender = senders[id(resource), id(scope)] = b"%d\t%b" % (resource.id, _bytes_or_null(scope.json))
            try:
                lines.append(
                    _LINE
                    % (
                        tenant_id,
                        dates[days[index]],
                        span.trace_id.hex().encode(),
                        span.span_id,
                        span.fingerprint,
                        _NULL if span.parent_span_id is None else b"%d" % span.parent_span_id,
                        span.kind,
                        span.status_code,
                        span.start_ns,
                        span.end_ns,
                        span.flags,
                        span.received_ns,
                        _escaped(span.name.encode()),
                        _state(span),
                        sender,
                        _escaped(span.attributes_json),
                        _events_and_links(span),
                        _escaped(orjson.dumps(fact)) if (fact := facts[index]) else _NULL,
                        _anomalies_and_raw(span),
                    )
                )
            except (UnicodeEncodeError, orjson.JSONEncodeError) as error:
                where = f"span {span.span_id & 0xFFFFFFFFFFFFFFFF:016x} of trace {span.trace_id.hex()}"
                raise RowUnencodable(f"{where} does not fit its row: {error}") from error
        yield b"".join(lines)


def _state(span: Span) -> bytes:
    if not span.status_message and not span.trace_state:
        return _NULLS_2
    return b"%b\t%b" % (_text_or_null(span.status_message), _text_or_null(span.trace_state))


def _events_and_links(span: Span) -> bytes:
    dropped = (span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count)
    if span.events_json is None and span.links_json is None and not any(dropped):
        return _NULLS_5
    counts = (b"%d" % count if count else _NULL for count in dropped)
    return b"\t".join((_bytes_or_null(span.events_json), _bytes_or_null(span.links_json), *counts))


def _anomalies_and_raw(span: Span) -> bytes:
    if not span.anomalies and span.raw is None:
        return _NULLS_2
    raw = _NULL if span.raw is None else rb"\\x" + span.raw.hex().encode()
    return b"%b\t%b" % (_array(span.anomalies) if span.anomalies else _NULL, raw)


def _array(items: Sequence[str]) -> bytes:
    """As array_in reads it: every item in quotes."""
    quoted = ('"' + item.replace("\\", r"\\").replace('"', r"\"") + '"' for item in items)
    return _escaped(("{" + ",".join(quoted) + "}").encode())


def _text_or_null(text: str) -> bytes:
    return _escaped(text.encode()) if text else _NULL


def _bytes_or_null(text: bytes | None) -> bytes:
    return _NULL if text is None else _escaped(text)


def _escaped(field: bytes) -> bytes:
    return field.replace(b"\\", rb"\\").replace(b"\t", rb"\t").replace(b"\n", rb"\n").replace(b"\r", rb"\r")
