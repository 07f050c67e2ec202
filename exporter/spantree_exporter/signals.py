"""A request body of any signal that is taken: spans, and log records that belong to spans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from spantree_exporter import decode, decode_logs
from spantree_exporter.decode import JSON, PROTOBUF, DeadLetter, Examined
from spantree_exporter.decode_logs import LOGS_JSON, LOGS_PROTOBUF
from spantree_exporter.log_record import LogRecord
from spantree_exporter.span import Span

TRACES: Final = "traces"
LOGS: Final = "logs"
Item: TypeAlias = Span | LogRecord

_OF_LOGS: Final = {PROTOBUF: LOGS_PROTOBUF, JSON: LOGS_JSON}


@dataclass(frozen=True, slots=True)
class DecodedBody:
    """What a body holds, in its order, and what of it cannot be stored."""

    items: list[Item]
    dead: list[DeadLetter]


def encoding_of(signal: str, encoding: str) -> str:
    """What a body of `signal` in `encoding` (protobuf, json) is called where both stand in one place."""
    return _OF_LOGS[encoding] if signal == LOGS else encoding


def is_logs(encoding: str) -> bool:
    """Whether a body that is called so holds log records."""
    return encoding in (LOGS_PROTOBUF, LOGS_JSON)


def examine(body: bytes, encoding: str) -> Examined:
    """As decode.examine, for any signal. Raises MalformedRequest."""
    return decode_logs.examine_logs(body, encoding) if is_logs(encoding) else decode.examine(body, encoding)


def decode_body(body: bytes, encoding: str, received_ns: int) -> DecodedBody:
    """As decode.decode_request, for any signal. Raises MalformedRequest."""
    if is_logs(encoding):
        logs = decode_logs.decode_logs(body, encoding, received_ns)
        return DecodedBody(list(logs.records), logs.dead)
    spans = decode.decode_request(body, encoding, received_ns)
    return DecodedBody(spans.spans, spans.dead)  # type: ignore[arg-type]  # nobody else has the list


def raw_item(body: bytes, encoding: str, index: int) -> bytes:
    """A request that holds only `decode_body(body, encoding, ...).items[index]`. Raises IndexError."""
    if is_logs(encoding):
        return decode_logs.raw_log(body, encoding, index)
    return decode.raw_span(body, encoding, index)
