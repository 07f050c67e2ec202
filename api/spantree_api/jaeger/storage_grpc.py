"""Jaeger's remote storage over gRPC: TraceReader, DependencyReader, Capabilities and health, from the API's database.

https://github.com/jaegertracing/jaeger-idl proto/storage/v2. Jaeger itself writes by OTLP, to the collector. Reads
only, by the token of the metadata `authorization` (Jaeger's setting for it: headers). Calls share the API's pool but
never take more than half of it. It listens on a socket file alone: who may connect to its port, how many and for how
long, is the affair of whoever passes connections on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias
from uuid import UUID

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from spantree_api.asked import asked_by_call
from spantree_api.authentication import Authenticator
from spantree_api.errors import ApiError, Forbidden, InvalidParameter, Unauthorized, Unavailable
from spantree_api.jaeger import messages
from spantree_api.jaeger.chunks import chunks_of
from spantree_api.jaeger.query import ns_of, query_of, summary_message
from spantree_api.own_audit import NOBODY, REFUSED, OwnAudit, actor_of
from spantree_api.reads.spans import INCOMPLETE_SEARCH, SpanReads
from spantree_api.service import Service
from spantree_api.span_search.query import kind_name, kind_number
from spantree_exporter.own_audit_event import Event, Level
from spantree_exporter.tokens import ANYONE, DEFAULT_TENANT, Identity, bearer_of

log = logging.getLogger(__name__)

TRACE_READER: Final = f"{messages.PACKAGE}.TraceReader"
DEPENDENCY_READER: Final = f"{messages.PACKAGE}.DependencyReader"
CAPABILITIES: Final = f"{messages.PACKAGE}.Capabilities"

# Longer than Jaeger's own time-outs; a reader that takes nothing must not hold a connection to PostgreSQL for ever.
_CALL_S: Final = 60.0
_CALLS_MAX: Final = 200
# A query is a few hundred bytes; one for many traces has some thirty each.
_REQUEST_BYTES: Final = 2**20
_TRACES_MAX: Final = 10_000
_SUMMARIES_A_MESSAGE: Final = 100
_LOG_INTERVAL_S: Final = 60.0
_MIN_PING_INTERVAL_MS: Final = 10_000
# Jaeger has a few at a time.
_STREAMS_OF_A_CONNECTION: Final = 250
# How long calls that are under way may take when the socket file has to be made anew.
_ANEW_GRACE_S: Final = 2.0
# How whoever passes connections on names a client: unix-abstract:spantree/<any>/ADDRESS.
_NAMED: Final = "unix-abstract:spantree/"

_Context: TypeAlias = grpc.aio.ServicerContext
_Unary = Callable[[SpanReads, Any], Awaitable[Any]]
_Stream = Callable[[Any], AsyncIterator[bytes]]


_CALL: Final[ContextVar[_Context | None]] = ContextVar("the call", default=None)
_TENANT_ID: Final[ContextVar[int]] = ContextVar("tenant of the call", default=DEFAULT_TENANT)


_CODES: Final = (
    (InvalidParameter, grpc.StatusCode.INVALID_ARGUMENT),
    (Unauthorized, grpc.StatusCode.UNAUTHENTICATED),
    (Forbidden, grpc.StatusCode.PERMISSION_DENIED),
)


@dataclass(slots=True)
class _Call:
    """One call, for the own audit: `status` in HTTP's terms, `trace_ids` those that it names."""

    service: str
    method: str
    identity: Identity | None = None
    status: int = 200
    trace_ids: tuple[str, ...] = ()

    def take(self, request: Any, payload: bytes) -> Any:
        """The message. Raises InvalidParameter."""
        wanted = _parsed(request, payload)
        if request is messages.GetTracesRequest:
            self.trace_ids = tuple(one.trace_id.hex() for one in wanted.query)
        return wanted

    def events(self, level: Level, peer: str) -> list[Event]:
        """What the own audit tells of it at this level."""
        actor = NOBODY if self.identity is None else actor_of(self.identity)
        tenant_id = (ANYONE if self.identity is None else self.identity).tenant_id
        is_refused = self.status in REFUSED
        address = peer.removeprefix(_NAMED).partition("/")[2] if peer.startswith(_NAMED) else None
        return [
            Event(
                actor, "grpc", "refused" if is_refused else one.action, tenant_id, one.object_type, one.object_id,
                "POST", f"/{self.service}/{self.method}", self.status, address,
            )
            for one in asked_by_call(self.method, self.trace_ids)
            if is_refused or one.is_recorded(level)
        ]  # fmt: skip


