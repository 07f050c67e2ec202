"""Log records: from official clients to the nodes of their spans, whatever comes first, and out again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from tests.collectors import JSON_TYPE, PROTOBUF_TYPE, metric, readiness, running, send, settings
from tests.factories import DAY_NS, NOON_NS, SECOND_NS, span, trace_id, workflow
from tests.otlp_json import otlp_json_body
from tests.tables import project_all, query, tables
from tests.waiting import wait_until

from spantree_collector.app import Addresses
from spantree_exporter import log_projection
from spantree_exporter.facts import Facts, read_facts
from spantree_exporter.log_record import LogRecord
from spantree_exporter.otlp.decode_logs import LOGS_PROTOBUF, decode_logs
from spantree_exporter.otlp.signals import Item
from spantree_exporter.postgres.store import Store, Written
from spantree_exporter.span import Span
from spantree_exporter.trace_key import TraceKey


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    opened = Store(migrated_url)
    yield opened
    opened.close()


def request(number: int = 4, *, trace: int = 1, at_ns: int = NOON_NS, **attributes: str) -> ExportLogsServiceRequest:
    """A record that belongs to span `number` of a trace."""
    built = ExportLogsServiceRequest()
    of_resource = built.resource_logs.add()
    of_resource.resource.attributes.add(key="service.name").value.string_value = "shop"
    record = of_resource.scope_logs.add().log_records.add(
        trace_id=trace_id(trace), span_id=number.to_bytes(8, "big"), time_unix_nano=at_ns, severity_number=17
    )
    record.body.string_value = "the card was declined"
    for key, value in attributes.items():
        record.attributes.add(key=key.replace("_", ".")).value.string_value = value
    return built


def records(sent: ExportLogsServiceRequest) -> list[LogRecord]:
    return decode_logs(sent.SerializeToString(), LOGS_PROTOBUF, NOON_NS).records


def declined(**where: int) -> list[LogRecord]:
    exception = {"exception_type": "CardDeclined", "exception_message": "card declined by log"}
    return records(request(**where, **exception))  # type: ignore[arg-type]


def failing() -> list[Item]:
    """A run whose span 4 failed and tells no more than that."""
    steps: list[Item] = [span(number, parent=1, name=f"step {number}") for number in (2, 3)]
    steps.append(span(4, parent=1, name="charge", error="", start_ns=NOON_NS + SECOND_NS))
    steps.append(span(1, name="order", attributes={"spantree.execution.name": "order-flow"}, duration_ns=9 * SECOND_NS))
    return steps


def error_of_charge(url: str) -> list[tuple[object, ...]]:
    return query(url, "SELECT error_type, error_message FROM spantree.node WHERE name = 'charge'")


def test_an_exception_in_a_record_is_the_error_of_its_node_whatever_comes_first(
    migrated_url: str, store: Store
) -> None:
    parts: list[Sequence[Item]] = [failing()[:2], failing()[2:], declined()]
    found = []
    for order in itertools.permutations(parts):
        for part in order:
            store.write(part)
        project_all(migrated_url, store)
        assert error_of_charge(migrated_url) == [("CardDeclined", "card declined by log")]
        found.append(tables(migrated_url, "execution", "node", "edge"))
        query(
            migrated_url,
            "TRUNCATE spantree.span, spantree.log_record, spantree.execution, spantree.node, spantree.edge,"
            " spantree.trace, spantree.pending_projection",
        )
    assert all(one == found[0] for one in found)


def test_a_record_that_comes_when_all_is_projected_changes_its_node(migrated_url: str, store: Store) -> None:
    assert store.write(failing()).projected_traces == 1
    assert error_of_charge(migrated_url) == [(None, None)]
    assert store.write(declined()) == Written(0, 0, 0, 1, 0)
    assert project_all(migrated_url, store) == 1
    assert error_of_charge(migrated_url) == [("CardDeclined", "card declined by log")]
    # Sent again it is nothing new, and nothing is projected for it.
    assert store.write([*declined(), *declined()]) == Written(0, 0, 0, 0, 2)
    assert query(migrated_url, "SELECT count(*) FROM spantree.pending_projection") == [(0,)]


def test_records_and_spans_in_one_batch_are_projected_together(migrated_url: str, store: Store) -> None:
    assert store.write([*declined(), *failing(), *workflow(2)]) == Written(9, 0, 1, 1, 0)
    assert query(migrated_url, "SELECT count(*) FROM spantree.pending_projection") == [(1,)]
    project_all(migrated_url, store)
    assert sorted(error_of_charge(migrated_url), key=str) == [("CardDeclined", "card declined by log"), (None, None)]


def test_a_trace_of_records_only_waits_for_its_spans_without_a_row(migrated_url: str, store: Store) -> None:
    store.write(declined())
    project_all(migrated_url, store)
    assert query(migrated_url, "SELECT count(*) FROM spantree.execution") == [(0,)]
    assert store.write(failing()).projected_traces == 0
    project_all(migrated_url, store)
    assert error_of_charge(migrated_url) == [("CardDeclined", "card declined by log")]


def test_a_record_of_another_day_than_its_span_is_found(migrated_url: str, store: Store) -> None:
    store.write(failing())
    store.write(declined(at_ns=NOON_NS + DAY_NS))
    project_all(migrated_url, store)
    assert error_of_charge(migrated_url) == [("CardDeclined", "card declined by log")]
    assert query(migrated_url, "SELECT cardinality(days) FROM spantree.trace") == [(2,)]
    # One whose time nobody told is on the day of those.
    store.write(declined(at_ns=0))
    assert query(migrated_url, "SELECT day::text, anomalies IS NULL FROM spantree.log_record ORDER BY 1") == [
        ("1970-01-01", False),
        ("2026-11-21", True),
    ]


def test_records_of_an_id_that_many_spans_share_are_read_with_few_of_them(migrated_url: str) -> None:
    read: list[Span] = []

    def noting(one: Span) -> Facts:
        read.append(one)
        return read_facts(one)

    store = Store(migrated_url, read_facts=noting)
    same = [span(4, parent=1, name=f"step {number}") for number in range(200)]
    store.write([span(1), *same, *declined(), *records(request(exception_type="Later", exception_message="no"))])
    read.clear()
    assert project_all(migrated_url, store) == 1
    store.close()
    assert len(read) == 20
    assert {len(one.events) for one in read} == {2}


def test_of_the_records_of_a_trace_so_many_bytes_are_read_and_no_more_at_once(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Span] = []

    def noting(one: Span) -> Facts:
        read.append(one)
        return read_facts(one)

    together: list[list[TraceKey]] = []
    logs_of = log_projection._logs_of

    def noting_traces(rows: Any, traces: Sequence[TraceKey], parts: Any) -> Any:
        together.append(list(traces))
        return logs_of(rows, traces, parts)

    monkeypatch.setattr(log_projection, "_BYTES", 10_000)
    monkeypatch.setattr(log_projection, "_logs_of", noting_traces)
    store = Store(migrated_url, read_facts=noting)
    # Of trace 2 on two days: what was read of the first one counts for the second.
    for of_trace, sizes, at_ns in (
        (1, [3_000] * 5, NOON_NS),
        (2, [6_000], NOON_NS),
        (2, [6_000], NOON_NS + 9 * DAY_NS),
    ):
        sent = [request(trace=of_trace, at_ns=at_ns + number, exception_type="X") for number in range(len(sizes))]
        for one, size in zip(sent, sizes, strict=True):
            one.resource_logs[0].scope_logs[0].log_records[0].body.string_value = "x" * size
        store.write([record for one in sent for record in records(one)])
    store.write(records(request(trace=3, exception_type="X")))
    store.write([span(number, trace=of_trace) for of_trace in (1, 2, 3) for number in (1, 4)])
    read.clear()
    assert project_all(migrated_url, store) == 3
    store.close()
    assert {one.trace_id: len(one.events) for one in read} == {trace_id(1): 3, trace_id(2): 1, trace_id(3): 1}
    assert sorted(together) == sorted([(0, trace_id(number))] for number in (1, 2, 3))


def test_ordinary_records_are_stored_and_say_nothing(migrated_url: str, store: Store) -> None:
    store.write(failing())
    before = tables(migrated_url, "execution", "node", "edge")
    store.write(records(request()))
    assert query(migrated_url, "SELECT count(*) FROM spantree.pending_projection") == [(0,)]
    assert tables(migrated_url, "execution", "node", "edge") == before
    assert query(migrated_url, "SELECT body, severity_number, attributes FROM spantree.log_record") == [
        ("the card was declined", 17, {})
    ]
    said = "SELECT span_id, severity, event_name, message, error_type, service, at_ns = span_number FROM spantree.logs"
    ((span_id, *rest),) = query(migrated_url, said)
    assert (len(span_id), rest) == (16, ["error", None, "the card was declined", None, "shop", False])


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_records_of_the_official_sdk_become_the_error_of_their_node(
    tmp_path: Path, migrated_url: str, transport: str
) -> None:
    with running(settings(tmp_path, migrated_url)) as addresses:
        at = f"{addresses.host}:{addresses.otlp_grpc_port}"
        resource = Resource.create({"service.name": "billing"})
        tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
        if transport == "grpc":
            tracers.add_span_processor(BatchSpanProcessor(GrpcSpanExporter(endpoint=at, insecure=True)))
            loggers.add_log_record_processor(BatchLogRecordProcessor(GrpcLogExporter(endpoint=at, insecure=True)))
        else:
            tracers.add_span_processor(BatchSpanProcessor(HttpSpanExporter(f"{addresses.http_url}/v1/traces")))
            loggers.add_log_record_processor(BatchLogRecordProcessor(HttpLogExporter(f"{addresses.http_url}/v1/logs")))
        tracer, logger = tracers.get_tracer("t"), loggers.get_logger("l")
        with tracer.start_as_current_span("order"), tracer.start_as_current_span("charge") as failed:
            logger.emit(body="charge failed", event_name="exception", exception=ValueError("no such card"))
            failed.set_status(trace.StatusCode.ERROR)
        logger.emit(body="belongs to nobody")
        loggers.shutdown()
        tracers.shutdown()
        wait_until(
            lambda: error_of_charge(migrated_url) == [("ValueError", "no such card")], 20, "the node has its error"
        )
        name = f'spantree_collector_rejected_log_records_total{{transport="{transport}"}}'
        assert metric(addresses, name) == 1
        assert metric(addresses, "spantree_collector_stored_log_records_total") == 1


def test_a_record_without_a_span_is_refused_with_a_sentence_and_not_kept(tmp_path: Path) -> None:
    def post(addresses: Addresses, sent: ExportLogsServiceRequest, content_type: str) -> tuple[int, int, str]:
        body = sent.SerializeToString() if content_type == PROTOBUF_TYPE else otlp_json_body(sent)
        answer = send(addresses, "POST", "/v1/logs", body, {"content-type": content_type})
        if content_type == JSON_TYPE:
            partial = answer.json().get("partialSuccess", {})
            return answer.status, int(partial.get("rejectedLogRecords", 0)), partial.get("errorMessage", "")
        told = ExportLogsServiceResponse.FromString(answer.body).partial_success
        return answer.status, told.rejected_log_records, told.error_message

    alone = request()
    alone.resource_logs[0].scope_logs[0].log_records[0].ClearField("trace_id")
    both = request()
    both.MergeFrom(alone)
    reason = (
        "a log record has no trace id: only records that belong to a span are taken; log within a span, or send these "
        "to a store of logs"
    )
    with running(settings(tmp_path)) as addresses:
        for content_type in (PROTOBUF_TYPE, JSON_TYPE):
            assert post(addresses, alone, content_type) == (200, 1, reason)
        assert readiness(addresses)["spool"]["bodies"] == 0
        for content_type in (PROTOBUF_TYPE, JSON_TYPE):
            assert post(addresses, both, content_type) == (200, 1, reason)
        assert readiness(addresses)["spool"]["bodies"] == 2
