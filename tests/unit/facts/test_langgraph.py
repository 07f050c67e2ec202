"""LangGraph's run metadata, as three instrumentations carry it."""

from __future__ import annotations

import json

import pytest
from tests.unit.facts.spans import raised, span

from spantree_exporter.facts import read_facts
from spantree_exporter.span import STATUS_ERROR, STATUS_OK, Attributes, JsonValue, Span

OPENINFERENCE = "openinference.instrumentation.langchain"
TRACELOOP = "opentelemetry.instrumentation.langchain"
NAMESPACE = "plan:0b9f"
NODE: dict[str, JsonValue] = {
    "ls_integration": "langgraph",
    "langgraph_step": 2,
    "langgraph_node": "plan",
    "langgraph_triggers": ["branch:to:plan"],
    "langgraph_checkpoint_ns": NAMESPACE,
}
INNER: dict[str, JsonValue] = {**NODE, "checkpoint_ns": NAMESPACE}


def chain(name: str, metadata: dict[str, JsonValue], status: int = STATUS_OK, **values: str) -> Span:
    """A CHAIN span of OpenInference; `output` and `input` become its values."""
    attributes: Attributes = {"openinference.span.kind": "CHAIN", "metadata": json.dumps(metadata)}
    attributes.update({f"{key}.value": value for key, value in values.items()})
    return span(name, attributes, scope=OPENINFERENCE, status=status)


def test_the_root_is_a_run_of_its_thread() -> None:
    metadata: dict[str, JsonValue] = {"ls_integration": "langgraph", "thread_id": "t-1"}
    assert read_facts(chain("support", metadata, input='{"text": "hi"}')) == {
        "conversation_id": "t-1",
        "boundary": "run",
        "kind": "workflow",
        "workflow_name": "support",
        "detached": True,
        "input": '{"text": "hi"}',
    }


def test_a_command_that_resumes_takes_up_its_thread() -> None:
    metadata: dict[str, JsonValue] = {"ls_integration": "langgraph", "thread_id": "t-1"}
    sent = '{"graph": null, "update": null, "resume": {"ok": true}, "goto": []}'
    assert read_facts(chain("support", metadata, input=sent))["resumes"] == "t-1"
    assert "resumes" not in read_facts(chain("support", metadata, input='{"resume": "my cv", "text": "hi"}'))


def test_a_node_is_a_step_whose_task_is_its_namespace() -> None:
    assert read_facts(chain("plan", NODE)) == {
        "name": "plan",
        "kind": "step",
        "step": True,
        "group": "graph",
        "order": 2,
        "task_key": NAMESPACE,
        "task_scope": "global",
        "boundary": "candidate",
    }


@pytest.mark.parametrize("name", ["__start__", "__end__", "ChannelWrite<plan,messages>", "ChannelRead<messages>"])
def test_what_the_graph_does_around_its_nodes_is_no_node(name: str) -> None:
    """langfuse/langfuse#5019, comet-ml/opik#7095: older versions of LangGraph send it and call it hidden."""
    metadata: dict[str, JsonValue] = {**NODE, "langgraph_node": name if name.startswith("__") else "plan"}
    facts = read_facts(chain(name, metadata))
    assert (facts["fold"], facts.get("step"), facts.get("boundary")) == ("parent", None, "candidate")


def test_a_node_of_a_subgraph_belongs_to_the_task_around_it() -> None:
    inner: dict[str, JsonValue] = {
        **NODE,
        "langgraph_checkpoint_ns": "outer:1|plan:2",
        "checkpoint_ns": "outer:1",
    }
    facts = read_facts(chain("plan", inner))
    assert (facts["kind"], facts["group"], facts["task_key"]) == ("step", "outer:1", "outer:1|plan:2")


@pytest.mark.parametrize(
    ("triggers", "told"),
    [
        (["branch:to:plan", "join:read+think:plan"], {"sources": ["read", "think"]}),
        (["join:__start__+think:plan"], {"sources": ["think"]}),
        (["__pregel_push"], {"fan_out": True}),
        (["branch:to:plan"], {}),
    ],
)
def test_triggers_name_what_a_join_waited_for_and_what_was_sent(
    triggers: list[JsonValue], told: dict[str, object]
) -> None:
    facts = read_facts(chain("plan", {**NODE, "langgraph_triggers": triggers}))
    assert {key: facts[key] for key in ("sources", "fan_out") if key in facts} == told


@pytest.mark.parametrize(
    ("output", "routes"),
    [
        ("answer", ["answer"]),
        ("true", ["true"]),
        ('["answer", "file"]', ["answer", "file"]),
        ("Send(node='work', arg={'n': 1})", ["work"]),
        ("[\"Send(node='work', arg=1)\", \"Send(node='check', arg=2)\"]", ["work", "check"]),
        ("__end__", ["__end__"]),
    ],
)
def test_a_router_names_its_choice(output: str, routes: list[str]) -> None:
    facts = read_facts(chain("choose", NODE, output=output))
    assert (facts["fold"], facts["name"], facts["routes"]) == ("router", "choose", routes)


