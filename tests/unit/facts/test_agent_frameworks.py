"""Frameworks of agents and flows that need few rules of their own: what each of their spans says."""

from __future__ import annotations

import json

import pytest
from tests.unit.facts.spans import raised, span

from spantree_exporter.facts import Facts, read_facts
from spantree_exporter.facts.conventions.llama_index import token
from spantree_exporter.span import (
    KIND_CLIENT,
    KIND_CONSUMER,
    KIND_PRODUCER,
    KIND_SERVER,
    STATUS_ERROR,
    STATUS_OK,
    STATUS_UNSET,
    Attributes,
    Event,
)

CREWAI = "openinference.instrumentation.crewai"
LLAMA_INDEX = "openinference.instrumentation.llama_index"
ADK = "gcp.vertex.agent"
AGENT_FRAMEWORK = "agent_framework"
LANGFUSE = "langfuse-sdk"
CHAIN: Attributes = {"openinference.span.kind": "CHAIN"}


def crewai(name: str, more: Attributes) -> Facts:
    """The facts of a CHAIN span of CrewAI."""
    return read_facts(span(name, {**CHAIN, **more}, scope=CREWAI))


def test_crewai_crews_tasks_and_flows() -> None:
    run = {"boundary": "run", "kind": "workflow"}
    assert crewai("press.kickoff", {"crew_id": "c-1"}) == {**run, "name": "press", "workflow_name": "press"}
    flow_id = "e21a634c-a606-4153-9483-d6ce03f0f52f"
    assert crewai(f"Flow_{flow_id}.kickoff", {"flow_id": flow_id}) == {
        **run,
        "name": "Flow",
        "workflow_name": "Flow",
        "run_id": flow_id,
    }
    assert crewai("writer.write._execute_core", {"task_name": "write", "task_id": "t-1"}) == {
        "kind": "task",
        "step": True,
        "name": "write",
        "task_key": "t-1",
        "boundary": "candidate",
    }
    router: Attributes = {"flow.node.name": "choose", "flow.node.type": "router", "output.value": "left"}
    assert crewai(f"Flow_{flow_id}.choose", router) == {
        "name": "choose",
        "kind": "step",
        "step": True,
        "decision": "left",
        "boundary": "candidate",
        "output": "left",
    }


def test_crewai_of_its_events_and_agents_by_themselves() -> None:
    """Arize-ai/openinference#2844: `Agent.kickoff()` is no crew."""
    task: Attributes = {"openinference.span.kind": "AGENT", "task_id": "t-1", "graph.node.id": "writer"}
    told = {"kind": "task", "step": True, "task_key": "t-1", "boundary": "candidate"}
    assert crewai("writer.Write of cats.execute", task) == {**told, "name": "writer"}
    assert crewai("writer.write.execute", {**task, "task_name": "write"}) == {**told, "name": "write"}
    agent: Attributes = {"openinference.span.kind": "AGENT", "graph.node.id": "writer"}
    assert crewai("writer.kickoff", agent) == {"boundary": "candidate", "kind": "agent", "name": "writer"}


def test_the_steps_of_smolagents_are_turns() -> None:
    scope = "openinference.instrumentation.smolagents"
    turn = read_facts(span("Step 12", CHAIN, scope=scope))
    assert (turn["kind"], turn["name"]) == ("turn", "step")
    assert "name" not in read_facts(span("Step 12", CHAIN, scope="openinference.instrumentation.agno"))


def test_messages_of_autogen_are_named_without_the_id_of_their_team() -> None:
    scope, team = "autogen SingleThreadedAgentRuntime", "2a68b69d-7dfd-4db7-8cdd-33de639bf02f"
    process: Attributes = {"messaging.operation": "process", "messaging.destination": f"critic_{team}.({team})-A"}
    facts = read_facts(span(f"autogen process critic_{team}.({team})-A", process, scope=scope, kind=KIND_CONSUMER))
    assert (facts["name"], facts["kind"]) == ("autogen process critic", "task")
    publish: Attributes = {"messaging.operation": "publish", "messaging.destination": f"group_topic_{team}.({team})-T"}
    facts = read_facts(span(f"autogen publish group_topic_{team}.({team})-T", publish, scope=scope, kind=KIND_PRODUCER))
    assert (facts["name"], facts["kind"]) == ("autogen publish group_topic", "message")


