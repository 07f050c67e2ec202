"""A request body of any signal that is taken: spans, and log records that belong to spans."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from spantree_exporter.log_record import LogRecord
from spantree_exporter.otlp import decode, decode_logs
from spantree_exporter.otlp.decode import JSON, PROTOBUF, DeadLetter, Examined
from spantree_exporter.otlp.decode_logs import LOGS_JSON, LOGS_PROTOBUF
from spantree_exporter.span import Span

TRACES: Final = "traces"
LOGS: Final = "logs"
Item: TypeAlias = Span | LogRecord

_OF_LOGS: Final = {PROTOBUF: LOGS_PROTOBUF, JSON: LOGS_JSON}


@dataclass(frozen=True, slots=True)
class DecodedItems:
    """What a body holds, in its order, and what of it cannot be stored."""

    items: list[Item]
    dead: list[DeadLetter]
    unkept: int = 0


def encoding_of(signal: str, encoding: str) -> str:
    """What a body of `signal` in `encoding` (protobuf, json) is called where both stand in one place."""
    return _OF_LOGS[encoding] if signal == LOGS else encoding


def is_logs(encoding: str) -> bool:
    """Whether a body that is called so holds log records."""
    return encoding in (LOGS_PROTOBUF, LOGS_JSON)


def is_json(encoding: str) -> bool:
    """Whether a body that is called so is JSON."""
    return encoding in (JSON, LOGS_JSON)


def examine(body: bytes, encoding: str, most_items: int | None = None) -> Examined:
    """As decode.examine, for any signal. Raises MalformedRequest."""
    if is_logs(encoding):
        return decode_logs.examine_logs(body, encoding, most_items)
    return decode.examine(body, encoding, most_items)


def decode_body(body: bytes, encoding: str, received_ns: int) -> DecodedItems:
    """As decode.decode_request, for any signal. Raises MalformedRequest."""
    if is_logs(encoding):
        logs = decode_logs.decode_logs(body, encoding, received_ns)
        return DecodedItems(list(logs.records), logs.dead, logs.unkept)
    spans = decode.decode_request(body, encoding, received_ns)
    return DecodedItems(spans.spans, spans.dead, spans.unkept)  # type: ignore[arg-type]  # nobody else has the list


def raw_items(body: bytes, encoding: str, indexes: Collection[int]) -> Iterator[bytes]:
    """As decode.raw_spans, for any signal: a request with only that item for each of `indexes`, in order."""
    if is_logs(encoding):
        return decode_logs.raw_logs(body, encoding, indexes)
    return decode.raw_spans(body, encoding, indexes)
