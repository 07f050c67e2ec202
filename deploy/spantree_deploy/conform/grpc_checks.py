"""OTLP/gRPC: what a receiver has to take and to refuse, over one connection and over several."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import grpc
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from spantree_deploy.conform import messages
from spantree_deploy.conform.check import (
    COMPRESSION,
    DUPLICATES,
    ENVELOPES,
    GRPC_CONCURRENT,
    GRPC_FAILURES,
    GRPC_PARTIAL,
    GRPC_REQUEST,
    GRPC_SERVICES,
    GRPC_SUCCESS,
    MUST,
    SHOULD,
    Check,
    NotServed,
    expect,
    expect_full_success,
)
from spantree_deploy.conform.http_refused import oversized
from spantree_deploy.conform.targets import LOGS_EXPORT, Reply, Targets, reply_of

_RETRYABLE = {
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}


def checks() -> Iterator[Check]:
    """The checks of this module."""
    for section, level, what, run in _CHECKS:
        yield Check("grpc", section, level, what, run)
    for what, section, made in messages.VALID:
        yield Check("grpc", section, MUST, f"{what} is taken", _taken(made))
    for what, made in messages.MALFORMED:
        yield Check("grpc", GRPC_FAILURES, MUST, f"{what} is refused for good", _refused(made))


def accepted(reply: Reply) -> ExportTraceServiceResponse:
    """The response of a success. Raises Deviation where it is none."""
    expect(reply.code is grpc.StatusCode.OK, f"answers {reply.code.name}: {reply.message}")
    try:
        return ExportTraceServiceResponse.FromString(reply.payload)
    except DecodeError:
        expect(False, f"the answer is no ExportTraceServiceResponse: {reply.payload[:80]!r}")
        raise


def _rejects_none(response: ExportTraceServiceResponse) -> None:
    rejected = response.partial_success.rejected_spans
    expect(rejected == 0, f"rejects {rejected} spans: {response.partial_success.error_message}")


def _taken(made: Callable[[], bytes]) -> Callable[[Targets], None]:
    return lambda targets: _rejects_none(accepted(targets.over_grpc.call(made())))


def _refused(made: Callable[[], bytes]) -> Callable[[Targets], None]:
    def run(targets: Targets) -> None:
        reply = targets.over_grpc.call(made())
        expect(reply.code is not grpc.StatusCode.OK, "takes it")
        expect(reply.code not in _RETRYABLE, f"answers {reply.code.name}, so that clients send it again and again")

    return run


def _success(targets: Targets) -> None:
    expect_full_success(accepted(targets.over_grpc.call(messages.body())))


def _partial_success_is_not_there(targets: Targets) -> None:
    response = accepted(targets.over_grpc.call(messages.body()))
    expect(not response.HasField("partial_success"), "partial_success is there, empty")


def _gzip(targets: Targets) -> None:
    for sent in (messages.body(), messages.body(*(messages.span(name="x" * 500) for _ in range(2000)))):
        _rejects_none(accepted(targets.over_grpc.call(sent, compression=grpc.Compression.Gzip)))


def _sequential(targets: Targets) -> None:
    with targets.over_grpc.channel() as channel:
        for _ in range(20):
            accepted(targets.over_grpc.call(messages.body(), channel=channel))


def _concurrent(targets: Targets) -> None:
    with targets.over_grpc.channel() as channel:
        call = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        metadata = tuple(targets.over_grpc.metadata.items())
        futures = [call.future(messages.body(), timeout=20, metadata=metadata) for _ in range(50)]
        for future in futures:
            try:
                accepted(Reply(grpc.StatusCode.OK, "", bytes(future.result()), None))
            except grpc.RpcError as error:
                accepted(reply_of(error))


def _metadata(targets: Targets) -> None:
    sent = (("x-scope-orgid", "somebody"), ("some-bin", b"\x00\xff"), ("user-agent", "conform/1"))
    accepted(targets.over_grpc.call(messages.body(), metadata=sent))


def _duplicate(targets: Targets) -> None:
    sent = messages.body()
    for _ in range(2):
        _rejects_none(accepted(targets.over_grpc.call(sent)))


def _four_mib(targets: Targets) -> None:
    sent = messages.body(*(messages.span(name="x" * 2**20) for _ in range(3)), messages.span(name="x" * 900_000))
    _rejects_none(accepted(targets.over_grpc.call(sent)))


def _invalid_ids(targets: Targets) -> None:
    spans = [messages.span(), messages.span(trace_id=bytes(16)), messages.span(span_id=b"short")]
    reply = targets.over_grpc.call(messages.body(*spans))
    if reply.code is grpc.StatusCode.INVALID_ARGUMENT:
        return
    partial = accepted(reply).partial_success
    expect(partial.rejected_spans or partial.error_message, "takes spans with invalid ids without a word")
    expect(partial.rejected_spans == 2, f"says that it rejects {partial.rejected_spans} of 2 spans with invalid ids")
    expect(partial.error_message, "rejects spans and does not say why")


def _malformed(targets: Targets) -> Reply:
    return targets.over_grpc.call(b"this is no protobuf")


def _invalid_argument(targets: Targets) -> None:
    reply = _malformed(targets)
    expect(reply.code is grpc.StatusCode.INVALID_ARGUMENT, f"answers {reply.code.name}")


def _message(targets: Targets) -> None:
    expect(_malformed(targets).message, "the refusal has no message")


def _details(targets: Targets) -> None:
    reply = _malformed(targets)
    if reply.details is None:
        raise NotServed("sends no details")
    expect(reply.details.code == reply.code.value[0], f"details have code {reply.details.code}")
    expect(not reply.retry_info, "a malformed request is refused with RetryInfo")


def _unknown_method(method: str) -> Callable[[Targets], None]:
    def run(targets: Targets) -> None:
        reply = targets.over_grpc.call(messages.body(), method)
        expect(reply.code is grpc.StatusCode.UNIMPLEMENTED, f"answers {reply.code.name}")

    return run


def _too_large(targets: Targets) -> Reply:
    # Compressed, so that the limit has to hold for what comes out.
    sent = oversized(targets.oversize_bytes)
    return targets.over_grpc.call(sent, compression=grpc.Compression.Gzip, timeout_s=60)


def _is_limited(targets: Targets) -> None:
    reply = _too_large(targets)
    expect(reply.code is not grpc.StatusCode.OK, f"takes {targets.oversize_bytes} bytes")
    expect(reply.code not in _RETRYABLE, f"answers {reply.code.name}, so that clients send it again and again")


def _is_exhausted(targets: Targets) -> None:
    reply = _too_large(targets)
    if reply.code is grpc.StatusCode.OK:
        raise NotServed("takes it")
    expect(reply.code is grpc.StatusCode.RESOURCE_EXHAUSTED, f"answers {reply.code.name}")
    expect(not reply.retry_info, "RESOURCE_EXHAUSTED with RetryInfo: clients send it again and again")


def _after_refusals(targets: Targets) -> None:
    with targets.over_grpc.channel() as channel:
        for sent in (b"no protobuf", b"\x0a\x05", b"\xff" * 100):
            targets.over_grpc.call(sent, channel=channel)
        accepted(targets.over_grpc.call(messages.body(), channel=channel))


def _after_a_cancellation(targets: Targets) -> None:
    with targets.over_grpc.channel() as channel:
        call = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        for _ in range(5):
            call.future(messages.body(), metadata=tuple(targets.over_grpc.metadata.items())).cancel()
        targets.over_grpc.call(messages.body(), channel=channel, timeout_s=0.000_1)
        accepted(targets.over_grpc.call(messages.body(), channel=channel))


def _invalid_utf8(targets: Targets) -> None:
    sent = messages.body(messages.span(name="NAME")).replace(b"NAME", b"\xff\xfe\xfd\xfc")
    reply = targets.over_grpc.call(sent)
    expect(reply.code not in _RETRYABLE, f"answers {reply.code.name}, so that clients send it again and again")


def _logs(count: int) -> Callable[[Targets], None]:
    def run(targets: Targets) -> None:
        reply = targets.over_grpc.call(messages.log_body(count) if count else b"", LOGS_EXPORT)
        if reply.code is grpc.StatusCode.UNIMPLEMENTED:
            raise NotServed("takes no logs")
        expect(reply.code is grpc.StatusCode.OK, f"answers {reply.code.name}: {reply.message}")
        expect_full_success(ExportLogsServiceResponse.FromString(reply.payload))

    return run


_CHECKS: list[tuple[str, str, str, Callable[[Targets], None]]] = [
    (GRPC_SUCCESS, MUST, "a span is answered OK with partial_success unset", _success),
    (GRPC_SUCCESS, SHOULD, "partial_success is left out, not sent empty", _partial_success_is_not_there),
    (GRPC_SUCCESS, SHOULD, "an empty request is a success", _taken(lambda: b"")),
    (ENVELOPES, MUST, "a ResourceSpans without scopes is no error", _taken(lambda: b"\x0a\x00")),
    (ENVELOPES, MUST, "a ScopeSpans without spans is no error", _taken(lambda: b"\x0a\x02\x12\x00")),
    (COMPRESSION, MUST, "gzip is taken", _gzip),
    (GRPC_CONCURRENT, MUST, "twenty calls come through one connection", _sequential),
    (GRPC_CONCURRENT, SHOULD, "fifty calls at a time come through one connection", _concurrent),
    (GRPC_REQUEST, MUST, "metadata that it does not know is no hindrance", _metadata),
    (GRPC_REQUEST, SHOULD, "a request of almost 4 MiB is taken, for clients may send 4 MiB", _four_mib),
    (DUPLICATES, MUST, "the same request sent again is a success", _duplicate),
    (GRPC_PARTIAL, SHOULD, "spans with invalid ids are rejected, counted exactly and with a reason", _invalid_ids),
    (GRPC_FAILURES, SHOULD, "a malformed request is INVALID_ARGUMENT", _invalid_argument),
    (GRPC_FAILURES, SHOULD, "a refusal has a message", _message),
    (GRPC_FAILURES, MUST, "details of a refusal fit its code and ask for no retry", _details),
    (GRPC_FAILURES, MUST, "a name that is no UTF-8 is taken or refused for good", _invalid_utf8),
    (
        GRPC_SERVICES,
        MUST,
        "an unknown service is UNIMPLEMENTED",
        _unknown_method("/opentelemetry.proto.collector.smells.v1.SmellService/Export"),
    ),
    (
        GRPC_SERVICES,
        MUST,
        "an unknown method is UNIMPLEMENTED",
        _unknown_method("/opentelemetry.proto.collector.trace.v1.TraceService/Import"),
    ),
    (GRPC_REQUEST, MUST, "the size is limited, after decompression too, and the refusal is final", _is_limited),
    (GRPC_REQUEST, SHOULD, "what is too large is RESOURCE_EXHAUSTED without RetryInfo", _is_exhausted),
    (GRPC_FAILURES, MUST, "after refusals the connection and the receiver go on", _after_refusals),
    (GRPC_CONCURRENT, MUST, "after calls that were given up the receiver goes on", _after_a_cancellation),
    (GRPC_SERVICES, MUST, "logs: a record is taken", _logs(1)),
    (GRPC_SERVICES, MUST, "logs: 1,000 records are taken", _logs(1000)),
    (GRPC_SUCCESS, SHOULD, "logs: an empty request is a success", _logs(0)),
]
