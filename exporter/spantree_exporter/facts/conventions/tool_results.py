"""Tools that failed although their spans did not: the error is the result, which whoever called the tool is told.

Protocols of tools tell an error by a member of the result, and whoever traces the call sees one that was answered:

    {"content": [{"text": "no such file"}], "isError": true}    MCP's CallToolResult, passed on as it is by Vercel's AI
                                                          SDK, Google's ADK and Mastra (mastra#18481)
    {"content": "no such file", "is_error": true}         blocks of Anthropic's, LlamaIndex' ToolOutput
    {"type": "tool", "status": "error", ...}              LangChain's ToolMessage
    meta=None content=[TextContent(...)] isError=True     the first, as Python shows it

Only these are errors. A tool of one's own whose result has a member `error` may have found one in what it looked at.
Strands' up to 1.34 say `gen_ai.tool.status` of such a tool, and the reason in the result alone (harness-sdk#2016).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from spantree_exporter.facts.reading import Convention, json_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_ERROR, JsonValue, Span

_RESULTS: Final = (
    "gen_ai.tool.call.result",
    "output.value",
    "ai.toolCall.result",
    "gcp.vertex.agent.tool_response",
    "traceloop.entity.output",
    "gen_ai.completion",
    "langfuse.observation.output",
    "mlflow.spanOutputs",
    "langwatch.output",
)
# Who puts a result into something, and under which name: LangChain, Traceloop, LangSmith, OpenInference, Google's ADK.
_ENVELOPES: Final = ("output", "outputs", "data", "kwargs", "result", "value")
# Without one of these in it a result needs no parsing.
_SIGNS: Final = ("isError", "is_error", '"error"')
_SHOWN: Final = " isError=True"
_SHOWN_TEXT: Final = re.compile(r"\btext=(?:'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\")")
_TEXTS: Final = ("text", "parts", "response", "content")
_DEPTH: Final = 6
_MESSAGE_CHARS: Final = 1000


def _read(span: Span, facts: Facts) -> None:
    if facts.get("kind") != "tool" or span.status_code == STATUS_ERROR:
        return
    a = span.attributes
    for key in _RESULTS:
        told = a.get(key)
        if isinstance(told, str) and any(sign in told for sign in _SIGNS):
            if (error := _error_in(told)) is not None:
                facts.setdefault("status", "failed")
                if error:
                    facts.setdefault("error_message", error[:_MESSAGE_CHARS])
            break
    if facts.get("status") == "failed" and "error_message" not in facts and (shown := facts.get("output")):
        blocks = json_of(shown)
        facts["error_message"] = (_text(blocks) or shown)[:_MESSAGE_CHARS]


def _error_in(told: str) -> str | None:
    """What a result says of the error that it is, perhaps nothing; None where it is none."""
    if told.rstrip(")").endswith(_SHOWN):
        text = _SHOWN_TEXT.search(told)
        return (text[1] or text[2] or "") if text is not None else ""
    result = json_of(told)
    for envelope in (None, *_ENVELOPES):
        inner = result.get(envelope) if envelope is not None and isinstance(result, dict) else result
        if not isinstance(inner, dict):
            continue
        result = inner
        if result.get("isError") is True or result.get("is_error") is True or _is_tool_message_of_error(result):
            return _text(result.get("content")) or _text(result.get("blocks"))
    return None


def _is_tool_message_of_error(result: Mapping[str, JsonValue]) -> bool:
    return result.get("status") == "error" and result.get("type") == "tool"


def _text(content: JsonValue, depth: int = 0) -> str:
    """The text of what may be a text, a block that has one, or a list of blocks: MCP's, Bedrock's, GenAI's messages."""
    if isinstance(content, dict) and depth < _DEPTH:
        return next((text for key in _TEXTS if (text := _text(content.get(key), depth + 1))), "")
    if isinstance(content, list) and depth < _DEPTH:
        return "\n".join(text for block in content if (text := _text(block, depth + 1)))
    return content if isinstance(content, str) else ""


CONVENTION = Convention("tool_results", _read, keys=(*_RESULTS, "gen_ai.tool.status"))
