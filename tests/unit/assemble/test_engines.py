"""What workflow engines' spans mean together: markers, queueing, attempts in events, chains, runs still open."""

from __future__ import annotations

import pytest
from tests.unit.assemble.traces import TRACE, edges_by_name, span, step

from spantree_exporter.assemble import assemble
from spantree_exporter.facts import Facts
from spantree_exporter.rows import Assembled, SpanFacts
from spantree_exporter.span import KIND_CONSUMER, KIND_PRODUCER, KIND_SERVER

RUN: Facts = {"boundary": "run", "kind": "workflow", "workflow_name": "order", "run_id": "o-1"}


def told(assembled: Assembled) -> list[tuple[str, str, int]]:
    """(name, status, attempt) of each node, in sequence order."""
    return [(n.name, n.status, n.attempt) for n in assembled.nodes]


def workflow_of_markers(*more: SpanFacts) -> Assembled:
    """A run that was started, told to run by a marker and asked for the activity `charge`."""
    spans = [
        span(1, None, (0, 8), "order", facts=RUN),
        span(2, 1, (10, 10), "order", facts={**RUN, "fold": "inner", "open_ended": True}),
        step(3, 1, (20, 20), "charge", facts={"fold": "producer", "unanswered": True}),
    ]
    return assemble([*spans, *more], TRACE)


def test_a_run_of_markers_goes_on_until_it_is_closed() -> None:
    running = workflow_of_markers()
    assert running.execution.status == "running"
    assert running.execution.ended_ns is None
    assert told(running) == [("order", "running", 1), ("charge", "running", 1)]

    tried = step(4, 3, (30, 40), "charge", kind=KIND_SERVER, failed=True, facts={"task_key": "a"})
    again = step(5, 3, (50, 60), "charge", kind=KIND_SERVER, facts={"task_key": "a"})
    closed = span(6, 1, (70, 70), "order", facts={**RUN, "fold": "event", "closes": True, "status": "completed"})
    done = workflow_of_markers(tried, again, closed)
    assert (done.execution.status, done.execution.ended_ns) == ("completed", 70)
    assert told(done) == [("order", "completed", 1), ("charge", "retried", 1), ("charge", "completed", 2)]
    assert {n.parent_span_id for n in done.nodes} == {None, 1}


def test_what_was_asked_for_is_known_by_its_name_where_no_kind_of_a_span_is_told() -> None:
    tried = step(4, 3, (30, 40), "charge", failed=True, facts={"task_key": "a"})
    again = step(5, 3, (50, 60), "charge", facts={"task_key": "a"})
    sent = span(6, None, (60, 65), "approve", facts={"kind": "message", "fold": "producer"})
    handled = span(7, 6, (66, 66), "approve", facts={"kind": "signal"})
    closed = span(8, 1, (10, 90), "order", facts={**RUN, "fold": "inner", "closes": True})
    done = workflow_of_markers(tried, again, sent, handled, closed)
    assert told(done) == [
        ("order", "completed", 1),
        ("charge", "retried", 1),
        ("charge", "completed", 2),
        ("approve", "completed", 1),
    ]
    assert done.nodes[3].kind == "signal"


def test_a_run_that_is_closed_by_a_failure_told_as_an_attribute_failed() -> None:
    ran = span(2, 1, (10, 90), "order", facts={**RUN, "fold": "inner", "closes": True, "weak_status": "failed"})
    assert told(assemble([span(1, None, (0, 8), "order", facts=RUN), ran], TRACE)) == [("order", "failed", 1)]


def test_a_run_is_what_its_start_asked_for_though_they_know_it_by_other_ids() -> None:
    start = span(1, None, (0, 8), "order", facts={**RUN, "run_id": "r-1"})
    ran = span(2, 1, (10, 90), "order", facts={**RUN, "fold": "inner", "closes": True})
    done = assemble([start, ran], TRACE)
    assert (told(done), done.execution.ended_ns) == ([("order", "completed", 1)], 90)


def test_the_last_of_several_ends_of_a_run_is_its_end() -> None:
    first = span(2, 1, (10, 20), "order", failed=True, facts={**RUN, "fold": "inner", "closes": True})
    second = span(3, 1, (30, 40), "order", facts={**RUN, "fold": "inner", "closes": True})
    done = assemble([span(1, None, (0, 5), "order", facts=RUN), second, first], TRACE)
    assert told(done) == [("order", "completed", 1)]
    assert done.execution.ended_ns == 40


