"""`assemble`, step by step: forest, statuses, attempts, order, edges, then the rows."""

from __future__ import annotations

from collections.abc import Sequence

from spantree_exporter.assemble import attempts, category, edges, execution, failure, hierarchy, status, timing
from spantree_exporter.assemble.chains import unnest_planned
from spantree_exporter.assemble.detached import adopt_detached
from spantree_exporter.assemble.step import Step, preorder
from spantree_exporter.rows import Assembled, Execution, Node, SpanFacts


def assemble(spans: Sequence[SpanFacts], trace_id: str) -> Assembled:
    """The projection of one trace: a pure function of the set of its spans.

    Order, repetition and batches of `spans` do not matter. `trace_id` (32 hex digits) tells links within the trace
    from those that lead out of it. Cost grows linearly with the spans, however deep or wide the tree.
    Raises ValueError for no spans.
    """
    if not spans:
        raise ValueError("assemble needs at least one span")
    sorted_spans = hierarchy.canonical(spans)
    forest = hierarchy.build(sorted_spans)
    adopt_detached(forest.roots)
    steps = preorder(forest.roots)
    status.settle_statuses(steps)
    steps = attempts.number_attempts(steps)
    unnest_planned(steps)
    forest.roots = sorted((s for s in steps if s.parent is None), key=lambda s: (s.start_ns, s.order, s.attempt))
    attempts.number_iterations(steps)
    ordered = timing.number(forest.roots)
    _number_twins(ordered)
    timing.measure_self_time(ordered)
    run = execution.find_run(ordered, forest.roots)
    if run is None:
        raise AssertionError("a forest of at least one span has a root")
    timing.mark_critical_path(forest.roots[0])
    rows = edges.connect(ordered, forest.hosts, trace_id)
    summary = _execution(sorted_spans, forest, ordered, run)
    workflow = summary.workflow_name
    return Assembled(summary, [_node(step, workflow) for step in ordered], rows)


def _number_twins(ordered: list[Step]) -> None:
    """Give steps that share a span id ordinals, in order of start; the first has 0."""
    seen: dict[int, list[Step]] = {}
    for step in ordered:
        seen.setdefault(step.span_id, []).append(step)
    for twins in seen.values():
        if len(twins) > 1:
            # The last attempt is what links and children mean by the id.
            twins.sort(key=lambda s: (s.start_ns, s.order, s.attempt), reverse=True)
            for ordinal, twin in enumerate(twins):
                twin.ordinal = ordinal


def _execution(spans: list[SpanFacts], forest: hierarchy.Forest, ordered: list[Step], run: Step) -> Execution:
    outer = run
    while outer.parent is not None:
        outer = outer.parent
    state = execution.status_of_run(run, forest.roots, ordered, forest.orphaned)
    cause = failure.first_failed(ordered, outer if outer.failed else run)
    if state == "completed":
        cause = None
    text = failure.summary(cause, run if run.failed else outer) if state != "completed" else None
    counts = dict.fromkeys(
        ("completed", "failed", "retried", "skipped", "waiting", "running", "cancelled", "timed_out"), 0
    )
    for step in ordered:
        counts[step.status] = counts.get(step.status, 0) + 1
    entry = execution.entry_of(run)
    input_tokens, output_tokens, cost = execution.tokens_and_cost(ordered)
    open_end = state in {"running", "pending"} or run.end_ns is None
    ended = None if open_end else max(step.last_ns for step in ordered)
    cause_type = cause.facts.get("error_type") if cause is not None else None
    cause_message = cause.facts.get("error_message") if cause is not None else None
    services = {span.service: None for span in spans if span.service}
    # A run that does not say what it is a run of may hold a step that does.
    told = _first(run, ordered, "workflow_name")
    name = run.facts.get("workflow_name") or (told if run.facts.get("boundary") == "run" else None)
    if name is None:
        asked_by_itself = entry is run and "boundary" not in run.facts and run.kind != "task"
        name = (run.facts.get("entry") if asked_by_itself else None) or run.name
    return Execution(
        name=name,
        workflow_name=told or run.facts.get("grouped_as") or name,
        entry=entry.facts.get("entry") if entry is not None else None,
        kind=execution.kind_of(run, ordered),
        status=state,
        started_ns=min(step.start_ns for step in ordered),
        ended_ns=ended,
        last_seen_ns=max(span.received_ns for span in spans),
        root_span_id=run.span_id,
        service=run.service or next(iter(services), ""),
        services=sorted(services),
        run_id=_run_id(run, ordered),
        conversation_id=_first(run, ordered, "conversation_id"),
        user_id=_first(run, ordered, "user_id"),
        project=_first(run, ordered, "project"),
        input=_first_of((run, outer), "input"),
        output=_first_of((run, outer), "output"),
        error_summary=text,
        error_category=category.category_of(cause_type, cause_message) if cause is not None else None,
        error_fingerprint=category.fingerprint_of(cause_type, cause_message) if cause is not None else None,
        first_failed_span_id=cause.span_id if cause is not None else None,
        first_failed_ordinal=cause.ordinal if cause is not None else None,
        first_failed_name=cause.name if cause is not None else None,
        first_failed_error_type=cause_type,
        first_failed_error_message=cause_message,
        total_count=len(ordered),
        completed_count=counts["completed"],
        failed_count=counts["failed"],
        retried_count=counts["retried"],
        skipped_count=counts["skipped"],
        waiting_count=counts["waiting"],
        running_count=counts["running"],
        cancelled_count=counts["cancelled"],
        timed_out_count=counts["timed_out"],
        span_count=len(spans),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_usd=cost,
        skipped_nodes=execution.skipped_names(run, ordered, state),
        resumes=_first(run, ordered, "resumes"),
        lost_after_s=run.facts.get("lost_after_s"),
        hidden=execution.is_hidden(forest.roots, run),
        anomalies=sorted({anomaly for step in ordered for anomaly in step.anomalies}),
    )


