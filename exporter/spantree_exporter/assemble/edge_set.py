"""The edges of a trace while they are found, and an index to find the steps that are meant by a name or a key."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from spantree_exporter.assemble.step import Step, first_attempt, is_above, last_attempt
from spantree_exporter.rows import Edge

DECLARED, LINK, INFERRED = "declared", "link", "inferred"


class StepIndex:
    """Steps by a name or key, to find the latest one before another without looking at all of them."""

    def __init__(self) -> None:
        self._all: dict[str, list[Step]] = {}
        self._beside: dict[tuple[str, Step | None], list[Step]] = {}

    def add(self, name: str, step: Step) -> None:
        """Add `step`; steps must be added in order of start."""
        self._all.setdefault(name, []).append(step)
        self._beside.setdefault((name, step.parent), []).append(step)

    def __contains__(self, name: str) -> bool:
        return name in self._all

    def named(self, name: str) -> list[Step]:
        """All steps of the name, in order of start."""
        return self._all.get(name, [])

    def latest_before(self, name: str, step: Step, beside: bool = False) -> Step | None:
        """The last of the name to have started before `step`: a sibling first, and nothing else if `beside`."""
        found = _latest(self._beside.get((name, step.parent), ()), step)
        if found is None and not beside:
            found = _latest(self._all.get(name, ()), step)
        return found


def _latest(by_start: Sequence[Step], step: Step) -> Step | None:
    place = bisect_right(by_start, step.start_ns, key=lambda s: s.start_ns)
    while place > 0:
        place -= 1
        if by_start[place] is not step:
            return by_start[place]
    return None


class EdgeSet:
    """Collects edges between steps; of two with the same ends and type the first stays, so the surest goes first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.thinned = False  # whether edges were left out because there are more than `limit`
        self._edges: dict[tuple[Step, Step, str], tuple[str | None, str]] = {}
        self._pairs: set[tuple[Step, Step]] = set()
        self._sources: dict[Step, list[Step]] = {}
        self._targets: dict[Step, list[Step]] = {}
        self.abroad: list[Edge] = []

    def add(
        self,
        start: Step,
        end: Step,
        kind: str,
        provenance: str,
        condition: str | None = None,
        *,
        said_before: bool = False,
    ) -> None:
        """Add an edge, unless it would lead from a step to itself or its own ancestor or descendant.

        Only a handoff may lead downwards: some agents run those that they hand over to within themselves.
        `said_before`: another edge says the same, so that this one makes nothing parallel or a join.
        """
        if start is end or (start, end) in self._pairs or is_above(end, start):
            return
        if kind != "handoff" and is_above(start, end):
            return
        if len(self._pairs) >= self._limit:
            self.thinned = True
            return
        self._pairs.add((start, end))
        self._edges[start, end, kind] = (condition, provenance)
        if kind not in {"retry", "resume"} and not said_before:
            self._sources.setdefault(end, []).append(start)
            self._targets.setdefault(start, []).append(end)

    def has_into(self, step: Step) -> bool:
        """Whether something already leads to `step`, retries aside."""
        return step in self._sources

    def leads(self, start: Step, end: Step) -> bool:
        """Whether an edge leads from the task of `start` to that of `end`."""
        return (last_attempt(start), first_attempt(end)) in self._pairs

    def sources_of(self, step: Step) -> list[Step]:
        """The steps that lead to `step`, retries aside, in the order their edges were found."""
        return list(self._sources.get(step, ()))

    def targets_of(self, step: Step) -> list[Step]:
        """The steps that `step` leads to, retries aside, in the order their edges were found."""
        return list(self._targets.get(step, ()))

    def rows(self) -> list[Edge]:
        """The rows, sorted by their key. A plain flow edge is a join, parallel or sequential by its company."""
        rows = {_key(edge): edge for edge in reversed(self.abroad)}
        joined = {end for end, sources in self._sources.items() if _places(sources) > 1}
        forked = {start for start, targets in self._targets.items() if _places(targets) > 1}
        for (start, end, kind), (condition, provenance) in self._edges.items():
            shown = kind
            if kind == "flow":
                if end in joined:
                    shown = "join"
                elif start in forked:
                    shown = "parallel"
                else:
                    shown = "sequential"
            row = Edge(start.span_id, start.ordinal, end.span_id, end.ordinal, shown, condition, provenance)
            rows[_key(row)] = row
        return [rows[key] for key in sorted(rows)]


def _places(steps: list[Step]) -> int:
    """How many places in the engine's graph the steps have."""
    return 1 if len(steps) == 1 else len({place_of(first_attempt(step)) for step in steps})


def _key(edge: Edge) -> tuple[int, int, int, int, str]:
    return edge.from_span_id, edge.from_ordinal, edge.to_span_id, edge.to_ordinal, edge.type


def place_of(step: Step) -> object:
    """The place of the step in its engine's graph: that of its task where it is one of several instances of it."""
    return (step.parent, step.name) if step.facts.get("mapped") else step
