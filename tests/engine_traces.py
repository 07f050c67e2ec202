"""Traces of workflow engines, written span by span as OTLP, and what becomes of them: decoded, read, assembled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson

from spantree_exporter.assemble import assemble
from spantree_exporter.facts import read_facts
from spantree_exporter.otlp.decode import JSON, decode_request
from spantree_exporter.projection import facts_of_span
from spantree_exporter.rows import Assembled
from spantree_exporter.span import KIND_INTERNAL, STATUS_UNSET

# (name, milliseconds, attributes)
Events: TypeAlias = "tuple[tuple[str, float, dict[str, str]], ...]"

TRACE = "0af7651916cd43dd8448eb211c80319c"
_SENT_NS = 1_700_000_000_000_000_000
_MS = 1_000_000


@dataclass
class EngineTrace:
    """Spans of one scope, in milliseconds after the trace began; `span` returns the id, for those below it."""

    scope: str
    trace_state: str = ""
    resource: dict[str, str] = field(default_factory=dict)
    _sent: list[dict[str, Any]] = field(default_factory=list)

    def span(
        self,
        name: str,
        parent: int | None = None,
        at: tuple[float, float] = (0, 1),
        attributes: dict[str, Any] | None = None,
        *,
        kind: int = KIND_INTERNAL,
        status: int = STATUS_UNSET,
        message: str = "",
        events: Events = (),
        scope: str | None = None,
        host: str = "",
    ) -> int:
        span_id = len(self._sent) + 1
        sent = {
            "traceId": TRACE,
            "spanId": f"{span_id:016x}",
            "parentSpanId": f"{parent:016x}" if parent is not None else "",
            "traceState": self.trace_state,
            "name": name,
            "kind": kind,
            "startTimeUnixNano": _ns(at[0]),
            "endTimeUnixNano": _ns(at[1]),
            "status": {"code": status, "message": message},
            "attributes": _pairs(attributes or {}),
            "events": [{"name": event, "timeUnixNano": _ns(ms), "attributes": _pairs(a)} for event, ms, a in events],
        }
        self._sent.append(
            {
                "resource": {"attributes": _pairs({"service.name": "engine", "host.name": host, **self.resource})},
                "scopeSpans": [{"scope": {"name": self.scope if scope is None else scope}, "spans": [sent]}],
            }
        )
        return span_id

    def assembled(self) -> Assembled:
        decoded = decode_request(orjson.dumps({"resourceSpans": self._sent}), JSON, 1)
        assert not decoded.dead
        return assemble([facts_of_span(span, read_facts(span)) for span in decoded.spans], TRACE)

    def told(self) -> tuple[Any, ...]:
        """The execution's workflow, run and status, then (depth, name, status, attempt) of each node in its order."""
        result = self.assembled()
        run = result.execution
        nodes = [(n.depth, n.name, n.status, n.attempt) for n in sorted(result.nodes, key=lambda n: n.sequence)]
        return (run.workflow_name, run.run_id, run.status, *nodes)


def _ns(ms: float) -> str:
    return str(_SENT_NS + int(ms * _MS))


def _pairs(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _value(value: object) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"stringValue": value}
