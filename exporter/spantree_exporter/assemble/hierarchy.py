"""Spans -> a forest of steps: parents found, live marks and noise folded, cycles broken.

Every span ends up in exactly one step, as its span or among those folded into it, whatever order or number of times
spans came in: all choices are made on a canonical order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spantree_exporter.assemble.open_ended import belongs_to, open_or_close, settle_ends, speaks_of_run
from spantree_exporter.assemble.step import Step
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.rows import SpanFacts
from spantree_exporter.span import KIND_CLIENT, KIND_CONSUMER, KIND_SERVER

# What a wrapper of a step may complete when it is folded into it.
_COMPLETED_BY_INNER = ("input", "output", "model", "conversation_id", "user_id", "error_type", "error_message", "graph")
# Who takes up a message; what else hangs below its sending is how it was sent.
_TAKERS = frozenset({KIND_CONSUMER, KIND_SERVER})
UNNAMED = "(unnamed)"


@dataclass(slots=True)
class Forest:
    """`roots` in order of start; `hosts` leads from every span id to the step that its span belongs to."""

    roots: list[Step]
    hosts: dict[int, Step]
    orphaned: bool  # a span's parent has not arrived and is not known to be elsewhere


def canonical(spans: Sequence[SpanFacts]) -> list[SpanFacts]:
    """The spans in an order that does not depend on how they came, each once."""
    once = {(span.span_id, span.fingerprint): span for span in spans}
    return sorted(once.values(), key=lambda s: (s.start_ns, -s.end_ns, s.span_id, s.fingerprint))


def build(spans: Sequence[SpanFacts]) -> Forest:
    """The forest of `spans`, which must be canonical."""
    steps: list[Step] = []
    by_id: dict[int, list[Step]] = {}
    marks: list[SpanFacts] = []
    for order, span in enumerate(spans):
        if span.facts.get("fold") == "pending":
            marks.append(span)
            continue
        step = _step(span, order)
        steps.append(step)
        by_id.setdefault(span.span_id, []).append(step)
    real_parent = {step: step.span.parent_span_id for step in steps if step.span is not None}
    _announce(marks, by_id, steps, real_parent)

    orphaned = False
    for step in steps:
        parent_id = real_parent[step]
        if len(by_id[step.span_id]) > 1:
            # Client and server spans of one call that share an id (Zipkin): the server's side is below the client's.
            shared = _client_of_shared(step, by_id[step.span_id])
            if shared is not None:
                step.parent = shared
                continue
        if parent_id is None:
            continue
        candidates = by_id.get(parent_id)
        if not candidates:
            # A parent in a process that sends no spans here; only a server or consumer may have one for good.
            orphaned = orphaned or step.span is None or step.span.kind not in {KIND_SERVER, KIND_CONSUMER}
            continue
        step.parent = candidates[0] if len(candidates) == 1 else _parent_among(candidates, step)
    _stand_in_for_runs(steps, real_parent, by_id)
    _break_cycles(steps)
    order_of = _parents_first(steps)
    hosts = _fold(order_of)
    roots = [step for step in order_of if step.parent is None and hosts[step] is step]
    return Forest(roots, _by_span_id(order_of, hosts, marks), orphaned)


def _step(span: SpanFacts, order: int) -> Step:
    facts = span.facts
    return Step(
        span.span_id,
        span,
        facts,
        facts.get("name") or span.name or UNNAMED,
        facts.get("kind") or "function",
        min(facts.get("began_ns", span.start_ns), span.end_ns or span.start_ns),
        span.end_ns or None,
        span.service,
        order,
        span.fingerprint,
        anomalies=list(span.anomalies),
    )


def _announce(
    marks: list[SpanFacts],
    by_id: dict[int, list[Step]],
    steps: list[Step],
    real_parent: dict[Step, int | None],
) -> None:
    """Let live marks stand for spans that have not come; those of spans that have are folded into them."""
    for mark in marks:
        announced = _signed(mark.facts.get("pending_of"))
        known = by_id.get(announced) if announced is not None else None
        if known:
            known[0].folded.append(mark)
            continue
        facts: Facts = {**mark.facts}
        facts.pop("fold", None)
        facts.pop("status", None)
        step = Step(
            announced if announced is not None else mark.span_id,
            None,
            facts,
            facts.get("name") or mark.name or UNNAMED,
            facts.get("kind") or "function",
            mark.start_ns,
            None,
            mark.service,
            len(steps),
            folded=[mark],
        )
        step.order = len(steps) + len(marks)
        steps.append(step)
        by_id[step.span_id] = [step]
        real_parent[step] = _signed(mark.facts.get("pending_parent"))


def _stand_in_for_runs(steps: list[Step], real_parent: dict[Step, int | None], by_id: dict[int, list[Step]]) -> None:
    """Put a step in the place of each run whose span has not come while steps below it say which run it is.

    Engines that export a run when it has ended, or died before they could.
    """
    below: dict[int, list[Step]] = {}
    for step in steps:
        parent_id = real_parent[step]
        if parent_id is not None and step.parent is None and parent_id not in by_id:
            below.setdefault(parent_id, []).append(step)
    for parent_id, orphans in below.items():
        told = next(
            (s for s in orphans if s.facts.get("step") and "workflow_name" in s.facts and "run_id" in s.facts), None
        )
        if told is None:
            continue
        facts: Facts = {
            "boundary": "run",
            "kind": "workflow",
            "workflow_name": told.facts["workflow_name"],
            "run_id": told.facts["run_id"],
        }
        start_ns = min(step.start_ns for step in orphans)
        run = Step(
            parent_id, None, facts, told.facts["workflow_name"], "workflow", start_ns, None, told.service, len(steps)
        )
        steps.append(run)
        by_id[parent_id] = [run]
        real_parent[run] = None
        for step in orphans:
            step.parent = run


def _signed(hex_id: str | None) -> int | None:
    if hex_id is None:
        return None
    return int.from_bytes(bytes.fromhex(hex_id), "big", signed=True)


def _client_of_shared(step: Step, same_id: list[Step]) -> Step | None:
    if step.span is None or step.span.kind != KIND_SERVER:
        return None
    for other in same_id:
        if other is not step and other.span is not None and other.span.kind == KIND_CLIENT:
            return other
    return None


def _parent_among(candidates: list[Step], child: Step) -> Step:
    """Of several spans with the parent's id the one in the child's service that was open when the child started."""
    same_service = [c for c in candidates if c.service == child.service and c is not child] or [
        c for c in candidates if c is not child
    ]
    if not same_service:
        return candidates[0]
    open_then = [c for c in same_service if c.start_ns <= child.start_ns <= (c.end_ns or child.start_ns)]
    if open_then:
        return open_then[-1]
    before = [c for c in same_service if c.start_ns <= child.start_ns]
    return before[-1] if before else same_service[0]


def _break_cycles(steps: list[Step]) -> None:
    """Cut each cycle of parents above its earliest span, so that all of it hangs below that one."""
    settled: set[Step] = set()
    for step in steps:
        path: list[Step] = []
        on_path: set[Step] = set()
        current: Step | None = step
        while current is not None and current not in settled and current not in on_path:
            path.append(current)
            on_path.add(current)
            current = current.parent
        if current is not None and current in on_path:
            cycle = path[path.index(current) :]
            first = min(cycle, key=lambda s: s.order)
            first.parent = None
            first.anomalies.append("parent_cycle")
        settled.update(path)


def _parents_first(steps: list[Step]) -> list[Step]:
    """All steps, each after its parent; fills `children` in canonical order."""
    for step in steps:
        step.children = []
    for step in sorted(steps, key=lambda s: s.order):
        if step.parent is not None:
            step.parent.children.append(step)
    ordered: list[Step] = []
    level = sorted((s for s in steps if s.parent is None), key=lambda s: s.order)
    while level:
        ordered.extend(level)
        level = [child for step in level for child in step.children]
    return ordered


def _fold(parents_first: list[Step]) -> dict[Step, Step]:
    """Decide for each step which step is its node, and hang what stays below what stays."""
    hosts: dict[Step, Step] = {}
    waiting_for_child: list[Step] = []
    sent_on: set[Step] = set()
    for step in parents_first:
        parent_host = hosts[step.parent] if step.parent is not None else None
        hosts[step] = step
        fold = step.facts.get("fold")
        if fold in {"producer", "outer"}:
            # Known only when its consumers are: a message belongs to the step that took it up.
            waiting_for_child.append(step)
        elif fold is not None and parent_host is not None and _may_fold(step, parent_host, fold):
            hosts[step] = parent_host
            _absorb(parent_host, step, fold)
    for step in waiting_for_child:
        takers = [c for c in step.children if hosts[c] is c and _takes_up(c, step)]
        if takers:
            hosts[step] = takers[0]
            sent_on.add(step)
            takers[0].placed = (min(step.start_ns, takers[0].start_ns), takers[0].last_ns)
            takers[0].folded.append(_span_of(step))
            takers[0].folded.extend(step.folded)
    _join_continued(parents_first, hosts)
    resolved: dict[Step, Step] = {}
    kept = [step for step in parents_first if hosts[step] is step]
    for step in parents_first:
        resolved[step] = _resolve(step, hosts)
    for step in parents_first:
        step.children = []
    for step in kept:
        parent = step.parent
        above = None
        while parent is not None:
            above = resolved[parent]
            # What else hangs on a message that one consumer took up is no part of that consumer's work.
            if above is not step and parent not in sent_on:
                break
            parent, above = parent.parent, None
        step.parent = above
        if above is not None:
            above.children.append(step)
    for step in kept:
        if step.kind == "chain" and _holds_a_graph(step):
            step.kind = "workflow"
    settle_ends(kept)
    return resolved


def _join_continued(steps: list[Step], hosts: dict[Step, Step]) -> None:
    """Make one step of the spans that an engine sends of one attempt each time it waits and is taken up again.

    They share the span id, the task and the number of the attempt; all but the last say that they wait.
    """
    spoken: dict[tuple[object, ...], Step] = {}
    for step in steps:
        task_key = step.facts.get("task_key")
        if task_key is None or "attempt" not in step.facts or hosts[step] is not step or step.span is None:
            continue
        key = (step.span_id, task_key, step.facts["attempt"], step.name)
        before = spoken.get(key)
        spoken[key] = step
        if before is not None and before.facts.get("status") == "waiting":
            hosts[before] = step
            step.start_ns = min(before.start_ns, step.start_ns)
            step.folded.append(_span_of(before))
            step.folded.extend(before.folded)


def _takes_up(step: Step, request: Step) -> bool:
    """Whether `step` is what was asked for: a message's consumer, or an attempt of the step seen from outside."""
    if request.facts.get("fold") == "outer":
        return step.name == request.name and step.facts.get("task_key") == request.facts.get("task_key")
    return step.span is not None and step.span.kind in _TAKERS


