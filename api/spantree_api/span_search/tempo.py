"""Traces that are found -> what Tempo's search answers. Pure.

https://grafana.com/docs/tempo/latest/api_docs/#search; as pkg/traceql of Tempo tells values: lengths of time as Go
writes them, times and ids as texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from spantree_api.reads.span_rows import Summary
from spantree_api.span_search.spansets import FoundSpan, NestedSet, ToldSet
from spantree_api.span_search.traceql_fields import Field
from spantree_exporter.ids import span_id_to_hex
from spantree_exporter.span import JsonValue
from spantree_exporter.stored import otlp_value

# What each span and trace of an answer tells anyway.
_TOLD_ANYWAY: Final = frozenset({"name", "duration_ns", "span_id"})
_SETS_MAX: Final = 20
_UNITS: Final = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"))


def trace_found(
    summary: Summary, sets: Sequence[ToldSet], told: Sequence[Field], nested: Mapping[int, NestedSet]
) -> dict[str, Any]:
    """One trace with its sets of spans; `nested` says where which span is in it."""
    found = [_set_found(one, told, nested) for one in sets[:_SETS_MAX]]
    return {
        "traceID": summary.root.trace_id.hex,
        "rootServiceName": summary.root.service,
        "rootTraceName": summary.root.name,
        "startTimeUnixNano": str(summary.start_ns),
        "durationMs": max(0, summary.end_ns - summary.start_ns) // 1_000_000,
        "spanSet": found[0],
        "spanSets": found,
        "serviceStats": {part.service: {"spanCount": part.spans, "errorCount": part.errors} for part in summary.parts},
    }


def _set_found(of: ToldSet, told: Sequence[Field], nested: Mapping[int, NestedSet]) -> dict[str, Any]:
    found: dict[str, Any] = {"spans": [_span_found(one, told, nested) for one in of.spans], "matched": of.matched}
    attributes = [_attribute(name, value, is_length="duration" in name) for name, value in of.told]
    return {**found, "attributes": attributes} if attributes else found


def _span_found(span: FoundSpan, told: Sequence[Field], nested: Mapping[int, NestedSet]) -> dict[str, Any]:
    attributes = {"service.name": _attribute("service.name", span.service)}
    for field in told:
        if field.place == "own" and field.key in _TOLD_ANYWAY:
            continue
        value = span.value_of(field)
        if field.is_nested and (where := nested.get(span.span_id)) is not None:
            value = where.value_of(field.key)
        if value is not None:
            attributes.setdefault(field.name, _attribute(field.name, value))
    return {
        "spanID": span_id_to_hex(span.span_id),
        "name": span.name,
        "startTimeUnixNano": str(span.start_ns),
        "durationNanos": str(max(0, span.duration_ns)),
        "attributes": list(attributes.values()),
    }


def _attribute(name: str, value: JsonValue, *, is_length: bool = False) -> dict[str, Any]:
    if is_length and isinstance(value, int | float):
        value = go_length(round(value))
    return {"key": name, "value": otlp_value("nil" if value is None else value)}


def go_length(ns: int) -> str:
    """A length of time as Go writes it: 1h2m3.5s, 12.5ms, 0s."""
    if ns < 0:
        return "-" + go_length(-ns)
    if ns >= 60 * 10**9:
        minutes, rest_ns = divmod(ns, 60 * 10**9)
        hours, minutes = divmod(minutes, 60)
        return (f"{hours}h" if hours else "") + f"{minutes}m" + _decimal(rest_ns, 10**9) + "s"
    return next((_decimal(ns, unit) + name for unit, name in _UNITS if ns >= unit), f"{ns}ns" if ns else "0s")


def _decimal(ns: int, unit_ns: int) -> str:
    whole, rest = divmod(ns, unit_ns)
    digits = str(rest).zfill(len(str(unit_ns)) - 1).rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)
