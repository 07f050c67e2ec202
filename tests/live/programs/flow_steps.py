"""LlamaIndex workflows; their steps' annotations must be classes, so that this module has none of the future."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from ledger import Ledger
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent
from workflows.retry_policy import ConstantDelayRetryPolicy

ledger = Ledger()
count = iter(range(99))


class Ready(Event):
    """Something is ready."""

    v: str


class Checked(Event):
    """Something was checked."""

    v: str


class Job(Event):
    """One of several jobs."""

    n: int


class Done(Event):
    """A job is done."""

    n: int


class Chain(Workflow):
    """Three steps."""

    @step
    async def begin(self, ev: StartEvent) -> Ready:
        ledger.note("begin")
        return Ready(v="1")

    @step
    async def middle(self, ev: Ready) -> Checked:
        ledger.note("middle")
        return Checked(v="2")

    @step
    async def finish(self, ev: Checked) -> StopEvent:
        ledger.note("finish")
        return StopEvent(result="ok")


class Fan(Workflow):
    """One step sends events to three workers."""

    @step
    async def plan(self, ctx: Context, ev: StartEvent) -> Job | None:
        ledger.note("plan")
        for n in range(3):
            ctx.send_event(Job(n=n))
        return None

    @step(num_workers=3)
    async def work(self, ev: Job) -> Done:
        ledger.note("work")
        return Done(n=ev.n)

    @step
    async def gather(self, ctx: Context, ev: Done) -> StopEvent | None:
        ledger.note("gather")
        return None if ctx.collect_events(ev, [Done] * 3) is None else StopEvent(result="ok")


class Fails(Workflow):
    """The second step raises."""

    @step
    async def begin(self, ev: StartEvent) -> Ready:
        ledger.note("begin")
        return Ready(v="1")

    @step
    async def crash(self, ev: Ready) -> StopEvent:
        ledger.note("crash", "failed", "KeyError")
        raise KeyError("price")


class Retried(Workflow):
    """The first step fails twice."""

    @step(retry_policy=ConstantDelayRetryPolicy(delay=0.01, maximum_attempts=4))
    async def flaky(self, ev: StartEvent) -> Ready:
        attempt = next(count) + 1
        if attempt < 3:
            ledger.note("flaky", "retried", "ConnectionError", attempt=attempt)
            raise ConnectionError("reset by peer")
        ledger.note("flaky", attempt=attempt)
        return Ready(v="1")

    @step
    async def after(self, ev: Ready) -> StopEvent:
        ledger.note("after")
        return StopEvent(result="ok")


class Loop(Workflow):
    """Draft and review until it is good."""

    @step
    async def draft(self, ev: StartEvent | Ready) -> Checked:
        ledger.note("draft")
        return Checked(v=str(next(count)))

    @step
    async def review(self, ev: Checked) -> Ready | StopEvent:
        ledger.note("review")
        return Ready(v=ev.v) if int(ev.v) < 5 else StopEvent(result="ok")


class Slow(Workflow):
    """A step that takes longer than the workflow may."""

    @step
    async def nap(self, ev: StartEvent) -> StopEvent:
        await asyncio.sleep(30)
        return StopEvent(result="ok")


def run_all(book: Ledger, run: Callable[[Coroutine[Any, Any, Any]], None]) -> None:
    """Run each workflow, written down in `book`."""
    global ledger
    ledger = book

    async def go(workflow: Workflow) -> None:
        await workflow.run()

    edges: dict[type[Workflow], list[Any]] = {
        Chain: [("begin", "middle", "sequential", None), ("middle", "finish", "sequential", None)],
        Fan: [("plan", "work", "parallel", None), ("work", "gather", "sequential", None)],
        Fails: [("begin", "crash", "sequential", None)],
        Retried: [("flaky", "after", "sequential", None)],
        Loop: [("draft", "review", "sequential", None), ("review", "draft", "sequential", None)],
        Slow: [],
    }
    for workflow, true in edges.items():
        status = {Fails: "failed", Slow: "timed_out"}.get(workflow, "completed")
        with ledger.run(workflow.__name__, status=status, edges=true, told={"workflow_name": workflow.__name__}):
            run(go(workflow(timeout=0.3 if workflow is Slow else 10)))
