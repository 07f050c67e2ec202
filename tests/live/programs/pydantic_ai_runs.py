"""pydantic-ai agents of many shapes with scripted models: `pydantic_ai_runs.py VERSION` of its instrumentation."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

from ledger import Ledger, publish, start
from pydantic import BaseModel
from pydantic_ai import (
    Agent,
    ApprovalRequired,
    DeferredToolRequests,
    DeferredToolResults,
    ModelRetry,
    RunContext,
    UsageLimits,
    capture_run_messages,
)
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.usage import RequestUsage

ledger = Ledger()
step, note = ledger.step, ledger.note
provider = start("live-pydantic-ai", ledger)
version: Any = int(sys.argv[1])
Agent.instrument_all(InstrumentationSettings(tracer_provider=provider, version=version))


def says(*answers: list[Any] | str) -> FunctionModel:
    """A model that gives `answers` in turn: a text, or calls as (tool, arguments)."""
    script: Iterator[list[Any] | str] = iter(answers)

    def respond(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        note("model")
        answer = next(script)
        if isinstance(answer, str):
            parts: list[Any] = [TextPart(answer)]
        else:
            parts = [ToolCallPart(tool, arguments) for tool, arguments in answer]
        return ModelResponse(parts=parts, usage=RequestUsage(input_tokens=10, output_tokens=3))

    return FunctionModel(respond)


def attempt(call: Any) -> None:
    """Run what is expected to fail."""
    try:
        call()
    except Exception as exc:
        print(f"{type(exc).__name__}: {exc}"[:200], file=sys.stderr)


def tools() -> None:
    """Two tools in parallel, then an answer."""
    agent = Agent(says([("price", {"item": "tea"}), ("stock", {"item": "tea"})], "Tea: 3 EUR."), name="shop")
    agent.tool_plain(step("price", lambda item: 3))
    agent.tool_plain(step("stock", lambda item: 12))
    with ledger.run("tools") as run:
        run.told = {"input_tokens": 20, "output_tokens": 6, "workflow_name": "shop", "conversation_id": "c-1"}
        note("shop")
        agent.run_sync("tea?", conversation_id="c-1")


def retried_tool() -> None:
    """A tool that asks the model to try again."""
    agent = Agent(says([("find", {"who": "x"})], [("find", {"who": "bob"})], "Found."), name="finder", retries=2)

    def find(who: str) -> str:
        if who == "x":
            raise ModelRetry("no such person")
        return who

    agent.tool_plain(find)
    with ledger.run("retried_tool") as run:
        note("finder")
        note("find", "retried", "ModelRetry")
        note("find", attempt=2)
        agent.run_sync("who?")
        assert run


def bad_arguments() -> None:
    """The model sends arguments that do not fit, then ones that do."""
    agent = Agent(says([("add", {"a": "many"})], [("add", {"a": 2})], "2"), name="adder", retries=1)

    def add(a: int) -> int:
        return a

    agent.tool_plain(add)
    with ledger.run("bad_arguments"):
        note("adder")
        note("add", "retried", "ValidationError")
        note("add", attempt=2)
        agent.run_sync("2?")


def exhausted() -> None:
    """A tool that is never satisfied."""
    agent = Agent(says(*[[("picky", {})]] * 3), name="stubborn", retries=1)

    def picky() -> str:
        raise ModelRetry("not like this")

    agent.tool_plain(picky)
    with ledger.run("exhausted", status="failed"):
        note("stubborn", "failed", "UnexpectedModelBehavior")
        note("picky", "retried", "ModelRetry")
        note("picky", "failed", "ModelRetry", attempt=2)
        attempt(lambda: agent.run_sync("go"))


class Person(BaseModel):
    """A structured answer."""

    name: str
    age: int


def output() -> None:
    """A structured answer that is wrong once; one that a validator refuses for good."""
    script = says([("final_result", {"name": "Bo"})], [("final_result", {"name": "Bo", "age": 4})])
    agent = Agent(script, name="typed", output_type=Person, retries=1)
    with ledger.run("output_retried"):
        note("typed")
        agent.run_sync("who?")
    agent = Agent(says("a", "b"), name="validated", retries=1)

    @agent.output_validator
    def check(text: str) -> str:
        raise ModelRetry("too short")

    with ledger.run("output_refused", status="failed"):
        note("validated", "failed", "UnexpectedModelBehavior")
        attempt(lambda: agent.run_sync("go"))


def nested() -> None:
    """An agent that asks another in a tool; the inner one fails in a second run."""
    for fails in (False, True):
        inner = Agent(says([("lookup", {})], "inner"), name="expert")

        def lookup(fails: bool = fails) -> str:
            if fails:
                raise ConnectionError("kb.internal:443 refused")
            return "fact"

        inner.tool_plain(step("lookup", lambda: lookup()))
        outer = Agent(says([("ask", {"q": "?"})], "outer"), name="front")

        async def ask(q: str, inner: Agent[None, str] = inner) -> str:
            return (await inner.run(q)).output

        outer.tool_plain(ledger.async_step("ask", lambda q, ask=ask: ask(q)))
        with ledger.run("nested_fails" if fails else "nested", status="failed" if fails else "completed") as run:
            status, error = ("failed", "ConnectionError") if fails else ("completed", None)
            note("front", status, error)
            note("expert", status, error)
            run.told = {"workflow_name": "front"}
            run.told |= {"first_failed": "lookup", "error_category": "network"} if fails else {"input_tokens": 40}
            attempt(functools.partial(outer.run_sync, "?"))


def model_fails() -> None:
    """The model's service refuses; once another model takes over."""

    def refuse(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        note("model", "failed", "ModelHTTPError")
        raise ModelHTTPError(429, "big-model", {"error": "rate limit exceeded"})

    agent = Agent(FunctionModel(refuse), name="alone")
    with ledger.run("model_fails", status="failed") as run:
        note("alone", "failed", "ModelHTTPError")
        run.told = {"first_failed": "model"}
        attempt(lambda: agent.run_sync("?"))

    def refuse_quietly(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        raise ModelHTTPError(503, "big-model", None)

    agent = Agent(FallbackModel(FunctionModel(refuse_quietly), says("fine")), name="prudent")
    with ledger.run("fallback"):
        note("prudent")
        agent.run_sync("?")


def limits() -> None:
    """A usage limit ends the run."""
    agent = Agent(says(*[[("again", {})]] * 5), name="greedy")
    agent.tool_plain(step("again", lambda: "more"))
    with ledger.run("limits", status="failed"):
        note("greedy", "failed", "UsageLimitExceeded")
        attempt(lambda: agent.run_sync("?", usage_limits=UsageLimits(request_limit=2)))


def approval() -> None:
    """A tool that needs a person's approval; the run that brings it."""
    agent = Agent(says([("pay", {"amount": 3})], "Paid."), name="payer", output_type=[str, DeferredToolRequests])

    @agent.tool
    def pay(ctx: RunContext[None], amount: int) -> str:
        if not ctx.tool_call_approved:
            raise ApprovalRequired
        note("pay")
        return "paid"

    with ledger.run("approval_asked", status="waiting") as run, capture_run_messages():
        note("payer", "waiting")
        run.told = {"conversation_id": "c-pay"}
        asked = agent.run_sync("pay 3", conversation_id="c-pay")
        assert isinstance(asked.output, DeferredToolRequests)
    with ledger.run("approval_given") as run:
        note("payer")
        run.told = {"conversation_id": "c-pay"}
        results = DeferredToolResults(approvals={call.tool_call_id: True for call in asked.output.approvals})
        agent.run_sync(message_history=asked.all_messages(), deferred_tool_results=results, conversation_id="c-pay")


def streamed() -> None:
    """A streamed run, and one that is cancelled while the model speaks."""

    async def speak(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
        if len(messages) == 1:
            yield {0: DeltaToolCall(name="clock", json_args="{}", tool_call_id="t1")}
        else:
            yield "half "
            yield "past one"

    agent = Agent(FunctionModel(stream_function=speak), name="speaker")
    agent.tool_plain(step("clock", lambda: "13:30"))

    async def listen() -> None:
        async with agent.run_stream("time?") as result:
            async for _ in result.stream_text():
                pass

    with ledger.run("streamed"):
        for name in ("speaker", "model", "model"):
            note(name)
        asyncio.run(listen())

    async def stall(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        await asyncio.sleep(60)
        return ModelResponse(parts=[])

    async def give_up() -> None:
        task = asyncio.create_task(Agent(FunctionModel(stall), name="slow").run("?"))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with ledger.run("cancelled", status="cancelled"):
        note("slow", "cancelled")
        note("model", "cancelled")
        asyncio.run(give_up())


ALL = (tools, retried_tool, bad_arguments, exhausted, output, nested, model_fails, limits, approval, streamed)

wanted = set(sys.argv[2:])
for scenario in ALL:
    if not wanted or scenario.__name__ in wanted:
        scenario()
provider.shutdown()
publish(ledger)