def test_a_generator_that_nobody_read_to_its_end_is_not_cancelled() -> None:
    """OpenInference's AutoGen records the CancelledError of a stream that had ended well, beside a status of OK."""
    events = [raised("asyncio.exceptions.CancelledError", "")]
    name = "boss.on_messages_stream"
    agent: Attributes = {"openinference.span.kind": "AGENT"}
    assert read_facts(span(name, agent, status=STATUS_OK, events=events))["status"] == "completed"
    assert read_facts(span(name, agent, status=STATUS_ERROR, events=events))["status"] == "cancelled"


@pytest.mark.parametrize(
    ("kind", "name", "more", "told"),
    [
        (KIND_CLIENT, "MCP send tools/call weather", {"jsonrpc.request.id": "3"}, ("tool", "weather", None)),
        (KIND_CLIENT, "MCP send tools/list", {"jsonrpc.request.id": "2"}, ("rpc", "tools/list", None)),
        (KIND_SERVER, "tools/list", {"mcp.session.id": "s-1"}, ("rpc", None, None)),
        (
            KIND_SERVER,
            "tools/call weather",
            {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "weather", "error.type": "tool_error"},
            ("rpc", None, True),
        ),
        (
            KIND_CLIENT,
            "tools/call weather",
            {"gen_ai.tool.name": "weather", "error.type": "tool_error"},
            ("tool", "weather", True),
        ),
    ],
)
def test_calls_of_mcp(kind: int, name: str, more: Attributes, told: tuple[str, str | None, bool | None]) -> None:
    """The SDK of MCP for Python 2.3 by itself. A tool's own failure is part of a good answer."""
    attributes: Attributes = {"mcp.method.name": name.removeprefix("MCP send ").partition(" ")[0], **more}
    status = STATUS_ERROR if "error.type" in more else STATUS_UNSET
    facts = read_facts(span(name, attributes, kind=kind, status=status, scope="mcp-python-sdk"))
    assert (facts["kind"], facts.get("name"), facts.get("declared_handled")) == told
    assert "conversation_id" not in facts
    if kind == KIND_SERVER:
        alone = read_facts(span(name, {**attributes, "mcp.session.id": "s-1"}, kind=kind, parent=None))
        assert alone["conversation_id"] == "s-1"


def test_llama_index_steps_take_in_and_give_out_events() -> None:
    attributes: Attributes = {**CHAIN, "input.value": '{"ev": "Asked(q=1)"}', "output.value": "Found(n=2)"}
    facts = read_facts(span("Rag.search", attributes, scope=LLAMA_INDEX))
    assert (facts["name"], facts["kind"], facts["step"]) == ("search", "step", True)
    assert (facts["consumes"], facts["emits"]) == ([token("Asked(q=1)")], [token("Found(n=2)")])
    run = read_facts(span("Rag.run", CHAIN, scope=LLAMA_INDEX))
    assert (run["boundary"], run["name"], run["workflow_name"]) == ("run", "Rag", "Rag")
    call = read_facts(span("OpenAI.chat", {"openinference.span.kind": "LLM"}, scope=LLAMA_INDEX))
    assert (call["name"], call["kind"], call["fold"]) == ("OpenAI", "llm", "nested")


def test_llama_index_tells_by_an_event_what_was_cancelled_and_by_a_name_what_is_no_call() -> None:
    cancelled = Event(1_500, "span.cancelled", {"reason": "step cancelled"})
    ended = span("Brief.draft", {"openinference.span.kind": "CHAIN"}, scope=LLAMA_INDEX, events=[cancelled])
    facts = read_facts(ended)
    assert (facts["status"], facts["status_reason"]) == ("cancelled", "step cancelled")
    model: Attributes = {"openinference.span.kind": "LLM"}
    folds = {
        name: read_facts(span(name, model, scope=LLAMA_INDEX)).get("fold") for name in ("GPT._prepare_x", "GPT.chat")
    }
    assert folds == {"GPT._prepare_x": "parent", "GPT.chat": "nested"}


