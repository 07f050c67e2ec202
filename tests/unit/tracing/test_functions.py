"""Attempts, decorated functions, coroutines and generators: what they do for the caller, and which spans they make."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from tests.unit.tracing.recorded import Spans, attributes_of, parent_name

from spantree_exporter.tracing import attempts, current_step, execution, node


def attempt_view(memory: InMemorySpanExporter, name: str) -> list[tuple[object, ...]]:
    return [
        (
            attributes_of(span)["spantree.attempt"],
            attributes_of(span)["spantree.retry.max_attempts"],
            attributes_of(span)["spantree.retry.expected"],
            attributes_of(span)["spantree.task.key"].split("/", 1)[-1],
            span.status.status_code.name,
            len(span.events),
        )
        for span in memory.get_finished_spans()
        if span.name == name
    ]


def test_a_decorated_function_is_attempted_again_each_attempt_a_sibling(memory: InMemorySpanExporter) -> None:
    calls = 0

    @node(kind="tool", max_attempts=3, retry_on=ConnectionError)
    def charge(amount: int) -> str:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise ConnectionError("down")
        return f"paid {amount}"

    with execution("run"):
        assert charge(5) == "paid 5"
        assert charge(6) == "paid 6"
    assert attempt_view(memory, "charge") == [
        (1, 3, True, "charge", "ERROR", 1),
        (2, 3, True, "charge", "ERROR", 1),
        (3, 3, True, "charge", "UNSET", 0),
        (1, 3, True, "charge#2", "UNSET", 0),
    ]
    parents = {span.parent.span_id for span in memory.get_finished_spans() if span.parent}
    assert len(parents) == 1


def test_the_last_attempts_exception_and_one_outside_the_policy_pass_through(memory: InMemorySpanExporter) -> None:
    @node("flaky", max_attempts=2, retry_on=ConnectionError)
    async def flaky(error: Exception) -> None:
        raise error

    with pytest.raises(ConnectionError, match="gone"):
        asyncio.run(flaky(ConnectionError("gone")))
    with pytest.raises(ValueError, match="wrong"):
        asyncio.run(flaky(ValueError("wrong")))
    view = attempt_view(memory, "flaky")
    assert [row[0] for row in view] == [1, 2, 1]
    assert len({row[3] for row in view}) == 2, "two calls outside any execution are two tasks"


def test_attempts_of_a_block_in_both_kinds_of_loop(memory: InMemorySpanExporter) -> None:
    results = []
    for attempt in attempts("block", max_attempts=3, retry_on=ValueError, task_key="mine"):
        with attempt as step:
            if attempt.number < 2:
                raise ValueError("again")
            step.set_output(attempt.number)
            results.append(attempt.number)

    async def loop() -> None:
        async for attempt in attempts("ablock", max_attempts=3, retry_on=ValueError, delay_s=0.001, backoff=2):
            with attempt:
                if attempt.number < 3:
                    raise ValueError("again")
                results.append(attempt.number)

    asyncio.run(loop())
    assert results == [2, 3]
    assert attempt_view(memory, "block") == [(1, 3, True, "mine", "ERROR", 1), (2, 3, True, "mine", "UNSET", 0)]
    assert [row[0] for row in attempt_view(memory, "ablock")] == [1, 2, 3]


def test_decorators_keep_name_signature_and_result_and_capture_on_request(spans: Spans) -> None:
    @node
    def bare(x: int) -> int:
        """Doc."""
        return x + 1

    class Shop:
        @node("sell", capture=True)
        def sell(self, item: str, count: int = 2) -> dict[str, int]:
            return {item: count}

        @execution(capture=True)
        async def day(self, name: str) -> str:
            self.sell("tea", count=3)
            return name

    assert (bare(1), bare.__name__, bare.__doc__) == (2, "bare", "Doc.")
    assert asyncio.run(Shop().day("monday")) == "monday"
    seen = spans()
    assert attributes_of(seen["bare"]) == {"spantree.node.name": "bare", "spantree.node.kind": "step"}
    assert json.loads(attributes_of(seen["sell"])["spantree.input"]) == {"item": "tea", "count": 3}
    assert json.loads(attributes_of(seen["sell"])["spantree.output"]) == {"tea": 3}
    assert json.loads(attributes_of(seen["day"])["spantree.input"]) == {"name": "monday"}
    assert parent_name(seen["sell"], seen) == "day"


def test_a_wrong_call_of_a_captured_function_raises_what_python_raises(spans: Spans) -> None:
    @node(capture=True)
    def one(x: int) -> int:
        return x

    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        one()  # type: ignore[call-arg]
    assert list(spans()) == ["one"]


def test_a_generators_span_covers_its_own_code_and_not_the_consumers(spans: Spans) -> None:
    @node
    def numbers() -> Iterator[int]:
        with node("inside"):
            pass
        received = yield 1
        assert received is None
        yield 2

    with execution("run"):
        total = 0
        for value in numbers():
            with node(f"consumer {value}"):
                total += value
    seen = spans()
    assert total == 3
    assert {name: parent_name(span, seen) for name, span in seen.items()} == {
        "inside": "numbers",
        "numbers": "run",
        "consumer 1": "run",
        "consumer 2": "run",
        "run": None,
    }


def test_generators_pass_on_sent_values_thrown_exceptions_return_values_and_closing(spans: Spans) -> None:
    closed = []

    @node("echo", capture=True)
    def echo() -> Any:
        try:
            got = yield "ready"
            try:
                yield got
            except ValueError as exc:
                yield f"caught {exc}"
        finally:
            closed.append(True)
        return "end"

    generator = echo()
    assert [next(generator), generator.send("hi"), generator.throw(ValueError("x"))] == ["ready", "hi", "caught x"]
    with pytest.raises(StopIteration) as stop:
        next(generator)
    assert stop.value.value == "end"
    assert attributes_of(spans()["echo"])["spantree.output"] == '"end"'

    early = echo()
    next(early)
    early.close()
    assert closed == [True, True]
    assert [span.status.status_code for span in spans().values()] == [StatusCode.UNSET]


def test_async_generators_likewise(spans: Spans) -> None:
    @node("stream", kind="llm")
    async def stream(fail: bool) -> AsyncIterator[str]:
        yield "a"
        current_step().tokens(output=1)
        if fail:
            raise ValueError("broken")
        yield "b"

    async def main() -> list[str]:
        got = [word async for word in stream(fail=False)]
        with pytest.raises(ValueError, match="broken"):
            async for _ in stream(fail=True):
                pass
        return got

    assert asyncio.run(main()) == ["a", "b"]
    assert attributes_of(spans()["stream"])["gen_ai.usage.output_tokens"] == 1
    assert spans()["stream"].status.status_code is StatusCode.ERROR


def test_a_generator_that_is_called_with_wrong_arguments_ends_its_span(spans: Spans) -> None:
    @node("numbers")
    def numbers(first: int) -> Iterator[int]:
        yield first

    @node("letters")
    async def letters(first: str) -> AsyncIterator[str]:
        yield first

    async def one() -> None:
        async for _ in letters():  # type: ignore[call-arg]
            pass

    with pytest.raises(TypeError, match="first"):
        list(numbers())  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="first"):
        asyncio.run(one())
    assert {name: span.status.status_code for name, span in spans().items()} == {
        "numbers": StatusCode.ERROR,
        "letters": StatusCode.ERROR,
    }


def test_a_generator_cannot_have_a_retry_policy() -> None:
    with pytest.raises(TypeError, match="cannot be attempted again"):

        @node(max_attempts=2)
        def numbers() -> Iterator[int]:
            yield 1

    with pytest.raises(ValueError, match="must be at least 1"):
        node("x", max_attempts=0)
