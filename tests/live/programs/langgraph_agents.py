"""Agents, chains and tools, with models that answer by rote."""

from __future__ import annotations

from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command, interrupt
from langgraph_instrumentation import ledger
from langgraph_parts import State, graph, note, plain, quiet, step


class ToolModel(GenericFakeChatModel):
    """A fake model that may be given tools."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> ToolModel:
        return self


def says(*messages: AIMessage) -> ToolModel:
    """A model that answers with `messages`, one a call."""
    return ToolModel(messages=iter(messages))


def calls(name: str, **arguments: Any) -> AIMessage:
    """A message that asks for a tool."""
    usage: Any = {"input_tokens": 20, "output_tokens": 5, "total_tokens": 25}
    call: Any = {"name": name, "args": arguments, "id": f"call-{name}", "type": "tool_call"}
    return AIMessage(content="", tool_calls=[call], usage_metadata=usage)


def final(text: str) -> AIMessage:
    """A message that ends the conversation."""
    return AIMessage(content=text, usage_metadata={"input_tokens": 30, "output_tokens": 7, "total_tokens": 37})


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    note("weather")
    return f"sunny in {city}"


@tool
def broken(city: str) -> str:
    """A tool that fails."""
    note("broken", "failed", "ValueError")
    raise ValueError("no such city")


def agent() -> None:
    """A tool-calling agent, once fine, once with a tool that raises."""
    made = create_agent(says(calls("weather", city="Oslo"), final("Sunny.")), [weather], name="forecaster")
    with ledger.run("agent") as run:
        for name in ("model", "ToolModel", "tools", "model", "ToolModel"):
            note(name)
        run.edges = [("model", "tools", "sequential", None), ("tools", "model", "sequential", None)]
        run.told = {"input_tokens": 50, "output_tokens": 12}
        made.invoke({"messages": [("user", "weather?")]}, {"configurable": {"thread_id": "t-agent"}})
    made = create_agent(says(calls("broken", city="Oslo"), final("Sorry.")), [broken])
    with ledger.run("agent_fails", status="failed") as run:
        note("model")
        note("ToolModel")
        note("tools", "failed", "ValueError")
        run.edges = [("model", "tools", "sequential", None)]
        run.told = {"first_failed": "broken"}
        quiet(lambda: made.invoke({"messages": [("user", "weather?")]}))


def supervised() -> None:
    """Agents as nodes of a graph, handed to by Command(graph=PARENT) from inside a subgraph."""

    def hand_over(state: State) -> Any:
        return Command(goto="writer", graph=Command.PARENT, update={"seen": ["decide"]})

    inner = graph("think", decide=step("decide", hand_over))
    inner.add_edge(START, "think")
    inner.add_edge("think", "decide")
    g = StateGraph(State)
    g.add_node("supervisor", inner.compile(), destinations=("writer", "researcher"))
    g.add_node("writer", plain("writer"))
    g.add_node("researcher", plain("researcher"))
    g.add_edge(START, "supervisor")
    with ledger.run("supervised", skipped=["researcher"]) as run:
        note("supervisor")
        run.edges = [("think", "decide", "sequential", None), ("supervisor", "writer", "conditional", "writer")]
        g.compile(name=run.name).invoke({"text": "hi"})


def chains() -> None:
    """A node made of a chain of runnables; a graph that is streamed."""
    model = says(final("fine"))
    chain = RunnableLambda(lambda state: "prompt") | model | RunnableLambda(lambda message: {"seen": [message.content]})
    g = graph("before")
    g.add_node("answer", chain)
    g.add_edge(START, "before")
    g.add_edge("before", "answer")
    with ledger.run("chains") as run:
        note("answer")
        note("ToolModel")
        run.edges = [("before", "answer", "sequential", None)]
        run.told = {"input_tokens": 30, "output_tokens": 7, "user_id": "u-7", "conversation_id": "s-9"}
        config: Any = {"metadata": {"user_id": "u-7", "session_id": "s-9"}, "tags": ["live"]}
        for _ in g.compile(name=run.name).stream({"text": "hi"}, config):
            pass


def same_names() -> None:
    """An agent called like the node that it is, and a chain called like the node that calls it."""
    scribe = create_agent(says(calls("weather", city="Oslo"), final("Sunny.")), [weather], name="scribe")
    echo = RunnableLambda(lambda text: "fine").with_config(run_name="echo")
    g = StateGraph(State)
    g.add_node("scribe", step("scribe", lambda state: scribe.invoke({"messages": [("user", "?")]}) and {"seen": []}))
    g.add_node("echo", step("echo", lambda state: {"seen": [echo.invoke("x")]}))
    g.add_node("fine", plain("fine"))
    g.add_edge(START, "scribe")
    g.add_edge("scribe", "echo")
    g.add_edge("echo", "fine")
    with ledger.run("same_names") as run:
        for name in ("model", "ToolModel", "tools", "model", "ToolModel"):
            note(name)
        run.edges = [("scribe", "echo", "sequential", None), ("echo", "fine", "sequential", None)]
        run.edges += [("model", "tools", "sequential", None), ("tools", "model", "sequential", None)]
        g.compile(name=run.name).invoke({"text": "hi"})


def tool_node() -> None:
    """A graph of one's own around a ToolNode, with a tool that fails and is told to the model."""
    model = says(calls("broken", city="Oslo"), final("No idea."))
    g = StateGraph(MessagesState)
    g.add_node("llm", step("llm", lambda state: {"messages": [model.invoke(state["messages"])]}))
    g.add_node("act", ToolNode([broken], handle_tool_errors=True))
    g.add_edge(START, "llm")
    g.add_conditional_edges("llm", tools_condition, {"tools": "act", END: END})
    g.add_edge("act", "llm")
    with ledger.run("tool_node") as run:
        note("act")
        note("ToolModel")
        note("ToolModel")
        run.edges = [("llm", "act", "conditional", "tools"), ("act", "llm", "sequential", None)]
        g.compile(name=run.name).invoke({"messages": [("user", "weather?")]})


