"""What holds for every trace, however odd: the same rows in any order, each span in one node, a finite whole tree."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import fields
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.assemble.traces import TRACE, span

from spantree_exporter.assemble import assemble
from spantree_exporter.assemble.step import Step, take_apart
from spantree_exporter.assemble.versions import one_of_each
from spantree_exporter.facts import Facts
from spantree_exporter.rows import Assembled, SpanFacts

FOLDS = ["parent", "event", "router", "producer", "inner", "nested", "carrier", "definition", "outer", "container"]
STATUSES = ["waiting", "completed", "failed", "skipped", "cancelled", "timed_out", "retried", "running", "pending"]


@st.composite
def facts(draw: st.DrawFn, ids: int) -> Facts:
    """Facts with a few of the keys that change how spans hang together, in any combination."""
    told: Facts = {}
    chance = st.integers(0, 9)
    if draw(chance) < 3:
        told["fold"] = draw(st.sampled_from(FOLDS))
    if draw(chance) == 0:
        told["fold"] = "pending"
        told["pending_of"] = f"{draw(st.integers(1, ids)):016x}"
        told["pending_parent"] = f"{draw(st.integers(1, ids)):016x}"
    if draw(chance) < 3:
        told["task_key"] = draw(st.sampled_from(["a", "b"]))
        told["task_scope"] = draw(st.sampled_from(["trace", "parent", "global"]))
    if draw(chance) < 2:
        told["attempt"] = draw(st.integers(0, 4))
    if draw(chance) < 3:
        told["status"] = draw(st.sampled_from(STATUSES))
    if draw(chance) < 2:
        told["boundary"] = draw(st.sampled_from(["run", "candidate"]))
    if draw(chance) < 3:
        told["step"] = True
        told["order"] = draw(st.integers(0, 3))
        told["group"] = draw(st.sampled_from(["g", "h"]))
    if draw(chance) < 2:
        told["attempts"] = [{"attempt": 1, "at_ns": draw(st.integers(0, 50)), "status": "retried"}]
    if draw(chance) < 2:
        told["depends_on"] = ["n1", "n2"]
    if draw(chance) < 2:
        told["routes"] = ["n1", "yes"]
    if draw(chance) < 2:
        told["decision"] = "yes"
        told["sources"] = ["n2"]
    if draw(chance) < 2:
        told["emits"] = draw(st.lists(st.sampled_from(["t", "u"]), max_size=2))
        told["consumes"] = draw(st.lists(st.sampled_from(["t", "u", "v"]), max_size=2))
    if draw(chance) < 2:
        told["graph"] = {"nodes": ["n1", "n2", "n3"], "edges": [["n1", "n2"], ["n2", "n3"], ["n3", "n1"]]}
    if draw(chance) < 2:
        told["kind"] = draw(st.sampled_from(["agent", "handoff", "llm", "tool", "chain"]))
        told["handoff_from"] = "n1"
        told["breaks_run"] = True
    for count in ("input_tokens", "output_tokens", "reasoning_tokens"):
        if draw(chance) < 2:
            told[count] = draw(st.integers(0, 9))
    for key in ("parent_remote", "declared_handled", "retry_policy"):
        if draw(chance) < 2:
            told[key] = draw(st.booleans())
    for key in ("input", "input_digest", "task_id", "error_message"):
        if draw(chance) < 2:
            told[key] = draw(st.sampled_from(["a", "b"]))  # type: ignore[literal-required]
    if draw(chance) < 2:
        told["link_types"] = {f"{draw(st.integers(1, ids)):016x}": draw(st.sampled_from(["child_of", "retry", "x"]))}
    if draw(chance) < 1:
        told["detached"] = True
    if draw(chance) < 1:
        told["transparent"] = True
    if draw(chance) < 3:
        told["planned_by"] = draw(st.sampled_from(["p", "q"]))
        told["sent_by"] = draw(st.sampled_from(["x", "y"]))
    for flag in ("by_driver", "open_ended", "closes", "unanswered", "covers_queue", "mapped"):
        if draw(chance) < 2:
            told[flag] = True
    if draw(chance) < 2:
        told["began_ns"] = draw(st.integers(0, 60))
    if draw(chance) < 2:
        told["run_id"] = draw(st.sampled_from(["r", "s"]))
        told["workflow_name"] = "w"
    if draw(chance) < 2:
        told["kind"] = draw(st.sampled_from(["db", "llm", "tool", "agent", "workflow", "http_server"]))
    if draw(chance) < 2:
        told["graph"] = {"nodes": ["n0", "n1", "n9"], "edges": [["n0", "n1"], ["n1", "n9"]]}
    return told


@st.composite
def traces(draw: st.DrawFn) -> list[SpanFacts]:
    """Up to 14 spans over few ids, so that equal ids, cycles, orphans, negative durations and live marks occur."""
    ids = draw(st.integers(1, 8))
    return [
        span(
            draw(st.integers(1, ids)),
            draw(st.one_of(st.none(), st.integers(1, ids + 1))),
            (draw(st.integers(0, 50)), draw(st.integers(0, 60))),
            f"n{draw(st.integers(0, 3))}",
            failed=draw(st.booleans()),
            kind=draw(st.integers(0, 5)),
            fingerprint=number,
            links=[(TRACE, f"{draw(st.integers(1, ids)):016x}")] if draw(st.integers(0, 4)) == 0 else [],
            facts=draw(facts(ids)),
        )
        for number in range(draw(st.integers(1, 14)))
    ]


@settings(max_examples=150, deadline=None)
@given(traces(), st.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing(spans: list[SpanFacts], rng: random.Random) -> None:
    again = [*spans, *rng.sample(spans, len(spans) // 2)]
    rng.shuffle(again)
    assert assemble(again, TRACE) == assemble(spans, TRACE)


@settings(max_examples=100, deadline=None)
@given(traces())
def test_no_ring_of_steps_is_left_to_the_garbage_collector(spans: list[SpanFacts]) -> None:
    made: list[Step] = []

    def remember(steps: Iterable[Step]) -> None:
        made.extend(steps)
        take_apart(made)

    with patch("spantree_exporter.assemble.assembly.take_apart", remember):
        assemble(spans, TRACE)
    assert _rings(made) == []


def _rings(steps: list[Step]) -> list[str]:
    """The names of steps that refer to themselves by way of others, or of none."""
    found: list[str] = []
    done: set[Step] = set()
    for first in steps:
        path: list[tuple[Step, list[Step]]] = [(first, list(_referred(first)))] if first not in done else []
        on_path = {first}
        while path:
            step, left = path[-1]
            if not left:
                path.pop()
                on_path.discard(step)
                done.add(step)
                continue
            other = left.pop()
            if other in on_path:
                found.append(other.name)
            elif other not in done:
                on_path.add(other)
                path.append((other, list(_referred(other))))
    return found


def _referred(step: Step) -> Iterator[Step]:
    for field in fields(Step):
        value = getattr(step, field.name)
        if isinstance(value, Step):
            yield value
        elif isinstance(value, list):
            yield from (one for one in value if isinstance(one, Step))


@settings(max_examples=150, deadline=None)
@given(traces())
def test_every_span_belongs_to_exactly_one_node(spans: list[SpanFacts]) -> None:
    assembled = assemble(spans, TRACE)
    told = {node.fingerprint for node in assembled.nodes if node.fingerprint is not None}
    folded = [span_id for node in assembled.nodes for span_id in node.folded_span_ids]
    by_fingerprint = {s.fingerprint: s for s in spans}
    # A node's own span is not among the folded ones of any node, and the others are there once each; versions of one
    # span are there together as one.
    distinct, stored = one_of_each(spans)
    assert stored == len(spans)
    others = sorted(s.span_id for s in distinct if s.fingerprint not in told)
    assert sorted(folded) == others
    assert all(by_fingerprint[f].span_id in {n.span_id for n in assembled.nodes} for f in told)


@settings(max_examples=150, deadline=None)
@given(traces())
def test_the_tree_is_whole_and_its_keys_are_unique(spans: list[SpanFacts]) -> None:
    assembled = assemble(spans, TRACE)
    assert_whole(assembled)
    counts = assembled.execution
    assert (
        counts.total_count
        == len(assembled.nodes)
        == sum(
            (
                counts.completed_count,
                counts.failed_count,
                counts.retried_count,
                counts.skipped_count,
                counts.waiting_count,
                counts.running_count,
                counts.cancelled_count,
                counts.timed_out_count,
                sum(node.status == "pending" for node in assembled.nodes),
            )
        )
    )


def assert_whole(assembled: Assembled) -> None:
    """Every node has a key of its own and hangs below a node that comes before it, or is a root; edges join nodes."""
    seen: set[tuple[int, int]] = set()
    depths: dict[tuple[int, int], int] = {}
    for place, node in enumerate(assembled.nodes, 1):
        assert node.sequence == place
        key = (node.span_id, node.ordinal)
        assert key not in seen
        seen.add(key)
        if node.parent_span_id is None:
            depths[key] = 0
        else:
            assert node.parent_ordinal is not None
            depths[key] = depths[node.parent_span_id, node.parent_ordinal] + 1
        assert node.depth == depths[key]
    keys = [(e.from_span_id, e.from_ordinal, e.to_span_id, e.to_ordinal, e.type) for e in assembled.edges]
    assert len(keys) == len(set(keys))
    for edge in assembled.edges:
        assert (edge.to_span_id, edge.to_ordinal) in seen
        assert edge.from_trace_id is not None or (edge.from_span_id, edge.from_ordinal) in seen


def test_five_thousand_levels_are_one_finite_tree() -> None:
    spans = [span(n, n - 1 or None, (n, 20_000 - n)) for n in range(1, 5001)]
    assembled = assemble(spans, TRACE)
    assert_whole(assembled)
    assert assembled.nodes[-1].depth == 4999


def test_a_cycle_hangs_below_its_earliest_span_and_says_so() -> None:
    assembled = assemble([span(1, 3, (10, 20)), span(2, 1, (5, 20)), span(3, 2, (20, 30)), span(4, 4, (40, 50))], TRACE)
    assert [(n.span_id, n.parent_span_id, n.anomalies) for n in assembled.nodes] == [
        (2, None, ["parent_cycle"]),
        (3, 2, []),
        (1, 3, []),
        (4, None, ["parent_cycle"]),
    ]
    assert assembled.execution.anomalies == ["parent_cycle"]


def test_bands_of_parallel_steps_get_no_more_edges_than_steps() -> None:
    """A band of 100 after a band of 100 would be 10,000 edges, by the clock or by the engine's own step numbers."""
    for numbered in (True, False):
        spans = [span(1, None, (0, 10**9))]
        for n in range(2, 1000):
            place: Facts = {"step": True, "order": n // 100, "group": "g"} if numbered else {"step": True}
            spans.append(span(n, 1, (n // 100 * 1000, n // 100 * 1000 + 500), facts=place))
        assert len(assemble(spans, TRACE).edges) < len(spans)