class JaegerStorage:
    """The gRPC server. Made, started and stopped within the event loop that `service` belongs to."""

    def __init__(self, service: Service, authenticator: Authenticator, audit: OwnAudit | None = None) -> None:
        """`audit` is told who called what."""
        self._audit = audit
        self._service = service
        self._authenticator = authenticator
        self._reading = asyncio.Semaphore(max(1, service.config.pool_max // 2))
        self._calls = 0
        self._logged_at_s = float("-inf")
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None
        self._stopping = False
        find = messages.FindTracesRequest
        reads = (
            self._unary(TRACE_READER, "GetServices", messages.GetServicesRequest, _services),
            self._unary(TRACE_READER, "GetOperations", messages.GetOperationsRequest, _operations),
            self._unary(TRACE_READER, "FindTraceIDs", find, _trace_ids),
            self._streamed(TRACE_READER, "GetTraces", messages.GetTracesRequest, self._traces),
            self._streamed(TRACE_READER, "FindTraces", find, self._found_traces),
            self._streamed(TRACE_READER, "FindTraceSummaries", find, self._summaries),
        )
        dependencies = self._unary(DEPENDENCY_READER, "GetDependencies", messages.GetDependenciesRequest, _dependencies)
        services = {
            TRACE_READER: dict(reads),
            DEPENDENCY_READER: dict((dependencies,)),
            CAPABILITIES: {"GetCapabilities": grpc.unary_unary_rpc_method_handler(_capabilities)},
        }
        self._names = tuple(services)
        # By the path of each: a table of who may call what names them all.
        self.methods = tuple(f"/{name}/{method}" for name, methods in services.items() for method in methods)
        self._handlers = tuple(
            grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items()
        )

    async def start(self, upstream: Path) -> None:
        """Listen on a socket file; once more where it was removed. Raises OSError where that cannot be."""
        # In this order: one that stops removes the file of its name. One that has started takes no further port.
        if self._server is not None:
            await self._server.stop(_ANEW_GRACE_S)
        if self._stopping:
            return
        # No `maximum_concurrent_rpcs`: it counts calls before anybody knows whose they are, and before they have come
        # whole, so that whoever began some and never went on would have all of them.
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", _REQUEST_BYTES),
                ("grpc.max_concurrent_streams", _STREAMS_OF_A_CONNECTION),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", _MIN_PING_INTERVAL_MS),
                ("grpc.keepalive_permit_without_calls", 1),
            ],
        )
        self._server.add_generic_rpc_handlers(self._handlers)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        try:
            self._server.add_insecure_port(f"unix:{upstream}")
        except RuntimeError as error:
            raise OSError(f"{upstream} cannot be listened on") from error
        await self._server.start()
        for name in ("", *self._names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace_s: float) -> None:
        """Take no more calls; those that have come are answered within `grace_s`."""
        self._stopping = True
        await self._health.enter_graceful_shutdown()
        if self._server is not None:
            await self._server.stop(grace_s)

    def _unary(self, service: str, method: str, request: Any, answer: _Unary) -> tuple[str, grpc.RpcMethodHandler]:
        async def handle(payload: bytes, context: _Context) -> bytes:
            async with self._answering(_Call(service, method), context) as call:
                wanted = call.take(request, payload)
                async with self._reads() as reads:
                    return bytes((await answer(reads, wanted)).SerializeToString())
            raise AssertionError  # _answering ends the call

        return method, grpc.unary_unary_rpc_method_handler(handle)

    def _streamed(self, service: str, method: str, request: Any, parts: _Stream) -> tuple[str, grpc.RpcMethodHandler]:
        async def handle(payload: bytes, context: _Context) -> None:
            async with self._answering(_Call(service, method), context) as call:
                async for part in parts(call.take(request, payload)):
                    await _written(context, part)

        return method, grpc.unary_stream_rpc_method_handler(handle)

    @asynccontextmanager
    async def _reads(self) -> AsyncIterator[SpanReads]:
        """Reads of one moment, once there is room for them. Raises Unavailable."""
        wait_s = self._service.config.pool_wait_s
        try:
            await asyncio.wait_for(self._reading.acquire(), wait_s)
        except TimeoutError:
            raise Unavailable("overloaded", f"other reads of Jaeger took all of {wait_s:g} s: try again") from None
        try:
            async with self._service.for_tenant(_TENANT_ID.get()).reader() as reader:
                reads = SpanReads(reader)
                yield reads
            if reads.is_incomplete and (context := _CALL.get()) is not None:
                context.set_trailing_metadata(((INCOMPLETE_SEARCH, "incomplete"),))
        finally:
            self._reading.release()

    @asynccontextmanager
    async def _answering(self, call: _Call, context: _Context) -> AsyncIterator[_Call]:
        """End the call by its error, as a status of gRPC; no call takes longer than it may. It is told either way."""
        try:
            async with self._refusing(call, context), asyncio.timeout(_CALL_S):
                # Each call is a task of its own, and so is what is set here.
                _CALL.set(context)
                call.identity = self._authenticator.identify(_token_of(context), "read")
                _TENANT_ID.set(call.identity.tenant_id)
                with self._one_more():
                    yield call
        finally:
            if self._audit is not None:
                for event in call.events(self._audit.level, context.peer()):
                    self._audit.add(event, is_change=False)

    @contextmanager
    def _one_more(self) -> Iterator[None]:
        """While a call is answered. Raises Unavailable where so many are already."""
        if self._calls >= _CALLS_MAX:
            raise Unavailable("overloaded", f"{_CALLS_MAX} calls of Jaeger's are being answered: try again")
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1

    @asynccontextmanager
    async def _refusing(self, call: _Call, context: _Context) -> AsyncIterator[None]:
        try:
            yield
        except TimeoutError:
            call.status = 504
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"the call took longer than {_CALL_S:g} s")
        except ApiError as error:
            call.status = error.status_code
            if isinstance(error, Forbidden):
                call.identity = error.identity
            code = next((code for kind, code in _CODES if isinstance(error, kind)), grpc.StatusCode.UNAVAILABLE)
            await context.abort(code, str(error))
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception:
            call.status = 500
            if time.monotonic() - self._logged_at_s >= _LOG_INTERVAL_S:
                self._logged_at_s = time.monotonic()
                log.exception("a call of Jaeger's storage API failed")
            await context.abort(grpc.StatusCode.INTERNAL, "spantree could not answer: its log tells why")

    async def _traces(self, wanted: Any) -> AsyncIterator[bytes]:
        if len(wanted.query) > _TRACES_MAX:
            raise InvalidParameter("query", f"{len(wanted.query)} traces were asked for: {_TRACES_MAX} is the most")
        ids = [UUID(bytes=one.trace_id) for one in wanted.query if len(one.trace_id) == 16]
        async with self._reads() as reads:
            async for part in _whole(reads, list(dict.fromkeys(ids))):
                yield part

    async def _found_traces(self, wanted: Any) -> AsyncIterator[bytes]:
        async with self._reads() as reads:
            found = await reads.find(query_of(wanted.query))
            async for part in _whole(reads, [one.trace_id for one in found]):
                yield part

    async def _summaries(self, wanted: Any) -> AsyncIterator[bytes]:
        async with self._reads() as reads:
            found = await reads.find(query_of(wanted.query))
            summaries = await reads.summaries([one.trace_id for one in found])
        for first in range(0, len(summaries), _SUMMARIES_A_MESSAGE):
            some = summaries[first : first + _SUMMARIES_A_MESSAGE]
            answer = messages.FindTraceSummariesResponse(summaries=map(summary_message, some))
            yield answer.SerializeToString()


