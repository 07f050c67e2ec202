"""Steps that an engine numbered in rounds: what leads to what, by choices, joins and the static graph."""

from __future__ import annotations

from tests.unit.assemble.traces import TRACE, edges_by_name, span, step

from spantree_exporter.assemble import assemble
from spantree_exporter.facts import Facts
from spantree_exporter.rows import Assembled, SpanFacts

RUN: Facts = {"boundary": "run", "kind": "workflow"}
Told = list[tuple[str, str, str, str | None, str]]


def numbered(number: int, place: int, name: str, **facts: object) -> SpanFacts:
    """The step called `name` of round `number`, the `place`-th of it to start."""
    start = number * 100 + place
    told: Facts = {"order": number, "group": "graph", **facts}  # type: ignore[typeddict-item]
    return step(start, 1, (start, start + 50), name, facts=told)


def router(of: SpanFacts, *routes: str) -> SpanFacts:
    """The router of a step, which chose `routes`."""
    at = of.start_ns + 40
    return span(of.span_id + 5_000, of.span_id, (at, at + 5), "choose", facts={"fold": "router", "routes": [*routes]})


def told(*spans: SpanFacts, graph: list[list[str]] | None = None) -> Assembled:
    """What is told of a run that holds `spans`; `graph` are the edges of its static graph."""
    facts: Facts = {**RUN}
    if graph is not None:
        facts["graph"] = {"nodes": sorted({name for edge in graph for name in edge}), "edges": graph}
    return assemble([span(1, None, (0, 10_000), "run", facts=facts), *spans], TRACE)


def test_a_round_follows_from_the_one_before() -> None:
    assembled = told(numbered(1, 0, "a"), numbered(2, 0, "b"), numbered(2, 1, "c"), numbered(3, 0, "d"))
    assert edges_by_name(assembled) == [
        ("a", "b", "parallel", None, "declared"),
        ("a", "c", "parallel", None, "declared"),
        ("b", "d", "join", None, "inferred"),
        ("c", "d", "join", None, "inferred"),
    ]


def test_a_choice_is_a_condition_and_a_label_leads_to_what_nothing_else_led_to() -> None:
    ask, check = numbered(1, 0, "ask"), numbered(2, 0, "check")
    assembled = told(ask, router(ask, "go on"), check, router(check, "yes"), numbered(3, 0, "yes"))
    assert edges_by_name(assembled) == [
        ("ask", "check", "conditional", "go on", "declared"),
        ("check", "yes", "conditional", "yes", "declared"),
    ]


def test_a_step_may_choose_by_itself_and_send_several_of_one_step() -> None:
    assembled = told(
        numbered(1, 0, "plan", routes=["work", "work"]),
        numbered(2, 0, "work", fan_out=True),
        numbered(2, 1, "work", fan_out=True),
        numbered(3, 0, "reduce"),
    )
    assert edges_by_name(assembled) == [
        ("plan", "work", "parallel", None, "declared"),
        ("plan", "work", "parallel", None, "declared"),
        ("work", "reduce", "join", None, "inferred"),
        ("work", "reduce", "join", None, "inferred"),
    ]
    # They ran side by side, however short they were.
    assert [node.iteration for node in assembled.nodes if node.name == "work"] == [None, None]


def test_what_waits_for_a_join_leads_nowhere_before() -> None:
    assembled = told(
        numbered(1, 0, "split"),
        numbered(2, 0, "short"),
        numbered(2, 1, "long_1"),
        numbered(3, 0, "long_2"),
        numbered(4, 0, "meet", sources=["short", "long_2"]),
    )
    assert edges_by_name(assembled) == [
        ("long_1", "long_2", "sequential", None, "inferred"),
        ("long_2", "meet", "join", None, "declared"),
        ("short", "meet", "join", None, "declared"),
        ("split", "long_1", "parallel", None, "declared"),
        ("split", "short", "parallel", None, "declared"),
    ]


UNEVEN = [["split", "short"], ["split", "long_1"], ["long_1", "long_2"], ["short", "meet"], ["long_2", "meet"]]