def test_llama_index_its_own_spans_are_named_without_their_id() -> None:
    scope = "llamaindex.opentelemetry.tracer"
    begun = [Event(1_100, "LLMChatStartEvent", {"model_dict.model": "gpt-x"})]
    named = "OpenAI.chat-f81d4fae-7dec-41d0-a765-00a0c91e6bf6"
    told = {"name": "OpenAI.chat", "kind": "llm", "model": "gpt-x"}
    assert read_facts(span(named, scope=scope, events=begun)) == told
    assert read_facts(
        span("VectorIndexRetriever.retrieve", scope=scope, events=[Event(1, "RetrievalStartEvent", {})])
    ) == {"kind": "retriever"}
    assert read_facts(span("Workflow.run", scope=scope, events=[Event(1, "SpanDropEvent", {})])) == {}
    cancelled = [Event(1, "SpanCancelledEvent", {"reason": "step cancelled"})]
    assert read_facts(span("Flow.load", scope=scope, status=STATUS_OK, events=cancelled)) == {
        "status": "cancelled",
        "status_reason": "step cancelled",
    }


def test_google_adk_names_agents_and_tools_and_tells_whose_session_it_is() -> None:
    assert read_facts(span("invocation", {}, scope=ADK)) == {"boundary": "run", "kind": "workflow"}
    agent: Facts = {"kind": "agent", "name": "planner", "workflow_name": "planner"}
    assert read_facts(span("agent_run [planner]", {}, scope=ADK)) == agent
    call: Attributes = {
        "gcp.vertex.agent.invocation_id": "e-1",
        "gcp.vertex.agent.session_id": "s-1",
        "gen_ai.request.model": "gemini",
        "gcp.vertex.agent.llm_request": "{}",
    }
    assert read_facts(span("call_llm", call, scope=ADK)) == {
        "kind": "llm",
        "run_id": "e-1",
        "conversation_id": "s-1",
        "model": "gemini",
        "input": "{}",
    }
    assert read_facts(span("execute_tool (merged)", {}, scope=ADK))["fold"] == "parent"
    transfer: Attributes = {"gcp.vertex.agent.tool_call_args": '{"agent_name": "billing"}'}
    facts = read_facts(span("execute_tool transfer_to_agent", transfer, scope=ADK))
    assert (facts["kind"], facts["handoff_to"]) == ("handoff", "billing")


def test_agent_framework_executors_are_led_to_by_links() -> None:
    executor: Attributes = {"executor.id": "parse", "message.type": "MessageType.STANDARD"}
    step = {"name": "parse", "kind": "step", "step": True, "flow_links": True}
    assert read_facts(span("executor.process parse", executor, scope=AGENT_FRAMEWORK)) == step
    answered = {**executor, "message.type": "MessageType.RESPONSE"}
    assert read_facts(span("executor.process parse", answered, scope=AGENT_FRAMEWORK)) == {**step, "resumes": "parse"}
    switch: Attributes = {"edge_group.type": "SwitchCaseEdgeGroup", "edge_group.id": "by size"}
    carrier = read_facts(span("edge_group.process SwitchCaseEdgeGroup", switch, scope=AGENT_FRAMEWORK))
    assert carrier == {"fold": "carrier", "condition": "by size"}
    assert read_facts(span("message.send", {}, scope=AGENT_FRAMEWORK)) == {"fold": "parent"}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            {
                "gen_ai.output.messages": '[{"parts": [{"type": "tool_call", "user_input_request": true}]}]',
            },
            {"status": "waiting", "status_reason": "it asks for a person's answer"},
        ),
        ({}, {"status": "cancelled", "status_reason": "it ended without an answer"}),
        ({"gen_ai.response.finish_reasons": '["stop"]'}, {}),
    ],
)
def test_an_agent_of_agent_framework_waits_for_a_person_or_was_cancelled(more: Attributes, told: Facts) -> None:
    asked: Attributes = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "cashier",
        "gen_ai.input.messages": "[]",
    }
    facts = read_facts(span("invoke_agent cashier", {**asked, **more}, scope=AGENT_FRAMEWORK))
    assert {key: facts[key] for key in ("status", "status_reason") if key in facts} == told
    without_content = {key: value for key, value in {**asked, **more}.items() if not key.endswith(".messages")}
    assert "status" not in read_facts(span("invoke_agent cashier", without_content, scope=AGENT_FRAMEWORK))


