"""Strands agents, graphs and swarms with scripted models: `strands_runs.py`."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from typing import Any

from ledger import Ledger, publish, start

ledger = Ledger()
note = ledger.note
provider = start("live-strands", ledger)

from strands import Agent, tool  # noqa: E402
from strands.models.model import Model  # noqa: E402
from strands.multiagent import GraphBuilder, Swarm  # noqa: E402


class Script(Model):
    """A model that gives prepared answers in turn: a text, calls as (tool, arguments), or an exception to raise."""

    def __init__(self, *answers: Any) -> None:
        self._answers = iter(answers)

    def update_config(self, **config: Any) -> None:
        """There is nothing to configure."""

    def get_config(self) -> Any:
        """The model's name."""
        return {"model_id": "fake-1"}

    async def structured_output(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Not used here."""
        yield {}

    async def stream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """The next answer, in chunks."""
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        yield {"messageStart": {"role": "assistant"}}
        texts = [answer] if isinstance(answer, str) else []
        for text in texts:
            yield {"contentBlockStart": {"start": {}}}
            yield {"contentBlockDelta": {"delta": {"text": text}}}
            yield {"contentBlockStop": {}}
        for name, arguments in [] if texts else answer:
            yield {"contentBlockStart": {"start": {"toolUse": {"name": name, "toolUseId": f"call-{name}"}}}}
            yield {"contentBlockDelta": {"delta": {"toolUse": {"input": json.dumps(arguments)}}}}
            yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "end_turn" if texts else "tool_use"}}
        usage = {"inputTokens": 10, "outputTokens": 3, "totalTokens": 13}
        yield {"metadata": {"usage": usage, "metrics": {"latencyMs": 1}}}


def agent(name: str, *answers: Any, **more: Any) -> Agent:
    """An agent called `name` whose model gives `answers`."""
    return Agent(name=name, model=Script(*answers), callback_handler=None, **more)


def quiet(call: Any) -> None:
    """Call what is expected to raise."""
    try:
        call()
    except Exception as exc:
        print(f"{type(exc).__name__}: {exc}"[:200], file=sys.stderr)


@tool
def lookup(q: str) -> str:
    """Look something up."""
    note("lookup")
    return "found"


@tool
def boom(q: str) -> str:
    """Fail."""
    note("boom", "failed", "RuntimeError")
    raise RuntimeError("payment API 502")


def agents() -> None:
    """Tools, one of which fails; a model that fails; an agent asked by another's tool."""
    calls = [("lookup", {"q": "a"}), ("boom", {"q": "a"})]
    with ledger.run("tools", told={"input_tokens": 20, "output_tokens": 6}):
        note("clerk")
        agent("clerk", calls, "done", tools=[lookup, boom])("hi")
    with ledger.run("model_fails", status="failed"):
        note("thinker", "failed", "RuntimeError")
        quiet(lambda: agent("thinker", RuntimeError("model down"))("hi"))
    expert = agent("expert", "42")

    @tool
    def ask(q: str) -> str:
        """Ask an expert."""
        note("ask")
        return str(expert(q))

    with ledger.run("nested", told={"input_tokens": 30}):
        note("front")
        note("expert")
        agent("front", [("ask", {"q": "?"})], "42!", tools=[ask])("hi")


def graphs() -> None:
    """Parallel nodes, a join, an edge whose condition is false, a node that fails."""
    builder = GraphBuilder()
    for name in ("plan", "left", "right", "meet", "never"):
        builder.add_node(agent(name, f"{name} done"), name)
    for source, target in (("plan", "left"), ("plan", "right"), ("left", "meet"), ("right", "meet")):
        builder.add_edge(source, target)
    builder.add_edge("plan", "never", condition=lambda state: False)
    builder.set_entry_point("plan")
    with ledger.run("graph") as run:
        for name in ("plan", "left", "right", "meet"):
            note(name)
        run.edges = [("plan", "left", "parallel", None), ("plan", "right", "parallel", None)]
        run.edges += [("left", "meet", "join", None), ("right", "meet", "join", None)]
        builder.build()("go")
    builder = GraphBuilder()
    for name, answer in (("plan", "ok"), ("bad", RuntimeError("model down")), ("after", "ok")):
        builder.add_node(agent(name, answer), name)
    builder.add_edge("plan", "bad")
    builder.add_edge("bad", "after")
    builder.set_entry_point("plan")
    with ledger.run("graph_fails", status="failed") as run:
        note("plan")
        note("bad", "failed", "RuntimeError")
        run.edges = [("plan", "bad", "sequential", None)]
        run.told = {"first_failed": "chat"}
        quiet(lambda: builder.build()("go"))


def swarm() -> None:
    """An agent that hands over to another."""
    handoff = [("handoff_to_agent", {"agent_name": "bob", "message": "take it"})]
    members = [agent("alice", handoff, "ok"), agent("bob", "finished")]
    with ledger.run("swarm") as run:
        note("alice")
        note("bob")
        run.edges = [("alice", "bob", "handoff", None)]
        Swarm(members)("go")


agents()
graphs()
swarm()
provider.shutdown()
publish(ledger)