def _resolve(step: Step, hosts: dict[Step, Step]) -> Step:
    host = hosts[step]
    passed = [step]
    while hosts[host] is not host:
        passed.append(host)
        host = hosts[host]
    for other in passed:  # so that a long chain is walked once, not once from each of its steps
        hosts[other] = host
    return host


def _may_fold(step: Step, host: Step, fold: str) -> bool:
    if speaks_of_run(step.facts):
        return belongs_to(step, host)
    if fold == "nested":
        return step.name == host.name and step.kind in {host.kind, "chain"}
    if fold == "container":
        return _only_repeats(step, host)
    if fold != "router":
        return True
    # A router runs after its node's own work and calls nothing: anything else only looks like one.
    if step.children or step.parent is None:
        return False
    siblings = [c for c in step.parent.children if c.facts.get("fold") != "router"]
    return all(s.start_ns <= step.start_ns for s in siblings)


def _only_repeats(container: Step, host: Step) -> bool:
    """Whether a graph run is no more than the step around it: it is empty, or it is all that the step runs."""
    if not container.children:
        return True
    if "group" not in host.facts or not _holds_a_graph(container) or container.parent is None:
        return False
    return not any(c is not container and _holds_a_graph(c) for c in container.parent.children)


def _holds_a_graph(step: Step) -> bool:
    return any("group" in child.facts for child in step.children)