async def _written(context: _Context, part: bytes) -> None:
    """Send a part. Raises CancelledError where the client has ended the call and word of that is still on its way."""
    try:
        await context.write(part)
    except grpc.aio.InternalError as error:
        raise asyncio.CancelledError from error


def _token_of(context: _Context) -> str | None:
    sent = dict(context.invocation_metadata() or ()).get("authorization")
    return bearer_of(sent.decode("latin-1") if isinstance(sent, bytes) else sent)


async def _whole(reads: SpanReads, trace_ids: list[UUID]) -> AsyncIterator[bytes]:
    """Each trace in chunks of its own, one trace after the other; those that are not stored are left out."""
    days = await reads.days_of(trace_ids)
    for trace_id in trace_ids:
        if trace_id in days:
            async for spans in reads.chunks(trace_id, days[trace_id]):
                for chunk in chunks_of(spans):
                    yield chunk


async def _services(reads: SpanReads, wanted: Any) -> Any:
    return messages.GetServicesResponse(services=await reads.services())


async def _operations(reads: SpanReads, wanted: Any) -> Any:
    kind = None
    if wanted.span_kind:
        kind = kind_number(wanted.span_kind)
        if kind is None:
            return messages.GetOperationsResponse()
    rows = await reads.operations(wanted.service, kind)
    told = messages.GetOperationsResponse()
    for row in rows:
        told.operations.add(name=row.name, span_kind=kind_name(row.kind))
    return told


async def _trace_ids(reads: SpanReads, wanted: Any) -> Any:
    told = messages.FindTraceIDsResponse()
    for one in await reads.find(query_of(wanted.query)):
        # No times: they would be taken for bounds of all of its spans.
        told.trace_ids.add(trace_id=one.trace_id.bytes)
    return told


async def _dependencies(reads: SpanReads, wanted: Any) -> Any:
    told = messages.GetDependenciesResponse()
    for row in await reads.calls(ns_of("start_time", wanted.start_time), ns_of("end_time", wanted.end_time)):
        told.dependencies.add(parent=row.parent, child=row.child, call_count=row.calls, source="spantree")
    return told


async def _capabilities(payload: bytes, context: _Context) -> bytes:
    search = {"without_service_name": True, "same_span_conjunction": True}
    return bytes(messages.GetCapabilitiesResponse(search=search).SerializeToString())


def _parsed(request: Any, payload: bytes) -> Any:
    try:
        return request.FromString(payload)
    except messages.WireError as error:
        raise InvalidParameter("request", f"the message cannot be read: {error}") from error
