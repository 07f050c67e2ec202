"""Spans for tests of `read_facts`, made in one line each."""

from __future__ import annotations

from collections.abc import Sequence

from spantree_exporter.otlp.build import build_resource, build_scope
from spantree_exporter.span import KIND_INTERNAL, STATUS_UNSET, Attributes, Event, Link, Span

TRACE = bytes.fromhex("0af7651916cd43dd8448eb211c80319c")


def span(
    name: str,
    attributes: Attributes | None = None,
    *,
    scope: str = "",
    kind: int = KIND_INTERNAL,
    status: int = STATUS_UNSET,
    message: str = "",
    at: tuple[int, int] = (1_000, 2_000),
    parent: int | None = 1,
    events: Sequence[Event] = (),
    links: Sequence[str] = (),
) -> Span:
    """A span of the service `shop` that ran from at[0] to at[1]; `links` are ids of spans of its own trace."""
    return Span(
        trace_id=TRACE,
        span_id=2,
        parent_span_id=parent,
        name=name,
        kind=kind,
        start_ns=at[0],
        end_ns=at[1],
        status_code=status,
        status_message=message,
        flags=1,
        trace_state="",
        resource=build_resource({"service.name": "shop"}, "", 0, []),
        scope=build_scope(scope, "", {}, "", 0, []),
        attributes=attributes or {},
        attributes_json=b"{}",
        events=list(events),
        events_json=None,
        links=[Link(TRACE.hex(), span_id, "", {}) for span_id in links],
        links_json=None,
        dropped_attributes_count=0,
        dropped_events_count=0,
        dropped_links_count=0,
        received_ns=0,
    )


def raised(error_type: str, message: str, at_ns: int = 1_500) -> Event:
    """An exception event."""
    return Event(at_ns, "exception", {"exception.type": error_type, "exception.message": message})
