"""Which step failed first and is the cause, and what it says."""

from __future__ import annotations

from spantree_exporter.assemble.step import Step


def first_failed(ordered: list[Step], run: Step | None) -> Step | None:
    """The step whose failure is the cause, not one that only passed it on; None if none failed for good.

    Among failed steps below which none failed, those whose every ancestor up to the failed run failed too, or with the
    same error, come first: a failure that somebody caught did not bring the run down. Of these the earliest to end.
    `ordered` is in sequence order.
    """
    made_good: set[Step] = set()
    for step in ordered:
        # What failed in an attempt that was tried again is not what the run failed of.
        if step.parent is not None and (step.parent.status == "retried" or step.parent in made_good):
            made_good.add(step)
    # Of each failed step the nearest around it that failed too, whatever ended well in between.
    around: dict[Step, Step | None] = {}
    for step in ordered:
        above = step.parent
        around[step] = above if above is None or above.failed else around[above]
    passed_on_to = {
        step: above
        for step, above in around.items()
        if step.failed and above is not None and (above is step.parent or _is_same_error(step, above))
    }
    messengers = set(passed_on_to.values())
    leaves = [step for step in ordered if step.failed and step not in made_good and step not in messengers]
    if not leaves:
        return None
    chained: list[Step] = []
    if run is not None and run.failed:
        reaching: set[Step] = set()
        for step in ordered:
            if step is run or passed_on_to.get(step) in reaching:
                reaching.add(step)
        chained = [step for step in leaves if step in reaching]
    return min(chained or leaves, key=lambda s: (s.last_ns, -s.depth, s.start_ns, s.order))


def _is_same_error(step: Step, other: Step) -> bool:
    """Whether both tell the same exception: one of them passed it on, past steps that did not notice."""
    message = step.facts.get("error_message")
    return (
        message is not None
        and message == other.facts.get("error_message")
        and step.facts.get("error_type") == other.facts.get("error_type")
    )


def error_text(step: Step) -> str:
    """`Class: message` of the step's failure, as much of it as the span tells."""
    kind = (step.facts.get("error_type") or "").rpartition(".")[2]
    message = step.facts.get("error_message") or ""
    if kind and message and not message.startswith(kind):
        return f"{kind}: {message}"
    return message or kind or "failed"


def summary(cause: Step | None, run: Step | None) -> str | None:
    """What brought the run down, the cause first; and what the run itself says where that differs."""
    if cause is None:
        return _one_line(error_text(run)) if run is not None and run.failed else None
    text = f"{cause.name}: {error_text(cause)}"
    if run is not None and run is not cause and run.failed:
        own = error_text(run)
        passed_on = run.facts.get("error_message") == cause.facts.get("error_message")
        if own != "failed" and not passed_on and error_text(cause) != own:
            text = f"{text} -> {own}"
    return _one_line(text)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:1000]
