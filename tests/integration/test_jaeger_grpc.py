"""Jaeger's storage API: what Jaeger's own storage suite asks of a backend, and what goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from tests.api_rows import NOW_NS, T0_NS, S, trace_id
from tests.jaeger_storage import JaegerClient, jaeger_over, spans_of, store_request, trace_ids_of
from tests.postgres import new_database
from tests.waiting import wait_until

from spantree_api.jaeger import messages
from spantree_api.jaeger.storage_grpc import TRACE_READER, _written
from spantree_deploy.jaeger_port import _listener

US = 1_000
Where = Literal["span", "resource", "scope", "event", "link"]
TAGS: dict[str, AnyValue] = {
    "text": AnyValue(string_value="a value"),
    "whole": AnyValue(int_value=123),
    "part": AnyValue(double_value=72.5),
    "truth": AnyValue(bool_value=True),
}


@dataclass
class Sent:
    """One trace of one span, and where its tags are."""

    number: int
    service: str
    operation: str = "step"
    start_ns: int = T0_NS
    duration_ns: int = 100 * US
    tags: dict[str, Where] = field(default_factory=dict)
    kind: Span.SpanKind.ValueType = Span.SPAN_KIND_INTERNAL

    def add_to(self, request: ExportTraceServiceRequest) -> None:
        entry = request.resource_spans.add()
        entry.resource.attributes.add(key="service.name", value=AnyValue(string_value=self.service))
        of_scope = entry.scope_spans.add()
        span = of_scope.spans.add(
            trace_id=bytes.fromhex(trace_id(self.number)),
            span_id=self.number.to_bytes(8, "big"),
            name=self.operation,
            kind=self.kind,
            start_time_unix_nano=self.start_ns,
            end_time_unix_nano=self.start_ns + self.duration_ns,
        )
        span.events.add(name="", time_unix_nano=self.start_ns)
        span.links.add(trace_id=b"\x01" * 16, span_id=b"\x02" * 8)
        holders: dict[Where, Any] = {
            "span": span,
            "resource": entry.resource,
            "scope": of_scope.scope,
            "event": span.events[0],
            "link": span.links[0],
        }
        for key, place in self.tags.items():
            holders[place].attributes.append(KeyValue(key=key, value=TAGS[key]))


def everywhere(place: Where) -> dict[str, Where]:
    """All four tags in one place."""
    return dict.fromkeys(TAGS, place)


SPREAD: dict[str, Where] = {"text": "event", "whole": "resource", "part": "span", "truth": "link"}
# Cases after those of Jaeger's storage suite (internal/storage/integration/fixtures/queries.json), in our own data:
# each asks of a service of its own, where decoys differ in one thing.
CASES: dict[str, tuple[dict[str, Any], Sequence[Sent], Sequence[Sent]]] = {
    "tags of the span": (
        {"tags": True},
        [Sent(1, "q1", tags=everywhere("span"))],
        [Sent(2, "q1", tags={"text": "span"})],
    ),
    "tags of an event": ({"tags": True}, [Sent(3, "q2", tags=everywhere("event"))], [Sent(4, "q2")]),
    "tags of the resource": ({"tags": True}, [Sent(5, "q3", tags=everywhere("resource"))], []),
    "tags of the scope": ({"tags": True}, [Sent(6, "q4", tags=everywhere("scope"))], []),
    "tags of a link": ({"tags": True}, [Sent(7, "q5", tags=everywhere("link"))], []),
    "tags in several places": (
        {"tags": True},
        [Sent(8, "q6", tags=SPREAD)],
        [Sent(9, "q6", tags={"whole": "resource"})],
    ),
    "operation": (
        {"operation_name": "wanted"},
        [Sent(10, "q7", "wanted")],
        [Sent(11, "q7", "other"), Sent(12, "q7", "wanted too")],
    ),
    "operation, at most": (
        {"operation_name": "wanted", "duration_max": {"nanos": 2_000 * US}},
        [Sent(13, "q8", "wanted", duration_ns=1_500 * US)],
        [Sent(14, "q8", "wanted", duration_ns=2_500 * US), Sent(15, "q8", "other", duration_ns=1_500 * US)],
    ),
    "operation, between": (
        {"operation_name": "wanted", "duration_min": {"nanos": 4_500 * US}, "duration_max": {"nanos": 5_500 * US}},
        [Sent(16, "q9", "wanted", duration_ns=5_000 * US)],
        [Sent(17, "q9", "wanted", duration_ns=4_000 * US), Sent(18, "q9", "wanted", duration_ns=6_000 * US)],
    ),
    "between": (
        {"duration_min": {"nanos": 4_500 * US}, "duration_max": {"nanos": 5_500 * US}},
        [Sent(19, "q10", duration_ns=5_500 * US), Sent(20, "q10", duration_ns=4_500 * US)],
        [Sent(21, "q10", duration_ns=1)],
    ),
    "service": ({}, [Sent(22, "q11"), Sent(23, "q11", "other")], [Sent(24, "q11b")]),
    "tags, operation, between": (
        {"tags": True, "operation_name": "wanted", "duration_min": {"seconds": 4}, "duration_max": {"seconds": 6}},
        [Sent(25, "q12", "wanted", duration_ns=5 * S, tags=SPREAD)],
        [Sent(26, "q12", "wanted", duration_ns=5 * S), Sent(27, "q12", "wanted", tags=SPREAD)],
    ),
    "a range of time": (
        {"start_time_min": T0_NS + 5 * S, "start_time_max": T0_NS + 6 * S},
        [Sent(28, "q13", start_ns=T0_NS + 5 * S)],
        [Sent(29, "q13", start_ns=T0_NS + 7 * S), Sent(30, "q13", start_ns=T0_NS)],
    ),
    "error": (
        {"attributes": [KeyValue(key="error", value=AnyValue(string_value="true"))]},
        [],
        [Sent(31, "q14")],
    ),
    "kind": (
        {"attributes": [KeyValue(key="span.kind", value=AnyValue(string_value="server"))]},
        [Sent(32, "q15", kind=Span.SPAN_KIND_SERVER)],
        [Sent(33, "q15")],
    ),
    # Jaeger's pages know no types: what they send is text.
    "numbers as text": (
        {"attributes": [KeyValue(key="whole", value=AnyValue(string_value="123"))]},
        [Sent(34, "q16", tags={"whole": "span"})],
        [Sent(35, "q16", tags={"part": "span"})],
    ),
    "a number is no text": (
        {"attributes": [KeyValue(key="text", value=AnyValue(int_value=1))]},
        [],
        [Sent(36, "q17", tags={"text": "span"})],
    ),
}
MANY = 0x900
DUPLICATE = 0x901
LARGE = 0x902
CALLING = 0x903
MARKED = 0x904
BROKEN = 0x905


def time_of(ns: int) -> dict[str, int]:
    return {"seconds": ns // S, "nanos": ns % S}


@pytest.fixture(scope="module")
def client(postgres_url: str, _migrated_template: str) -> Iterator[JaegerClient]:
    with new_database(postgres_url, template=_migrated_template) as url:
        request = ExportTraceServiceRequest()
        for _, wanted, others in CASES.values():
            for one in (*wanted, *others):
                one.add_to(request)
        add_special(request)
        store_request(url, request)
        with jaeger_over(url, NOW_NS) as found:
            yield found


def add_special(request: ExportTraceServiceRequest) -> None:
    many = request.resource_spans.add()
    many.resource.attributes.add(key="service.name", value=AnyValue(string_value="special"))
    of_scope = many.scope_spans.add()

    def add(number: int, span_id: int, parent: int = 0, **fields: Any) -> Span:
        return of_scope.spans.add(
            trace_id=bytes.fromhex(trace_id(number)),
            span_id=span_id.to_bytes(8, "big"),
            parent_span_id=parent.to_bytes(8, "big") if parent else b"",
            start_time_unix_nano=T0_NS + span_id,
            end_time_unix_nano=T0_NS + span_id + S,
            **({"name": "special"} | fields),
        )

    padding = AnyValue(string_value="x" * 700)
    for span_id in range(1, 10_009):
        add(MANY, span_id, 1 if span_id > 1 else 0).attributes.add(key="padding", value=padding)
    add(DUPLICATE, 1, name="first")
    add(DUPLICATE, 1, name="second")
    add(LARGE, 1).attributes.add(key="large", value=AnyValue(string_value="y" * (5 * 2**20)))
    add(MARKED, 1)
    mark = add(MARKED, 2, 1)
    mark.attributes.add(key="spantree.span_type", value=AnyValue(string_value="pending_span"))
    add(CALLING, 1)
    called = request.resource_spans.add()
    called.resource.attributes.add(key="service.name", value=AnyValue(string_value="called"))
    of_scope = called.scope_spans.add()
    add(CALLING, 2, 1, name="answer").status.code = Status.STATUS_CODE_ERROR
    add(CALLING, 3, 1, name="answer")
    add(CALLING, 4, 77, name="orphan")


@pytest.mark.parametrize("case", CASES)
def test_finds_traces_by_what_one_span_is(client: JaegerClient, case: str) -> None:
    query, wanted, others = CASES[case]
    sent = dict(query)
    if sent.pop("tags", False):
        sent["attributes"] = [KeyValue(key=key, value=value) for key, value in TAGS.items()]
    for bound in ("start_time_min", "start_time_max"):
        if bound in sent:
            sent[bound] = time_of(sent[bound])
    service = (*wanted, *others)[0].service
    chunks = client.find(service_name=service, search_depth=1_000, **sent)
    assert sorted(trace_ids_of(chunks)) == sorted(trace_id(one.number) for one in wanted)
    assert client.find_ids(service_name=service, search_depth=1_000, **sent) == trace_ids_of(chunks)


def test_finds_without_a_service(client: JaegerClient) -> None:
    found = client.find_ids(operation_name="second", search_depth=10)
    assert found == [trace_id(DUPLICATE)]
    assert client.capabilities().search.without_service_name


def test_gives_the_newest_first_and_no_more_than_asked(client: JaegerClient) -> None:
    assert client.find_ids(service_name="q13", search_depth=2) == [trace_id(29), trace_id(28)]


def test_lists_services_and_operations(client: JaegerClient) -> None:
    sent = [one for _, wanted, others in CASES.values() for one in (*wanted, *others)]
    assert client.services() == sorted({one.service for one in sent} | {"special", "called"})
    assert client.operations("special") == [("first", ""), ("second", ""), ("special", "")]
    assert client.operations("q15") == [("step", "internal"), ("step", "server")]
    assert client.operations("q15", "server") == [("step", "server")]
    assert client.operations("nobody") == []


def test_a_large_trace_comes_in_chunks_of_its_own(client: JaegerClient) -> None:
    chunks = client.traces(trace_id(MANY), trace_id(1))
    assert trace_ids_of(chunks) == [trace_id(MANY), trace_id(1)]
    assert sorted(span.span_id for span in spans_of(chunks[:-1])) == [n.to_bytes(8, "big") for n in range(1, 10_009)]
    assert max(chunk.ByteSize() for chunk in chunks) <= 3 * 2**20


def test_spans_that_share_an_id_are_both_told(client: JaegerClient) -> None:
    assert [span.name for span in spans_of(client.traces(trace_id(DUPLICATE)))] == ["first", "second"]


def test_a_span_that_no_message_holds_is_cut_and_says_so(client: JaegerClient) -> None:
    (span,) = spans_of(client.traces(trace_id(LARGE)))
    told = {one.key: one.value.string_value for one in span.attributes}
    assert told["large"] == "y" * 1_000 + "… (cut by spantree)"
    assert "otlp" in told["spantree.cut"]


def test_an_unknown_trace_is_an_empty_answer(client: JaegerClient) -> None:
    assert client.traces(trace_id(0x999)) == []
    assert client.find(service_name="nobody", search_depth=10) == []


def test_live_marks_are_no_spans_of_jaeger(client: JaegerClient) -> None:
    assert [span.span_id[-1] for span in spans_of(client.traces(trace_id(MARKED)))] == [1]


def test_traces_are_summed_up(client: JaegerClient) -> None:
    (chunk,) = client.summaries(service_name="called", search_depth=10)
    (told,) = chunk.summaries
    assert (told.trace_id.hex(), told.root_service_name, told.root_operation_name) == (
        trace_id(CALLING), "special", "special",
    )  # fmt: skip
    assert (told.min_start_time_unix_nano, told.max_end_time_unix_nano) == (T0_NS + 1, T0_NS + 4 + S)
    assert (told.span_count, told.error_span_count, told.orphan_span_count) == (4, 1, 1)
    assert [(one.name, one.span_count, one.error_span_count) for one in told.services] == [
        ("called", 3, 1),
        ("special", 1, 0),
    ]


def test_tells_which_service_called_which(client: JaegerClient) -> None:
    day = T0_NS // S
    assert client.dependencies(day - 60, day + 60) == [("special", "called", 2)]
    assert client.dependencies(day - 9_000, day - 8_000) == []


def test_is_in_health(client: JaegerClient) -> None:
    stub = health_pb2_grpc.HealthStub(client.channel)
    assert stub.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_its_port_on_all_addresses_takes_ipv4_too() -> None:
    with contextlib.closing(_listener("::", 0)) as listener:
        socket.create_connection(("127.0.0.1", listener.getsockname()[1]), timeout=20).close()


def _blocked(end: threading.Event) -> Iterator[bytes]:
    end.wait(60)
    yield b""


def test_calls_that_never_go_on_and_connections_that_say_nothing_keep_nobody_out(client: JaegerClient) -> None:
    """Anybody can begin them: no token is known before a call has come whole."""
    end = threading.Event()
    with contextlib.ExitStack() as stack:
        for _ in range(250):
            stack.enter_context(socket.create_connection(("127.0.0.1", client.port), timeout=20))
        time.sleep(1.1)  # so long a client is not idle
        options = [("grpc.use_local_subchannel_pool", 1)]
        for _ in range(2):
            channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{client.port}", options))
            stub = health_pb2_grpc.HealthStub(channel)
            for _ in range(120):
                channel.stream_stream(f"/{TRACE_READER}/GetServices")(_blocked(end))
                next(stub.Watch(health_pb2.HealthCheckRequest()))
        stack.callback(end.set)
        with grpc.insecure_channel(f"127.0.0.1:{client.port}", options) as channel:
            assert JaegerClient(channel).services() == client.services()


@pytest.mark.parametrize(
    ("method", "payload", "code"),
    [
        ("FindTraceIDs", b"\xff\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
        ("FindTraceIDs", b"\x0a\x03\x4a\x01x", grpc.StatusCode.INVALID_ARGUMENT),  # a structured filter
        (
            "FindTraceIDs",
            messages.FindTracesRequest(query={"start_time_min": {"seconds": 2**62}}).SerializeToString(),
            grpc.StatusCode.INVALID_ARGUMENT,  # a year that protobuf does not know
        ),
        ("GetServices", b"x" * (2 * 2**20), grpc.StatusCode.RESOURCE_EXHAUSTED),
        ("Nothing", b"", grpc.StatusCode.UNIMPLEMENTED),
    ],
)
def test_refuses_what_it_cannot_answer(
    client: JaegerClient, method: str, payload: bytes, code: grpc.StatusCode
) -> None:
    with pytest.raises(grpc.RpcError) as refusal:
        client.raw(method, payload)
    assert refusal.value.code() == code


@pytest.mark.parametrize("seconds", [9_223_372_037, 253_402_300_799, -9_223_372_037])
def test_times_beyond_any_are_bounds_like_others(client: JaegerClient, seconds: int) -> None:
    far = {"seconds": seconds}
    expected = {"start_time_min": seconds < 0, "start_time_max": seconds > 0}
    for bound, finds in expected.items():
        assert bool(client.find_ids(service_name="q1", **{bound: far})) == finds
    assert bool(client.find_ids(service_name="q1", duration_min=far)) == (seconds < 0)


def test_a_database_that_is_away_is_unavailable() -> None:
    with (
        jaeger_over("postgresql://127.0.0.1:1/nothing", NOW_NS, pool_wait_s=0.2) as client,
        pytest.raises(grpc.RpcError) as refusal,
    ):
        client.services()
    assert refusal.value.code() == grpc.StatusCode.UNAVAILABLE


def test_a_socket_file_that_was_removed_with_its_folder_is_made_anew(
    migrated_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with jaeger_over(migrated_url, NOW_NS) as client:
        client.services()
        [file] = tmp_path.glob("*/grpc.sock")
        shutil.rmtree(file.parent)
        wait_until(file.exists, 30, "the socket file is there again")
        with grpc.insecure_channel(f"127.0.0.1:{client.port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            assert JaegerClient(channel).services() == []


def test_a_client_that_goes_while_it_is_answered_is_no_defect(caplog: pytest.LogCaptureFixture) -> None:
    class Call:
        """As grpc has it where a cancellation has not come through yet."""

        status: grpc.StatusCode | None = None

        async def write(self, part: bytes) -> None:
            raise grpc.aio.InternalError('Failed "execute_batch"')

        async def abort(self, code: grpc.StatusCode, details: str) -> None:
            self.status = code

    call: Any = Call()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(_written(call, b""))
    assert (call.status, caplog.text) == (None, "")
