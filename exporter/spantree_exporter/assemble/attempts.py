"""Which steps are attempts of one task (docs/conventions.md, "Attempts").

`_follows` decides. A step is a further attempt of one before it only by a sign: the engine's own id of the task, a
number that it declares, a link, a policy, or input equal to that of one that failed. Items of a loop, calls of a tool
with other arguments, messages of a batch share a name and no more: each is a task of its own. What was declared is told
as declared.
"""

from __future__ import annotations

from itertools import pairwise

from spantree_exporter.assemble.attempt_events import attempts_in_events
from spantree_exporter.assemble.step import Step, is_above, number_places
from spantree_exporter.span import KIND_CLIENT, KIND_CONSUMER, KIND_SERVER

UNSUCCESSFUL = frozenset({"failed", "timed_out", "retried", "cancelled"})
# Kinds that are asked for by somebody else: equal requests are no attempts of whoever answers them.
_NEVER_BY_INPUT = frozenset({"http_server", "turn", "handoff", "signal"})
# Of several tasks of one name that failed only these many latest are looked at.
_LOOKED_AT = 16
# How far above a message that was sent on its sender is looked for: the one sends what the other takes up.
_LOOKED_ABOVE = 4


class _Task:
    """The attempts of one task as far as they are found."""

    __slots__ = ("last", "members", "sure")

    def __init__(self, first: Step, sure: bool) -> None:
        self.members = [first]
        self.last = first
        self.sure = sure  # whether they share an id of the engine's, which no other task has


def number_attempts(roots_first: list[Step]) -> list[Step]:
    """Number the attempts of each task and link them; returns `roots_first` and those that only events told of.

    A failed attempt that has a later one becomes `retried`. Attempts nested in each other become siblings.
    """
    in_events = attempts_in_events([step for step in roots_first if "attempts" in step.facts])
    by_id: dict[tuple[object, ...], list[Step]] = {}
    by_place: dict[tuple[object, ...], list[Step]] = {}
    sent_on: list[Step] = []
    for step in roots_first:
        facts = step.facts
        if facts and "sent_on" in facts:
            sent_on.append(step)
        key = facts.get("task_id") or facts.get("task_key") if facts else None
        if key is None:
            if step.previous_attempt is None:
                by_place.setdefault((step.parent, step.name, step.kind), []).append(step)
            continue
        step.task_key = facts.get("task_key") or key
        # An id that is the step's in its workflow, and not this run's of it, is shared by the passes of a loop.
        shared = facts.get("task_scope") == "parent" and "task_id" not in facts
        if shared:
            by_place.setdefault((step.parent, step.name, step.kind, key), []).append(step)
        else:
            by_id.setdefault((key, step.name), []).append(step)
    tasks: list[_Task] = []
    if any(len(group) > 1 for group in by_id.values()):
        number_places(roots_first)
    for group in by_id.values():
        if len(group) > 1:
            tasks += _tasks_of(_in_order(group), sure=True)
        elif "attempt" in group[0].facts:
            _number(group[0], None)
    for group in by_place.values():
        if len(group) > 1:
            if any(step.status in UNSUCCESSFUL or "attempt" in step.facts for step in group):
                tasks += _tasks_of(sorted(group, key=_started), sure=False)
        elif "attempt" in group[0].facts:
            _number(group[0], None)
    if sent_on:
        number_places(roots_first)
        tasks += _tasks_sent_on(sorted(sent_on, key=_started), tasks)
    _link(tasks)
    return roots_first + in_events if in_events else roots_first


def _started(step: Step) -> tuple[int, int]:
    return step.start_ns, step.order


def _in_order(group: list[Step]) -> list[Step]:
    """By the number they declare, if each declares its own; else by start."""
    numbers = {step.facts.get("attempt") for step in group}
    if None not in numbers and len(numbers) == len(group):
        return sorted(group, key=lambda s: (s.facts["attempt"], *_started(s)))
    return sorted(group, key=_started)


def _tasks_of(group: list[Step], sure: bool) -> list[_Task]:
    """The tasks that the steps of one id, or of one name and place, are attempts of; numbers the attempts."""
    tasks: list[_Task] = []
    by_input: dict[str, _Task] = {}
    for step in group:
        before = _task_before(step, tasks, by_input)
        if before is None:
            before = _Task(step, sure)
            tasks.append(before)
            _number(step, None)
        else:
            _number(step, before.last)
            before.members.append(step)
            before.last = step
        given = _input_of(step)
        if given is not None:
            by_input[given] = before
    return [task for task in tasks if len(task.members) > 1]


def _tasks_sent_on(by_start: list[Step], tasks: list[_Task]) -> list[_Task]:
    """The tasks that begin with a consumer that failed and sent its message on to be tried again.

    Where that consumer ends a task of `tasks` already, what it sent on is a further attempt of that.
    """
    begun: list[_Task] = []
    ends = {task.last: task for task in tasks}
    taken = {step for task in tasks for step in task.members}
    for step in by_start:
        sender = _consumer_above(step)
        if sender is None or sender.status not in UNSUCCESSFUL or step in taken:
            continue
        task = ends.pop(sender, None)
        if task is None:
            if sender in taken:
                continue
            task = _Task(sender, sure=True)
            begun.append(task)
            taken.add(sender)
        _number(step, sender)
        task.members.append(step)
        task.last = step
        ends[step] = task
        taken.add(step)
    return begun