def test_what_a_node_calls_is_no_router_and_no_node_whatever_its_name_and_output() -> None:
    for name in ("RunnableLambda", "echo"):
        facts = read_facts(chain(name, INNER, output="answer"))
        assert (facts["kind"], "fold" in facts, facts["step"]) == ("chain", False, False)
    # Of the node's own name it may be the same thing seen from inside.
    assert read_facts(chain("plan", INNER, output="answer"))["fold"] == "container"


def test_a_graph_run_within_a_node_is_a_container_and_a_named_agent_an_agent() -> None:
    assert read_facts(chain("LangGraph", INNER))["fold"] == "container"
    named = read_facts(chain("scribe", {**INNER, "lc_agent_name": "scribe"}))
    assert (named["kind"], "fold" in named) == ("agent", False)


@pytest.mark.parametrize(
    ("output", "routes"),
    [
        ('{"graph": null, "update": {"a": 1}, "resume": null, "goto": "bill"}', ["bill"]),
        ('{"graph": null, "update": null, "resume": null, "goto": ["bill", "audit"]}', ["bill", "audit"]),
        ('[{"graph": null, "update": {}, "goto": [{"node": "work", "arg": 1}]}]', ["work"]),
        ('{"graph": null, "update": {"a": 1}, "resume": null, "goto": []}', None),
        ('{"goto": "the shop"}', None),
    ],
)
def test_a_node_that_returns_a_command_says_where_to(output: str, routes: list[str] | None) -> None:
    assert read_facts(chain("plan", NODE, output=output)).get("routes") == routes


def test_a_command_for_the_graph_around_is_no_failure() -> None:
    sent = chain("plan", NODE, STATUS_ERROR)
    sent.events.append(
        raised("langgraph.errors.ParentCommand", "Command(graph='__parent__', update={'a': [1]}, goto='write')")
    )
    facts = read_facts(sent)
    assert (facts["status"], facts["routes"]) == ("completed", ["write"])


def test_an_interrupted_node_waits() -> None:
    sent = chain("plan", NODE)
    sent.events.append(raised("langgraph.errors.GraphInterrupt", "(Interrupt(value='ok?'),)"))
    assert read_facts(sent)["status"] == "waiting"


MESSAGE: dict[str, JsonValue] = {"content": "no such city", "type": "tool", "tool_call_id": "c", "status": "error"}


@pytest.mark.parametrize(
    ("scope", "kind", "key", "output"),
    [
        (OPENINFERENCE, {"openinference.span.kind": "TOOL"}, "output.value", {"type": "tool", "data": MESSAGE}),
        (
            TRACELOOP,
            {"gen_ai.operation.name": "execute_tool", "traceloop.association.properties.langgraph_node": "tools"},
            "traceloop.entity.output",
            {"output": {"lc": 1, "id": ["ToolMessage"], "kwargs": MESSAGE}, "kwargs": {"tags": []}},
        ),
        (
            "langsmith",
            {"langsmith.span.kind": "tool", "langsmith.metadata.langgraph_node": "tools"},
            "gen_ai.completion",
            {"output": MESSAGE},
        ),
    ],
)
def test_a_tool_that_told_the_model_its_error_failed(
    scope: str, kind: dict[str, JsonValue], key: str, output: dict[str, JsonValue]
) -> None:
    attributes: Attributes = {**kind, key: json.dumps(output)}
    if scope == OPENINFERENCE:
        attributes["metadata"] = json.dumps({**INNER, "langgraph_node": "tools"})
    facts = read_facts(span("weather", attributes, scope=scope, status=STATUS_OK))
    assert (facts["status"], facts["error_message"]) == ("failed", "no such city")
    attributes[key] = json.dumps(output).replace('"error"', '"success"')
    assert "status" not in read_facts(span("weather", attributes, scope=scope, status=STATUS_OK))


def test_traceloop_notes_a_command_in_a_span_of_its_own() -> None:
    one: Attributes = {"gen_ai.operation.name": "goto", "langgraph.command.goto_node": "bill"}
    assert read_facts(span("goto bill", one, scope=TRACELOOP)) == {"fold": "router", "routes": ["bill"]}
    two: Attributes = {"gen_ai.operation.name": "goto", "langgraph.command.goto_nodes": '["bill", "audit"]'}
    assert read_facts(span("goto bill, audit", two, scope=TRACELOOP))["routes"] == ["bill", "audit"]


def test_langsmith_has_the_metadata_as_attributes() -> None:
    attributes: Attributes = {"langsmith.span.kind": "chain", "gen_ai.operation.name": "chain"}
    attributes.update(
        {f"langsmith.metadata.{k}": v if isinstance(v, str | int) else json.dumps(v) for k, v in NODE.items()}
    )
    attributes["gen_ai.completion"] = '{"output": {"graph": null, "update": {}, "resume": null, "goto": "bill"}}'
    facts = read_facts(span("plan", attributes, scope="langsmith"))
    assert (facts["kind"], facts["order"], facts["task_key"], facts["routes"]) == ("step", 2, NAMESPACE, ["bill"])
