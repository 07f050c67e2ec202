"""`execution` and `node`: which spans and attributes they make, and that the host never notices them."""

from __future__ import annotations

import asyncio
import dataclasses
import pickle
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode
from tests.unit.tracing.recorded import Spans, attributes_of, parent_name

from spantree_exporter.tracing import DeclaredStep, current_execution, current_step, execution, node
from spantree_exporter.tracing.value import MAX_VALUE_CHARS, json_text


def test_an_execution_carries_who_and_what_it_is_in_standard_names_where_there_are_any(spans: Spans) -> None:
    with execution(
        "order",
        workflow="orders-v2",
        run_id="run-7",
        conversation_id="conv-1",
        user_id="ada",
        project="shop",
        input={"items": [1, 2]},
        lost_after_s=60,
        attributes={"tenant": "t1"},
    ) as run:
        run.set_output("done")
    (span,) = spans().values()
    assert attributes_of(span) == {
        "tenant": "t1",
        "spantree.execution.name": "order",
        "spantree.workflow.name": "orders-v2",
        "spantree.run.id": "run-7",
        "session.id": "conv-1",
        "user.id": "ada",
        "spantree.project": "shop",
        "spantree.lost_after_s": 60.0,
        "spantree.input": '{"items": [1, 2]}',
        "spantree.output": '"done"',
    }
    assert span.status.status_code is StatusCode.UNSET
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "spantree"


def test_nodes_nest_and_a_failure_is_recorded_once_on_the_innermost(spans: Spans) -> None:
    with pytest.raises(KeyError), execution("run"), node("outer"), node("inner", kind="tool"):
        raise KeyError("missing")
    seen = spans()
    assert {name: parent_name(span, seen) for name, span in seen.items()} == {
        "inner": "outer",
        "outer": "run",
        "run": None,
    }
    assert {name: len(span.events) for name, span in seen.items()} == {"inner": 1, "outer": 0, "run": 0}
    assert {span.status.status_code for span in seen.values()} == {StatusCode.ERROR}
    assert {span.status.description for span in seen.values()} == {"KeyError: 'missing'"}
    assert attributes_of(seen["inner"]) == {
        "spantree.node.name": "inner",
        "spantree.node.kind": "tool",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "inner",
        "error.type": "KeyError",
    }


def test_an_exception_instance_that_is_raised_again_elsewhere_is_recorded_there_too(spans: Spans) -> None:
    always = ValueError("constant")
    with execution("run"):
        for name in ("first", "second"):
            with pytest.raises(ValueError, match="constant"), node(name):
                raise always
    assert {name: len(span.events) for name, span in spans().items()} == {"first": 1, "second": 1, "run": 0}


def test_a_recorded_exception_can_still_be_pickled_and_frozen_ones_are_recorded(spans: Spans) -> None:
    @dataclasses.dataclass(frozen=True)
    class FrozenError(Exception):
        code: int

    with pytest.raises(FrozenError), node("frozen"):
        raise FrozenError(3)
    try:
        with node("plain"):
            raise ValueError("x")
    except ValueError as exc:
        assert pickle.loads(pickle.dumps(exc)).args == ("x",)
    assert {name: len(span.events) for name, span in spans().items()} == {"frozen": 1, "plain": 1}


def test_an_exception_whose_text_cannot_be_had_passes_through_and_the_span_still_ends(spans: Spans) -> None:
    class RudeError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    with pytest.raises(RudeError), node("rude"):
        raise RudeError
    (span,) = spans().values()
    assert (span.status.status_code, attributes_of(span)["error.type"]) == (
        StatusCode.ERROR,
        f"{__name__}.{RudeError.__qualname__}",
    )


def test_a_cancelled_step_is_cancelled_and_no_error(spans: Spans) -> None:
    async def sleeper() -> None:
        with execution("run"), node("sleep"):
            await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(sleeper())
        await asyncio.sleep(0)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    seen = spans()
    assert attributes_of(seen["sleep"])["spantree.node.status"] == "cancelled"
    assert attributes_of(seen["sleep"])["spantree.node.status_reason"] == "enough"
    assert attributes_of(seen["run"])["spantree.execution.status"] == "cancelled"
    assert [(span.status.status_code, span.events) for span in seen.values()] == [(StatusCode.UNSET, ())] * 2


def test_a_timeout_is_timed_out_where_it_was_raised_and_failed_above(spans: Spans) -> None:
    with pytest.raises(TimeoutError), execution("run"), node("slow"):
        raise TimeoutError("after 3 s")
    seen = spans()
    assert attributes_of(seen["slow"])["spantree.node.status"] == "timed_out"
    assert "spantree.execution.status" not in attributes_of(seen["run"])
    assert seen["run"].status.status_code is StatusCode.ERROR