@pytest.mark.parametrize(
    ("told", "status"),
    [(["workflow.started"], "cancelled"), (["workflow.started", "workflow.completed"], None), ([], None)],
)
def test_a_workflow_of_agent_framework_that_came_to_no_end_was_cancelled(told: list[str], status: str | None) -> None:
    run = span("workflow.run", scope=AGENT_FRAMEWORK, events=[Event(1_500, name, {}) for name in told])
    assert read_facts(run).get("status") == status


def test_agent_framework_definitions_are_static_graphs_and_no_runs() -> None:
    definition = {
        "executors": {"b": {}, "a": {}},
        "edge_groups": [
            {"edges": [{"source_id": "internal:a", "target_id": "a"}, {"source_id": "a", "target_id": "b"}]}
        ],
    }
    attributes: Attributes = {"workflow_builder.name": "etl", "workflow.definition": json.dumps(definition)}
    assert read_facts(span("workflow.build", attributes, scope=AGENT_FRAMEWORK)) == {
        "fold": "definition",
        "kind": "definition",
        "workflow_name": "etl",
        "graph": {"nodes": ["a", "b"], "edges": [["a", "b"]]},
    }


def test_langfuse_observations() -> None:
    attributes: Attributes = {
        "langfuse.observation.type": "generation",
        "langfuse.internal.is_app_root": True,
        "langfuse.trace.name": "answer",
        "langfuse.observation.model.name": "gpt-x",
        "langfuse.observation.usage_details": '{"input": 12, "output": 5}',
        "langfuse.observation.cost_details": '{"total": 0.5}',
        "langfuse.observation.input": "hi",
        "langfuse.observation.level": "ERROR",
        "langfuse.observation.status_message": "overloaded",
        "session.id": "s-1",
        "user.id": "u-1",
    }
    assert read_facts(span("ask", attributes, scope=LANGFUSE, status=STATUS_ERROR)) == {
        "kind": "llm",
        "boundary": "run",
        # What is marked so is below spans that are not exported (langfuse/langfuse#12984).
        "parent_remote": True,
        "workflow_name": "answer",
        "model": "gpt-x",
        "input_tokens": 12,
        "output_tokens": 5,
        "cost_usd": 0.5,
        "input": "hi",
        "level": "error",
        "error_message": "overloaded",
        "conversation_id": "s-1",
        "user_id": "u-1",
    }
    assert read_facts(span("noted", {"langfuse.observation.type": "event"}, scope=LANGFUSE)) == {"fold": "event"}
    root: Attributes = {"langfuse.internal.is_app_root": True}
    assert read_facts(span("ask", root, scope=LANGFUSE, parent=None)) == {"boundary": "run"}


def test_langfuse_a_level_of_error_is_a_failure_where_the_status_is_unset() -> None:
    sent: Attributes = {
        "langfuse.observation.type": "generation",
        "langfuse.observation.level": "ERROR",
        "langfuse.observation.status_message": "rate limited",
    }
    told = {"kind": "llm", "level": "error", "weak_status": "failed", "error_message": "rate limited"}
    assert read_facts(span("generation", sent)) == told
    assert "weak_status" not in read_facts(span("generation", sent, status=STATUS_OK))
    assert "weak_status" not in read_facts(span("generation", {**sent, "langfuse.observation.level": "WARNING"}))


@pytest.mark.parametrize("message", ["(Interrupt(value='go on?', resumable=True),)", "GraphInterrupt((Interrupt(1),))"])
def test_langfuse_an_interrupt_waits_whatever_its_level(message: str) -> None:
    """langfuse/langfuse#6704: LangGraph's interrupts were shown as errors."""
    sent: Attributes = {
        "langfuse.observation.type": "chain",
        "langfuse.observation.level": "ERROR",
        "langfuse.observation.status_message": message,
    }
    assert read_facts(span("review", sent))["status"] == "waiting"


