"""LangSmith's OpenTelemetry export."""

from __future__ import annotations

import pytest
from tests.unit.facts.spans import raised, span

from spantree_exporter.facts import read_facts
from spantree_exporter.span import STATUS_OK, Attributes

SCOPE = "langsmith"


def test_a_run_has_its_kind_values_and_thread_and_its_project_is_no_conversation() -> None:
    attributes: Attributes = {
        "langsmith.span.kind": "llm",
        "langsmith.trace.session_name": "billing-project",
        "langsmith.metadata.thread_id": "t-1",
        "langsmith.metadata.user_id": "u-1",
        "langsmith.metadata.ls_model_name": "gpt-x",
        "gen_ai.operation.name": "chat",
        "gen_ai.prompt": '{"messages": []}',
        "gen_ai.completion": '{"generations": []}',
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 2,
    }
    assert read_facts(span("ChatOpenAI", attributes, scope=SCOPE)) == {
        "kind": "llm",
        "conversation_id": "t-1",
        "user_id": "u-1",
        "project": "billing-project",
        "model": "gpt-x",
        "input": '{"messages": []}',
        "output": '{"generations": []}',
        "input_tokens": 7,
        "output_tokens": 2,
    }


@pytest.mark.parametrize(
    ("recorded", "error_type", "message", "status"),
    [
        ("ValueError('no such city')Traceback (most recent call last):\n\n  ...", "ValueError", "no such city", None),
        ('KeyError("it\'s gone")', "KeyError", "it's gone", None),
        ("HTTPError(503, 'busy')Traceback (most recent call last):", "HTTPError", "HTTPError(503, 'busy')", None),
        ("GraphInterrupt((Interrupt(1),))", "GraphInterrupt", "GraphInterrupt((Interrupt(1),))", "waiting"),
        ("CancelledError()Traceback (most recent call last):", "CancelledError", "CancelledError()", "cancelled"),
    ],
)  # fmt: skip
def test_an_exception_means_a_failure_even_where_the_status_is_ok(
    recorded: str, error_type: str, message: str, status: str | None
) -> None:
    sent = span(
        "load", {"langsmith.span.kind": "chain"}, scope=SCOPE, status=STATUS_OK, events=[raised("Exception", recorded)]
    )
    facts = read_facts(sent)
    assert (facts["error_type"], facts["error_message"], facts["weak_status"], facts.get("status")) == (
        error_type,
        message,
        "failed",
        status,
    )
