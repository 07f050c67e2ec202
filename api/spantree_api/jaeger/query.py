"""Jaeger's messages to and from what is read: queries, and traces in short. Pure."""

from __future__ import annotations

from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from spantree_api.errors import InvalidParameter
from spantree_api.jaeger import messages
from spantree_api.reads.span_rows import Summary
from spantree_api.span_search.query import NS_MAX, NS_MIN, QueryParts, SpanQuery, bounded_ns
from spantree_exporter.span import JsonValue
from spantree_exporter.stored import stored_bytes, stored_double, stored_key

# What Jaeger asks for where it is told nothing, and the most that its pages can ask for.
DEPTH_DEFAULT: Final = 100
DEPTH_MAX: Final = 1_500
_TAGS_MAX: Final = 100
VALUE_DEPTH: Final = 16


def query_of(wanted: Any) -> SpanQuery:
    """The SpanQuery of a TraceQueryParameters. Raises InvalidParameter."""
    if wanted.filter:
        raise InvalidParameter("filter", "structured filters are not served: GetCapabilities says so")
    if len(wanted.attributes) > _TAGS_MAX:
        raise InvalidParameter("attributes", f"{len(wanted.attributes)} attributes: {_TAGS_MAX} is the most")
    parts = QueryParts()
    for attribute in wanted.attributes:
        parts.add(attribute.key, stored_value(attribute.value), is_text=True)
    return SpanQuery(
        service=wanted.service_name or None,
        operation=wanted.operation_name or None,
        kind=parts.kind,
        status=parts.status,
        failed=parts.failed,
        scope_name=parts.scope_name,
        scope_version=parts.scope_version,
        tags=tuple(parts.tags),
        from_ns=ns_of("start_time_min", wanted.start_time_min) if wanted.HasField("start_time_min") else NS_MIN,
        to_ns=ns_of("start_time_max", wanted.start_time_max) if wanted.HasField("start_time_max") else NS_MAX,
        min_duration_ns=ns_of("duration_min", wanted.duration_min) or None,
        max_duration_ns=ns_of("duration_max", wanted.duration_max) or None,
        limit=min(wanted.search_depth, DEPTH_MAX) if wanted.search_depth > 0 else DEPTH_DEFAULT,
    )


def ns_of(name: str, sent: Any) -> int:
    """Nanoseconds of a Timestamp or Duration, within what is stored. Raises InvalidParameter for one that is none."""
    try:
        return bounded_ns(sent.ToNanoseconds())
    except ValueError as error:
        raise InvalidParameter(name, f"{name} is none that protobuf allows: {error}") from None


def stored_value(value: AnyValue, depth: int = 0) -> JsonValue:
    """An AnyValue in its stored form. Raises InvalidParameter for one that nests deeper than any query needs."""
    if depth > VALUE_DEPTH:
        raise InvalidParameter("attributes", f"a value nests deeper than {VALUE_DEPTH} levels")
    held = value.WhichOneof("value")
    if held == "double_value":
        return stored_double(value.double_value)
    if held == "bytes_value":
        return stored_bytes(value.bytes_value)
    if held == "array_value":
        return [stored_value(item, depth + 1) for item in value.array_value.values]
    if held == "kvlist_value":
        return {stored_key(one.key): stored_value(one.value, depth + 1) for one in value.kvlist_value.values}
    return None if held is None else getattr(value, held)


def summary_message(summary: Summary) -> Any:
    """A TraceSummary."""
    parts = summary.parts
    return messages.TraceSummary(
        trace_id=summary.root.trace_id.bytes,
        root_service_name=summary.root.service,
        root_operation_name=summary.root.name,
        min_start_time_unix_nano=max(0, min(part.start_ns for part in parts)),
        max_end_time_unix_nano=max(0, *(part.end_ns for part in parts)),
        span_count=sum(part.spans for part in parts),
        error_span_count=sum(part.errors for part in parts),
        orphan_span_count=sum(part.orphans for part in parts),
        services=[{"name": part.service, "span_count": part.spans, "error_span_count": part.errors} for part in parts],
    )
