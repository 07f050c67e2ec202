"""Runs that wait for a person or a breakpoint, and are taken up again or not."""

from __future__ import annotations

import asyncio
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START
from langgraph.types import Command, interrupt
from langgraph_instrumentation import ledger
from langgraph_parts import State, graph, note, quiet, step


def approval() -> None:
    """An interrupt, and the run that resumes it; a second one with two questions in one node."""
    g = graph("draft", "publish")

    def ask(state: State) -> State:
        interrupt({"question": "publish?"})
        return {"seen": ["ask"]}

    g.add_node("ask", step("ask", ask))
    g.add_edge(START, "draft")
    g.add_edge("draft", "ask")
    g.add_edge("ask", "publish")
    compiled = g.compile(name="approval", checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t-approval"}}
    with ledger.run("approval_asked", status="waiting") as run:
        run.edges = [("draft", "ask", "sequential", None)]
        run.told = {"conversation_id": "t-approval"}
        compiled.invoke({"text": "hi"}, config)
    with ledger.run("approval_given") as run:
        run.edges = [("ask", "publish", "sequential", None)]
        run.told = {"conversation_id": "t-approval", "resumes": "t-approval"}
        compiled.invoke(Command(resume="yes"), config)


def subgraph_interrupt() -> None:
    """An interrupt inside a subgraph."""

    def ask(state: State) -> State:
        interrupt("which one?")
        return {"seen": ["ask"]}

    inner = graph("prepare", ask=step("ask", ask))
    inner.add_edge(START, "prepare")
    inner.add_edge("prepare", "ask")
    g = graph("plan", "finish")
    g.add_node("review", inner.compile())
    g.add_edge(START, "plan")
    g.add_edge("plan", "review")
    g.add_edge("review", "finish")
    compiled = g.compile(name="inner_approval", checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t-inner-approval"}}
    with ledger.run("inner_asked", status="waiting") as run:
        note("review", "waiting")
        run.edges = [("plan", "review", "sequential", None), ("prepare", "ask", "sequential", None)]
        compiled.invoke({"text": "hi"}, config)
    with ledger.run("inner_given") as run:
        note("review")
        run.edges = [("review", "finish", "sequential", None)]
        run.told = {"conversation_id": "t-inner-approval", "resumes": "t-inner-approval"}
        compiled.invoke(Command(resume="this"), config)


def stopped_before() -> None:
    """A graph compiled to stop before a node, resumed with no input."""
    g = graph("draft", "publish")
    g.add_edge(START, "draft")
    g.add_edge("draft", "publish")
    compiled = g.compile(checkpointer=InMemorySaver(), interrupt_before=["publish"])
    config: Any = {"configurable": {"thread_id": "t-stop"}, "run_name": "publishing"}
    with ledger.run("stopped_before") as run:
        run.told = {"conversation_id": "t-stop"}
        compiled.invoke({"text": "hi"}, config)
    with ledger.run("stopped_resumed") as run:
        run.told = {"conversation_id": "t-stop", "workflow_name": "publishing"}
        compiled.invoke(None, config)


def abandoned() -> None:
    """A stream that its reader leaves after the first node; parallel async nodes of which one fails."""
    g = graph("first", "second")
    g.add_edge(START, "first")
    g.add_edge("first", "second")
    with ledger.run("abandoned", status="cancelled") as run:
        stream = g.compile(name=run.name).stream({"text": "hi"})
        next(stream)
        stream.close()
        assert run

    async def slow(state: State) -> State:
        await asyncio.sleep(30)
        return {}

    async def bad(state: State) -> State:
        await asyncio.sleep(0.05)
        raise ZeroDivisionError("division by zero")

    g = graph("split")
    g.add_node("slow", ledger.async_step("slow", slow))
    g.add_node("bad", ledger.async_step("bad", bad))
    g.add_edge(START, "split")
    g.add_edge("split", "slow")
    g.add_edge("split", "bad")
    with ledger.run("sibling_cancelled", status="failed") as run:
        run.edges = [("split", "slow", "parallel", None), ("split", "bad", "parallel", None)]
        run.told = {"first_failed": "bad", "error_category": "code"}
        quiet(lambda: asyncio.run(g.compile(name=run.name).ainvoke({"text": "hi"})))


ALL = (
    approval, subgraph_interrupt, stopped_before, abandoned,
)  # fmt: skip
