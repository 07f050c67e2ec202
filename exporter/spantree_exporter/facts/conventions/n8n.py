"""n8n 2.19 and newer: `workflow.execute` -> `node.execute` with `n8n.*` attributes; no recording of it has been seen.

Source: docs.n8n.io, "Trace executions with OpenTelemetry", and n8n's own constants for it.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, status_of, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_NODE: Final = "node.execute"


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    if node := text_of(a.get("n8n.node.name")):
        facts.setdefault("name", node)
        facts.setdefault("kind", "step")
        facts.setdefault("step", True)
        return
    if span.name == _NODE or "n8n.workflow.id" not in a:
        return
    facts.setdefault("boundary", "run")
    facts.setdefault("kind", "workflow")
    if name := text_of(a.get("n8n.workflow.name")):
        facts.setdefault("workflow_name", name)
        facts.setdefault("name", name)
    if run_id := text_of(a.get("n8n.execution.id")):
        facts.setdefault("run_id", run_id)
    if mode := text_of(a.get("n8n.execution.mode")):
        facts.setdefault("entry", mode)
    if status := status_of(a.get("n8n.execution.status")):
        facts.setdefault("run_status", status)
    if error_type := text_of(a.get("n8n.execution.error_type")):
        facts.setdefault("error_type", error_type)
    if before := text_of(a.get("n8n.execution.retry_of")):
        facts.setdefault("resumes", before)


CONVENTION = Convention("n8n", _read, keys=("n8n.workflow.id", "n8n.node.name"))
