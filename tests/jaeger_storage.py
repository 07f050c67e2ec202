"""Jaeger's storage API under test, on a port of 127.0.0.1, over a real database, and calls as Jaeger makes them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData
from tests.api_rows import NOW_NS
from tests.tables import project_all

from spantree_api.authentication import Authenticator
from spantree_api.config import ApiConfig
from spantree_api.database import Database
from spantree_api.jaeger import messages
from spantree_api.jaeger.storage_grpc import CAPABILITIES, DEPENDENCY_READER, TRACE_READER, JaegerStorage
from spantree_api.own_audit import OwnAudit
from spantree_api.service import Service
from spantree_api.streams.listeners import TenantStreams
from spantree_deploy.jaeger_port import JaegerPort
from spantree_exporter.otlp.decode import PROTOBUF, decode_request
from spantree_exporter.postgres.store import Store
from spantree_exporter.token_watch import TokenWatch


class JaegerClient:
    """Calls the storage API; messages in, messages out."""

    def __init__(
        self,
        channel: grpc.Channel,
        metadata: tuple[tuple[str, str], ...] = (),
        methods: tuple[str, ...] = (),
        port: int = 0,
    ) -> None:
        self.channel = channel
        self.methods = methods
        self.port = port
        self._metadata = metadata

    def with_metadata(self, *metadata: tuple[str, str]) -> JaegerClient:
        """The same, sending these with each call."""
        return JaegerClient(self.channel, metadata, self.methods, self.port)

    def outcome(self, method: str) -> grpc.StatusCode:
        """How the call of a path ends, whatever it answers."""
        try:
            list(self.channel.unary_stream(method)(b"", timeout=30, metadata=self._metadata))
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    def services(self) -> list[str]:
        """GetServices."""
        return list(self._one(TRACE_READER, "GetServices", b"", messages.GetServicesResponse).services)

    def operations(self, service: str, kind: str = "") -> list[tuple[str, str]]:
        """GetOperations: (name, kind)."""
        wanted = messages.GetOperationsRequest(service=service, span_kind=kind).SerializeToString()
        told = self._one(TRACE_READER, "GetOperations", wanted, messages.GetOperationsResponse)
        return [(one.name, one.span_kind) for one in told.operations]

    def traces(self, *trace_ids: str) -> list[TracesData]:
        """GetTraces, chunk by chunk."""
        query = [{"trace_id": bytes.fromhex(one)} for one in trace_ids]
        return self._chunks("GetTraces", messages.GetTracesRequest(query=query))

    def find(self, **query: Any) -> list[TracesData]:
        """FindTraces, chunk by chunk."""
        return self._chunks("FindTraces", _request(query))

    def find_ids(self, **query: Any) -> list[str]:
        """FindTraceIDs."""
        wanted = _request(query).SerializeToString()
        told = self._one(TRACE_READER, "FindTraceIDs", wanted, messages.FindTraceIDsResponse)
        return [one.trace_id.hex() for one in told.trace_ids]

    def summaries(self, **query: Any) -> list[Any]:
        """FindTraceSummaries, chunk by chunk."""
        parts = self._parts("FindTraceSummaries", _request(query))
        return [messages.FindTraceSummariesResponse.FromString(part) for part in parts]

    def dependencies(self, start_s: int, end_s: int) -> list[tuple[str, str, int]]:
        """GetDependencies: (parent, child, calls)."""
        wanted = messages.GetDependenciesRequest(start_time={"seconds": start_s}, end_time={"seconds": end_s})
        told = self._one(
            DEPENDENCY_READER, "GetDependencies", wanted.SerializeToString(), messages.GetDependenciesResponse
        )
        return [(one.parent, one.child, one.call_count) for one in told.dependencies]

    def capabilities(self) -> Any:
        """GetCapabilities."""
        return self._one(CAPABILITIES, "GetCapabilities", b"", messages.GetCapabilitiesResponse)

    def trailing(self, method: str, **query: Any) -> dict[str, str]:
        """What a search of TraceReader tells beside its answer."""
        call = self.channel.unary_unary(f"/{TRACE_READER}/{method}")
        _, done = call.with_call(_request(query).SerializeToString(), timeout=30)
        return {key: str(value) for key, value in done.trailing_metadata() or ()}

    def raw(self, method: str, payload: bytes) -> bytes:
        """Any unary call of TraceReader."""
        answer: bytes = self.channel.unary_unary(f"/{TRACE_READER}/{method}")(payload, timeout=30)
        return answer

    def _one(self, service: str, method: str, payload: bytes, answer: Any) -> Any:
        return answer.FromString(
            self.channel.unary_unary(f"/{service}/{method}")(payload, timeout=30, metadata=self._metadata)
        )

    def _parts(self, method: str, wanted: Any) -> list[bytes]:
        call = self.channel.unary_stream(f"/{TRACE_READER}/{method}")
        return list(call(wanted.SerializeToString(), timeout=60, metadata=self._metadata))

    def _chunks(self, method: str, wanted: Any) -> list[TracesData]:
        return [TracesData.FromString(part) for part in self._parts(method, wanted)]


@contextlib.contextmanager
def jaeger_over(database_url: str, now_ns: int, **settings: Any) -> Iterator[JaegerClient]:
    """A client of the storage API over `database_url`, served by a thread until the end of the block."""
    started, stop = threading.Event(), threading.Event()
    port: list[int] = []
    methods: list[str] = []

    async def serve() -> None:
        config = ApiConfig(database_url=database_url, **settings)
        database = Database(config)
        await database.open()

        def clock() -> int:
            return now_ns

        tokens = TokenWatch(database_url, interval_s=0.05)
        tokens.start()
        await asyncio.to_thread(tokens.wait_for_first_look, 10)
        service = Service(config, database, database, clock, TenantStreams(database, config, clock))
        audit = OwnAudit(config.audit, config.audit_flush_s)
        audit.start(database)
        storage = JaegerStorage(service, Authenticator(tokens, anonymous=True), audit)
        methods.extend(storage.methods)
        jaeger = JaegerPort(storage)
        port.append(await jaeger.start("127.0.0.1", 0))
        started.set()
        await asyncio.to_thread(stop.wait)
        await jaeger.stop(5)
        await audit.stop()
        tokens.stop()
        await database.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="storage API under test")
    thread.start()
    try:
        assert started.wait(20), "the storage API did not start within 20 s"
        with grpc.insecure_channel(f"127.0.0.1:{port[0]}") as channel:  # with the limit of 4 MiB that Jaeger has
            yield JaegerClient(channel, methods=tuple(methods), port=port[0])
    finally:
        stop.set()
        thread.join(timeout=20)
        assert not thread.is_alive(), "the storage API did not stop within 20 s"


def _request(query: dict[str, Any]) -> Any:
    attributes = query.pop("attributes", ())
    request = messages.FindTracesRequest(query=query)
    for one in attributes:  # of the classes of OTLP, which are others than this protocol's
        request.query.attributes.add().ParseFromString(one.SerializeToString())
    return request


def spans_of(chunks: Sequence[TracesData]) -> list[Span]:
    """All spans, in the order of the chunks."""
    return [
        span
        for chunk in chunks
        for entry in chunk.resource_spans
        for of_scope in entry.scope_spans
        for span in of_scope.spans
    ]


def trace_ids_of(chunks: Sequence[TracesData]) -> list[str]:
    """The trace of each chunk; fails where a chunk is of several or of none, or a trace's chunks are apart."""
    ids: list[str] = []
    for chunk in chunks:
        (of_chunk,) = {span.trace_id.hex() for span in spans_of([chunk])}
        if not ids or ids[-1] != of_chunk:
            assert of_chunk not in ids, f"chunks of {of_chunk} are not consecutive"
            ids.append(of_chunk)
    return ids


def store_request(url: str, request: ExportTraceServiceRequest) -> None:
    """Write and project what a request holds, as the collector does."""
    store = Store(url)
    try:
        decoded = decode_request(request.SerializeToString(), PROTOBUF, NOW_NS)
        assert not decoded.dead
        for first in range(0, len(decoded.spans), 4_000):
            store.write(decoded.spans[first : first + 4_000], [])
        project_all(url, store)
    finally:
        store.close()