def test_langfuse_values_and_ids_of_a_trace_on_spans_of_others() -> None:
    sent: Attributes = {
        "langfuse.trace.name": "turn",
        "langfuse.trace.input": "hi",
        "langfuse.trace.output": "bye",
        "langfuse.session.id": "s-1",
        "langfuse.user.id": "u-1",
    }
    whose = {"workflow_name": "turn", "conversation_id": "s-1", "user_id": "u-1"}
    assert read_facts(span("work", sent)) == whose
    assert read_facts(span("work", sent, parent=None)) == {**whose, "input": "hi", "output": "bye"}


def test_mlflow_types_values_and_whose_they_are() -> None:
    """langfuse/langfuse#5609, mlflow/mlflow#21307: values are JSON text, a type of another's span is null."""
    root: Attributes = {
        "mlflow.spanType": '"AGENT"',
        "mlflow.spanInputs": '{"question": "what is a span?"}',
        "mlflow.spanOutputs": '"a timed step"',
        "session.id": '"s-1"',
        "mlflow.trace.user": "u-1",
    }
    assert read_facts(span("predict", root, parent=None)) == {
        "kind": "agent",
        "boundary": "candidate",
        "conversation_id": "s-1",
        "user_id": "u-1",
        "input": '{"question": "what is a span?"}',
        "output": "a timed step",
    }
    call: Attributes = {
        "mlflow.spanType": "CHAT_MODEL",
        "mlflow.llm.model": '"gpt-x"',
        "mlflow.spanInputs": "null",
        "mlflow.chat.tokenUsage": '{"input_tokens": 12, "output_tokens": 5, "total_tokens": 17}',
    }
    assert read_facts(span("chat", call)) == {
        "kind": "llm",
        "model": "gpt-x",
        "input_tokens": 12,
        "output_tokens": 5,
    }
    # mlflow/mlflow#24059: generations of the OpenAI Agents SDK, by the names of its own.
    generation: Attributes = {
        "mlflow.spanType": '"CHAT_MODEL"',
        "model": '"gpt-x"',
        "usage": '{"prompt_tokens": 12, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 8}}',
    }
    assert read_facts(span("Generation", generation)) == {
        "kind": "llm",
        "model": "gpt-x",
        "input_tokens": 12,
        "output_tokens": 5,
        "cached_input_tokens": 8,
    }
    assert read_facts(span("chat", {"mlflow.spanType": "null", "gen_ai.operation.name": "chat"})) == {"kind": "llm"}


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"gen_ai.span.kind": "ENTRY", "gen_ai.operation.name": "enter"}, {"kind": "function"}),
        (
            {"gen_ai.span.kind": "STEP", "gen_ai.operation.name": "react", "gen_ai.react.round": 2},
            {"kind": "turn", "iteration": 2},
        ),
        ({"gen_ai.span_kind_name": "TOOL", "gen_ai.tool.name": "find"}, {"kind": "tool", "name": "find"}),
        ({"gen_ai.span.kind": "LLM", "gen_ai.operation.name": "chat"}, {"kind": "llm"}),
        ({"fi.span.kind": "chain", "input.value": "x"}, {"kind": "chain", "boundary": "candidate", "input": "x"}),
        ({"fi.span.kind": "AGENT", "gen_ai.agent.name": "a"}, {"kind": "agent", "boundary": "candidate", "name": "a"}),
        # What an operation tells is more exact.
        ({"gen_ai.span.kind": "CHAIN", "gen_ai.operation.name": "retrieval"}, {"kind": "retriever"}),
        ({"gen_ai.span.kind": "unknown"}, {}),
        ({"gen_ai.span.kind": 3}, {}),
    ],
)
def test_kinds_of_spans_by_alibaba_and_future_agi(sent: Attributes, told: Facts) -> None:
    assert read_facts(span("x", sent)) == told


@pytest.mark.parametrize(
    ("said", "status"), [("FAILED", "failed"), ("cancelled", "cancelled"), ("active", None), ("COMPLETED", None)]
)
def test_an_agent_that_says_how_it_ended(said: str, status: str | None) -> None:
    sent: Attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.status": said}
    assert read_facts(span("node_x", sent, status=STATUS_OK)).get("status") == status