def test_a_run_that_waits_and_the_one_that_takes_it_up(spans: Spans) -> None:
    with execution("order", run_id="r1"), node("approve", kind="human") as step:
        ticket = step.waiting("a manager must approve")
    waiting = spans()
    assert attributes_of(waiting["approve"])["spantree.node.status"] == "waiting"
    assert attributes_of(waiting["order"])["spantree.execution.status"] == "waiting"
    assert attributes_of(waiting["order"])["spantree.execution.status_reason"] == "a manager must approve"

    with execution("order again", resumes="r1", resumed_step=ticket):
        pass
    resumed = spans()["order again"]
    assert attributes_of(resumed) == {
        "spantree.execution.name": "order again",
        "spantree.run.id": "r1",
        "spantree.resumes": "r1",
    }
    (link,) = resumed.links
    assert waiting["approve"].context is not None
    assert (link.context.trace_id, link.context.span_id) == (
        waiting["approve"].context.trace_id,
        waiting["approve"].context.span_id,
    )
    assert dict(link.attributes or {}) == {"spantree.link.type": "resume"}
    assert resumed.context is not None
    assert resumed.context.trace_id != waiting["order"].context.trace_id


@pytest.mark.parametrize("ticket", ["", "nonsense", "00-zz-11-01", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_a_ticket_that_is_none_costs_the_link_and_nothing_else(
    spans: Spans, ticket: str, caplog: pytest.LogCaptureFixture
) -> None:
    with execution("order", resumes="r1", resumed_step=ticket):
        pass
    assert spans()["order"].links == ()
    assert "no traceparent" in caplog.text


def test_a_run_that_waited_and_then_broke_is_failed(spans: Spans) -> None:
    with pytest.raises(ValueError, match="late"), execution("order"):
        with node("approve") as step:
            step.waiting("somebody")
        raise ValueError("late")
    assert attributes_of(spans()["order"])["spantree.execution.status"] == "failed"


def test_a_decision_and_the_branch_it_chose(spans: Spans) -> None:
    with execution("run"):
        with node("route", kind="router") as route:
            route.decide("express", not_taken=["standard", "pickup"])
        with node("ship express", chosen_by=route):
            pass
        with node("told by name", chosen_by="route", condition=True):
            pass
    seen = spans()
    assert attributes_of(seen["route"])["spantree.decision"] == "express"
    assert attributes_of(seen["route"])["spantree.skipped_nodes"] == ("standard", "pickup")
    assert attributes_of(seen["ship express"])["spantree.edge.from"] == "route"
    assert attributes_of(seen["ship express"])["spantree.edge.condition"] == "express"
    assert attributes_of(seen["told by name"])["spantree.edge.condition"] == "true"


def test_a_join_names_what_it_needs_and_links_to_the_very_steps(spans: Spans) -> None:
    with execution("run"):
        with node("left") as left:
            pass
        with node("join", depends_on=[left, "right"]):
            pass
    seen = spans()
    assert attributes_of(seen["join"])["spantree.depends_on"] == ("left", "right")
    (link,) = seen["join"].links
    assert link.context == seen["left"].context
    assert dict(link.attributes or {}) == {"spantree.link.type": "dependency"}


def test_a_model_call_in_the_words_of_the_genai_conventions(spans: Spans) -> None:
    with node("draft", kind="llm", model="tiny-1") as step:
        step.tokens(input=12, output=34)
    assert attributes_of(spans()["draft"]) == {
        "spantree.node.name": "draft",
        "spantree.node.kind": "llm",
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "tiny-1",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 34,
    }


def test_statuses_said_outright(spans: Spans) -> None:
    with execution("run") as run:
        with node("skipped") as step:
            step.skip("nothing to do")
        with node("slow") as step:
            step.timed_out("after 2 s")
        with node("bad") as step:
            step.fail("no stock")
        run.never_ran("refund")
        run.identify(run_id="r9", conversation_id="c9", user_id="u9")
    seen = spans()
    assert attributes_of(seen["skipped"])["spantree.node.status"] == "skipped"
    assert attributes_of(seen["slow"])["spantree.node.status"] == "timed_out"
    assert (seen["bad"].status.status_code, seen["bad"].status.description) == (StatusCode.ERROR, "no stock")
    assert attributes_of(seen["run"]) == {
        "spantree.execution.name": "run",
        "spantree.skipped_nodes": ("refund",),
        "spantree.run.id": "r9",
        "session.id": "c9",
        "user.id": "u9",
    }


def test_parallel_tasks_stay_below_their_own_parent(spans: Spans) -> None:
    async def branch(name: str) -> None:
        with node(name):
            await asyncio.sleep(0)
            with node(f"{name} inner"):
                await asyncio.sleep(0)

    async def main() -> None:
        async with execution("run"):
            await asyncio.gather(branch("a"), branch("b"))

    asyncio.run(main())
    seen = spans()
    assert {name: parent_name(span, seen) for name, span in seen.items()} == {
        "a": "run",
        "b": "run",
        "a inner": "a",
        "b inner": "b",
        "run": None,
    }


def test_current_handles_are_the_innermost_and_harmless_outside(spans: Spans) -> None:
    current_step().tokens(input=1)
    current_execution().identify(run_id="nobody")
    assert current_step().waiting("nobody") == "00-" + "0" * 32 + "-" + "0" * 16 + "-00"
    with execution("run") as run, node("a") as a, node("b") as b:
        assert (current_execution(), current_step()) == (run, b)
        assert a is not b
    assert run.trace_id == f"{spans()['run'].context.trace_id:032x}"


def test_without_an_sdk_everything_works_and_nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", trace.NoOpTracerProvider)

    class Costly:
        def __repr__(self) -> str:
            raise AssertionError("nobody asked for this value")

    @node(capture=True, max_attempts=2)
    def work(value: object) -> object:
        return value

    costly = Costly()
    with execution("run", input=costly) as run:
        run.set_output(costly)
        assert work(costly) is costly
    assert run.trace_id == "0" * 32


@dataclasses.dataclass
class Point:
    x: int
    y: object


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def _endless() -> list[object]:
    loop: list[object] = []
    loop.append(loop)
    return loop


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("ä", '"ä"'),
        (Point(1, {2}), '{"x": 1, "y": [2]}'),
        (b"abc", '"<3 bytes>"'),
        (float("nan"), '"nan"'),
        ({(1, 2): 3}, '"{(1, 2): 3}"'),
        (_endless(), '"[[...]]"'),
        ([Rude()], '["<Rude whose repr raises RuntimeError>"]'),
        ("half \ud800 pair", '"half ? pair"'),
    ],
)
def test_any_value_becomes_text(value: object, text: str) -> None:
    assert json_text(value) == (text, None)


