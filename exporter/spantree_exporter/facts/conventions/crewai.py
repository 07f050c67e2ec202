"""CrewAI through OpenInference: crews and their tasks, flows and their methods, agents that run by themselves.

A task is what an agent does of it: `<role>.<task>._execute_core`, or `.execute` where spans are made of its events.

OpenLLMetry tells crews, tasks and agents alike as `invoke_agent` (0.62, `instrumentation/crewai/instrumentation.py`;
openllmetry#3824): a task by what it asks for, whole, and of an agent what it used in all its tasks so far.
"""

from __future__ import annotations

import re

from spantree_exporter.facts.reading import Convention, put_preview, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_CREW = "crewai.workflow"
_FLOW_ID = re.compile(r"_[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    if method := text_of(a.get("flow.node.name")):
        facts["name"] = method
        facts["kind"] = "step"
        facts["step"] = True
        if a.get("flow.node.type") == "router" and (chosen := text_of(a.get("output.value"))):
            facts["decision"] = chosen
    elif span.name.endswith(".kickoff") and a.get("openinference.span.kind") == "AGENT":
        facts["boundary"] = "candidate"
        facts["kind"] = "agent"
        facts["name"] = text_of(a.get("graph.node.id")) or span.name.removesuffix(".kickoff")
    elif span.name.endswith(".kickoff"):
        facts["boundary"] = "run"
        facts["kind"] = "workflow"
        name = _FLOW_ID.sub("", span.name.removesuffix(".kickoff"))
        facts["name"] = name
        facts["workflow_name"] = name
        # A crew's id is the object's: the same for each of its runs. A flow's is new for each.
        if flow := text_of(a.get("flow_id")):
            facts["run_id"] = flow
    elif span.name.endswith("._execute_core") or (span.name.endswith(".execute") and "task_id" in a):
        facts["kind"] = "task"
        facts["step"] = True
        # An event's name holds the beginning of what is asked, which may be another with each run.
        role = text_of(a.get("graph.node.id")) if span.name.endswith(".execute") else None
        facts["name"] = text_of(a.get("task_name")) or role or span.name.rpartition(".")[0]
        if task := text_of(a.get("task_id")):
            facts["task_key"] = task
    elif a.get("openinference.span.kind") == "TOOL":
        facts["name"] = text_of(a.get("tool.name")) or span.name.removesuffix(".run")


def _read_openllmetry(span: Span, facts: Facts) -> None:
    a = span.attributes
    kind = a.get("traceloop.span.kind")
    if span.name == _CREW:
        facts["boundary"] = "run"
        facts["kind"] = "workflow"
        facts["name"] = text_of(a.get("crewai.crew.name")) or "crew"
        facts["workflow_name"] = facts["name"]
        put_preview(facts, "output", a.get("crewai.crew.result"))
    elif kind == "task":
        facts["kind"] = "task"
        facts["step"] = True
        # What it asks for may be another text with each run.
        name = text_of(a.get("crewai.task.name")) or text_of(a.get("crewai.task.agent"))
        facts["name"] = name or span.name.removesuffix(".task")
        if task := text_of(a.get("crewai.task.id")):
            facts["task_key"] = task
        put_preview(facts, "input", a.get("crewai.task.description"))
    elif kind == "agent":
        facts["usage_accumulated"] = True


CONVENTION = Convention("crewai", _read, scopes=("openinference.instrumentation.crewai",))
OPENLLMETRY = Convention("crewai_openllmetry", _read_openllmetry, scopes=("opentelemetry.instrumentation.crewai",))
