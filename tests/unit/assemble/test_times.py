"""Clocks of several machines, and the path that the end of an execution waited for."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.assemble.traces import TRACE, span, step

from spantree_exporter.assemble import assemble
from spantree_exporter.facts import Facts
from spantree_exporter.rows import Assembled, SpanFacts
from spantree_exporter.span import KIND_CLIENT, KIND_CONSUMER, KIND_PRODUCER, KIND_SERVER

MS = 1_000_000


def checkout(skew_ms: int, failed: bool = False) -> Assembled:
    """A request that calls a service on another machine, whose clock is `skew_ms` ahead."""

    def at(start_ms: int, end_ms: int) -> tuple[int, int]:
        return (start_ms + skew_ms) * MS, (end_ms + skew_ms) * MS

    return assemble(
        [
            span(1, None, (0, 2000 * MS), "checkout"),
            span(2, 1, (200 * MS, 1500 * MS), "POST", kind=KIND_CLIENT, facts={"kind": "http_client"}),
            span(3, 2, at(300, 1400), "POST /quote", kind=KIND_SERVER, service="pricing", failed=failed),
            step(4, 3, at(400, 900), "price", service="pricing"),
            span(5, 1, (1600 * MS, 1700 * MS), "save"),
        ],
        TRACE,
    )


@pytest.mark.parametrize("skew_ms", [-3_600_000, -30_000, -201, 201, 1_300, 30_000])
def test_a_skew_changes_no_duration_status_or_order(skew_ms: int) -> None:
    for failed in (False, True):
        right, skewed = checkout(0, failed), checkout(skew_ms, failed)
        for node in skewed.nodes:
            assert node.anomalies == (["clock_skew"] if node.name == "POST /quote" else [])
            node.anomalies = []
        assert skewed.execution.anomalies == ["clock_skew"]
        assert skewed.nodes == right.nodes
        assert skewed.edges == right.edges
        assert (skewed.execution.status, skewed.execution.ended_ns) == (right.execution.status, 2000 * MS)


@settings(max_examples=60, deadline=None)
# An end at 0 is one that has not come yet.
@given(st.integers(-10_000, 10_000).filter(lambda skew_ms: skew_ms != -1_400))
def test_a_server_never_runs_outside_the_call_that_it_answers(skew_ms: int) -> None:
    call, server = checkout(skew_ms).nodes[1:3]
    assert call.started_ns <= server.started_ns <= (server.ended_ns or 0) <= (call.ended_ns or 0) + 5 * MS


def test_what_is_no_skew_is_left_as_sent() -> None:
    def server(call: tuple[int, int], served: tuple[int, int], failed: bool = False) -> tuple[int, int | None]:
        spans = [
            span(1, None, (0, 9000), "root"),
            span(2, 1, call, "call", kind=KIND_CLIENT, failed=failed),
            span(3, 2, served, "serve", kind=KIND_SERVER, service="other"),
        ]
        node = assemble(spans, TRACE).nodes[2]
        return node.started_ns, node.ended_ns

    assert server((10, 40), (15, 8000)) == (15, 8000), "an answer that is streamed on"
    assert server((10, 100), (50, 120), failed=True) == (50, 120), "a client that gave up"
    assert server((10, 40), (45, 45)) == (45, 45), "a marker"
    assert server((10, 40), (5, 8000)) == (10, 8005), "nothing is served before it is asked for"
    assert server((1000, 2000), (1600, 2100)) == (1600, 2100), "a span that ends when the answer is out"
    assert server((1000, 2000), (1600, 2101)) == (1249, 1750), "another clock"


def test_a_job_is_not_put_within_the_call_that_enqueued_it() -> None:
    """The instrumentation of arq: a client enqueues, a server works, seconds later."""
    spans = [
        span(1, None, (0, 100), "enqueue", kind=KIND_CLIENT, facts={"kind": "message"}),
        span(2, 1, (900, 950), "pack", kind=KIND_SERVER, facts={"kind": "task", "step": True}),
    ]
    assert [node.started_ns for node in assemble(spans, TRACE).nodes] == [0, 900]


def test_times_at_the_end_of_what_can_be_stored_are_moved_no_further() -> None:
    last = 2**63 - 1
    spans = [
        span(1, None, (5_000, 9_000), "call", kind=KIND_CLIENT),
        span(2, 1, (10, last), "serve", kind=KIND_SERVER, service="other"),
        span(3, 2, (0, last), "within", service="other"),
    ]
    ended = assemble(spans, TRACE)
    assert [(n.started_ns, n.ended_ns) for n in ended.nodes] == [(5_000, 9_000), (5_000, last), (4_990, last)]
    assert ended.execution.ended_ns == last


def test_a_message_is_not_taken_up_before_it_is_sent() -> None:
    spans = [
        span(1, None, (100, 110), "send", kind=KIND_PRODUCER),
        step(2, 1, (40, 60), "work", kind=KIND_CONSUMER, service="worker"),
    ]
    assert [(n.name, n.started_ns, n.anomalies) for n in assemble(spans, TRACE).nodes] == [
        ("send", 100, []),
        ("work", 100, ["clock_skew"]),
    ]


def path(*spans: SpanFacts) -> list[str]:
    """Names of the nodes on the critical path."""
    return [node.name for node in assemble(spans, TRACE).nodes if node.on_critical_path]


def test_work_that_outlives_the_root_is_what_the_end_waited_for() -> None:
    spans = [
        span(1, None, (0, 40), "POST /chat", kind=KIND_SERVER),
        span(2, 1, (10, 30), "generate"),
        span(3, 2, (35, 8000), "chat m"),
        span(4, 1, (31, 39), "headers"),
    ]
    execution = assemble(spans, TRACE).execution
    assert (execution.status, execution.ended_ns) == ("completed", 8000)
    assert path(*spans) == ["POST /chat", "generate", "chat m"]


def test_work_that_outlives_its_step_but_not_the_root_held_up_nobody_that_came_after() -> None:
    spans = [span(1, None, (0, 100), "root"), span(2, 1, (10, 30), "a"), span(3, 2, (20, 60), "log")]
    assert path(*spans, span(4, 1, (30, 95), "b")) == ["root", "a", "b"]
    assert path(*spans, span(4, 1, (60, 95), "b")) == ["root", "a", "log", "b"]


def test_of_several_roots_the_path_is_in_the_one_that_ended_last() -> None:
    spans = [span(1, None, (0, 2), "start"), span(2, None, (3, 600), "turn"), span(3, 2, (10, 599), "read")]
    assert path(*spans) == ["turn", "read"]


NOW = 1_795_176_000_000_000_000


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        pytest.param((NOW // 10**6 + 5, NOW // 10**6 + 25), (NOW, NOW + 20), id="milliseconds as nanoseconds"),
        pytest.param((NOW // 10**3 + 5, NOW // 10**3 + 25), (NOW, NOW + 20), id="microseconds as nanoseconds"),
        pytest.param((1, NOW + 40), (NOW, NOW + 40), id="a start that was not set"),
        pytest.param((1, 0), (NOW, None), id="a start that was not set, and no end yet"),
        pytest.param((NOW + 40, NOW // 10**6), (NOW + 40, NOW + 40), id="an end in milliseconds"),
        pytest.param((NOW + 40, NOW + 30), (NOW + 30, NOW + 30), id="an end before the start"),
    ],
)
def test_what_is_no_time_lengthens_no_run(sent: tuple[int, int], told: tuple[int, int | None]) -> None:
    spans = [span(1, None, (NOW, NOW + 100), "root"), span(2, 1, sent, "child"), span(3, 2, (NOW + 41, NOW + 45))]
    found = assemble(spans, TRACE)
    child = next(node for node in found.nodes if node.span_id == 2)
    assert (child.started_ns, child.ended_ns) == told
    assert child.anomalies == (["time_unknown"] if sent[0] < NOW else [])
    assert (found.execution.started_ns, found.execution.anomalies) == (NOW, child.anomalies)


def test_a_root_without_a_start_began_with_what_is_below_it() -> None:
    spans = [span(1, None, (7, NOW + 100), "root"), span(2, 1, (NOW, NOW + 20), "child")]
    execution = assemble(spans, TRACE).execution
    assert (execution.started_ns, execution.ended_ns, execution.anomalies) == (NOW, NOW + 100, ["time_unknown"])


def test_where_no_span_says_a_start_they_began_with_the_first_end() -> None:
    execution = assemble([span(1, None, (7, NOW + 100), "root"), span(2, 1, (0, NOW + 40))], TRACE).execution
    assert (execution.started_ns, execution.ended_ns, execution.anomalies) == (NOW + 40, NOW + 100, ["time_unknown"])


def test_where_no_span_says_a_time_they_stay_as_sent() -> None:
    execution = assemble([span(1, None, (7, 100), "root"), span(2, 1, (20, 40))], TRACE).execution
    assert (execution.started_ns, execution.ended_ns, execution.anomalies) == (7, 100, [])


@pytest.mark.parametrize(
    ("told", "started_ms"),
    [
        pytest.param({"error_message": "HTTP 500"}, 60, id="answered by the server"),
        pytest.param({"error_type": "500"}, 60, id="answered by the server, by error.type"),
        pytest.param({"error_message": "HTTP 504"}, 10_050, id="a proxy gave up"),
        pytest.param({"error_message": "connection reset"}, 10_050, id="not answered"),
        pytest.param({}, 10_050, id="not told"),
    ],
)
def test_a_server_that_answered_a_call_that_failed_ran_within_it(told: Facts, started_ms: int) -> None:
    call = span(2, 1, (10 * MS, 910 * MS), "GET", kind=KIND_CLIENT, failed=True, facts=told)
    server = span(3, 2, (10_050 * MS, 10_850 * MS), "GET /y", kind=KIND_SERVER, failed=True, service="pricing")
    found = assemble([span(1, None, (0, 1000 * MS), "GET /x"), call, server], TRACE).nodes[2]
    assert (found.name, found.started_ns) == ("GET /y", started_ms * MS)


def test_a_step_tells_what_of_its_facts_was_lost() -> None:
    lost = span(1, None, (0, 10), facts={"anomalies": ["attempt_out_of_range"]})
    assembled = assemble([lost], TRACE)
    assert assembled.nodes[0].anomalies == ["attempt_out_of_range"]
    assert assembled.execution.anomalies == ["attempt_out_of_range"]
