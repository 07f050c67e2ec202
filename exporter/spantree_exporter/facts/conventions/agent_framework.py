"""Microsoft's Agent Framework (scope `agent_framework`, seen with 1.23): executors, and messages as exact edges.

An executor's span links to the `message.send` spans whose messages it took; edge group spans link to the same ones and
say what kind of edge carried them. A workflow's definition comes in a trace of its own when it is built.

An agent that ends with a request for a person (`function_approval_request`, or another content that is marked as
`user_input_request`) waits for the answer. One that is cancelled leaves no error, and no answer: observability.py
writes that down on every return. Both only where content is sent. So does a workflow's run (`_workflow.py`), always.
"""

from __future__ import annotations

from typing import Any, Final

from spantree_exporter.facts.reading import Convention, json_of, text_of
from spantree_exporter.facts.vocabulary import Facts, GraphFact
from spantree_exporter.span import STATUS_UNSET, Span

_QUESTION: Final = "gen_ai.input.messages"
_ANSWER: Final = "gen_ai.output.messages"
_ANSWERED: Final = (_ANSWER, "gen_ai.response.id", "gen_ai.response.finish_reasons", "gen_ai.usage.output_tokens")
_ENDS: Final = ("workflow.completed", "workflow.error")
_ASKS_A_PERSON: Final = '"user_input_request": true'


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    name = span.name
    if executor := text_of(a.get("executor.id")):
        facts["name"] = executor
        facts["kind"] = "step"
        facts["step"] = True
        facts["flow_links"] = True
        if a.get("message.type") == "MessageType.RESPONSE":
            facts["resumes"] = executor
    elif name.startswith("workflow.run"):
        facts["boundary"] = "run"
        facts["kind"] = "workflow"
        # The workflow's id is that of the object: equal in a run and in the one that answers its requests.
        if workflow := text_of(a.get("workflow.name")):
            facts["workflow_name"] = workflow
            facts["name"] = workflow
        if span.status_code == STATUS_UNSET and _was_left(span):
            facts["status"] = "cancelled"
            facts["status_reason"] = "it ended without completing"
    elif name.startswith("workflow.build"):
        facts["fold"] = "definition"
        facts["kind"] = "definition"
        if workflow := text_of(a.get("workflow_builder.name")):
            facts["workflow_name"] = workflow
        definition = json_of(a.get("workflow.definition"))
        if isinstance(definition, dict):
            facts["graph"] = _graph(definition)
    elif name.startswith("edge_group.process"):
        facts["fold"] = "carrier"
        group = text_of(a.get("edge_group.type")) or ""
        if group == "SwitchCaseEdgeGroup":
            # `SwitchCaseEdgeGroup/<uuid>` unless somebody gave it an id.
            given = text_of(a.get("edge_group.id")) or group
            facts["condition"] = group if given.startswith(group + "/") else given
    elif name == "message.send":
        facts["fold"] = "parent"
    elif span.status_code == STATUS_UNSET:
        _put_end_of_call(span, facts)


def _was_left(span: Span) -> bool:
    """Whether a workflow started and came to neither of its ends."""
    told = {event.name for event in span.events}
    return "workflow.started" in told and told.isdisjoint(_ENDS)


def _put_end_of_call(span: Span, facts: Facts) -> None:
    """Put how an agent or a model's call ended that raised nothing."""
    a = span.attributes
    answer = a.get(_ANSWER)
    if isinstance(answer, str) and _ASKS_A_PERSON in answer:
        facts["status"] = "waiting"
        facts["status_reason"] = "it asks for a person's answer"
    elif _QUESTION in a and not any(key in a for key in _ANSWERED):
        facts["status"] = "cancelled"
        facts["status_reason"] = "it ended without an answer"


def _graph(definition: dict[str, Any]) -> GraphFact:
    executors = definition.get("executors")
    graph: GraphFact = {"nodes": sorted(executors) if isinstance(executors, dict) else [], "edges": []}
    for group in definition.get("edge_groups") or []:
        for edge in group.get("edges") or [] if isinstance(group, dict) else []:
            start, end = text_of(edge.get("source_id")), text_of(edge.get("target_id"))
            if start and end and not start.startswith("internal:"):
                graph["edges"].append([start, end])
    return graph


CONVENTION = Convention("agent_framework", _read, scopes=("agent_framework",))
