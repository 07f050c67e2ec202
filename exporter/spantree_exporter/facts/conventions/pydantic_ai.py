"""pydantic-ai (scope `pydantic-ai`, seen with 2.68): retries, approvals, the names of both its attribute versions.

A run that was given the usage of another (`usage=`, as of an agent that another one calls) tells of both (#8368).
A run that is cancelled leaves no error: its span just ends without a result (capabilities/instrumentation.py sets
`final_result` on every return, and catches only what is an Exception), that of the model's call without an answer.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, json_of, put_preview, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_ERROR, STATUS_UNSET, JsonValue, Span

# pydantic_ai.tool.retry.cause: what the tool raised, where the exception event only says ToolRetryError.
_CAUSES: Final = {"model_retry": "ModelRetry", "validation_error": "ValidationError"}


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    name = span.name
    if name.startswith(("invoke_agent ", "agent run")):
        facts["kind"] = "agent"
        facts["boundary"] = "candidate"
        if agent := text_of(a.get("gen_ai.agent.name")) or text_of(a.get("agent_name")):
            facts["name"] = agent
            facts["workflow_name"] = agent
        if call := text_of(a.get("gen_ai.agent.call.id")):
            facts["run_id"] = call
        if "gen_ai.aggregated_usage.input_tokens" in a or "gen_ai.usage.input_tokens" in a:
            facts["usage_accumulated"] = True
        result = a.get("final_result")
        # DeferredToolRequests: the run ended to ask somebody; it is taken up by another run.
        deferred = json_of(result)
        if result is None and span.status_code == STATUS_UNSET and _tells_content(span):
            facts["run_status"] = "cancelled"
            facts["status_reason"] = "the run ended without a result"
        if isinstance(deferred, dict) and (deferred.get("approvals") or deferred.get("calls")) and "calls" in deferred:
            facts["run_status"] = "waiting"
            facts["status_reason"] = "tools wait for approval or for results from outside"
        put_preview(facts, "input", a.get("pydantic_ai.all_messages", a.get("all_messages_events")))
        put_preview(facts, "output", result)
    elif name.startswith(("execute_tool ", "running tool")):
        if name.startswith(("running tools", "running output")):
            facts["fold"] = "parent"
        facts["kind"] = "tool"
        if tool := text_of(a.get("gen_ai.tool.name")):
            facts["name"] = tool
        put_preview(facts, "input", a.get("gen_ai.tool.call.arguments", a.get("tool_arguments")))
        put_preview(facts, "output", a.get("gen_ai.tool.call.result", a.get("tool_response")))
        if deferral := text_of(a.get("pydantic_ai.tool.deferral.name")):
            facts["status"] = "waiting"
            facts["status_reason"] = deferral
        if (attempt := whole_number(a.get("pydantic_ai.tool.retry.attempt"))) is not None:
            facts["attempt"] = attempt
            facts["retry_expected"] = True
            if (most := whole_number(a.get("pydantic_ai.tool.retry.max_retries"))) is not None:
                facts["max_attempts"] = most + 1
            cause = a.get("pydantic_ai.tool.retry.cause")
            if isinstance(cause, str) and span.status_code == STATUS_ERROR:
                facts["error_type"] = _CAUSES.get(cause, cause)
        elif span.status_code == STATUS_ERROR:
            _put_exhausted(span, facts)
    elif name.startswith("chat "):
        # The step of an agent that asks its model: the same step whichever model that is, which `model` tells.
        facts["kind"] = "llm"
        facts["name"] = "model"
        if span.status_code == STATUS_UNSET and "gen_ai.response.model" not in span.attributes and not span.events:
            facts["status"] = "cancelled"
            facts["status_reason"] = "the call ended without an answer"


def _tells_content(span: Span) -> bool:
    """Whether the span has what the run said (a setting leaves it out), or nothing had been said yet."""
    messages = span.attributes.get("pydantic_ai.all_messages", span.attributes.get("all_messages_events"))
    return isinstance(messages, str) and (messages == "[]" or '"content"' in messages)


def _put_exhausted(span: Span, facts: Facts) -> None:
    """Put what a tool raised that may not be tried again: the exception says that, its traceback why."""
    for event in span.events:
        if str(event.attributes.get("exception.type", "")).endswith("UnexpectedModelBehavior"):
            facts["retry_expected"] = True
            _put_cause(event.attributes.get("exception.stacktrace"), facts)


def _put_cause(traceback: JsonValue, facts: Facts) -> None:
    """Put the first of the exceptions in `traceback` that ask the model to try again."""
    if not isinstance(traceback, str):
        return
    starts = [(traceback.find(f"{name}: "), name) for name in ("ModelRetry", "ValidationError")]
    found = min((start for start in starts if start[0] >= 0), default=None)
    if found is not None:
        place, name = found
        facts["error_type"] = name
        facts["error_message"] = traceback[place + len(name) + 2 :].split("\n", 1)[0]


CONVENTION = Convention("pydantic_ai", _read, scopes=("pydantic-ai",))
