"""What people write in engines of their own."""

from __future__ import annotations

from tests.unit.facts.spans import span

from spantree_exporter.facts import read_facts
from spantree_exporter.span import KIND_CLIENT, STATUS_ERROR, Attributes


def test_a_span_with_a_run_id_and_a_name_is_a_run() -> None:
    attributes: Attributes = {
        "dag.execution.id": "e-1",
        "dag.name": "weather",
        "dag.status": "PARTIAL",
        "session.id": "s-1",
    }
    assert read_facts(span("dag.execute", attributes)) == {
        "run_id": "e-1",
        "workflow_name": "weather",
        "boundary": "run",
        "kind": "workflow",
        "run_status": "partial",
        "conversation_id": "s-1",
    }


def test_a_task_has_its_name_id_needs_and_attempt() -> None:
    attributes: Attributes = {
        "dag.execution.id": "e-1",
        "dag.task.id": "t2",
        "dag.task.name": "get_weather",
        "dag.task.depends_on": ["t1"],
        "dag.task.status": "skipped",
        "dag.task.retry_count": 1,
        "dag.task.max_attempts": 3,
    }
    assert read_facts(span("dag.task get_weather", attributes)) == {
        "run_id": "e-1",
        "name": "get_weather",
        "kind": "task",
        "step": True,
        "task_key": "t2",
        "task_scope": "parent",
        "status": "skipped",
        "depends_on": ["t1"],
        "attempt": 2,
        "max_attempts": 3,
    }


def test_a_poll_tells_how_a_run_stands_and_is_not_the_run() -> None:
    attributes: Attributes = {"workflow.execution.id": "amc-2", "workflow.execution.status": "TIMEOUT"}
    assert read_facts(span("poll", attributes, kind=KIND_CLIENT)) == {
        "run_id": "amc-2",
        "kind": "rpc",
        "run_status": "timed_out",
    }


def test_a_plain_run_id_joins_traces_and_makes_no_run() -> None:
    assert read_facts(span("import rows", {"run_id": 17})) == {"run_id": "17"}


def test_an_explicit_status_beats_the_span_s() -> None:
    sent = span("step", {"step.name": "approve", "step.status": "waiting"}, status=STATUS_ERROR, message="not yet")
    assert read_facts(sent)["status"] == "waiting"


def test_an_execution_of_kestra_is_known_by_its_id_and_flow() -> None:
    told = read_facts(span("EXECUTOR - shop_orders", {"kestra.executionId": "e-1", "kestra.flowId": "orders"}))
    assert told == {"run_id": "e-1", "workflow_name": "orders"}
