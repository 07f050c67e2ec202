"""OTLP/gRPC: TraceService/Export and LogsService/Export over raw bytes, and the standard health service.

The handlers take bytes, not messages: grpc would answer a body that it cannot parse with INTERNAL, where OTLP wants
INVALID_ARGUMENT, and the spool wants the bytes anyway (opentelemetry-proto docs/specification.md, "OTLP/gRPC").
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import grpc
from google.rpc import code_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from spantree_collector.receive.decompress import DEFLATE
from spantree_collector.receive.grpc_front import GrpcFront
from spantree_collector.receive.inflate import GZIP
from spantree_collector.receive.intake import Intake
from spantree_collector.receive.responses import success
from spantree_collector.receive.status import NoSuchPath, Refusal, refusal_of
from spantree_exporter.otlp.decode import PROTOBUF
from spantree_exporter.otlp.signals import LOGS, TRACES, encoding_of
from spantree_exporter.tokens import Identity

TRANSPORT = "grpc"
TRACE_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
LOGS_SERVICE = "opentelemetry.proto.collector.logs.v1.LogsService"
_OTHER_SERVICES = {
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
}
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
# The bytes around a body in a gRPC message are few; the limit of the body itself is checked by the intake.
_FRAME_BYTES = 1024
# A client opens streams before it has been told the limit, and those beyond it are refused (measured: of 200 calls at
# once over a new connection 72 failed with a limit of 128), so this only stops a client that has gone mad.
_MAX_STREAMS_PER_CONNECTION = 2048
# How long requests that are under way may take when the socket file has to be made anew.
_GRACE_S = 2.0
# Clients that ping more often than this are told to go away (grpc doc/keepalive.md, "too_many_pings").
_MIN_PING_INTERVAL_MS = 10_000


class GrpcReceiver:
    """The gRPC server of the collector behind its front. Made within the event loop that it is to run in."""

    def __init__(self, intake: Intake, front: GrpcFront, listener: socket.socket) -> None:
        self._intake = intake
        self._front = front
        self._listener = listener
        self._health = health.aio.HealthServicer()
        self._stopping = False
        self._server = self._new_server()

    def _new_server(self) -> grpc.aio.Server:
        server = grpc.aio.server(
            options=[
                # Compressed messages come as they are: their decompression is the intake's, bounded and accounted.
                ("grpc.per_message_decompression", 0),
                ("grpc.max_receive_message_length", _told_up_to(self._intake)),
                ("grpc.max_concurrent_streams", _MAX_STREAMS_PER_CONNECTION),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", _MIN_PING_INTERVAL_MS),
                ("grpc.keepalive_permit_without_calls", 1),
            ]
        )
        handlers = [
            _service(TRACE_SERVICE, functools.partial(self._export, TRACES)),
            _service(LOGS_SERVICE, functools.partial(self._export, LOGS)),
        ]
        handlers += [_service(name, _refuse_signal(self, signal)) for signal, name in _OTHER_SERVICES.items()]
        server.add_generic_rpc_handlers(tuple(handlers))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        server.add_insecure_port(f"unix:{self._front.upstream}")
        return server

    async def start(self) -> None:
        """Take requests."""
        await self._server.start()
        await self._front.start(self._listener, self._listen_anew)
        for service in (TRACE_SERVICE, LOGS_SERVICE):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace_s: float) -> None:
        """Take no more requests; those that have come are answered within `grace_s`."""
        self._stopping = True
        await self._front.stop_listening()
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)
        await self._front.close()

    async def _listen_anew(self) -> None:
        """Have a socket file again after somebody removed it. Raises OSError, RuntimeError where there can be none."""
        # In this order: one that stops removes the file of its name. One that has started takes no further port.
        await self._server.stop(_GRACE_S)
        if self._stopping:
            return
        self._front.upstream.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._server = self._new_server()
        await self._server.start()

    async def _export(self, signal: str, payload: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        sender: Identity | None = None
        try:
            sender = self._intake.authenticator.sender(_authorization(context))
            # The front has the bytes as sent; what becomes of them here is held besides.
            with self._intake.in_flight.reserve() as reservation:
                body = encoding_of(signal, PROTOBUF)
                examined = await self._intake.accept(
                    payload, body, _compression(payload), reservation, TRANSPORT, sender
                )
        except Exception as error:
            await self.refuse(context, refusal_of(error), error, sender)
        return success(examined, PROTOBUF, signal)

    async def refuse(
        self,
        context: grpc.aio.ServicerContext[bytes, bytes],
        refusal: Refusal,
        error: Exception | None = None,
        sender: Identity | None = None,
    ) -> NoReturn:
        """End the call with `refusal`; `error` is behind it, and `sender` whom it is from, where that is known."""
        self._intake.refused(TRANSPORT, refusal, error, sender)
        trailers: list[tuple[str, bytes]] = [("grpc-status-details-bin", refusal.as_status().SerializeToString())]
        if refusal.retry_after_s is not None:
            # The Python SDK reads this trailer only, the Collector the other one only (both measured).
            trailers.append(("google.rpc.retryinfo-bin", refusal.retry_info().SerializeToString()))
        await context.abort(_CODES[refusal.grpc_code], refusal.message, tuple(trailers))
        raise AssertionError("context.abort returned")


def _told_up_to(intake: Intake) -> int:
    """The largest message that comes to a handler, in bytes, which refuses it with advice and counts it.

    Of what is larger grpc says itself that it is, once it knows its length: it is not read at all. The front bounds all
    that are read together, whatever each may have.
    """
    return min(2 * intake.max_body_bytes, intake.in_flight.max_bytes) + _FRAME_BYTES


def _authorization(context: grpc.aio.ServicerContext[bytes, bytes]) -> str | None:
    sent = dict(context.invocation_metadata() or ()).get("authorization")
    return sent.decode("latin-1") if isinstance(sent, bytes) else sent


def _compression(payload: bytes) -> str:
    """Which of gRPC's two compressions a message has: its flag does not reach a handler, its first bytes do.

    No message of OTLP begins with either: 0x1F is no tag at all, 0x78 would be field 15, which is in none of them.
    """
    if payload[:2] == b"\x1f\x8b":
        return GZIP
    if payload[:1] == b"\x78" and int.from_bytes(payload[:2], "big") % 31 == 0:
        return DEFLATE
    return ""


def _service(name: str, export: Callable[[bytes, Any], Awaitable[bytes]]) -> grpc.GenericRpcHandler:
    # No deserializer and no serializer: bytes in, bytes out.
    return grpc.method_handlers_generic_handler(name, {"Export": grpc.unary_unary_rpc_method_handler(export)})


def _refuse_signal(receiver: GrpcReceiver, signal: str) -> Callable[[bytes, Any], Awaitable[bytes]]:
    refusal = Refusal(
        refusal_of(NoSuchPath()).reason,
        404,
        code_pb2.UNIMPLEMENTED,
        f"this collector takes traces and logs, no {signal}",
    )

    async def export(payload: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        await receiver.refuse(context, refusal)

    return export
