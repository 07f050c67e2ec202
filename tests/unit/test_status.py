"""What each failure is on the wire, as OTLP 1.11 wants it."""

from __future__ import annotations

import json

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status

from spantree_collector.receive.inflate import BodyTooLarge
from spantree_collector.receive.responses import success
from spantree_collector.receive.status import (
    BodyTimeout,
    MethodNotAllowed,
    NoSuchPath,
    Overloaded,
    Refusal,
    UnsupportedType,
    refusal_of,
)
from spantree_collector.spool.spool import SpoolFailed, SpoolFull
from spantree_exporter.errors import MalformedRequest
from spantree_exporter.otlp.decode import JSON, PROTOBUF, Examined

# "Retryable Response Codes" and the table of "Failures" in opentelemetry-proto docs/specification.md.
RETRYABLE_HTTP = {429, 502, 503, 504}
RETRYABLE_GRPC = {"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MalformedRequest("no protobuf"), Refusal("malformed", 400, 3, "no protobuf")),
        (NoSuchPath("not here"), Refusal("no_such_path", 404, 12, "not here")),
        (MethodNotAllowed("POST"), Refusal("method", 405, 12, "POST")),
        (BodyTimeout("late"), Refusal("body_timeout", 408, 4, "late")),
        (BodyTooLarge("huge"), Refusal("too_large", 413, 8, "huge")),
        (UnsupportedType("text"), Refusal("unsupported_type", 415, 3, "text")),
        (Overloaded("busy"), Refusal("overloaded", 503, 14, "busy", 1)),
        (SpoolFull("full"), Refusal("spool_full", 503, 14, "full", 1)),
        (SpoolFailed("broken"), Refusal("spool_failed", 503, 14, "broken", 1)),
    ],
)
def test_each_error_has_one_answer(error: Exception, expected: Refusal) -> None:
    assert refusal_of(error) == expected
    assert (expected.retry_after_s is not None) == (expected.http_status in RETRYABLE_HTTP)


def test_a_fault_of_ours_is_retryable_and_tells_nothing_of_the_inside() -> None:
    refusal = refusal_of(KeyError("/secret/path"))
    assert (refusal.reason, refusal.http_status, refusal.grpc_code, refusal.retry_after_s) == ("internal", 503, 14, 1)
    assert "secret" not in refusal.message


def test_every_grpc_code_is_one_that_grpc_knows() -> None:
    names = {code.value[0]: code.name for code in grpc.StatusCode}
    assert names[refusal_of(SpoolFull("x")).grpc_code] in RETRYABLE_GRPC
    assert names[refusal_of(MalformedRequest("x")).grpc_code] == "INVALID_ARGUMENT"
    assert names[refusal_of(BodyTooLarge("x")).grpc_code] == "RESOURCE_EXHAUSTED"


def test_bad_data_carries_a_bad_request_detail_in_protobuf_and_in_json() -> None:
    refusal = refusal_of(MalformedRequest("the body is no protobuf"))
    status = Status.FromString(refusal.body(PROTOBUF))
    assert (status.code, status.message) == (3, "the body is no protobuf")
    detail = BadRequest()
    assert status.details[0].Unpack(detail)
    assert [(violation.field, violation.description) for violation in detail.field_violations] == [
        ("body", "the body is no protobuf")
    ]
    assert json.loads(refusal.body(JSON)) == {
        "code": 3,
        "message": "the body is no protobuf",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{"field": "body", "description": "the body is no protobuf"}],
            }
        ],
    }


def test_backpressure_says_when_to_come_back_and_too_large_does_not() -> None:
    detail = RetryInfo()
    assert refusal_of(SpoolFull("full")).as_status().details[0].Unpack(detail)
    assert detail == RetryInfo(retry_delay=Duration(seconds=1))
    assert not refusal_of(BodyTooLarge("huge")).as_status().details


def test_a_long_message_is_cut() -> None:
    assert len(refusal_of(MalformedRequest("x" * 100_000)).message) == 1000


def test_full_success_leaves_partial_success_unset() -> None:
    assert success(Examined(3, 0, ""), PROTOBUF) == b""
    assert success(Examined(3, 0, ""), JSON) == b"{}"


def test_partial_success_and_a_warning() -> None:
    assert json.loads(success(Examined(3, 2, "two are bad"), JSON)) == {
        "partialSuccess": {"rejectedSpans": "2", "errorMessage": "two are bad"}
    }
    assert json.loads(success(Examined(3, 0, "take care"), JSON)) == {"partialSuccess": {"errorMessage": "take care"}}
