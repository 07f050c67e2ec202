"""Exports: all that matches, in lines of JSON, CSV and OTLP, in pieces that a client can go on after."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from tests.api_rows import T0_NS, S, insert, node, trace, trace_id
from tests.api_server import api_over, ok, refused
from tests.integration.test_api_otlp import request
from tests.postgres import new_database

from spantree_api.reads import export
from spantree_exporter.ids import span_id_to_hex
from spantree_exporter.otlp.decode import JSON, PROTOBUF, decode_request
from spantree_exporter.postgres.store import Store
from spantree_exporter.span import Span

DAY_NS = 86_400 * S
FORMULA = '=HYPERLINK("https://evil.example","a")'
OTLP_TRACE = trace_id(0xAB)


@pytest.fixture(scope="module")
def api(postgres_url: str, _migrated_template: str) -> Iterator[httpx.Client]:
    with new_database(postgres_url, template=_migrated_template) as url:
        traces = [
            trace(
                number,
                [node(1, "root"), *(node(1 + n, f"step {n}", 1) for n in range(1, 1 + number % 4))],
                started_ns=T0_NS - number * DAY_NS // 3,
                ended_ns=T0_NS - number * DAY_NS // 3 + S,
                workflow_name="even" if number % 2 == 0 else "odd",
                input=FORMULA if number == 1 else None,
                error_summary="-1+1, a\r\nline" if number == 1 else None,
            )
            for number in range(1, 31)
        ]
        insert(url, *traces)
        store = Store(url)
        store.write(decode_request(request().SerializeToString(), PROTOBUF, T0_NS).spans)
        while store.project_due().more or store.still_pending([bytes.fromhex(OTLP_TRACE)]):
            pass
        store.close()
        with api_over(url) as client:
            yield client


def lines(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    return [orjson.loads(line) for line in response.content.splitlines()]


def test_executions_are_those_of_the_list(api: httpx.Client) -> None:
    for filters in ({}, {"workflow": "odd"}, {"since": "2026-11-13T00:00:00Z", "until": "2026-11-18T00:00:00Z"}):
        listed = ok(api.get("/api/v1/executions", params={**filters, "limit": 200}))["executions"]
        assert lines(api.get("/api/v1/export/executions", params=filters)) == listed
        assert listed


def test_pieces_follow_each_other_without_a_gap(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [one["execution_id"] for one in lines(api.get("/api/v1/export/executions"))]
    found: list[str] = []
    after = None
    while True:
        parameters = {"limit": 7} | ({} if after is None else {"after": after})
        answer = api.get("/api/v1/export/executions", params=parameters)
        found += [one["execution_id"] for one in lines(answer)]
        after = answer.headers.get("x-spantree-next-after")
        if after is None:
            break
        assert after == found[-1]
    assert found == whole
    monkeypatch.setattr(export, "_EXECUTIONS", 4)
    assert [one["execution_id"] for one in lines(api.get("/api/v1/export/executions"))] == whole


def test_nodes_come_execution_by_execution_however_small_the_pieces(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    executions = [one["execution_id"] for one in lines(api.get("/api/v1/export/executions"))]
    wanted = [
        {"execution_id": execution, **one}
        for execution in executions
        for one in ok(api.get(f"/api/v1/executions/{execution}/nodes", params={"limit": 200}))["nodes"]
    ]
    assert lines(api.get("/api/v1/export/nodes")) == wanted
    monkeypatch.setattr(export, "_NODES", 3)
    monkeypatch.setattr(export, "_TRACES", 4)
    assert lines(api.get("/api/v1/export/nodes")) == wanted


def test_spans_come_as_they_were_sent(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = {span.span_id: span for span in decode_request(request().SerializeToString(), PROTOBUF, T0_NS).spans}
    for pieces in (1_000, 2):
        monkeypatch.setattr(export, "_SPANS", pieces)
        answer = api.get("/api/v1/export/spans", params={"format": "otlp"})
        found: dict[bytes, str] = {}
        for line in answer.content.splitlines():
            told = orjson.loads(line)
            spans = decode_request(line, JSON, T0_NS).spans
            found |= dict(zip(map(content, spans), told["spantree"]["fingerprints"], strict=True))
            assert told["spantree"]["received_ns"] == [str(T0_NS)] * len(spans)
        assert found == {content(span): span_id_to_hex(span.fingerprint) for span in sent.values()}
        answer = api.get(
            "/api/v1/export/spans", params={"format": "otlp"}, headers={"accept": "application/x-protobuf"}
        )
        assert answer.headers["content-type"] == "application/x-protobuf"
        in_protobuf = decode_request(answer.content, PROTOBUF, T0_NS).spans
        assert sorted(map(content, in_protobuf)) == sorted(map(content, sent.values()))
        assert len(TracesData.FromString(answer.content).resource_spans) >= 2
        rows = lines(api.get("/api/v1/export/spans"))
        assert [(one["execution_id"], one["span_id"], one["attributes"]) for one in rows] == [
            (OTLP_TRACE, f"{span_id:016x}", sent[span_id].attributes) for span_id in sorted(sent)
        ]


def content(span: Span) -> bytes:
    """All that a span says, whatever the order of its attributes."""
    told = [
        *(span.span_id, span.name, span.start_ns, span.status_message, span.links),
        *(span.attributes, [event.attributes for event in span.events]),
        *(span.scope.name, span.scope.attributes, span.resource.attributes),
    ]
    return orjson.dumps(told, option=orjson.OPT_SORT_KEYS)


def test_a_spreadsheet_takes_no_cell_for_a_formula(api: httpx.Client) -> None:
    answer = api.get("/api/v1/export/executions", params={"format": "csv", "workflow": "odd"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert len(rows) == 15
    first = next(row for row in rows if row["execution_id"] == trace_id(1))
    assert (first["input"], first["error_summary"]) == ("'" + FORMULA, "'-1+1, a\r\nline")
    assert (first["services"], first["hidden"], first["user_id"]) == ('["agent"]', "false", "")
    rest = api.get("/api/v1/export/executions", params={"format": "csv", "workflow": "odd", "after": trace_id(1)})
    assert rest.text == answer.text.partition(rest.text[:32])[1] + answer.text.partition(rest.text[:32])[2]
    assert len(list(csv.reader(io.StringIO(rest.text, newline="")))) == 14
    for kind in ("nodes", "spans"):
        table = list(csv.DictReader(io.StringIO(api.get(f"/api/v1/export/{kind}", params={"format": "csv"}).text)))
        assert table
        assert all(set(row) == set(table[0]) and None not in row.values() for row in table)


@pytest.mark.parametrize(
    ("path", "parameters", "status", "code"),
    [
        ("executions", {"format": "otlp"}, 422, "invalid_parameter"),
        ("spans", {"format": "xml"}, 422, "invalid_parameter"),
        ("nodes", {"after": "f" * 32}, 404, "not_found"),
        ("nodes", {"after": "x"}, 422, "invalid_parameter"),
        ("nodes", {"limit": 0}, 422, "invalid_parameter"),
        ("nodes", {"q": "&&"}, 422, "invalid_parameter"),
        ("spans", {"since": "2026-11-20T00:00:00Z", "until": "2026-11-20T00:00:00Z"}, 422, "invalid_parameter"),
        ("spans", {"statu": "failed"}, 422, "invalid_parameter"),
    ],
)
def test_what_no_export_exists_for_is_refused(
    api: httpx.Client, path: str, parameters: dict[str, Any], status: int, code: str
) -> None:
    assert refused(api.get(f"/api/v1/export/{path}", params=parameters))[:2] == (status, code)
