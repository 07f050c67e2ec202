"""Jaeger's HTTP APIs and Tempo's, called as Grafana and Jaeger's pages call them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from tests.api_rows import NOW_NS, T0_NS, trace_id
from tests.api_server import api_over, ok
from tests.jaeger_storage import spans_of, store_request
from tests.postgres import new_database
from tests.tables import query
from tests.two_services import HOSTILE, MS, OTHER, RANGE, SHOP, START_S, request, served

from spantree_exporter.otlp import deep_json
from spantree_exporter.otlp.deep_json import loads_any


@pytest.fixture(scope="module")
def client(postgres_url: str, _migrated_template: str) -> Iterator[httpx.Client]:
    with served(postgres_url, _migrated_template) as found:
        yield found


class TestV1:
    def test_lists_services_and_operations(self, client: httpx.Client) -> None:
        assert ok(client.get("/jaeger/api/services")) == {
            "data": ["bank", "shop"], "total": 2, "limit": 0, "offset": 0, "errors": None,
        }  # fmt: skip
        assert ok(client.get("/jaeger/api/services/shop/operations"))["data"] == ["GET /orders", "POST /orders"]
        found = ok(client.get("/jaeger/api/operations", params={"service": "bank", "spanKind": "client"}))
        assert found["data"] == [{"name": "charge", "spanKind": "client"}]

    def test_tells_a_trace_in_its_own_form(self, client: httpx.Client) -> None:
        (told,) = ok(client.get(f"/jaeger/api/traces/{SHOP.lstrip('0')}"))["data"]
        assert (told["traceID"], told["warnings"]) == (SHOP, None)
        spans = {span["operationName"]: span for span in told["spans"]}
        root, child = spans["POST /orders"], spans["charge"]
        assert {process["serviceName"] for process in told["processes"].values()} == {"bank", "shop"}
        assert told["processes"][child["processID"]] == {
            "serviceName": "bank", "tags": [{"key": "host.name", "type": "string", "value": "host-bank"}],
        }  # fmt: skip
        del root["processID"], child["processID"]
        root["tags"].sort(key=lambda tag: tag["key"])
        assert root == {
            "traceID": SHOP, "spanID": "0000000000000001", "flags": 1, "operationName": "POST /orders",
            "references": [],
            "startTime": T0_NS // 1_000, "duration": 90_000, "logs": [], "warnings": None,
            "tags": [
                {"key": "big", "type": "int64", "value": str(2**60)},
                {"key": "bytes", "type": "binary", "value": "/w=="},
                {"key": "http.request.header.accept", "type": "string", "value": '["text/html","image/*",7]'},
                {"key": "http.response.status_code", "type": "int64", "value": 502},
                {"key": "otel.scope.name", "type": "string", "value": "lib"},
                {"key": "ratio", "type": "float64", "value": 0.5},
                {"key": "span.kind", "type": "string", "value": "server"},
                {"key": "vip", "type": "bool", "value": True},
            ],
        }  # fmt: skip
        assert child["references"] == [
            {"refType": "CHILD_OF", "traceID": SHOP, "spanID": "0000000000000001"},
            {"refType": "FOLLOWS_FROM", "traceID": OTHER, "spanID": "0000000000000003"},
            {"refType": "CHILD_OF", "traceID": OTHER, "spanID": "0000000000000004"},
        ]
        assert child["logs"] == [
            {
                "timestamp": (T0_NS + 20 * MS) // 1_000,
                "fields": [
                    {"key": "event", "type": "string", "value": "exception"},
                    {"key": "exception.type", "type": "string", "value": "CardError"},
                ],
            }
        ]
        assert {"key": "error", "type": "bool", "value": True} in child["tags"]

    @pytest.mark.parametrize(
        ("params", "wanted"),
        [
            ({"service": "shop"}, [OTHER, SHOP]),
            ({"service": "shop", "limit": "1"}, [OTHER]),
            ({"service": "shop", "operation": "POST /orders"}, [SHOP]),
            ({"service": "shop", "operation": "all"}, [OTHER, SHOP]),
            ({"service": "bank", "tags": '{"error":"true","exception.type":"CardError"}'}, [SHOP]),
            ({"service": "shop", "tag": "http.response.status_code:502"}, [SHOP]),
            ({"service": "shop", "tag": "http.response.status_code:503"}, []),
            ({"service": "shop", "minDuration": "50ms"}, [SHOP]),
            ({"service": "shop", "maxDuration": "5ms"}, [OTHER]),
            ({"service": "shop", "start": str(T0_NS // 1_000 + 1_000_000), "end": str(NOW_NS // 1_000)}, [OTHER]),
            ({"traceID": [SHOP, OTHER, trace_id(0xFF)]}, [SHOP, OTHER]),
        ],
    )
    def test_finds_traces(self, client: httpx.Client, params: dict[str, Any], wanted: list[str]) -> None:
        found = ok(client.get("/jaeger/api/traces", params=params))
        assert [trace["traceID"] for trace in found["data"]] == wanted

    def test_finds_traces_where_grafana_forgets_the_path(self, client: httpx.Client) -> None:
        params = {"service": "shop", "limit": "5"}
        found = client.get("/api/traces", params=params)
        assert found.content == client.get("/jaeger/api/traces", params=params).content
        assert len(ok(found)["data"]) > 0

    def test_tells_dependencies(self, client: httpx.Client) -> None:
        params = {"endTs": str(NOW_NS // MS), "lookback": "86400000"}
        assert ok(client.get("/jaeger/api/dependencies", params=params))["data"] == [
            {"parent": "shop", "child": "bank", "callCount": 1}
        ]

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            (f"/traces/{trace_id(0xFF)}", 404),
            ("/traces/xyz", 400),
            ("/traces?service=shop&start=soon", 400),
            ("/traces?service=shop&tags=[1]", 400),
            ("/traces?service=shop&tag=nothing", 400),
            ("/traces?service=shop&minDuration=fast", 400),
            ("/operations", 400),
            ("/v3/traces", 400),
            ("/v3/traces?query.startTimeMin=now&query.startTimeMax=now", 400),
        ],
    )
    def test_says_what_is_wrong(self, client: httpx.Client, path: str, status: int) -> None:
        answer = client.get(f"/jaeger/api{path}")
        told = answer.json()
        assert (answer.status_code, told["errors"][0]["code"], told["error"]["httpCode"]) == (status,) * 3
        assert told["errors"][0]["msg"] == told["error"]["message"] != ""

    def test_tells_how_services_do(self, client: httpx.Client) -> None:
        params = {
            "service": "shop", "endTs": str((START_S + 120) * 1_000), "lookback": "120000", "step": "60000",
            "ratePer": "60000",
        }  # fmt: skip

        def points(what: str, **more: str) -> dict[str, list[float]]:
            told = ok(client.get(f"/jaeger/api/metrics/{what}", params={**params, **more}))
            return {
                "/".join(label["value"] for label in one["labels"]): [
                    point["gaugeValue"]["doubleValue"] for point in one["metricPoints"]
                ]
                for one in told["metrics"]
            }

        assert points("calls") == {"shop": [1 / 60, 1 / 60, 0.0]}
        assert points("latencies", quantile="0.95") == {"shop": [90.0, 5.0]}
        assert points("errors", groupByOperation="true") == {"shop/GET /orders": [0.0], "shop/POST /orders": [0.0]}
        assert points("errors", service="bank", spanKind="client") == {"bank": [1.0]}
        assert points("calls", service="nobody") == {}
        assert ok(client.get("/jaeger/api/metrics/minstep"))["data"] == 1_000


class TestV3:
    def test_lists_services_and_operations(self, client: httpx.Client) -> None:
        assert ok(client.get("/jaeger/api/v3/services")) == {"services": ["bank", "shop"]}
        found = ok(client.get("/jaeger/api/v3/operations", params={"service": "bank"}))
        assert found == {"operations": [{"name": "charge", "spanKind": "client"}]}

    def test_tells_traces_as_otlp(self, client: httpx.Client) -> None:
        told = ok(client.get(f"/jaeger/api/v3/traces/{SHOP}"))["result"]["resourceSpans"]
        spans = [span for entry in told for scope in entry["scopeSpans"] for span in scope["spans"]]
        assert sorted((span["traceId"], span["spanId"]) for span in spans) == [
            (SHOP, "0000000000000001"),
            (SHOP, "0000000000000002"),
        ]
        assert client.get(f"/jaeger/api/v3/traces/{trace_id(0xFF)}").status_code == 404

    def test_sums_traces_up(self, client: httpx.Client) -> None:
        params = RANGE | {"query.serviceName": "bank", "query.attributes": '{"error":"true"}'}
        assert ok(client.get("/jaeger/api/v3/trace-summaries", params=params)) == {
            "summaries": [
                {
                    "traceId": SHOP, "rootServiceName": "shop", "rootOperationName": "POST /orders",
                    "minStartTimeUnixNano": str(T0_NS), "maxEndTimeUnixNano": str(T0_NS + 90 * MS), "spanCount": 2,
                    "errorSpanCount": 1, "orphanSpanCount": 0,
                    "services": [
                        {"name": "bank", "spanCount": 1, "errorSpanCount": 1},
                        {"name": "shop", "spanCount": 1, "errorSpanCount": 0},
                    ],
                }
            ]
        }  # fmt: skip

    def test_takes_what_grafana_sends(self, client: httpx.Client) -> None:
        # snake_case, and a time with a plus that became a space.
        params = {
            "query.service_name": "shop", "query.num_traces": "5", "query.duration_min": "50ms",
            "query.start_time_min": "2026-11-20T10:00:00 01:00", "query.start_time_max": "2026-11-20T11:00:00Z",
        }  # fmt: skip
        told = ok(client.get("/jaeger/api/v3/traces", params=params))["result"]["resourceSpans"]
        found = {span["traceId"] for entry in told for scope in entry["scopeSpans"] for span in scope["spans"]}
        assert found == {SHOP}


@pytest.mark.parametrize(
    ("path", "params", "status"),
    [
        ("/jaeger/api/dependencies", {"endTs": "9223372036854775807", "lookback": "1"}, 200),
        ("/jaeger/api/dependencies", {"endTs": "-9223372036854775807", "lookback": "1"}, 200),
        ("/jaeger/api/traces", {"service": "shop", "tags": '{"a":' + "[" * 900 + "]" * 900 + "}"}, 400),
        ("/jaeger/api/traces", {"service": "shop", "tags": '{"a":' + "[" * 16 + "]" * 16 + "}"}, 200),
        ("/tempo/api/search", {"q": "{duration > " + "9" * 400 + "h}"}, 200),
        ("/tempo/api/search", {"q": "{duration > 1e999 || traceDuration > 1e999}"}, 200),
        ("/tempo/api/search", {"q": "{name = 5}"}, 422),
        ("/tempo/api/metrics/query_range", {"q": "{} | compare({status=error})"}, 422),
        ("/tempo/api/metrics/query_range", {"q": "{} | rate()", "start": "9", "end": "9"}, 422),
        ("/tempo/api/metrics/query_range", {"q": "{} | rate()", "step": "1ns"}, 422),
        ("/jaeger/api/metrics/calls", {}, 400),
        ("/jaeger/api/metrics/latencies", {"service": "shop"}, 400),
    ],
)
def test_values_that_nothing_stored_can_have_find_nothing_or_are_refused(
    client: httpx.Client, path: str, params: dict[str, str], status: int
) -> None:
    answer = client.get(path, params=params)
    assert answer.status_code == status, answer.text
    found = answer.json()
    assert not found.get("data" if path.startswith("/jaeger") else "traces")


HOSTILE_IDS = [f"{number:016x}" for number in (1, 2, 3)]


def test_whatever_was_stored_is_told_in_every_form(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    # What nests deep takes seconds to read or write, in which nobody else is answered: it is told as it is.
    read = deep_json.loads
    for name in ("loads", "dumps"):
        monkeypatch.setattr(f"spantree_exporter.otlp.deep_json.{name}", None)
    (v1,) = ok(client.get(f"/jaeger/api/traces/{HOSTILE}"))["data"]
    assert sorted(span["spanID"] for span in v1["spans"]) == HOSTILE_IDS
    for path in (f"/jaeger/api/v3/traces/{HOSTILE}", f"/api/v1/executions/{HOSTILE}/otlp"):
        answer = client.get(path)
        assert answer.status_code == 200, answer.text[:500]
        with monkeypatch.context() as reading:
            reading.setattr("spantree_exporter.otlp.deep_json.loads", read)
            told = loads_any(answer.content)
        told = told.get("result", told)["resourceSpans"]
        ids = [span["spanId"] for entry in told for scope in entry["scopeSpans"] for span in scope["spans"]]
        assert sorted(ids) == HOSTILE_IDS
    body = client.get(f"/tempo/api/traces/{HOSTILE}", headers={"accept": "application/protobuf"}).content
    assert sorted(span.span_id.hex() for span in spans_of([TracesData.FromString(body)])) == HOSTILE_IDS
    assert client.get(f"/tempo/api/traces/{HOSTILE}").status_code == 200
    protobuf = client.get(f"/api/v1/executions/{HOSTILE}/otlp", headers={"accept": "application/x-protobuf"})
    assert protobuf.status_code == 200


def test_answers_lead_to_jaeger_and_grafana_where_these_are_named(postgres_url: str, _migrated_template: str) -> None:
    with new_database(postgres_url, template=_migrated_template) as url:
        store_request(url, request())
        with api_over(url, NOW_NS) as plain:
            assert "jaeger_url" not in ok(plain.get(f"/api/v1/executions/{SHOP}"))
            for end in ("", "/nodes/0000000000000002?panel=1"):
                answer = plain.get(f"/executions/{SHOP}{end}")
                assert (answer.status_code, ">Jaeger</a>" in answer.text) == (200, False)
        with api_over(url, NOW_NS, jaeger_url="http://jaeger/", grafana_url="http://grafana") as client:
            for path in ("", "/tree"):
                told = ok(client.get(f"/api/v1/executions/{SHOP}{path}"))
                assert told["jaeger_url"] == f"http://jaeger/trace/{SHOP}"
                assert told["grafana_url"].startswith("http://grafana/explore?schemaVersion=1&panes=%7B%22spantree%22")
            node = ok(client.get(f"/api/v1/executions/{SHOP}/nodes/0000000000000002"))
            assert node["jaeger_url"] == f"http://jaeger/trace/{SHOP}?uiFind=0000000000000002"
            page = client.get(f"/executions/{SHOP}").text
            assert f'<a href="http://jaeger/trace/{SHOP}">Jaeger</a>' in page
            assert '<a href="http://grafana/explore?' in page
            panel = client.get(f"/executions/{SHOP}/nodes/0000000000000002?panel=1").text
            assert f'<a href="{node["jaeger_url"]}">Jaeger</a>' in panel
            sql = "SELECT spantree.jaeger_url('http://jaeger/', trace_id, span_id) FROM spantree.nodes WHERE depth = 1"
            assert query(url, sql) == [(node["jaeger_url"],)]
