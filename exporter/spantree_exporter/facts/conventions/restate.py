"""Restate, by the attribute names of its server and SDK hooks (`restate.*`); no recording of it has been seen.

The SDKs send a span for each attempt of an invocation and one for each `run` closure in it. Source: docs.restate.dev,
"Tracing".
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, status_of, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

# What the server sends around the attempts, each called `<what> <target>`.
_SERVER: Final = frozenset({"ingress", "ingress_kafka", "ingress_http", "invoke", "background_invoke"})
_END: Final = "invocation-end"


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    invocation = text_of(a.get("restate.invocation.id"))
    if closure := text_of(a.get("restate.run.name")):
        facts.setdefault("name", closure)
        facts.setdefault("kind", "step")
        facts.setdefault("step", True)
        return
    if invocation:
        facts.setdefault("run_id", invocation)
    target = text_of(a.get("restate.invocation.target"))
    if target is None:
        return
    what = span.name.partition(" ")[0]
    facts.setdefault("name", target)
    facts.setdefault("kind", "workflow")
    if what == _END:
        facts.setdefault("fold", "event")
        if status := status_of(a.get("restate.invocation.result")):
            facts.setdefault("status", status)
        return
    facts.setdefault("boundary", "run")
    facts.setdefault("workflow_name", target)
    if what in _SERVER:
        facts.setdefault("entry", span.name)
    elif invocation:
        facts.setdefault("task_key", invocation)


CONVENTION = Convention(
    "restate", _read, keys=("restate.invocation.id", "restate.invocation.target", "restate.run.name")
)
