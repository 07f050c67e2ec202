"""CrewAI through OpenInference: crews and their tasks, flows and their methods."""

from __future__ import annotations

import re

from spantree_exporter.facts.reading import Convention, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_FLOW_ID = re.compile(r"_[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    if method := text_of(a.get("flow.node.name")):
        facts["name"] = method
        facts["kind"] = "step"
        facts["step"] = True
        if a.get("flow.node.type") == "router" and (chosen := text_of(a.get("output.value"))):
            facts["decision"] = chosen
    elif span.name.endswith(".kickoff"):
        facts["boundary"] = "run"
        facts["kind"] = "workflow"
        name = _FLOW_ID.sub("", span.name.removesuffix(".kickoff"))
        facts["name"] = name
        facts["workflow_name"] = name
        # A crew's id is the object's: the same for each of its runs. A flow's is new for each.
        if flow := text_of(a.get("flow_id")):
            facts["run_id"] = flow
    elif span.name.endswith("._execute_core"):
        facts["kind"] = "task"
        facts["step"] = True
        facts["name"] = text_of(a.get("task_name")) or span.name.removesuffix("._execute_core")
        if task := text_of(a.get("task_id")):
            facts["task_key"] = task
    elif a.get("openinference.span.kind") == "TOOL":
        facts["name"] = text_of(a.get("tool.name")) or span.name.removesuffix(".run")


CONVENTION = Convention("crewai", _read, scopes=("openinference.instrumentation.crewai",))
