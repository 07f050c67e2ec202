"""The demo's two services, run as processes, against an OTLP receiver: what arrives for each kind of execution."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.otlp_receiver import OtlpReceiver, ReceivedSpan

from spantree_deploy.demo.orders import TRACE_HEADER
from spantree_deploy.demo.scenario import Played, ScenarioError, play
from spantree_deploy.demo.services import ServiceNotStartedError, Services, running

CHECKS = ["check credit", "check stock", "score fraud"]


def otel(receiver: OtlpReceiver, **more: str) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        **more,
    }


@dataclass(frozen=True)
class Afternoon:
    """A whole scenario, and every span of it."""

    played: list[Played]
    progress: list[str]
    spans: list[ReceivedSpan]
    services: Services

    def trace(self, what: str) -> list[ReceivedSpan]:
        (trace_id,) = [played.trace_id for played in self.played if what in played.what]
        return [span for span in self.spans if span.trace_id == trace_id]

    def nodes(self, what: str) -> list[ReceivedSpan]:
        """The steps of the workflow itself, in the order of their starts."""
        trace = self.trace(what)
        (execution,) = executions(trace)
        below = [span for span in trace if span.parent_id == execution.span_id and not span.pending]
        return sorted((span for span in below if "spantree.node.name" in span.attributes), key=lambda s: s.start_ns)


def executions(spans: list[ReceivedSpan]) -> list[ReceivedSpan]:
    return [span for span in spans if "spantree.execution.name" in span.attributes and not span.pending]


def ours(span: ReceivedSpan) -> dict[str, Any]:
    prefixes = ("spantree.", "gen_ai.", "session.", "user.", "error.")
    return {key: value for key, value in span.attributes.items() if key.startswith(prefixes)}


@pytest.fixture(scope="module")
def afternoon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Afternoon]:
    progress: list[str] = []
    with OtlpReceiver() as receiver:
        with running(tmp_path_factory.mktemp("demo"), otel(receiver)) as services:
            played = play(services.orders_url, progress.append)
        # both services have ended, so whatever they had to send is here
        yield Afternoon(played, progress, list(receiver.spans), services)


def test_each_request_becomes_one_execution_of_one_trace(afternoon: Afternoon) -> None:
    assert [played.what for played in afternoon.played] == afternoon.progress
    assert [played.status for played in afternoon.played] == [
        "completed",
        "partial",
        "failed",
        "failed",
        "waiting",
        "completed",
        "completed",
        "completed",
    ]
    found = {span.trace_id for span in executions(afternoon.spans)}
    assert found == {played.trace_id for played in afternoon.played}
    assert len(executions(afternoon.spans)) == len(afternoon.played)
    assert {span.trace_id for span in afternoon.spans} == found, "no span belongs to another trace"


def test_every_span_is_there_and_finds_its_parent_in_its_own_trace(afternoon: Afternoon) -> None:
    for played in afternoon.played:
        trace = [span for span in afternoon.spans if span.trace_id == played.trace_id]
        ids = {span.span_id for span in trace}
        (root,) = [span for span in trace if not span.parent_id]
        assert (root.kind, root.service) == ("SERVER", "orders")
        assert [span.name for span in trace if span.parent_id and span.parent_id not in ids] == []


def test_one_trace_runs_over_both_services_by_way_of_http_and_into_both_databases(afternoon: Afternoon) -> None:
    trace = {span.span_id: span for span in afternoon.trace("goes through")}

    updates = [span for span in trace.values() if span.service == "inventory" and span.name.startswith("UPDATE")]
    assert len(updates) == 3
    way_up: list[str] = []
    span = trace.get(updates[0].parent_id)
    while span is not None:
        way_up.append(f"{span.service} {span.kind} {span.name}")
        span = trace.get(span.parent_id)
    assert way_up == [
        "inventory INTERNAL take from shelf",
        "inventory SERVER POST /reservations",
        "orders CLIENT POST",
        "orders INTERNAL reserve item",
        "orders INTERNAL order fulfilment",
        "orders SERVER POST /orders",
    ]
    assert {span.scope for span in trace.values()} == {
        "opentelemetry.instrumentation.fastapi",
        "opentelemetry.instrumentation.httpx",
        "opentelemetry.instrumentation.sqlalchemy",
        "spantree",
    }


def test_the_order_that_goes_through_runs_every_shape(afternoon: Afternoon) -> None:
    nodes = afternoon.nodes("goes through")
    names = [node.name for node in nodes]
    assert names[0] == "validate"
    assert sorted(names[1:4]) == CHECKS
    assert names[4:] == [
        "collect checks",
        "reserve item",
        "reserve item",
        "reserve item",
        "choose shipping",
        "ship express",
        "gift wrap",
        "charge card",
        "charge card",
        "charge card",
        "pack parcel",
        "write note",
    ]
    (execution,) = executions(afternoon.trace("goes through"))
    (played,) = [played for played in afternoon.played if "goes through" in played.what]
    attributes = ours(execution)
    assert attributes.pop("spantree.output").startswith('{"order_id": "order-')
    assert attributes == {
        "spantree.execution.name": "order fulfilment",
        "spantree.run.id": played.run_id,
        "spantree.project": "shop",
        "spantree.lost_after_s": 60.0,
        "spantree.input": '{"tea": 2, "cup": 4, "teapot": 1}',
        "user.id": "ada",
    }


def test_parallel_checks_overlap_and_their_join_names_and_links_them(afternoon: Afternoon) -> None:
    nodes = {node.name: node for node in afternoon.nodes("goes through")}
    branches = [nodes[name] for name in CHECKS]
    assert max(branch.start_ns for branch in branches) < min(branch.end_ns for branch in branches)
    join = nodes["collect checks"]
    assert sorted(join.attributes["spantree.depends_on"]) == CHECKS
    assert sorted(join.links) == sorted(
        (f"{branch.trace_id}:{branch.span_id}", {"spantree.link.type": "dependency"}) for branch in branches
    )


def test_the_loop_counts_its_passes_and_the_decision_names_what_it_ruled_out(afternoon: Afternoon) -> None:
    nodes = afternoon.nodes("goes through")
    by_name = {node.name: node for node in nodes}
    assert [node.attributes["spantree.iteration"] for node in nodes if node.name == "reserve item"] == [1, 2, 3]
    assert ours(by_name["choose shipping"]) == {
        "spantree.node.name": "choose shipping",
        "spantree.node.kind": "router",
        "spantree.input": '{"express": true}',
        "spantree.decision": "ship express",
        "spantree.skipped_nodes": ["ship standard", "offer pickup"],
    }
    assert ours(by_name["ship express"]) == {
        "spantree.node.name": "ship express",
        "spantree.node.kind": "step",
        "spantree.edge.from": "choose shipping",
        "spantree.edge.condition": "ship express",
    }
    assert ours(by_name["gift wrap"])["spantree.node.status"] == "skipped"


def attempts_of(nodes: list[ReceivedSpan]) -> list[tuple[int, bool, list[str], str]]:
    charges = [node for node in nodes if node.name == "charge card"]
    assert len({node.attributes["spantree.task.key"] for node in charges}) == 1
    assert {node.attributes["spantree.retry.max_attempts"] for node in charges} == {3}
    return [
        (node.attributes["spantree.attempt"], node.error, [name for name, _ in node.events], node.status_message)
        for node in charges
    ]


def test_a_node_that_fails_twice_and_then_succeeds(afternoon: Afternoon) -> None:
    busy = "PaymentBusyError: processor busy, 8300 cents not charged (call {})"
    assert attempts_of(afternoon.nodes("goes through")) == [
        (1, True, ["exception"], busy.format(1)),
        (2, True, ["exception"], busy.format(2)),
        (3, False, [], ""),
    ]
    (execution,) = executions(afternoon.trace("goes through"))
    assert not execution.error


def test_a_node_that_fails_for_good_fails_its_execution(afternoon: Afternoon) -> None:
    busy = "PaymentBusyError: processor busy, 7000 cents not charged (call {})"
    assert attempts_of(afternoon.nodes("processor stays busy")) == [
        (number, True, ["exception"], busy.format(number)) for number in (1, 2, 3)
    ]
    (execution,) = executions(afternoon.trace("processor stays busy"))
    assert (execution.error, execution.status_message, execution.events) == (True, busy.format(3), ())
    assert execution.attributes["spantree.skipped_nodes"] == ["pack parcel", "write note"]
    assert execution.attributes["error.type"] == "spantree_deploy.demo.stand_ins.PaymentBusyError"
    (root,) = [span for span in afternoon.trace("processor stays busy") if not span.parent_id]
    assert root.error


def test_a_refusal_fails_at_the_join_and_nothing_runs_after_it(afternoon: Afternoon) -> None:
    nodes = afternoon.nodes("is refused")
    assert [node.name for node in nodes if node.error] == ["collect checks"]
    assert nodes[-1].status_message == "OrderRefusedError: not on hand: cup; credit of 40000 cents is too low"


def test_a_failure_that_is_handled_leaves_the_execution_well(afternoon: Afternoon) -> None:
    nodes = afternoon.nodes("note could not be written")
    assert [node.name for node in nodes if node.error] == ["write note"]
    (execution,) = executions(afternoon.trace("note could not be written"))
    assert not execution.error


def test_a_wait_for_a_person_and_the_execution_that_takes_it_up(afternoon: Afternoon) -> None:
    (waiting,) = executions(afternoon.trace("waits for a manager"))
    step = afternoon.nodes("waits for a manager")[-1]
    assert (step.name, step.error, step.attributes["spantree.node.status"]) == ("approve order", False, "waiting")
    assert waiting.attributes["spantree.execution.status"] == "waiting"
    (resumed,) = executions(afternoon.trace("takes the order up again"))
    assert resumed.attributes["spantree.resumes"] == waiting.attributes["spantree.run.id"]
    assert resumed.attributes["spantree.run.id"] == waiting.attributes["spantree.run.id"]
    assert resumed.links == ((f"{step.trace_id}:{step.span_id}", {"spantree.link.type": "resume"}),)
    assert afternoon.nodes("takes the order up again")[0].name == "approve order"


def test_model_steps_count_tokens_and_turns_share_a_conversation(afternoon: Afternoon) -> None:
    turns = [executions(afternoon.trace(f"{turn} turn"))[0] for turn in ("first", "second")]
    assert len({turn.attributes["session.id"] for turn in turns}) == 1
    thought, tool, answer = sorted(
        (
            span
            for span in afternoon.trace("first turn")
            if span.attributes.get("spantree.node.kind") in ("llm", "tool") and not span.pending
        ),
        key=lambda span: span.start_ns,
    )
    assert (
        ours(thought).items()
        >= {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "pretend-1",
            "gen_ai.usage.input_tokens": 8,
            "gen_ai.usage.output_tokens": 3,
            "spantree.output": '"look up order"',
        }.items()
    )
    assert tool.attributes["gen_ai.tool.name"] == "look up order"
    assert answer.attributes["spantree.output"] == '"Your order is shipped."'
    assert thought.parent_id == tool.parent_id == answer.parent_id


def test_long_steps_are_announced_before_they_end_and_short_ones_never(afternoon: Afternoon) -> None:
    trace = afternoon.trace("goes through")
    marks = {span.name: span for span in trace if span.pending}
    assert {"POST /orders", "order fulfilment", "pack parcel"} <= set(marks)
    assert not {"validate", "ship express", "write note"} & set(marks)
    real = {span.span_id: span for span in trace if not span.pending}
    for mark in marks.values():
        announced = real[mark.parent_id]
        assert trace.index(mark) < trace.index(announced)
        assert (mark.name, mark.start_ns, mark.end_ns) == (announced.name, announced.start_ns, announced.start_ns)
        assert mark.attributes["spantree.pending_parent_id"] == (announced.parent_id or "0" * 16)


def test_a_service_that_cannot_have_its_port_says_which_and_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(
                ServiceNotStartedError, match=rf"inventory service ended with status 1(?s:.)*port {port}.*--port"
            ),
            running(tmp_path, {"OTEL_TRACES_EXPORTER": "none"}, inventory_port=port),
        ):
            raise AssertionError("it must not start")


def test_without_any_exporter_the_services_work_all_the_same_and_answer_wrong_requests_clearly(tmp_path: Path) -> None:
    with (
        running(tmp_path, {"OTEL_TRACES_EXPORTER": "none"}) as services,
        httpx.Client(base_url=services.orders_url) as client,
    ):
        unknown = client.post("/orders", json={"customer": "ada", "items": {"coffee": 1}})
        assert (unknown.status_code, unknown.json()["detail"]) == (
            422,
            "the shop does not sell coffee; it sells tea, cup, teapot, samovar",
        )
        empty = client.post("/orders", json={"customer": "ada", "items": {}})
        assert (empty.status_code, empty.json()["error"]) == (422, "an order needs at least one item")
        nobody = client.post("/orders/order-1/approval", json={"by": "me"})
        assert (nobody.status_code, nobody.json()["detail"]) == (409, "order order-1 does not wait for approval")
        big = client.post("/orders", json={"customer": "grace", "items": {"samovar": 2}}).json()
        first, second = (client.post(f"/orders/{big['order_id']}/approval", json={"by": "me"}) for _ in range(2))
        assert (first.status_code, second.status_code) == (200, 409)
        with pytest.raises(ScenarioError, match="answered 404"):
            play(services.inventory_url)


def test_the_tables_may_be_in_a_given_postgresql(tmp_path: Path, database_url: str) -> None:
    with OtlpReceiver() as receiver:
        with (
            running(tmp_path, otel(receiver), database_url=database_url) as services,
            httpx.Client(base_url=services.orders_url, timeout=20) as client,
        ):
            answer = client.post("/orders", json={"customer": "ada", "items": {"tea": 1}})
            assert (answer.status_code, answer.json()["state"]) == (200, "shipped")
            trace_id = answer.headers[TRACE_HEADER]
        systems = {
            (span.service, span.attributes["db.system"])
            for span in receiver.spans
            if span.trace_id == trace_id and "db.system" in span.attributes
        }
    assert systems == {("orders", "postgresql"), ("inventory", "postgresql")}


def test_under_opentelemetry_instrument_a_program_sends_each_span_once_and_live_marks_on_request() -> None:
    program = (
        "import time\n"
        "from spantree_exporter.tracing import execution, node\n"
        "with execution('nightly'):\n"
        "    with node('slow'): time.sleep(0.3)\n"
        "    with node('quick'): pass\n"
    )
    instrument = Path(sys.executable).parent / "opentelemetry-instrument"
    with OtlpReceiver() as receiver:
        environ = otel(
            receiver,
            SPANTREE_LIVE="1",
            SPANTREE_LIVE_DELAY_S="0.1",
            OTEL_SERVICE_NAME="job",
            OTEL_METRICS_EXPORTER="none",
            OTEL_LOGS_EXPORTER="none",
        )
        result = subprocess.run(
            [instrument, sys.executable, "-c", program],
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (result.returncode, result.stderr) == (0, "")
        seen = sorted((span.service, span.name, span.pending) for span in receiver.spans)
    assert seen == [
        ("job", "nightly", False),
        ("job", "nightly", True),
        ("job", "quick", False),
        ("job", "slow", False),
        ("job", "slow", True),
    ]
