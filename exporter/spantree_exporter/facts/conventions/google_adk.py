"""Google's Agent Development Kit (scope `gcp.vertex.agent`, seen with 1.14 and 2.13).

An agent hands over by calling the tool `transfer_to_agent`; since version 2 its argument is sent only with content.
A call's response is told whole: what was thought is beside the output in it, and a refusal is no exception but an
`error_code` (`models/llm_response.py`).
JavaScript's tells the nodes of a graph (`execute_node`), with a span of each attempt where a node is tried again.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, json_of, put_preview, status_of, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_UNSET, JsonValue, Span

_NODE: Final = "execute_node "
_ATTEMPT: Final = "execute_node_attempt "
_WORKFLOW: Final = "invoke_workflow "
# Members of a response that say what its span does not.
_READ: Final = ('"thoughts_token_count"', '"cached_content_token_count"', '"error_code"')
# What a tool is answered with that a person has to approve (`tools/function_tool.py`), instead of being run.
_ASKS: Final = "This tool call requires confirmation, please approve or reject."
_REJECTED: Final = "This tool call is rejected."
_STOP: Final = "STOP"  # an answer without words
_MESSAGE_CHARS: Final = 1000


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    name = span.name
    if name == "invocation":
        facts["boundary"] = "run"
        facts["kind"] = "workflow"
    elif name.startswith(("agent_run [", "invoke_agent ")):
        facts["kind"] = "agent"
        facts["name"] = name.removeprefix("agent_run [").removesuffix("]").removeprefix("invoke_agent ")
        # The outermost agent is the application: what the invocation is a run of.
        facts["workflow_name"] = facts["name"]
    elif name.startswith("execute_tool "):
        facts["kind"] = "tool"
        facts["name"] = name.removeprefix("execute_tool ")
        if facts["name"] == "(merged)":
            facts["fold"] = "parent"
        elif facts["name"] == "transfer_to_agent":
            facts["kind"] = "handoff"
            facts["handoff_from"] = text_of(a.get("gen_ai.agent.name")) or ""
            arguments = json_of(a.get("gcp.vertex.agent.tool_call_args", a.get("gen_ai.tool.call.arguments")))
            if isinstance(arguments, dict) and (taker := text_of(arguments.get("agent_name"))):
                facts["handoff_to"] = taker
        put_preview(facts, "input", a.get("gcp.vertex.agent.tool_call_args"))
        answer = a.get("gcp.vertex.agent.tool_response")
        put_preview(facts, "output", answer)
        if isinstance(answer, str) and '"This tool call ' in answer and isinstance(said := json_of(answer), dict):
            _put_confirmation(said.get("error"), facts)
    elif name.startswith((_NODE, _ATTEMPT)):
        _put_node(span, facts)
    elif name.startswith(_WORKFLOW):
        facts["name"] = text_of(a.get("adk.workflow.name")) or name.removeprefix(_WORKFLOW)
        facts["workflow_name"] = facts["name"]
    elif name == "call_llm" or "gcp.vertex.agent.llm_request" in a:
        facts["kind"] = "llm"
        put_preview(facts, "input", a.get("gcp.vertex.agent.llm_request"))
        response = a.get("gcp.vertex.agent.llm_response")
        put_preview(facts, "output", response)
        if isinstance(response, str) and any(member in response for member in _READ):
            _put_response(span, facts, json_of(response))
    if run_id := text_of(a.get("gcp.vertex.agent.invocation_id")):
        facts["run_id"] = run_id
    if session := text_of(a.get("gcp.vertex.agent.session_id")):
        facts["conversation_id"] = session


def _put_confirmation(said: JsonValue, facts: Facts) -> None:
    if said == _ASKS:
        facts["status"] = "waiting"
        facts["status_reason"] = "waits for approval"
    elif said == _REJECTED:
        facts["status"] = "cancelled"
        facts["status_reason"] = "rejected"


def _put_response(span: Span, facts: Facts, response: JsonValue) -> None:
    if not isinstance(response, dict):
        return
    usage = response.get("usage_metadata")
    if isinstance(usage, dict):
        made, thought = (
            whole_number(usage.get("candidates_token_count")),
            whole_number(usage.get("thoughts_token_count")),
        )
        if thought is not None:
            facts["reasoning_tokens"] = thought
            facts["output_tokens"] = (made or 0) + thought
        if (cached := whole_number(usage.get("cached_content_token_count"))) is not None:
            facts["cached_input_tokens"] = cached
    code = text_of(response.get("error_code"))
    if code and code != _STOP and span.status_code == STATUS_UNSET:
        facts["weak_status"] = "failed"
        facts["error_type"] = code
        if message := text_of(response.get("error_message")):
            facts["error_message"] = message[:_MESSAGE_CHARS]


def _put_node(span: Span, facts: Facts) -> None:
    a = span.attributes
    is_attempt = span.name.startswith(_ATTEMPT)
    facts["kind"] = "step"
    facts["step"] = True
    facts["name"] = span.name.removeprefix(_ATTEMPT if is_attempt else _NODE)
    path, run = text_of(a.get("adk.node.path")), text_of(a.get("adk.node.run_id"))
    if path:
        facts["task_key"] = f"{path}/{run or ''}"
    if status := status_of(a.get("adk.node.status")):
        facts["status"] = status
    if not is_attempt:
        facts["fold"] = "outer"
        return
    facts["retry_expected"] = True
    if (attempt := whole_number(a.get("adk.node.attempt"))) is not None and attempt > 0:
        facts["attempt"] = attempt


CONVENTION = Convention("google_adk", _read, scopes=("gcp.vertex.agent", "google.adk"))