def test_spring_ai_is_told_by_its_own_kinds() -> None:
    framework: Attributes = {"gen_ai.operation.name": "framework", "gen_ai.system": "spring_ai"}
    client: Attributes = {**framework, "spring.ai.kind": "chat_client", "spring.ai.chat.client.conversation.id": "c-1"}
    assert read_facts(span("spring_ai chat_client", client)) == {
        "kind": "agent",
        "boundary": "candidate",
        "conversation_id": "c-1",
    }
    advisor: Attributes = {**framework, "spring.ai.kind": "advisor", "spring.ai.advisor.name": "memory"}
    assert read_facts(span("advise", advisor)) == {"kind": "chain", "name": "memory"}
    tool: Attributes = {
        **framework,
        "spring.ai.kind": "tool_call",
        "spring.ai.tool.definition.name": "balance",
        "spring.ai.tool.call.arguments": '{"account":1}',
    }
    told: Facts = {"kind": "tool", "name": "balance", "input": '{"account":1}'}
    assert read_facts(span("tool_call balance", tool)) == told
    assert read_facts(span("execute_tool balance", {**tool, "gen_ai.operation.name": "execute_tool"})) == told


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("session", {"kind": "workflow", "boundary": "candidate"}),
        ("agent", {"kind": "agent", "boundary": "candidate"}),
        ("tool", {"kind": "tool"}),
        ("operation", {"kind": "function"}),
        ("text", {}),
    ],
)
def test_agentops_kinds_names_and_values(kind: str, told: dict[str, object]) -> None:
    sent: Attributes = {
        "agentops.span.kind": kind,
        f"agentops.{kind}.input": '{"args":["x"]}',
        "agentops.entity.output": "y",
    }
    facts = read_facts(span(f"answer.{kind}", sent))
    assert facts == {**told, "name": "answer", "input": '{"args":["x"]}', "output": "y"}
    assert read_facts(span("x.y", {**sent, "operation.name": "find"}))["name"] == "find"


def test_langwatch_tells_kinds_values_usage_and_whose_they_are() -> None:
    sent: Attributes = {
        "langwatch.span.type": "llm",
        "langwatch.input": '{"type":"text","value":"why?"}',
        "langwatch.output": '{"type":"chat_messages","value":[{"role":"assistant","content":"so"}]}',
        "langwatch.metrics": '{"type":"json","value":{"promptTokens":12,"completionTokens":5,"cost":0.25}}',
        "langwatch.thread.id": "t-1",
        "langwatch.user.id": "bob",
        "gen_ai.request.model": "gpt-x",
    }
    assert read_facts(span("answer", sent)) == {
        "kind": "llm",
        "input": "why?",
        "output": '[{"role":"assistant","content":"so"}]',
        "conversation_id": "t-1",
        "user_id": "bob",
        "input_tokens": 12,
        "output_tokens": 5,
        "cost_usd": 0.25,
        "model": "gpt-x",
    }
    python: Attributes = {
        "langwatch.span.type": "agent",
        "langwatch.metrics": '{"prompt_tokens":3}',
        "langwatch.input": "x",
    }
    assert read_facts(span("answer", python)) == {
        "kind": "agent",
        "boundary": "candidate",
        "input": "x",
        "input_tokens": 3,
    }


def test_laminar_tells_values_kinds_and_whose_they_are() -> None:
    attributes: Attributes = {
        "lmnr.span.type": "TOOL",
        "lmnr.span.input": '{"q":1}',
        "lmnr.span.output": '"found"',
        "lmnr.association.properties.session_id": "s-1",
        "lmnr.association.properties.user_id": "u-1",
    }
    assert read_facts(span("search", attributes)) == {
        "kind": "tool",
        "input": '{"q":1}',
        "output": '"found"',
        "conversation_id": "s-1",
        "user_id": "u-1",
    }
    assert read_facts(span("answer", {"lmnr.span.type": "DEFAULT"})) == {}


