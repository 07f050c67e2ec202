"""Nodes of two executions -> what went differently. Pure: no database and no clock.

Steps are matched by their way from the root: by name, and by position where siblings share one. The attempts of a task
are one step; the two roots are matched whatever their names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from spantree_api.answers.diff import Change, DiffAnswer, Difference, DiffNode
from spantree_api.rendering import duration_ms
from spantree_api.stored_rows import StepRow
from spantree_exporter.ids import node_id

SEPARATOR = " > "
# A longer way is found by its beginning and its end: of a chain of 10,000 steps all of them would be gigabytes.
_PATH_CHARS = 600
_PATH_HEAD_CHARS = 200
# Below this, and below half as much again, a duration is noise.
_SLOWER_MS = 50.0
_SLOWER_FACTOR = 1.5

_WEIGHTY: frozenset[Difference] = frozenset({"status", "error", "attempts"})


@dataclass(slots=True)
class _Compared:
    """A step: the last attempt of its task, and how many there were."""

    node: StepRow
    attempts: int
    label: str
    # What it is matched by among its siblings: its name, and which of that name it is.
    place: tuple[str, int]
    children: list[_Compared] = field(default_factory=list)


def diff_answer(
    a: str, a_nodes: Sequence[StepRow], a_clock_ns: int, b: str, b_nodes: Sequence[StepRow], b_clock_ns: int
) -> DiffAnswer:
    """The steps of `a` and `b` in sequence order, in which they are given, each once.

    Those that only `b` has follow their siblings of `a`.
    """
    nodes: list[DiffNode] = []
    a_roots, b_roots = _steps(a_nodes), _steps(b_nodes)
    if len(a_roots) == len(b_roots) == 1:
        b_roots[0].label, b_roots[0].place = a_roots[0].label, a_roots[0].place
    open_: list[tuple[_Compared | None, _Compared | None, str, int]] = []
    open_ += reversed([(one, other, "", 0) for one, other in _matched(a_roots, b_roots)])
    while open_:
        one, other, prefix, depth = open_.pop()
        node = _diff_node(one, other, prefix, depth, a_clock_ns, b_clock_ns)
        nodes.append(node)
        below = _matched(one.children if one else [], other.children if other else [])
        open_ += reversed([(x, y, node["path"] + SEPARATOR, depth + 1) for x, y in below])
    first = _first_difference(nodes)
    return {
        "a": a,
        "b": b,
        "summary": {
            "added": sum(node["change"] == "added" for node in nodes),
            "removed": sum(node["change"] == "removed" for node in nodes),
            "changed": sum(node["change"] == "changed" for node in nodes),
            "same": sum(node["change"] == "same" for node in nodes),
        },
        "nodes": nodes,
        "first_difference": None
        if first is None
        else {"path": first["path"], "a_id": first["a_id"], "b_id": first["b_id"]},
    }


def _steps(nodes: Sequence[StepRow]) -> list[_Compared]:
    """The roots, with all that is below them."""
    steps: dict[tuple[int, int], _Compared] = {}
    tasks: dict[tuple[tuple[int, int] | None, str], _Compared] = {}
    roots: list[_Compared] = []
    every: list[_Compared] = []
    for node in nodes:
        key = (node.span_id, node.ordinal)
        above = None if node.parent_span_id is None else (node.parent_span_id, node.parent_ordinal or 0)
        siblings = steps[above].children if above in steps else roots
        task = None if node.task_key is None else tasks.get((above, node.task_key))
        if task is not None:
            # A further attempt stands for its task, and its children for those of the task.
            task.attempts += 1
            if node.attempt >= task.node.attempt:
                task.node, task.children = node, []
            steps[key] = task
            continue
        step = _Compared(node, 1, node.name, (node.name, 1))
        steps[key] = step
        every.append(step)
        siblings.append(step)
        if node.task_key is not None:
            tasks[above, node.task_key] = step
    for step in every:
        _number(step.children)
    _number(roots)
    return roots


def _number(siblings: Iterable[_Compared]) -> None:
    """Tell siblings of one name apart: `search`, `search #2`."""
    seen: defaultdict[str, int] = defaultdict(int)
    for step in siblings:
        seen[step.node.name] += 1
        number = seen[step.node.name]
        step.label = step.node.name if number == 1 else f"{step.node.name} #{number}"
        step.place = (step.node.name, number)


def _matched(ones: Sequence[_Compared], others: Sequence[_Compared]) -> list[tuple[_Compared | None, _Compared | None]]:
    by_place = {other.place: other for other in others}
    pairs: list[tuple[_Compared | None, _Compared | None]] = [(one, by_place.pop(one.place, None)) for one in ones]
    return pairs + [(None, other) for other in others if other.place in by_place]


def _diff_node(
    one: _Compared | None, other: _Compared | None, prefix: str, depth: int, a_clock_ns: int, b_clock_ns: int
) -> DiffNode:
    step = one or other
    assert step is not None  # noqa: S101  _matched pairs nothing with nothing
    a_ms, b_ms = _duration(one, a_clock_ns), _duration(other, b_clock_ns)
    slower_or_faster = a_ms is not None and b_ms is not None and _is_other_duration(a_ms, b_ms)
    inputs_differ = one is not None and other is not None and one.node.input_hash != other.node.input_hash
    differing: list[Difference] = []
    if one is not None and other is not None:
        compared: tuple[tuple[Difference, bool], ...] = (
            ("status", one.node.status != other.node.status),
            ("error", one.node.error_type != other.node.error_type),
            ("attempts", one.attempts != other.attempts),
            ("duration", slower_or_faster),
            ("input", inputs_differ),
        )
        differing = [what for what, differs in compared if differs]
    change: Change = "added" if one is None else "removed" if other is None else "changed" if differing else "same"
    return {
        "path": _cut(prefix + step.label),
        "name": _cut(step.label),
        "depth": depth,
        "a_id": None if one is None else node_id(one.node.span_id, one.node.ordinal),
        "b_id": None if other is None else node_id(other.node.span_id, other.node.ordinal),
        "change": change,
        "differs": differing,
        "status": [one.node.status if one else None, other.node.status if other else None],
        "duration_ms": [a_ms, b_ms],
        "attempts": [one.attempts if one else None, other.attempts if other else None],
        "error_type": [one.node.error_type if one else None, other.node.error_type if other else None],
        "slower_or_faster": slower_or_faster,
        "inputs_differ": inputs_differ,
    }


def _first_difference(nodes: Sequence[DiffNode]) -> DiffNode | None:
    """The innermost step that differs, the first of them in sequence.

    A mere duration counts only where nothing else differs, and a mere input only where no duration does: two runs
    seldom have the same. Innermost, because a failure changes every step above it.
    """
    for enough in (_WEIGHTY, _WEIGHTY | {"duration"}, _WEIGHTY | {"duration", "input"}):
        differing = [
            at
            for at, node in enumerate(nodes)
            if node["change"] in ("added", "removed") or not enough.isdisjoint(node["differs"])
        ]
        for nth, at in enumerate(differing):
            # What is below a step follows it at once, and is deeper.
            following = differing[nth + 1] if nth + 1 < len(differing) else None
            node = nodes[at]
            is_below = following is not None and all(
                below["depth"] > node["depth"] for below in nodes[at + 1 : following + 1]
            )
            if not is_below or node["change"] in ("added", "removed"):
                return node
    return None


def _cut(path: str) -> str:
    if len(path) <= _PATH_CHARS:
        return path
    return f"{path[:_PATH_HEAD_CHARS]} … {path[-(_PATH_CHARS - _PATH_HEAD_CHARS - 3) :]}"


def _duration(step: _Compared | None, clock_ns: int) -> float | None:
    return None if step is None else duration_ms(step.node.started_ns, step.node.ended_ns, clock_ns)


def _is_other_duration(a_ms: float, b_ms: float) -> bool:
    low, high = sorted((a_ms, b_ms))
    return high - low >= _SLOWER_MS and high >= low * _SLOWER_FACTOR
