"""Whose child each span is: by its parent id, by a link that says so, below what is left where the parent never came.

parent id known               below that span; of several with the id, the one that was open then
a `child_of` link             below what it leads to
parent never came             below the span around it in time that has none to come (`parent_missing`)
a model's call that was over  beside that call, unless the call asked for it (`parent_inferred`)
all parents have yet to come  a root; whether its run goes on is `run_status`'s to say
"""

from __future__ import annotations

from bisect import bisect_right

from spantree_exporter.assemble.open_ended import speaks_of_run
from spantree_exporter.assemble.step import Step
from spantree_exporter.facts.vocabulary import MODEL_CALLS, Facts
from spantree_exporter.span import KIND_CLIENT, KIND_CONSUMER, KIND_PRODUCER, KIND_SERVER

PARENT_MISSING = "parent_missing"
PARENT_INFERRED = "parent_inferred"
# The side of a call or a message that another process asked: its parent may be in a process that sends no spans here.
_ENTRIES = frozenset({KIND_SERVER, KIND_CONSUMER})
_SENDERS = frozenset({KIND_CLIENT, KIND_PRODUCER})
# What is no part of a model's call: its tools may be told below it after its end, and so may what judges its answer.
_NEVER_OF_A_CALL = MODEL_CALLS | {"agent", "chain", "step", "task", "turn", "workflow"}
# Of several spans that could be meant only these many that started last are looked at: keeps the search linear.
_LOOKED_AT = 32


class SpanIndex:
    """Steps by the id of their spans. Most ids have one step; some engines and Zipkin use one for several."""

    def __init__(self) -> None:
        self._first: dict[int, Step] = {}
        self._several: dict[int, list[Step]] = {}
        self._clients: dict[int, Step] = {}
        self._by_service: dict[tuple[int, str], list[Step]] = {}

    def add(self, step: Step) -> None:
        """Add `step`; steps must be added in canonical order."""
        span_id = step.span_id
        first = self._first.setdefault(span_id, step)
        if first is step:
            return
        twins = self._several.setdefault(span_id, [first])
        if len(twins) == 1:
            self._add_twin(first)
        twins.append(step)
        self._add_twin(step)

    def _add_twin(self, step: Step) -> None:
        self._by_service.setdefault((step.span_id, step.service), []).append(step)
        if step.span is not None and step.span.kind == KIND_CLIENT:
            self._clients.setdefault(step.span_id, step)

    def first(self, span_id: int) -> Step | None:
        """The first step of the id."""
        return self._first.get(span_id)

    def client_of_shared(self, step: Step) -> Step | None:
        """The client's side of the call whose server side `step` is, where both share an id (Zipkin)."""
        if step.span_id not in self._several or step.span is None or step.span.kind != KIND_SERVER:
            return None
        return self._clients.get(step.span_id)

    def parent_of(self, child: Step, span_id: int) -> Step | None:
        """The step that `child` means by the id: of several the one in its service that was open when it started."""
        if span_id not in self._several:
            return self._first.get(span_id)
        own_service = self._by_service.get((span_id, child.service))
        if own_service is not None and own_service != [child]:
            return _open_at_start(own_service, child)
        return _open_at_start(self._several[span_id], child)


def _open_at_start(by_start: list[Step], child: Step) -> Step:
    """The last of `by_start` that was open when `child` started, else the last before it, else the first."""
    place = bisect_right(by_start, child.start_ns, key=lambda s: s.start_ns)
    latest: Step | None = None
    for other in reversed(by_start[max(0, place - _LOOKED_AT) : place]):
        if other is child:
            continue
        if other.end_ns is None or child.start_ns <= other.end_ns:
            return other
        latest = latest or other
    if latest is not None:
        return latest
    return by_start[0] if by_start[0] is not child or len(by_start) == 1 else by_start[1]


def parent_id_of(step: Step) -> int | None:
    """The id of the parent that the span of `step` names, by its parent id or by a link."""
    span = step.span
    if span is None:
        return None
    if span.parent_span_id is None and "link_types" in step.facts:
        for span_id, kind in step.facts["link_types"].items():
            if kind == "child_of" and len(span_id) == 16:
                return int.from_bytes(bytes.fromhex(span_id), "big", signed=True)
    return span.parent_span_id


def find(steps: list[Step], parent_ids: list[int | None], index: SpanIndex, below_calls: list[Step]) -> list[Step]:
    """Give each step its parent; returns the entries (servers, consumers) below what sent for them.

    `parent_ids` belong to `steps` by index. Steps may be added that stand for runs whose spans have not come. Those
    below a call of a model are added to `below_calls`, in canonical order.
    """
    entries: list[Step] = []
    outermost: list[Step] = []
    orphans: list[tuple[Step, int]] = []
    for step, parent_id in zip(steps, parent_ids, strict=True):
        shared = index.client_of_shared(step)
        if shared is not None:
            step.parent = shared
        elif parent_id is None:
            outermost.append(step)
            continue
        else:
            parent = index.parent_of(step, parent_id)
            if parent is None:
                orphans.append((step, parent_id))
                continue
            step.parent = parent
        if step.parent.kind in MODEL_CALLS:
            below_calls.append(step)
        span, above = step.span, step.parent.span
        if span is not None and span.kind in _ENTRIES and above is not None and above.kind in _SENDERS:
            entries.append(step)
            if above.kind == KIND_PRODUCER:
                step.message = above.span_id
    if orphans:
        left = _stand_in_for_runs(steps, orphans, outermost)
        if left:
            _adopt(left, outermost)
    return entries


