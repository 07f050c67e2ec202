"""The decorators of vendors' SDKs around the same work: `sdk_runs.py traceloop|langfuse|logfire`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ledger import Ledger, publish, start

ledger = Ledger()
note = ledger.note
how = sys.argv[1]
Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]


def traceloop() -> tuple[Callable[[str, str], Wrap], Callable[[], Any], Callable[[], Any]]:
    """Traceloop's SDK."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from traceloop.sdk import Traceloop
    from traceloop.sdk.decorators import agent, task, tool, workflow
    from traceloop.sdk.tracing.tracing import TracerWrapper

    Traceloop.init(
        app_name="live-sdk", exporter=OTLPSpanExporter(), disable_batch=True, telemetry_enabled=False, instruments=set()
    )
    from opentelemetry import trace

    trace.get_tracer_provider().add_span_processor(ledger)  # type: ignore[attr-defined]
    kinds = {"workflow": workflow, "step": task, "agent": agent, "tool": tool}

    def about() -> AbstractContextManager[Any]:
        Traceloop.set_association_properties({"user_id": "u-1", "session_id": "s-1"})
        return nullcontext()

    return (lambda kind, name: kinds[kind](name=name)), about, lambda: TracerWrapper().flush()


def langfuse() -> tuple[Callable[[str, str], Wrap], Callable[[], Any], Callable[[], Any]]:
    """Langfuse's SDK, on our provider."""
    from langfuse import Langfuse, observe, propagate_attributes

    provider = start("live-sdk", ledger)
    client = Langfuse(public_key="pk", secret_key="sk", base_url="http://127.0.0.1:1", tracer_provider=provider)
    # Its own exporter has nowhere to send to.
    for processor in list(provider._active_span_processor._span_processors):
        if "Langfuse" in type(processor).__name__:
            processor.span_exporter.export = lambda spans: 0  # type: ignore[attr-defined]
    kinds: dict[str, Any] = {"workflow": "chain", "step": "span", "agent": "agent", "tool": "tool"}
    assert client
    return (
        (lambda kind, name: observe(name=name, as_type=kinds[kind])),
        lambda: propagate_attributes(user_id="u-1", session_id="s-1"),
        provider.shutdown,
    )


def logfire() -> tuple[Callable[[str, str], Wrap], Callable[[], Any], Callable[[], Any]]:
    """Logfire's SDK, which sends to OTEL_EXPORTER_OTLP_ENDPOINT of its own accord; it scrubs what is called session."""
    import logfire

    logfire.configure(
        send_to_logfire=False, console=False, service_name="live-sdk", additional_span_processors=[ledger]
    )

    def wrap(kind: str, name: str) -> Wrap:
        return logfire.instrument(name, record_return=True)

    return wrap, lambda: logfire.set_baggage(user_id="u-1", thread_id="s-1"), logfire.shutdown


if how == "langfuse":
    os.environ["LANGFUSE_TRACING_ENABLED"] = "true"
wrap, about, finish = {"traceloop": traceloop, "langfuse": langfuse, "logfire": logfire}[how]()


def made(kind: str, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """`work` as something of `kind` called `name`, written down and told."""
    return wrap(kind, name)(ledger.step(name, work))


def quiet(call: Callable[[], Any]) -> None:
    """Call what is expected to raise."""
    try:
        call()
    except Exception as exc:
        print(f"{type(exc).__name__}: {exc}"[:200], file=sys.stderr)


def main() -> None:
    """Run, fail, handle, retry."""
    load = made("step", "load", lambda: [1, 2])
    clean = made("step", "clean", lambda rows: rows)
    search = made("tool", "search", lambda: "found")

    def crash() -> None:
        raise KeyError("column 'price'")

    parse = made("step", "parse", crash)
    researcher = made("agent", "researcher", lambda: search())
    told = {"user_id": "u-1", "conversation_id": "s-1"}

    with ledger.run("fine", told=told) as run:
        run.edges = [("load", "clean", "sequential", None), ("clean", "researcher", "sequential", None)]
        with about():
            made("workflow", "report", lambda: (clean(load()), researcher()))()
    with ledger.run("fails", status="failed") as run:
        run.edges = [("load", "parse", "sequential", None)]
        run.told = {"first_failed": "parse"}
        quiet(lambda: made("workflow", "failing", lambda: (load(), parse(), clean([])))())

    def lenient() -> None:
        load()
        quiet(parse)
        clean([])

    with ledger.run("handled", status="partial") as run:
        run.edges = [("load", "parse", "sequential", None), ("parse", "clean", "sequential", None)]
        made("workflow", "lenient", lenient)()
    count = iter(range(9))

    def flaky() -> str:
        if next(count) < 2:
            raise ConnectionError("reset by peer")
        return "ok"

    fetch = made("step", "fetch", flaky)

    def persistent() -> None:
        for _ in range(3):
            quiet(fetch)

    with ledger.run("retried"):
        made("workflow", "persistent", persistent)()
    finish()
    if how == "langfuse":
        # It sends the message of what was raised, never the class.
        for run in ledger.runs:
            for node in run.nodes:
                node.error_type = None
    publish(ledger)


main()
