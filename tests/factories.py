"""Spans for tests, decoded from OTLP/JSON, with ids and times that follow from their arguments."""

from __future__ import annotations

import random
from collections.abc import Sequence

import orjson

from spantree_exporter.otlp.decode import JSON, decode_request
from spantree_exporter.span import KIND_INTERNAL, STATUS_ERROR, STATUS_UNSET, Attributes, Event, Link, Span
from spantree_exporter.stored import otlp_attributes

SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS
# 2026-11-20 12:00:00 UTC: noon, so that a test crosses midnight only when it means to.
NOON_NS = 1_795_176_000 * SECOND_NS


def trace_id(number: int) -> bytes:
    """A trace id that looks random, as real ones do."""
    return random.Random(number).randbytes(16)


def span(
    number: int = 1,
    *,
    trace: int = 1,
    parent: int | None = None,
    name: str = "step",
    start_ns: int = NOON_NS,
    duration_ns: int = SECOND_NS,
    attributes: Attributes | None = None,
    error: str | None = None,
    events: Sequence[Event] = (),
    links: Sequence[Link] = (),
    kind: int = KIND_INTERNAL,
    service: str = "shop",
    resource: Attributes | None = None,
    received_ns: int = NOON_NS + 60 * SECOND_NS,
) -> Span:
    """A span whose id is `number`; `error` fails it with a message. A NUL in a text makes it keep its raw bytes."""
    sent: dict[str, object] = {
        "traceId": trace_id(trace).hex(),
        "spanId": f"{number:016x}",
        "name": name,
        "kind": kind,
        "flags": 0x100,
        "startTimeUnixNano": str(start_ns),
        "endTimeUnixNano": str(start_ns + duration_ns),
        "attributes": list(otlp_attributes(attributes or {})),
        "events": [
            {
                "timeUnixNano": str(event.time_ns),
                "name": event.name,
                "attributes": list(otlp_attributes(event.attributes)),
            }
            for event in events
        ],
        "links": [{"traceId": link.trace_id, "spanId": link.span_id} for link in links],
        "status": {"code": STATUS_UNSET if error is None else STATUS_ERROR, "message": error or ""},
    }
    if parent is not None:
        sent["parentSpanId"] = f"{parent:016x}"
    body = {
        "resourceSpans": [
            {
                "resource": {"attributes": list(otlp_attributes({"service.name": service, **(resource or {})}))},
                "scopeSpans": [{"scope": {"name": "tests", "version": "1"}, "spans": [sent]}],
            }
        ]
    }
    [decoded] = decode_request(orjson.dumps(body), JSON, received_ns).spans
    return decoded


def live_mark(number: int, *, of: int, of_parent: int | None = None, trace: int = 1, start_ns: int = NOON_NS) -> Span:
    """The pending span that LiveSpanProcessor sends when span `of` starts."""
    attributes: Attributes = {"spantree.span_type": "pending_span"}
    if of_parent is not None:
        attributes["spantree.pending_parent_id"] = f"{of_parent:016x}"
    return span(number, trace=trace, parent=of, start_ns=start_ns, duration_ns=0, attributes=attributes)


def workflow(
    trace: int = 1, *, start_ns: int = NOON_NS, failing: bool = False, name: str = "order-flow", service: str = "shop"
) -> list[Span]:
    """A run of four steps under a root, children first as they are sent; the third fails if `failing`.

    Span ids are 1 for the root, 2 to 5 for its steps.
    """
    steps = []
    for index, step in enumerate(("plan", "search", "charge", "answer")):
        fails = failing and step == "charge"
        exception = {"exception.type": "CardDeclined", "exception.message": "card declined"}
        steps.append(
            span(
                index + 2,
                trace=trace,
                parent=1,
                name=step,
                start_ns=start_ns + (index + 1) * SECOND_NS,
                attributes={
                    "spantree.node.name": step,
                    "retries": index,
                    "price": 1.5 * index,
                    "note": "für Größe 東京",
                },
                error="card declined" if fails else None,
                events=[Event(start_ns + (index + 2) * SECOND_NS - 1, "exception", dict(exception))] if fails else [],
                service=service,
            )
        )
    root = span(
        1,
        trace=trace,
        name=name,
        start_ns=start_ns,
        duration_ns=6 * SECOND_NS,
        attributes={"spantree.execution.name": name, "session.id": f"conversation-{trace % 3}", "user.id": "ann"},
        service=service,
    )
    return [*steps, root]