def test_what_closes_a_run_is_a_step_of_its_own_where_that_run_is_not() -> None:
    request = span(1, None, (0, 50), "POST /orders", kind=KIND_SERVER, facts={"kind": "http_server"})
    done = assemble([request, span(2, 1, (10, 20), "order", facts={**RUN, "fold": "inner", "closes": True})], TRACE)
    assert told(done) == [("POST /orders", "completed", 1), ("order", "completed", 1)]


def test_a_span_told_again_each_time_it_waits_is_one_attempt() -> None:
    key: Facts = {"task_key": "t", "attempt": 1}
    waits = step(2, 1, (10, 20), "sensor", fingerprint=1, facts={**key, "status": "waiting"})
    again = step(2, 1, (30, 40), "sensor", fingerprint=2, facts={**key, "status": "waiting"})
    done = step(2, 1, (50, 60), "sensor", fingerprint=3, facts={**key, "status": "completed"})
    assembled = assemble([span(1, None, (0, 100), "dag", facts=RUN), done, again, waits], TRACE)
    assert told(assembled) == [("dag", "completed", 1), ("sensor", "completed", 1)]
    assert (assembled.nodes[1].started_ns, assembled.nodes[1].ended_ns) == (10, 60)


def test_queueing_orders_steps_and_the_work_has_its_own_times() -> None:
    """Two tasks that one worker ran in turn were both free to run: neither led to the other."""
    spans = [span(1, None, (0, 1000), "dag", facts=RUN)]
    for number, (name, worked) in enumerate((("left", (100, 200)), ("right", (210, 300))), 2):
        spans.append(step(number, 1, (10, worked[1]), name, facts={"covers_queue": True}))
        spans.append(step(number + 10, number, worked, name, facts={"fold": "inner"}))
    spans.append(step(9, 1, (400, 500), "both"))
    assembled = assemble(spans, TRACE)
    assert [(n.name, n.started_ns, n.ended_ns) for n in assembled.nodes[1:3]] == [
        ("left", 100, 200),
        ("right", 210, 300),
    ]
    assert edges_by_name(assembled) == [
        ("left", "both", "join", None, "inferred"),
        ("right", "both", "join", None, "inferred"),
    ]


def test_instances_of_a_mapped_task_have_one_place_in_the_graph() -> None:
    spans = [span(1, None, (0, 1000), "dag", facts=RUN), step(2, 1, (10, 20), "extract"), step(6, 1, (90, 95), "load")]
    spans += [step(n, 1, (30 * (n - 2), 30 * (n - 2) + 20), "transform", facts={"mapped": True}) for n in (3, 4)]
    assert edges_by_name(assemble(spans, TRACE)) == [
        ("extract", "transform", "sequential", None, "inferred"),
        ("extract", "transform", "sequential", None, "inferred"),
        ("transform", "load", "sequential", None, "inferred"),
        ("transform", "load", "sequential", None, "inferred"),
    ]


def test_attempts_in_events_have_what_ran_in_them() -> None:
    flow: Facts = {**RUN, "attempts": [{"attempt": 1, "at_ns": 50, "next_ns": 60, "status": "retried"}]}
    spans = [
        span(1, None, (0, 100), "flow", facts=flow),
        step(2, 1, (10, 40), "load", failed=True),
        step(3, 1, (70, 90), "load"),
    ]
    assembled = assemble(spans, TRACE)
    assert told(assembled) == [
        ("flow", "retried", 1),
        ("load", "failed", 1),
        ("flow", "completed", 2),
        ("load", "completed", 1),
    ]
    assert (assembled.execution.status, assembled.execution.error_summary) == ("completed", None)


def queue_task(
    span_id: int, parent: int, at: tuple[int, int], name: str, plan: str, sender: str, sent: int | None = None
) -> list[SpanFacts]:
    """A task of a queue: what sent it and, below that, its run; `parent` is the run or span that sent it."""
    sent = at[0] - 2 if sent is None else sent
    facts: Facts = {"kind": "task", "task_key": f"id-{span_id}", "planned_by": plan, "sent_by": sender}
    return [
        span(span_id + 100, parent, (sent, sent + 1), name, kind=KIND_PRODUCER, facts={"fold": "producer"}),
        step(span_id, span_id + 100, at, name, kind=KIND_CONSUMER, facts=facts),
    ]