def _stand_in_for_runs(steps: list[Step], orphans: list[tuple[Step, int]], outermost: list[Step]) -> list[Step]:
    """Put a step in the place of each run whose span has not come while steps below it say which run it is.

    Engines that export a run when it has ended, or died before they could. Returns the orphans that are left; where
    the run has come, what has not is a step of it.
    """
    came = {_run_of(step) for step in steps if step.facts.get("boundary") == "run"}
    below: dict[int, list[Step]] = {}
    for step, parent_id in orphans:
        below.setdefault(parent_id, []).append(step)
    left: list[Step] = []
    for parent_id, children in below.items():
        named = next(
            (s for s in children if s.facts.get("step") and "workflow_name" in s.facts and "run_id" in s.facts), None
        )
        if named is None or _run_of(named) in came:
            left += children
            continue
        facts: Facts = {
            "boundary": "run",
            "kind": "workflow",
            "workflow_name": named.facts["workflow_name"],
            "run_id": named.facts["run_id"],
        }
        start_ns = min(step.start_ns for step in children)
        name = named.facts["workflow_name"]
        run = Step(parent_id, None, facts, name, "workflow", start_ns, None, named.service, len(steps))
        steps.append(run)
        outermost.append(run)
        for step in children:
            step.parent = run
    left.sort(key=lambda s: s.order)
    return left


def _run_of(step: Step) -> tuple[str | None, str | None]:
    return step.facts.get("workflow_name"), step.facts.get("run_id")


def _adopt(orphans: list[Step], outermost: list[Step]) -> None:
    """Hang steps whose parent never came below the outermost step around them in time.

    Outermost is what has no parent; where nothing is, what another process asked for: that parent need never come.
    What nothing is around stays a root, and says that its parent is missing unless it is known to be elsewhere.
    """
    roots = [step for step in outermost if step.parent is None]
    if not roots:
        roots = [step for step in orphans if _parent_is_elsewhere(step)]
    roots.sort(key=lambda s: (s.start_ns, s.order))
    among_roots = set(roots)
    for step in orphans:
        if step in among_roots:
            continue
        place = bisect_right(roots, step.start_ns, key=lambda s: s.start_ns)
        around = _open_at_start(roots[max(0, place - _LOOKED_AT) : place], step) if place else None
        if around is not None:
            step.parent = around
            step.anomalies.append(PARENT_MISSING)
            if step.facts.get("fold") == "inner" and not speaks_of_run(step.facts):
                # It is seen from inside of a step that never came, and not of this one.
                step.facts = {**step.facts}
                del step.facts["fold"]
        elif not _parent_is_elsewhere(step):
            step.anomalies.append(PARENT_MISSING)


def _parent_is_elsewhere(step: Step) -> bool:
    """Whether the step's parent is in another process, which may send its spans to somebody else."""
    remote = step.facts.get("parent_remote")
    if remote is not None:
        return remote
    return step.span is not None and step.span.kind in _ENTRIES


def leave_ended_calls(below_calls: list[Step]) -> None:
    """Put beside a model's call what began after its end, in the same service, and is no part of it.

    Instrumentations that attach a call's span to the context and do not detach it (Traceloop's of LangChain) make all
    that follows a child of that call. A call without a duration tells no end. Parents must be free of cycles.
    """
    for step in below_calls:
        if step.kind not in _NEVER_OF_A_CALL:
            continue
        call = step.parent
        for _ in range(_LOOKED_AT):
            if call is None or not _is_over(call, step):
                break
            call = call.parent
        if call is not step.parent:
            step.parent = call
            step.anomalies.append(PARENT_INFERRED)


def _is_over(call: Step, step: Step) -> bool:
    """Whether `call`, a model's in the service of `step`, had ended when that began."""
    return (
        call.kind in MODEL_CALLS
        and call.end_ns is not None
        and call.start_ns < call.end_ns < step.start_ns
        and call.service == step.service
    )


def cut_cycles(steps: list[Step]) -> None:
    """Cut each cycle of parents above its earliest span, so that all of it hangs below that one."""
    settled: set[Step] = set()
    for step in steps:
        if step.parent is None or step.parent in settled:
            settled.add(step)
            continue
        path: list[Step] = []
        on_path: set[Step] = set()
        current: Step | None = step
        while current is not None and current not in settled and current not in on_path:
            path.append(current)
            on_path.add(current)
            current = current.parent
        if current is not None and current in on_path:
            cycle = path[path.index(current) :]
            first = min(cycle, key=lambda s: s.order)
            first.parent = None
            first.anomalies.append("parent_cycle")
        settled.update(path)
