"""Spans that are no steps of their own: which step each belongs to, and what it adds to that step (`facts.fold`)."""

from __future__ import annotations

from collections import defaultdict

from spantree_exporter.assemble.open_ended import belongs_to, open_or_close, settle_ends, speaks_of_run
from spantree_exporter.assemble.step import Step
from spantree_exporter.assemble.usage import USAGE
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.rows import SpanFacts
from spantree_exporter.span import KIND_CONSUMER, KIND_SERVER, STATUS_ERROR, STATUS_UNSET

# What a step's inside says of the whole step where the step itself is silent.
_COMPLETED_BY_INNER = (
    "input", "output", "model", "conversation_id", "user_id", "error_type", "error_message", "graph",
    *USAGE,
    "cost_estimated", "status", "run_status", "weak_status", "run_id", "workflow_name", "attempt", "resumes",
    "task_key",
)  # fmt: skip
# Who takes up a message; what else hangs below its sending is how it was sent.
_TAKERS = frozenset({KIND_CONSUMER, KIND_SERVER})


class _Siblings:
    """What is asked of all children of one step at once, so that each of many need not look at all others."""

    __slots__ = ("graphs", "last_start_ns")

    def __init__(self, parent: Step) -> None:
        self.last_start_ns = max((c.start_ns for c in parent.children if c.facts.get("fold") != "router"), default=-1)
        self.graphs = sum(1 for c in parent.children if _holds_a_graph(c))


def fold(parents_first: list[Step]) -> dict[Step, Step]:
    """Decide for each step which step is its node, and hang what stays below what stays."""
    hosts: dict[Step, Step] = {}
    siblings: dict[Step, _Siblings] = {}
    folds = waits = False
    waiting_for_child: list[Step] = []
    asking: list[Step] = []
    answers: list[Step] = []
    sent_on: set[Step] = set()
    for step in parents_first:
        parent_host = hosts[step.parent] if step.parent is not None else None
        hosts[step] = step
        facts = step.facts
        if not facts:
            continue
        waits = waits or facts.get("status") == "waiting"
        fold = facts.get("fold")
        if fold is None:
            if "by_driver" in facts:
                asking.append(step)
            continue
        folds = True
        if fold in {"producer", "outer"}:
            # Known only when its consumers are: a message belongs to the step that took it up.
            waiting_for_child.append(step)
        elif fold == "answer":
            answers.append(step)
        elif parent_host is not None and _may_fold(step, parent_host, fold, siblings):
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
    for query, told_again in _told_by_driver(asking, hosts) if asking else ():
        folds = True
        hosts[told_again] = query
        _absorb(query, told_again, "inner")
    for call, answer in _answered(answers, hosts) if answers else ():
        hosts[answer] = call
        _absorb(call, answer, "answer")
    if waits:
        _join_continued(parents_first, hosts)
    kept = _rehang(parents_first, hosts, sent_on) if folds or waits else parents_first
    for step in kept:
        if step.kind == "chain" and _holds_a_graph(step):
            step.kind = "workflow"
    settle_ends(kept)
    return hosts


def _told_by_driver(asking: list[Step], hosts: dict[Step, Step]) -> list[tuple[Step, Step]]:
    """(query of a library, the same query as its driver told it): beside it, within its time, of equal text."""
    drivers: dict[tuple[object, ...], list[Step]] = defaultdict(list)
    for parent in {step.parent: None for step in asking if step.parent is not None}:
        for child in parent.children:
            if child.kind == "db" and "by_driver" not in child.facts and hosts[child] is child and not child.children:
                drivers[parent, child.service, child.facts.get("input")].append(child)
    for told in drivers.values():
        told.sort(key=lambda step: (step.start_ns, step.order), reverse=True)
    pairs: list[tuple[Step, Step]] = []
    for query in sorted(asking, key=lambda step: (step.start_ns, step.order)):
        told = drivers.get((query.parent, query.service, query.facts.get("input")), [])
        while told and told[-1].start_ns < query.start_ns:
            told.pop()  # asked past the library
        if told and told[-1].last_ns <= query.last_ns:
            pairs.append((query, told.pop()))
    return pairs


def _answered(answers: list[Step], hosts: dict[Step, Step]) -> list[tuple[Step, Step]]:
    """(call, what it was answered): beside it and begun before it, of equal input; of several the last."""
    calls: dict[tuple[object, ...], list[Step]] = defaultdict(list)
    for parent in {step.parent: None for step in answers if step.parent is not None}:
        for child in parent.children:
            if "fold" not in child.facts and hosts[child] is child and "output" not in child.facts:
                calls[_call_of(child)].append(child)
    for asked in calls.values():
        asked.sort(key=lambda step: (step.start_ns, step.order), reverse=True)
    begun: dict[tuple[object, ...], list[Step]] = defaultdict(list)
    pairs: list[tuple[Step, Step]] = []
    for answer in sorted(answers, key=lambda step: (step.start_ns, step.order)):
        key = _call_of(answer)
        asked, open_calls = calls.get(key, []), begun[key]
        while asked and asked[-1].start_ns <= answer.start_ns:
            open_calls.append(asked.pop())
        if open_calls:
            pairs.append((open_calls.pop(), answer))
    return pairs


