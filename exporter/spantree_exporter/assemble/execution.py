"""The execution that a trace is: its root, name, kind, and the steps of it that never ran."""

from __future__ import annotations

import math
from collections.abc import Collection

from spantree_exporter.assemble.declared_steps import leading_to
from spantree_exporter.assemble.step import Step, is_above, linked_id
from spantree_exporter.span import KIND_CLIENT

_ENDED = frozenset({"completed", "failed", "cancelled", "timed_out"})
_UNFINISHED = frozenset({"waiting", "running", "pending"})
_REQUEST_KINDS = frozenset({"db", "http_client", "http_server", "rpc", "message"})


def led_to(roots: list[Step], hosts: dict[int, Step], trace_id: str) -> set[Step]:
    """The roots that say by a link what in the trace led to them: a message that was sent, what they follow from."""
    found: set[Step] = set()
    for root in roots if len(roots) > 1 else ():
        for trace, span in root.span.links if root.span is not None else ():
            span_id = linked_id(span) if trace == trace_id else None
            before = hosts.get(span_id) if span_id is not None else None
            if (
                before is not None
                and before.start_ns <= root.start_ns
                and before is not root
                and not is_above(root, before)
            ):
                found.add(root)
    return found


def main_root(roots: list[Step], ordered: list[Step], led: Collection[Step] = ()) -> Step:
    """The root that holds most of the trace: the longest with all that is below it, a lone call of a client last.

    Roots that a plan put after others do not count, the plan is the first's; nor do those that others led to (`led`).
    """
    if len(roots) == 1:
        return roots[0]
    reach: dict[Step, float] = {}
    root = roots[0]
    for step in ordered:  # roots one after another, each with all that is below it
        if step.parent is None:
            root = step
        end = step.end_ns if step.end_ns is not None else math.inf
        reach[root] = max(end, reach.get(root, end))
    return max(
        (root for root in roots if not root.follows and root not in led),
        key=lambda s: (
            s.span is None or s.span.kind != KIND_CLIENT,
            reach[s] - s.start_ns,
            s.last_below - s.sequence,
            -s.sequence,
        ),
        default=roots[0],
    )


def find_run(ordered: list[Step], roots: list[Step], main: Step) -> Step:
    """The step that is the run itself: the outermost that says so, else the root `main`.

    Of several equally far out one of the main root, of these the first. Where several runs of different ids or names
    are side by side below the root, the trace is what holds them; so it is where several agents are below a script.
    """
    best: Step | None = None
    best_rank: tuple[int, int, bool, int] | None = None
    for step in ordered:
        boundary = step.facts.get("boundary")
        if boundary is None or (boundary == "candidate" and _may_be_a_call(step)):
            continue
        in_main = main.sequence <= step.sequence <= main.last_below
        rank = (step.depth, 0 if boundary == "run" else 1, not in_main, step.sequence)
        if best_rank is None or rank < best_rank:
            best, best_rank = step, rank
    if best is not None and best.parent is roots[0] and _holds_several_runs(roots[0]):
        best = None
    run = best or main
    run = run.last_of_task or run
    return _pass_that_ended(run, ordered) if run.facts.get("run_status") == "waiting" else run


def _pass_that_ended(run: Step, ordered: list[Step]) -> Step:
    """The pass of the same run that says it has ended, where several were made at once; `run` where none does."""
    for step in reversed(ordered) if run.task_key is not None else ():
        if step.task_key == run.task_key and step.facts.get("run_status") in _ENDED:
            return step
    return run


def _may_be_a_call(step: Step) -> bool:
    """Whether it is only announced, without its kind: it is a run once something is below it."""
    return step.span is None and step.kind == "function" and not step.children


def _holds_several_runs(root: Step) -> bool:
    run_ids = {run.facts.get("run_id") for run in _runs_below(root)}
    return len(run_ids - {None}) > 1 or holds_several_workflows(root)


def holds_several_workflows(root: Step) -> bool:
    """Whether runs of different names are side by side below `root`, which says nothing of itself."""
    names = {run.facts.get("workflow_name", run.name) for run in _runs_below(root)}
    return len(names) > 1 and "boundary" not in root.facts


def _runs_below(root: Step) -> list[Step]:
    wanted = {"run", "candidate"} if root.kind == "function" else {"run"}
    return [child for child in root.children if child.facts.get("boundary") in wanted]


def entry_of(run: Step) -> Step | None:
    """The outermost ancestor of the run that says how it was called; the run itself may."""
    entry: Step | None = None
    step: Step | None = run
    while step is not None:
        if step.facts.get("entry"):
            entry = step
        step = step.parent
    return entry


def is_hidden(roots: list[Step], run: Step) -> bool:
    """Whether the trace is no execution anybody asks for: a lone client call, or a definition."""
    if run.facts.get("hidden") or run.facts.get("fold") == "definition":
        return True
    return all(
        root.span is not None and root.span.kind == KIND_CLIENT and root.kind == "db" and "boundary" not in root.facts
        for root in roots
    )


def kind_of(run: Step) -> str:
    """workflow, agent, task, request, llm ...: the run's own kind; a request where it is nothing but one."""
    if run.kind in _REQUEST_KINDS:
        return "request"
    if run.kind in {"chain", "step"}:
        return "workflow"
    return run.kind


def skipped_names(run: Step, ordered: list[Step], status: str) -> list[str]:
    """Names of steps that are known not to have run: declared ones, and nodes of a static graph without a span.

    What a run that waits or goes on has not come to is not skipped yet. What a run that takes up another cannot come
    to any more may have run before.
    """
    ran = {step.name for step in ordered if step.status != "skipped"}
    names: dict[str, None] = {}
    for step in ordered:
        for name in step.facts.get("skipped_nodes", ()):
            names[name] = None
        if step.never_began and step.status == "skipped":
            names[step.name] = None
        graph = step.facts.get("graph")
        if graph is None or status in _UNFINISHED or not (step is run or step.kind == "workflow"):
            continue
        before = leading_to(ran, graph.get("edges", ())) if "resumes" in run.facts else set()
        for name in graph.get("nodes", ()):
            if name not in before:
                names[name] = None
    return [name for name in names if name not in ran]
