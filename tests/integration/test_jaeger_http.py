"""Jaeger's HTTP APIs and Tempo's, called as Grafana and Jaeger's pages call them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status, TracesData
from tests.api_rows import NOW_NS, T0_NS, S, trace_id
from tests.api_server import api_over, ok
from tests.jaeger_storage import spans_of, store_request
from tests.postgres import new_database
from tests.tables import project_all, query

from spantree_exporter.otlp import deep_json
from spantree_exporter.otlp.decode import JSON, PROTOBUF, decode_request
from spantree_exporter.otlp.deep_json import loads_any
from spantree_exporter.postgres.store import Store

SHOP, OTHER, HOSTILE = trace_id(0xA1), trace_id(0xA2), trace_id(0xA3)
START_S = T0_NS // S
MS = 1_000_000
RANGE = {"query.startTimeMin": "2026-11-20T09:00:00Z", "query.startTimeMax": "2026-11-20T11:00:00.000000001Z"}


def text(value: str) -> AnyValue:
    return AnyValue(string_value=value)


def request() -> ExportTraceServiceRequest:
    """Trace A1: shop calls bank, which fails; trace A2: shop alone, a minute later."""
    sent = ExportTraceServiceRequest()
    scopes = {}
    for service in ("shop", "bank"):
        entry = sent.resource_spans.add()
        entry.resource.attributes.add(key="service.name", value=text(service))
        entry.resource.attributes.add(key="host.name", value=text(f"host-{service}"))
        scopes[service] = entry.scope_spans.add()
        scopes[service].scope.name = "lib"
    root = scopes["shop"].spans.add(
        trace_id=bytes.fromhex(SHOP), span_id=b"\0" * 7 + b"\x01", name="POST /orders", kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=T0_NS, end_time_unix_nano=T0_NS + 90 * MS, flags=1,
    )  # fmt: skip
    root.attributes.add(key="http.response.status_code", value=AnyValue(int_value=502))
    root.attributes.add(key="big", value=AnyValue(int_value=2**60))
    root.attributes.add(key="vip", value=AnyValue(bool_value=True))
    root.attributes.add(key="ratio", value=AnyValue(double_value=0.5))
    root.attributes.add(key="bytes", value=AnyValue(bytes_value=b"\xff"))
    accepted = root.attributes.add(key="http.request.header.accept")
    accepted.value.array_value.values.extend([text("text/html"), text("image/*"), AnyValue(int_value=7)])
    child = scopes["bank"].spans.add(
        trace_id=bytes.fromhex(SHOP), span_id=b"\0" * 7 + b"\x02", parent_span_id=b"\0" * 7 + b"\x01", name="charge",
        kind=Span.SPAN_KIND_CLIENT, start_time_unix_nano=T0_NS + 10 * MS, end_time_unix_nano=T0_NS + 40 * MS,
    )  # fmt: skip
    child.status.code, child.status.message = Status.STATUS_CODE_ERROR, "declined"
    event = child.events.add(name="exception", time_unix_nano=T0_NS + 20 * MS)
    event.attributes.append(KeyValue(key="exception.type", value=text("CardError")))
    child.links.add(trace_id=bytes.fromhex(OTHER), span_id=b"\0" * 7 + b"\x03")
    child.links.add(trace_id=bytes(16), span_id=bytes(8))  # to no span
    also_of = child.links.add(trace_id=bytes.fromhex(OTHER), span_id=b"\0" * 7 + b"\x04")
    also_of.attributes.add(key="opentracing.ref_type").value.string_value = "child_of"
    scopes["shop"].spans.add(
        trace_id=bytes.fromhex(OTHER), span_id=b"\0" * 7 + b"\x03", name="GET /orders", kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=T0_NS + 60 * S, end_time_unix_nano=T0_NS + 60 * S + 5 * MS,
    )  # fmt: skip
    return sent


def hostile() -> list[tuple[bytes, str]]:
    """Spans of one trace that no two of the forms can hold: text that is no UTF-8, half of a surrogate pair, depth."""

    def span_json(number: int, value: str) -> bytes:
        return (
            f'{{"resourceSpans":[{{"resource":{{"attributes":[]}},"scopeSpans":[{{"spans":[{{"traceId":"{HOSTILE}",'
            f'"spanId":"{number:016x}","name":"json","startTimeUnixNano":"{T0_NS}",'
            f'"endTimeUnixNano":"{T0_NS + 7 * MS}",'
            f'"attributes":[{{"key":"big","value":{value}}}]}}]}}]}}]}}'
        ).encode()

    deep = "".join(['{"arrayValue":{"values":['] * 3_000) + '{"intValue":"1"}' + "]}}" * 3_000
    sent = ExportTraceServiceRequest()
    sent.resource_spans.add().scope_spans.add().spans.add(
        trace_id=bytes.fromhex(HOSTILE), span_id=b"\0" * 7 + b"\x03", name="bad !", start_time_unix_nano=T0_NS,
        end_time_unix_nano=T0_NS + 7 * MS,
    )  # fmt: skip
    return [
        (span_json(1, '{"stringValue":"\\ud800"}'), JSON),
        (span_json(2, deep), JSON),
        (sent.SerializeToString().replace(b"bad !", b"bad \xff"), PROTOBUF),
    ]


@pytest.fixture(scope="module")
def client(postgres_url: str, _migrated_template: str) -> Iterator[httpx.Client]:
    with new_database(postgres_url, template=_migrated_template) as url:
        store_request(url, request())
        store = Store(url)
        for body, encoding in hostile():
            decoded = decode_request(body, encoding, NOW_NS)
            assert not decoded.dead
            store.write(decoded.spans)
        project_all(url, store)
        store.close()
        with api_over(url, NOW_NS) as found:
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


class TestTempo:
    def test_is_there(self, client: httpx.Client) -> None:
        assert client.get("/tempo/api/echo").text == "echo"
        assert ok(client.get("/tempo/api/status/buildinfo"))["version"] == "2.6.0"

    @pytest.mark.parametrize("version", ["", "v2/"])
    def test_gives_a_trace_as_protobuf(self, client: httpx.Client, version: str) -> None:
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

    def test_gives_a_trace_as_json(self, client: httpx.Client) -> None:
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
    def test_finds_by_traceql(self, client: httpx.Client, query: str, wanted: list[str]) -> None:
        params = {"q": query, "start": str(START_S - 60), "end": str(START_S + 600)}
        found = ok(client.get("/tempo/api/search", params=params))["traces"]
        assert [one["traceID"] for one in found] == wanted

    def test_tells_what_it_found(self, client: httpx.Client) -> None:
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

    def test_tells_sets_with_what_is_compared_and_selected(self, client: httpx.Client) -> None:
        wanted = (
            "{} | by(resource.service.name) | max(duration) > 1ms | select(span.vip, status, nestedSetParent, .none)"
        )
        params = {"q": f'{{trace:id="{SHOP}"}} | {wanted}', "spss": "1"}
        (found,) = ok(client.get("/tempo/api/search", params=params))["traces"]

        def told(of_set: dict[str, Any]) -> Any:
            spans = [
                (span["name"], {one["key"]: one["value"] for one in span["attributes"]}) for span in of_set["spans"]
            ]
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
        self, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in ("spans", "spansets"):
            monkeypatch.setattr(f"spantree_api.reads.{module}.SPANS_AT_ONCE", 3)
        params = {"q": '{resource.service.name=~"shop|bank"} >> {name="charge"}'}
        found = ok(client.get("/tempo/api/search", params=params))
        assert ([one["traceID"] for one in found["traces"]], found["metrics"]["completedJobs"]) == ([SHOP], 1)
        for module in ("spans", "spansets"):
            monkeypatch.setattr(f"spantree_api.reads.{module}.SPANS_AT_ONCE", 1)
        assert ok(client.get("/tempo/api/search", params=params))["metrics"]["completedJobs"] == 0

    def test_tells_metrics_of_spans_over_time(self, client: httpx.Client) -> None:
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

    def test_counts_all_spans_or_says_that_they_are_too_many(
        self, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("spantree_api.reads.counting.COUNT_S", -1.0)
        params = {"q": "{} | rate()", "start": str(START_S), "end": str(START_S + 60)}
        answer = client.get("/tempo/api/metrics/query_range", params=params)
        assert answer.status_code == 422
        assert "more spans than are counted" in answer.json()["error"]["message"]
        told = client.get("/jaeger/api/metrics/calls", params={"service": "shop", "endTs": str((START_S + 60) * 1_000)})
        assert (told.status_code, told.json()["errors"][0]["code"]) == (400, 400)

    def test_names_attributes_and_their_values(self, client: httpx.Client) -> None:
        params = {"start": str(START_S - 60), "end": str(START_S + 600)}
        names = ["big", "bytes", "http.request.header.accept", "http.response.status_code", "ratio", "vip"]
        assert ok(client.get("/tempo/api/search/tags", params=params))["tagNames"] == sorted(
            ["exception.type", "host.name", "opentracing.ref_type", "service.name", *names]
        )
        scopes = {
            one["name"]: one["tags"] for one in ok(client.get("/tempo/api/v2/search/tags", params=params))["scopes"]
        }
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

    def test_refuses_what_is_no_traceql_of_the_builder(self, client: httpx.Client) -> None:
        answer = client.get("/tempo/api/search", params={"q": "{} >> {} | rate()"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_parameter")


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
