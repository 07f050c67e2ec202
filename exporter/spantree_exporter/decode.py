"""OTLP request bodies -> spans, without loss and without one span taking others with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from spantree_exporter import decode_json, decode_protobuf
from spantree_exporter.build import Loss, Parts, SpanUnusable, build_span, unusable_ids
from spantree_exporter.errors import MalformedRequest
from spantree_exporter.span import Resource, Scope, Span
from spantree_exporter.wire import WireError

PROTOBUF: Final = "protobuf"
JSON: Final = "json"

# partial_success is for a person: the first few reasons tell enough, and responses must stay small (OTLP 1.11: 4 MiB).
_REASONS_TOLD = 5


@dataclass(frozen=True, slots=True)
class Examined:
    """What a receiver has to know of a body before it accepts it."""

    spans: int
    rejected_spans: int
    error_message: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A span, or a whole body, that can never become a row, with its bytes and the reason as a sentence."""

    reason: str
    raw: bytes
    encoding: str
    received_ns: int


@dataclass(frozen=True, slots=True)
class Decoded:
    """The spans of a body in their order, and those that cannot be stored."""

    spans: list[Span]
    dead: list[DeadLetter]


@dataclass(frozen=True, slots=True)
class _Encoding:
    envelopes: Callable[[bytes], Iterator[tuple[Resource, Scope, Iterable[Any]]]]
    read_span: Callable[[Any, Loss], Parts]
    span_ids: Callable[[Any], tuple[bytes, bytes]]
    raw_bytes: Callable[[Any], bytes]


_ENCODINGS: Final = {
    PROTOBUF: _Encoding(
        decode_protobuf.envelopes, decode_protobuf.read_span, decode_protobuf.span_ids, lambda sent: bytes(sent)
    ),
    JSON: _Encoding(decode_json.envelopes, decode_json.read_span, decode_json.span_ids, decode_json.raw_bytes),
}


def examine(body: bytes, encoding: str) -> Examined:
    """Count the spans of `body` and those whose ids are invalid, which no later moment can store.

    Cheap: reads frames and ids, no attributes. Raises MalformedRequest where `body` is no request in `encoding`.
    """
    reader = _ENCODINGS[encoding]
    spans = 0
    reasons: list[str] = []
    rejected = 0
    for _, _, sent_spans in _envelopes(reader, body):
        for sent in sent_spans:
            spans += 1
            try:
                trace_id, span_id = reader.span_ids(sent)
            except WireError:
                rejected += 1
                if len(reasons) < _REASONS_TOLD:
                    reasons.append("a span cannot be read as protobuf")
                continue
            if len(trace_id) != 16 or len(span_id) != 8 or not any(trace_id) or not any(span_id):
                rejected += 1
                if len(reasons) < _REASONS_TOLD:
                    reasons.append(unusable_ids(trace_id, span_id))
    return Examined(spans, rejected, "; ".join(reasons))


def decode_request(body: bytes, encoding: str, received_ns: int) -> Decoded:
    """All spans of `body`, in their order; `received_ns` is when the collector took it in.

    Raises MalformedRequest where `body` is no request at all; a span that cannot be read is in `dead` instead.
    """
    reader = _ENCODINGS[encoding]
    spans: list[Span] = []
    dead: list[DeadLetter] = []
    for resource, scope, sent_spans in _envelopes(reader, body):
        for sent in sent_spans:
            loss = Loss()
            try:
                parts = reader.read_span(sent, loss)
                raw = reader.raw_bytes(sent) if loss.reasons or encoding == PROTOBUF else b""
                span = build_span(parts, resource, scope, received_ns, loss, raw)
                if span.raw == b"":
                    # JSON text is written out only for the rare span that turned out to lose something while built.
                    span = build_span(parts, resource, scope, received_ns, loss, reader.raw_bytes(sent))
                spans.append(span)
            except WireError:
                dead.append(DeadLetter("a span cannot be read as protobuf", bytes(sent), encoding, received_ns))
            except SpanUnusable as error:
                dead.append(DeadLetter(str(error), reader.raw_bytes(sent), encoding, received_ns))
    return Decoded(spans, dead)


def _envelopes(reader: _Encoding, body: bytes) -> Iterator[tuple[Resource, Scope, Iterable[Any]]]:
    try:
        yield from reader.envelopes(body)
    except WireError as error:
        raise MalformedRequest(f"the body is no ExportTraceServiceRequest in protobuf: {error}") from error
    except (TypeError, AttributeError, ValueError) as error:
        raise MalformedRequest(f"the body is no ExportTraceServiceRequest in JSON: {error}") from error


def raw_span(body: bytes, encoding: str, index: int) -> bytes:
    """The bytes, as sent, of the span that is `decode_request(body, encoding, ...).spans[index]`.

    For the rare span that turns out to be refused later: costs another decoding. Raises IndexError beyond the last.
    """
    reader = _ENCODINGS[encoding]
    position = 0
    for resource, scope, sent_spans in _envelopes(reader, body):
        for sent in sent_spans:
            loss = Loss()
            try:
                build_span(reader.read_span(sent, loss), resource, scope, 0, loss, b"")
            except (WireError, SpanUnusable):
                continue
            if position == index:
                return reader.raw_bytes(sent)
            position += 1
    raise IndexError(f"the body has {position} readable spans, none at {index}")
