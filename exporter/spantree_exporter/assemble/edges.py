"""What led to what: declared edges first, then links, then what the order of work lets one infer.

An edge says `declared` where the engine or the author named it (routers, triggers, static graphs, dependencies), `link`
where a span link did, `inferred` where only the clock did. Containment is not an edge here: the nodes' parents say it.
"""

from __future__ import annotations

from spantree_exporter.assemble.budget import most_edges
from spantree_exporter.assemble.edge_set import DECLARED, INFERRED, LINK, EdgeSet
from spantree_exporter.assemble.engine_order import connect_numbered
from spantree_exporter.assemble.named_edges import NAMING, connect_named, connect_static_graphs
from spantree_exporter.assemble.step import Step, first_attempt, last_attempt, linked_id
from spantree_exporter.assemble.time_order import connect_by_time
from spantree_exporter.assemble.token_edges import connect_tokens
from spantree_exporter.rows import Edge

# What a link may say of itself; anything else is a dependency.
_LINK_KINDS = frozenset({"flow", "sequential", "conditional", "parallel", "join", "dependency", "handoff", "resume"})


def connect(ordered: list[Step], hosts: dict[int, Step], trace_id: str, keys_said: set[str]) -> tuple[list[Edge], bool]:
    """(all edges of a trace, whether there were too many to tell all).

    `ordered` is in sequence order, `hosts` leads from span ids to steps. Most traces speak of few things that make
    edges: what no step says (`keys_said`) is not looked for.
    """
    edges = EdgeSet(most_edges(len(ordered)))
    for step in ordered:
        if step.next_attempt is not None:
            kind = "resume" if step.status == "waiting" else "retry"
            after = step.next_attempt
            sure = step.task_key is not None or step.span is after.span or "attempt" in after.facts
            edges.add(step, after, kind, DECLARED if sure else INFERRED)
    if not keys_said.isdisjoint(NAMING):
        connect_named(edges, ordered)
    for step in ordered:
        for prior in step.follows:
            edges.add(last_attempt(prior), first_attempt(step), "flow", DECLARED)
    if "emits" in keys_said:
        connect_tokens(edges, ordered)
    groups = _sibling_groups(ordered)
    if "order" in keys_said:
        for siblings in groups:
            connect_numbered(edges, siblings)
    linking = [step for step in ordered if step.span is not None and step.span.links]
    if linking:
        conditions = _carried_conditions(ordered)
        for step in linking:
            _links(edges, step, hosts, trace_id, conditions)
    if "graph" in keys_said:
        connect_static_graphs(edges, ordered)
    for siblings in groups:
        connect_by_time(edges, siblings)
    if "transparent" in keys_said:
        _through_transparent(edges, ordered)
    return edges.rows(), edges.thinned


def _sibling_groups(ordered: list[Step]) -> list[list[Step]]:
    """Steps that share a parent (or have none) and began, in sequence order, groups of one left out."""
    groups: dict[Step | None, list[Step]] = {}
    for step in ordered:
        if not step.never_began:
            groups.setdefault(step.parent, []).append(step)
    return [group for group in groups.values() if len(group) > 1]


def _carried_conditions(ordered: list[Step]) -> dict[str, str]:
    """The condition under which a message was carried, by the hex id of the span that sent it."""
    conditions: dict[str, str] = {}
    for step in ordered:
        for carrier in step.carriers:
            condition = carrier.facts.get("condition")
            if condition is not None and carrier.span is not None:
                for _, span_id in carrier.span.links:
                    conditions[span_id] = condition
    return conditions


def _through_transparent(edges: EdgeSet, ordered: list[Step]) -> None:
    """What led to a step that only holds others led to them, and what it led to followed them."""
    for step in ordered:
        if step.facts.get("transparent") and step.children:
            for other in edges.sources_of(step):
                for child in step.children:
                    edges.add(other, child, "sequential", INFERRED, said_before=True)
            for other in edges.targets_of(step):
                for child in step.children:
                    edges.add(child, other, "sequential", INFERRED, said_before=True)


def _links(edges: EdgeSet, step: Step, hosts: dict[int, Step], trace_id: str, conditions: dict[str, str]) -> None:
    types = step.facts.get("link_types", {})
    for trace, span in step.span.links if step.span is not None else ():
        kind = types.get(span, "flow" if step.facts.get("flow_links") else "dependency")
        if kind == "child_of" and trace == trace_id:
            continue  # the parent says it
        if kind not in _LINK_KINDS:
            kind = "dependency"
        span_id = linked_id(span)
        if not span_id or not trace.strip("0"):
            continue  # ids that are no ids, or those of no span: all zero
        if trace != trace_id:
            abroad = "sequential" if kind == "flow" else kind
            edges.abroad.append(Edge(span_id, 0, step.span_id, step.ordinal, abroad, None, LINK, trace))
            continue
        other = hosts.get(span_id)
        if other is None or other.start_ns > step.start_ns:
            continue
        condition = conditions.get(span)
        if condition is not None:
            edges.add(last_attempt(other), first_attempt(step), "conditional", DECLARED, condition)
        else:
            edges.add(last_attempt(other), first_attempt(step), kind, LINK)
