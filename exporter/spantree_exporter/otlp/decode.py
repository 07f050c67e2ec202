"""OTLP request bodies -> spans, without loss and without one span taking others with it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

from spantree_exporter.errors import MalformedRequest
from spantree_exporter.otlp import decode_json, decode_protobuf
from spantree_exporter.otlp.build import Envelope, SpanUnusable, check_ids
from spantree_exporter.otlp.wire import WireError
from spantree_exporter.span import Span

PROTOBUF: Final = "protobuf"
JSON: Final = "json"

# partial_success is for a person: the first few reasons tell enough, and responses must stay small (OTLP 1.11: 4 MiB).
_REASONS_TOLD = 5
# Of the unusable spans of a body so many are kept with their bytes, and no more bytes than these: each has a copy of
# its resource and scope. The sender was told the number of all of them; these are for whoever looks for the cause.
MAX_DEAD_LETTERS: Final = 1_000
MAX_DEAD_LETTER_BYTES: Final = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Examined:
    """What a receiver has to know of a body before it accepts it."""

    spans: int
    rejected_spans: int
    error_message: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What can never become rows, and why, as a sentence.

    `raw` is a request in `encoding`: a whole body, or one that holds the single span with its resource and scope.
    `cause` is the kind of reason: "unreadable", "body" or "refused".
    """

    reason: str
    raw: bytes
    encoding: str
    received_ns: int
    cause: str = "unreadable"


@dataclass(frozen=True, slots=True)
class Decoded:
    """The spans of a body in their order, and those that cannot be stored, of which `unkept` more are only counted."""

    spans: list[Span]
    dead: list[DeadLetter]
    unkept: int = 0


@dataclass(frozen=True, slots=True)
class _Encoding:
    envelopes: Callable[[bytes], Iterator[Envelope]]
    read_span: Callable[[Any, Envelope, int], Span]
    span_ids: Callable[[Any], tuple[bytes, bytes]]
    # Quicker ways for what is plainly fine: spans at their places, [] or None for the rest; their number, or None.
    read_together: Callable[[Envelope, int], Sequence[Span | None]]
    count_spans: Callable[[bytes], int | None]


_ENCODINGS: Final = {
    PROTOBUF: _Encoding(
        decode_protobuf.envelopes,
        decode_protobuf.read_span,
        decode_protobuf.span_ids,
        decode_protobuf.read_together,
        decode_protobuf.count_spans,
    ),
    JSON: _Encoding(
        decode_json.envelopes,
        decode_json.read_span,
        decode_json.span_ids,
        lambda envelope, received_ns: (),
        lambda body: None,
    ),
}


def examine(body: bytes, encoding: str, most_spans: int | None = None) -> Examined:
    """Count the spans of `body` and those whose ids are invalid, which no later moment can store.

    Cheap: reads frames and ids, no attributes of spans, and stops at the first span beyond `most_spans`. Raises
    MalformedRequest where `body` is no request in `encoding`.
    """
    reader = _ENCODINGS[encoding]
    if (count := reader.count_spans(body)) is not None:
        return Examined(count, 0, "")
    spans = rejected = 0
    reasons: list[str] = []
    for envelope in _envelopes(reader, body):
        for sent in envelope.spans:
            spans += 1
            if most_spans is not None and spans > most_spans:
                return Examined(spans, rejected, "; ".join(reasons))
            try:
                check_ids(*reader.span_ids(sent))
            except (WireError, SpanUnusable) as error:
                rejected += 1
                if len(reasons) < _REASONS_TOLD:
                    reasons.append(_reason(error))
    return Examined(spans, rejected, "; ".join(reasons))


def decode_request(body: bytes, encoding: str, received_ns: int) -> Decoded:
    """All spans of `body`, in their order; `received_ns` is when the collector took it in.

    Raises MalformedRequest where `body` is no request at all; a span that cannot be read is in `dead` instead, and
    counted by `unkept` where there are too many of those.
    """
    reader = _ENCODINGS[encoding]
    read_span = reader.read_span
    spans: list[Span] = []
    dead = DeadLettersOfBody(encoding, received_ns)
    for envelope in _envelopes(reader, body):
        together = reader.read_together(envelope, received_ns)
        if together and all(together):
            spans += together  # type: ignore[arg-type]
            continue
        for sent, read in zip_longest(envelope.spans, together):
            try:
                spans.append(read or read_span(sent, envelope, received_ns))
            except (WireError, SpanUnusable) as error:
                dead.add(_reason(error), envelope, sent)
    return Decoded(spans, dead.letters, dead.unkept)


class DeadLettersOfBody:
    """The unusable spans of one body, as many as are kept."""

    def __init__(self, encoding: str, received_ns: int) -> None:
        self._encoding = encoding
        self._received_ns = received_ns
        self._bytes = 0
        self.letters: list[DeadLetter] = []
        self.unkept = 0

    def add(self, reason: str, envelope: Envelope, sent: Any) -> None:
        """Keep `sent`, or count it where there are too many."""
        if len(self.letters) >= MAX_DEAD_LETTERS or self._bytes >= MAX_DEAD_LETTER_BYTES:
            self.unkept += 1
            return
        raw = envelope.alone(sent)
        self._bytes += len(raw)
        self.letters.append(DeadLetter(reason, raw, self._encoding, self._received_ns))


def raw_span(body: bytes, encoding: str, index: int) -> bytes:
    """As `raw_spans` for one. Raises IndexError beyond the last."""
    for raw in raw_spans(body, encoding, [index]):
        return raw
    raise IndexError(f"the body has no readable span at {index}")


def raw_spans(body: bytes, encoding: str, indexes: Collection[int]) -> Iterator[bytes]:
    """For each of `indexes`, in order, a request that holds only that span of `decode_request(...).spans`, as sent.

    For the rare spans that turn out to be refused later: costs another decoding up to the last of them.
    """
    reader = _ENCODINGS[encoding]
    wanted = frozenset(indexes)
    last = max(wanted, default=-1)
    position = 0
    for envelope in _envelopes(reader, body):
        for sent in envelope.spans:
            try:
                reader.read_span(sent, envelope, 0)
            except (WireError, SpanUnusable):
                continue
            if position in wanted:
                yield envelope.alone(sent)
            if position >= last:
                return
            position += 1


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, SpanUnusable) else "a span cannot be read as protobuf"


def _envelopes(reader: _Encoding, body: bytes) -> Iterator[Envelope]:
    try:
        yield from reader.envelopes(body)
    except WireError as error:
        raise MalformedRequest(f"the body is no ExportTraceServiceRequest in protobuf: {error}") from error
    except (TypeError, AttributeError, ValueError) as error:
        raise MalformedRequest(f"the body is no ExportTraceServiceRequest in JSON: {error}") from error
