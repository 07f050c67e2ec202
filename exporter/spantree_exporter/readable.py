"""Spans of the SDK -> the stored form, without a detour over OTLP: equal to what the collector reads from the wire.

In process a span cost 1.6 times what the SDK's batch and OTLP/HTTP cost, and now costs as much (benchmarks/service.py).
A span with anything odd in it, such as a value that OTLP cannot hold or a text that PostgreSQL cannot, is encoded by
the official encoder and read by the collector's decoder, so that there is one rule for what is odd.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource as SdkResource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from spantree_exporter.otlp.build import MAX_KEYS, Envelope, build_resource, build_scope, seal
from spantree_exporter.otlp.decode import PROTOBUF, DeadLetter, decode_request
from spantree_exporter.redaction import Redactor
from spantree_exporter.span import Attributes, Event, JsonValue, Link, Resource, Scope, Span
from spantree_exporter.stored import stored_bytes, stored_double, stored_key

# SpanFlags of trace.proto, as the official encoder sets them.
_HAS_IS_REMOTE: Final = 0x100
_IS_REMOTE: Final = 0x200
_MAX_INT: Final = 2**63 - 1
_KNOWN: Final = 1000


class _Odd(Exception):
    """To be read by way of OTLP."""


@dataclass(slots=True)
class ReadSpans:
    """The spans that can be stored, what each was made of, those that cannot be, and those that no message can hold."""

    spans: list[Span] = field(default_factory=list)
    sources: list[ReadableSpan] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    redactor: Redactor | None = None

    def raw(self, index: int) -> bytes:
        """An OTLP request that holds only the span that is `spans[index]`."""
        return _request(self.sources[index], self.redactor)


class SpanReader:
    """Reads batches, on any thread; remembers the resources and scopes of the process.

    With a `redactor`, no secret that it knows is in what was read, nor in what `ReadSpans.raw` gives.
    """

    def __init__(self, redactor: Redactor | None = None) -> None:
        self._redactor = redactor
        # By identity: their hashes cost more than building them does. The object is kept so that its id stays its own.
        self._resources: dict[int, tuple[SdkResource, Resource | None]] = {}
        self._scopes: dict[int, tuple[InstrumentationScope | None, Scope | None]] = {}

    def read(self, spans: Sequence[ReadableSpan], received_ns: int) -> ReadSpans:
        """All of `spans`, in their order; `received_ns` is when they were taken in."""
        result = ReadSpans(redactor=self._redactor)
        for span in spans:
            try:
                result.spans.append(self._span(span, received_ns))
                result.sources.append(span)
            except Exception:  # odd, or of a form that is not known here
                _read_over_otlp(span, received_ns, result)
        return result

    def _span(self, sent: ReadableSpan, received_ns: int) -> Span:
        context, parent, status = sent.get_span_context(), sent.parent, sent.status
        trace_state = context.trace_state  # type: ignore[union-attr]
        events, links = sent.events, sent.links
        span = Span(
            context.trace_id.to_bytes(16, "big"),  # type: ignore[union-attr]
            _signed(context.span_id),  # type: ignore[union-attr]
            None if parent is None else _signed(parent.span_id) or None,
            sent.name,
            sent.kind.value + 1,
            sent.start_time or 0,
            sent.end_time or 0,
            status.status_code.value,
            status.description or "",
            _HAS_IS_REMOTE | _IS_REMOTE if parent is not None and parent.is_remote else _HAS_IS_REMOTE,
            ",".join(f"{key}={value}" for key, value in trace_state.items()) if trace_state else "",
            self._resource(sent.resource),
            self._scope(sent.instrumentation_scope),
            _attributes(sent.attributes),
            b"",
            [
                Event(event.timestamp, event.name, _attributes(event.attributes), event.dropped_attributes)
                for event in events
            ]
            if events
            else [],
            None,
            [
                Link(
                    f"{link.context.trace_id:032x}",
                    f"{link.context.span_id:016x}",
                    "",  # which the official encoder leaves out
                    _attributes(link.attributes),
                    _HAS_IS_REMOTE | _IS_REMOTE if link.context.is_remote else _HAS_IS_REMOTE,
                    link.dropped_attributes,
                )
                for link in links
            ]
            if links
            else [],
            None,
            sent.dropped_attributes,
            sent.dropped_events,
            sent.dropped_links,
            received_ns,
        )
        if not span.span_id or not any(span.trace_id) or type(span.name) is not str:
            raise _Odd
        read = seal(span, None, _LOSSLESS)
        if self._redactor is not None and (redacted := self._redactor.span(read)) is not None:
            # Nothing was lost, or it would be odd; sealing says what is odd about its times.
            redacted.anomalies.clear()
            return seal(redacted, None, _LOSSLESS)
        return read

    def _resource(self, sent: SdkResource) -> Resource:
        known = self._resources.get(id(sent))
        if known is None:
            losses: list[str] = []
            built = build_resource(_attributes(sent.attributes), sent.schema_url or "", 0, losses)
            if len(self._resources) >= _KNOWN:
                self._resources.clear()
            if self._redactor is not None:
                built = self._redactor.resource(built) or built
            known = self._resources[id(sent)] = sent, None if losses else built
        if known[1] is None:
            raise _Odd
        return known[1]

    def _scope(self, sent: InstrumentationScope | None) -> Scope:
        known = self._scopes.get(id(sent))
        if known is None:
            losses: list[str] = []
            built = (
                build_scope("", "", {}, "", 0, losses)
                if sent is None
                else build_scope(
                    sent.name, sent.version or "", _attributes(sent.attributes), sent.schema_url or "", 0, losses
                )
            )
            if len(self._scopes) >= _KNOWN:
                self._scopes.clear()
            if self._redactor is not None:
                built = self._redactor.scope(built) or built
            known = self._scopes[id(sent)] = sent, None if losses else built
        if known[1] is None:
            raise _Odd
        return known[1]


def _no_bytes(sent: Any) -> bytes:
    # `seal` asks for them where the stored form loses something.
    raise _Odd


_LOSSLESS: Final = Envelope(Resource(0, "", {}, b"{}"), Scope("", "", {}, None), (), [], _no_bytes)


def _signed(span_id: int) -> int:
    return span_id - 2**64 if span_id > _MAX_INT else span_id


def _attributes(sent: Mapping[str, Any] | None) -> Attributes:
    if not sent:
        return {}
    # A copy is one dict; to go through the SDK's own mapping takes its lock for every key.
    copied: Mapping[str, Any] = sent.copy() if hasattr(sent, "copy") else sent
    attributes: Attributes = {}
    for key, value in copied.items():
        kind = type(value)
        if kind is str or kind is bool:
            pass
        elif kind is int:
            if not -_MAX_INT <= value <= _MAX_INT:
                raise _Odd
        elif kind is float:
            if not 1.0 <= value < 1e15:
                value = stored_double(value)
        else:
            value = _rare(value)
        if key[0:1] == "$":
            key = stored_key(key)
        attributes[key] = value
    if len(attributes) > MAX_KEYS:
        raise _Odd
    return attributes


def _rare(value: Any) -> JsonValue:
    kind = type(value)
    if kind is tuple or kind is list:
        return [_rare(item) for item in value]
    if kind is str or kind is bool or (kind is int and -_MAX_INT <= value <= _MAX_INT):
        plain: JsonValue = value
        return plain
    if kind is float:
        return stored_double(value)
    if kind is bytes:
        return stored_bytes(value)
    raise _Odd


def _request(span: ReadableSpan, redactor: Redactor | None) -> bytes:
    request: bytes = encode_spans([span]).SerializeToString()
    return request if redactor is None else redactor.body(request, PROTOBUF)[0]


def _read_over_otlp(span: ReadableSpan, received_ns: int, result: ReadSpans) -> None:
    try:
        decoded = decode_request(_request(span, result.redactor), PROTOBUF, received_ns)
    except Exception as error:
        result.errors.append(error)
        return
    result.spans += decoded.spans
    result.sources += [span] * len(decoded.spans)
    result.dead += decoded.dead