def test_the_static_graph_tells_which_of_several_led_to_which() -> None:
    spans = [
        numbered(1, 0, "split"),
        numbered(2, 0, "short"),
        numbered(2, 1, "long_1"),
        numbered(3, 0, "long_2"),
        numbered(3, 1, "meet"),
        numbered(4, 0, "meet"),
    ]
    assert edges_by_name(told(*spans, graph=UNEVEN)) == [
        ("long_1", "long_2", "sequential", None, "declared"),
        ("long_2", "meet", "sequential", None, "declared"),
        ("short", "meet", "sequential", None, "declared"),
        ("split", "long_1", "parallel", None, "declared"),
        ("split", "short", "parallel", None, "declared"),
    ]
    # Without it only their order is known.
    assert {edge for edge in edges_by_name(told(*spans)) if edge[0] in {"short", "long_1"}} == {
        ("long_1", "long_2", "sequential", None, "inferred"),
        ("long_1", "meet", "sequential", None, "inferred"),
        ("short", "long_2", "sequential", None, "inferred"),
        ("short", "meet", "sequential", None, "inferred"),
    }


def test_a_step_that_was_put_off_follows_all_that_lead_to_it() -> None:
    spans = [
        numbered(1, 0, "split"),
        numbered(2, 0, "short"),
        numbered(2, 1, "long_1"),
        numbered(3, 0, "long_2"),
        numbered(4, 0, "meet"),
    ]
    into = [edge for edge in edges_by_name(told(*spans, graph=UNEVEN)) if edge[1] == "meet"]
    assert into == [("long_2", "meet", "join", None, "declared"), ("short", "meet", "join", None, "declared")]


def test_a_graph_within_a_step_has_rounds_of_its_own() -> None:
    inner: Facts = {"order": 1, "group": "outer:1", "step": True, "kind": "step"}
    spans = [
        numbered(1, 0, "plan"),
        numbered(2, 0, "research"),
        span(900, 200, (205, 245), "LangGraph", facts={"fold": "container", "kind": "chain"}),
        span(901, 900, (210, 215), "search", facts=inner),
        span(902, 900, (220, 225), "rank", facts={**inner, "order": 2}),
        numbered(3, 0, "finish"),
    ]
    assembled = told(*spans)
    assert [(node.name, node.kind, node.depth) for node in assembled.nodes] == [
        ("run", "workflow", 0),
        ("plan", "step", 1),
        ("research", "workflow", 1),
        ("search", "step", 2),
        ("rank", "step", 2),
        ("finish", "step", 1),
    ]
    assert edges_by_name(assembled) == [
        ("plan", "research", "sequential", None, "declared"),
        ("research", "finish", "sequential", None, "declared"),
        ("search", "rank", "sequential", None, "declared"),
    ]


def test_two_graphs_within_one_step_stay_apart() -> None:
    spans = [numbered(1, 0, "both")]
    for number, letter in enumerate("ab"):
        begin = 110 + number * 10
        facts: Facts = {"order": 1, "group": "outer:1", "step": True, "kind": "step"}
        spans += [
            span(begin, 100, (begin, begin + 9), "LangGraph", facts={"fold": "container", "kind": "chain"}),
            span(begin + 1, begin, (begin + 1, begin + 2), f"{letter}_1", facts=facts),
            span(begin + 2, begin, (begin + 3, begin + 4), f"{letter}_2", facts={**facts, "order": 2}),
        ]
    assembled = told(*spans)
    assert [(node.name, node.kind, node.depth) for node in assembled.nodes if node.depth == 2] == [
        ("LangGraph", "workflow", 2),
        ("LangGraph", "workflow", 2),
    ]
    assert edges_by_name(assembled) == [
        ("LangGraph", "LangGraph", "sequential", None, "inferred"),
        ("a_1", "a_2", "sequential", None, "declared"),
        ("b_1", "b_2", "sequential", None, "declared"),
    ]


def test_what_a_run_that_waits_has_not_come_to_is_not_skipped() -> None:
    graph = [["ask", "publish"], ["draft", "ask"]]
    waiting = told(numbered(1, 0, "draft"), numbered(2, 0, "ask", status="waiting"), graph=graph)
    assert (waiting.execution.status, waiting.execution.skipped_nodes) == ("waiting", [])


def test_what_a_run_that_resumes_left_behind_is_not_skipped() -> None:
    resumed: Facts = {
        **RUN,
        "resumes": "t-1",
        "graph": {"nodes": ["draft", "ask", "publish", "reject"], "edges": [["draft", "ask"], ["ask", "publish"]]},
    }
    assembled = assemble(
        [span(1, None, (0, 10_000), "run", facts=resumed), numbered(2, 0, "ask"), numbered(3, 0, "publish")], TRACE
    )
    assert assembled.execution.skipped_nodes == ["reject"]
