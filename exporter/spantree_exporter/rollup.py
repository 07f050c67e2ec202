"""What executions and nodes add to, and take from, the figures in `rollup`: pure sums, made while rows are written.

A projection that puts rows there adds them, one that takes rows away subtracts them, in its own transaction, so that
the figures equal the rows at any moment (table rollup and what rollup_delta still holds together).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from math import ceil, isfinite, log
from operator import add, attrgetter
from typing import Any, Final, TypeAlias

import orjson

from spantree_exporter.rollup_names import FigureKey
from spantree_exporter.rows import MODEL_TOLD_ELSEWHERE, Assembled
from spantree_exporter.statuses import FAILED_EXECUTION, FAILED_NODE

HOUR_NS: Final = 3_600_000_000_000
_DAY_H: Final = 24
# Bucket b > 0 holds GAMMA^(b-1) < ns <= GAMMA^b, and is told as its middle, 2 GAMMA^b / (GAMMA + 1), which is at most
# (GAMMA - 1) / (GAMMA + 1) = 1.96 % off (DDSketch, https://arxiv.org/abs/1908.10693).
GAMMA: Final = 1.04
_PER_LOG: Final = 1 / log(GAMMA)
# Longest text of a rollup's key: its index takes 2,704 bytes.
KEY_LENGTH: Final = 100

# subject, hour, workflow_name, name, kind, role, hidden
_Key: TypeAlias = tuple[str, int, str, str, str, str, bool]
# hour of the execution, workflow_name, service, name, kind and name of what follows, type of the edge
_StepKey: TypeAlias = tuple[int, str, str, str, str, str, str]
# the same, and whether what follows failed
Step: TypeAlias = tuple[int, str, str, str, str, str, str, bool]

_STATUSES: Final = (
    "pending", "running", "waiting", "completed", "failed", "retried", "skipped", "cancelled", "timed_out", "partial"
)  # fmt: skip
_TOTAL: Final = 0
_STATUS: Final = {status: 1 + index for index, status in enumerate(_STATUSES)}
(
    _ENDED, _RETRIED_NODES, _LAST_STARTED, _LAST_FAILED, _DURATION, _INPUT_TOKENS, _OUTPUT_TOKENS, _COST, _HISTOGRAM
) = range(11, 20)  # fmt: skip
# Before JSON with whole numbers that orjson would read as doubles.
_LARGE: Final = b" "
# Fields of the keys of what `encoded` writes.
_KEY_FIELDS: Final = 7
_STEP_FIELDS: Final = 7

# The columns that figures are made of; statements that take rows away answer them in this order.
NODE_COLUMNS: Final = (
    "started_ns", "ended_ns", "name", "kind", "status", "workflow_name", "model", "input_tokens", "output_tokens",
    "cost_usd", "parent_span_id", "anomalies",
)  # fmt: skip
EXECUTION_COLUMNS: Final = (
    "started_ns", "ended_ns", "kind", "status", "workflow_name", "service", "project", "user_id", "hidden",
    "error_fingerprint", "error_category", "retried_count", "input_tokens", "output_tokens", "cost_usd", "calls",
)  # fmt: skip
_node_values: Final = attrgetter(*NODE_COLUMNS)
_execution_values: Final = attrgetter(*EXECUTION_COLUMNS)


class Rollup:
    """Sums by key. Merging and order of adding do not matter."""

    __slots__ = ("_steps", "_sums")

    def __init__(self) -> None:
        self._sums: dict[_Key, list[Any]] = {}
        self._steps: dict[_StepKey, tuple[int, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._sums or self._steps)

    def add(self, assembled: Assembled) -> None:
        """Add the rows of one trace."""
        self.add_executions([_execution_values(assembled.execution)], 1)
        self.add_nodes(map(_node_values, assembled.nodes), 1)
        self.add_steps(steps_of(assembled), 1)

    def add_nodes(self, nodes: Iterable[tuple[Any, ...]], sign: int) -> None:
        """Add (1) or subtract (-1) nodes, given as NODE_COLUMNS."""
        sums = self._sums
        for (
            started_ns, ended_ns, name, kind, status, workflow, model, input_tokens, output_tokens, cost_usd, parent,
            anomalies,
        ) in nodes:  # fmt: skip
            hour = started_ns // HOUR_NS
            workflow = _cut(workflow) if workflow else ""
            key = ("node", hour, workflow, _cut(name), kind, "" if parent is not None else "root", False)
            if (row := sums.get(key)) is None:
                row = sums[key] = _nothing()
            _count(row, sign, started_ns, ended_ns, status)
            if model is not None or input_tokens is not None or output_tokens is not None or cost_usd is not None:
                _spend(row, sign, input_tokens, output_tokens, cost_usd)
                if model is not None and MODEL_TOLD_ELSEWHERE not in anomalies:
                    row = self._row(("model", hour, workflow, _cut(model), kind, "", False))
                    _count(row, sign, started_ns, ended_ns, status)
                    _spend(row, sign, input_tokens, output_tokens, cost_usd)

    def add_executions(self, executions: Iterable[tuple[Any, ...]], sign: int) -> None:
        """Add (1) or subtract (-1) executions, given as EXECUTION_COLUMNS."""
        for (
            started_ns, ended_ns, kind, status, workflow, service, project, user, hidden, fingerprint, category,
            retried, input_tokens, output_tokens, cost_usd, calls,
        ) in executions:  # fmt: skip
            hour = started_ns // HOUR_NS
            workflow = _cut(workflow) if workflow else ""
            keys: list[_Key] = [
                ("workflow", hour, workflow, workflow, kind, "", hidden),
                ("service", hour, "", _cut(service), "", "", hidden),
            ]
            if project is not None:
                keys.append(("project", hour, workflow, _cut(project), "", "", hidden))
            if user is not None:
                keys.append(("user", hour, "", _cut(user), "", "", hidden))
            if status in FAILED_EXECUTION:
                keys.append(("error", hour, workflow, _cut(fingerprint or ""), _cut(category or ""), "", hidden))
            for key in keys:
                row = self._row(key)
                _count(row, sign, started_ns, ended_ns, status)
                _spend(row, sign, input_tokens, output_tokens, cost_usd)
                row[_RETRIED_NODES] += sign * retried
            if calls:
                self._add_calls(hour, calls, sign)

    def add_steps(self, steps: Iterable[Step], sign: int) -> None:
        """Add (1) or subtract (-1) one execution to each of `steps`."""
        for *step, failed in steps:
            self._add_step(tuple(step), sign, sign * failed)

    def merge(self, other: Rollup) -> None:
        """Add all that `other` holds, which is not to be used any more."""
        for key, row in other._sums.items():
            if (mine := self._sums.get(key)) is None:
                self._sums[key] = row
            else:
                _add(mine, row, row[_HISTOGRAM].items())
        for step, counts in other._steps.items():
            self._add_step(step, *counts)

    def days(self) -> set[int]:
        """UTC days since 1970 of which there are figures."""
        hours = {key[1] for key in self._sums} | {key[0] for key in self._steps}
        return {hour // _DAY_H for hour in hours}

    def leave_out(self, days: Collection[int]) -> None:
        """Take out the figures of these UTC days since 1970."""
        self._sums = {key: row for key, row in self._sums.items() if key[1] // _DAY_H not in days}
        self._steps = {key: counts for key, counts in self._steps.items() if key[0] // _DAY_H not in days}

    def key_counts(self) -> Counter[tuple[str, int]]:
        """How many keys there are of each subject and hour."""
        counts = Counter((key[0], key[1]) for key in self._sums)
        counts.update(("edge", step[0]) for step in self._steps)
        return counts

    def keys_of(self, hours: Collection[tuple[str, int]]) -> dict[tuple[str, int], dict[FigureKey, int]]:
        """The keys of some subjects' hours, and the total of each."""
        found: dict[tuple[str, int], dict[FigureKey, int]] = {}
        if hours:
            for key, row in self._sums.items():
                if key[:2] in hours:
                    found.setdefault(key[:2], {})[_key_of_sum(key)] = row[_TOTAL]
            for step, (count, _) in self._steps.items():
                if ("edge", step[0]) in hours:
                    found.setdefault(("edge", step[0]), {})[_key_of_step(step)] = count
        return found

    def gather(self, places: Mapping[FigureKey, FigureKey]) -> None:
        """Count each of these keys under another one."""
        for key, (subject, hour, workflow, service, name, kind, target, role, hidden) in places.items():
            if subject == "edge":
                counts = self._steps.pop((hour, key[2], key[3], key[4], key[5], key[6], key[7]))
                self._add_step((hour, workflow, service, name, kind, target, role), *counts)
            else:
                row = self._sums.pop((subject, hour, key[2], key[4], key[5], key[7], hidden))
                mine = self._row((subject, hour, workflow, name, kind, role, hidden))
                _add(mine, row, row[_HISTOGRAM].items())

    def encoded(self) -> bytes:
        """JSON that `add_encoded` reads. Whole numbers of any size, cost as text."""
        sums = [
            [*key, *row[:_COST], str(row[_COST]), list(row[_HISTOGRAM]), list(row[_HISTOGRAM].values())]
            for key, row in self._sums.items()
        ]
        content = [sums, [[*step, *counts] for step, counts in self._steps.items() if any(counts)]]
        try:
            return orjson.dumps(content)
        except TypeError:  # beyond 64 bits: a few senders that give the largest numbers there are
            return _LARGE + json.dumps(content).encode()

    def add_encoded(self, changes: bytes) -> None:
        """Add what `encoded` wrote."""
        added, steps = json.loads(changes) if changes.startswith(_LARGE) else orjson.loads(changes)
        sums = self._sums
        for one in added:
            key = tuple(one[:_KEY_FIELDS])
            row = one[_KEY_FIELDS:]
            *_, cost, buckets, counts = row
            row[_COST] = 0 if cost == "0" else Decimal(cost)
            if (mine := sums.get(key)) is None:
                row[_HISTOGRAM:] = (dict(zip(buckets, counts, strict=True)),)
                sums[key] = row
            else:
                _add(mine, row, zip(buckets, counts, strict=True))
        for step in steps:
            self._add_step(tuple(step[:_STEP_FIELDS]), *step[_STEP_FIELDS:])

    def sums(self) -> Iterator[tuple[Any, ...]]:
        """Rows of figures that differ from nothing, in no order: subject, hour in ns, names, kind, role and hidden; the
        columns of `rollup` from total to cost_usd, in a list; buckets and counts of the histogram.
        """
        for (subject, hour, *key), row in self._sums.items():
            buckets = sorted([bucket for bucket, count in row[_HISTOGRAM].items() if count])
            if buckets or any(row[:_LAST_STARTED]) or any(row[_DURATION:_HISTOGRAM]):
                histogram = row[_HISTOGRAM]
                columns = row[:_HISTOGRAM]
                columns[_LAST_FAILED] = columns[_LAST_FAILED] or None
                yield subject, hour * HOUR_NS, *key, columns, buckets, [histogram[bucket] for bucket in buckets]

    def steps(self) -> Iterator[tuple[Any, ...]]:
        """Steps that differ from nothing, in no order: the hour in ns, workflow, service, name, kind and name of what
        follows, type of the edge; how many executions went it, and in how many of them what follows failed.
        """
        for (hour, *names), counts in self._steps.items():
            if any(counts):
                yield hour * HOUR_NS, *names, *counts

    def days_of_errors(self) -> set[int]:
        """UTC days since 1970 on which more executions failed of some error."""
        return {key[1] // _DAY_H for key, row in self._sums.items() if key[0] == "error" and row[_TOTAL] > 0}

    def _add_calls(self, hour: int, calls: Sequence[str], sign: int) -> None:
        """Add or subtract `Execution.calls`: how often the first of a pair of services called the second."""
        for caller, called, count in zip(calls[::3], calls[1::3], calls[2::3], strict=True):
            row = self._row(("call", hour, "", _cut(caller), _cut(called), "", False))
            row[_TOTAL] += sign * int(count)
            row[_LAST_STARTED] = max(row[_LAST_STARTED], hour * HOUR_NS)

    def _add_step(self, step: tuple[Any, ...], count: int, failures: int = 0) -> None:
        # Older versions, whose changes may still wait, did not count failures.
        held = self._steps.get(step)
        self._steps[step] = (count, failures) if held is None else (held[0] + count, held[1] + failures)

    def _row(self, key: _Key) -> list[Any]:
        if (row := self._sums.get(key)) is None:
            row = self._sums[key] = _nothing()
        return row


def steps_of(assembled: Assembled) -> set[Step]:
    """Which name followed which in an execution of a workflow; each pair once, however often it was gone.

    What follows failed where one of those times it did.
    """
    execution = assembled.execution
    if execution.workflow_name is None or not assembled.edges:
        return set()
    nodes = {(node.span_id, node.ordinal): node for node in assembled.nodes}
    hour, workflow, service = execution.started_ns // HOUR_NS, _cut(execution.workflow_name), _cut(execution.service)
    steps: dict[_StepKey, bool] = {}
    for edge in assembled.edges:
        if edge.from_trace_id is None:
            earlier = nodes.get((edge.from_span_id, edge.from_ordinal))
            later = nodes.get((edge.to_span_id, edge.to_ordinal))
            if earlier is not None and later is not None:
                step = (hour, workflow, service, _cut(earlier.name), later.kind, _cut(later.name), edge.type)
                steps[step] = steps.get(step, False) or later.status in FAILED_NODE
    return {(*step, failed) for step, failed in steps.items()}


def bucket_of(duration_ns: int) -> int:
    """The bucket of a duration; 0 for what took no time."""
    return ceil(log(duration_ns) * _PER_LOG) if duration_ns > 1 else 0


def quantile_ns(buckets: list[int], counts: list[int], quantile: float) -> float | None:
    """The duration that `quantile` (0 to 1) of those in the histogram do not exceed; None for an empty one."""
    wanted = max(1, ceil(sum(counts) * quantile))
    seen = 0
    for bucket, count in zip(buckets, counts, strict=True):
        seen += count
        if seen >= wanted:
            return 2 * GAMMA**bucket / (GAMMA + 1) if bucket > 0 else 0.0
    return None


def _key_of_sum(key: _Key) -> FigureKey:
    subject, hour, workflow, name, kind, role, hidden = key
    return subject, hour, workflow, "", name, kind, "", role, hidden


def _key_of_step(step: _StepKey) -> FigureKey:
    hour, workflow, service, name, kind, target, edge_type = step
    return "edge", hour, workflow, service, name, kind, target, edge_type, False


def _cut(text: str) -> str:
    return text if len(text) <= KEY_LENGTH else text[:KEY_LENGTH]


def _nothing() -> list[Any]:
    return [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {}]


def _add(row: list[Any], other: list[Any], histogram: Iterable[tuple[int, int]]) -> None:
    row[:_LAST_STARTED] = map(add, row[:_LAST_STARTED], other[:_LAST_STARTED])
    row[_DURATION:_HISTOGRAM] = map(add, row[_DURATION:_HISTOGRAM], other[_DURATION:_HISTOGRAM])
    # The other two are the latest of something.
    row[_LAST_STARTED] = max(row[_LAST_STARTED], other[_LAST_STARTED])
    row[_LAST_FAILED] = max(row[_LAST_FAILED], other[_LAST_FAILED])
    held = row[_HISTOGRAM]
    for bucket, count in histogram:
        held[bucket] = held.get(bucket, 0) + count


def _count(row: list[Any], sign: int, started_ns: int, ended_ns: int | None, status: str) -> None:
    row[_TOTAL] += sign
    row[_STATUS[status]] += sign
    if started_ns > row[_LAST_STARTED]:
        row[_LAST_STARTED] = started_ns
    if status in FAILED_NODE and started_ns > row[_LAST_FAILED]:
        row[_LAST_FAILED] = started_ns
    # What was skipped took no time, and says nothing of how long it takes.
    if ended_ns is not None and status != "skipped":
        duration_ns = ended_ns - started_ns
        row[_ENDED] += sign
        row[_DURATION] += sign * duration_ns
        bucket = ceil(log(duration_ns) * _PER_LOG) if duration_ns > 1 else 0
        histogram = row[_HISTOGRAM]
        histogram[bucket] = histogram.get(bucket, 0) + sign


def _spend(
    row: list[Any], sign: int, input_tokens: int | None, output_tokens: int | None, cost_usd: float | None
) -> None:
    if input_tokens:
        row[_INPUT_TOKENS] += sign * input_tokens
    if output_tokens:
        row[_OUTPUT_TOKENS] += sign * output_tokens
    if cost_usd and isfinite(cost_usd):
        # As it is written, so that what is subtracted later is what was added.
        row[_COST] += sign * Decimal(repr(cost_usd))
