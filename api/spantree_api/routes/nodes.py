"""The nodes of one execution, one node whole, and why the execution failed."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from spantree_api.answers.executions import NodePage
from spantree_api.answers.failures import FailureReport
from spantree_api.cursor import SequenceCursor
from spantree_api.elsewhere import LinkedNodeDetail, elsewhere
from spantree_api.http.params import CursorQuery, LimitQuery, NodeIdPath, TraceIdPath, node_key_of, trace_id_of
from spantree_api.http.responses import error_answers, json_answer
from spantree_api.node_detail import node_detail
from spantree_api.reader import WHOLE, Reader
from spantree_api.reads import failure
from spantree_api.rendering import clock_of, effective_status
from spantree_api.routes.api_router import api_router
from spantree_api.routes.executions import page_of_nodes, page_range
from spantree_api.service import ServiceOf
from spantree_api.stored_rows import ExecutionRow
from spantree_api.tree import node_answer
from spantree_exporter.ids import span_id_to_hex

router = api_router("executions")
# Executions of the same cause that are named.
_SAME_CAUSE_NAMED = 10


@router.get("/executions/{trace_id}/nodes", response_model=NodePage, responses=error_answers(404, 422, 503))
async def list_nodes(
    service: ServiceOf, trace_id: TraceIdPath, limit: LimitQuery = 50, cursor: CursorQuery = None
) -> Response:
    """Nodes in sequence order: depth first, siblings by start."""
    after = None if cursor is None else SequenceCursor.decode(cursor)
    wanted = trace_id_of(trace_id)
    async with service.reader(wanted) as reader:
        row, _, found = await reader.execution_and_page(reader.key(wanted), page_range(WHOLE, after), limit + 1)
    rows, following = page_of_nodes(found, limit)
    clock_ns = _clock_of(row, reader)
    page: NodePage = {"nodes": [node_answer(one.node, clock_ns) for one in rows], "next_cursor": following}
    return json_answer(page)


@router.get(
    "/executions/{trace_id}/nodes/{node_id}", response_model=LinkedNodeDetail, responses=error_answers(404, 422, 503)
)
async def get_node(service: ServiceOf, trace_id: TraceIdPath, node_id: NodeIdPath) -> Response:
    """One node with its whole input and output and all that its span holds."""
    wanted = trace_id_of(trace_id)
    async with service.reader(wanted) as reader:
        key = reader.key(wanted)
        row = await reader.execution(key)
        node = await reader.node(key, *node_key_of(node_id))
        spans = await reader.spans_of(key, node)
    links = elsewhere(
        reader.config.jaeger_url, reader.config.grafana_url, wanted.hex, span_id_to_hex(node.node.span_id)
    )
    return json_answer({**node_detail(node, spans, _clock_of(row, reader)), **links})


@router.get("/executions/{trace_id}/failure", response_model=FailureReport, responses=error_answers(404, 422, 503))
async def get_failure(
    service: ServiceOf,
    trace_id: TraceIdPath,
    same_cause: Annotated[int, Query(ge=0, le=200, description="executions of the same cause to name")] = (
        _SAME_CAUSE_NAMED
    ),
) -> Response:
    """What failed first, how it went up to the root, what was retried, and what to do about it."""
    wanted = trace_id_of(trace_id)
    async with service.reader(wanted) as reader:
        key = reader.key(wanted)
        row = await reader.execution(key)
        answer, _, _ = await failure.report(reader, key, row, service.known_errors, same_cause)
    analyst = service.analyst
    told: FailureReport = {**answer, "analysis_model": None if analyst is None else analyst.name}
    return json_answer(told)


def _clock_of(row: ExecutionRow, reader: Reader) -> int:
    status = effective_status(row.execution, reader.now_ns, reader.config.lost_after_s)
    return clock_of(row.execution, status, reader.now_ns)
