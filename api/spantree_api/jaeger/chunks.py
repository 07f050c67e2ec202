"""Spans of one trace -> TracesData messages that Jaeger takes: each below the size that it reads, none empty. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from spantree_api.otlp_protobuf import sent_alone, traces_data
from spantree_api.stored_rows import OtlpSpan

# Jaeger reads up to 4 MiB a message unless it is told otherwise (max_recv_msg_size_mib).
CHUNK_BYTES: Final = 3 * 2**20
_MARK: Final = "spantree.cut"
# What is left of a long text in a span that is too large by itself.
_KEPT_CHARS: Final = 1_000
_KEPT_ITEMS: Final = 100


def chunks_of(spans: Sequence[OtlpSpan], limit_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """`spans` in messages of at most `limit_bytes`, in order. A span that is larger alone is cut, and says so."""
    if not spans:
        return
    data = traces_data([_readable(one) for one in spans])
    if len(data) <= limit_bytes:
        yield data
    elif len(spans) > 1:
        middle = len(spans) // 2
        yield from chunks_of(spans[:middle], limit_bytes)
        yield from chunks_of(spans[middle:], limit_bytes)
    else:
        yield _cut(data)


def _readable(one: OtlpSpan) -> OtlpSpan:
    """`one`, its exact bytes only where every reader of protobuf takes them: one string that is no UTF-8 fails all."""
    if one.raw is None:
        return one
    try:
        sent = sent_alone(one.raw)
        readable = sent is not None and bool(TracesData.FromString(sent).resource_spans)
    except DecodeError:
        readable = False
    return one if readable else replace(one, raw=None)


def _cut(data: bytes) -> bytes:
    told = TracesData.FromString(data)
    for entry in told.resource_spans:
        for of_scope in entry.scope_spans:
            for span in of_scope.spans:
                del span.events[_KEPT_ITEMS:], span.links[_KEPT_ITEMS:]
                attributes = [*span.attributes, *(one for event in span.events for one in event.attributes)]
                for attribute in attributes:
                    if attribute.ByteSize() <= _KEPT_CHARS:
                        continue
                    text = attribute.value.string_value
                    attribute.value.Clear()
                    attribute.value.string_value = f"{text[:_KEPT_CHARS]}… (cut by spantree)"
                span.name = span.name[:_KEPT_CHARS]
                span.status.message = span.status.message[:_KEPT_CHARS]
                mark = span.attributes.add(key=_MARK)
                mark.value.string_value = f"of {len(data)} bytes: GET /api/v1/executions/{{id}}/otlp has the whole span"
    return told.SerializeToString()
