"""`ExecutionHeader`: which execution an answer names."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from spantree_exporter.asgi import ExecutionHeader
from spantree_exporter.tracing import execution


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[TracerProvider]:
    provider = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield provider
    provider.shutdown()


def answered(app: Any, scope: str = "http") -> list[dict[str, Any]]:
    """What `app` behind the middleware sends."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": f"{scope}.request"}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    asyncio.run(ExecutionHeader(app)({"type": scope}, receive, send))
    return sent


async def answer(send: Any) -> None:
    await send({"type": "http.response.start", "status": 202, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": b""})


def header(sent: list[dict[str, Any]]) -> str | None:
    return dict(sent[0]["headers"]).get(b"x-spantree-execution", b"").decode() or None


def test_an_answer_names_the_execution_that_was_begun_or_planned_in_a_thread_or_here(provider: TracerProvider) -> None:
    ids: list[str] = []

    async def begins_in_a_thread(scope: Any, receive: Any, send: Any) -> None:
        def work() -> None:
            with execution("work") as run:
                ids.append(run.trace_id)
            with execution("another"):
                pass

        await asyncio.to_thread(work)
        await answer(send)

    async def plans(scope: Any, receive: Any, send: Any) -> None:
        ids.append(execution("later").id)
        await answer(send)

    assert header(answered(begins_in_a_thread)) == ids[0]
    assert header(answered(plans)) == ids[1]
    assert answered(plans)[1] == {"type": "http.response.body", "body": b""}


def test_else_it_names_the_trace_of_the_request_and_without_one_nothing(provider: TracerProvider) -> None:
    async def plain(scope: Any, receive: Any, send: Any) -> None:
        await answer(send)

    with provider.get_tracer("t").start_as_current_span("GET /") as request:
        assert header(answered(plain)) == trace.format_trace_id(request.get_span_context().trace_id)
    assert answered(plain)[0]["headers"] == [(b"a", b"b")]


def test_what_is_no_request_passes_through() -> None:
    async def lifespan(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.complete"})

    assert answered(lifespan, "lifespan") == [{"type": "lifespan.startup.complete"}]
