"""PostgresSpanExporter: rows as over OTLP, and a host that never notices a database in trouble."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier
from tests.collectors import AWAY_URL, running, settings
from tests.postgres import name_of, new_database
from tests.tables import query, tables
from tests.waiting import wait_until

from spantree_exporter.errors import ConfigError
from spantree_exporter.sdk import PostgresSpanExporter

SUCCESS, FAILURE = SpanExportResult.SUCCESS, SpanExportResult.FAILURE
# Times by the collector's clock: the one thing that differs between two roads.
RECEIVED = {"received_ns", "first_seen_ns", "last_seen_ns"}

OpenExporter = Callable[..., PostgresSpanExporter]


@pytest.fixture
def open_exporter() -> Iterator[OpenExporter]:
    exporters: list[PostgresSpanExporter] = []

    def open_one(url: str, **options: Any) -> PostgresSpanExporter:
        exporters.append(PostgresSpanExporter(url, **options))
        return exporters[-1]

    yield open_one
    for exporter in exporters:
        exporter.shutdown()


def ended_spans(*names: str) -> list[ReadableSpan]:
    """Ended spans of one trace, the last one the root, in the order in which they end."""
    provider = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
    *children, root = names
    with provider.get_tracer("tests").start_as_current_span(root) as parent:
        ended = [provider.get_tracer("tests").start_span(name) for name in children]
        for span in ended:
            span.end()
    return [span for span in [*ended, parent] if isinstance(span, ReadableSpan)]


def stored_names(url: str) -> list[str]:
    return [name for (name,) in query(url, "SELECT name FROM spantree.span ORDER BY name")]


def executions(url: str) -> list[tuple[Any, ...]]:
    return query(url, "SELECT name, status, total_count FROM spantree.execution ORDER BY name")


def without_received(found: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [{column: value for column, value in row.items() if column not in RECEIVED} for row in rows]
        for name, rows in found.items()
    }


def odd_spans(provider: TracerProvider) -> None:
    """Two traces with what can be told apart on the wire: kinds of values, events, links, errors, what is lossy."""
    tracer = provider.get_tracer("a scope", "1.0", schema_url="https://example.org", attributes={"scope": True})
    with tracer.start_as_current_span("first", kind=trace.SpanKind.SERVER) as first:
        pass
    attributes: dict[str, Any] = {
        "string": "größe",
        "nul": "a\0b",
        "int": 2**63 - 1,
        "double": 1.0,
        "huge": 1e300,
        "nan": math.nan,
        "bytes": b"\x00\xff",
        "bools": [True, False],
        "$ref": "dollar",
        "empty": "",
    }
    with tracer.start_as_current_span(
        "root", attributes=attributes, links=[trace.Link(first.get_span_context())]
    ) as root:
        root.add_event("event", {"n": 1}, timestamp=1_780_000_000_000_000_000)
        for number in range(3):
            with tracer.start_as_current_span(f"step {number}", attributes={"number": number}) as step:
                step.set_status(trace.StatusCode.OK)
        try:
            with tracer.start_as_current_span("failing"):
                raise KeyError("missing")
        except KeyError:
            root.set_status(trace.StatusCode.ERROR, "failed")


def test_rows_are_those_of_the_same_spans_over_otlp(tmp_path: Path, postgres_url: str, migrated_url: str) -> None:
    with (
        new_database(postgres_url, template=name_of(migrated_url)) as over_otlp_url,
        running(settings(tmp_path, over_otlp_url)) as addresses,
    ):
        provider = TracerProvider(resource=Resource({"service.name": "shop", "pid": 7}), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(PostgresSpanExporter(migrated_url)))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{addresses.http_url}/v1/traces")))
        odd_spans(provider)
        provider.shutdown()
        wait_until(lambda: len(executions(over_otlp_url)) == 2, 20, "both traces are projected")
        in_process = tables(migrated_url)
        assert without_received(in_process) == without_received(tables(over_otlp_url))
    assert {name: len(rows) for name, rows in in_process.items() if name != "edge"} == {
        "trace": 2,
        "span": 6,
        "resource": 1,
        "execution": 2,
        "node": 6,
    }
    (root,) = [row for row in in_process["span"] if row["name"] == "root"]
    assert (root["attributes"]["nul"], root["anomalies"], root["raw"] is not None) == ("a␀b", ["nul"], True)


def test_a_whole_trace_is_projected_when_export_returns(migrated_url: str, open_exporter: OpenExporter) -> None:
    assert open_exporter(migrated_url).export(ended_spans("step", "root")) is SUCCESS
    assert executions(migrated_url) == [("root", "completed", 2)]


def test_exporting_again_changes_nothing(migrated_url: str, open_exporter: OpenExporter) -> None:
    spans = ended_spans("step", "root")
    for _ in range(2):
        assert open_exporter(migrated_url).export(spans) is SUCCESS
    assert stored_names(migrated_url) == ["root", "step"]
    assert executions(migrated_url) == [("root", "completed", 2)]


def test_a_trace_that_comes_in_pieces_is_projected_without_a_collector(
    migrated_url: str, open_exporter: OpenExporter
) -> None:
    exporter = open_exporter(migrated_url)
    for span in ended_spans("one", "two", "root"):
        assert exporter.export([span]) is SUCCESS
    wait_until(lambda: executions(migrated_url) == [("root", "completed", 3)], 20, "the trace is projected whole")
    assert query(migrated_url, "SELECT count(*) FROM spantree.pending_projection") == [(0,)]


def test_shutdown_leaves_no_trace_unprojected(migrated_url: str, open_exporter: OpenExporter) -> None:
    exporter = open_exporter(migrated_url)
    for span in ended_spans("one", "root"):
        assert exporter.export([span]) is SUCCESS
    exporter.shutdown()
    assert executions(migrated_url) == [("root", "completed", 2)]


def test_flush_projects_what_is_due(migrated_url: str, open_exporter: OpenExporter) -> None:
    exporter = open_exporter(migrated_url)
    exporter.export(ended_spans("step", "root")[:1])
    query(migrated_url, "UPDATE spantree.pending_projection SET due_at = now() - interval '1 second'")
    assert exporter.force_flush()
    assert [row[2] for row in executions(migrated_url)] == [1]


def test_a_database_that_is_away_is_a_failure_within_the_timeout_and_one_log_record(
    open_exporter: OpenExporter, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = open_exporter(AWAY_URL, export_timeout_s=0.5)
    started_s = time.monotonic()
    with caplog.at_level(logging.WARNING, "spantree_exporter"):
        assert [exporter.export(ended_spans("root")) for _ in range(3)] == [FAILURE] * 3
        assert exporter.force_flush(500) is False
        exporter.shutdown()
    assert time.monotonic() - started_s < 5
    (record,) = [record for record in caplog.records if record.name.startswith("spantree_exporter")]
    assert record.getMessage().startswith("1 spans could not be stored: PostgreSQL cannot be reached: ")
    assert record.exc_info is None


def test_an_export_waits_for_a_database_that_comes_back_in_time(
    postgres_url: str, migrated_url: str, open_exporter: OpenExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = threading.Event()
    connect = psycopg.Connection.connect

    def watched(_: type[psycopg.Connection[Any]], *args: Any, **options: Any) -> Any:
        try:
            return connect(*args, **options)
        except psycopg.OperationalError:
            refused.set()
            raise

    def allow(connections: bool) -> None:
        statement = SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(
            Identifier(name_of(migrated_url)), SQL("true" if connections else "false")
        )
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(statement)

    exporter = open_exporter(migrated_url, export_timeout_s=30.0)
    results: list[SpanExportResult] = []
    allow(False)
    monkeypatch.setattr(psycopg.Connection, "connect", classmethod(watched))
    thread = threading.Thread(target=lambda: results.append(exporter.export(ended_spans("root"))))
    thread.start()
    assert refused.wait(20)
    assert results == []
    allow(True)
    thread.join(30)
    assert results == [SUCCESS]
    assert stored_names(migrated_url) == ["root"]


def test_a_connection_that_was_cut_is_opened_again(migrated_url: str, open_exporter: OpenExporter) -> None:
    exporter = open_exporter(migrated_url)
    assert exporter.export(ended_spans("before")) is SUCCESS
    query(
        migrated_url,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'spantree exporter'"
        " AND datname = current_database()",
    )
    assert exporter.export(ended_spans("after")) is SUCCESS
    assert stored_names(migrated_url) == ["after", "before"]


def test_without_a_schema_it_fails_and_says_what_to_do(
    database_url: str, open_exporter: OpenExporter, caplog: pytest.LogCaptureFixture
) -> None:
    assert open_exporter(database_url).export(ended_spans("root")) is FAILURE
    assert 'run "spantree migrate"' in caplog.text


def test_the_schema_is_created_at_first_use_where_that_is_asked_for(
    database_url: str, open_exporter: OpenExporter
) -> None:
    exporter = open_exporter(database_url, schema="create")
    assert [exporter.export(ended_spans(name)) for name in ("a", "b")] == [SUCCESS] * 2
    assert stored_names(database_url) == ["a", "b"]


def test_a_span_that_postgresql_refuses_becomes_a_dead_letter_and_costs_no_other(
    migrated_url: str, open_exporter: OpenExporter
) -> None:
    query(migrated_url, "ALTER TABLE spantree.span ADD CONSTRAINT no_poison CHECK (name <> 'poison')")
    exporter = open_exporter(migrated_url)
    assert exporter.export(ended_spans("a", "b", "poison", "c", "root")) is SUCCESS
    assert stored_names(migrated_url) == ["a", "b", "c", "root"]
    ((reason, encoding, raw),) = query(migrated_url, "SELECT reason, encoding, raw FROM spantree.dead_letter")
    assert "no_poison" in reason
    assert (encoding, b"poison" in raw) == ("protobuf", True)


def test_a_span_that_no_message_can_hold_costs_no_other(
    migrated_url: str, open_exporter: OpenExporter, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = ended_spans("good", "bad")
    bad._name = "half a pair \ud800"  # the SDK checks attributes, not names
    assert open_exporter(migrated_url).export([good, bad]) is FAILURE
    assert stored_names(migrated_url) == ["good"]
    assert "cannot be encoded as OTLP and is dropped" in caplog.text


def test_what_it_does_itself_is_not_traced(
    migrated_url: str, open_exporter: OpenExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    enabled: list[tuple[str, bool]] = []
    execute = psycopg.Cursor.execute

    def watched(self: Any, *args: Any, **options: Any) -> Any:
        enabled.append((threading.current_thread().name, is_instrumentation_enabled()))
        return execute(self, *args, **options)

    exporter = open_exporter(migrated_url)
    monkeypatch.setattr(psycopg.Cursor, "execute", watched)
    exporter.export(ended_spans("step", "root")[:1])
    wait_until(lambda: any(name == "spantree-project" for name, _ in enabled), 10, "the thread projects")
    monkeypatch.undo()
    assert {suppressed for _, suppressed in enabled} == {False}
    assert is_instrumentation_enabled()


def test_after_shutdown_nothing_is_taken(migrated_url: str) -> None:
    exporter = PostgresSpanExporter(migrated_url)
    exporter.shutdown()
    exporter.shutdown()
    assert exporter.export(ended_spans("late")) is FAILURE
    assert exporter.force_flush()
    assert stored_names(migrated_url) == []


def test_a_url_that_is_none_is_refused_without_being_quoted() -> None:
    with pytest.raises(ConfigError) as raised:
        PostgresSpanExporter("postgresql://me:secret@[host/db")
    assert str(raised.value) == "SPANTREE_DATABASE_URL is neither a PostgreSQL URL nor a libpq string"
    assert raised.value.__cause__ is None


FORKING = """
import os, sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from spantree_exporter.sdk import PostgresSpanExporter

provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(SimpleSpanProcessor(PostgresSpanExporter()))
tracer = provider.get_tracer("tests")
tracer.start_span("before").end()
child = os.fork()
if child == 0:
    tracer.start_span("child").end()
    provider.shutdown()
    os._exit(0)
os.waitpid(child, 0)
tracer.start_span("parent").end()
provider.shutdown()
"""


def run_python(*command: str, database_url: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SPANTREE_"))}
    return subprocess.run(
        command,
        env={**environ, "SPANTREE_DATABASE_URL": database_url, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_parent_and_child_of_a_fork_both_export(migrated_url: str) -> None:
    done = run_python(sys.executable, "-c", FORKING, database_url=migrated_url)
    assert (done.returncode, done.stderr) == (0, "")
    assert stored_names(migrated_url) == ["before", "child", "parent"]
    assert len(executions(migrated_url)) == 3


PROGRAM = """
from opentelemetry import trace
with trace.get_tracer("tests").start_as_current_span("root"):
    with trace.get_tracer("tests").start_as_current_span("step"):
        print("done")
"""


@pytest.mark.parametrize("schema", ["require", "create"])
def test_opentelemetry_instrument_finds_it_by_name(database_url: str, migrated_url: str, schema: str) -> None:
    url = migrated_url if schema == "require" else database_url
    instrument = str(Path(sys.executable).parent / "opentelemetry-instrument")
    done = run_python(
        instrument,
        *("--traces_exporter", "spantree", "--metrics_exporter", "none", "--logs_exporter", "none"),
        *("--service_name", "script", sys.executable, "-c", PROGRAM),
        database_url=url,
        SPANTREE_SCHEMA=schema,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    assert executions(url) == [("root", "completed", 2)]
    assert query(url, "SELECT service_name FROM spantree.resource") == [("script",)]


def test_a_program_runs_to_its_end_without_the_database() -> None:
    instrument = str(Path(sys.executable).parent / "opentelemetry-instrument")
    done = run_python(
        instrument,
        *("--traces_exporter", "spantree", "--metrics_exporter", "none", "--logs_exporter", "none"),
        *(sys.executable, "-c", PROGRAM),
        database_url=AWAY_URL,
        SPANTREE_EXPORT_TIMEOUT_S="0.5",
    )
    assert (done.returncode, done.stdout) == (0, "done\n")
    assert "spans could not be stored" in done.stderr


def test_libpq_variables_do_where_no_url_is_given(migrated_url: str) -> None:
    parts = conninfo_to_dict(migrated_url)
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE", "password": "PGPASSWORD"}
    libpq = {names[part]: str(value) for part, value in parts.items() if part in names}
    done = run_python(sys.executable, "-c", FORKING, database_url="", **libpq)
    assert (done.returncode, done.stderr) == (0, "")
    assert stored_names(migrated_url) == ["before", "child", "parent"]
