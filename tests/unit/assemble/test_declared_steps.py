"""Steps that a run declares: pending until they run, skipped where it ended without them."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.assemble.traces import TRACE, edges_by_name, span, step

from spantree_exporter.assemble import assemble
from spantree_exporter.facts import Facts
from spantree_exporter.facts.vocabulary import DeclaredStep
from spantree_exporter.rows import Assembled, SpanFacts

PLAN: list[DeclaredStep] = [
    {"name": "look"},
    {"name": "check", "key": "t2", "depends_on": ["look"], "thought": "30 days", "action": "inference"},
    {"name": "pay", "key": "t3", "kind": "tool", "depends_on": ["t2"], "description": "to the card"},
]


def run(at: tuple[int, int] = (0, 100), plan: list[DeclaredStep] = PLAN, **facts: object) -> SpanFacts:
    said: Facts = {"boundary": "run", "kind": "workflow", "declared_steps": plan, **facts}  # type: ignore[typeddict-item]
    return span(1, None, at, "refund", facts=said)


def mark(of: int, at: int, name: str, parent: int | None = None, **facts: object) -> SpanFacts:
    said: Facts = {"fold": "pending", "pending_of": f"{of:016x}", **facts}  # type: ignore[typeddict-item]
    if parent is not None:
        said["pending_parent"] = f"{parent:016x}"
    return span(of + 900, of, (at, at), name, facts=said)


def statuses(assembled: Assembled) -> list[tuple[str, str]]:
    return [(node.name, node.status) for node in assembled.nodes]


def test_while_the_run_is_known_by_its_mark_alone_all_its_steps_are_pending() -> None:
    assembled = assemble(
        [mark(1, 0, "refund", boundary="run", kind="workflow", declared_steps=PLAN)],
        TRACE,
    )
    assert assembled.execution.status == "running"
    assert statuses(assembled) == [
        ("refund", "running"),
        ("look", "pending"),
        ("check", "pending"),
        ("pay", "pending"),
    ]
    assert [(n.kind, n.task_key, n.ended_ns) for n in assembled.nodes[1:]] == [
        ("step", None, None),
        ("step", "t2", None),
        ("tool", "t3", None),
    ]
    assert edges_by_name(assembled) == [
        ("check", "pay", "dependency", None, "declared"),
        ("look", "check", "dependency", None, "declared"),
    ]
    assert [None if n.declared is None else json.loads(n.declared) for n in assembled.nodes] == [None, *PLAN]


def test_a_step_that_runs_takes_the_place_of_its_declaration_and_keeps_what_it_said() -> None:
    announced = mark(1, 0, "refund", boundary="run", kind="workflow", declared_steps=PLAN)
    checking = mark(3, 60, "check the rules", parent=1, step=True, kind="step", task_key="t2")
    assembled = assemble([announced, step(2, 1, (10, 50), "look"), checking], TRACE)
    assert statuses(assembled) == [
        ("refund", "running"),
        ("look", "completed"),
        ("check the rules", "running"),
        ("pay", "pending"),
    ]
    assert edges_by_name(assembled) == [
        ("check the rules", "pay", "dependency", None, "declared"),
        ("look", "check the rules", "dependency", None, "declared"),
    ]
    assert assembled.nodes[2].declared == json.dumps(PLAN[1])


def test_what_a_run_ended_without_is_skipped_and_changes_nothing_else() -> None:
    ran = [step(2, 1, (10, 50), "look"), step(3, 1, (50, 90), "check", failed=True)]
    with_plan, without = assemble([run(), *ran], TRACE), assemble([run(plan=[]), *ran], TRACE)
    assert statuses(with_plan)[-1] == ("pay", "skipped")
    assert with_plan.execution.skipped_nodes == ["pay"]
    assert (with_plan.execution.skipped_count, with_plan.execution.total_count) == (1, 4)
    assert [(n.name, n.self_ns, n.on_critical_path) for n in with_plan.nodes[:3]] == [
        (n.name, n.self_ns, n.on_critical_path) for n in without.nodes
    ]
    for same in ("status", "started_ns", "ended_ns", "first_failed_name", "error_summary"):
        assert getattr(with_plan.execution, same) == getattr(without.execution, same)
    assert not with_plan.nodes[3].on_critical_path


def test_a_run_that_waits_still_has_its_steps_before_it_and_the_one_that_takes_it_up_does_not_repeat_them() -> None:
    waits = assemble([run(), step(2, 1, (10, 50), "look", facts={"status": "waiting"})], TRACE)
    assert waits.execution.status == "waiting"
    assert statuses(waits)[1:] == [("look", "waiting"), ("check", "pending"), ("pay", "pending")]
    resumed = assemble([run(resumes="r-1"), step(2, 1, (10, 50), "check", facts={"task_key": "t2"})], TRACE)
    assert statuses(resumed)[1:] == [("check", "completed"), ("pay", "skipped")]


def test_a_declaration_made_inside_counts_for_the_step_around_it_beside_its_own() -> None:
    inside: Facts = {"fold": "inner", "declared_steps": [{"name": "call"}]}
    assembled = assemble([run(plan=[{"name": "look"}]), span(2, 1, (5, 5), "declare steps", facts=inside)], TRACE)
    assert statuses(assembled) == [("refund", "completed"), ("look", "skipped"), ("call", "skipped")]


def test_each_declarer_has_steps_of_its_own_and_those_below_count_for_the_ones_around_it() -> None:
    inner: Facts = {"boundary": "run", "declared_steps": [{"name": "look"}, {"name": "write"}]}
    assembled = assemble(
        [
            run(plan=[{"name": "look"}, {"name": "write"}]),
            step(2, 1, (5, 50), "sub", facts=inner),
            step(3, 2, (6, 9), "look"),
        ],
        TRACE,
    )
    assert statuses(assembled) == [
        ("refund", "completed"),
        ("sub", "completed"),
        ("look", "completed"),
        ("write", "skipped"),
        ("write", "skipped"),
    ]


def test_nodes_of_a_static_graph_are_pending_while_the_run_goes_on_and_names_afterwards() -> None:
    graph = {"nodes": ["plan", "work"], "edges": [["plan", "work"]]}
    announced = mark(1, 0, "flow", boundary="run", kind="workflow", graph=graph)
    going_on = assemble([announced, step(2, 1, (10, 50), "plan")], TRACE)
    assert statuses(going_on) == [("flow", "running"), ("plan", "completed"), ("work", "pending")]
    assert edges_by_name(going_on) == [("plan", "work", "sequential", None, "declared")]
    ended = assemble([run(plan=[], graph=graph), step(2, 1, (10, 50), "plan")], TRACE)
    assert statuses(ended) == [("refund", "completed"), ("plan", "completed")]
    assert ended.execution.skipped_nodes == ["work"]


@given(
    st.permutations(
        [run(), step(2, 1, (10, 50), "look"), mark(1, 0, "refund", declared_steps=PLAN), mark(3, 60, "x", 1)]
    )
)
def test_order_does_not_matter(spans: list[SpanFacts]) -> None:
    expected = assemble(sorted(spans, key=lambda s: s.span_id), TRACE)
    assert assemble(spans, TRACE) == expected
    assert len({(n.span_id, n.ordinal) for n in expected.nodes}) == len(expected.nodes)
