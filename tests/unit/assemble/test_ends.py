"""When an execution has ended: a parent that never came keeps nothing running, an open step does."""

from __future__ import annotations

import pytest
from tests.unit.assemble.traces import TRACE, span, step

from spantree_exporter.assemble import assemble
from spantree_exporter.facts import Facts
from spantree_exporter.rows import SpanFacts
from spantree_exporter.span import KIND_CONSUMER, KIND_INTERNAL, KIND_PRODUCER, KIND_SERVER


def end_of(*spans: SpanFacts) -> tuple[str, int | None, list[str]]:
    """(status, end, anomalies) of the execution."""
    execution = assemble(spans, TRACE).execution
    return execution.status, execution.ended_ns, execution.anomalies


@pytest.mark.parametrize(
    ("kind", "facts", "expected"),
    [
        pytest.param(KIND_INTERNAL, {"parent_remote": True}, ("completed", 90, []), id="the span says it is elsewhere"),
        pytest.param(KIND_SERVER, {}, ("completed", 90, []), id="a server's client may send no spans"),
        pytest.param(KIND_CONSUMER, {}, ("completed", 90, []), id="nor a message's sender"),
        pytest.param(
            KIND_INTERNAL, {}, ("running", 90, ["parent_missing", "root_missing"]), id="it may be to come: until silent"
        ),
        pytest.param(
            KIND_SERVER,
            {"parent_remote": False},
            ("running", 90, ["parent_missing", "root_missing"]),
            id="it is in the same process",
        ),
    ],
)
def test_a_root_whose_parent_has_not_come(kind: int, facts: Facts, expected: tuple[str, int, list[str]]) -> None:
    assert end_of(span(2, 9, (0, 90), "run", kind=kind, facts=facts), span(3, 2, (1, 5))) == expected


def test_a_failure_below_a_missing_root_is_told_at_once() -> None:
    ok, bad = step(2, 9, (0, 90), "a"), step(3, 9, (100, 110), "b", failed=True)
    assert end_of(ok, bad) == ("partial", 110, ["parent_missing"])


def test_a_span_whose_parent_was_lost_hangs_below_the_root_around_it() -> None:
    spans = [span(1, None, (0, 50), "before"), span(2, None, (60, 900), "root"), span(3, 99, (100, 300), "lost")]
    spans.append(span(4, 3, (110, 120), "inside"))
    assembled = assemble(spans, TRACE)
    assert [(n.name, n.parent_span_id, n.anomalies) for n in assembled.nodes] == [
        ("before", None, []),
        ("root", None, []),
        ("lost", 2, ["parent_missing"]),
        ("inside", 3, []),
    ]
    assert end_of(*spans) == ("completed", 900, ["parent_missing"])


def test_the_parent_that_comes_late_has_its_place() -> None:
    spans = [span(1, None, (0, 900), "root"), span(3, 2, (100, 300), "child"), span(2, 1, (90, 400), "late")]
    assert [(n.name, n.depth, n.anomalies) for n in assemble(spans, TRACE).nodes] == [
        ("root", 0, []),
        ("late", 1, []),
        ("child", 2, []),
    ]


def test_an_open_step_and_a_live_mark_are_signs_of_running() -> None:
    assert end_of(span(1, None, (0, 0), "root"), span(2, 1, (1, 5)))[:2] == ("running", None)
    mark: Facts = {"fold": "pending", "pending_of": f"{7:016x}", "pending_parent": f"{1:016x}"}
    assert end_of(span(1, None, (0, 9), "root"), span(8, 7, (3, 3), facts={**mark, "kind": "step", "step": True})) == (
        "running",
        None,
        [],
    )
    awaited = [span(2, 9, (0, 90), "run"), span(3, 2, (1, 0), "open")]
    assert end_of(*awaited) == ("running", None, ["parent_missing"])


