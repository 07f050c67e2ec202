"""OTLP/HTTP with JSON: hex ids, numbers in two forms, integers for enums, and what has to be ignored."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any

from spantree_deploy.conform import messages
from spantree_deploy.conform.check import (
    BAD_DATA,
    COMPRESSION,
    HTTP_PARTIAL,
    HTTP_RESPONSE,
    HTTP_SUCCESS,
    JSON_ENCODING,
    MUST,
    SHOULD,
    Check,
    NotServed,
    expect,
)
from spantree_deploy.conform.messages import json_request, json_span, with_value
from spantree_deploy.conform.targets import JSON, Answer, Targets, json_of

_TRACE, _SPAN = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"
_UNKNOWN = {"aFieldOfTomorrow": {"nested": [1, {"x": None}]}, "another": "value"}


def checks() -> Iterator[Check]:
    """The checks of this module."""
    for what, made in _VALID:
        yield Check("http", JSON_ENCODING, MUST, f"JSON: {what}", _taken(made))
    for what, sent in _MALFORMED:
        yield Check("http", BAD_DATA, MUST, f"JSON: {what} is 400", _refused(sent))
    for section, level, what, run in _CHECKS:
        yield Check("http", section, level, what, run)


def accepted(answer: Answer) -> Any:
    """The response in a JSON answer of success. Raises Deviation where it is none."""
    expect(answer.status == 200, f"answers {answer.status} {answer.body[:200]!r}")
    expect(answer.content_type == JSON, f'the content-type of the answer is "{answer.content_type}"')
    response = None
    try:
        response = json_of(answer.body)
    except ValueError:
        expect(False, f"the body of the answer is no JSON: {answer.body[:80]!r}")
    expect(isinstance(response, dict), f"the body of the answer is no object: {answer.body[:80]!r}")
    return response


def _post(targets: Targets, sent: object, content_type: str = JSON) -> Answer:
    return targets.over_http.post(json.dumps(sent).encode(), content_type)


def _taken(made: Callable[[], object]) -> Callable[[Targets], None]:
    def run(targets: Targets) -> None:
        sent = made()
        body = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
        partial = accepted(targets.over_http.post(body, JSON)).get("partialSuccess") or {}
        expect(int(partial.get("rejectedSpans") or 0) == 0, f"rejects {partial}")

    return run


def _refused(sent: bytes) -> Callable[[Targets], None]:
    def run(targets: Targets) -> None:
        answer = targets.over_http.post(sent, JSON)
        expect(answer.status == 400, f"answers {answer.status} {answer.body[:80]!r}")
        expect(answer.content_type == JSON, f'the content-type of the answer is "{answer.content_type}"')

    return run


def _partial_success_is_unset(targets: Targets) -> None:
    response = accepted(_post(targets, json_request()))
    expect(not response.get("partialSuccess"), f"partialSuccess is {response.get('partialSuccess')}")


def _content_type(content_type: str) -> Callable[[Targets], None]:
    return lambda targets: expect(accepted(_post(targets, json_request(), content_type)) is not None, "")


def _gzip(targets: Targets) -> None:
    accepted(targets.over_http.post(gzip.compress(json.dumps(json_request()).encode()), JSON, content_encoding="gzip"))


def _invalid_ids(targets: Targets) -> None:
    answer = _post(targets, json_request(json_span(), json_span(traceId="not hex"), json_span(spanId="abcd")))
    if answer.status == 400:
        return
    partial = accepted(answer).get("partialSuccess") or {}
    expect(partial, "takes spans with invalid ids without a word")
    expect(int(partial.get("rejectedSpans", 0)) == 2, f"says that it rejects {partial} of 2 spans with invalid ids")


def _count_is_a_string(targets: Targets) -> None:
    answer = _post(targets, json_request(json_span(), json_span(traceId="0" * 32)))
    if answer.status == 400:
        raise NotServed("refuses the whole request")
    rejected = (accepted(answer).get("partialSuccess") or {}).get("rejectedSpans")
    if rejected is None:
        raise NotServed("rejects none of the spans")
    expect(rejected == "1", f"rejectedSpans is {rejected!r}, wanted the string of a number, for it is 64 bits wide")


def _not_5xx(sent: bytes) -> Callable[[Targets], None]:
    def run(targets: Targets) -> None:
        answer = targets.over_http.post(sent, JSON)
        expect(answer.status in (200, 400), f"answers {answer.status}")

    return run


def _with_unknown(where: str) -> dict[str, Any]:
    sent = json_request(
        json_span(
            attributes=[{"key": "k", "value": {"stringValue": "v"}}],
            events=[{"name": "e"}],
            links=[{"traceId": _TRACE, "spanId": _SPAN}],
            status={"code": 1},
        )
    )
    of_resource = sent["resourceSpans"][0]
    of_scope = of_resource["scopeSpans"][0]
    span = of_scope["spans"][0]
    {
        "the request": sent,
        "resourceSpans": of_resource,
        "resource": of_resource["resource"],
        "scopeSpans": of_scope,
        "scope": of_scope["scope"],
        "a span": span,
        "an event": span["events"][0],
        "a link": span["links"][0],
        "status": span["status"],
        "an attribute": span["attributes"][0],
    }[where].update(_UNKNOWN)
    return sent


_OWNERS = ["the request", "resourceSpans", "resource", "scopeSpans", "scope", "a span"]
_OWNERS += ["an event", "a link", "status", "an attribute"]

_VALID: list[tuple[str, Callable[[], object]]] = [
    ("a span is taken", json_request),
    ("an empty request is taken", dict),
    ("an empty list of ResourceSpans is taken", lambda: {"resourceSpans": []}),
    ("ids in lower case are taken", lambda: json_request(json_span(traceId=_TRACE, spanId=_SPAN))),
    ("ids in upper case are taken", lambda: json_request(json_span(traceId=_TRACE.upper(), spanId=_SPAN.upper()))),
    ("ids in mixed case are taken", lambda: json_request(json_span(traceId=_TRACE[:9].upper() + _TRACE[9:]))),
    ("an empty parentSpanId is a root's", lambda: json_request(json_span(parentSpanId=""))),
    ("times as strings are taken", lambda: json_request(json_span(startTimeUnixNano="1544712660000000000"))),
    ("times as numbers are taken", lambda: json_request(json_span(startTimeUnixNano=1544712660000000000))),
    ("an intValue as a string is taken", lambda: with_value({"intValue": "-9223372036854775808"})),
    ("an intValue as a number is taken", lambda: with_value({"intValue": 9007199254740993})),
    ("a doubleValue is taken", lambda: with_value({"doubleValue": -1.5e300})),
    ("a doubleValue without a point is taken", lambda: with_value({"doubleValue": 7})),
    ("a doubleValue of NaN is taken", lambda: with_value({"doubleValue": "NaN"})),
    ("a doubleValue of Infinity is taken", lambda: with_value({"doubleValue": "-Infinity"})),
    ("a boolValue is taken", lambda: with_value({"boolValue": False})),
    ("a bytesValue in base64 is taken", lambda: with_value({"bytesValue": "AP8="})),
    ("an arrayValue is taken", lambda: with_value({"arrayValue": {"values": [{"intValue": 1}, {"stringValue": "x"}]}})),
    ("an empty arrayValue is taken", lambda: with_value({"arrayValue": {}})),
    (
        "a kvlistValue is taken",
        lambda: with_value({"kvlistValue": {"values": [{"key": "k", "value": {"intValue": 1}}]}}),
    ),
    ("a value that is not set is taken", lambda: with_value({})),
    ("kind and status code are integers", lambda: json_request(json_span(kind=2, status={"code": 2, "message": "m"}))),
    ("an unknown kind is taken", lambda: json_request(json_span(kind=77))),
    (
        "null stands for a field that is not set",
        lambda: json_request(json_span(traceState=None, attributes=None, events=None)),
    ),
    ("fields that are left out have their defaults", lambda: json_request(json_span(kind=..., endTimeUnixNano=...))),
    ("names with an underscore are unknown, and ignored", lambda: {"resource_spans": [{"scope_spans": []}]}),
    (
        "text beyond ASCII is taken, escaped or not",
        lambda: json.dumps(json_request(json_span(name="für 東京 🚆")), ensure_ascii=False).encode(),
    ),
    ("white space between tokens is taken", lambda: json.dumps(json_request(), indent=4).encode() + b"\r\n\t "),
    ("1,000 spans are taken", lambda: json_request(*(json_span() for _ in range(1000)))),
    *((f"an unknown field of {owner} is ignored", lambda owner=owner: _with_unknown(owner)) for owner in _OWNERS),
    ("an unknown kind of value is ignored", lambda: with_value({"valueOfTomorrow": {"x": 1}})),
]

_MALFORMED: list[tuple[str, bytes]] = [
    ("text that is no JSON", b"{not json"),
    ("a request that is cut off", json.dumps(json_request()).encode()[:-4]),
    ("an array", b"[1, 2]"),
    ("a number", b"42"),
    ("resourceSpans that is a number", b'{"resourceSpans": 5}'),
    ("spans that is an object", b'{"resourceSpans":[{"scopeSpans":[{"spans":{"name":"x"}}]}]}'),
    ("protobuf", messages.body()),
]

_CHECKS: list[tuple[str, str, str, Callable[[Targets], None]]] = [
    (HTTP_SUCCESS, MUST, "JSON: partialSuccess is unset in a success", _partial_success_is_unset),
    (
        HTTP_RESPONSE,
        MUST,
        "JSON: charset=utf-8 beside the type is no hindrance",
        _content_type(f"{JSON}; charset=utf-8"),
    ),
    (HTTP_RESPONSE, SHOULD, "JSON: the type is read in any case (RFC 9110)", _content_type("Application/JSON")),
    (COMPRESSION, MUST, "JSON: gzip is taken", _gzip),
    (HTTP_PARTIAL, SHOULD, "JSON: spans with invalid ids are rejected, and counted exactly", _invalid_ids),
    (JSON_ENCODING, MUST, "JSON: rejectedSpans is a string, for it is 64 bits wide", _count_is_a_string),
    (
        BAD_DATA,
        SHOULD,
        "JSON: names of enums are taken or refused, but are no fault of the server",
        _not_5xx(json.dumps(json_request(json_span(kind="SPAN_KIND_SERVER"))).encode()),
    ),
    (
        BAD_DATA,
        SHOULD,
        "JSON: half a surrogate pair is taken or refused, but is no fault of the server",
        _not_5xx(json.dumps(json_request(json_span(name="NAME"))).replace("NAME", "\\ud800").encode()),
    ),
    (
        BAD_DATA,
        SHOULD,
        "JSON: 10,000 levels are taken or refused, but are no fault of the server",
        _not_5xx(
            json.dumps(with_value("DEEP"))
            .replace('"DEEP"', '{"arrayValue":{"values":[' * 10_000 + "]}}" * 10_000)
            .encode()
        ),
    ),
]
