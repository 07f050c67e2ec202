"""The execution that a trace is: its root, name, status and totals (conventions.md 4.1 and 4.3)."""

from __future__ import annotations

from collections.abc import Iterable

from spantree_exporter.assemble.step import DETAIL_KINDS, Step, is_above
from spantree_exporter.facts.vocabulary import GraphFact
from spantree_exporter.span import KIND_CLIENT, KIND_CONSUMER

_ENDED = frozenset({"completed", "failed", "skipped", "cancelled", "timed_out", "retried"})
_UNFINISHED = frozenset({"waiting", "running", "pending"})
_REQUEST_KINDS = frozenset({"db", "http_client", "http_server", "rpc", "message"})


def find_run(ordered: list[Step], roots: list[Step]) -> Step | None:
    """The step that is the run itself: the outermost that says so, else the first root.

    Where several runs of different ids are side by side below the root, the trace is what holds them.
    """
    best: Step | None = None
    best_rank: tuple[int, int, int] | None = None
    for step in ordered:
        boundary = step.facts.get("boundary")
        if boundary is None:
            continue
        rank = (step.depth, 0 if boundary == "run" else 1, step.sequence)
        if best_rank is None or rank < best_rank:
            best, best_rank = step, rank
    if best is not None and roots and best.parent is roots[0] and _holds_several_runs(roots[0]):
        best = None
    run = best or (roots[0] if roots else None)
    while run is not None and run.next_attempt is not None:
        run = run.next_attempt
    return run


def _holds_several_runs(root: Step) -> bool:
    run_ids = {c.facts.get("run_id") for c in root.children if c.facts.get("boundary") == "run"}
    return len(run_ids - {None}) > 1


def entry_of(run: Step) -> Step | None:
    """The outermost ancestor of the run that says how it was called; the run itself may."""
    entry: Step | None = None
    step: Step | None = run
    while step is not None:
        if step.facts.get("entry"):
            entry = step
        step = step.parent
    return entry


def status_of_run(run: Step, roots: list[Step], ordered: list[Step], orphaned: bool) -> str:
    """The execution's status, by the first rule that speaks.

    1. the run's own word; 2. a step waits for somebody; 3. still open; 4. it, or the request that called it, failed;
    5. a step of it failed for good: failed if nobody waited for that step, partial if the run lived with it.
    """
    said = run.facts.get("run_status")
    if said is not None and not (said in {"running", "pending"} and run.end_ns is not None):
        return said
    if run.status in {"cancelled", "timed_out", "skipped"}:
        return run.status
    waits = _waits(run, ordered)
    if run.status == "waiting" or (waits and run.status != "failed"):
        return "waiting"
    if run.end_ns is None or (orphaned and run.parent is None and run.status != "failed"):
        return "running"
    if run.status == "failed":
        return "failed"
    root = roots[0] if roots and is_above(roots[0], run) else run
    if root.failed:
        return "failed"
    worst = "completed"
    own_level = _own_level(run, ordered)
    for step in ordered:
        if step.failed and step.facts.get("breaks_run") and is_above(run, step) and not _within_tool(step):
            return "failed"
        if not step.failed or step is run or not _is_step_of(step, run, own_level):
            continue
        if _stands_alone(step, run):
            return "failed"
        worst = "partial"
    if worst == "completed" and any(s.status == "running" and _is_step_of(s, run, own_level) for s in ordered):
        return "running"
    return worst


def _within_tool(step: Step) -> bool:
    """Whether a tool stands around the step, so that whoever called the tool heard of its failure."""
    above = step.parent
    while above is not None and above.kind != "tool":
        above = above.parent
    return above is not None


def _waits(run: Step, ordered: list[Step]) -> bool:
    """Whether the last word of some step is that it waits."""
    for step in ordered:
        if step.status != "waiting" or step is run:
            continue
        later = step.next_attempt
        while later is not None and later.status == "waiting":
            later = later.next_attempt
        if later is None and not _taken_up(step, ordered):
            return True
    return False