def test_a_run_is_no_failure_as_long_as_what_is_around_it_may_live_with_the_failure() -> None:
    """A script that goes on after a step failed: its own span is known by its live mark."""
    mark: Facts = {"fold": "pending", "pending_of": f"{1:016x}"}
    within = [
        span(2, 1, (5, 9), "import", facts={"boundary": "run"}),
        step(3, 1, (10, 12), "clean up", failed=True),
    ]
    goes_on = assemble([span(11, 1, (0, 0), "nightly", facts=mark), *within], TRACE)
    assert (goes_on.execution.name, goes_on.execution.status, goes_on.execution.ended_ns) == ("import", "running", None)
    assert [(n.name, n.status) for n in goes_on.nodes] == [
        ("nightly", "running"),
        ("import", "completed"),
        ("clean up", "failed"),
    ]
    lived = assemble([span(11, 1, (0, 0), "nightly", facts=mark), span(1, None, (0, 90), "nightly"), *within], TRACE)
    died = assemble([span(1, None, (0, 90), "nightly", failed=True), *within], TRACE)
    assert (lived.execution.status, died.execution.status) == ("partial", "failed")


def test_links_that_say_whose_child_a_span_is() -> None:
    spans = [
        span(2, None, (5, 50), "resolve", facts={"link_types": {f"{1:016x}": "child_of"}}),
        span(1, None, (0, 100), "GET /tenants"),
        span(3, None, (10, 30), "select", facts={"link_types": {f"{2:016x}": "child_of"}}),
    ]
    assembled = assemble(spans, TRACE)
    assert [(n.name, n.depth) for n in assembled.nodes] == [("GET /tenants", 0), ("resolve", 1), ("select", 2)]
    assert assembled.execution.name == "GET /tenants"


def test_a_run_that_is_only_announced_is_named_by_itself_once_something_is_below_it() -> None:
    mark: Facts = {"fold": "pending", "pending_of": f"{2:016x}", "pending_parent": f"{1:016x}", "boundary": "candidate"}
    of_request: Facts = {"fold": "pending", "pending_of": f"{1:016x}", "kind": "http_server", "entry": "POST /chat"}
    spans = [
        span(11, 1, (0, 0), "POST /chat", kind=KIND_SERVER, facts=of_request),
        span(12, 2, (5, 5), "support", facts=mark),
    ]
    assert assemble(spans, TRACE).execution.name == "POST /chat"
    of_agent = span(12, 2, (5, 5), "clerk", facts={**mark, "kind": "agent"})
    assert assemble([spans[0], of_agent], TRACE).execution.name == "clerk"
    running = assemble([*spans, step(3, 2, (6, 9), "classify", facts={"boundary": "candidate"})], TRACE).execution
    assert (running.name, running.entry, running.status) == ("support", "POST /chat", "running")


@pytest.mark.parametrize("kind", [KIND_CONSUMER, KIND_INTERNAL])
def test_a_root_that_another_led_to_by_a_link_does_not_name_the_trace(kind: int) -> None:
    """A consumer without a parent that links to its message, what follows from another: each may last the longest."""
    spans = [
        span(1, None, (0, 30), "POST /orders", kind=KIND_SERVER, facts={"kind": "http_server"}),
        span(2, 1, (5, 10), "orders send", kind=KIND_PRODUCER, facts={"kind": "message"}),
        span(3, None, (100, 900), "orders process", kind=kind, links=[(TRACE, f"{2:016x}")]),
    ]
    found = assemble(spans, TRACE)
    assert (found.execution.name, found.execution.started_ns, found.execution.ended_ns) == ("POST /orders", 0, 900)
    assert [(e.from_span_id, e.to_span_id, e.provenance) for e in found.edges] == [(2, 3, "link")]
    # A link out of the trace, to the same id, and one to what came later lead to no root.
    abroad = ("1" * 32, f"{2:016x}")
    for link in (abroad, (TRACE, f"{4:016x}")):
        spans[2] = span(3, None, (100, 900), "orders process", kind=kind, links=[link])
        assert assemble([*spans, span(4, None, (950, 960), "late")], TRACE).execution.name == "orders process"


def test_a_link_to_no_span_is_no_edge() -> None:
    spans = [span(1, None, (0, 30), links=[("0" * 32, "0" * 16), ("1" * 32, "0" * 16), ("0" * 32, f"{2:016x}")])]
    assert assemble(spans, TRACE).edges == []
