"""Steps sent off by the one before them in a plan that somebody else laid out: they follow it, though nested below it.

A queue hands on the trace context, so that the next task of a chain hangs below the one before, just as a task that the
one before called itself. What differs is whose plan it is: a called task is its caller's.
"""

from __future__ import annotations

from spantree_exporter.assemble.step import Step, preorder


def unnest_planned(steps: list[Step]) -> None:
    """Move steps that follow the step above them beside it, and note what they follow."""
    if not any("planned_by" in step.facts for step in steps):
        return
    # Whoever sent the first step of a plan laid the plan out, and sends what it calls itself in person as well.
    owners: dict[str, str | None] = {}
    for step in sorted(steps, key=lambda s: (s.start_ns, s.order)):
        if "planned_by" in step.facts:
            owners.setdefault(step.facts["planned_by"], step.facts.get("sent_by"))
    outermost: dict[Step, str | None] = {}
    followers: dict[Step, list[Step]] = {}
    for step in preorder([step for step in steps if step.parent is None]):
        above = step.parent
        planner = step.facts.get("planned_by")
        run_planner = outermost.get(above) if above is not None else None
        outermost[step] = run_planner or planner
        if above is None or planner is None or above.facts.get("planned_by") != planner:
            continue
        if planner == run_planner or step.facts.get("sent_by") != owners[planner]:
            followers.setdefault(above, []).append(step)
    for above, planned in followers.items():
        _unnest(above, planned)


def _unnest(above: Step, planned: list[Step]) -> None:
    moved = set(planned)
    above.children = [child for child in above.children if child not in moved]
    for step in planned:
        step.parent = above.parent
        if above.parent is not None:
            above.parent.children.append(step)
    first_end_ns = min(step.last_ns for step in planned)
    for step in planned:
        # One that started after another of them had ended may follow that one instead: the clock decides.
        if step.previous_attempt is None and (len(planned) == 1 or step.start_ns < first_end_ns):
            step.follows = [above, *_parallel_to(above, step)]


def _parallel_to(above: Step, step: Step) -> list[Step]:
    """The steps beside `above` that the plan runs with it: the last of them to end sent off `step` for all.

    Instances of one task, and steps that follow the same one as `above` does.
    """
    if above.parent is None:
        return []
    planner = above.facts.get("planned_by")
    return [
        other
        for other in above.parent.children
        if other is not above
        and other is not step
        and (other.name == above.name or (above.follows and other.follows[:1] == above.follows[:1]))
        and other.task_key != above.task_key
        and other.facts.get("planned_by") == planner
        and other.next_attempt is None
        and other.start_ns <= step.start_ns
    ]
