"""What an analysis is made of beyond the failure report, and analyses as they are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson

from spantree_api.analysis.rules import LastGood
from spantree_api.answers.analysis import AnalysisAnswer, SameCauseSummary
from spantree_api.diff import diff_answer
from spantree_api.filters import moment_of
from spantree_api.reader import Reader, TraceKey
from spantree_api.reads import failure_groups
from spantree_api.reads.diff import last_good, steps_of_both
from spantree_api.rendering import clock_of, effective_status, rfc3339
from spantree_api.stored_rows import ExecutionRow, TraceRow, records
from spantree_exporter.ids import node_id

# Executions of more nodes are not compared: an analysis reads both whole.
_COMPARED_NODES: Final = 5_000
_SAME_CAUSE_NS: Final = 30 * 86_400_000_000_000
_DAY_H: Final = 24


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A service, and the version of it that sent spans; several rows where several did."""

    service: str
    version: str | None


@dataclass(frozen=True, slots=True)
class StoredAnalysis:
    """An analysis as it was answered."""

    answer: dict[str, Any]


async def last_good_difference(reader: Reader, key: TraceKey, row: ExecutionRow) -> LastGood | None:
    """What is different from the last good run; None where there is none, or either is too large to compare."""
    good = await last_good(reader, row)
    if good is None or max(row.execution.total_count, good.execution.total_count) > _COMPARED_NODES:
        return None
    good_key = await reader.look_up(good.trace_id)
    nodes, good_nodes = await steps_of_both(reader, key, good_key)
    diff = diff_answer(
        row.trace_id.hex, nodes, _clock(row, reader), good.trace_id.hex, good_nodes, _clock(good, reader)
    )
    first_id = row.execution.first_failed_span_id
    matched = next(
        (step["b_id"] for step in diff["nodes"] if first_id is not None and step["a_id"] == _id_of(row)), None
    )
    by_id = {node_id(node.span_id, node.ordinal): node for node in good_nodes}
    versions = await _versions(reader, key, [row.execution.root_span_id, first_id])
    good_versions = await _versions(
        reader, good_key, [good.execution.root_span_id, None if matched is None else by_id[matched].span_id]
    )
    return LastGood(good.execution.started_ns, diff, versions, good_versions)


async def same_cause_elsewhere(reader: Reader, row: ExecutionRow) -> SameCauseSummary | None:
    """How often executions failed of the same cause in the last 30 days, by the figures; None where none is told."""
    fingerprint = row.execution.error_fingerprint
    if fingerprint is None:
        return None
    group = await failure_groups.group(reader, fingerprint)
    if group is None:
        started_at = rfc3339(row.execution.started_ns)
        return {"count": 0, "first_seen_at": started_at, "last_seen_at": started_at, "workflows": []}
    since_ns = reader.now_ns - _SAME_CAUSE_NS
    wanted = failure_groups.GroupFilter(since_ns, hidden=True)
    counts = await failure_groups.counts_of_groups(reader, [group], wanted, _DAY_H)
    in_range = row.execution.started_ns >= since_ns
    return {
        "count": max(0, sum(one.count for one in counts) - in_range),
        "first_seen_at": rfc3339(group.first_seen_ns),
        "last_seen_at": rfc3339(group.last_seen_ns),
        "workflows": sorted({one.workflow_name for one in counts if one.workflow_name}),
    }


async def stored_analysis(reader: Reader, row: ExecutionRow) -> AnalysisAnswer | None:
    """The stored analysis of an execution, and whether it is stale; None where there is none."""
    parameters = {"tenant_id": reader.config.tenant_id, "trace_id": row.trace_id}
    stored = await reader.snapshot.first("analysis_of_trace", parameters, records(StoredAnalysis))
    if stored is None:
        return None
    last_seen_at = rfc3339(row.execution.last_seen_ns)
    # Kept by an earlier version: all that is known of what it saw is that it was there before it was made.
    analysed = {"last_seen_at": min(stored.answer["created_at"], last_seen_at), **stored.answer}
    return cast(AnalysisAnswer, {**analysed, "stale": analysed["last_seen_at"] != last_seen_at})


async def store_analysis(writer: Reader, row: ExecutionRow, answer: AnalysisAnswer) -> None:
    """Keep `answer` instead of the one there was. The transaction has to write."""
    tokens = answer["tokens"]
    parameters = {
        "tenant_id": row.tenant_id,
        "trace_id": row.trace_id,
        "day": row.day,
        "created_at": moment_of(writer.now_ns),
        "model": answer["model"],
        "input_tokens": None if tokens is None else tokens["input"],
        "output_tokens": None if tokens is None else tokens["output"],
        "answer": orjson.dumps(answer).decode(),
    }
    await writer.snapshot.first("store_analysis", parameters, records(TraceRow))


async def _versions(reader: Reader, key: TraceKey, span_ids: Sequence[int | None]) -> Mapping[str, str | None]:
    parameters = {**key.parameters(), "span_ids": [span_id for span_id in span_ids if span_id is not None]}
    rows = await reader.snapshot.all("versions_of_spans", parameters, records(VersionRow))
    return {row.service: row.version for row in rows}


def _id_of(row: ExecutionRow) -> str:
    return node_id(row.execution.first_failed_span_id or 0, row.execution.first_failed_ordinal or 0)


def _clock(row: ExecutionRow, reader: Reader) -> int:
    status = effective_status(row.execution, reader.now_ns, reader.config.lost_after_s)
    return clock_of(row.execution, status, reader.now_ns)
