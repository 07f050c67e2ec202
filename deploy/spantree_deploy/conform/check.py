"""What a check is, and what can come of one."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import Message

from spantree_deploy.conform.targets import Targets

MUST: Final = "MUST"
SHOULD: Final = "SHOULD"

# Sections of the specification, as its table of contents has them.
COMPRESSION: Final = "Protocol Details"
GRPC_REQUEST: Final = "OTLP/gRPC Request"
GRPC_CONCURRENT: Final = "OTLP/gRPC Concurrent Requests"
GRPC_SUCCESS: Final = "OTLP/gRPC Response, Full Success"
GRPC_PARTIAL: Final = "OTLP/gRPC Response, Partial Success"
GRPC_FAILURES: Final = "OTLP/gRPC Response, Failures"
GRPC_SERVICES: Final = "OTLP/gRPC Service and Protobuf Definitions"
BINARY: Final = "Binary Protobuf Encoding"
JSON_ENCODING: Final = "JSON Protobuf Encoding"
HTTP_REQUEST: Final = "OTLP/HTTP Request"
HTTP_RESPONSE: Final = "OTLP/HTTP Response"
HTTP_SUCCESS: Final = "OTLP/HTTP Response, Full Success"
HTTP_PARTIAL: Final = "OTLP/HTTP Response, Partial Success"
HTTP_FAILURES: Final = "OTLP/HTTP Response, Failures"
BAD_DATA: Final = "Bad Data"
OTHER_RESPONSES: Final = "All Other Responses"
HTTP_CONNECTION: Final = "OTLP/HTTP Connection"
HTTP_CONCURRENT: Final = "OTLP/HTTP Concurrent Requests"
ENVELOPES: Final = "Empty Telemetry Envelopes"
DUPLICATES: Final = "Duplicate Data"
INTEROPERABILITY: Final = "Future Versions and Interoperability"


class Deviation(Exception):
    """The receiver does something else than the specification wants; the text is what it does."""


class NotServed(Exception):
    """The receiver does not serve what the check is about, which it need not; the text says what."""


class Outcome(enum.Enum):
    """What came of a check: `NOTE` is a deviation from a SHOULD, `FAILED` one from a MUST, or no answer at all."""

    PASSED = "passed"
    NOTE = "note"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a receiver has to do. `run` raises Deviation, or NotServed, or returns."""

    transport: str  # "http" or "grpc"
    section: str
    level: str
    what: str
    run: Callable[[Targets], None]


@dataclass(frozen=True, slots=True)
class Result:
    """One check and what came of it; `found` is empty where it passed."""

    check: Check
    outcome: Outcome
    found: str


def expect(holds: object, found: str) -> None:
    """Raise Deviation with `found` unless `holds`."""
    if not holds:
        raise Deviation(found)


def expect_full_success(response: Message) -> None:
    """Raise Deviation where `response`, an Export...ServiceResponse, speaks of a partial success.

    One that is there and empty is told from none by a check of its own: no client takes it for anything else.
    """
    partial = getattr(response, "partial_success")  # noqa: B009  the messages of all signals have it, Message has not
    expect(partial == type(partial)(), f"partial_success is set: {partial}")
