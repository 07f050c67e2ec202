"""A trace of more spans than an answer holds: streamed a piece at a time, or refused with where it can be had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import httpx
import psycopg
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from tests.api_server import api_over, ok, refused
from tests.factories import span, trace_id
from tests.plans import rows_read
from tests.postgres import new_database

from spantree_api.reads import export
from spantree_api.routes import jaeger, otlp, tempo
from spantree_api.statements import Statements, load_statements
from spantree_exporter.otlp.decode import JSON, PROTOBUF, decode_request
from spantree_exporter.postgres.store import Store

STATEMENTS = Statements(load_statements())
SPANS = 300
TRACE = trace_id(1).hex()
ELSEWHERE = f"/executions/{TRACE} draws any part of it, GET /api/v1/executions/{TRACE}/otlp has all spans"


@pytest.fixture(scope="module")
def url(postgres_url: str, _migrated_template: str) -> Iterator[str]:
    parts = [
        span(number, parent=1, name=f"row {number}", service=f"shop {number % 3}") for number in range(2, SPANS + 1)
    ]
    with new_database(postgres_url, template=_migrated_template) as made, closing(Store(made)) as store:
        store.write([span(1), *parts, span(1, trace=2)])
        yield made


@pytest.fixture(scope="module")
def api(url: str) -> Iterator[httpx.Client]:
    with api_over(url, now_ns=None) as client:
        yield client


def test_as_otlp_it_is_streamed_whole(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"/api/v1/executions/{TRACE}/otlp"
    protobuf = {"accept": "application/x-protobuf"}
    whole = decode_request(ok_bytes(api, path), JSON, 0).spans
    monkeypatch.setattr(otlp, "_WHOLE_BYTES", 1_000)
    monkeypatch.setattr(export, "_SPANS", 70)
    streamed = decode_request(ok_bytes(api, path), JSON, 0).spans
    by_id = sorted(whole, key=lambda one: one.span_id)
    assert len(by_id) == SPANS
    assert sorted(streamed, key=lambda one: one.span_id) == by_id
    body = ok_bytes(api, path, protobuf)
    assert len(TracesData.FromString(body).resource_spans) == 5 * 3 + 1
    assert sorted(decode_request(body, PROTOBUF, 0).spans, key=lambda one: one.span_id) == by_id


def ok_bytes(api: httpx.Client, path: str, headers: dict[str, str] | None = None) -> bytes:
    answer = api.get(path, headers=headers)
    assert answer.status_code == 200
    return answer.content


@pytest.mark.parametrize("path", [f"/jaeger/api/traces/{TRACE}", f"/jaeger/api/v3/traces/{TRACE}"])
def test_jaeger_is_told_where_it_is(api: httpx.Client, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(jaeger, "_TRACE_SPANS", SPANS)
    assert api.get(path).status_code == 200
    monkeypatch.setattr(jaeger, "_TRACE_SPANS", SPANS - 1)
    answer = api.get(path)
    assert answer.status_code == 400
    assert (
        f"trace {TRACE} has more than 299 spans, too many for one answer of Jaeger's kind: {ELSEWHERE}" in answer.text
    )


def test_a_search_goes_on_without_the_rest_of_it(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaeger, "_TRACE_SPANS", SPANS - 1)
    other = trace_id(2).hex()
    answer = api.get("/jaeger/api/traces", params={"traceID": [other, TRACE]})
    assert [one["traceID"] for one in ok(answer)["data"]] == [other]
    assert answer.headers["spantree-search"] == "incomplete"


@pytest.mark.parametrize("path", [f"/tempo/api/traces/{TRACE}", f"/tempo/api/v2/traces/{TRACE}"])
def test_tempo_is_told_where_it_is(api: httpx.Client, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(tempo, "_TRACE_BYTES", 2**10)
    answer = api.get(path, headers={"accept": "application/protobuf"})
    assert refused(answer) == (
        422,
        "invalid_parameter",
        f"trace {TRACE} has more than 0 MiB of spans, too much for one answer of Tempo's kind: {ELSEWHERE}",
    )


def test_a_piece_of_an_export_reads_no_span_that_came_before(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(STATEMENTS["set_up"], {"statement_timeout_ms": 0})
        days = connection.execute("SELECT days FROM spantree.trace WHERE trace_id = %s", [TRACE]).fetchone()
        assert days is not None
        wanted = {"tenant_id": 0, "trace_ids": [TRACE], "days": days[0], "position": 1, "fingerprint": 0, "limit": 10}
        assert rows_read(connection, STATEMENTS["next_spans"], wanted | {"span_id": 280}) <= 20
