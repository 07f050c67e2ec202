"""Steps whose end their own span does not tell: runs told of by markers, requests that nobody took up yet."""

from __future__ import annotations

from spantree_exporter.assemble.step import Step
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_ERROR


def belongs_to(step: Step, host: Step) -> bool:
    """Whether `step`, which opens or closes a run, speaks of the run that `host` is.

    They may know it by ids of two sorts (Temporal's TypeScript before 1.14): what a start asked for is below it.
    """
    if step.kind != host.kind:
        return False
    run_id = host.facts.get("run_id")
    return run_id in {None, step.facts.get("run_id")} or (step.parent is host and step.name == host.name)


def speaks_of_run(facts: Facts) -> bool:
    """Whether a span is folded only into the run that it opens or closes."""
    return bool(facts.get("open_ended") or facts.get("closes"))


def open_or_close(host: Step, step: Step) -> None:
    """Let `host` go on where `step` opens it, and end where it closes it; of several the latest has the last word."""
    if step.facts.get("open_ended"):
        host.facts = {**host.facts, "open_ended": True}
    if not step.facts.get("closes"):
        return
    facts: Facts = {**host.facts}
    facts.pop("open_ended", None)
    for key in ("error_type", "error_message"):
        facts.pop(key, None)  # type: ignore[misc]
        if key in step.facts:
            facts[key] = step.facts[key]
    failed = step.facts.get("weak_status") == "failed" or (
        step.span is not None and step.span.status_code == STATUS_ERROR
    )
    facts["status"] = step.facts.get("status") or ("failed" if failed else "completed")
    host.facts = facts
    host.end_ns = max(step.last_ns, host.last_ns)


def settle_ends(parents_first: list[Step]) -> None:
    """Take the end from steps that go on: open runs, and requests not taken up while the run around them goes on."""
    unanswered: list[Step] = []
    for step in parents_first:
        if step.facts.get("open_ended"):
            step.end_ns = None
        elif step.facts.get("unanswered"):
            unanswered.append(step)
    if not unanswered:
        return
    runs: dict[Step, Step | None] = {}
    for step in parents_first:
        above = step.parent
        runs[step] = above if above is None or above.facts.get("boundary") == "run" else runs[above]
    for step in unanswered:
        run = runs[step]
        if run is None or run.end_ns is None:
            step.end_ns = None