def _span_of(step: Step) -> SpanFacts:
    if step.span is None:
        raise AssertionError("only spans that came are folded")
    return step.span


def _absorb(host: Step, step: Step, fold: str) -> None:
    if step.span is not None:
        host.folded.append(step.span)
    host.folded.extend(step.folded)
    host.anomalies.extend(a for a in step.anomalies if a not in host.anomalies)
    if fold == "router":
        host.routers.append(step.facts)
        return
    if speaks_of_run(step.facts):
        open_or_close(host, step)
    if fold == "event":
        # An exception that was only logged is not how the step ended.
        if step.facts.get("status") and "status" not in host.facts and not step.facts.get("error_handled"):
            host.facts = {**host.facts, "status": step.facts["status"]}
        return
    if fold == "carrier":
        host.carriers.append(step)
        return
    if fold in {"inner", "nested", "container"}:
        merged: Facts = {**host.facts}
        for key in _COMPLETED_BY_INNER:
            if key in step.facts and key not in merged:
                merged[key] = step.facts[key]  # type: ignore[literal-required]
        for key in (
            "input_tokens",
            "output_tokens",
            "cost_usd",
            "status",
            "run_status",
            "weak_status",
            "run_id",
            "workflow_name",
            "attempt",
            "resumes",
            "task_key",
        ):
            if key in step.facts and key not in merged:
                merged[key] = step.facts[key]  # type: ignore[literal-required]
        if (
            step.span is not None
            and step.span.status_code == 2
            and host.span is not None
            and host.span.status_code == 0
        ):
            merged.setdefault("weak_status", "failed")
        host.facts = merged
        host.routers.extend(step.routers)
        if host.facts.get("covers_queue") and step.end_ns is not None:
            _take_times(host, step)
        holds = step.kind == "workflow" or (fold == "container" and _holds_a_graph(step))
        if holds and host.kind in {"function", "chain", "step"}:
            host.kind = "workflow"


def _take_times(host: Step, inner: Step) -> None:
    """Let `host`, which was queued first, have the times of the work; of several inner spans all of them."""
    if host.placed is None:
        host.placed = (host.start_ns, host.last_ns)
        host.start_ns, host.end_ns = inner.start_ns, inner.last_ns
    else:
        host.start_ns = min(host.start_ns, inner.start_ns)
        host.end_ns = max(host.last_ns, inner.last_ns)


def _by_span_id(parents_first: list[Step], hosts: dict[Step, Step], marks: list[SpanFacts]) -> dict[int, Step]:
    found: dict[int, Step] = {}
    for step in parents_first:
        found.setdefault(step.span_id, hosts[step])
    for mark in marks:
        announced = _signed(mark.facts.get("pending_of"))
        if announced is not None and announced in found:
            found.setdefault(mark.span_id, found[announced])
    return found