def _call_of(step: Step) -> tuple[object, ...]:
    facts = step.facts
    return step.parent, step.service, step.kind, facts.get("input"), facts.get("input_digest")


def _rehang(parents_first: list[Step], hosts: dict[Step, Step], sent_on: set[Step]) -> list[Step]:
    """The steps that stay, each below one that stays; settles `hosts`."""
    kept = [step for step in parents_first if hosts[step] is step]
    for step in parents_first:
        _resolve(step, hosts)
    # What else hangs on a message that one consumer took up is no part of that consumer's work.
    sender_above: dict[Step, Step | None] = {}
    for step in parents_first:
        if step in sent_on:
            above = step.parent
            sender_above[step] = sender_above[above] if above in sent_on and above is not None else above
    for step in parents_first:
        step.children = []
    for step in kept:
        parent = step.parent
        host: Step | None = None
        while parent is not None:
            if parent in sent_on:
                parent = sender_above[parent]
                continue
            if hosts[parent] is not step:
                host = hosts[parent]
                break
            parent = parent.parent
        step.parent = host
        if host is not None:
            host.children.append(step)
    return kept


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
    """Whether `step` is what was asked for: a message's consumer, or an attempt of the step seen from outside.

    Where no kind of a span is told (Temporal's SDKs for Go, Java and TypeScript), it is called like what asked for it.
    """
    if request.facts.get("fold") == "outer":
        return step.name == request.name and step.facts.get("task_key") == request.facts.get("task_key")
    if step.span is not None and step.span.kind in _TAKERS:
        return True
    return step.name == request.name and (step.kind == request.kind == "step" or step.kind == "signal")


def _resolve(step: Step, hosts: dict[Step, Step]) -> None:
    host = hosts[step]
    passed = [step]
    while hosts[host] is not host:
        passed.append(host)
        host = hosts[host]
    for other in passed:  # so that a long chain is walked once, not once from each of its steps
        hosts[other] = host


def _may_fold(step: Step, host: Step, fold: str, siblings: dict[Step, _Siblings]) -> bool:
    if speaks_of_run(step.facts):
        return belongs_to(step, host)
    if fold == "nested":
        return step.name == host.name and step.kind in {host.kind, "chain"}
    if fold == "container":
        return _only_repeats(step, host, siblings)
    if fold != "router":
        return True
    # A router runs after its node's own work and calls nothing: anything else only looks like one.
    if step.children or step.parent is None:
        return False
    return _siblings_below(step.parent, siblings).last_start_ns <= step.start_ns


def _siblings_below(parent: Step, siblings: dict[Step, _Siblings]) -> _Siblings:
    found = siblings.get(parent)
    if found is None:
        found = siblings[parent] = _Siblings(parent)
    return found


def _only_repeats(container: Step, host: Step, siblings: dict[Step, _Siblings]) -> bool:
    """Whether a graph run is no more than the step around it: it is empty, or it is all that the step runs."""
    if not container.children:
        return True
    if "group" not in host.facts or not _holds_a_graph(container) or container.parent is None:
        return False
    return _siblings_below(container.parent, siblings).graphs == 1


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
    if fold == "answer":
        told = {key: step.facts[key] for key in _COMPLETED_BY_INNER if key in step.facts}  # type: ignore[literal-required]
        host.facts = {**told, **host.facts}  # type: ignore[typeddict-item]
        if host.end_ns is not None:
            host.end_ns = max(host.end_ns, step.last_ns)
        return
    if fold in {"inner", "nested", "container"}:
        merged: Facts = {**host.facts}
        for key in _COMPLETED_BY_INNER:
            if key in step.facts and key not in merged:
                merged[key] = step.facts[key]  # type: ignore[literal-required]
        if "error_type" in step.facts and "error_type" not in host.facts and "error_message" in step.facts:
            # A class and a message are those of one exception.
            merged["error_message"] = step.facts["error_message"]
        if declared := step.facts.get("declared_steps"):
            merged["declared_steps"] = [*merged.get("declared_steps", ()), *declared]
        if (
            step.span is not None
            and step.span.status_code == STATUS_ERROR
            and host.span is not None
            and host.span.status_code == STATUS_UNSET
        ):
            merged.setdefault("weak_status", "failed")
        host.facts = merged
        if "names_outer" in step.facts and "covers_queue" in host.facts:
            host.name = step.name
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