def test_the_next_task_of_a_chain_follows_and_a_called_task_is_inside() -> None:
    spans = [span(1, None, (0, 5), "checkout")]
    spans += queue_task(2, 1, (10, 30), "charge", "api-plan", "api")
    spans += queue_task(3, 2, (40, 60), "ship", "api-plan", "worker-1")
    spans += queue_task(4, 3, (50, 70), "notify", "worker-2-plan", "worker-2")
    assembled = assemble(spans, TRACE)
    assert [(n.name, n.depth) for n in assembled.nodes] == [("checkout", 0), ("charge", 1), ("ship", 1), ("notify", 2)]
    assert edges_by_name(assembled) == [("charge", "ship", "sequential", None, "declared")]


def test_the_body_of_a_chord_joins_all_its_parts() -> None:
    spans = [span(1, None, (0, 5), "report")]
    spans += queue_task(2, 1, (10, 30), "part", "api-plan", "api")
    spans += queue_task(3, 1, (11, 50), "part", "api-plan", "api")
    spans += queue_task(4, 3, (60, 70), "total", "api-plan", "worker-1")
    assembled = assemble(spans, TRACE)
    assert [(n.name, n.depth) for n in assembled.nodes] == [("report", 0), ("part", 1), ("part", 1), ("total", 1)]
    assert edges_by_name(assembled) == [
        ("part", "total", "join", None, "declared"),
        ("part", "total", "join", None, "declared"),
    ]


def test_what_follows_the_body_of_a_chord_does_not_join_its_parts() -> None:
    spans = [span(1, None, (0, 5), "report")]
    spans += queue_task(2, 1, (10, 20), "load", "api-plan", "api")
    spans += queue_task(3, 2, (30, 40), "part", "api-plan", "worker-1", sent=21)
    spans += queue_task(4, 2, (45, 55), "part", "api-plan", "worker-1", sent=22)  # the only worker was busy
    # Sent by what waits for the parts, which is folded into what sent it: `load`.
    spans += queue_task(5, 2, (70, 80), "total", "api-plan", "worker-2", sent=60)
    spans += queue_task(6, 5, (90, 99), "mail", "api-plan", "worker-1")
    assembled = assemble(spans, TRACE)
    assert [(e.from_span_id, e.to_span_id, e.type, e.provenance) for e in assembled.edges] == [
        (2, 3, "parallel", "declared"),
        (2, 4, "parallel", "declared"),
        (3, 5, "join", "inferred"),
        (4, 5, "join", "inferred"),
        (5, 6, "sequential", "declared"),
    ]


def test_each_of_several_chains_of_one_task_has_its_own_next() -> None:
    spans = [span(1, None, (0, 5), "report")]
    for number in (2, 3):
        spans += queue_task(number, 1, (10 + number, 30 + number), "load", "api-plan", "api")
        spans += queue_task(number + 2, number, (40 + number, 60), f"store {number}", "api-plan", "worker-1")
    assert edges_by_name(assemble(spans, TRACE)) == [
        ("load", "store 2", "sequential", None, "declared"),
        ("load", "store 3", "sequential", None, "declared"),
    ]


def test_a_chain_of_one_task_is_a_line() -> None:
    spans = [span(1, None, (0, 5), "report")]
    for number in (2, 3, 4):
        sender = "api" if number == 2 else "worker-1"
        at = (number * 20, number * 20 + 10)
        spans += queue_task(number, number - 1, at, "page", "api-plan", sender)
    assembled = assemble(spans, TRACE)
    edges = [(e.from_span_id, e.to_span_id, e.type) for e in assembled.edges]
    assert edges == [(2, 3, "sequential"), (3, 4, "sequential")]


