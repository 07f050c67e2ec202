"""Traceloop's spans of LangGraph and of its SDK's decorators."""

from __future__ import annotations

from tests.unit.facts.spans import span

from spantree_exporter.facts import read_facts
from spantree_exporter.span import KIND_CLIENT, Attributes

SDK = "traceloop.tracer"
LANGCHAIN = "opentelemetry.instrumentation.langchain"


def test_the_outer_root_has_the_static_graph() -> None:
    attributes: Attributes = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "support",
        "gen_ai.conversation.id": "t-1",
        "gen_ai.workflow.nodes": ["plan", "answer"],
        "gen_ai.workflow.edges": ["plan -> answer", "nonsense"],
    }
    assert read_facts(span("invoke_agent support", attributes, scope=LANGCHAIN)) == {
        "boundary": "run",
        "fold": "container",
        "kind": "workflow",
        "graph": {"nodes": ["plan", "answer"], "edges": [["plan", "answer"]]},
        "name": "support",
        "workflow_name": "support",
        "conversation_id": "t-1",
    }


def test_the_inner_root_is_the_same_run_with_its_values() -> None:
    attributes: Attributes = {
        "traceloop.span.kind": "workflow",
        "traceloop.entity.name": "support",
        "traceloop.workflow.name": "support",
        "gen_ai.provider.name": "langgraph",
        "traceloop.entity.input": '{"inputs": {"text": "hi"}, "tags": []}',
        "traceloop.entity.output": '{"outputs": {"text": "bye"}}',
        "traceloop.association.properties.thread_id": "t-1",
        "traceloop.association.properties.user_id": "u-1",
    }
    assert read_facts(span("support.workflow", attributes, scope=LANGCHAIN)) == {
        "boundary": "run",
        "kind": "workflow",
        "workflow_name": "support",
        "fold": "inner",
        "name": "support",
        "conversation_id": "t-1",
        "user_id": "u-1",
        "input": '{"text":"hi"}',
        "output": '{"text":"bye"}',
    }


def test_decorated_functions_are_what_their_decorator_says() -> None:
    told = {}
    for kind in ("workflow", "task", "agent", "tool"):
        attributes: Attributes = {"traceloop.span.kind": kind, "traceloop.entity.name": "load"}
        facts = read_facts(span(f"load.{kind}", attributes, scope=SDK))
        told[kind] = (facts["name"], facts["kind"], facts.get("step"), facts.get("boundary"))
    assert told == {
        "workflow": ("load", "workflow", None, "run"),
        "task": ("load", "task", True, None),
        "agent": ("load", "agent", True, None),
        "tool": ("load", "tool", False, None),
    }


def test_a_model_call_is_named_for_its_class() -> None:
    attributes: Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-x",
        "gen_ai.response.model": "gpt-x-2026",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 5,
    }
    assert read_facts(span("ChatOpenAI.chat", attributes, scope=LANGCHAIN, kind=KIND_CLIENT)) == {
        "name": "ChatOpenAI",
        "kind": "llm",
        "model": "gpt-x-2026",
        "input_tokens": 12,
        "output_tokens": 5,
    }


def test_a_failed_task_says_so_unless_its_exception_knows_better() -> None:
    attributes: Attributes = {
        "traceloop.span.kind": "task",
        "gen_ai.task.name": "load",
        "gen_ai.task.status": "failure",
    }
    assert read_facts(span("execute_task load", attributes, scope=LANGCHAIN))["weak_status"] == "failed"


def test_what_runs_in_a_workflow_names_it_too() -> None:
    """traceloop/openllmetry#2076: the span of a workflow that failed was not sent."""
    sent: Attributes = {"traceloop.workflow.name": "joke", "gen_ai.request.model": "claude"}
    call = span("bedrock.completion", sent, scope="opentelemetry.instrumentation.bedrock", kind=KIND_CLIENT)
    assert read_facts(call) == {"workflow_name": "joke", "kind": "llm", "model": "claude"}
    task = span("tell.task", {"traceloop.span.kind": "task", "traceloop.workflow.name": "joke"})
    assert read_facts(task) == {"workflow_name": "joke", "kind": "task", "step": True}
