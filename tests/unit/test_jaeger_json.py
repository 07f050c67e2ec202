"""Jaeger's download as OTLP: ids, times, kinds, parents and links, status, events, what became tags on the way in."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from spantree_exporter.foreign.jaeger_json import traces_of
from spantree_exporter.otlp.decode import JSON, decode_request
from spantree_exporter.span import KIND_SERVER, STATUS_ERROR, Event, Link, Span

TRACE: dict[str, Any] = {
    "traceID": "b33f4d2dde3eb2b4",
    "spans": [
        {
            "traceID": "b33f4d2dde3eb2b4",
            "spanID": "5f2d4dde3eb2b4a",
            "flags": 1,
            "operationName": "GET /cart",
            "references": [],
            "startTime": 1_795_176_000_000_123,
            "duration": 1500,
            "tags": [
                {"key": "span.kind", "type": "string", "value": "server"},
                {"key": "otel.status_code", "type": "string", "value": "ERROR"},
                {"key": "otel.status_description", "type": "string", "value": "no cart"},
                {"key": "error", "type": "bool", "value": True},
                {"key": "otel.library.name", "type": "string", "value": "flask"},
                {"key": "http.status_code", "type": "int64", "value": "9007199254740993"},
                {"key": "ratio", "type": "float64", "value": 1},
                {"key": "w3c.tracestate", "type": "string", "value": "a=b"},
            ],
            "logs": [
                {
                    "timestamp": 1_795_176_000_000_200,
                    "fields": [
                        {"key": "event", "type": "string", "value": "exception"},
                        {"key": "exception.type", "type": "string", "value": "KeyError"},
                    ],
                }
            ],
            "processID": "p1",
            "warnings": ["clock skew"],
        },
        {
            "traceID": "b33f4d2dde3eb2b4",
            "spanID": "2",
            "operationName": "query",
            "references": [
                {"refType": "CHILD_OF", "traceID": "b33f4d2dde3eb2b4", "spanID": "5f2d4dde3eb2b4a"},
                {"refType": "FOLLOWS_FROM", "traceID": "1", "spanID": "3"},
            ],
            "startTime": 1_795_176_000_000_124,
            "duration": 3,
            "tags": [],
            "logs": [],
            "processID": "p2",
        },
    ],
    "processes": {
        "p1": {"serviceName": "shop", "tags": [{"key": "host.name", "type": "string", "value": "a"}]},
        "p2": {"serviceName": "bank", "tags": []},
    },
}


def spans() -> list[Span]:
    told, faults = traces_of(TRACE)
    assert faults == []
    return decode_request(orjson.dumps(told), JSON, 0).spans


def test_a_span_has_all_that_jaeger_keeps_of_it() -> None:
    root, query = spans()
    assert (root.trace_id.hex(), root.span_id, root.parent_span_id) == (
        "0000000000000000b33f4d2dde3eb2b4",
        0x5F2D4DDE3EB2B4A,
        None,
    )
    assert (root.name, root.kind, root.flags, root.trace_state) == ("GET /cart", KIND_SERVER, 1, "a=b")
    assert (root.start_ns, root.end_ns) == (1_795_176_000_000_123_000, 1_795_176_000_001_623_000)
    assert (root.status_code, root.status_message) == (STATUS_ERROR, "no cart")
    assert root.attributes == {
        "error": True,
        "http.status_code": 9007199254740993,
        "ratio": 1.0,
        "jaeger.warnings": ["clock skew"],
    }
    assert root.events == [Event(1_795_176_000_000_200_000, "exception", {"exception.type": "KeyError"})]
    assert (root.resource.attributes, root.scope.name) == ({"service.name": "shop", "host.name": "a"}, "flask")
    assert (query.parent_span_id, query.resource.service_name) == (root.span_id, "bank")
    assert query.links == [Link("0" * 31 + "1", "0" * 15 + "3", "", {"opentracing.ref_type": "follows_from"})]


def test_a_span_that_is_none_is_told_and_takes_no_other_with_it() -> None:
    broken = {**TRACE, "spans": [{"spanID": "zz", "startTime": 1}, 7, *TRACE["spans"], {"spanID": "1"}]}
    told, faults = traces_of(broken)
    assert decode_request(orjson.dumps(told), JSON, 0).spans == spans()
    assert [fault.split(":")[0] for fault in faults] == ["span 0", "span 1", "span 4"]


def test_numbers_and_processes_that_are_none_are_told_too() -> None:
    first = {**TRACE["spans"][0], "startTime": float("inf")}
    told, faults = traces_of({**TRACE, "spans": [first, TRACE["spans"][1]], "processes": {"p2": {"tags": [5]}}})
    assert [fault.split(":")[0] for fault in faults] == ["span 0", "process p2"]
    (query,) = decode_request(orjson.dumps(told), JSON, 0).spans
    assert (query.name, query.resource.attributes) == (spans()[1].name, {})


@pytest.mark.parametrize("trace", [{}, {"spans": {}}, {"spans": [], "processes": [1]}])
def test_what_is_no_trace_is_refused(trace: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a trace of Jaeger's has spans"):
        traces_of(trace)
