"""What Google's ADK tells in the response of a model's call, and nowhere else."""

from __future__ import annotations

import json

import pytest
from tests.unit.facts.spans import span

from spantree_exporter.facts import Facts, read_facts
from spantree_exporter.span import STATUS_ERROR, Attributes, JsonValue

ADK = "gcp.vertex.agent"


@pytest.mark.parametrize(
    ("response", "told"),
    [
        # google/adk-python#4829: what was thought is beside the output.
        (
            {
                "usage_metadata": {
                    "candidates_token_count": 10,
                    "thoughts_token_count": 5,
                    "cached_content_token_count": 7,
                }
            },
            {"reasoning_tokens": 5, "output_tokens": 15, "cached_input_tokens": 7},
        ),
        ({"usage_metadata": {"candidates_token_count": 10}}, {"output_tokens": 10}),
        (
            {"error_code": "MALFORMED_FUNCTION_CALL", "error_message": "no such function"},
            {
                "weak_status": "failed",
                "error_type": "MALFORMED_FUNCTION_CALL",
                "error_message": "no such function",
                "output_tokens": 10,
            },
        ),
        ({"error_code": "STOP"}, {"output_tokens": 10}),
    ],
)
def test_google_adk_a_response_tells_more_than_its_span(response: dict[str, JsonValue], told: Facts) -> None:
    shown = json.dumps(response)
    sent: Attributes = {
        "gen_ai.request.model": "gemini-2.5-pro",
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.output_tokens": 10,
        "gcp.vertex.agent.llm_response": shown,
    }
    assert read_facts(span("call_llm", sent, scope=ADK)) == {
        "kind": "llm",
        "output": shown,
        "model": "gemini-2.5-pro",
        "input_tokens": 20,
        **told,
    }


def test_google_adk_a_call_that_failed_by_itself_tells_its_own_error() -> None:
    sent: Attributes = {"gcp.vertex.agent.llm_response": '{"error_code":"SAFETY"}'}
    assert "weak_status" not in read_facts(span("call_llm", sent, scope=ADK, status=STATUS_ERROR))
    cut: Attributes = {"gcp.vertex.agent.llm_response": '{"error_code":"SAFE'}
    assert "weak_status" not in read_facts(span("call_llm", cut, scope=ADK))


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        ("This tool call requires confirmation, please approve or reject.", "waiting", "waits for approval"),
        ("This tool call is rejected.", "cancelled", "rejected"),
        ("This tool call is odd.", None, None),
    ],
)
def test_a_tool_that_a_person_has_to_approve_waits(error: str, status: str | None, reason: str | None) -> None:
    """google/adk-python tools/function_tool.py, the same in JavaScript and Java."""
    for answer in (json.dumps({"error": error}), json.dumps({"error": error}, separators=(",", ":"))):
        sent: Attributes = {"gen_ai.operation.name": "execute_tool", "gcp.vertex.agent.tool_response": answer}
        facts = read_facts(span("execute_tool pay", sent, scope=ADK))
        assert (facts["name"], facts.get("status"), facts.get("status_reason")) == ("pay", status, reason)
