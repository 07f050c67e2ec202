"""OpenAI Agents SDK runs with a scripted model: `openai_agents_runs.py openinference|logfire|traceloop`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

from agents import (
    Agent,
    GuardrailFunctionOutput,
    ModelResponse,
    RunConfig,
    Runner,
    Usage,
    function_tool,
    handoff,
    input_guardrail,
    output_guardrail,
    trace,
)
from agents.models.interface import Model
from ledger import Ledger, publish, start
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

ledger = Ledger()
note = ledger.note
how = sys.argv[1]

if how == "logfire":
    import logfire

    logfire.configure(
        send_to_logfire=False,
        console=False,
        service_name="live-openai-agents",
        # It sends to OTEL_EXPORTER_OTLP_ENDPOINT of its own accord.
        additional_span_processors=[ledger],
    )
    logfire.instrument_openai_agents()
    finish = logfire.shutdown
else:
    provider = start("live-openai-agents", ledger)
    finish = provider.shutdown
    if how == "openinference":
        from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor

        OpenAIAgentsInstrumentor().instrument(tracer_provider=provider, exclusive_processor=True)
    elif how == "traceloop":
        from agents.tracing import set_trace_processors
        from opentelemetry.instrumentation.openai_agents import OpenAIAgentsInstrumentor as TraceloopInstrumentor

        set_trace_processors([])
        TraceloopInstrumentor().instrument(tracer_provider=provider)
    else:
        raise SystemExit(f"instrumentation {how!r} is none of openinference, logfire, traceloop")


class Script(Model):
    """A model that gives prepared answers in turn; an exception among them is raised."""

    def __init__(self, *answers: Any) -> None:
        self._answers = iter(answers)

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        """The next answer."""
        await asyncio.sleep(0.002)
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        usage = Usage(requests=1, input_tokens=10, output_tokens=3, total_tokens=13)
        return ModelResponse(output=answer, usage=usage, response_id=None)

    def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Not used here."""
        raise NotImplementedError


def says(text: str) -> list[Any]:
    """An answer that is a text."""
    content = [ResponseOutputText(text=text, type="output_text", annotations=[])]
    return [ResponseOutputMessage(id="m", content=content, role="assistant", status="completed", type="message")]


def calls(*names: str, arguments: str = "{}") -> list[Any]:
    """An answer that calls tools."""
    return [
        ResponseFunctionToolCall(call_id=f"call_{n}", name=n, arguments=arguments, type="function_call") for n in names
    ]


@function_tool
async def lookup() -> str:
    """Look something up."""
    note("lookup")
    return "found"


@function_tool
async def refund() -> str:
    """A tool whose failure is told to the model."""
    note("refund", "failed")
    raise ValueError("no such payment")


@function_tool(failure_error_function=None)
async def explode() -> str:
    """A tool whose failure ends the run."""
    note("explode", "failed")
    raise ConnectionError("ledger.internal:443 refused")


def run(agent: Agent, name: str, group: str | None = None, **options: Any) -> None:
    """Run `agent` as a workflow called `name`; errors stay here."""
    config = RunConfig(workflow_name=name, group_id=group)
    try:
        asyncio.run(Runner.run(agent, "hi", run_config=config, **options))
    except Exception as exc:
        print(f"{type(exc).__name__}: {exc}"[:200], file=sys.stderr)


def tools() -> None:
    """Tools in parallel, one of which fails and is told to the model."""
    agent = Agent(name="clerk", model=Script(calls("lookup", "refund"), says("sorry")), tools=[lookup, refund])
    with ledger.run("tools") as truth:
        note("clerk")
        truth.told = {"workflow_name": "counter", "conversation_id": "g-1"}
        run(agent, "counter", "g-1")


def handoffs() -> None:
    """Three agents, handed on twice."""
    third = Agent(name="third", model=Script(calls("lookup"), says("done")), tools=[lookup])
    second = Agent(name="second", model=Script(calls("transfer_to_third")), handoffs=[third])
    first = Agent(name="first", model=Script(calls("transfer_to_second")), handoffs=[handoff(second)])
    with ledger.run("handoffs") as truth:
        for name in ("first", "second", "third"):
            note(name)
        truth.edges = [("first", "second", "handoff", None), ("second", "third", "handoff", None)]
        run(first, "relay")


def failures() -> None:
    """A tool that raises, a model that fails, a run that never ends."""
    with ledger.run("tool_raises", status="failed"):
        note("worker", "failed")
        run(Agent(name="worker", model=Script(calls("explode")), tools=[explode]), "work")
    with ledger.run("model_raises", status="failed"):
        note("thinker", "failed")
        run(Agent(name="thinker", model=Script(RuntimeError("model is overloaded"))), "think")
    with ledger.run("too_many_turns", status="failed"):
        note("turner", "failed")
        run(Agent(name="turner", model=Script(*[calls("lookup")] * 5), tools=[lookup]), "spin", max_turns=2)


def guarded() -> None:
    """Guardrails that let through, that stop the input, that stop the output."""

    @input_guardrail(name="no_hacking", run_in_parallel=False)
    async def no_hacking(context: Any, agent: Any, data: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered=agent.name == "blocked")

    @output_guardrail(name="polite")
    async def polite(context: Any, agent: Any, output: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered=agent.name == "rude")

    for name, status in (("fine", "completed"), ("blocked", "failed"), ("rude", "failed")):
        agent = Agent(name=name, model=Script(says("hm")), input_guardrails=[no_hacking], output_guardrails=[polite])
        with ledger.run(f"guarded_{name}", status=status):
            note("no_hacking")
            run(agent, "guarded")


def nested() -> None:
    """An agent used as a tool by another; several runs under one trace."""
    expert = Agent(name="expert", model=Script(calls("lookup"), says("42")), tools=[lookup])
    asker = Agent(
        name="asker",
        model=Script(calls("ask_expert", arguments='{"input": "?"}'), says("42!")),
        tools=[expert.as_tool("ask_expert", "Ask an expert.")],
    )
    with ledger.run("nested"):
        for name in ("asker", "ask_expert", "expert"):
            note(name)
        run(asker, "asking")

    async def two() -> None:
        with trace("joint work", group_id="g-joint"):
            await Runner.run(Agent(name="one", model=Script(says("1"))), "hi")
            await Runner.run(Agent(name="two", model=Script(says("2"))), "hi")

    with ledger.run("joint") as truth:
        note("one")
        note("two")
        truth.told = {"workflow_name": "joint work", "conversation_id": "g-joint"}
        asyncio.run(two())


ALL = (tools, handoffs, failures, guarded, nested)

wanted = set(sys.argv[2:])
for scenario in ALL:
    if not wanted or scenario.__name__ in wanted:
        scenario()
finish()
publish(ledger)
