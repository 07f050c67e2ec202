"""The Model Context Protocol, by the semantic conventions `mcp.*`: `tools/call search`, `tools/list`, `initialize`.

A tool that is called over it is told up to three times: by the agent (`execute_tool search`), by the client of the
protocol and by its server, all as `execute_tool`. It is one call of a tool; the server answers a request. The SDK for
Python (2.0 and newer) calls the client's part `MCP send tools/call search`.

A tool that fails is no failure of the protocol: the server answers with a result that says so, `error.type` is
`tool_error`, and the client, a model most often, goes on with it. FastMCP's client says so, too, whether it raises it
then or not.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import KIND_SERVER, Span

_CALL: Final = "tools/call"
_SENT: Final = "MCP send "
_TOLD_TO_CLIENT: Final = "tool_error"
_TOOL_NAMES: Final = ("gen_ai.tool.name", "mcp.tool.name")


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    if a.get("error.type") == _TOLD_TO_CLIENT:
        facts["declared_handled"] = True
    if span.kind == KIND_SERVER:
        facts.setdefault("kind", "rpc")
        facts.setdefault("entry", span.name)
        # A session of the protocol is of one client, and often of one call: no conversation, if somebody knows better.
        if span.parent_span_id is None and (session := text_of(a.get("mcp.session.id"))):
            facts.setdefault("conversation_id", session)
    elif a.get("mcp.method.name") == _CALL:
        facts.setdefault("kind", "tool")
        facts.setdefault("fold", "nested")
        if tool := next((name for key in _TOOL_NAMES if (name := text_of(a.get(key)))), None):
            facts.setdefault("name", tool)
        elif span.name.startswith(_SENT):
            facts.setdefault("name", span.name.removeprefix(_SENT).removeprefix(_CALL).strip() or _CALL)
    else:
        facts.setdefault("kind", "rpc")
        if span.name.startswith(_SENT):
            facts.setdefault("name", span.name.removeprefix(_SENT))


CONVENTION = Convention("mcp", _read, keys=("mcp.method.name",))
