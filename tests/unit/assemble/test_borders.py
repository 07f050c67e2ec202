"""What exactly is on a border of a rule: equal times, the least number, the word that is last in a list."""

from __future__ import annotations

import pytest
from tests.unit.assemble.traces import TRACE, edges_by_name, span, step

from spantree_exporter.assemble import assemble
from spantree_exporter.facts import Facts
from spantree_exporter.facts.vocabulary import Status
from spantree_exporter.rows import SpanFacts
from spantree_exporter.span import KIND_SERVER

MS = 1_000_000
RUN: Facts = {"boundary": "run", "kind": "workflow"}
BAD: Facts = {"error_type": "OSError", "error_message": "disk full of letters"}
MODEL: Facts = {"kind": "llm"}


def outcome(*spans: SpanFacts) -> tuple[str, str | None]:
    """(status, first failed) of the execution."""
    execution = assemble(spans, TRACE).execution
    return execution.status, execution.first_failed_name


def request(*below: SpanFacts, failed: bool = False) -> tuple[str, str | None]:
    """The outcome of a request with `below` in it."""
    return outcome(span(1, None, (0, 1000), "POST /ask", kind=KIND_SERVER, failed=failed), *below)


def attempts(*spans: SpanFacts) -> list[tuple[str, int]]:
    """(status, attempt) of the steps of a run."""
    run = span(1, None, (0, 10_000), "run", facts=RUN)
    return [(node.status, node.attempt) for node in assemble([run, *spans], TRACE).nodes[1:]]


def test_a_run_that_goes_on_is_running_although_the_request_that_began_it_failed() -> None:
    assert request(span(2, 1, (10, 0), "run", facts=RUN), failed=True) == ("running", "POST /ask")


def test_a_step_that_waits_is_taken_up_by_one_that_begins_as_it_ends() -> None:
    shared: Facts = {"task_key": "ask", "task_scope": "parent"}
    run = span(1, None, (0, 1000), "run", facts=RUN)
    waits = step(2, 1, (10, 50), "ask", facts={**shared, "status": "waiting"})
    assert outcome(run, waits, step(3, 1, (49, 60), "ask", facts=shared))[0] == "waiting"
    assert outcome(run, waits, step(3, 1, (50, 60), "ask", facts=shared))[0] == "completed"


def test_a_model_answers_for_another_only_where_it_was_asked_after_that_failed() -> None:
    failed = span(2, 1, (10, 100), "first", failed=True, facts={**MODEL, **BAD})
    assert request(failed, span(3, 1, (99, 200), "second", facts=MODEL)) == ("partial", "first")
    assert request(failed, span(3, 1, (100, 200), "second", facts=MODEL)) == ("completed", None)


def test_of_failures_that_end_together_the_innermost_is_first() -> None:
    found = request(
        step(2, 1, (10, 100), "shallow", failed=True, facts=BAD),
        step(3, 1, (20, 300), "around"),
        step(4, 3, (30, 100), "deep", failed=True, facts=BAD),
    )
    assert found == ("partial", "deep")


@pytest.mark.parametrize(
    ("run_ms", "last_ms", "cause"),
    [
        pytest.param(5_000, 4_900, "child", id="a tenth of a second after"),
        pytest.param(5_000, 4_899, "run", id="later"),
        pytest.param(40, 30, "child", id="10 ms after, however short the run"),
        pytest.param(40, 29, "run", id="more than a fifth of a short run"),
    ],
)
def test_who_fails_right_after_a_step_below_failed_of_it(run_ms: int, last_ms: int, cause: str) -> None:
    own: Facts = {**RUN, "error_type": "RuntimeError", "error_message": "the run is over"}
    run = span(1, None, (0, run_ms * MS), "run", failed=True, facts=own)
    assert outcome(run, step(2, 1, (0, last_ms * MS), "child", failed=True, facts=BAD)) == ("failed", cause)


