"""Steps sent off by the one before them in a plan that somebody else laid out: they follow it, though nested below it.

A queue hands on the trace context, so that the next task of a chain hangs below the one before, just as a task that the
one before called itself. What differs is whose plan it is: a called task is its caller's.
"""

from __future__ import annotations

from spantree_exporter.assemble.step import Step, first_attempt, preorder


def unnest_planned(steps: list[Step]) -> None:
    """Move steps that follow the step above them beside it, and note what they follow."""
    if not any("planned_by" in step.facts for step in steps):
        return
    ordered = preorder([step for step in steps if step.parent is None])
    followers = _followers(ordered)
    if not followers:
        return
    # Who stands beside whom in a plan: what follows one step, or the first steps of a plan by their task.
    follow = {step for planned in followers.values() for step in planned}
    mates: dict[object, list[Step]] = {}
    places: dict[Step, object] = {}
    for above, planned in followers.items():
        for step in planned:
            places[step] = above
            mates.setdefault(above, []).append(step)
    for step in ordered:
        if "planned_by" in step.facts and step not in follow:
            places[step] = (step.parent, step.name, step.facts["planned_by"])
            mates.setdefault(places[step], []).append(step)
    # Of each place the task that alone is followed; where others are followed too, each has a chain of its own.
    only_followed: dict[object, str | None] = {}
    for above in followers:
        task = above.facts.get("task_key")
        place = places[above]
        only_followed[place] = task if only_followed.get(place, task) == task else None
    for above, planned in followers.items():
        _move_beside(above, planned)
        sources = [above, *_parallel_to(above, places[above], mates, followers, only_followed)]
        first_end_ns = min(step.last_ns for step in planned)
        for step in planned:
            # One that was sent after another of them had ended may follow that one instead: the clock decides.
            if step.previous_attempt is None and (len(planned) == 1 or step.ready_ns < first_end_ns):
                step.follows = sources


def _followers(ordered: list[Step]) -> dict[Step, list[Step]]:
    """The steps that follow each step, which is their parent; `ordered` has parents first."""
    # Whoever sent the first step of a plan laid the plan out, and sends what it calls itself in person as well.
    owners: dict[str, str | None] = {}
    for step in sorted(ordered, key=lambda s: (s.start_ns, s.order)):
        if "planned_by" in step.facts:
            owners.setdefault(step.facts["planned_by"], step.facts.get("sent_by"))
    outermost: dict[Step, str | None] = {}
    followers: dict[Step, list[Step]] = {}
    for step in ordered:
        above = step.parent
        planner = step.facts.get("planned_by")
        run_planner = outermost.get(above) if above is not None else None
        outermost[step] = run_planner or planner
        if above is None or planner is None or above.facts.get("planned_by") != planner:
            continue
        if planner == run_planner or step.facts.get("sent_by") != owners[planner]:
            followers.setdefault(above, []).append(step)
    return followers


def _move_beside(above: Step, planned: list[Step]) -> None:
    moved = set(planned)
    above.children = [child for child in above.children if child not in moved]
    for step in planned:
        step.parent = above.parent
        if above.parent is not None:
            above.parent.children.append(step)


def _parallel_to(
    above: Step,
    place: object,
    mates: dict[object, list[Step]],
    followers: dict[Step, list[Step]],
    only_followed: dict[object, str | None],
) -> list[Step]:
    """The steps that the plan runs beside `above`, if it alone is followed: it was the last of them to end.

    What had ended before `above` was sent is not beside it: the body of a chord may be sent by what its parts follow.
    """
    if len(followers) > 1 and only_followed[place] is None:
        return []
    sent_ns = first_attempt(above).ready_ns
    return [
        step
        for step in mates[place]
        if step.facts.get("task_key") != above.facts.get("task_key")
        and step.next_attempt is None
        and step.last_ns > sent_ns
    ]
