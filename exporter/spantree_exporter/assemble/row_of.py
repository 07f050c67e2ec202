"""Steps -> the rows of the execution and its nodes."""

from __future__ import annotations

import json
from collections.abc import Sequence

from spantree_exporter.assemble import category, execution, failure, run_status, usage
from spantree_exporter.assemble.step import Step
from spantree_exporter.rows import MODEL_TOLD_ELSEWHERE, ROOT_MISSING, Execution, Node, SpanFacts

_TROUBLED = frozenset({"failed", "timed_out", "retried", "cancelled"})


def execution_row(
    spans: Sequence[SpanFacts],
    stored: int,
    roots: list[Step],
    ordered: list[Step],
    led: set[Step],
    keys_said: set[str],
    anomalies: list[str],
) -> Execution:
    """The row of the execution, of which `stored` spans are stored; `keys_said` are the facts that any step has, `led`
    the roots that others led to.
    """
    main = execution.main_root(roots, ordered, led)
    run = execution.find_run(ordered, roots, main)
    outer = run
    while outer.parent is not None:
        outer = outer.parent
    unhandled = run_status.unhandled_failures(run, ordered)
    state = run_status.status_of_run(run, outer, ordered, unhandled)
    cause: Step | None = None
    if state != "completed":
        starts = [outer] if outer.failed else [run] if run.failed else unhandled or failure.any_failed(ordered)
        cause = failure.first_failed(ordered, starts)
    text = failure.summary(cause, run if run.failed else outer) if state != "completed" else None
    counts = dict.fromkeys(
        ("completed", "failed", "retried", "skipped", "waiting", "running", "cancelled", "timed_out"), 0
    )
    for step in ordered:
        counts[step.status] = counts.get(step.status, 0) + 1
    entry = execution.entry_of(run)
    spent = usage.totals(ordered, keys_said)
    awaits_root = state == "running" and run_status.is_rootless(run) and all(s.end_ns is not None for s in ordered)
    open_end = (state in {"running", "pending"} and not awaits_root) or run.end_ns is None
    ended = None if open_end else max(step.last_ns for step in ordered)
    cause_type = cause.facts.get("error_type") if cause is not None else None
    cause_message = cause.facts.get("error_message") if cause is not None else None
    if spent.clamped:
        anomalies.append(usage.CLAMPED)
    if awaits_root:
        anomalies.append(ROOT_MISSING)
    services = {span.service for span in spans if span.service}
    name, workflow_name = _names(run, entry, ordered, keys_said)
    return Execution(
        name=name,
        workflow_name=workflow_name,
        entry=entry.facts.get("entry") if entry is not None else None,
        kind=execution.kind_of(run),
        status=state,
        started_ns=min(step.start_ns for step in ordered),
        ended_ns=ended,
        last_seen_ns=max(span.received_ns for span in spans),
        root_span_id=run.span_id,
        service=run.service or next((step.service for step in ordered if step.service), ""),
        services=sorted(services),
        run_id=_run_id(run, ordered, keys_said),
        conversation_id=_first(run, ordered, "conversation_id", keys_said),
        user_id=_first(run, ordered, "user_id", keys_said),
        project=_first(run, ordered, "project", keys_said),
        input=_first_of((run, outer), "input"),
        output=_first_of((run, outer), "output"),
        error_summary=text,
        error_category=category.category_of_failure(
            cause.status, cause_type, cause_message, cause.facts.get("status_reason")
        )
        if cause is not None
        else None,
        error_fingerprint=_fingerprint_of(cause) if cause is not None else None,
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
        span_count=stored,
        input_tokens=spent.whole("input_tokens"),
        output_tokens=spent.whole("output_tokens"),
        cost_usd=spent.figures.get("cost_usd"),
        skipped_nodes=execution.skipped_names(run, ordered, state),
        resumes=_first(run, ordered, "resumes", keys_said),
        lost_after_s=run.facts.get("lost_after_s"),
        hidden=execution.is_hidden(roots, run),
        anomalies=sorted({*anomalies, *(one for step in ordered for one in step.anomalies)} - {MODEL_TOLD_ELSEWHERE}),
    )


def _names(run: Step, entry: Step | None, ordered: list[Step], keys_said: set[str]) -> tuple[str, str]:
    """The execution's own name, and that of its workflow, under which it is counted."""
    # A run that does not say what it is a run of may hold a step that does.
    several = "workflow_name" not in run.facts and execution.holds_several_workflows(run)
    declared = None if several else _first(run, ordered, "workflow_name", keys_said)
    name = run.facts.get("workflow_name") or (declared if run.facts.get("boundary") == "run" else None)
    if name is None:
        asked_by_itself = entry is run and "boundary" not in run.facts and run.kind != "task"
        name = (run.facts.get("entry") if asked_by_itself else None) or run.name
    return name, declared or run.facts.get("grouped_as") or name


def _run_id(run: Step, ordered: list[Step], keys_said: set[str]) -> str | None:
    """The run's id, from itself or around it; else the only one in the trace: of several none is the trace's.

    Nor is that of a workflow within it that has another name.
    """
    if "run_id" not in keys_said:
        return None
    step: Step | None = run
    while step is not None:
        if "run_id" in step.facts:
            return step.facts["run_id"]
        step = step.parent
    run_ids = {s.facts["run_id"] for s in ordered if "run_id" in s.facts and not _is_of_another_workflow(s, run)}
    return run_ids.pop() if len(run_ids) == 1 else None


def _is_of_another_workflow(inner: Step, run: Step) -> bool:
    name = run.facts.get("workflow_name")
    step: Step | None = inner
    while name is not None and step is not None and step is not run:
        if step.facts.get("boundary") == "run" and step.facts.get("workflow_name", name) != name:
            return True
        step = step.parent
    return False


def _first(run: Step, ordered: list[Step], key: str, keys_said: set[str]) -> str | None:
    """What the run says, else the nearest around it, else the earliest span that says it."""
    if key not in keys_said:
        return None
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


def _fingerprint_of(step: Step) -> str:
    """What the step's error has in common with others of its cause; what tells nothing has only its step in common."""
    facts = step.facts
    where = None if failure.has_own_error(step) else step.name
    return category.fingerprint_of(facts.get("error_type"), facts.get("error_message"), where)


def node_row(step: Step, workflow: str | None) -> Node:
    """The row of a node, in an execution of `workflow`."""
    facts = step.facts
    error_type = message = None
    wrong = step.status in _TROUBLED
    if wrong or step.status == "waiting" or "error_handled" in facts:
        error_type, message = facts.get("error_type"), facts.get("error_message")
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
        category.category_of_failure(step.status, error_type, message, facts.get("status_reason")) if wrong else None,
        _fingerprint_of(step) if wrong else None,
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
        json.dumps(step.declared, ensure_ascii=False) if step.declared is not None else None,
    )
