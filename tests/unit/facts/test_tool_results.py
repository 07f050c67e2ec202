"""Tools that failed although their spans did not: what they were answered says so."""

from __future__ import annotations

import json

import pytest
from tests.unit.facts.spans import raised, span

from spantree_exporter.facts import read_facts
from spantree_exporter.span import STATUS_OK, STATUS_UNSET, Attributes, Event, JsonValue

_MCP: JsonValue = {"content": [{"type": "text", "text": "no such"}, {"type": "text", "text": "city"}], "isError": True}
_SAID = "no such\ncity"
_LANGFUSE: Attributes = {"langfuse.observation.type": "tool"}
_TOOL: Attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "weather"}


@pytest.mark.parametrize(
    ("scope", "kind", "key", "result", "message"),
    [
        # vercel/ai packages/mcp/src/tool/mcp-client.ts: what is an error is returned as it is
        ("ai", {"ai.operationId": "ai.toolCall", "ai.toolCall.name": "weather"}, "ai.toolCall.result", _MCP, _SAID),
        # google/adk-python mcp_tool.py returns the result, functions.py puts what is no dict below `result`
        ("gcp.vertex.agent", _TOOL, "gcp.vertex.agent.tool_response", _MCP, _SAID),
        ("gcp.vertex.agent", _TOOL, "gcp.vertex.agent.tool_response", {"result": _MCP}, _SAID),
        # mastra-ai/mastra#18481
        ("@mastra/otel", {"mastra.span.type": "mcp_tool_call", **_TOOL}, "gen_ai.tool.call.result", _MCP, _SAID),
        ("", _TOOL, "gen_ai.tool.call.result", {"isError": True, "content": []}, '{"isError": true, "content": []}'),
        ("", _LANGFUSE, "langfuse.observation.output", {"is_error": True, "content": "n"}, "n"),
        # LlamaIndex' ToolOutput
        (
            "openinference.instrumentation.llama_index",
            {"openinference.span.kind": "TOOL", "tool.name": "weather"},
            "output.value",
            {"blocks": [{"block_type": "text", "text": "no such city"}], "tool_name": "weather", "is_error": True},
            "no such city",
        ),
    ],
)  # fmt: skip
def test_a_result_that_is_an_error_is_the_tools_failure(
    scope: str, kind: Attributes, key: str, result: JsonValue, message: str
) -> None:
    for status in (STATUS_UNSET, STATUS_OK):
        facts = read_facts(span("execute_tool weather", {**kind, key: json.dumps(result)}, scope=scope, status=status))
        assert (facts["kind"], facts["status"], facts["error_message"]) == ("tool", "failed", message)
    well = json.dumps(result).replace("true", "false")
    assert "status" not in read_facts(span("execute_tool weather", {**kind, key: well}, scope=scope))


@pytest.mark.parametrize(
    ("shown", "status", "message"),
    [
        (
            "meta=None content=[TextContent(type='text', text=\"it's gone\", meta=None)] isError=True",
            "failed",
            "it's gone",
        ),
        ("meta=None content=[] isError=True", "failed", "meta=None content=[] isError=True"),
        ("meta=None content=[] structuredContent=None isError=False", None, None),
        # What a tool found, and what it says of others, is its business.
        ('{"error": "none of these", "status": "error"}', None, None),
        ('{"calls": [{"isError": true}]}', None, None),
        ('{"isError": "true"}', None, None),
        ("isError", None, None),
    ],
)  # fmt: skip
def test_only_what_a_protocol_calls_an_error_is_one(shown: str, status: str | None, message: str | None) -> None:
    facts = read_facts(span("weather", {"openinference.span.kind": "TOOL", "output.value": shown}))
    assert (facts.get("status"), facts.get("error_message")) == (status, message)
    # What holds such a result and is no tool did not fail by it.
    assert "status" not in read_facts(span("agent", {"openinference.span.kind": "AGENT", "output.value": shown}))


def test_an_exception_says_more_than_the_result() -> None:
    sent: Attributes = {**_TOOL, "gen_ai.tool.call.result": json.dumps(_MCP)}
    facts = read_facts(span("execute_tool weather", sent, status=2, events=[raised("McpError", "closed")]))
    assert (facts["error_type"], facts["error_message"], "status" in facts) == ("McpError", "closed", False)


@pytest.mark.parametrize(
    "answered",
    [
        Event(1_900, "gen_ai.choice", {"message": '[{"text": "Error: no such city"}]', "id": "t"}),
        Event(
            1_900,
            "gen_ai.client.inference.operation.details",
            {
                "gen_ai.output.messages": '[{"role": "tool", "parts": [{"type": "tool_call_response", "id": "t",'
                ' "response": [{"text": "Error: no such city"}]}]}]'
            },
        ),
    ],
)
def test_the_reason_of_a_tool_that_only_says_that_it_failed_is_its_result(answered: Event) -> None:
    """Strands for Python up to 1.34, whose spans of such tools ended OK (strands-agents/harness-sdk#2016)."""
    sent: Attributes = {**_TOOL, "gen_ai.tool.status": "error"}
    facts = read_facts(
        span("execute_tool weather", sent, scope="strands.telemetry.tracer", status=STATUS_OK, events=[answered])
    )
    assert (facts["status"], facts["error_message"]) == ("failed", "Error: no such city")
