"""Workflows of other frameworks: `flow_runs.py agent_framework|llama_index|haystack`.

They read the annotations of steps, which must be classes: this module has none of the future.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from ledger import Ledger, publish, start

ledger = Ledger()
note = ledger.note
framework = sys.argv[1]
os.environ["ENABLE_INSTRUMENTATION"] = "true"
provider = start(f"live-{framework}", ledger)


def run(work: Coroutine[Any, Any, Any]) -> None:
    """Run `work`; what it raises stays here."""
    try:
        asyncio.run(work)
    except Exception as exc:
        print(f"{type(exc).__name__}: {exc}"[:200], file=sys.stderr)


def agent_framework() -> None:
    """Microsoft's Agent Framework: fan out and in, a failure, a switch, a loop."""
    from agent_framework import Case, Default, Executor, WorkflowBuilder, WorkflowContext, handler

    def executor(name: str, work: Callable[[str], str] = str, last: bool = False) -> Executor:
        class One(Executor):
            @handler
            async def do(self, message: str, ctx: WorkflowContext[str, str]) -> None:
                done = ledger.step(name, work)(message)
                await (ctx.yield_output(done) if last else ctx.send_message(done))

        return One(id=name)

    class Meet(Executor):
        @handler
        async def do(self, messages: list[str], ctx: WorkflowContext[str, str]) -> None:
            note("meet")
            await ctx.yield_output(",".join(messages))

    split, left, right, meet = executor("split"), executor("left"), executor("right"), Meet(id="meet")
    built = WorkflowBuilder(start_executor=split, name="fan").add_fan_out_edges(split, [left, right])
    with ledger.run("fan", told={"workflow_name": "fan"}) as truth:
        truth.edges = [("split", "left", "parallel", None), ("split", "right", "parallel", None)]
        truth.edges += [("left", "meet", "join", None), ("right", "meet", "join", None)]
        run(built.add_fan_in_edges([left, right], meet).build().run("x"))

    def bad(message: str) -> str:
        raise ValueError("bad row")

    load, parse, store = executor("load"), executor("parse", bad), executor("store", last=True)
    built = WorkflowBuilder(start_executor=load, name="fails").add_edge(load, parse).add_edge(parse, store)
    with ledger.run("fails", status="failed", skipped=["store"], told={"first_failed": "parse"}) as truth:
        truth.edges = [("load", "parse", "sequential", None)]
        run(built.build().run("x"))
    judge, small, big = executor("judge"), executor("small", last=True), executor("big", last=True)
    cases = [Case(condition=lambda message: len(message) < 3, target=small), Default(target=big)]
    built = WorkflowBuilder(start_executor=judge, name="switch").add_switch_case_edge_group(judge, cases)
    with ledger.run("switch", skipped=["big"]) as truth:
        truth.edges = [("judge", "small", "conditional", None)]
        run(built.build().run("x"))
    count = iter(range(9))

    class Review(Executor):
        @handler
        async def do(self, message: str, ctx: WorkflowContext[str, str]) -> None:
            note("review")
            await (ctx.send_message(message) if next(count) < 2 else ctx.yield_output(message))

    draft, review = executor("draft"), Review(id="review")
    built = WorkflowBuilder(start_executor=draft, name="loop").add_edge(draft, review).add_edge(review, draft)
    with ledger.run("loop", told={"iterations": {"draft": [1, 2, 3], "review": [1, 2, 3]}}) as truth:
        truth.edges = [("draft", "review", "sequential", None), ("review", "draft", "sequential", None)]
        run(built.build().run("x"))


def llama_index() -> None:
    """LlamaIndex workflows: a chain, events sent to several workers, a failure, a retry, a loop."""
    from openinference.instrumentation.llama_index import LlamaIndexInstrumentor

    LlamaIndexInstrumentor().instrument(tracer_provider=provider)
    import flow_steps

    flow_steps.run_all(ledger, run)


def haystack() -> None:
    """Haystack pipelines: a chain, branches that join, a router, a failure."""
    from openinference.instrumentation.haystack import HaystackInstrumentor

    HaystackInstrumentor().instrument(tracer_provider=provider)
    from haystack import Pipeline, component
    from haystack.components.builders import PromptBuilder
    from haystack.components.routers import ConditionalRouter

    def made(name: str, work: Callable[[str], str]) -> Any:
        @component.output_types(text=str)
        def run(self: Any, text: str) -> dict[str, str]:
            return {"text": ledger.step(name, work)(text)}

        # The instrumentation looks a component's class up in its module.
        globals()[name] = component(type(name, (), {"run": run, "__module__": __name__}))
        return globals()[name]()

    def broken(text: str) -> str:
        raise RuntimeError("vector store offline")

    def pipeline(*edges: tuple[str, str], **components: Any) -> Any:
        built = Pipeline()
        for name, one in components.items():
            built.add_component(name, one)
        for source, target in edges:
            built.connect(source, target)
        return built

    question = {"load": {"text": "Where is my Order?"}}
    load = ("Loader", "Where is my Order? ".__add__)
    with ledger.run("chain") as truth:
        note("prompt_builder")
        truth.edges = [("Loader", "Tidy", "sequential", None), ("Tidy", "prompt_builder", "sequential", None)]
        parts = {"load": made(*load), "tidy": made("Tidy", str.title), "ask": PromptBuilder("Answer: {{text}}")}
        pipeline(("load.text", "tidy.text"), ("tidy.text", "ask.text"), **parts).run(question)
    with ledger.run("branches") as truth:
        note("prompt_builder")
        truth.edges = [("Loader", "Upper", "parallel", None), ("Loader", "Lower", "parallel", None)]
        truth.edges += [("Upper", "prompt_builder", "join", None), ("Lower", "prompt_builder", "join", None)]
        parts = {"load": made(*load), "upper": made("Upper", str.upper), "lower": made("Lower", str.lower)}
        edges = [("load.text", "upper.text"), ("load.text", "lower.text"), ("upper.text", "ask.x")]
        ask = PromptBuilder("{{x}} {{y}}")
        pipeline(*edges, ("lower.text", "ask.y"), **parts, ask=ask).run(question)
    routes: list[Any] = [
        {"condition": f"{{{{text|length{test}}}}}", "output": "{{text}}", "output_name": name, "output_type": str}
        for test, name in (("<90", "short"), (">=90", "long"))
    ]
    with ledger.run("route") as truth:
        note("router")
        truth.edges = [("Loader", "router", "sequential", None), ("router", "Short", "conditional", "short")]
        parts = {
            "load": made(*load),
            "choose": ConditionalRouter(routes),
            "s": made("Short", str),
            "l": made("Long", str),
        }
        edges = [("load.text", "choose.text"), ("choose.short", "s.text"), ("choose.long", "l.text")]
        pipeline(*edges, **parts).run(question)

    async def fails() -> None:
        parts = {"load": made(*load), "bad": made("Broken", broken)}
        pipeline(("load.text", "bad.text"), **parts).run(question)

    with ledger.run("fails", status="failed", told={"first_failed": "Broken"}) as truth:
        truth.edges = [("Loader", "Broken", "sequential", None)]
        run(fails())


{"agent_framework": agent_framework, "llama_index": llama_index, "haystack": haystack}[framework]()
provider.shutdown()
publish(ledger)
