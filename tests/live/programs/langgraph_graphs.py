"""Graphs of many shapes: branches, joins, loops, subgraphs, retries, failures."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.runnables import RunnableLambda
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, Send
from langgraph_instrumentation import ledger
from langgraph_parts import State, graph, note, plain, quiet, step, step_free


def branches() -> None:
    """Two branches of one length that meet without a join: the meeting point runs once."""
    g = graph("split", "left", "right", "meet")
    g.add_edge(START, "split")
    for side in ("left", "right"):
        g.add_edge("split", side)
        g.add_edge(side, "meet")
    with ledger.run("branches") as run:
        run.edges = [("split", "left", "parallel", None), ("split", "right", "parallel", None)]
        run.edges += [("left", "meet", "join", None), ("right", "meet", "join", None)]
        config: Any = {"configurable": {"thread_id": "t-branches"}, "run_name": "branching"}
        g.compile().invoke({"text": "hi"}, config)
        run.told = {"conversation_id": "t-branches", "workflow_name": "branching"}


def uneven() -> None:
    """Branches of different length into a node without a join: it runs once for each."""
    g = graph("split", "short", "long_1", "long_2", "meet")
    g.add_edge(START, "split")
    g.add_edge("split", "short")
    g.add_edge("split", "long_1")
    g.add_edge("long_1", "long_2")
    g.add_edge("short", "meet")
    g.add_edge("long_2", "meet")
    with ledger.run("uneven") as run:
        run.edges = [("split", "short", "parallel", None), ("split", "long_1", "parallel", None)]
        run.edges += [("long_1", "long_2", "sequential", None)]
        run.edges += [("short", "meet", "sequential", None), ("long_2", "meet", "sequential", None)]
        g.compile(name=run.name).invoke({"text": "hi"})


def uneven_join() -> None:
    """Branches of different length, joined: the node after runs once, after both."""
    g = graph("split", "short", "long_1", "long_2", "meet")
    g.add_edge(START, "split")
    g.add_edge("split", "short")
    g.add_edge("split", "long_1")
    g.add_edge("long_1", "long_2")
    g.add_edge(["short", "long_2"], "meet")
    with ledger.run("uneven_join") as run:
        run.edges = [("split", "short", "parallel", None), ("split", "long_1", "parallel", None)]
        run.edges += [("long_1", "long_2", "sequential", None)]
        run.edges += [("short", "meet", "join", None), ("long_2", "meet", "join", None)]
        g.compile(name=run.name).invoke({"text": "hi"})


def defer() -> None:
    """A deferred node waits for all branches, although nothing joins them."""
    g = graph("split", "short", "long_1", "long_2")
    g.add_node("meet", plain("meet"), defer=True)
    g.add_edge(START, "split")
    g.add_edge("split", "short")
    g.add_edge("split", "long_1")
    g.add_edge("long_1", "long_2")
    g.add_edge("short", "meet")
    g.add_edge("long_2", "meet")
    with ledger.run("defer") as run:
        run.edges = [("split", "short", "parallel", None), ("split", "long_1", "parallel", None)]
        run.edges += [("long_1", "long_2", "sequential", None)]
        run.edges += [("short", "meet", "join", None), ("long_2", "meet", "join", None)]
        g.compile(name=run.name).invoke({"text": "hi"})


def map_reduce() -> None:
    """A router sends three instances of one node."""
    g = graph("plan", "work", "reduce")
    g.add_edge(START, "plan")

    def fan_out(state: State) -> list[Send]:
        return [Send("work", {"text": str(i)}) for i in range(3)]

    g.add_conditional_edges("plan", fan_out, ["work"])
    g.add_edge("work", "reduce")
    with ledger.run("map_reduce") as run:
        run.edges = [("plan", "work", "parallel", None), ("work", "reduce", "join", None)]
        g.compile(name=run.name).invoke({"text": "hi"})


def goto() -> None:
    """Nodes that choose what follows by Command."""
    g = StateGraph(State)
    triage = step("triage", lambda state: Command(goto="billing", update={"seen": ["triage"]}))
    g.add_node("triage", triage, destinations=("billing", "technical"))
    g.add_node("billing", step("billing", lambda state: Command(goto=["audit", "notify"])), destinations=("audit",))
    g.add_node("technical", plain("technical"))
    g.add_node("audit", plain("audit"))
    g.add_node("notify", plain("notify"))
    g.add_edge(START, "triage")
    with ledger.run("goto", skipped=["technical"]) as run:
        run.edges = [("triage", "billing", "conditional", "billing")]
        run.edges += [("billing", "audit", "conditional", "audit"), ("billing", "notify", "conditional", "notify")]
        g.compile(name=run.name).invoke({"text": "hi"})


def choices() -> None:
    """Routers of every kind: labels, a boolean, a list of names, a lambda, two routers on one node, END."""
    g = graph("ask", "check", "yes", "no", "one", "two", "tail", "never")
    g.add_edge(START, "ask")
    g.add_conditional_edges("ask", lambda state: "go on", {"go on": "check", "stop": "never"})

    def is_fine(state: State) -> bool:
        return True

    g.add_conditional_edges("check", is_fine, {True: "yes", False: "no"})

    def several(state: State) -> list[str]:
        return ["one", "two"]

    g.add_conditional_edges("yes", several, ["one", "two"])
    g.add_edge(["one", "two"], "tail")

    def done(state: State) -> str:
        return END

    g.add_conditional_edges("tail", done, [END, "never"])
    with ledger.run("choices", skipped=["no", "never"]) as run:
        run.edges = [("ask", "check", "conditional", "go on"), ("check", "yes", "conditional", "True")]
        run.edges += [("yes", "one", "conditional", "one"), ("yes", "two", "conditional", "two")]
        run.edges += [("one", "tail", "join", None), ("two", "tail", "join", None)]
        g.compile(name=run.name).invoke({"text": "hi"})


def entry_router() -> None:
    """A router at the very start of the graph."""
    g = graph("cheap", "dear", "after")
    g.add_conditional_edges(START, step_free("pick", "dear"), ["cheap", "dear"])
    g.add_edge("cheap", "after")
    g.add_edge("dear", "after")
    with ledger.run("entry_router", skipped=["cheap"]) as run:
        run.edges = [("dear", "after", "sequential", None)]
        g.compile(name=run.name).invoke({"text": "hi"})


def parallel_routers() -> None:
    """Two parallel nodes, each with a router of its own."""
    g = graph("split", "left", "right", "left_a", "left_b", "right_a", "right_b")
    g.add_edge(START, "split")
    g.add_edge("split", "left")
    g.add_edge("split", "right")
    g.add_conditional_edges("left", step_free("pick_left", "a"), {"a": "left_a", "b": "left_b"})
    g.add_conditional_edges("right", step_free("pick_right", "b"), {"a": "right_a", "b": "right_b"})
    with ledger.run("parallel_routers", skipped=["left_b", "right_a"]) as run:
        run.edges = [("split", "left", "parallel", None), ("split", "right", "parallel", None)]
        run.edges += [("left", "left_a", "conditional", "a"), ("right", "right_b", "conditional", "b")]
        g.compile(name=run.name).invoke({"text": "hi"})


def mixed() -> None:
    """A node with a router beside one with a plain edge, both in one step, and a plain edge beside a router."""
    g = graph("split", "routed", "plain_one", "chosen", "other", "after_plain", "always")
    g.add_edge(START, "split")
    g.add_edge("split", "routed")
    g.add_edge("split", "plain_one")
    g.add_conditional_edges("routed", step_free("pick", "chosen"), ["chosen", "other"])
    g.add_edge("routed", "always")
    g.add_edge("plain_one", "after_plain")
    with ledger.run("mixed", skipped=["other"]) as run:
        run.edges = [("split", "routed", "parallel", None), ("split", "plain_one", "parallel", None)]
        run.edges += [("routed", "chosen", "conditional", "chosen"), ("routed", "always", "parallel", None)]
        run.edges += [("plain_one", "after_plain", "sequential", None)]
        g.compile(name=run.name).invoke({"text": "hi"})


def subgraph() -> None:
    """A compiled graph as a node, and one invoked by a node."""
    inner = graph("search", "rank")
    inner.add_edge(START, "search")
    inner.add_edge("search", "rank")
    called = graph("fetch", "clean")
    called.add_edge(START, "fetch")
    called.add_edge("fetch", "clean")
    compiled = called.compile()
    g = graph("plan", "finish")
    g.add_node("research", inner.compile())
    g.add_node("gather", step("gather", lambda state: {"seen": compiled.invoke({"text": "x"})["seen"]}))
    g.add_edge(START, "plan")
    g.add_edge("plan", "research")
    g.add_edge("research", "gather")
    g.add_edge("gather", "finish")
    with ledger.run("subgraph") as run:
        note("research")
        run.edges = [("plan", "research", "sequential", None), ("research", "gather", "sequential", None)]
        run.edges += [("gather", "finish", "sequential", None), ("search", "rank", "sequential", None)]
        run.edges += [("fetch", "clean", "sequential", None)]
        g.compile(name=run.name).invoke({"text": "hi"})


def subgraph_fails() -> None:
    """A step of a subgraph fails and takes the whole run down."""

    def boom(state: State) -> State:
        raise KeyError("no such index")

    inner = graph("search", broken=step("broken", boom))
    inner.add_edge(START, "search")
    inner.add_edge("search", "broken")
    g = graph("plan", "finish")
    g.add_node("research", inner.compile())
    g.add_edge(START, "plan")
    g.add_edge("plan", "research")
    g.add_edge("research", "finish")
    with ledger.run("subgraph_fails", status="failed", skipped=["finish"]) as run:
        note("research", "failed", "KeyError")
        run.edges = [("plan", "research", "sequential", None), ("search", "broken", "sequential", None)]
        run.told = {"first_failed": "broken"}
        quiet(lambda: g.compile(name=run.name).invoke({"text": "hi"}))


def loop() -> None:
    """Draft and review until the review accepts."""
    g = graph("draft", "publish")

    def review(state: State) -> State:
        return {"tries": state.get("tries", 0) + 1, "seen": ["review"]}

    g.add_node("review", step("review", review))
    g.add_edge(START, "draft")
    g.add_edge("draft", "review")

    def verdict(state: State) -> str:
        return "accept" if state["tries"] >= 3 else "revise"

    g.add_conditional_edges("review", verdict, {"accept": "publish", "revise": "draft"})
    with ledger.run("loop") as run:
        run.edges = [("draft", "review", "sequential", None), ("review", "draft", "conditional", "revise")]
        run.edges += [("review", "publish", "conditional", "accept")]
        run.told = {"iterations": {"draft": [1, 2, 3], "review": [1, 2, 3]}}
        g.compile(name=run.name).invoke({"text": "hi"})


def self_loop() -> None:
    """A node that leads to itself until it has had enough."""
    g = StateGraph(State)
    g.add_node("poll", step("poll", lambda state: {"tries": state.get("tries", 0) + 1}))
    g.add_edge(START, "poll")
    g.add_conditional_edges("poll", lambda state: "poll" if state["tries"] < 3 else END, ["poll", END])
    with ledger.run("self_loop") as run:
        run.edges = [("poll", "poll", "conditional", "poll")]
        run.told = {"iterations": {"poll": [1, 2, 3]}}
        g.compile(name=run.name).invoke({"text": "hi"})


def retries() -> None:
    """A retry policy: once it helps, once it is exhausted, once it does not apply."""
    policy = RetryPolicy(max_attempts=3, initial_interval=0.01, jitter=False, retry_on=ConnectionError)
    for name, failures, error in (("helped", 2, ConnectionError), ("exhausted", 9, ConnectionError)):
        count = iter(range(9))

        def flaky(state: State, count: Any = count, failures: int = failures, error: Any = error) -> State:
            if next(count) < failures:
                raise error("connection to 10.0.0.7:5432 refused")
            return {"seen": ["fetch"]}

        g = graph("plan", "store")
        g.add_node("fetch", step("fetch", flaky), retry_policy=policy)
        g.add_edge(START, "plan")
        g.add_edge("plan", "fetch")
        g.add_edge("fetch", "store")
        with ledger.run(f"retries_{name}") as run:
            run.edges = [("plan", "fetch", "sequential", None)]
            if name == "helped":
                run.edges += [("fetch", "store", "sequential", None)]
            else:
                run.status, run.skipped, run.told = "failed", ["store"], {"first_failed": "fetch"}
            quiet(lambda g=g: g.compile(name="retries").invoke({"text": "hi"}))


def parallel_failure() -> None:
    """One of two parallel nodes fails."""

    def boom(state: State) -> State:
        raise PermissionError("403 from the vault")

    g = graph("split", "fine", "meet", bad=step("bad", boom))
    g.add_edge(START, "split")
    g.add_edge("split", "fine")
    g.add_edge("split", "bad")
    g.add_edge(["fine", "bad"], "meet")
    with ledger.run("parallel_failure", status="failed", skipped=["meet"]) as run:
        run.edges = [("split", "fine", "parallel", None), ("split", "bad", "parallel", None)]
        run.told = {"first_failed": "bad", "error_category": "permission"}
        quiet(lambda: g.compile(name=run.name).invoke({"text": "hi"}))


def handled() -> None:
    """A node deals with the failure of a chain that it calls."""

    def boom(text: str) -> str:
        raise ValueError("upstream said no")

    risky = RunnableLambda(boom).with_config(run_name="risky_call")

    def careful(state: State) -> State:
        try:
            risky.invoke("x")
        except ValueError:
            return {"seen": ["fallback"]}
        return {}

    g = graph("after", careful=step("careful", careful))
    g.add_edge(START, "careful")
    g.add_edge("careful", "after")
    with ledger.run("handled") as run:
        note("risky_call", "failed", "ValueError")
        run.edges = [("careful", "after", "sequential", None)]
        g.compile(name=run.name).invoke({"text": "hi"})


def asynchronous() -> None:
    """Async nodes; one takes too long."""

    async def quick(state: State) -> State:
        await asyncio.sleep(0)
        return {"seen": ["quick"]}

    async def slow(state: State) -> State:
        async with asyncio.timeout(0.02):
            await asyncio.sleep(5)
        return {}

    g = StateGraph(State)
    g.add_node("quick", ledger.async_step("quick", quick))
    g.add_node("slow", ledger.async_step("slow", slow))
    g.add_edge(START, "quick")
    g.add_edge("quick", "slow")
    with ledger.run("async_timeout", status="failed") as run:
        run.edges = [("quick", "slow", "sequential", None)]
        run.told = {"first_failed": "slow", "error_category": "timeout"}
        quiet(lambda: asyncio.run(g.compile(name=run.name).ainvoke({"text": "hi"})))

    async def for_ever(state: State) -> State:
        await asyncio.sleep(60)
        return {}

    g = StateGraph(State)
    g.add_node("quick", ledger.async_step("quick", quick))
    g.add_node("for_ever", ledger.async_step("for_ever", for_ever))
    g.add_edge(START, "quick")
    g.add_edge("quick", "for_ever")

    async def cancelled() -> None:
        task = asyncio.create_task(g.compile(name=run.name).ainvoke({"text": "hi"}))
        await asyncio.sleep(0.3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with ledger.run("async_cancelled", status="cancelled") as run:
        run.edges = [("quick", "for_ever", "sequential", None)]
        asyncio.run(cancelled())


def two_subgraphs() -> None:
    """A node that invokes two graphs, one after the other."""
    made = []
    for letter in "ab":
        inner = graph(f"{letter}_1", f"{letter}_2")
        inner.add_edge(START, f"{letter}_1")
        inner.add_edge(f"{letter}_1", f"{letter}_2")
        made.append(inner.compile())

    def both(state: State) -> State:
        for one in made:
            one.invoke({"text": "x"})
        return {"seen": ["both"]}

    g = graph("before", both=step("both", both))
    g.add_edge(START, "before")
    g.add_edge("before", "both")
    with ledger.run("two_subgraphs") as run:
        run.edges = [("before", "both", "sequential", None)]
        run.edges += [("a_1", "a_2", "sequential", None), ("b_1", "b_2", "sequential", None)]
        g.compile(name=run.name).invoke({"text": "hi"})


def functional() -> None:
    """The functional API: an entrypoint, tasks in parallel and one that is retried."""
    count = iter(range(9))

    def flaky(text: str) -> str:
        if next(count) < 1:
            raise ConnectionError("reset by peer")
        return text

    policy = RetryPolicy(max_attempts=2, initial_interval=0.01, retry_on=ConnectionError)
    fetch = task(retry_policy=policy)(step("fetch", flaky))
    score = task(step("score", lambda text: len(text)))

    @entrypoint()
    def essay(topic: str) -> int:
        fetched = fetch(topic).result()
        return sum(future.result() for future in [score(fetched), score(fetched)])

    with ledger.run("functional"):
        note("essay")
        essay.invoke("rain")


def recursion() -> None:
    """A loop that never ends hits the recursion limit."""
    g = graph("there", "back")
    g.add_edge(START, "there")
    g.add_edge("there", "back")
    g.add_conditional_edges("back", step_free("again", "there"), ["there", END])
    with ledger.run("recursion", status="failed") as run:
        run.edges = [("there", "back", "sequential", None), ("back", "there", "conditional", "there")]
        quiet(lambda: g.compile(name=run.name).invoke({"text": "hi"}, {"recursion_limit": 4}))


def router_fails() -> None:
    """A router raises."""

    def pick(state: State) -> str:
        raise LookupError("no route for 'hi'")

    g = graph("left", "right", ask=lambda state: {"seen": ["ask"]})
    g.add_edge(START, "ask")
    g.add_conditional_edges("ask", pick, ["left", "right"])
    with ledger.run("router_fails", status="failed", skipped=["left", "right"]) as run:
        # LangGraph runs the router as part of the node.
        note("ask", "failed", "LookupError")
        run.told = {"error_summary": "pick: LookupError: no route for 'hi'"}
        quiet(lambda: g.compile(name=run.name).invoke({"text": "hi"}))


def sends_to_subgraph() -> None:
    """Instances of a subgraph, side by side, one of which fails in its second step the first time."""
    count = iter(range(9))

    def sometimes(state: State) -> State:
        if next(count) == 0:
            raise ConnectionError("reset by peer")
        return {"seen": ["store"]}

    inner = graph("load")
    policy = RetryPolicy(max_attempts=2, initial_interval=0.01, retry_on=ConnectionError)
    inner.add_node("store", sometimes, retry_policy=policy)
    inner.add_edge(START, "load")
    inner.add_edge("load", "store")
    g = graph("plan", "reduce")
    g.add_node("each", inner.compile())
    g.add_edge(START, "plan")
    g.add_conditional_edges("plan", lambda state: [Send("each", {"text": str(i)}) for i in range(2)], ["each"])
    g.add_edge("each", "reduce")
    with ledger.run("sends_to_subgraph") as run:
        note("each")
        note("each")
        note("store", "retried", "ConnectionError")
        note("store", attempt=2)
        note("store")
        run.edges = [("plan", "each", "parallel", None), ("each", "reduce", "join", None)]
        run.edges += [("load", "store", "sequential", None)]
        g.compile(name=run.name).invoke({"text": "hi"})


def spaces() -> None:
    """Names with blanks, a graph with a name, routes with blanks."""
    g = graph("Read mail", "Answer it", "File it")
    g.add_edge(START, "Read mail")
    g.add_conditional_edges("Read mail", step_free("what to do", "Answer it"), ["Answer it", "File it"])
    with ledger.run("spaces", skipped=["File it"]) as run:
        run.edges = [("Read mail", "Answer it", "conditional", "Answer it")]
        run.told = {"workflow_name": "mail room"}
        g.compile(name="mail room").invoke({"text": "hi"})


ALL = (
    branches, uneven, uneven_join, defer, map_reduce, goto, choices, entry_router, parallel_routers, mixed,
    subgraph, subgraph_fails, loop, self_loop, retries, parallel_failure, handled, asynchronous, two_subgraphs,
    functional, recursion, router_fails, sends_to_subgraph, spaces,
)  # fmt: skip
