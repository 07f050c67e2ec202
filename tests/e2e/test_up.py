"""`spantree up`, and its parts one by one: started, used, stopped, killed, hindered, as people do it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import psycopg
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from tests.chaos.cutting_proxy import CuttingProxy
from tests.otlp_requests import trace_request
from tests.postgres import url_of
from tests.spantree_process import environment, is_well, spantree, started, tree, up
from tests.waiting import free_port, wait_until

from spantree_exporter.postgres.migrate import LATEST, schema_version

# The acceptance check: an execution is shown within 3 s of its root's end. The rest is for a loaded machine.
SHOWN_WITHIN_S = 15.0


def run_of(exporter: SpanExporter, name: str) -> str:
    """Send one execution of two spans; its trace id."""
    provider = TracerProvider(resource=Resource.create({"service.name": "e2e"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("e2e")
    with tracer.start_as_current_span(name) as root, tracer.start_as_current_span("inner"):
        pass
    provider.shutdown()
    return f"{root.get_span_context().trace_id:032x}"


def post(otlp_url: str, trace: int) -> int:
    """Send a trace of three spans; the status of the answer."""
    return httpx.post(
        f"{otlp_url}/v1/traces",
        content=trace_request(trace, 3).SerializeToString(),
        headers={"content-type": "application/x-protobuf"},
        trust_env=False,
        timeout=30,
    ).status_code


def wait_for_tree(api_url: str, trace_id: str) -> list[str]:
    """The names of the nodes once the execution is complete."""
    found: list[str] = []

    def is_there() -> bool:
        answer = tree(api_url, trace_id)
        if answer is None or answer["status"] != "completed":
            return False
        found[:] = [node["name"] for node in answer["tree"]["nodes"]]  # type: ignore[index]
        return True

    wait_until(is_there, SHOWN_WITHIN_S, f"execution {trace_id} is shown as completed")
    return found


@pytest.mark.timeout(180)
def test_takes_spans_shows_them_stops_in_order_and_still_has_them_after_a_restart_and_a_kill(tmp_path: Path) -> None:
    with up(tmp_path) as server:
        ids = {
            "over http": run_of(HttpExporter(f"{server.otlp_url}/v1/traces"), "over http"),
            "over grpc": run_of(GrpcExporter(server.told("OTLP/gRPC"), insecure=True), "over grpc"),
        }
        for name, trace_id in ids.items():
            assert wait_for_tree(server.api_url, trace_id) == [name, "inner"]
        wait_until(partial(is_well, server.api_url), 60, "all is well, the collector by its own word, too")
        database_url = server.database_url
        assert server.stop() == 0
        assert server.lines[-1] == "• stopping: collector, API, PostgreSQL"
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(database_url)

    with up(tmp_path) as server:
        ids["after a restart"] = run_of(HttpExporter(f"{server.otlp_url}/v1/traces"), "after a restart")
        for name, trace_id in ids.items():
            assert wait_for_tree(server.api_url, trace_id) == [name, "inner"]
        server.signal(signal.SIGKILL)
        assert server.status() == -signal.SIGKILL

    with up(tmp_path) as server:
        for name, trace_id in ids.items():
            assert wait_for_tree(server.api_url, trace_id) == [name, "inner"]
        server.signal(signal.SIGINT)
        assert server.status() == 0


def test_prints_the_variables_by_which_a_service_sends_here(tmp_path: Path, database_url: str) -> None:
    with up(tmp_path, env={"SPANTREE_DATABASE_URL": database_url}) as server:
        assert server.told("a service") == (
            f"OTEL_EXPORTER_OTLP_ENDPOINT={server.otlp_url} OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
        )
        assert server.told("SQL") == "in the PostgreSQL of --database-url"
        assert database_url not in server.output
    assert not (tmp_path / "data" / "pgdata").exists()
    assert schema_version(database_url) == LATEST


@contextlib.contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_names_every_port_in_use_and_the_option_that_changes_it_and_starts_nothing(tmp_path: Path) -> None:
    with taken_port() as api, taken_port() as http, taken_port() as grpc:
        done = spantree(
            "up",
            *("--data", tmp_path / "data", "--api-port", str(api)),
            *("--otlp-http-port", str(http), "--otlp-grpc-port", str(grpc)),
            directory=tmp_path,
        )
    assert done.returncode == 2
    in_use = "on 127.0.0.1 is in use by another program; stop it, or choose another with"
    assert done.stderr.splitlines() == [
        f"spantree: port {http} {in_use} --otlp-http-port or SPANTREE_OTLP_HTTP_PORT",
        f"spantree: port {grpc} {in_use} --otlp-grpc-port or SPANTREE_OTLP_GRPC_PORT",
        f"spantree: port {api} {in_use} --api-port or SPANTREE_API_PORT",
    ]
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("command", ["collector", "api"])
def test_a_part_alone_names_its_port_too(command: str, tmp_path: Path) -> None:
    option = {"collector": "--otlp-grpc-port", "api": "--api-port"}[command]
    with taken_port() as port:
        done = spantree(command, "--data", tmp_path / "data", option, str(port), directory=tmp_path)
    assert done.returncode == 2
    assert f"port {port} on 127.0.0.1 is in use by another program" in done.stderr
    assert option in done.stderr


def test_a_second_server_on_the_same_data_says_that_it_is_taken(tmp_path: Path, database_url: str) -> None:
    env = {"SPANTREE_DATABASE_URL": database_url}
    ports = ("--api-port", "0", "--otlp-http-port", "0", "--otlp-grpc-port", "0")
    with up(tmp_path, env=env):
        done = spantree("up", "--data", tmp_path / "data", *ports, directory=tmp_path, env=env)
    assert done.returncode == 1
    assert str(tmp_path / "data" / "spool") in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_that_is_not_there_is_said_in_one_sentence(tmp_path: Path, database_url: str) -> None:
    nowhere = url_of(database_url, "spantree_no_such_database")
    done = spantree("migrate", directory=tmp_path, env={"SPANTREE_DATABASE_URL": nowhere})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("spantree: PostgreSQL cannot be reached: ")
    assert done.stderr.endswith('FATAL: database "spantree_no_such_database" does not exist\n')
    assert done.stderr.count("\n") == 1


def test_takes_spans_while_its_postgresql_is_away_and_writes_them_once_it_answers(
    tmp_path: Path, database_url: str
) -> None:
    port = free_port()
    behind = psycopg.conninfo.make_conninfo(database_url, host="127.0.0.1", port=port, connect_timeout=2)
    with up(tmp_path, env={"SPANTREE_DATABASE_URL": behind}) as server:
        assert (
            "start it, or correct --database-url or SPANTREE_DATABASE_URL; spans are taken all the same"
            in server.output
        )
        assert post(server.otlp_url, 7) == 200
        assert httpx.get(f"{server.api_url}/readyz", trust_env=False, timeout=30).status_code == 503
        with forwarded(port, database_url):
            assert wait_for_tree(server.api_url, f"{7:032x}") == ["step 1", "step 2", "step 3"]
            assert server.stop() == 0


@contextlib.contextmanager
def forwarded(port: int, database_url: str) -> Iterator[None]:
    """PostgreSQL on another port of 127.0.0.1."""
    proxy = CuttingProxy(database_url, [], listen_port=port)
    try:
        yield
    finally:
        proxy.close()


def test_stops_in_order_although_a_request_takes_long_and_at_once_at_the_second_signal(tmp_path: Path) -> None:
    with up(tmp_path) as server, contextlib.ExitStack() as stack:
        # Its server is stopped before it is.
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(server.database_url) as blocker:
            blocker.execute("LOCK TABLE spantree.execution IN ACCESS EXCLUSIVE MODE")
            waiting = stack.enter_context(socket.create_connection(address_of(server.api_url)))
            waiting.sendall(b"GET /api/v1/executions HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            wait_until(lambda: waits_for_lock(server.database_url), 10, "the request waits for the lock")
            server.signal(signal.SIGTERM)
            server.line("stopping: collector, API, PostgreSQL")
            began_s = time.monotonic()
            server.signal(signal.SIGTERM)
            assert server.status() == 128 + signal.SIGTERM
            # The open request alone would have held it up for five seconds.
            assert time.monotonic() - began_s < 4
            assert "a second signal: stopping at once" in server.lines
        assert not (tmp_path / "data" / "pgdata" / "postmaster.pid").exists()


def address_of(url: str) -> tuple[str, int]:
    parts = httpx.URL(url)
    return parts.host, parts.port or 80


def waits_for_lock(database_url: str) -> bool:
    with psycopg.connect(database_url) as connection:
        waiting = connection.execute(
            "SELECT FROM pg_stat_activity WHERE application_name = 'spantree-api' AND wait_event_type = 'Lock'"
        )
        return waiting.fetchone() is not None


def test_the_parts_run_as_processes_of_their_own(tmp_path: Path, database_url: str) -> None:
    env = {"SPANTREE_DATABASE_URL": database_url, "SPANTREE_DATA_DIR": str(tmp_path / "data")}
    migrated = spantree("migrate", directory=tmp_path, env=env)
    assert (migrated.returncode, migrated.stderr) == (0, "")
    assert migrated.stdout.endswith(f"the schema is at version {LATEST}\n")
    again = spantree("migrate", directory=tmp_path, env=env)
    assert again.stdout == f"nothing to do: the schema is at version {LATEST}\n"
    http, grpc, api_port = str(free_port()), str(free_port()), str(free_port())
    collector_options = ("--otlp-http-port", http, "--otlp-grpc-port", grpc)
    with (
        started("collector", *collector_options, directory=tmp_path, env=env, ready="takes OTLP/HTTP") as collector,
        started("api", "--api-port", api_port, directory=tmp_path, env=env, ready="the API answers on") as api,
    ):
        assert post(f"http://127.0.0.1:{http}", 3) == 200
        assert wait_for_tree(f"http://127.0.0.1:{api_port}", f"{3:032x}") == ["step 1", "step 2", "step 3"]
        assert [one.stop() for one in (api, collector)] == [0, 0]


def test_settings_come_from_the_file_in_the_working_directory(tmp_path: Path, database_url: str) -> None:
    ports = [free_port() for _ in range(3)]
    (tmp_path / "spantree.toml").write_text(
        f'database_url = "{database_url}"\n'
        f"data_dir = '{tmp_path}/elsewhere'\n"
        f"api_port = {ports[0]}\notlp_http_port = {ports[1]}\notlp_grpc_port = {ports[2]}\n"
    )
    with started("up", directory=tmp_path) as server:
        assert server.port_options[1::2] == [str(port) for port in ports]
        assert server.told("data") == f"{tmp_path}/elsewhere"


@pytest.mark.parametrize("output", [">/dev/full 2>/dev/full", "<&- >&- 2>&-"])
def test_serves_where_nothing_can_be_printed(tmp_path: Path, database_url: str, output: str) -> None:
    port, api_port = free_port(), free_port()
    words = f"up --database-url '{database_url}' --api-port {api_port} --otlp-http-port {port} --otlp-grpc-port 0"
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"exec {sys.executable} -m spantree_deploy {words} {output}"],
        cwd=tmp_path,
        env=environment(SPANTREE_DATA_DIR=str(tmp_path / "data")),
    )

    def is_up() -> bool:
        with contextlib.suppress(httpx.ConnectError):
            return is_well(f"http://127.0.0.1:{api_port}")
        return False

    try:
        wait_until(is_up, 60, "it serves")
        assert post(f"http://127.0.0.1:{port}", 1) == 200
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def test_leaves_no_process_behind(tmp_path: Path) -> None:
    with up(tmp_path) as server:
        session = os.getsid(server.process.pid)
        assert session == server.process.pid
        assert server.stop() == 0
    with pytest.raises(ProcessLookupError):
        os.killpg(session, 0)
    assert not (tmp_path / "data" / "pgdata" / "postmaster.pid").exists()
