"""What other systems' own tracers send: names of operations, tries and errors by attributes of their own."""

from __future__ import annotations

import pytest
from tests.unit.facts.spans import raised, span

from spantree_exporter.facts import Facts, read_facts
from spantree_exporter.span import (
    KIND_CLIENT,
    KIND_CONSUMER,
    KIND_PRODUCER,
    KIND_SERVER,
    STATUS_ERROR,
    STATUS_OK,
    STATUS_UNSET,
    Attributes,
)


def test_kong_tells_which_try_of_its_balancer_a_span_is() -> None:
    sent: Attributes = {"try_count": 2, "net.peer.ip": "10.0.0.2"}
    assert read_facts(span("kong.balancer", sent, kind=KIND_CLIENT)) == {"attempt": 2, "retry_expected": True}
    look_up: Attributes = {"dns.record.domain": "orders.svc"}
    assert read_facts(span("kong.dns", look_up, kind=KIND_CLIENT)) == {"fold": "parent"}
    assert "fold" not in read_facts(span("kong.dns", look_up, kind=KIND_CLIENT, status=STATUS_ERROR))
    assert read_facts(span("fetch", {"try_count": 2})) == {}


def test_datadogs_spans_are_named_for_their_resource_and_tell_their_error() -> None:
    sent: Attributes = {
        "dd.span.Resource": "GET /orders/{id}",
        "error.msg": "no stock",
        "error.type": "java.lang.IllegalStateException",
    }
    assert read_facts(span("servlet.request", sent, scope="Datadog", status=STATUS_ERROR)) == {
        "name": "GET /orders/{id}",
        "error_message": "no stock",
        "error_type": "java.lang.IllegalStateException",
    }
    query: Attributes = {"dd.span.Resource": "SELECT * FROM orders WHERE id = ?", "db.type": "postgresql"}
    assert read_facts(span("postgresql.query", query, scope="Datadog", kind=KIND_CLIENT)) == {
        "kind": "db",
        "name": "SELECT",
        "input": "SELECT * FROM orders WHERE id = ?",
    }
    assert read_facts(span("work", {"dd.span.Resource": "work"}, scope="Datadog")) == {}


def test_prismas_operations_are_named_for_what_they_do() -> None:
    sent: Attributes = {"method": "findMany", "model": "User", "name": "User.findMany"}
    assert read_facts(span("prisma:client:operation", sent, scope="prisma")) == {"kind": "db", "name": "User.findMany"}
    query: Attributes = {"db.system": "postgresql", "db.query.text": 'select 1 from "User"'}
    assert read_facts(span("prisma:client:db_query", query, scope="prisma", kind=KIND_CLIENT)) == {
        "kind": "db",
        "name": "SELECT",
        "input": 'select 1 from "User"',
    }
    waiting = span("prisma:engine:connection", {"db.system": "postgresql"}, scope="prisma", kind=KIND_CLIENT)
    assert read_facts(waiting) == {"fold": "parent", "kind": "db"}
    assert read_facts(span("prisma:client:connect", scope="prisma", parent=None)) == {}
    assert read_facts(span("load users", scope="prisma-helpers")) == {}


@pytest.mark.parametrize(
    ("status", "told"),
    [("FAILED", {"weak_status": "failed", "error_message": "checkpoint failed"}), ("COMPLETED", {})],
)
def test_a_checkpoint_of_flinks_ends_as_its_attribute_says(status: str, told: Facts) -> None:
    assert read_facts(span("Checkpoint", {"checkpointStatus": status, "checkpointId": 7}, parent=None)) == told


CALLED: Attributes = {"rpc.system": "jsonrpc", "rpc.jsonrpc.version": "2.0"}


