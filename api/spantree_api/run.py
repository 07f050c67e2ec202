"""One run over several traces, shown as one execution. Pure.

A part is an execution that declares the run id, with all its nodes, or the nodes of another trace that declare it,
each with what is below it. Parts stand one after the other in order of their start:

    trace A  reserve -> charge -> approve (waiting)          own part, status waiting
    trace B  POST /signals                                   another execution; of it only the node that names the run:
               '- HandleSignal:approve                       foreign part
    trace C  ship                                            own part, resumes A; its status is the run's
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from spantree_api.answers.executions import Counts, EdgeAnswer, ExecutionAnswer, NodeAnswer
from spantree_api.rendering import duration_ms, rfc3339, unique
from spantree_api.stored_rows import ExecutionRow, OutlineRow
from spantree_api.tree import edge_answer, node_answer, outline_row_of
from spantree_exporter.ids import node_id
from spantree_exporter.rows import Edge, Node
from spantree_exporter.statuses import FAILED_EXECUTION, FAILED_NODE

_OPEN = ("running", "pending")

NodeKey = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Part:
    """What one trace has of the run. `answer`: its execution by the clock; `own`: the execution declares the run id.

    `nodes` are in sequence order; `clock_ns` ends the duration of those that have not ended.
    """

    row: ExecutionRow
    answer: ExecutionAnswer
    own: bool
    nodes: Sequence[Node]
    edges: Sequence[Edge]
    clock_ns: int


@dataclass(frozen=True, slots=True)
class Run:
    """The merged tree; `outline` has the roots, failed and skipped nodes in order, `roots` their ids."""

    nodes: list[NodeAnswer]
    edges: list[EdgeAnswer]
    roots: list[str]
    outline: list[OutlineRow]
    counts: Counts


def part_of_run(part: Part, run_id: str) -> Part:
    """`part` with only the nodes that declare the run id and those below them; an own part keeps all.

    Depths are counted from the nodes that become roots, and `answer` speaks of these nodes and no longer of the trace.
    """
    if part.own:
        return part
    kept: list[Node] = []
    top_depths: dict[NodeKey, int] = {}
    for node in part.nodes:
        key = (node.span_id, node.ordinal)
        parent = _parent_of(node)
        if parent is not None and parent in top_depths:
            top_depths[key] = top_depths[parent]
            kept.append(replace(node, depth=node.depth - top_depths[key]))
        elif node.run_id == run_id:
            top_depths[key] = node.depth
            kept.append(replace(node, depth=0, parent_span_id=None, parent_ordinal=None))
    if not kept:
        return replace(part, nodes=[], edges=[])
    inside = {(node.span_id, node.ordinal) for node in kept}
    edges = [
        edge
        for edge in part.edges
        if (edge.to_span_id, edge.to_ordinal) in inside
        and (edge.from_trace_id is not None or (edge.from_span_id, edge.from_ordinal) in inside)
    ]
    return replace(part, nodes=kept, edges=edges, answer=_answer_of_nodes(part, kept))


def merged_tree(parts: Sequence[Part]) -> Run:
    """All parts as one tree: sequence numbers run on, ids stay as they are unless two traces share one.

    A span id that an earlier trace has used, too, gets its trace id before it. An edge `resume` leads from each
    waiting part to the next own one, unless the model has told one already.
    """
    ids = _ids_of(parts)
    nodes: list[NodeAnswer] = []
    edges: list[EdgeAnswer] = []
    outline: list[OutlineRow] = []
    roots: list[str] = []
    for part in parts:
        trace_id = part.row.trace_id.hex
        for node in part.nodes:
            answer = node_answer(node, part.clock_ns)
            answer["id"] = ids[trace_id, (node.span_id, node.ordinal)]
            parent = _parent_of(node)
            answer["parent_id"] = None if parent is None else ids.get((trace_id, parent), node_id(*parent))
            answer["sequence"] = len(nodes) + 1
            answer["trace_id"] = trace_id
            nodes.append(answer)
            if parent is None:
                roots.append(answer["id"])
            if parent is None or node.status in FAILED_NODE | {"skipped"}:
                outline.append(outline_row_of(node))
        edges.extend(_edge(edge, trace_id, ids) for edge in part.edges)
    edges.extend(_resumes(parts, ids, edges))
    return Run(nodes, edges, roots, outline, _counts(Counter(node["status"] for node in nodes)))


def merged_status(parts: Sequence[Part], run_statuses: Sequence[tuple[str, int]]) -> str:
    """The run's status, by the first rule that speaks.

    1. the last word of an engine on the run itself (`run_statuses`, each with when it was said, oldest first), unless
       that only says it is open, or an own part took the run up after it;
    2. a part that is still open; 3. the status of the own part that started last, or of the last part.
    """
    word, said_ns = run_statuses[-1] if run_statuses else (_OPEN[0], 0)
    if word not in _OPEN and not any(
        part.own and part.row.execution.resumes is not None and part.row.execution.started_ns >= said_ns
        for part in parts
    ):
        return word
    own = [part for part in parts if part.own] or [part for part in parts if part.nodes]
    statuses = [part.answer["status"] for part in own]
    for status in _OPEN:
        if status in statuses:
            return status
    return statuses[-1]


def merged_execution(parts: Sequence[Part], run_id: str, status: str, counts: Counts, now_ns: int) -> ExecutionAnswer:
    """The run as one execution: name, start and input of the first part, end and output of the last.

    Whose run, conversation and project it is, is said by the first part that says so. The error is that of the last
    own part that has one, and only where the run did not end well.
    """
    own = [part for part in parts if part.own] or [part for part in parts if part.nodes]
    first, last = own[0].answer, own[-1].answer
    error = next(
        (
            part.answer
            for part in reversed(own)
            if status in FAILED_EXECUTION and part.answer["error_summary"] is not None
        ),
        None,
    )
    started_ns = min(part.answer["started_ns"] for part in own)
    ends = [part.answer["ended_ns"] for part in own]
    latest = max(own, key=lambda part: part.answer["ended_ns"] or 0).answer
    ended = status not in {*_OPEN, "waiting", "lost"} and latest["ended_ns"] is not None
    ended_ns = latest["ended_ns"] if ended else None
    clock_ns = now_ns if status != "lost" else max(part.row.execution.last_seen_ns for part in own)
    answer: ExecutionAnswer = {
        **first,
        "status": status,
        "ended_at": latest["ended_at"] if ended else None,
        "ended_ns": ended_ns,
        "duration_ms": max(0, (clock_ns if ended_ns is None else ended_ns) - started_ns) / 1e6,
        "last_seen_at": max(part.answer["last_seen_at"] for part in own),
        "services": sorted({service for part in parts for service in part.answer["services"]}),
        "run_id": run_id,
        "conversation_id": _first_said(own, "conversation_id"),
        "user_id": _first_said(own, "user_id"),
        "project": _first_said(own, "project"),
        "output": last["output"] if ends[-1] is not None else None,
        "error_summary": None if error is None else error["error_summary"],
        "error_category": None if error is None else error["error_category"],
        "error_fingerprint": None if error is None else error["error_fingerprint"],
        "first_failed_node": None if error is None else error["first_failed_node"],
        "counts": counts,
        "tokens": {
            "input": _total(part.answer["tokens"]["input"] for part in own),
            "output": _total(part.answer["tokens"]["output"] for part in own),
        },
        "cost_usd": _total(part.answer["cost_usd"] for part in own),
        "span_count": sum(part.answer["span_count"] for part in own),
        "resumed_by": None,
        "anomalies": unique([anomaly for part in own for anomaly in part.answer["anomalies"]]),
    }
    return answer


def _answer_of_nodes(part: Part, nodes: Sequence[Node]) -> ExecutionAnswer:
    top = nodes[0]
    roots = [node for node in nodes if node.parent_span_id is None]
    started_ns = min(node.started_ns for node in nodes)
    ends = [node.ended_ns for node in nodes]
    ended_ns = None if None in ends else max(end for end in ends if end is not None)
    failed = next((node for node in reversed(nodes) if node.status in FAILED_EXECUTION), None)
    innermost = _innermost_usage(nodes)
    # A retried attempt is a failed one; whose retry is elsewhere does not matter to these nodes.
    status = {"retried": "failed"}.get(roots[-1].status, roots[-1].status)
    return {
        **part.answer,
        "name": top.name,
        "workflow_name": top.workflow_name,
        "kind": top.kind,
        "status": status,
        "started_at": rfc3339(started_ns),
        "started_ns": started_ns,
        "ended_at": None if ended_ns is None else rfc3339(ended_ns),
        "ended_ns": ended_ns,
        "duration_ms": duration_ms(started_ns, ended_ns, part.clock_ns),
        "service": top.service,
        "services": sorted({node.service for node in nodes}),
        "run_id": top.run_id,
        "input": top.input,
        "output": roots[-1].output,
        "error_summary": None if failed is None else f"{failed.name}: {failed.error_message or failed.status}",
        "error_category": None if failed is None else failed.error_category,
        "error_fingerprint": None if failed is None else failed.error_fingerprint,
        "first_failed_node": None
        if failed is None
        else {
            "id": node_id(failed.span_id, failed.ordinal),
            "name": failed.name,
            "error_type": failed.error_type,
            "error_message": failed.error_message,
        },
        "counts": _counts(Counter(node.status for node in nodes)),
        "tokens": {
            "input": _total(node.input_tokens for node in innermost),
            "output": _total(node.output_tokens for node in innermost),
        },
        "cost_usd": _total(node.cost_usd for node in innermost),
        "span_count": sum(1 + len(node.folded_span_ids) for node in nodes),
        "anomalies": unique([anomaly for node in nodes for anomaly in node.anomalies]),
    }


def _innermost_usage(nodes: Sequence[Node]) -> list[Node]:
    """Nodes with usage below which no other has any: figures of the ones above sum these up."""
    above: set[NodeKey] = set()
    innermost: list[Node] = []
    for node in reversed(nodes):
        uses = node.input_tokens is not None or node.output_tokens is not None or node.cost_usd is not None
        if uses and (node.span_id, node.ordinal) not in above:
            innermost.append(node)
        parent = _parent_of(node)
        if parent is not None and (uses or (node.span_id, node.ordinal) in above):
            above.add(parent)
    return innermost


def _parent_of(node: Node) -> NodeKey | None:
    return None if node.parent_span_id is None else (node.parent_span_id, node.parent_ordinal or 0)


def _ids_of(parts: Iterable[Part]) -> dict[tuple[str, NodeKey], str]:
    ids: dict[tuple[str, NodeKey], str] = {}
    used: set[str] = set()
    for part in parts:
        trace_id = part.row.trace_id.hex
        for node in part.nodes:
            own_id = node_id(node.span_id, node.ordinal)
            if own_id in used:
                own_id = f"{trace_id}:{own_id}"
            used.add(own_id)
            ids[trace_id, (node.span_id, node.ordinal)] = own_id
    return ids


def _edge(edge: Edge, trace_id: str, ids: dict[tuple[str, NodeKey], str]) -> EdgeAnswer:
    answer = edge_answer(edge)
    start, end = (edge.from_span_id, edge.from_ordinal), (edge.to_span_id, edge.to_ordinal)
    answer["from"] = ids.get((edge.from_trace_id or trace_id, start), answer["from"])
    answer["to"] = ids.get((trace_id, end), answer["to"])
    return answer


def _resumes(
    parts: Sequence[Part], ids: dict[tuple[str, NodeKey], str], told: Sequence[EdgeAnswer]
) -> list[EdgeAnswer]:
    known = {(edge["from"], edge["to"]) for edge in told if edge["type"] == "resume"}
    known_starts = {start for start, _ in known}
    edges: list[EdgeAnswer] = []
    waiting: Part | None = None
    for part in parts:
        if not part.nodes:
            continue
        if waiting is not None and part.own:
            start = ids[waiting.row.trace_id.hex, _waiting_node(waiting)]
            end = ids[part.row.trace_id.hex, (part.nodes[0].span_id, part.nodes[0].ordinal)]
            if start not in known_starts:
                edges.append(
                    {
                        "from": start,
                        "to": end,
                        "type": "resume",
                        "condition": None,
                        "provenance": "declared" if part.row.execution.resumes else "inferred",
                        "from_trace_id": waiting.row.trace_id.hex,
                    }
                )
            waiting = None
        if part.own and part.answer["status"] == "waiting":
            waiting = part
    return edges


def _waiting_node(part: Part) -> NodeKey:
    """The innermost node that waits, the last of them; the first node where none says so."""
    node = max((node for node in part.nodes if node.status == "waiting"), key=lambda n: n.sequence, default=None)
    node = node or part.nodes[0]
    return node.span_id, node.ordinal


def _counts(by_status: Counter[str]) -> Counts:
    return {
        "total": by_status.total(),
        "completed": by_status["completed"],
        "failed": by_status["failed"],
        "retried": by_status["retried"],
        "skipped": by_status["skipped"],
        "waiting": by_status["waiting"],
        "running": by_status["running"],
        "cancelled": by_status["cancelled"],
        "timed_out": by_status["timed_out"],
    }


Number = TypeVar("Number", int, float)


def _total(numbers: Iterable[Number | None]) -> Number | None:
    known = [number for number in numbers if number is not None]
    return sum(known[1:], known[0]) if known else None


def _first_said(parts: Iterable[Part], field: str) -> str | None:
    said: Iterable[str | None] = (part.answer[field] for part in parts)  # type: ignore[literal-required]
    return next((value for value in said if value is not None), None)