def forgiving_tool() -> None:
    """A tool that tells the model its error itself, so that nothing raises."""

    @tool
    def strict(city: str) -> str:
        """A tool that knows no city."""
        note("strict", "failed")
        raise ToolException("no such city")

    strict.handle_tool_error = True
    made = create_agent(says(calls("strict", city="Oslo"), final("Sorry.")), [strict], name="patient")
    with ledger.run("forgiving_tool") as run:
        for name in ("model", "ToolModel", "tools", "model", "ToolModel"):
            note(name)
        run.edges = [("model", "tools", "sequential", None), ("tools", "model", "sequential", None)]
        made.invoke({"messages": [("user", "weather?")]})


def tool_interrupt() -> None:
    """An agent whose tool asks for a person's approval."""

    @tool
    def pay(amount: int) -> str:
        """Pay an amount."""
        return str(interrupt({"pay": amount}))

    made = create_agent(says(calls("pay", amount=3), final("Paid.")), [pay], checkpointer=InMemorySaver(), name="payer")
    config: Any = {"configurable": {"thread_id": "t-pay"}}
    with ledger.run("tool_interrupt", status="waiting") as run:
        note("model")
        note("ToolModel")
        note("tools", "waiting")
        note("pay", "waiting")
        run.edges = [("model", "tools", "sequential", None)]
        made.invoke({"messages": [("user", "pay 3")]}, config)
    with ledger.run("tool_approved") as run:
        for name in ("tools", "pay", "model", "ToolModel"):
            note(name)
        run.edges = [("tools", "model", "sequential", None)]
        run.told = {"resumes": "t-pay", "conversation_id": "t-pay"}
        made.invoke(Command(resume="done"), config)


ALL = (
    agent, supervised, chains, same_names, tool_node, forgiving_tool, tool_interrupt,
)  # fmt: skip