def test_a_long_value_is_cut_and_says_from_what(spans: Spans) -> None:
    with node("long") as step:
        step.set_output("x" * MAX_VALUE_CHARS)
    attributes = attributes_of(spans()["long"])
    assert len(attributes["spantree.output"]) == MAX_VALUE_CHARS
    assert attributes["spantree.output.cut_from_chars"] == MAX_VALUE_CHARS + 2


def test_declared_steps_are_texts_of_the_execution_and_what_is_none_is_left_out(
    spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    steps: list[Any] = [
        "look",
        DeclaredStep("check", key="t2", depends_on=["look"], thought="30 days\ud800", action="inference"),
        {"name": "pay", "kind": "tool"},
        {"kind": "nameless"},
    ]
    with execution("refund", steps=steps) as run:
        run.declare(["thank"])
    seen = spans()
    assert attributes_of(seen["refund"])["spantree.steps"] == (
        "look",
        '{"name": "check", "key": "t2", "depends_on": ["look"], "thought": "30 days?", "action": "inference"}',
        '{"name": "pay", "kind": "tool"}',
    )
    assert attributes_of(seen["declare steps"]) == {
        "spantree.span_type": "note_span",
        "spantree.steps": ("thank",),
    }
    assert parent_name(seen["declare steps"], seen) == "refund"
    assert caplog.messages == ["a declared step of type dict cannot be read; it is left out"]


def test_an_executions_id_is_known_before_it_starts_and_is_its_trace_wherever_it_runs(spans: Spans) -> None:
    first, later = execution("first"), execution("later")
    known = (first.id, later.id)
    with first as run:
        assert (run.trace_id, first.id) == (known[0], known[0])
        with later as other:  # planned for a trace of its own: it is the root of that one
            assert other.trace_id == known[1]
            with node("step"):
                pass
    with execution("around") as around:
        inside = execution("inside")
        assert inside.id == around.trace_id
    seen = spans()
    assert len(set(known)) == 2
    assert parent_name(seen["step"], seen) == "later"
    assert seen["later"].parent is None
    with execution("again") as again:
        assert again.trace_id not in known


def test_without_an_sdk_an_id_is_zeros_and_nothing_else_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", trace.NoOpTracerProvider)
    run = execution("run", steps=["a"])
    assert run.id == "0" * 32
    with run as handle:
        handle.declare(["b"])
        assert handle.trace_id == "0" * 32