def _taken_up(step: Step, ordered: list[Step]) -> bool:
    return any(
        other is not step and other.name == step.name and other.start_ns >= step.last_ns and other.status in _ENDED
        for other in ordered
        if other.task_key is not None and other.task_key == step.task_key
    )


def _own_level(run: Step, ordered: list[Step]) -> set[Step]:
    """The steps whose failure nobody between them and the run has dealt with.

    A step that ended well although one below it failed has dealt with it, unless it did not wait for that one.
    """
    level: set[Step] = set()
    for step in ordered:
        above = step.parent
        if above is None:
            # Tasks of a queue that nobody's span is around stand beside the first of them.
            if step is not run and run.parent is None and step.next_attempt is None:
                level.add(step)
            continue
        if (
            above is run
            or _stands_alone(step, above)
            or (above in level and above.status not in {"completed", "retried"})
        ):
            level.add(step)
    return level


def _is_step_of(step: Step, run: Step, own_level: set[Step]) -> bool:
    """Whether the step is one of the run's own: no detail of one, and nobody has dealt with its failure."""
    if step.kind in DETAIL_KINDS and not step.facts.get("step"):
        return False
    return (step.is_step or step.parent is run) and step in own_level


def _stands_alone(step: Step, above: Step) -> bool:
    """Whether nobody waited for the step: a task taken from a queue, or one that ended after what called it."""
    if step.span is not None and step.span.kind == KIND_CONSUMER:
        return True
    return step.end_ns is not None and above.end_ns is not None and step.start_ns >= above.end_ns


def is_hidden(roots: list[Step], run: Step) -> bool:
    """Whether the trace is no execution anybody asks for: a lone client call, or a definition."""
    if run.facts.get("hidden") or run.facts.get("fold") == "definition":
        return True
    return all(
        root.span is not None and root.span.kind == KIND_CLIENT and root.kind == "db" and "boundary" not in root.facts
        for root in roots
    )


def kind_of(run: Step, ordered: list[Step]) -> str:
    """workflow, agent, task, request, llm ...: the run's own kind; a request where it is nothing but one."""
    if run.kind in _REQUEST_KINDS:
        return "request"
    if run.kind in {"chain", "step"}:
        return "workflow"
    return run.kind


def tokens_and_cost(ordered: list[Step]) -> tuple[int | None, int | None, float | None]:
    """(input tokens, output tokens, cost in USD) without counting twice: of nested figures the innermost."""
    below: set[Step] = set()
    for step in reversed(ordered):
        if step.parent is not None and (step in below or _has_usage(step)):
            below.add(step.parent)
    counted = [s for s in ordered if _has_usage(s) and s not in below]
    return (
        _total(s.facts.get("input_tokens") for s in counted),
        _total(s.facts.get("output_tokens") for s in counted),
        _total_cost(s.facts.get("cost_usd") for s in counted),
    )


def _has_usage(step: Step) -> bool:
    facts = step.facts
    return "input_tokens" in facts or "output_tokens" in facts or "cost_usd" in facts


def _total(numbers: Iterable[int | None]) -> int | None:
    known = [n for n in numbers if n is not None]
    return sum(known) if known else None


def _total_cost(numbers: Iterable[float | None]) -> float | None:
    known = [n for n in numbers if n is not None]
    return sum(known) if known else None


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
        graph = step.facts.get("graph")
        if graph is None or status in _UNFINISHED or not (step is run or step.kind == "workflow"):
            continue
        before = _above(ran, graph) if "resumes" in run.facts else set()
        for name in graph.get("nodes", ()):
            if name not in before:
                names[name] = None
    return [name for name in names if name not in ran]


def _above(names: set[str], graph: GraphFact) -> set[str]:
    """The names from which a static graph leads to one of `names`."""
    sources: dict[str, list[str]] = {}
    for start, end in graph.get("edges", ()):
        sources.setdefault(end, []).append(start)
    found: set[str] = set()
    frontier = list(names)
    while frontier:
        for start in sources.get(frontier.pop(), ()):
            if start not in found:
                found.add(start)
                frontier.append(start)
    return found