@pytest.mark.parametrize(("message", "cause"), [("disk is full", "child"), ("a disk", "run")])
def test_a_message_is_passed_on_where_it_is_quoted_and_long_enough_not_to_be_by_chance(
    message: str, cause: str
) -> None:
    quoting = f"gave up: {message}, after all"
    own: Facts = {**RUN, "error_type": "RuntimeError", "error_message": quoting}
    told: Facts = {"error_type": "OSError", "error_message": message}
    run = span(1, None, (0, 5_000 * MS), "run", failed=True, facts=own)
    assert outcome(run, step(2, 1, (0, 1_000 * MS), "child", failed=True, facts=told)) == ("failed", cause)


def test_an_attempt_may_begin_as_the_one_before_it_ends() -> None:
    given: Facts = {"input": "a"}
    first = span(2, 1, (10, 50), "work", failed=True, facts=given)
    assert attempts(first, span(3, 1, (50, 90), "work", facts=given)) == [("retried", 1), ("completed", 2)]
    assert attempts(first, span(3, 1, (49, 90), "work", facts=given)) == [("failed", 1), ("completed", 1)]


def test_declared_numbers_make_attempts_where_they_follow_each_other_or_the_input_is_equal() -> None:
    def in_a_row(second: Facts) -> list[tuple[str, int]]:
        first = span(2, 1, (10, 50), "work", failed=True, facts={"attempt": 1, "input": "a"})
        return attempts(first, span(3, 1, (60, 90), "work", facts=second))

    assert in_a_row({"attempt": 2, "input": "b"}) == [("retried", 1), ("completed", 2)]
    assert in_a_row({"attempt": 3, "input": "b"}) == [("failed", 1), ("completed", 3)]
    assert in_a_row({"attempt": 3, "input": "a"}) == [("retried", 1), ("completed", 3)]


def test_an_attempt_that_is_numbered_from_zero_is_the_first() -> None:
    assert attempts(span(2, 1, (10, 50), "work", facts={"attempt": 0})) == [("completed", 1)]


def test_what_waited_and_was_taken_up_is_one_attempt() -> None:
    waits = span(2, 1, (10, 50), "ask", facts={"task_id": "t", "status": "waiting"})
    taken_up = span(3, 1, (60, 90), "ask", facts={"task_id": "t"})
    assert attempts(waits, taken_up) == [("waiting", 1), ("completed", 1)]


@pytest.mark.parametrize(("start", "ordinal"), [(90, 0), (91, 1)])
def test_of_spans_with_one_id_the_parent_is_the_latest_that_had_not_ended(start: int, ordinal: int) -> None:
    twins = [span(2, 1, (0, 100), "long", fingerprint=1), span(2, 1, (50, 90), "short", fingerprint=2)]
    nodes = assemble([span(1, None, (0, 200), "root"), *twins, span(3, 2, (start, 95), "below")], TRACE).nodes
    assert [node.parent_ordinal for node in nodes if node.name == "below"] == [ordinal]


def test_of_versions_that_end_together_the_one_that_failed_speaks() -> None:
    failed, ended = (span(2, None, (10, 50), "work", failed=n == 1, fingerprint=n) for n in (1, 2))
    assert [node.status for node in assemble([ended, failed], TRACE).nodes] == ["failed"]


def test_links_and_service_stay_of_a_version_that_alone_has_them() -> None:
    spans = [
        span(1, None, (0, 100), "root"),
        span(2, 1, (10, 20), "before"),
        span(3, 1, (30, 40), "work", fingerprint=1, links=[(TRACE, f"{2:016x}")], service="billing"),
        span(3, 1, (30, 50), "work", fingerprint=2, service=""),
    ]
    assembled = assemble(spans, TRACE)
    assert ("before", "work", "dependency", None, "link") in edges_by_name(assembled)
    assert [node.service for node in assembled.nodes if node.name == "work"] == ["billing"]


@pytest.mark.parametrize("said", ["partial", "running", "pending"])
def test_a_step_whose_span_has_ended_is_completed_whatever_its_engine_said_meanwhile(said: Status) -> None:
    [_, node] = assemble([span(1, None, (0, 100)), step(2, 1, (10, 20), "work", facts={"status": said})], TRACE).nodes
    assert node.status == "completed"


