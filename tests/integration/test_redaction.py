"""A secret sent in every place is nowhere: spool, tables, logs, answers; what was stored before goes, too."""

from __future__ import annotations

import gzip
import logging
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import grpc
import orjson
import psycopg
import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from tests.api_paths import paths_of_the_api
from tests.api_server import api_over
from tests.collectors import JSON_TYPE, Answer, post, readiness, running, send, settings
from tests.jaeger_storage import jaeger_over
from tests.otlp_json import otlp_json_body
from tests.otlp_requests import request, span, trace_id, trace_request
from tests.secret_places import SECRET, TEXT, everything, files_with, logs_with_secrets, spans_with_secrets, tables_with
from tests.tables import project_all, query
from tests.waiting import wait_until

from spantree_collector.app import Addresses
from spantree_collector.receive.receiver_grpc import LOGS_SERVICE, TRACE_SERVICE
from spantree_exporter.errors import ConfigError
from spantree_exporter.postgres.store import Store
from spantree_exporter.redaction import Redactor, redactor_of
from spantree_exporter.redaction.rules import DEFAULT_RULES, rules_from
from spantree_exporter.redaction.stored import Asked, redact_stored
from spantree_exporter.sdk import PostgresSpanExporter

REDACTOR: Final = Redactor(DEFAULT_RULES)


def call(addresses: Addresses, service: str, body: bytes) -> bytes | str:
    """The answer to one call of gRPC, or what was said of its refusal."""
    with grpc.insecure_channel(f"{addresses.host}:{addresses.otlp_grpc_port}") as channel:
        try:
            answer: bytes = channel.unary_unary(f"/{service}/Export")(body, timeout=30)
        except grpc.RpcError as error:
            return f"{error.details()} {error.trailing_metadata()}"
        return answer


def send_everything(addresses: Addresses) -> list[Any]:
    """Spans and logs by every way, bodies that are refused and spans that cannot be stored; all answers."""
    answers: list[Any] = [
        post(addresses, spans_with_secrets(1).SerializeToString()),
        post(addresses, gzip.compress(spans_with_secrets(2).SerializeToString()), content_encoding="gzip"),
        post(addresses, otlp_json_body(spans_with_secrets(3)), JSON_TYPE),
        call(addresses, TRACE_SERVICE, spans_with_secrets(4).SerializeToString()),
        call(addresses, LOGS_SERVICE, logs_with_secrets(4).SerializeToString()),
        send(addresses, "POST", "/v1/logs", otlp_json_body(logs_with_secrets(3)), {"content-type": JSON_TYPE}),
        # No JSON, no OTLP, another field, and spans whose ids and numbers are none.
        post(addresses, f'{{"resourceSpans": [{TEXT}'.encode(), JSON_TYPE),
        post(addresses, f"no protobuf {TEXT}".encode()),
        post(addresses, orjson.dumps({f"spans {TEXT}": [1]}), JSON_TYPE),
    ]
    assert [answer.status for answer in answers if isinstance(answer, Answer)] == [200, 200, 200, 200, 400, 400, 400]
    bad = orjson.loads(otlp_json_body(request(span(5, 1, name=f"bad {TEXT}"), span(5, 2), span(5, 3))))
    spans = bad["resourceSpans"][0]["scopeSpans"][0]["spans"]
    spans[0]["startTimeUnixNano"] = TEXT
    spans[1]["traceId"] = TEXT
    spans[2]["kind"] = TEXT
    answers.append(post(addresses, orjson.dumps(bad), JSON_TYPE))
    short = request(span(6, 1, name=f"short {TEXT}"))
    short.resource_spans[0].scope_spans[0].spans[0].trace_id = TEXT.encode()
    answers.append(post(addresses, short.SerializeToString()))
    return answers


def wait_for_rows(url: str, addresses: Addresses) -> None:
    wait_until(lambda: readiness(addresses)["spool"]["bodies"] == 0, 60, "the spool is drained")
    with_rows = "SELECT count(*) FROM spantree.execution"
    wait_until(lambda: query(url, with_rows)[0][0] >= 4, 60, "executions are there")
    wait_until(lambda: not query(url, "SELECT 1 FROM spantree.pending_projection"), 60, "all is projected")
    wait_until(lambda: not query(url, "SELECT 1 FROM spantree.rollup_delta"), 60, "figures are folded")


