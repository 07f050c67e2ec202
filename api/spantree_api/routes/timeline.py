"""What a timeline of any size is drawn from."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from spantree_api.answers.flame import FlameAnswer
from spantree_api.answers.timeline import FoldedAnswer, TimelineAnswer, TimelineMatches, TimelineOverview
from spantree_api.errors import InvalidParameter, NotFound
from spantree_api.http.params import Text, TraceIdPath, trace_id_of
from spantree_api.http.responses import error_answers, json_answer
from spantree_api.reads import timeline
from spantree_api.rendering import clock_of, effective_status
from spantree_api.routes.api_router import api_router
from spantree_api.service import ServiceOf
from spantree_api.timeline.columns import band_columns, columns_of, folded_columns, group_columns
from spantree_api.timeline.find import MalformedFind, find_of
from spantree_api.timeline.groups import groups_of
from spantree_exporter.ids import node_id
from spantree_exporter.statuses import RUNNING

router = api_router("executions")
_SEQUENCE_MAX = (1 << 31) - 1
_MATCHES_MAX = 2_000
_FOLDED_MAX = 5_000
# Bands of an overview: as many as a strip of a picture has lines.
_BANDS = 160
# Nodes that a flame graph is made of.
_FLAME_NODES = 100_000


@router.get("/executions/{trace_id}/timeline", response_model=TimelineAnswer, responses=error_answers(404, 422, 503))
async def get_timeline(
    service: ServiceOf,
    trace_id: TraceIdPath,
    first: Annotated[int, Query(ge=1, le=_SEQUENCE_MAX, description="sequence number to begin with")] = 1,
    limit: Annotated[int, Query(ge=1, le=5_000, description="nodes at most")] = 5_000,
) -> Response:
    """Nodes in sequence order as columns: what is drawn of them, where subtrees end, what belongs together."""
    wanted = trace_id_of(trace_id)
    async with service.reader(wanted) as reader:
        key = reader.key(wanted)
        row = await reader.execution(key)
        rows, ends_after = await timeline.nodes_from(reader, key, first, limit)
    execution = row.execution
    status = effective_status(execution, reader.now_ns, reader.config.lost_after_s)
    columns, texts = columns_of(rows, execution.started_ns, ends_after)
    is_whole = first == 1 and len(rows) == execution.total_count
    groups = group_columns(groups_of(rows) if is_whole else [], texts)
    has_ended = execution.ended_ns is not None and status not in RUNNING
    answer: TimelineAnswer = {
        "execution_id": row.trace_id.hex,
        "status": status,
        "started_ns": execution.started_ns,
        "ended_ns": execution.ended_ns
        if has_ended and execution.ended_ns is not None
        else clock_of(execution, status, reader.now_ns),
        "total": execution.total_count,
        "first": rows[0].sequence if rows else first,
        "names": texts.names.texts,
        "kinds": texts.kinds.texts,
        "statuses": texts.statuses.texts,
        "services": texts.services.texts,
        "errors": texts.errors.texts,
        "nodes": columns,
        "groups": groups,
    }
    return json_answer(answer)


@router.get(
    "/executions/{trace_id}/timeline/overview", response_model=TimelineOverview, responses=error_answers(404, 422, 503)
)
async def get_overview(service: ServiceOf, trace_id: TraceIdPath) -> Response:
    """When all nodes ran, however many there are: 160 bands of neighbours at most."""
    wanted = trace_id_of(trace_id)
    async with service.reader(wanted) as reader:
        key = reader.key(wanted)
        row = await reader.execution(key)
        size = max(1, -(-row.execution.total_count // _BANDS))
        rows = await timeline.bands(reader, key, size)
    answer: TimelineOverview = {
        "execution_id": row.trace_id.hex,
        "total": row.execution.total_count,
        "size": size,
        "bands": band_columns(rows, size, row.execution.started_ns),
    }
    return json_answer(answer)


@router.get("/executions/{trace_id}/flame", response_model=FlameAnswer, responses=error_answers(404, 422, 503))
async def get_flame(
    service: ServiceOf,
    trace_id: TraceIdPath,
    at: Annotated[Text, Query(max_length=4_000, description="only this frame: the `at` of one that was answered")] = "",
) -> Response:
    """A flame graph of the first 100,000 nodes: what took the time, by name below name."""
    wanted = trace_id_of(trace_id)
    async with service.reader(wanted) as reader:
        key = reader.key(wanted)
        row = await reader.execution(key)
        graph = await timeline.flame_graph(reader, key, _FLAME_NODES)
    drawn = graph.drawn(at)
    if drawn is None:
        raise NotFound(f"no frame {at[:80]!r} in the flame graph of execution {row.trace_id.hex}", {"at": at[:200]})
    answer: FlameAnswer = {
        "execution_id": row.trace_id.hex,
        "status": effective_status(row.execution, reader.now_ns, reader.config.lost_after_s),
        "path": drawn.path,
        "total_ms": drawn.total_ns / 1e6,
        "nodes": graph.nodes,
        "truncated": graph.nodes < row.execution.total_count,
        "frames": drawn.frames,
        "left_out": drawn.left_out,
    }
    return json_answer(answer)


@router.get(
    "/executions/{trace_id}/timeline/matches", response_model=TimelineMatches, responses=error_answers(404, 422, 503)
)
async def get_matches(
    service: ServiceOf,
    trace_id: TraceIdPath,
    q: Annotated[
        Text | None,
        Query(
            min_length=1,
            max_length=400,
            description="text in name, error type or error message; `status:`, `kind:`, `service:` of a node, `text:` "
            "anywhere in it, `key:value` of an attribute of its span, each with `-` in front for those that are not so",
        ),
    ] = None,
    failed: Annotated[bool, Query(description="only nodes that failed, timed out or were retried")] = False,
) -> Response:
    """Sequence numbers of the nodes that match, 2,000 at most."""
    wanted = trace_id_of(trace_id)
    try:
        find = find_of(q)
    except MalformedFind as error:
        raise InvalidParameter("q", str(error)) from error
    async with service.reader(wanted) as reader:
        rows = await timeline.matching(reader, reader.key(wanted), find, _MATCHES_MAX + 1, failed=failed)
    shown = rows[:_MATCHES_MAX]
    answer: TimelineMatches = {
        "sequences": [row.sequence for row in shown],
        "ids": [node_id(row.span_id, row.ordinal) for row in shown],
        "truncated": len(rows) > _MATCHES_MAX,
    }
    return json_answer(answer)


@router.get(
    "/executions/{trace_id}/timeline/folded", response_model=FoldedAnswer, responses=error_answers(404, 422, 503)
)
async def get_folded(
    service: ServiceOf,
    trace_id: TraceIdPath,
    first: Annotated[int, Query(ge=1, le=_SEQUENCE_MAX, description="sequence number of a node to begin with")] = 1,
) -> Response:
    """The spans that belong to nodes and are none of their own (middleware, checks, transport), 5,000 at most."""
    wanted = trace_id_of(trace_id)
    async with service.reader(wanted) as reader:
        key = reader.key(wanted)
        row = await reader.execution(key)
        rows = await timeline.folded_into(reader, key, first, _FOLDED_MAX + 1)
    columns, names, scopes = folded_columns(rows[:_FOLDED_MAX], row.execution.started_ns)
    answer: FoldedAnswer = {
        "execution_id": row.trace_id.hex,
        "names": names.texts,
        "scopes": scopes.texts,
        "spans": columns,
        "truncated": len(rows) > _FOLDED_MAX,
    }
    return json_answer(answer)
