"""What each failure is on the wire: HTTP status, gRPC code and retry hint, decided here and nowhere else.

OTLP 1.11.0, opentelemetry-proto docs/specification.md, sections "Failures", "Retryable Response Codes" and "OTLP/gRPC
Response": a client retries 429, 502, 503, 504 and UNAVAILABLE only, so whatever may pass later is 503/UNAVAILABLE.
"""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.rpc import code_pb2
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status

from spantree_collector.receive.inflate import BodyTooLarge
from spantree_collector.spool.spool import SpoolFailed, SpoolFull
from spantree_exporter.errors import MalformedRequest, SpantreeError
from spantree_exporter.otlp.decode import JSON
from spantree_exporter.tokens import Identity

# Measured with the Python and JavaScript SDKs: 1 to 2 s is honoured, 20 s makes them drop the batch at once, because
# they give up after some 8 s in all.
RETRY_AFTER_S = 1
# gRPC carries the message in a header, and clients limit those (8 KiB by default).
_MESSAGE_MAX_CHARS = 1000


class Overloaded(SpantreeError):
    """Too many bytes are being received at this moment. Retrying helps."""


class BodyTimeout(SpantreeError):
    """The client did not send its body in time."""


class Unauthenticated(SpantreeError):
    """No token, or none that is good."""


class Forbidden(SpantreeError):
    """The token, or the lack of one, does not allow to send here; `identity` is whose it is, where there is one."""

    def __init__(self, message: str, identity: Identity | None = None) -> None:
        super().__init__(message)
        self.identity = identity


class QuotaExceeded(SpantreeError):
    """The tenant has sent as much as it may for now. Retrying helps."""


class UnsupportedType(SpantreeError):
    """The request's content type or encoding is none that OTLP/HTTP knows."""


class MethodNotAllowed(SpantreeError):
    """The path exists, the method does not."""


class NoSuchPath(SpantreeError):
    """Nothing is served there, for example another signal than traces."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer other than success. `reason` is the label it is counted under; `retry_after_s` None means never."""

    reason: str
    http_status: int
    grpc_code: int
    message: str
    retry_after_s: int | None = None

    def as_status(self) -> Status:
        """The google.rpc.Status that OTLP wants in every 4xx and 5xx body."""
        status = Status(code=self.grpc_code, message=self.message)
        if self.reason == "malformed":
            violation = BadRequest.FieldViolation(field="body", description=self.message)
            status.details.append(_packed(BadRequest(field_violations=[violation])))
        if self.retry_after_s is not None:
            status.details.append(_packed(self.retry_info()))
        return status

    def retry_info(self) -> RetryInfo:
        """When to try again."""
        return RetryInfo(retry_delay=Duration(seconds=self.retry_after_s or 0))

    def body(self, encoding: str) -> bytes:
        """The Status in the encoding of the request."""
        return encoded(self.as_status(), encoding)


# error class -> reason, HTTP status, gRPC code, whether a retry helps
_ANSWERS: dict[type[Exception], tuple[str, int, int, bool]] = {
    Unauthenticated: ("unauthenticated", 401, code_pb2.UNAUTHENTICATED, False),
    Forbidden: ("forbidden", 403, code_pb2.PERMISSION_DENIED, False),
    MalformedRequest: ("malformed", 400, code_pb2.INVALID_ARGUMENT, False),
    NoSuchPath: ("no_such_path", 404, code_pb2.UNIMPLEMENTED, False),
    MethodNotAllowed: ("method", 405, code_pb2.UNIMPLEMENTED, False),
    BodyTimeout: ("body_timeout", 408, code_pb2.DEADLINE_EXCEEDED, False),
    # Not retryable, so without RetryInfo: section "OTLP/gRPC Throttling".
    BodyTooLarge: ("too_large", 413, code_pb2.RESOURCE_EXHAUSTED, False),
    UnsupportedType: ("unsupported_type", 415, code_pb2.INVALID_ARGUMENT, False),
    QuotaExceeded: ("quota", 503, code_pb2.UNAVAILABLE, True),
    Overloaded: ("overloaded", 503, code_pb2.UNAVAILABLE, True),
    SpoolFull: ("spool_full", 503, code_pb2.UNAVAILABLE, True),
    SpoolFailed: ("spool_failed", 503, code_pb2.UNAVAILABLE, True),
}


def refusal_of(error: Exception) -> Refusal:
    """The answer for `error`. A fault of our own is 503: a 500 would make the client throw its spans away."""
    answer = _ANSWERS.get(type(error))
    if answer is None:
        return Refusal(
            "internal",
            503,
            code_pb2.UNAVAILABLE,
            "the collector failed on this request; its log says why",
            RETRY_AFTER_S,
        )
    reason, http_status, grpc_code, retry = answer
    return Refusal(reason, http_status, grpc_code, str(error)[:_MESSAGE_MAX_CHARS], RETRY_AFTER_S if retry else None)


def encoded(message: Message, encoding: str) -> bytes:
    """`message` as protobuf or as one line of JSON."""
    if encoding == JSON:
        return MessageToJson(message, indent=None).encode()
    return message.SerializeToString()


def _packed(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed
