"""The whole collector: official clients in, rows in PostgreSQL out."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression as HttpCompression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from tests.collectors import AWAY_URL, metric, post, readiness, running, send, settings
from tests.otlp_requests import request, span, trace_request
from tests.waiting import free_port, wait_until
from tests.writer_processes import wait_for_writers, writer_pids

from spantree_collector.app import LEFT, Addresses, Collector
from spantree_collector.spool.spool import SpoolFailed
from spantree_exporter.errors import ConfigError


def rows(database_url: str, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(query, values).fetchall()


def stored_names(database_url: str) -> list[str]:
    return [name for (name,) in rows(database_url, "SELECT name FROM spantree.span ORDER BY name")]


def drained(addresses: Addresses) -> None:
    wait_until(lambda: readiness(addresses)["spool"]["bodies"] == 0, 30, "the spool is drained")


def exporter_for(kind: str, addresses: Addresses) -> SpanExporter:
    if kind == "grpc":
        return GrpcExporter(endpoint=f"{addresses.host}:{addresses.otlp_grpc_port}", insecure=True)
    compression = HttpCompression.Gzip if kind == "http gzip" else HttpCompression.NoCompression
    return HttpExporter(endpoint=f"{addresses.http_url}/v1/traces", compression=compression)


@pytest.mark.parametrize("kind", ["grpc", "http", "http gzip"])
def test_spans_of_the_official_sdk_become_rows(tmp_path: Path, migrated_url: str, kind: str) -> None:
    with running(settings(tmp_path, migrated_url)) as addresses:
        provider = TracerProvider(resource=Resource.create({"service.name": "billing"}), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(exporter_for(kind, addresses)))
        tracer = provider.get_tracer("a scope", "1.0")
        with tracer.start_as_current_span("root", kind=trace.SpanKind.SERVER) as root:
            for number in range(3):
                with tracer.start_as_current_span(f"step {number}", attributes={"number": number}):
                    pass
        provider.shutdown()
        trace_id = format(root.get_span_context().trace_id, "032x")
        wait_until(lambda: len(stored_names(migrated_url)) == 4, 20, "the spans are rows")
        assert rows(
            migrated_url,
            "SELECT name, kind, span.attributes, scope->>'name', service_name"
            " FROM spantree.span JOIN spantree.resource ON resource.id = resource_id"
            " WHERE trace_id = %s::uuid ORDER BY start_ns",
            trace_id,
        ) == [
            ("root", 2, {}, "a scope", "billing"),
            *((f"step {number}", 1, {"number": number}, "a scope", "billing") for number in range(3)),
        ]
        wait_until(
            lambda: rows(
                migrated_url, "SELECT status, total_count FROM spantree.execution WHERE trace_id = %s::uuid", trace_id
            ),
            20,
            "the trace is projected",
        )


def test_a_repeated_request_is_stored_once(tmp_path: Path, migrated_url: str) -> None:
    with running(settings(tmp_path, migrated_url)) as addresses:
        body = trace_request(1, 50).SerializeToString()
        for _ in range(3):
            assert post(addresses, body).status == 200
        drained(addresses)
        assert len(stored_names(migrated_url)) == 50
        assert metric(addresses, "spantree_collector_stored_spans_total") == 50
        assert metric(addresses, "spantree_collector_duplicate_spans_total") == 100


def test_spans_without_a_usable_id_become_dead_letters_and_the_others_rows(tmp_path: Path, migrated_url: str) -> None:
    with running(settings(tmp_path, migrated_url)) as addresses:
        sent = request(span(1, 1, name="good"), span(1, 2, name="bad"))
        sent.resource_spans[0].scope_spans[0].spans[1].trace_id = b"short"
        assert post(addresses, sent.SerializeToString()).status == 200
        drained(addresses)
        assert stored_names(migrated_url) == ["good"]
        assert len(rows(migrated_url, "SELECT reason FROM spantree.dead_letter")) == 1
        assert metric(addresses, 'spantree_collector_dead_letters_total{reason="unreadable"}') == 1


def test_a_span_that_postgresql_refuses_costs_itself_only(tmp_path: Path, migrated_url: str) -> None:
    # A constraint of the test's own stands for whatever PostgreSQL may refuse that nobody thought of.
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE spantree.span ADD CONSTRAINT no_poison CHECK (name <> 'poison')")
    with running(settings(tmp_path, migrated_url)) as addresses:
        spans = [span(1, number, name="poison" if number == 33 else f"step {number:03}") for number in range(1, 101)]
        assert post(addresses, request(*spans).SerializeToString()).status == 200
        drained(addresses)
        assert stored_names(migrated_url) == [sent.name for sent in spans if sent.name != "poison"]
        [(reason, raw)] = rows(migrated_url, "SELECT reason, raw FROM spantree.dead_letter")
        assert "23514" in reason
        assert b"poison" in raw
        assert b"step 034" not in raw


@pytest.mark.parametrize(
    ("change", "undo"),
    [
        ("ADD COLUMN extra integer NOT NULL", "DROP COLUMN extra"),
        ("ALTER COLUMN flags TYPE uuid USING NULL", "ALTER COLUMN flags TYPE bigint USING NULL"),
        ("ADD CONSTRAINT short CHECK (length(name) <= 3)", "DROP CONSTRAINT short"),
        ("RENAME COLUMN trace_state TO state", "RENAME COLUMN state TO trace_state"),
    ],
)
def test_a_table_that_somebody_changed_is_told_and_blames_no_span(
    tmp_path: Path, migrated_url: str, change: str, undo: str
) -> None:
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        connection.execute(f"ALTER TABLE spantree.span {change}")
        with running(settings(tmp_path, migrated_url)) as addresses:
            assert post(addresses, trace_request(1, 10).SerializeToString()).status == 200
            wait_until(lambda: readiness(addresses)["store"]["state"] == "operator", 30, "the change is told")
            assert readiness(addresses)["spool"]["bodies"] == 1
            connection.execute(f"ALTER TABLE spantree.span {undo}")
            wait_until(lambda: readiness(addresses)["spool"]["bodies"] == 0, 30, "the spans are written")
        counts = "SELECT (SELECT count(*) FROM spantree.span), (SELECT count(*) FROM spantree.dead_letter)"
        assert connection.execute(counts).fetchone() == (10, 0)


def test_spans_are_taken_while_postgresql_is_away_and_written_after_a_restart(
    tmp_path: Path, migrated_url: str
) -> None:
    with running(settings(tmp_path, AWAY_URL)) as addresses:
        for number in range(1, 6):
            assert post(addresses, trace_request(number, 10).SerializeToString()).status == 200
        told = readiness(addresses)
        assert (told["status"], told["spool"]["bodies"]) == ("ready", 5)
    with running(settings(tmp_path, migrated_url)) as addresses:
        drained(addresses)
        assert len(stored_names(migrated_url)) == 50


def test_a_database_without_a_schema_is_told_and_the_spans_wait(tmp_path: Path, database_url: str) -> None:
    from spantree_exporter.postgres.migrate import migrate

    with running(settings(tmp_path, database_url)) as addresses:
        assert post(addresses, trace_request(1, 3).SerializeToString()).status == 200
        wait_until(lambda: readiness(addresses)["store"]["state"] == "operator", 20, "the missing schema is told")
        told = readiness(addresses)
        assert told["status"] == "ready"
        assert "migrate" in told["store"]["message"]
        assert metric(addresses, "spantree_collector_store_ok") == 0
        migrate(database_url)
        drained(addresses)
        assert len(stored_names(database_url)) == 3
        # Also the writer that had nothing to do looks again.
        wait_until(lambda: readiness(addresses)["store"]["state"] == "ok", 20, "all is well again")


def test_stopping_drains_what_was_acknowledged(tmp_path: Path, migrated_url: str) -> None:
    with running(settings(tmp_path, migrated_url, drain_s=20.0)) as addresses:
        for number in range(1, 21):
            assert post(addresses, trace_request(number, 100).SerializeToString()).status == 200
    assert len(stored_names(migrated_url)) == 2000


def test_serve_within_a_loop_of_somebody_else(tmp_path: Path, migrated_url: str) -> None:
    async def embed() -> int:
        stop = asyncio.Event()
        up: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
        collector = Collector(settings(tmp_path, migrated_url, drain_s=10.0))
        serving = asyncio.create_task(collector.serve(stop, started=up.set_result))
        addresses = await asyncio.wait_for(up, 20)
        answer = await asyncio.to_thread(post, addresses, trace_request(1, 3).SerializeToString())
        stop.set()
        await asyncio.wait_for(serving, 30)
        return answer.status

    assert asyncio.run(embed()) == 200
    assert len(stored_names(migrated_url)) == 3


@pytest.mark.parametrize(
    ("setting", "option"),
    [
        ("otlp_http_port", "--otlp-http-port or SPANTREE_OTLP_HTTP_PORT"),
        ("otlp_grpc_port", "--otlp-grpc-port or SPANTREE_OTLP_GRPC_PORT"),
    ],
)
def test_a_port_in_use_is_named_with_the_option_that_changes_it(tmp_path: Path, setting: str, option: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            Collector(settings(tmp_path, **{setting: port})).start()
    assert caught.value.faults == [
        f"port {port} on 127.0.0.1 is in use by another program; stop it, or choose another port with {option}"
    ]


def test_two_collectors_do_not_share_a_grpc_port(tmp_path: Path) -> None:
    with running(settings(tmp_path / "one")) as addresses:
        with pytest.raises(ConfigError, match=f"port {addresses.otlp_grpc_port} on 127.0.0.1 is in use"):
            Collector(settings(tmp_path / "two", otlp_grpc_port=addresses.otlp_grpc_port)).start()
        assert send(addresses, "GET", "/healthz").status == 200


def test_an_unknown_address_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"choose another with --otlp-http-port or \w+, or --host"):
        Collector(settings(tmp_path, host="192.0.2.1")).start()


def test_a_spool_in_use_is_a_clear_error_and_frees_the_ports(tmp_path: Path) -> None:
    with running(settings(tmp_path)):
        port = free_port()
        with pytest.raises(SpoolFailed, match="another collector uses the spool"):
            Collector(settings(tmp_path, otlp_http_port=port)).start()
        with closing(socket.create_server(("127.0.0.1", port))):
            pass


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return os.environ | {
        "SPANTREE_DATABASE_URL": AWAY_URL,
        "SPANTREE_DATA_DIR": str(tmp_path / "data"),
        "SPANTREE_OTLP_HTTP_PORT": str(free_port()),
        "SPANTREE_OTLP_GRPC_PORT": str(free_port()),
        "SPANTREE_DRAIN_S": "0",
    }


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        if process.stderr is not None:
            process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_the_process_in_order(
    environment: dict[str, str], processes: list[subprocess.Popen[str]], number: signal.Signals
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "spantree_collector"], env=environment, stderr=subprocess.PIPE, text=True
    )
    processes.append(process)
    assert process.stderr is not None
    told = ""
    for line in process.stderr:
        told += line
        if "takes OTLP/HTTP on" in line:
            break
    where = Addresses(
        "127.0.0.1", int(environment["SPANTREE_OTLP_HTTP_PORT"]), int(environment["SPANTREE_OTLP_GRPC_PORT"])
    )
    assert post(where, trace_request(1, 1).SerializeToString()).status == 200, told
    process.send_signal(number)
    # PostgreSQL is away: it says that it leaves something.
    assert process.wait(20) == LEFT
    said = process.stderr.read()
    assert "still holds 1 requests" in said
    assert "Traceback" not in said


def test_a_hangup_that_nohup_ignores_ends_neither_the_collector_nor_its_writers(
    environment: dict[str, str], processes: list[subprocess.Popen[str]], migrated_url: str
) -> None:
    process = subprocess.Popen(
        ["nohup", sys.executable, "-m", "spantree_collector"],
        env=environment | {"SPANTREE_DATABASE_URL": migrated_url},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    processes.append(process)
    assert process.stderr is not None
    for line in process.stderr:
        if "takes OTLP/HTTP on" in line:
            break
    writers = wait_for_writers(process.pid, 2)
    where = Addresses(
        "127.0.0.1", int(environment["SPANTREE_OTLP_HTTP_PORT"]), int(environment["SPANTREE_OTLP_GRPC_PORT"])
    )
    # To all of them, as a terminal that goes away sends it.
    os.killpg(process.pid, signal.SIGHUP)
    assert post(where, trace_request(1, 5).SerializeToString()).status == 200
    wait_until(lambda: stored_names(migrated_url) != [], 30, "the spans are written")
    assert (writer_pids(process.pid), process.poll()) == (writers, None)
    process.terminate()
    assert process.wait(20) == 0


def test_wrong_settings_end_the_process_with_all_of_them_named(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "spantree_collector"],
        env=environment | {"SPANTREE_OTLP_HTTP_PORT": "no", "SPANTREE_BATCH_SPANS": "0"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr.splitlines()) == (
        2,
        [
            'spantree collector: SPANTREE_OTLP_HTTP_PORT is "no": wanted a whole number',
            'spantree collector: SPANTREE_BATCH_SPANS is "0": wanted 1 or more',
        ],
    )


def test_a_spool_that_fails_ends_the_process_with_an_error(
    environment: dict[str, str], processes: list[subprocess.Popen[str]]
) -> None:
    # A real I/O error: the kernel refuses to let the spool's log grow.
    script = (
        "import resource, sys\n"
        "from spantree_collector.__main__ import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))\n"
        "sys.exit(main())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE, text=True)
    processes.append(process)
    assert process.stderr is not None
    for line in process.stderr:
        if "takes OTLP/HTTP on" in line:
            break
    where = Addresses(
        "127.0.0.1", int(environment["SPANTREE_OTLP_HTTP_PORT"]), int(environment["SPANTREE_OTLP_GRPC_PORT"])
    )
    assert post(where, trace_request(1, 1).SerializeToString()).status == 200
    answer = post(where, request(span(2, 1, payload="x" * 1_000_000)).SerializeToString())
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert process.wait(20) == 1
    assert "the spool " in process.stderr.read().splitlines()[-1]


def test_readiness_and_metrics_do_not_name_what_a_client_sent(tmp_path: Path, migrated_url: str) -> None:
    with running(settings(tmp_path, migrated_url)) as addresses:
        sent = request(span(1, 1, name="a-private-name"), service="a-private-service")
        assert post(addresses, sent.SerializeToString()).status == 200
        drained(addresses)
        shown = send(addresses, "GET", "/metrics").body + send(addresses, "GET", "/readyz").body
        assert b"private" not in shown


def test_no_thread_stays_behind_after_a_stop(tmp_path: Path, migrated_url: str) -> None:
    before = set(threading.enumerate())
    with running(settings(tmp_path, migrated_url)) as addresses:
        assert post(addresses, trace_request(1, 3).SerializeToString()).status == 200
        drained(addresses)
    left = [thread.name for thread in set(threading.enumerate()) - before if thread.name.startswith("spantree")]
    assert left == []


def test_metrics_tell_writers_and_have_every_name_that_the_docs_have(tmp_path: Path, migrated_url: str) -> None:
    document = (Path(__file__).parents[2] / "docs" / "collector.md").read_text(encoding="utf-8")
    table = document.partition("## Metrics and log of spantree's collector")[2].partition("## Check a receiver")[0]
    names = {
        name
        for line in table.splitlines()
        if line.startswith("| `") and "| with TLS: " not in line
        for name in re.findall(r"`([a-z_]+)`", line.split("|")[1])
    }
    with running(settings(tmp_path, migrated_url, writers=0)) as addresses:
        assert post(addresses, trace_request(1, 2).SerializeToString()).status == 200
        drained(addresses)
        wait_until(lambda: metric(addresses, "spantree_collector_writers_ok") == 1, 20, "the writer has written")
        assert metric(addresses, "spantree_collector_writers") == 1
        text = send(addresses, "GET", "/metrics").body.decode()
        shown = set(re.findall(r"^# HELP spantree_collector_([a-z_]+)", text, re.MULTILINE))
        assert names == {name for name in shown if not name.endswith("_created")}