def _run_id(run: Step, ordered: list[Step]) -> str | None:
    """The run's id, from itself or around it; else the only one in the trace: of several none is the trace's."""
    step: Step | None = run
    while step is not None:
        if "run_id" in step.facts:
            return step.facts["run_id"]
        step = step.parent
    told = {s.facts["run_id"] for s in ordered if "run_id" in s.facts}
    return told.pop() if len(told) == 1 else None


def _first(run: Step, ordered: list[Step], key: str) -> str | None:
    """What the run says, else the nearest around it, else the earliest span that says it."""
    step: Step | None = run
    while step is not None:
        if key in step.facts:
            value: str = step.facts[key]  # type: ignore[literal-required]
            return value
        step = step.parent
    found = [s for s in ordered if key in s.facts]
    if not found:
        return None
    first: str = min(found, key=lambda s: (s.start_ns, s.sequence)).facts[key]  # type: ignore[literal-required]
    return first


def _first_of(steps: tuple[Step, ...], key: str) -> str | None:
    for step in steps:
        if key in step.facts:
            value: str = step.facts[key]  # type: ignore[literal-required]
            return value
    return None


def _node(step: Step, workflow: str | None) -> Node:
    facts = step.facts
    troubled = step.status in {"failed", "timed_out", "retried", "cancelled", "waiting"} or facts.get("error_handled")
    error_type = facts.get("error_type") if troubled else None
    message = facts.get("error_message") if troubled else None
    wrong = step.status in {"failed", "timed_out", "retried", "cancelled"}
    parent = step.parent
    return Node(
        step.span_id,
        step.ordinal,
        step.fingerprint,
        parent.span_id if parent is not None else None,
        parent.ordinal if parent is not None else None,
        step.name,
        step.kind,
        step.status,
        facts.get("status_reason"),
        step.start_ns,
        step.end_ns,
        step.self_ns,
        step.sequence,
        step.depth,
        step.attempt,
        facts.get("max_attempts"),
        facts.get("retry_expected"),
        step.task_key,
        step.iteration,
        error_type,
        message,
        category.category_of(error_type, message) if wrong else None,
        category.fingerprint_of(error_type, message) if wrong else None,
        facts.get("model"),
        facts.get("input_tokens"),
        facts.get("output_tokens"),
        facts.get("cost_usd"),
        facts.get("input"),
        facts.get("output"),
        step.service,
        workflow,
        facts.get("run_id"),
        step.on_critical_path,
        [span.span_id for span in step.folded],
        step.anomalies,
    )