def test_a_secret_in_every_place_is_nowhere(
    tmp_path: Path, migrated_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with running(settings(tmp_path, migrated_url, writers=0)) as addresses:
        answers = send_everything(addresses)
        wait_for_rows(migrated_url, addresses)
        assert files_with(tmp_path) == []
        metrics = send(addresses, "GET", "/metrics").body.decode()
    assert SECRET not in repr(answers)
    assert files_with(tmp_path) == []
    assert tables_with(migrated_url) == []
    assert query(migrated_url, "SELECT count(*) FROM spantree.dead_letter")[0][0] == 4
    assert SECRET not in caplog.text
    assert 'spantree_collector_redacted_total{kind="password"}' in metrics

    one = trace_id(1).hex()
    with api_over(migrated_url, None) as client:
        # Of every trace, by every path that is only asked: a new route is asked as well.
        paths = {
            path
            for number in range(1, 7)
            for method, path in paths_of_the_api(trace_id(number).hex())
            if method == "GET" and not path.endswith("/stream")
        }
        exported = {f"/api/v1/export/{of}?format={form}" for of in ("executions", "nodes") for form in ("jsonl", "csv")}
        exported |= {f"/api/v1/export/spans?format={form}" for form in ("jsonl", "csv", "otlp")}
        told = {path: everything(client.get(path)) for path in paths | exported}
        node = client.get(f"/api/v1/executions/{one}/nodes").json()
    assert {path for path, text in told.items() if SECRET in text} == set()
    assert len([path for path, text in told.items() if text.startswith("200")]) > 100
    with jaeger_over(migrated_url, time.time_ns()) as jaeger:
        assert SECRET not in str(jaeger.traces(*(trace_id(number).hex() for number in range(1, 7))))
    anomalies = orjson.dumps(node).decode()
    assert "redacted:cookie:attributes.http.request.header.cookie" in anomalies
    assert "redacted:password:status_message" in anomalies
    assert "redacted:token:resource.attributes.process.command_line" in anomalies


def test_the_same_span_is_the_same_by_every_way(tmp_path: Path, migrated_url: str) -> None:
    sent = spans_with_secrets(7)
    with running(settings(tmp_path, migrated_url, writers=0)) as addresses:
        assert post(addresses, sent.SerializeToString()).status == 200
        assert post(addresses, otlp_json_body(sent), JSON_TYPE).status == 200
        assert isinstance(call(addresses, TRACE_SERVICE, sent.SerializeToString()), bytes)
        wait_until(lambda: readiness(addresses)["spool"]["bodies"] == 0, 60, "the spool is drained")
    assert query(migrated_url, "SELECT count(*) FROM spantree.span") == [(1,)]


def test_what_the_process_itself_writes_has_none_either(migrated_url: str) -> None:
    provider = TracerProvider(
        resource=Resource.create({"service.name": "x", "process.command_line": f"run --token {SECRET}"}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(SimpleSpanProcessor(PostgresSpanExporter(migrated_url)))
    tracer = provider.get_tracer(f"scope {TEXT}", "1")
    with tracer.start_as_current_span(f"GET /?token={SECRET}", kind=trace.SpanKind.SERVER) as one:
        one.set_attribute("http.request.header.authorization", [f"Bearer {SECRET}"])
        one.set_attribute("n", 1)
        one.add_event("said", {"message": f'{{"password": "{SECRET}"}}'})
        one.set_status(trace.StatusCode.ERROR, f"failed {TEXT}")
    with tracer.start_as_current_span("odd\x00") as odd:
        # Read by way of OTLP, for text in PostgreSQL has no NUL.
        odd.set_attribute("plain", TEXT)
    provider.shutdown()
    assert tables_with(migrated_url) == []
    assert query(
        migrated_url, "SELECT name, attributes - 'spantree.redacted' FROM spantree.span ORDER BY start_ns"
    ) == [
        ("GET /?token=<redacted>", {"http.request.header.authorization": "<redacted>", "n": 1}),
        ("odd\u2400", {"plain": "password=<redacted>"}),
    ]


def test_redaction_can_be_off(tmp_path: Path, migrated_url: str) -> None:
    with running(settings(tmp_path, migrated_url, writers=0, redact="off")) as addresses:
        assert post(addresses, spans_with_secrets().SerializeToString()).status == 200
        wait_until(lambda: query(migrated_url, "SELECT 1 FROM spantree.span"), 60, "the span is stored")
    assert "span" in tables_with(migrated_url)
    with pytest.raises(ConfigError, match="cannot be read"):
        redactor_of(str(tmp_path / "none.toml"))


# ---- what is stored already ----------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path: Path, migrated_url: str) -> Iterator[str]:
    """A database that was filled without redaction, with notes of people and models besides."""
    with running(settings(tmp_path, migrated_url, writers=0, redact="off")) as addresses:
        send_everything(addresses)
        for number in range(20, 24):
            assert post(addresses, trace_request(number, 20, payload=TEXT).SerializeToString()).status == 200
        wait_for_rows(migrated_url, addresses)
    now = datetime.now(UTC)
    day = now.date()
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO spantree.analysis (tenant_id, trace_id, day, created_at, answer)"
            " VALUES (0, %s::uuid, %s, %s, %s)",
            (trace_id(1).hex(), day, now, orjson.dumps({"why": [f"for {TEXT}"]}).decode()),
        )
        connection.execute("UPDATE spantree.failure_group SET note = %s", (TEXT,))
        connection.execute(
            "INSERT INTO spantree.alert_delivery"
            " (tenant_id, id, rule_id, rule_name, kind, subject, body, state, due_at)"
            " VALUES (0, gen_random_uuid(), gen_random_uuid(), 'r', 'k', %s, %s, 'delivered', now())",
            (f"workflow {TEXT}", orjson.dumps({"error": TEXT}).decode()),
        )
    yield migrated_url


def test_what_was_stored_before_goes_from_every_table(stored: str) -> None:
    before = tables_with(stored)
    assert set(before) >= {
        "span", "log_record", "resource", "execution", "node", "dead_letter", "analysis", "operation", "alert_delivery",
        "failure_group", "rollup",
    }  # fmt: skip
    counted = redact_stored(stored, REDACTOR, Asked(), dry_run=True)
    assert tables_with(stored) == before
    done = redact_stored(stored, REDACTOR, Asked())
    assert tables_with(stored) == []
    rollup = done.redacted.pop("rollup")
    assert rollup > 0
    assert done.redacted == counted.redacted
    assert done.redacted["span"] == 4 + 4 * 20
    assert done.redacted["dead_letter"] == 4
    # Spans of the traces that had failed or waited stay, and so do their figures.
    assert query(stored, "SELECT count(*) FROM spantree.span") == [(84,)]
    [(total,)] = query(
        stored, "SELECT sum(total) FROM spantree.rollup WHERE subject = 'workflow' AND grain_h = 1 AND NOT hidden"
    )
    assert total == 8
    again = redact_stored(stored, REDACTOR, Asked())
    assert (again.redacted, again.kinds) == ({}, {})
    assert query(stored, "SELECT count(*) FROM spantree.redact_position") == [(0,)]
    redact_stored(stored, REDACTOR, Asked(workflow=TEXT))
    told = query(stored, "SELECT actor_kind, details FROM spantree.own_audit WHERE action = 'redact' ORDER BY at")
    rows = {**counted.redacted, "rollup": rollup}
    assert told == [
        ("local", {"state": "begun"}),
        ("local", {"state": "done", "rows": rows}),
        ("local", {"state": "begun"}),
        ("local", {"state": "done", "rows": {}}),
        ("local", {"state": "begun", "workflow": True}),
        ("local", {"state": "done", "workflow": True, "rows": {}}),
    ]
    assert tables_with(stored) == []


def test_only_what_is_asked_for_is_redacted(stored: str) -> None:
    one = redact_stored(stored, REDACTOR, Asked(execution=trace_id(20).hex()))
    assert one.spans == one.redacted["span"] == 20
    left = "SELECT count(*) FROM spantree.span WHERE trace_id = %(id)s::uuid AND attributes::text LIKE '%%hunter2%%'"
    assert query(stored, left, id=trace_id(20).hex()) == [(0,)]
    assert query(stored, left, id=trace_id(21).hex()) == [(20,)]
    workflow = query(
        stored, "SELECT workflow_name FROM spantree.execution WHERE trace_id = %(id)s::uuid", id=trace_id(1).hex()
    )
    of_workflow = redact_stored(stored, REDACTOR, Asked(workflow=workflow[0][0]))
    assert of_workflow.redacted["span"] == 4
    with pytest.raises(ValueError, match='no tenant "blue"'):
        redact_stored(stored, REDACTOR, Asked(), tenant="blue")


_BESIDE: Final = """
import sys
from spantree_exporter.redaction import stored as module
from spantree_exporter.redaction import redactor_of

module._CHUNK_ROWS = 20

def wait(progress):
    print(progress.spans, flush=True)
    sys.stdin.readline()

module.redact_stored(sys.argv[1], redactor_of("default"), module.Asked(), wait)
"""


def test_of_a_tenant_one_runs_at_a_time_and_who_waits_is_told(stored: str) -> None:
    by_other_rules = Redactor(rules_from({"pattern": [{"name": "service", "match": "a-service"}]}))
    waits: queue.Queue[str] = queue.Queue()
    states = "SELECT details ->> 'state' FROM spantree.own_audit WHERE action = 'redact' ORDER BY at"
    command = [sys.executable, "-c", _BESIDE, stored]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
        ThreadPoolExecutor(1) as threads,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == "20\n"
        other = threads.submit(redact_stored, stored, by_other_rules, Asked(), waiting=waits.put)
        assert waits.get(timeout=60) == "default"
        # One that only counts changes nothing, and does not wait.
        assert redact_stored(stored, by_other_rules, Asked(), dry_run=True).spans == 84
        assert query(stored, states) == [("begun",)]
        process.communicate(timeout=60)
        assert process.returncode == 0
        assert other.result(60).spans == 84
    assert query(stored, states) == [("begun",), ("done",), ("begun",), ("done",)]
    assert waits.empty()
    assert tables_with(stored) == []
    assert query(stored, "SELECT count(*) FROM spantree.resource WHERE attributes::text LIKE '%a-service%'") == [(0,)]


def test_one_that_was_killed_goes_on_where_it_was(stored: str) -> None:
    command = [sys.executable, "-c", _BESIDE, stored]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "20\n"
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "40\n"
        finally:
            os.kill(process.pid, signal.SIGKILL)
    assert query(stored, "SELECT count(*) FROM spantree.redact_position") == [(1,)]
    rest = redact_stored(stored, REDACTOR, Asked())
    assert rest.spans == 84 - 40
    store = Store(stored)
    project_all(stored, store)
    store.close()
    redact_stored(stored, REDACTOR, Asked())
    assert tables_with(stored) == []
