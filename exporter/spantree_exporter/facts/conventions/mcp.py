"""The Model Context Protocol, by the semantic conventions `mcp.*`: `tools/call search`, `tools/list`, `initialize`.

A tool that is called over it is told up to three times: by the agent (`execute_tool search`), by the client of the
protocol and by its server, all as `execute_tool`. It is one call of a tool; the server answers a request.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import KIND_SERVER, Span

_CALL: Final = "tools/call"
_TOOL_NAMES: Final = ("gen_ai.tool.name", "mcp.tool.name")


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    if span.kind == KIND_SERVER:
        facts.setdefault("kind", "rpc")
        facts.setdefault("entry", span.name)
    elif a.get("mcp.method.name") == _CALL:
        facts.setdefault("kind", "tool")
        facts.setdefault("fold", "nested")
        if tool := next((name for key in _TOOL_NAMES if (name := text_of(a.get(key)))), None):
            facts.setdefault("name", tool)
    else:
        facts.setdefault("kind", "rpc")


CONVENTION = Convention("mcp", _read, keys=("mcp.method.name",))
