"""Executions, nodes and spans -> lines of JSON and rows of CSV. Pure: no database and no clock.

CSV is opened by spreadsheets, which take a cell that begins with = + - @, a tab or a carriage return for a formula
(https://owasp.org/www-community/attacks/CSV_Injection): a text that begins so gets an apostrophe before it. Lists and
objects are cells of JSON.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from spantree_api.answers.executions import ExecutionAnswer, NodeAnswer
from spantree_api.rendering import duration_ms, rfc3339
from spantree_api.stored_rows import SpanRow
from spantree_exporter.ids import span_id_to_hex
from spantree_exporter.stored import NUL_SIGN

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_STATUS_CODES: Final = {0: "unset", 1: "ok", 2: "error"}
_KINDS: Final = {0: "unspecified", 1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}

EXECUTION_COLUMNS: Final = (
    "execution_id", "name", "workflow_name", "entry", "kind", "status", "started_at", "ended_at", "started_ns",
    "ended_ns", "duration_ms", "last_seen_at", "service", "services", "run_id", "conversation_id", "user_id", "project",
    "tenant", "input", "output", "error_summary", "error_category", "error_fingerprint", "first_failed_node", "counts",
    "tokens", "cost_usd", "span_count", "resumes", "hidden", "anomalies",
    "resumed_by",
)  # fmt: skip
NODE_COLUMNS: Final = (
    "execution_id", "id", "span_id", "parent_id", "sequence", "depth", "name", "kind", "status", "status_reason",
    "started_ns", "ended_ns", "duration_ms", "self_ms", "attempt", "task_key", "retry", "iteration", "error_type",
    "error_message", "error_category", "error_fingerprint", "input", "output", "model", "input_tokens",
    "output_tokens", "cost_usd", "service", "workflow_name", "run_id", "on_critical_path", "anomalies",
)  # fmt: skip
SPAN_COLUMNS: Final = (
    "execution_id", "span_id", "parent_span_id", "name", "kind", "status", "status_message", "started_at",
    "started_ns", "ended_ns", "duration_ms", "service", "scope", "attributes", "events", "links", "resource",
    "trace_state", "flags", "dropped_attributes_count", "dropped_events_count", "dropped_links_count", "anomalies",
)  # fmt: skip

AUDIT_COLUMNS: Final = (
    "at", "user", "action", "resource_type", "resource_id", "tenant", "method", "path", "status", "success", "error",
    "address", "user_agent", "execution_id", "span_id", "service", "route", "duration_ms", "cursor",
)  # fmt: skip

OWN_AUDIT_COLUMNS: Final = (
    "at", "actor_kind", "actor", "scope", "channel", "action", "object_type", "object_id", "method", "route", "status",
    "times", "address", "details", "cursor",
)  # fmt: skip


def node_line(trace_id: str, node: NodeAnswer) -> dict[str, Any]:
    """A node as an export tells it: as everywhere, with its execution's id."""
    return {"execution_id": trace_id, **node}


def span_line(span: SpanRow) -> dict[str, Any]:
    """A span as an export tells it, attributes in their stored form: bytes are {"$b": base64}, NaN {"$f": "NaN"}."""
    return {
        "execution_id": span.trace_id.hex,
        "span_id": span_id_to_hex(span.span_id),
        "parent_span_id": None if span.parent_span_id is None else span_id_to_hex(span.parent_span_id),
        "name": span.name,
        "kind": _KINDS.get(span.kind, str(span.kind)),
        "status": _STATUS_CODES.get(span.status_code, str(span.status_code)),
        "status_message": span.status_message,
        "started_at": rfc3339(span.start_ns),
        "started_ns": span.start_ns,
        "ended_ns": span.end_ns,
        "duration_ms": duration_ms(span.start_ns, span.end_ns, span.end_ns),
        "service": span.resource_attributes.get("service.name"),
        "scope": span.scope,
        "attributes": span.attributes,
        "events": span.events or [],
        "links": span.links or [],
        "resource": span.resource_attributes,
        "trace_state": span.trace_state,
        "flags": span.flags,
        "dropped_attributes_count": span.dropped_attributes_count or 0,
        "dropped_events_count": span.dropped_events_count or 0,
        "dropped_links_count": span.dropped_links_count or 0,
        "anomalies": span.anomalies or [],
    }


def json_lines(rows: Iterable[Mapping[str, Any] | ExecutionAnswer]) -> bytes:
    """Each row as one line of JSON."""
    return b"".join([orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows])


def csv_lines(columns: Iterable[str], rows: Iterable[Mapping[str, Any] | ExecutionAnswer]) -> bytes:
    """Each row as one record of CSV (RFC 4180), its cells in the order of `columns`."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    names = list(columns)
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in names])
    return out.getvalue().encode("utf-8", "replace")


def csv_header(columns: Iterable[str]) -> bytes:
    """The first record."""
    return csv_lines(columns, [{name: name for name in columns}])


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)  # a number of ours: a leading minus is no formula
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    text = text.replace("\x00", NUL_SIGN)
    return "'" + text if text.startswith(_FORMULA) else text