def test_of_roots_that_hold_as_much_the_first_is_the_main_one() -> None:
    roots = [span(number, None, (0, 100), f"root {number}") for number in (2, 3)]
    assert assemble(roots, TRACE).execution.root_span_id == 2


def test_runs_below_a_root_are_several_only_where_their_ids_differ() -> None:
    def execution_with(second: Facts) -> tuple[str, str, str | None]:
        first: Facts = {**RUN, "run_id": "r", "workflow_name": "ours"}
        spans = [span(1, None, (0, 100), "root"), span(2, 1, (10, 20), "a", facts=first)]
        found = assemble(
            [*spans, span(3, 1, (30, 40), "b", facts={**RUN, "workflow_name": "ours", **second})], TRACE
        ).execution
        return found.name, found.kind, found.run_id

    assert execution_with({}) == ("ours", "workflow", "r")
    assert execution_with({"run_id": "r"}) == ("ours", "workflow", "r")
    assert execution_with({"run_id": "s"}) == ("root", "function", None)


@pytest.mark.parametrize(
    ("at", "facts", "expected"),
    [
        pytest.param((50, 20), {}, (20, 20), id="it ended before it began"),
        pytest.param((10, 50), {"began_ns": 30}, (30, 50), id="the work began later"),
        pytest.param((10, 50), {"began_ns": 80}, (50, 50), id="the work began after the end"),
    ],
)
def test_no_step_ends_before_it_begins(at: tuple[int, int], facts: Facts, expected: tuple[int, int]) -> None:
    [node] = assemble([span(1, None, at, facts=facts)], TRACE).nodes
    assert (node.started_ns, node.ended_ns) == expected


def test_a_link_to_what_begins_later_makes_no_edge() -> None:
    def edges(later: int) -> list[tuple[str, str, str, str | None, str]]:
        first = span(2, 1, (10, 100), "first", links=[(TRACE, f"{3:016x}")])
        found = assemble([span(1, None, (0, 200), "root"), first, span(3, 1, (later, 150), "other")], TRACE)
        return [edge for edge in edges_by_name(found) if edge[4] == "link"]

    assert edges(10) == [("other", "first", "dependency", None, "link")]
    assert edges(11) == []


@pytest.mark.parametrize(
    ("kind", "name", "parent", "expected"),
    [
        pytest.param("workflow", "order", 1, "completed", id="the same step goes on"),
        pytest.param("workflow", "invoice", 1, "waiting", id="another one"),
        pytest.param("workflow", "order", 2, "waiting", id="one of this name elsewhere"),
        pytest.param("tool", "order", 1, "waiting", id="a call, for whatever reason"),
    ],
)
def test_a_step_without_a_task_waits_no_longer_once_it_goes_on(
    kind: str, name: str, parent: int, expected: str
) -> None:
    run = span(1, None, (0, 1000), "run", facts=RUN)
    waits = span(2, 1, (10, 50), "order", facts={"kind": kind, "status": "waiting"})
    assert outcome(run, waits, span(3, parent, (60, 90), name, facts={"kind": kind}))[0] == expected


def test_a_run_that_waited_waits_no_longer_once_it_goes_on_beside_itself() -> None:
    start = span(1, None, (0, 5), "start")
    waits = span(2, 1, (10, 50), "order", facts={**RUN, "status": "waiting"})
    assert outcome(start, waits)[0] == "waiting"
    assert outcome(start, waits, span(3, 1, (60, 90), "order", facts=RUN))[0] == "completed"


@pytest.mark.parametrize(("said", "expected"), [("completed", "completed"), ("waiting", "waiting")])
def test_what_waited_within_a_task_that_has_ended_by_its_engine_waits_no_longer(said: Status, expected: str) -> None:
    run = span(1, None, (0, 1000), "etl", facts=RUN)
    task = step(2, 1, (10, 900), "sensor", facts={"status": said})
    waits = span(3, 2, (20, 30), "task.execute", facts={"status": "waiting"})
    assert outcome(run, task, waits)[0] == expected