def test_genkit_flows_steps_models_and_tools() -> None:
    def told(name: str, subtype: str, **more: str) -> Facts:
        attributes: Attributes = {
            "genkit:name": name,
            "genkit:type": "action",
            "genkit:metadata:subtype": subtype,
            **more,
        }
        return read_facts(span(name, attributes))

    assert told("menu", "flow", **{"genkit:input": '"fish"', "genkit:sessionId": "s-1"}) == {
        "kind": "workflow",
        "boundary": "run",
        "name": "menu",
        "workflow_name": "menu",
        "conversation_id": "s-1",
        "input": '"fish"',
    }
    answer = json.dumps({"usage": {"inputTokens": 42, "outputTokens": 17, "thoughtsTokens": 3}})
    assert told("googleai/gemini-x", "model", **{"genkit:output": answer}) == {
        "kind": "llm",
        "name": "googleai/gemini-x",
        "model": "gemini-x",
        "input_tokens": 42,
        "output_tokens": 17,
        "reasoning_tokens": 3,
        "output": answer,
    }
    assert told("weather", "tool.v2", **{"genkit:state": "error"})["weak_status"] == "failed"
    assert (
        told("approve", "tool", **{"genkit:metadata:interrupt": "{}", "genkit:state": "error"})["status"] == "waiting"
    )
    step = read_facts(span("load", {"genkit:name": "load", "genkit:type": "flowStep"}))
    assert step == {"kind": "step", "step": True, "name": "load"}


def test_livekit_tells_a_tools_error_as_an_attribute() -> None:
    called: Attributes = {
        "lk.function_tool.name": "weather",
        "lk.function_tool.arguments": '{"city":1}',
        "lk.pii.function_tool.output": "no such city",
        "lk.function_tool.is_error": True,
    }
    tool: Facts = {"kind": "tool", "name": "weather", "input": '{"city":1}', "output": "no such city"}
    assert read_facts(span("function_tool", called)) == {
        **tool,
        "weak_status": "failed",
        "error_message": "no such city",
    }
    assert read_facts(span("function_tool", {**called, "lk.function_tool.is_error": False})) == tool
    turn: Attributes = {"lk.user_input": "weather?", "lk.response.text": "sun", "lk.interrupted": True}
    assert read_facts(span("agent_turn", turn, scope="livekit-agents")) == {
        "kind": "turn",
        "input": "weather?",
        "output": "sun",
        "status_reason": "interrupted",
    }
    assert read_facts(span("agent_session", scope="livekit-agents")) == {"kind": "agent", "boundary": "candidate"}


def test_nodes_of_google_adk_are_their_attempts_where_they_are_tried_again() -> None:
    node: Attributes = {"adk.node.path": "seq.fetch", "adk.node.run_id": "1", "adk.node.attempt": 2}
    told: Facts = {"kind": "step", "step": True, "name": "fetch", "task_key": "seq.fetch/1"}
    waits = read_facts(span("execute_node fetch", {**node, "adk.node.status": "waiting"}, scope=ADK))
    assert waits == {**told, "fold": "outer", "status": "waiting"}
    attempt = read_facts(span("execute_node_attempt fetch", node, scope=ADK))
    assert attempt == {**told, "attempt": 2, "retry_expected": True}
    workflow: Attributes = {"gen_ai.operation.name": "invoke_workflow", "adk.workflow.name": "seq"}
    assert read_facts(span("invoke_workflow seq", workflow, scope=ADK)) == {
        "kind": "workflow",
        "boundary": "run",
        "name": "seq",
        "workflow_name": "seq",
    }


def test_mastra_workflows_steps_and_what_a_model_does_within_a_generation() -> None:
    run: Attributes = {
        "mastra.span.type": "workflow_run",
        "gen_ai.operation.name": "invoke_workflow",
        "mastra.workflow_run.input": '{"order":7}',
    }
    assert read_facts(span("invoke_workflow orders", run)) == {
        "kind": "workflow",
        "boundary": "run",
        "name": "orders",
        "workflow_name": "orders",
        "input": '{"order":7}',
    }
    step: Attributes = {"mastra.span.type": "workflow_step", "gen_ai.operation.name": "workflow_step"}
    assert read_facts(span("workflow step charge", step)) == {"kind": "step", "step": True, "name": "charge"}
    assert read_facts(span("workflow_step charge", step)) == {"kind": "step", "step": True, "name": "charge"}
    assert read_facts(span("step 0", {"mastra.span.type": "model_step"})) == {"kind": "chain"}
    assert read_facts(span("chunk text", {"mastra.span.type": "model_chunk"})) == {"fold": "parent"}
