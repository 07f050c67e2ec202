"""CrewAI through OpenLLMetry, Dify's own spans, LiteLLM's guardrails."""

from __future__ import annotations

import pytest
from tests.unit.facts.spans import span

from spantree_exporter.facts import read_facts
from spantree_exporter.span import Attributes


def test_crewai_through_openllmetry_is_told_by_what_traceloop_calls_it() -> None:
    """traceloop/openllmetry#3824; of agents see instrumentation.py, wrap_agent_execute_task."""
    scope = "opentelemetry.instrumentation.crewai"
    crew: Attributes = {
        "gen_ai.operation.name": "invoke_agent",
        "crewai.crew.name": "news",
        "crewai.crew.result": "done",
    }
    assert read_facts(span("crewai.workflow", crew, scope=scope)) == {
        "boundary": "run",
        "kind": "workflow",
        "name": "news",
        "workflow_name": "news",
        "output": "done",
    }
    task: Attributes = {
        "traceloop.span.kind": "task",
        "gen_ai.operation.name": "invoke_agent",
        "crewai.task.id": "t-1",
        "crewai.task.agent": "Researcher",
        "crewai.task.description": "Find out about spans",
        "traceloop.entity.output": "timed steps",
    }
    told = {
        "kind": "task",
        "step": True,
        "boundary": "candidate",
        "task_key": "t-1",
        "input": "Find out about spans",
        "output": "timed steps",
    }
    assert read_facts(span("Find out about spans.task", task, scope=scope)) == {**told, "name": "Researcher"}
    named = span("Find out about spans.task", {**task, "crewai.task.name": "research"}, scope=scope)
    assert read_facts(named) == {**told, "name": "research"}
    agent: Attributes = {
        "traceloop.span.kind": "agent",
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "Researcher",
        "gen_ai.usage.input_tokens": 200,
    }
    assert read_facts(span("Researcher.agent", agent, scope=scope)) == {
        "kind": "agent",
        "boundary": "candidate",
        "name": "Researcher",
        "input_tokens": 200,
        "usage_accumulated": True,
    }


def test_dify_runs_are_of_their_app_and_nodes_are_what_they_say() -> None:
    run: Attributes = {"dify.app_id": "a-1", "dify.workflow_id": "w-1", "gen_ai.user.id": "u-1"}
    assert read_facts(span("core.app.apps.workflow.app_runner.WorkflowAppRunner.run", run)) == {
        "boundary": "candidate",
        "kind": "workflow",
        "workflow_name": "a-1",
        "name": "WorkflowAppRunner.run",
        "user_id": "u-1",
    }
    for kind, told in (("LLM", "llm"), ("RETRIEVER", "retriever"), ("TOOL", "tool"), ("TASK", "step"), (None, "step")):
        node: Attributes = {"node.id": "17", "gen_ai.framework": "dify", "gen_ai.span.kind": kind}
        assert read_facts(span("Ask", node)) == {
            "kind": told,
            "step": True,
            "task_key": "17",
            "task_scope": "parent",
        }


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("success", {}),
        ("guardrail_intervened", {"status_reason": "guardrail_intervened"}),
        (
            "guardrail_failed_to_respond",
            {
                "weak_status": "failed",
                "error_message": "guardrail failed to respond",
                "status_reason": "guardrail_failed_to_respond",
            },
        ),
        ("not_run", {"status": "skipped", "status_reason": "not_run"}),
    ],
)
def test_a_guardrail_of_litellm_is_named_and_says_how_it_ended(status: str, told: dict[str, str]) -> None:
    """BerriAI/litellm#28364."""
    sent: Attributes = {"openinference.span.kind": "guardrail", "guardrail_name": "pii", "guardrail_status": status}
    assert read_facts(span("guardrail", sent, scope="litellm")) == {"kind": "guardrail", "name": "pii", **told}