def _consumer_above(step: Step) -> Step | None:
    above = step.parent
    for _ in range(_LOOKED_ABOVE):
        if above is None or (above.span is not None and above.span.kind == KIND_CONSUMER):
            return above
        above = above.parent
    return None


def _task_before(step: Step, tasks: list[_Task], by_input: dict[str, _Task]) -> _Task | None:
    """The task that `step` is a further attempt of: one with equal input first, else the latest."""
    given = _input_of(step)
    if given is not None and given in by_input and _follows(by_input[given], step):
        return by_input[given]
    for task in reversed(tasks[-_LOOKED_AT:]):
        if _follows(task, step):
            return task
    return None


def _follows(task: _Task, step: Step) -> bool:
    """Whether `step` is a further attempt of `task`. This is the rule; all else here is bookkeeping."""
    last = task.last
    if last.last_ns > step.start_ns and not _is_nested(task, step):
        # Twins that overlap are no attempts of one another, whatever number the clocks or they themselves tell.
        return False
    if last.status == "waiting":
        # Taken up again.
        return task.sure
    declared = step.facts.get("attempt")
    if declared is not None and declared <= last.attempt:
        return False
    if task.sure:
        # One that never ended is over when the next begins.
        return last.status in UNSUCCESSFUL or last.end_ns is None or _declares_next(last, step)
    if last.status not in UNSUCCESSFUL:
        return False
    if declared is not None:
        return declared == last.attempt + 1 or _input_of(last) == _input_of(step)
    if "attempt" in last.facts and last.facts["attempt"] == last.facts.get("max_attempts"):
        return False
    around = step.parent
    if around is not None and _is_sent_again_by(around, step):
        return True
    before, after = _input_of(last), _input_of(step)
    if last.facts.get("status") == "retried" or last.facts.get("retry_expected") or _links_back(last, step):
        return True
    if before != after and before is not None and after is not None:
        return False
    if _has_policy(last) or _has_policy(step) or (around is not None and bool(around.facts.get("retry_policy"))):
        return True
    if before is None or before != after or step.kind in _NEVER_BY_INPUT:
        return False
    # Consumers of two services work on one message, each for itself.
    return last.service == step.service


def _is_sent_again_by(around: Step, step: Step) -> bool:
    """Whether `around` is one call, for which a library sent again what was not answered well.

    Servers below one span of a client (urllib3's `Retry`, the service config of gRPC, a proxy that is not traced), and
    requests below one call of a model (the clients of OpenAI and Anthropic).
    """
    if around.kind == "llm" and step.kind == "http_client":
        return True
    if step.span is None or around.span is None:
        return False
    return step.span.kind == KIND_SERVER and around.span.kind == KIND_CLIENT


def _declares_next(last: Step, step: Step) -> bool:
    declared = step.facts.get("attempt")
    return declared is not None and declared > last.attempt and "attempt" in last.facts


def _has_policy(step: Step) -> bool:
    facts = step.facts
    return bool(facts.get("retry_policy")) or facts.get("max_attempts", 1) > 1


def _links_back(last: Step, step: Step) -> bool:
    types = step.facts.get("link_types")
    if not types:
        return False
    return any(
        kind == "retry" and int.from_bytes(bytes.fromhex(span_id), "big", signed=True) == last.span_id
        for span_id, kind in types.items()
        if len(span_id) == 16
    )


def _input_of(step: Step) -> str | None:
    """What was worked on, where that is known: a digest, a preview, else the very message that was taken up."""
    facts = step.facts
    given = (facts.get("input_digest") or facts.get("input")) if facts else None
    return given if given is not None or step.message is None else f"message {step.message}"


def _number(step: Step, last: Step | None) -> None:
    """Give `step` the number that it declares, else the next; what waited and was taken up is no further attempt."""
    declared = step.facts.get("attempt")
    if declared is not None:
        step.attempt = max(declared, 1)
    elif last is not None:
        step.attempt = last.attempt + (0 if last.status == "waiting" else 1)
    # else: the first, or what its own events made it


def _is_nested(task: _Task, step: Step) -> bool:
    """Whether `step` ran within an attempt before it. Steps of one place never do, and have no places numbered."""
    return is_above(task.members[0], step) or is_above(task.last, step)


def _link(tasks: list[_Task]) -> None:
    """Chain the attempts of each task, and put those that ran in each other side by side."""
    moved: list[tuple[Step, Step]] = []
    for task in tasks:
        members = task.members
        for before, after in pairwise(members):
            # Attempts that events told of come before the span that told of them.
            head = after.first_of_task or after
            before.next_attempt = head
            head.previous_attempt = before
            if before.status in UNSUCCESSFUL:
                before.status = "retried"
            if after.parent is not members[0].parent and _is_nested(task, after):
                moved.append((after, members[0]))
    for task in tasks:
        step: Step | None = task.members[0].first_of_task or task.members[0]
        first, last = step, task.members[-1]
        while step is not None:
            step.first_of_task, step.last_of_task = first, last
            step = step.next_attempt
    if moved:
        _move_beside(moved)


def _move_beside(moved: list[tuple[Step, Step]]) -> None:
    leaving: dict[Step, set[Step]] = {}
    for step, _ in moved:
        if step.parent is not None:
            leaving.setdefault(step.parent, set()).add(step)
    for parent, gone in leaving.items():
        parent.children = [child for child in parent.children if child not in gone]
    for step, first in moved:
        step.parent = first.parent
        if first.parent is not None:
            # Out of order for now: `timing.number` sorts, once.
            first.parent.children.append(step)