def test_what_a_queue_hands_on_without_a_span_around_it_counts_to_the_run() -> None:
    spans = queue_task(2, 99, (10, 30), "charge", "api-plan", "api")[1:]
    spans[0].parent_span_id = None
    failing = queue_task(3, 2, (40, 60), "ship", "api-plan", "worker-1")
    failing[1].status_code = 2
    assembled = assemble([*spans, *failing], TRACE)
    assert (assembled.execution.name, assembled.execution.status) == ("charge", "failed")


def test_a_run_not_yet_exported_is_stood_in_for() -> None:
    facts: Facts = {"workflow_name": "etl", "run_id": "r-1"}
    spans = [
        step(2, 7, (10, 20), "extract", failed=True, facts=facts),
        step(3, 7, (30, 40), "load", facts=facts),
    ]
    assembled = assemble(spans, TRACE)
    assert told(assembled) == [("etl", "running", 1), ("extract", "failed", 1), ("load", "completed", 1)]
    execution = assembled.execution
    assert (execution.name, execution.run_id, execution.status, execution.root_span_id) == ("etl", "r-1", "running", 7)


def test_a_trace_of_several_runs_is_of_none_of_them() -> None:
    spans = [
        span(1, None, (0, 100), "POST /batch", kind=KIND_SERVER, facts={"kind": "http_server"}),
        span(2, 1, (10, 20), "order", facts=RUN),
        span(3, 1, (30, 40), "order", facts={**RUN, "run_id": "o-2"}),
    ]
    execution = assemble(spans, TRACE).execution
    assert (execution.name, execution.run_id, execution.kind) == ("POST /batch", None, "request")


@pytest.mark.parametrize(
    ("inner", "run_id"),
    [
        pytest.param({"boundary": "run", "workflow_name": "refund", "run_id": "r-1"}, None, id="another workflow"),
        pytest.param({"boundary": "run", "workflow_name": "order", "run_id": "r-1"}, "r-1", id="the same, told twice"),
        pytest.param({"run_id": "r-1"}, "r-1", id="a step that says of which run it is"),
    ],
)
def test_the_id_of_a_workflow_within_a_run_is_not_the_runs(inner: Facts, run_id: str | None) -> None:
    outer: Facts = {"boundary": "run", "kind": "workflow", "workflow_name": "order"}
    spans = [span(1, None, (0, 100), "order", facts=outer), span(2, 1, (10, 50), "inner", facts=inner)]
    spans.append(span(3, 2, (20, 30), "step", facts={"run_id": inner["run_id"]}))
    assert assemble(spans, TRACE).execution.run_id == run_id


@pytest.mark.parametrize(
    ("root", "below", "name"),
    [
        pytest.param({}, [RUN, {**RUN, "workflow_name": "refund"}], "nightly", id="two workflows in a script"),
        pytest.param({}, [{"boundary": "candidate"}] * 2, "nightly", id="two agents in a script"),
        pytest.param({"kind": "http_server"}, [{"boundary": "candidate"}] * 2, "run 2", id="two agents in a request"),
        pytest.param({}, [{"boundary": "candidate"}, {}], "run 2", id="an agent and a function"),
    ],
)
def test_what_holds_runs_of_several_names_is_of_none_of_them(root: Facts, below: list[Facts], name: str) -> None:
    spans = [span(1, None, (0, 100), "nightly", facts=root)]
    spans += [
        span(n, 1, (n * 10, n * 10 + 5), f"run {n}", failed=n == 3, facts=facts) for n, facts in enumerate(below, 2)
    ]
    execution = assemble(spans, TRACE).execution
    assert (execution.name, execution.workflow_name, execution.status) == (name, name, "partial")


def test_a_step_seen_from_outside_is_its_attempts() -> None:
    outside = step(2, 1, (10, 100), "charge", facts={"fold": "outer", "task_key": "op", "status": "completed"})
    spans = [span(1, None, (0, 200), "orders", facts=RUN), outside]
    for number, failed in ((1, True), (2, False)):
        at = (number * 20, number * 20 + 10)
        spans.append(step(2 + number, 2, at, "charge", failed=failed, facts={"task_key": "op", "attempt": number}))
    assembled = assemble(spans, TRACE)
    assert told(assembled) == [("orders", "completed", 1), ("charge", "retried", 1), ("charge", "completed", 2)]
    assert told(assemble(spans[:2], TRACE)) == [("orders", "completed", 1), ("charge", "completed", 1)]
