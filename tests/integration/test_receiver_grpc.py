"""OTLP/gRPC as the specification wants it, with a bare channel, while PostgreSQL is away."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from collections.abc import Callable, Iterator
from functools import partialmethod
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from tests.collectors import metric, readiness, running, settings
from tests.otlp_requests import request, span, trace_request
from tests.waiting import wait_until

from spantree_collector.app import Addresses
from spantree_collector.receive.grpc_front import GrpcFront
from spantree_collector.receive.intake import InFlight

MIB = 2**20
TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    with running(settings(tmp_path_factory.mktemp("data"), max_body_bytes=2 * MIB)) as addresses:
        yield addresses


def channel(addresses: Addresses) -> grpc.Channel:
    return grpc.insecure_channel(f"{addresses.host}:{addresses.otlp_grpc_port}")


def export(addresses: Addresses, body: bytes, path: str = TRACES, gzip: bool = False) -> bytes:
    compression = grpc.Compression.Gzip if gzip else grpc.Compression.NoCompression
    with channel(addresses) as opened:
        call: Callable[..., bytes] = opened.unary_unary(path)
        return call(body, timeout=20, compression=compression)


def refusal(addresses: Addresses, body: bytes, path: str = TRACES) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        export(addresses, body, path)
    return caught.value


def trailers(error: grpc.RpcError) -> dict[str, bytes]:
    return {item.key: item.value for item in error.trailing_metadata()}


def bodies(addresses: Addresses) -> int:
    return int(readiness(addresses)["spool"]["bodies"])


@pytest.mark.parametrize("gzip", [False, True])
def test_a_request_is_on_disk_when_it_is_answered(collector: Addresses, gzip: bool) -> None:
    before = bodies(collector)
    assert export(collector, trace_request(1, 30).SerializeToString(), gzip=gzip) == b""
    assert bodies(collector) == before + 1


def test_an_empty_request_is_a_success_and_is_not_kept(collector: Addresses) -> None:
    before = bodies(collector)
    assert export(collector, b"") == b""
    assert bodies(collector) == before


def test_spans_with_invalid_ids_are_rejected_by_number(collector: Addresses) -> None:
    sent = request(span(1, 1), span(1, 2))
    sent.resource_spans[0].scope_spans[0].spans[1].span_id = bytes(8)
    partial = ExportTraceServiceResponse.FromString(export(collector, sent.SerializeToString())).partial_success
    assert (partial.rejected_spans, partial.error_message != "") == (1, True)


def test_a_body_that_is_no_request_is_an_invalid_argument(collector: Addresses) -> None:
    error = refusal(collector, b"this is no protobuf")
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = Status.FromString(trailers(error)["grpc-status-details-bin"])
    detail = BadRequest()
    assert status.details[0].Unpack(detail)
    assert (status.code, status.message, detail.field_violations[0].field) == (3, error.details(), "body")
    assert "google.rpc.retryinfo-bin" not in trailers(error)


@pytest.mark.parametrize("size", [2 * MIB + 1, 3 * MIB])
def test_a_body_beyond_the_limit_is_resource_exhausted_without_a_retry_hint(collector: Addresses, size: int) -> None:
    error = refusal(collector, bytes(size))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "google.rpc.retryinfo-bin" not in trailers(error)
    advice = "send smaller batches, or raise SPANTREE_MAX_BODY_BYTES"
    assert error.details() == f"the request body is larger than {2 * MIB} bytes; {advice}"


def test_a_body_far_beyond_the_limit_is_not_read(collector: Addresses) -> None:
    error = refusal(collector, bytes(5 * MIB))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in (error.details() or ""), "grpc's own words"


def test_a_gzip_bomb_is_resource_exhausted(collector: Addresses) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        export(collector, bytes(50 * MIB), gzip=True)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_the_largest_body_is_taken(collector: Addresses) -> None:
    body = request(span(2, 1, payload="x" * (2 * MIB - 200))).SerializeToString()
    assert 2 * MIB - 200 < len(body) <= 2 * MIB
    assert export(collector, body) == b""


@pytest.mark.parametrize("signal", ["metrics"])
def test_another_signal_is_unimplemented(collector: Addresses, signal: str) -> None:
    service = f"opentelemetry.proto.collector.{signal}.v1.{signal.capitalize()}Service"
    error = refusal(collector, b"", f"/{service}/Export")
    assert (error.code(), error.details()) == (
        grpc.StatusCode.UNIMPLEMENTED,
        f"this collector takes traces and logs, no {signal}",
    )


def test_the_health_service_says_serving(collector: Addresses) -> None:
    with channel(collector) as opened:
        stub = health_pb2_grpc.HealthStub(opened)
        for service in ("", "opentelemetry.proto.collector.trace.v1.TraceService"):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_backpressure_is_unavailable_with_both_retry_hints(tmp_path: Path) -> None:
    with running(settings(tmp_path, spool_max_bytes=10_000)) as addresses:
        body = request(span(1, 1, payload="x" * 6_000)).SerializeToString()
        assert export(addresses, body) == b""
        error = refusal(addresses, body)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        sent = trailers(error)
        # The Python SDK reads this one, the Collector the other one.
        assert RetryInfo.FromString(sent["google.rpc.retryinfo-bin"]).retry_delay.seconds == 1
        status = Status.FromString(sent["grpc-status-details-bin"])
        detail = RetryInfo()
        assert status.details[0].Unpack(detail)
        assert (status.code, detail.retry_delay.seconds) == (14, 1)
        assert metric(addresses, 'spantree_collector_requests_refused_total{reason="spool_full",transport="grpc"}') == 1


def test_many_calls_at_a_time_are_each_answered_and_kept_once(collector: Addresses) -> None:
    before = bodies(collector)
    with channel(collector) as opened:
        call = opened.unary_unary(TRACES)
        calls = [call.future(trace_request(100 + n, 5).SerializeToString(), timeout=20) for n in range(200)]
        assert [done.result() for done in calls] == [b""] * 200
    assert bodies(collector) == before + 200


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _begun(addresses: Addresses, requests: int) -> socket.socket:
    """Requests of which nothing has come but the heads: HTTP/2 by hand, since grpc would end them."""
    client = socket.create_connection((addresses.host, addresses.otlp_grpc_port), timeout=20)

    def literal(name: bytes, value: bytes) -> bytes:
        return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value

    head = b"\x83\x86" + literal(b":path", TRACES.encode()) + literal(b":authority", b"x")
    head += literal(b"content-type", b"application/grpc") + literal(b"te", b"trailers")
    heads = b"".join(_frame(1, 4, 2 * number + 1, head) for number in range(requests))
    client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b"") + heads)
    return client


def _half_sent(addresses: Addresses, size: int) -> socket.socket:
    """A request of which `size` bytes have come, and which never ends."""
    client = _begun(addresses, 1)
    message = b"\x00" + (size + 1000).to_bytes(4, "big") + bytes(size)
    client.setblocking(False)
    for start in range(0, len(message), 16_384):
        data = _frame(0, 0, 1, message[start : start + 16_384])
        while data:
            try:
                data = data[client.send(data) :]
            except BlockingIOError:
                # grpc gives each stream a window, and reads no more; neither do we say that we would wait.
                return client
            except (ConnectionResetError, BrokenPipeError):
                return client
    return client


def _is_cut(client: socket.socket) -> bool:
    client.settimeout(20)
    try:
        while client.recv(65_536):
            pass
    except ConnectionResetError:
        return True
    return True


def test_a_half_sent_request_is_in_flight_from_its_first_bytes_and_has_a_deadline(tmp_path: Path) -> None:
    with running(settings(tmp_path, writers=0, body_deadline_s=1.0)) as addresses:
        with contextlib.closing(_half_sent(addresses, 50_000)) as client:
            wait_until(
                lambda: metric(addresses, "spantree_collector_in_flight_bytes") >= 50_000, 10, "its bytes are counted"
            )
            assert _is_cut(client)
        assert metric(addresses, "spantree_collector_in_flight_bytes") == 0
        assert metric(addresses, 'spantree_collector_connections_refused_total{reason="grpc_deadline"}') == 1
        assert export(addresses, trace_request(1, 3).SerializeToString()) == b""


def test_half_sent_requests_do_not_take_the_room_of_whole_ones(tmp_path: Path) -> None:
    config = settings(tmp_path, writers=0, max_body_bytes=MIB, max_in_flight_bytes=MIB)
    with running(config) as addresses, contextlib.ExitStack() as stack:
        for _ in range(24):
            stack.enter_context(contextlib.closing(_half_sent(addresses, 60_000)))
        for number in range(1, 30):
            assert export(addresses, trace_request(number, 100).SerializeToString()) == b""
        assert metric(addresses, "spantree_collector_in_flight_bytes") <= MIB


def test_who_begins_more_requests_than_there_is_room_for_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GrpcFront, "__init__", partialmethod(GrpcFront.__init__, max_streams=100))
    with running(settings(tmp_path, writers=0)) as addresses, contextlib.closing(_begun(addresses, 20)) as few:
        with contextlib.closing(_begun(addresses, 90)) as many:
            assert _is_cut(many)
        assert metric(addresses, 'spantree_collector_connections_refused_total{reason="grpc_streams"}') == 1
        for number in range(1, 50):
            assert export(addresses, trace_request(number, 3).SerializeToString()) == b""
        few.sendall(_frame(0, 1, 1, b"\x00\x00\x00\x00\x00"))
        few.settimeout(20)
        assert few.recv(65_536)


@pytest.mark.parametrize(
    ("frame", "may_be_cut_by_grpc"),
    [
        # grpc itself ends a connection at the third ping without data, if it reads before the front has counted.
        pytest.param(b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + bytes(8), True, id="ping"),
        pytest.param(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", False, id="settings"),
        pytest.param(b"\x00\x00\x00\x00\x00\x00\x00\x00\x01", False, id="empty data"),
    ],
)
def test_a_flood_of_frames_that_carry_nothing_is_cut(tmp_path: Path, frame: bytes, may_be_cut_by_grpc: bool) -> None:
    with running(settings(tmp_path, writers=0)) as addresses:
        with contextlib.closing(_half_sent(addresses, 10)) as client:
            with contextlib.suppress(OSError):
                for _ in range(2_000):
                    client.sendall(frame * 1_000)
            assert _is_cut(client)
        cut = metric(addresses, 'spantree_collector_connections_refused_total{reason="grpc_idle_frames"}')
        assert cut == 1 or (may_be_cut_by_grpc and cut == 0)
        assert export(addresses, trace_request(1, 3).SerializeToString()) == b""


def test_a_head_that_says_more_than_any_clients_is_cut_before_grpc_reads_it(collector: Addresses) -> None:
    """Of four thousand references to a long field grpc 1.85 kept a megabyte a request, which it refused."""
    counted = 'spantree_collector_connections_refused_total{reason="grpc_headers"}'
    before = metric(collector, counted)
    for fields in (200, 20_000):
        with contextlib.closing(_begun(collector, 1)) as client:
            # Each as long as `te: trailers` here, and one byte.
            client.sendall(_frame(1, 0, 3, b"\x83\x86" + b"\x84" * fields))
            client.sendall(_frame(9, 4, 3, b"\x84"))
            assert _is_cut(client)
    assert metric(collector, counted) == before + 2
    assert export(collector, trace_request(1, 3).SerializeToString()) == b""


def test_a_client_that_reads_no_answers_is_not_read_from_and_is_cut_at_last(tmp_path: Path) -> None:
    """The end of an answer is under no flow control: grpc keeps it for each request that it is given."""
    cuts: list[str] = []
    taken_bytes = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken_bytes
        # As grpc's server, but with as much as no socket holds.
        writer.write(_frame(0, 0, 1, bytes(16_000)) * 2_000)
        while received := await reader.read(65_536):
            taken_bytes += len(received)
        writer.close()

    async def converse() -> None:
        front = GrpcFront(
            InFlight(MIB), cuts.append, tmp_path, max_connections=10, header_deadline_s=20, body_deadline_s=0.3
        )
        server = await asyncio.start_unix_server(answer, front.upstream)
        listener = socket.create_server(("127.0.0.1", 0))
        where = listener.getsockname()
        await front.start(listener)
        with contextlib.closing(socket.create_connection(where, timeout=20)) as client:
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(client, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b""))
            with pytest.raises(ConnectionError):
                while True:
                    await loop.sock_sendall(client, _frame(1, 5, 1, b"\x83\x86") * 1_000)
        await front.close()
        server.close()

    asyncio.run(asyncio.wait_for(converse(), 20))
    assert cuts == ["grpc_deadline"]
    assert taken_bytes < 8 * MIB


def test_connections_that_say_nothing_are_cut_and_make_room(tmp_path: Path) -> None:
    config = settings(tmp_path, writers=0, max_connections=10, header_deadline_s=3.0)
    with running(config) as addresses, contextlib.ExitStack() as stack:
        where = (addresses.host, addresses.otlp_grpc_port)
        silent = [stack.enter_context(socket.create_connection(where, timeout=20)) for _ in range(15)]
        wait_until(lambda: _answers(addresses), 10, "another client is answered")
        for client in silent:
            assert _is_cut(client)


def _answers(addresses: Addresses) -> bool:
    try:
        return export(addresses, trace_request(1, 3).SerializeToString()) == b""
    except grpc.RpcError:
        return False


def test_compressed_messages_are_bounded_as_they_are_decompressed(tmp_path: Path) -> None:
    config = settings(tmp_path, writers=0, max_body_bytes=8 * MIB, max_in_flight_bytes=10 * MIB)
    with running(config) as addresses, channel(addresses) as opened:
        bomb = request(span(1, 1, payload="x" * 7 * MIB)).SerializeToString()
        calls = [
            opened.unary_unary(TRACES).future(bomb, timeout=20, compression=grpc.Compression.Gzip) for _ in range(20)
        ]
        codes = {call.code() for call in calls}
        assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
        wait_until(lambda: metric(addresses, "spantree_collector_in_flight_bytes") == 0, 10, "all is given back")
        deflated = opened.unary_unary(TRACES)
        assert (
            deflated(trace_request(2, 50).SerializeToString(), timeout=20, compression=grpc.Compression.Deflate) == b""
        )


@pytest.mark.parametrize("is_whole_folder", [False, True])
def test_a_socket_file_that_was_removed_is_made_anew(tmp_path: Path, is_whole_folder: bool) -> None:
    with running(settings(tmp_path / "data")) as addresses:
        assert export(addresses, trace_request(1, 3).SerializeToString()) == b""
        if is_whole_folder:
            shutil.rmtree(tmp_path / "data")
        else:
            (tmp_path / "data" / "grpc.sock").unlink()

        def is_taken() -> bool:
            with contextlib.suppress(grpc.RpcError):
                return export(addresses, trace_request(2, 3).SerializeToString()) == b""
            return False

        wait_until(is_taken, 30, "gRPC took a request again")
        assert bodies(addresses) >= 2
