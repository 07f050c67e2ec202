"""What people hand to `execution` and `node` in other forms than the documentation's, and where they use them."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from tests.unit.tracing.recorded import Spans, attributes_of, parent_name

from spantree_exporter.tracing import DeclaredStep, attempts, current_execution, execution, node


def test_ids_that_are_no_text_are_sent_as_their_text(spans: Spans) -> None:
    one, two = UUID(int=1), UUID(int=2)
    team = {"team": "blue"}
    with (
        execution(name="order", run_id=one, conversation_id=two, user_id=7, project=8, attributes=team),
        node(name="pay", task_key=one),
    ):
        current_execution().identify(user_id=two)
    with execution("taken up", resumes=one):
        pass
    sent = spans()
    assert attributes_of(sent["order"]) == {
        "team": "blue",
        "spantree.execution.name": "order",
        "spantree.run.id": str(one),
        "session.id": str(two),
        "user.id": str(two),
        "spantree.project": "8",
    }
    assert attributes_of(sent["pay"])["spantree.task.key"] == str(one)
    assert attributes_of(sent["taken up"]) == {
        "spantree.execution.name": "taken up",
        "spantree.run.id": str(one),
        "spantree.resumes": str(one),
    }


def test_one_where_several_are_meant_is_no_list_of_its_letters(spans: Spans) -> None:
    one_step: Any = "look up"
    with execution("order", steps=one_step):
        with node("stock") as stock:
            pass
        with node("by name", depends_on="stock"):
            pass
        with node("by step", depends_on=stock):
            pass
        with node("route") as route:
            route.decide("express", not_taken="ship standard")
            route.never_ran(["gift wrap", "card"])
    with execution("refund", steps=(DeclaredStep(name, depends_on="stock") for name in ["pay"])):
        pass
    sent = spans()
    assert attributes_of(sent["order"])["spantree.steps"] == ("look up",)
    assert attributes_of(sent["refund"])["spantree.steps"] == ('{"name": "pay", "depends_on": ["stock"]}',)
    assert attributes_of(sent["by name"])["spantree.depends_on"] == ("stock",)
    assert attributes_of(sent["by step"])["spantree.depends_on"] == ("stock",)
    assert [link.context for link in sent["by step"].links] == [stock.span.get_span_context()]
    assert attributes_of(sent["route"])["spantree.skipped_nodes"] == ("ship standard", "gift wrap", "card")


def test_a_policy_takes_a_list_of_exceptions_and_refuses_what_is_none_where_it_is_made(
    memory: InMemorySpanExporter,
) -> None:
    @node(max_attempts=2, retry_on=[ValueError, KeyError])
    def charge() -> None:
        raise ValueError("busy")

    with pytest.raises(ValueError, match=r"^busy$"):
        charge()
    assert [attributes_of(span)["spantree.attempt"] for span in memory.get_finished_spans()] == [1, 2]
    refused: Any = ["ValueError"]
    with pytest.raises(TypeError, match=r"^retry_on has 'ValueError', must be exception classes$"):
        attempts("charge", max_attempts=2, retry_on=refused)


def test_reasons_that_are_no_text_cost_nothing_and_an_exception_is_told_whole(spans: Spans) -> None:
    class Rude:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    unread: Any = Rude()
    nothing: Any = None
    with node("handled") as step:
        try:
            raise ValueError("card expired")
        except ValueError as error:
            step.fail(error)
    with node("rude") as step:
        step.fail(unread)
    with node("waits") as step:
        step.waiting(nothing)
    sent = spans()
    handled = sent["handled"]
    assert (handled.status.status_code, handled.status.description) == (StatusCode.ERROR, "ValueError: card expired")
    assert attributes_of(handled)["error.type"] == "ValueError"
    (event,) = handled.events
    assert (event.name, (event.attributes or {})["exception.message"]) == ("exception", "card expired")
    assert sent["rude"].status.description == "Rude (its text could not be had)"
    assert attributes_of(sent["waits"])["spantree.node.status_reason"] == "None"


class Calls:
    """What a decorator may stand above."""

    @node
    @classmethod
    def of_class(cls, number: int) -> tuple[str, int]:
        return cls.__name__, number

    @node("static")
    @staticmethod
    def of_none(number: int) -> int:
        return number

    async def __call__(self, number: int) -> int:
        await asyncio.sleep(0)
        with node("inside"):
            return number


def test_class_methods_static_ones_and_partials_are_called_as_they_were(spans: Spans) -> None:
    assert Calls.of_class(1) == ("Calls", 1)
    assert Calls().of_class(1) == ("Calls", 1)
    assert Calls.of_none(2) == 2
    assert node(functools.partial(divmod, 7))(2) == (3, 1)
    assert sorted(spans()) == ["divmod", "of_class", "static"]
    value: Any = property(lambda _self: 1)
    with pytest.raises(TypeError, match="a property cannot be decorated: put the decorator below it"):
        node(value)


async def called(number: int) -> int:
    return await Calls()(number)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (Calls(), "Calls"),
        (functools.partial(called), "called"),
        (lambda number: called(number), "<lambda>"),
    ],
)
def test_the_span_lasts_until_what_is_to_be_awaited_was(
    function: Callable[[int], Any], name: str, spans: Spans
) -> None:
    async def main() -> object:
        return await node(function)(3)

    assert asyncio.run(main()) == 3
    sent = spans()
    assert (sorted(sent), parent_name(sent["inside"], sent)) == (sorted([name, "inside"]), name)


def test_a_failure_of_what_a_plain_function_returned_to_be_awaited_is_its_own(spans: Spans) -> None:
    async def late() -> None:
        raise ValueError("late")

    @node
    def start() -> Any:
        return late()

    async def main() -> None:
        await start()

    with pytest.raises(ValueError, match="late"):
        asyncio.run(main())
    assert spans()["start"].status.description == "ValueError: late"


def test_tasks_that_enter_one_object_leave_their_own_span(memory: InMemorySpanExporter) -> None:
    shared = node("shared")
    first_left = asyncio.Event()

    async def first() -> None:
        async with shared as step:
            step.set_output("first")
            await asyncio.sleep(0)
            raise ValueError("of the first")

    async def second() -> None:
        async with shared as step:
            step.set_output("second")
            await first_left.wait()

    async def main() -> None:
        tasks = [asyncio.create_task(first()), asyncio.create_task(second())]
        with pytest.raises(ValueError, match="of the first"):
            await tasks[0]
        first_left.set()
        await tasks[1]

    asyncio.run(main())

    def told(span: ReadableSpan) -> tuple[object, StatusCode]:
        return attributes_of(span)["spantree.output"], span.status.status_code

    assert [told(span) for span in memory.get_finished_spans()] == [
        ('"first"', StatusCode.ERROR),
        ('"second"', StatusCode.UNSET),
    ]


def test_a_generator_that_goes_on_in_another_context_leaves_no_traceback_in_the_log(
    spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    # as FastAPI runs a dependency that is a plain generator, and Starlette a response that streams one
    def session() -> Iterator[int]:
        with node("session"):
            yield 1

    generator = session()
    with caplog.at_level(logging.INFO):
        contextvars.copy_context().run(next, generator)
        contextvars.copy_context().run(next, generator, None)
    assert (list(spans()), caplog.records) == (["session"], [])
