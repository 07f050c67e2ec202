"""Tempo's HTTP API, called as Grafana calls it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from tests.api_rows import T0_NS, trace_id
from tests.api_server import ok
from tests.jaeger_storage import spans_of
from tests.two_services import MS, OTHER, SHOP, START_S, served


@pytest.fixture(scope="module")
def client(postgres_url: str, _migrated_template: str) -> Iterator[httpx.Client]:
    with served(postgres_url, _migrated_template) as found:
        yield found


def test_is_there(client: httpx.Client) -> None:
    assert client.get("/tempo/api/echo").text == "echo"
    assert ok(client.get("/tempo/api/status/buildinfo"))["version"] == "2.6.0"


@pytest.mark.parametrize("version", ["", "v2/"])
def test_gives_a_trace_as_protobuf(client: httpx.Client, version: str) -> None:
    answer = client.get(f"/tempo/api/{version}traces/{SHOP}", headers={"accept": "application/protobuf"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/protobuf")
    body = answer.content
    if version:
        # TraceByIDResponse{1: trace}: the tag, two bytes of length.
        assert body[:1] == b"\x0a"
        assert (body[1] & 0x7F) + (body[2] << 7) == len(body) - 3
        body = body[3:]
    assert sorted(span.name for span in spans_of([TracesData.FromString(body)])) == ["POST /orders", "charge"]
    assert client.get(f"/tempo/api/{version}traces/{trace_id(0xFF)}").status_code == 404


def test_gives_a_trace_as_json(client: httpx.Client) -> None:
    batches = ok(client.get(f"/tempo/api/traces/{OTHER}"))["batches"]
    assert batches[0]["scopeSpans"][0]["spans"][0]["kind"] == "SPAN_KIND_SERVER"
    assert ok(client.get(f"/tempo/api/v2/traces/{OTHER}"))["trace"]["resourceSpans"] == batches


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("{name!=`json` && name!=`bad !` && resource.host.name=~`.*`}", [OTHER, SHOP]),
        ('{resource.service.name="bank"}', [SHOP]),
        ('{resource.service.name="shop" && name="GET /orders" && kind=server}', [OTHER]),
        ("{status=error}", [SHOP]),
        ("{duration>50ms}", [SHOP]),
        ("{duration<=5ms}", [OTHER]),
        ("{span.http.response.status_code=502}", [SHOP]),
        ("{span.http.response.status_code>=500 && span.vip=true}", [SHOP]),
        ("{span.http.response.status_code>502}", []),
        ('{resource.host.name=~"host-b.*"}', [SHOP]),
        ('{name!="charge" && .host.name="host-shop"}', [OTHER, SHOP]),
        ('{name="charge" || name="GET /orders"}', [OTHER, SHOP]),
        ('{event.exception.type="CardError"} | select(span.vip)', [SHOP]),
        ('{statusMessage="declined"}', [SHOP]),
        ("{nestedSetParent<0 && span.vip=true}", [SHOP]),
        ('{rootName="POST /orders" && traceDuration>80ms && status=error}', [SHOP]),
        ('{rootServiceName=~"shop|x" && name=~"GET.*"}', [OTHER]),
        ('{name="charge" && name="POST /orders"}', []),
        ("{false}", []),
        ('{.http.request.header.accept="text/html"}', [SHOP]),
        ("{.http.request.header.accept=7 && .vip}", [SHOP]),
        ('{.http.request.header.accept=~"image.*" && .http.request.header.accept>6}', [SHOP]),
        ('{.http.request.header.accept="text"}', []),
        ('{.http.request.header.accept!="text/plain"}', [SHOP]),
        ('{.http.request.header.accept!="text/html"}', []),
        ("{.vip!=nil}", [SHOP]),
        ('{.vip=nil && rootServiceName="shop"}', [OTHER, SHOP]),
        ("{event.exception.type!=nil && span.vip=nil && status=error}", [SHOP]),
        (r'{name=~"\\bGET\\b.*"}', [OTHER]),
        (r'{name=~"\\x47ET /(?P<what>orders|items)"}', [OTHER]),
        ('{span:id="3" && instrumentation:name="lib"}', [OTHER]),
        ('{span:parentID="1"}', [SHOP]),
        ('{span:parentID=""} && {resource.service.name="shop"}', [OTHER, SHOP]),
        (f'{{link:traceID="{OTHER}" && link:spanID="3"}}', [SHOP]),
        (f'{{trace:id="{OTHER.upper()}"}}', [OTHER]),
        (f'{{trace:id="{OTHER}" && name="charge"}}', []),
        ('{name="POST /orders"} >> {status=error}', [SHOP]),
        ('{name="charge"} >> {name="POST /orders"}', []),
        ('{name="charge"} << {.vip=true}', [SHOP]),
        ("{kind=server} > {kind=client}", [SHOP]),
        ("{kind=client} < {kind=server}", [SHOP]),
        ('{} !< {name=~"GET .*"}', [OTHER]),
        ('{name="charge"} && {.vip=true}', [SHOP]),
        ('{name="charge"} && {name="GET /orders"}', []),
        ('{name="charge"} || {name="GET /orders"}', [OTHER, SHOP]),
        ('{resource.service.name=~"shop|bank"} | count() > 1', [SHOP]),
        ("{} | max(duration) < 6ms", [OTHER]),
        ("{} | avg(span.ratio) = 0.5", [SHOP]),
        ('{resource.service.name!="x"} | by(resource.service.name) | count() > 1', []),
        ("{kind=server} with (most_recent=true)", [OTHER, SHOP]),
    ],
)
def test_finds_by_traceql(client: httpx.Client, query: str, wanted: list[str]) -> None:
    params = {"q": query, "start": str(START_S - 60), "end": str(START_S + 600)}
    found = ok(client.get("/tempo/api/search", params=params))["traces"]
    assert [one["traceID"] for one in found] == wanted


def test_tells_what_it_found(client: httpx.Client) -> None:
    params = {"tags": 'service.name=bank error=true name="charge"', "start": str(START_S), "end": str(START_S + 9)}
    (found,) = ok(client.get("/tempo/api/search", params=params))["traces"]
    spans = {
        "spans": [
            {
                "spanID": "0000000000000002", "name": "charge", "startTimeUnixNano": str(T0_NS + 10 * MS),
                "durationNanos": str(30 * MS),
                "attributes": [
                    {"key": "service.name", "value": {"stringValue": "bank"}},
                    {"key": "status", "value": {"stringValue": "error"}},
                ],
            }
        ],
        "matched": 1,
    }  # fmt: skip
    assert found == {
        "traceID": SHOP, "rootServiceName": "shop", "rootTraceName": "POST /orders",
        "startTimeUnixNano": str(T0_NS), "durationMs": 90, "spanSet": spans, "spanSets": [spans],
        "serviceStats": {"bank": {"spanCount": 1, "errorCount": 1}, "shop": {"spanCount": 1, "errorCount": 0}},
    }  # fmt: skip


def test_tells_sets_with_what_is_compared_and_selected(client: httpx.Client) -> None:
    wanted = "{} | by(resource.service.name) | max(duration) > 1ms | select(span.vip, status, nestedSetParent, .none)"
    params = {"q": f'{{trace:id="{SHOP}"}} | {wanted}', "spss": "1"}
    (found,) = ok(client.get("/tempo/api/search", params=params))["traces"]

    def told(of_set: dict[str, Any]) -> Any:
        spans = [(span["name"], {one["key"]: one["value"] for one in span["attributes"]}) for span in of_set["spans"]]
        return spans, of_set["matched"], {one["key"]: one["value"] for one in of_set["attributes"]}

    status, service = ({"status": {"stringValue": one}} for one in ("error", "unset")), {"stringValue": "bank"}
    error, unset = status
    assert [told(one) for one in found["spanSets"]] == [
        (
            [("charge", {"service.name": service, **error, "nestedSetParent": {"intValue": "1"}})], 1,
            {"by(service.name)": service, "max(duration)": {"stringValue": "30ms"}},
        ),
        (
            [
                (
                    "POST /orders",
                    {
                        "service.name": {"stringValue": "shop"}, "vip": {"boolValue": True}, **unset,
                        "nestedSetParent": {"intValue": "-1"},
                    },
                )
            ],
            1, {"by(service.name)": {"stringValue": "shop"}, "max(duration)": {"stringValue": "90ms"}},
        ),
    ]  # fmt: skip
    assert found["spanSet"] == found["spanSets"][0]
    params = {"q": "{status=error} | select(event.exception.type, link.none, .exception.type, event:name)"}
    (found,) = ok(client.get("/tempo/api/search", params=params))["traces"]
    (span,) = found["spanSet"]["spans"]
    assert {one["key"]: one["value"] for one in span["attributes"]} == {
        "service.name": {"stringValue": "bank"},
        "status": {"stringValue": "error"},
        "exception.type": {"stringValue": "CardError"},
    }
    # All that match are counted, however few are told.
    params = {"q": f'{{trace:id="{SHOP}"}}', "spss": "1"}
    (found,) = ok(client.get("/tempo/api/search", params=params))["traces"]
    assert (len(found["spanSet"]["spans"]), found["spanSet"]["matched"]) == (1, 2)


def test_traces_of_more_spans_than_are_read_at_once_are_read_by_halves(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("spans", "spansets"):
        monkeypatch.setattr(f"spantree_api.reads.{module}.SPANS_AT_ONCE", 3)
    params = {"q": '{resource.service.name=~"shop|bank"} >> {name="charge"}'}
    found = ok(client.get("/tempo/api/search", params=params))
    assert ([one["traceID"] for one in found["traces"]], found["metrics"]["completedJobs"]) == ([SHOP], 1)
    for module in ("spans", "spansets"):
        monkeypatch.setattr(f"spantree_api.reads.{module}.SPANS_AT_ONCE", 1)
    assert ok(client.get("/tempo/api/search", params=params))["metrics"]["completedJobs"] == 0


def test_tells_metrics_of_spans_over_time(client: httpx.Client) -> None:
    params = {"start": str(START_S + 1), "end": str(START_S + 119), "step": "1m"}

    def series(query: str, path: str = "query_range") -> list[Any]:
        answer = ok(client.get(f"/tempo/api/metrics/{path}", params={**params, "q": query}))
        return list(answer["series"])

    def sample(minute: int, value: float) -> dict[str, Any]:
        return {"timestampMs": str((START_S + 60 * minute) * 1_000), "value": value}

    by_service = series("{kind=server} | count_over_time() by (resource.service.name)")
    assert by_service == [
        {
            "labels": [{"key": "resource.service.name", "value": {"stringValue": "shop"}}],
            # The first begins with the minute: it is of the minute before it.
            "samples": [sample(0, 1.0), sample(1, 1.0), sample(2, 0.0)],
        }
    ]
    (rate,) = series("{status=error} | rate()")
    assert rate["labels"] == [{"key": "__name__", "value": {"stringValue": "rate"}}]
    assert rate["samples"] == [sample(0, 0.0), sample(1, 1 / 60), sample(2, 0.0)]
    (of_events,) = series("{status=error} | rate() by (event.exception.type)")
    assert of_events["labels"] == [{"key": "event.exception.type", "value": {"stringValue": "CardError"}}]
    (longest,) = series('{name="charge"} < {} | max_over_time(duration)')
    assert longest["samples"] == [sample(0, 0.09)]
    quantiles = series("{resource.service.name=~`shop|bank`} | quantile_over_time(duration, 0.5)", "query")
    assert quantiles == [{"labels": [{"key": "p", "value": {"doubleValue": 0.5}}], "value": 0.005}]
    since = {"q": '{resource.service.name="shop"} | count_over_time()', "since": "40d"}
    (of_all,) = ok(client.get("/tempo/api/metrics/query", params=since))["series"]
    assert of_all["value"] == 2.0


def test_counts_all_spans_or_says_that_they_are_too_many(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spantree_api.reads.counting.COUNT_S", -1.0)
    params = {"q": "{} | rate()", "start": str(START_S), "end": str(START_S + 60)}
    answer = client.get("/tempo/api/metrics/query_range", params=params)
    assert answer.status_code == 422
    assert "more spans than are counted" in answer.json()["error"]["message"]
    told = client.get("/jaeger/api/metrics/calls", params={"service": "shop", "endTs": str((START_S + 60) * 1_000)})
    assert (told.status_code, told.json()["errors"][0]["code"]) == (400, 400)


def test_names_attributes_and_their_values(client: httpx.Client) -> None:
    params = {"start": str(START_S - 60), "end": str(START_S + 600)}
    names = ["big", "bytes", "http.request.header.accept", "http.response.status_code", "ratio", "vip"]
    assert ok(client.get("/tempo/api/search/tags", params=params))["tagNames"] == sorted(
        ["exception.type", "host.name", "opentracing.ref_type", "service.name", *names]
    )
    scopes = {one["name"]: one["tags"] for one in ok(client.get("/tempo/api/v2/search/tags", params=params))["scopes"]}
    assert (scopes["resource"], scopes["span"]) == (["host.name", "service.name"], names)
    assert (scopes["event"], scopes["link"]) == (["exception.type"], ["opentracing.ref_type"])
    assert {"duration", "event:name", "trace:rootService"} <= set(scopes["intrinsic"])

    def values(name: str) -> Any:
        return ok(client.get(f"/tempo/api/v2/search/tag/{name}/values", params=params))["tagValues"]

    assert values("resource.service.name") == [
        {"type": "string", "value": "bank"}, {"type": "string", "value": "shop"},
    ]  # fmt: skip
    assert values("span.http.response.status_code") == [{"type": "int", "value": "502"}]
    assert values("event.exception.type") == [{"type": "string", "value": "CardError"}]
    assert values("span.exception.type") == []
    assert values("span.vip") == [{"type": "bool", "value": "true"}]
    assert values("span.vi%252570") == [{"type": "bool", "value": "true"}], "encoded once more by each on the way"
    assert values("span.vi%2525252525252570") == [], "no way is as long as this: each decoding reads all of it"
    assert [one["value"] for one in values("status")] == ["error", "ok", "unset"]
    assert values("span:status") == values("status")
    assert values("span:kind") == values("kind") != []
    assert [one["value"] for one in values("name")] == ["GET /orders", "POST /orders", "charge"]
    assert values("span:name") == values("trace:rootName") == values("name")
    assert values("trace:rootService") == values("resource.service.name")
    # Of what has been chosen so far, as far as that can be read.
    params["q"] = '{resource.service.name="bank" && span.vip=}'
    assert len(values("name")) == 3
    params["q"] = '{resource.service.name="bank"}'
    assert values("name") == [{"type": "string", "value": "charge"}]
    assert values("resource.host.name") == values(".host.name") == [{"type": "string", "value": "host-bank"}]
    assert values("span.vip") == []
    params["q"] = "{kind=server && duration>50ms}"
    assert values("span.vip") == [{"type": "bool", "value": "true"}]
    assert values("resource.service.name") == [{"type": "string", "value": "shop"}]
    del params["q"]
    old = ok(client.get("/tempo/api/search/tag/host.name/values", params=params))
    assert old["tagValues"] == ["host-bank", "host-shop"]


def test_refuses_what_is_no_traceql_of_the_builder(client: httpx.Client) -> None:
    answer = client.get("/tempo/api/search", params={"q": "{} >> {} | rate()"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_parameter")
