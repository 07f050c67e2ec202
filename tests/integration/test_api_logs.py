"""Log records in answers: as events of their nodes, and as OTLP, equal to what came in."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from tests.api_server import api_over, ok, refused
from tests.factories import NOON_NS, span, trace_id
from tests.otlp_json import otlp_json, otlp_json_body
from tests.tables import project_all

from spantree_exporter.otlp.decode_logs import LOGS_JSON, LOGS_PROTOBUF, decode_logs
from spantree_exporter.postgres.store import Store

EXECUTION = trace_id(1).hex()


def request() -> ExportLogsServiceRequest:
    """Records of two resources: an exception, a message with everything, one that the columns cannot hold."""
    sent = ExportLogsServiceRequest()
    for number, service in enumerate(("billing", "shop")):
        of_resource = sent.resource_logs.add(schema_url="https://schema/1")
        of_resource.resource.attributes.add(key="service.name").value.string_value = service
        of_scope = of_resource.scope_logs.add(schema_url="https://scope")
        of_scope.scope.name, of_scope.scope.version = "logger", "2"
        record = of_scope.log_records.add(
            trace_id=trace_id(1),
            span_id=(2).to_bytes(8, "big"),
            time_unix_nano=NOON_NS + number,
            observed_time_unix_nano=NOON_NS + 5,
            severity_number=17,
            severity_text="ERROR",
            flags=1,
            event_name="" if number else "exception",
            dropped_attributes_count=number,
        )
        record.attributes.add(key="exception.type").value.string_value = "CardDeclined"
        record.attributes.add(key="exception.message").value.string_value = f"declined {number}"
        record.attributes.add(key="exception.stacktrace").value.string_value = f"at {service}"
        record.attributes.add(key="double").value.double_value = 1e300
        record.body.kvlist_value.values.add(key="role").value.bytes_value = b"\x00"
    return sent


@pytest.fixture
def stored(migrated_url: str) -> str:
    store = Store(migrated_url)
    spans = [span(1), span(2, parent=1, name="charge", error="")]
    store.write([*spans, *decode_logs(request().SerializeToString(), LOGS_PROTOBUF, NOON_NS).records])
    project_all(migrated_url, store)
    store.close()
    return migrated_url


def records_of(told: LogsData | ExportLogsServiceRequest) -> list[dict[str, Any]]:
    """ResourceLogs in order of their service; attributes are in order of their keys, as jsonb gives them."""
    for of_resource in told.resource_logs:
        for of_scope in of_resource.scope_logs:
            for record in of_scope.log_records:
                attributes = sorted(record.attributes, key=lambda pair: pair.key)
                del record.attributes[:]
                record.attributes.extend(attributes)
    return sorted((MessageToDict(entry) for entry in told.resource_logs), key=str)


def otlp(api: httpx.Client, accept: str) -> httpx.Response:
    answer = api.get(f"/api/v1/executions/{EXECUTION}/otlp/logs", headers={"accept": accept})
    assert answer.status_code == 200, answer.text
    return answer


def test_records_go_out_as_they_came_in(stored: str) -> None:
    with api_over(stored) as api:
        protobuf = otlp(api, "application/x-protobuf")
        assert protobuf.headers["content-type"] == "application/x-protobuf"
        assert records_of(LogsData.FromString(protobuf.content)) == records_of(request())
        told = otlp(api, "application/json").json()
    assert sorted(told["resourceLogs"], key=str)[0]["resource"] == otlp_json(request())["resourceLogs"][0]["resource"]
    [again] = {record.fingerprint for record in decode_logs(protobuf.content, LOGS_PROTOBUF, 0).records[:1]}
    fingerprints = {record.fingerprint for record in decode_logs(orjson.dumps(told), LOGS_JSON, 0).records}
    assert len(fingerprints) == 2
    assert again in fingerprints


@pytest.mark.parametrize("encoding", [LOGS_PROTOBUF, LOGS_JSON])
def test_what_the_columns_lose_goes_out_by_its_own_bytes(migrated_url: str, encoding: str) -> None:
    sent = request()
    for of_resource in sent.resource_logs:
        of_resource.scope_logs[0].log_records[0].severity_text = "a\x00b"
    body = sent.SerializeToString() if encoding == LOGS_PROTOBUF else otlp_json_body(sent)
    store = Store(migrated_url)
    store.write(decode_logs(body, encoding, NOON_NS).records)
    store.close()
    with api_over(migrated_url) as api:
        told = LogsData.FromString(otlp(api, "application/x-protobuf").content)
        assert records_of(told) == records_of(sent)
        texts = [
            record["severityText"]
            for of_resource in otlp(api, "application/json").json()["resourceLogs"]
            for of_scope in of_resource["scopeLogs"]
            for record in of_scope["logRecords"]
        ]
        assert texts == ["a\x00b", "a\x00b"]


def test_a_node_has_its_records_among_its_events_and_a_traceback_of_them(stored: str) -> None:
    with api_over(stored) as api:
        node = ok(api.get(f"/api/v1/executions/{EXECUTION}/nodes/0000000000000002"))
        assert (node["error_type"], node["error_message"]) == ("CardDeclined", "declined 1")
        assert [(event["name"], event["attributes"]["exception.message"]) for event in node["events"]] == [
            ("exception", "declined 0"),
            ("exception", "declined 1"),
        ]
        assert node["traceback"] == "at shop"
        failure = ok(api.get(f"/api/v1/executions/{EXECUTION}/failure"))
        assert (failure["error"]["type"], failure["error"]["traceback"]) == ("CardDeclined", "at shop")


def test_a_trace_without_records_is_404(migrated_url: str) -> None:
    with api_over(migrated_url) as api:
        answer = api.get(f"/api/v1/executions/{EXECUTION}/otlp/logs")
        assert refused(answer) == (404, "not_found", f"no log record of a trace {EXECUTION}")


def test_a_record_that_nests_deep_is_told_as_it_came_or_without_what_protobuf_cannot_hold(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = '{"arrayValue":{"values":[' * 3_000 + '{"doubleValue":NaN}' + "]}}" * 3_000
    body = (
        f'{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"timeUnixNano":"{NOON_NS}","traceId":"{EXECUTION}",'
        f'"spanId":"0000000000000002","eventName":"say \\"NaN","body":{deep}}}]}}]}}]}}'
    ).encode()
    store = Store(migrated_url)
    store.write([span(1), *decode_logs(body, LOGS_JSON, NOON_NS).records])
    project_all(migrated_url, store)
    store.close()
    for name in ("loads", "dumps"):
        # Slow, and the event loop's time is everybody's.
        monkeypatch.setattr(f"spantree_exporter.otlp.deep_json.{name}", None)
    with api_over(migrated_url, NOON_NS) as client:
        as_json = client.get(f"/api/v1/executions/{EXECUTION}/otlp/logs")
        as_protobuf = client.get(
            f"/api/v1/executions/{EXECUTION}/otlp/logs", headers={"accept": "application/x-protobuf"}
        )
    assert (as_json.status_code, as_protobuf.status_code) == (200, 200)
    assert as_json.text == body.decode().replace(":NaN", ':"NaN"')
    (record,) = LogsData.FromString(as_protobuf.content).resource_logs[0].scope_logs[0].log_records
    assert (record.event_name, record.time_unix_nano) == ('say "NaN', NOON_NS)