@pytest.mark.parametrize(
    ("kind", "status", "others", "told"),
    [
        (
            KIND_CLIENT,
            STATUS_UNSET,
            {"rpc.jsonrpc.error_code": -32000, "rpc.jsonrpc.error_message": "execution reverted"},
            {"weak_status": "failed", "error_type": "-32000", "error_message": "execution reverted"},
        ),
        (
            KIND_CLIENT,
            STATUS_UNSET,
            {"rpc.response.status_code": "-32601"},
            {"weak_status": "failed", "error_type": "-32601", "error_message": "JSON-RPC error -32601"},
        ),
        # Of the server's own failures asking wrongly is none.
        (KIND_SERVER, STATUS_UNSET, {"rpc.jsonrpc.error_code": -32602}, {"status_reason": "JSON-RPC -32602"}),
        (
            KIND_SERVER,
            STATUS_UNSET,
            {"rpc.jsonrpc.error_code": -32603},
            {"weak_status": "failed", "error_type": "-32603", "error_message": "JSON-RPC error -32603"},
        ),
        (KIND_CLIENT, STATUS_UNSET, {"rpc.jsonrpc.error_code": 0}, {}),
        (KIND_CLIENT, STATUS_OK, {"rpc.jsonrpc.error_code": -32000}, {}),
    ],
)
def test_an_error_that_a_call_of_jsonrpc_was_answered_with_is_told(
    kind: int, status: int, others: Attributes, told: Facts
) -> None:
    facts = read_facts(span("eth.call", {**CALLED, **others}, kind=kind, status=status))
    facts.pop("entry", None)
    assert facts == {"kind": "rpc", **told}


def test_an_exception_says_more_than_the_code_of_jsonrpc() -> None:
    sent = span(
        "eth.call",
        {**CALLED, "rpc.jsonrpc.error_code": -32000},
        kind=KIND_CLIENT,
        status=STATUS_ERROR,
        events=[raised("web3.exceptions.ContractLogicError", "execution reverted")],
    )
    assert read_facts(sent) == {
        "kind": "rpc",
        "error_type": "web3.exceptions.ContractLogicError",
        "error_message": "execution reverted",
    }


@pytest.mark.parametrize("name", ["receive default", "orders receive", "orders poll"])
def test_fetching_that_only_the_spans_name_tells_is_no_task(name: str) -> None:
    sent = span(name, {"messaging.system": "redis", "messaging.destination.name": "default"}, kind=KIND_CONSUMER)
    assert read_facts(sent) == {"kind": "message"}


@pytest.mark.parametrize(
    ("name", "message", "status"),
    [
        ("BlobBaseClient.Exists", "Service request failed.\nStatus: 404 (There is no such blob.)", "completed"),
        ("BlobBaseClient.Exists", "Service request failed.\nStatus: 403 (Server failed to authenticate.)", None),
        ("BlobContainerClient.CreateIfNotExists", "Service request failed.\nStatus: 409 (Conflict)", "completed"),
        ("BlobClient.DeleteIfExistsAsync", "Service request failed.\nStatus: 404", "completed"),
        ("BlobClient.Download", "Service request failed.\nStatus: 404", None),
        ("AzureBlobStorageBlob.getPropertiesNoCustomHeaders", "Status code 404, (empty body)", "completed"),
    ],
)
def test_azures_sdk_is_not_failed_by_the_answer_that_there_is_no_such_thing(
    name: str, message: str, status: str | None
) -> None:
    sent: Attributes = {"az.namespace": "Microsoft.Storage"}
    event = raised("RequestFailedException", message)
    assert read_facts(span(name, sent, status=STATUS_ERROR, events=[event])).get("status") == status
    assert read_facts(span(name, sent, status=STATUS_ERROR, message=message)).get("status") == status
    assert "status" not in read_facts(span(name, sent))


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ("completed", "completed"),
        ("failed", "failed"),
        ("suspended", "waiting"),
        ("retrying", "waiting"),
        ("stale", None),
    ],
)
def test_openworkflow_takes_up_a_run_in_trace_after_trace(outcome: str, status: str | None) -> None:
    sent: Attributes = {"openworkflow.workflow.name": "checkout", "openworkflow.run.id": "r1"}
    taken_up: Attributes = {**sent, "openworkflow.execution.outcome": outcome}
    facts = read_facts(span("workflow_run.execute", taken_up, kind=KIND_CONSUMER))
    assert (facts["name"], facts["run_id"], facts.get("run_status")) == ("checkout", "r1", status)
    tried: Attributes = {**sent, "openworkflow.step.name": "reserve"}
    facts = read_facts(span("step_attempt.execute", tried, status=STATUS_ERROR))
    assert (facts["name"], facts["task_key"], facts["retry_expected"]) == ("reserve", "r1/reserve", True)
    made = read_facts(span("workflow_run.create", sent, kind=KIND_PRODUCER))
    assert (made["name"], made["kind"], "run_id" in made) == ("create checkout", "message", False)
    signalled = read_facts(span("signal.send", {"openworkflow.signal.name": "paid"}, kind=KIND_PRODUCER))
    assert signalled == {"name": "signal paid", "kind": "message"}
