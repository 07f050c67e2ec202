"""Lists of executions, one execution, its tree."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from spantree_api.answers import ExecutionAnswer, ExecutionPage, TreeAnswer
from spantree_api.cursor import ExecutionCursor, SequenceCursor
from spantree_api.errors import InvalidParameter
from spantree_api.filters import ExecutionFilter
from spantree_api.hidden import count_hidden
from spantree_api.params import (
    CursorQuery,
    HiddenQuery,
    LimitQuery,
    MomentQuery,
    RootQuery,
    StatusFilter,
    Text,
    TraceIdPath,
    node_key_of,
    trace_id_of,
)
from spantree_api.reader import WHOLE, NodeRange, Reader, TraceKey
from spantree_api.responses import error_answers, json_answer, json_parts
from spantree_api.service import ServiceOf
from spantree_api.stored_rows import ExecutionRow, NodeRow
from spantree_api.told import clock_of, counts_of, execution_answer, ns_of
from spantree_api.tree import edge_answer, node_answer, outline_of
from spantree_api.tree_json import TreeWriter
from spantree_exporter.ids import node_id

router = APIRouter(tags=["executions"])
_NS_PER_MS = 1_000_000


@router.get("/executions", response_model=ExecutionPage, responses=error_answers(422, 503))
async def list_executions(
    service: ServiceOf,
    status: Annotated[list[StatusFilter] | None, Query(description="may be given more than once")] = None,
    workflow: Annotated[Text | None, Query()] = None,
    service_name: Annotated[Text | None, Query(alias="service", description="a service that took part")] = None,
    conversation_id: Annotated[Text | None, Query()] = None,
    user_id: Annotated[Text | None, Query()] = None,
    run_id: Annotated[Text | None, Query()] = None,
    kind: Annotated[
        Text | None, Query(description="workflow, agent, request ...; `request` lists hidden ones too")
    ] = None,
    since: MomentQuery = None,
    until: MomentQuery = None,
    min_duration_ms: Annotated[float | None, Query(ge=0, le=1e12, allow_inf_nan=False)] = None,
    max_duration_ms: Annotated[float | None, Query(ge=0, le=1e12, allow_inf_nan=False)] = None,
    error_category: Annotated[Text | None, Query()] = None,
    q: Annotated[
        Text | None,
        Query(
            min_length=1,
            max_length=500,
            description="text in names and errors of executions and their nodes, or `key:value` of a span attribute",
        ),
    ] = None,
    hidden: HiddenQuery = False,
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> Response:
    """Executions, newest first."""
    wanted = ExecutionFilter(
        statuses=None if status is None else tuple(status),
        workflow=workflow,
        service=service_name,
        conversation_id=conversation_id,
        user_id=user_id,
        run_id=run_id,
        kind=kind,
        since_ns=None if since is None else ns_of(since),
        until_ns=None if until is None else ns_of(until),
        min_duration_ns=None if min_duration_ms is None else round(min_duration_ms * _NS_PER_MS),
        max_duration_ns=None if max_duration_ms is None else round(max_duration_ms * _NS_PER_MS),
        error_category=error_category,
        q=q,
        hidden=hidden or kind == "request",
    )
    return await execution_page(service, wanted, limit, cursor)


async def execution_page(service: ServiceOf, wanted: ExecutionFilter, limit: int, cursor: str | None) -> Response:
    """One page of a list of executions."""
    if wanted.since_ns is not None and wanted.until_ns is not None and wanted.since_ns >= wanted.until_ns:
        raise InvalidParameter("until", "until is not after since: wanted a later time, since is inside the range")
    after = None if cursor is None else ExecutionCursor.decode(cursor)
    async with service.reader() as reader:
        rows, following = await reader.executions(wanted, limit, after)
        hidden_count = await count_hidden(reader, wanted, after, following)
    page: ExecutionPage = {
        "executions": tell(rows, reader),
        "hidden_count": hidden_count,
        "next_cursor": None if following is None else following.encode(),
    }
    return json_answer(page)


def tell(rows: Iterable[ExecutionRow], reader: Reader) -> list[ExecutionAnswer]:
    """Executions as answers, by the reader's clock."""
    return [execution_answer(row, reader.now_ns, reader.config.lost_after_s) for row in rows]


@router.get("/executions/{trace_id}", response_model=ExecutionAnswer, responses=error_answers(404, 422, 503))
async def get_execution(service: ServiceOf, trace_id: TraceIdPath) -> Response:
    """One execution, without its nodes."""
    async with service.reader() as reader:
        row = await reader.execution(trace_id_of(trace_id))
    return json_answer(execution_answer(row, reader.now_ns, reader.config.lost_after_s))


@router.get("/executions/{trace_id}/tree", response_model=TreeAnswer, responses=error_answers(404, 422, 503))
async def get_tree(
    service: ServiceOf,
    trace_id: TraceIdPath,
    shape: Annotated[Literal["flat", "nested"], Query(description="nested: each node's `children` inside it")] = "flat",
    root: RootQuery = None,
    depth: Annotated[
        int | None, Query(ge=0, le=1_000_000, description="levels below the root that are told, 0 for the root alone")
    ] = None,
    limit: Annotated[
        int | None, Query(ge=1, le=10_000, description="nodes at most; the whole tree where it is not given")
    ] = None,
    cursor: CursorQuery = None,
) -> Response:
    """The execution with its nodes and edges: all of them, a subtree, the upper levels, or page by page.

    An edge is told on the page of the node that it leads to, so all pages together hold each edge once.
    """
    if shape == "nested" and (limit is not None or cursor is not None):
        raise InvalidParameter("shape", "a nested tree has no pages: use shape=flat with limit, or depth and root")
    after = None if cursor is None else SequenceCursor.decode(cursor)
    async with service.reader() as reader:
        row = await reader.execution(trace_id_of(trace_id))
        key = await reader.key_of(row)
        top = None if root is None else await reader.node(key, *node_key_of(root))
        part = WHOLE if top is None else await reader.subtree(key, top)
        root_id = None if top is None else node_id(top.node.span_id, top.node.ordinal)
        missed = await reader.never_run(key, row) if top is None else []
        outline = outline_of(await reader.outline(key, part), missed, root_id)
        max_depth = None if depth is None else depth + (0 if top is None else top.node.depth)
        shown = NodeRange(part.from_sequence, part.to_sequence, max_depth)
        execution = execution_answer(row, reader.now_ns, reader.config.lost_after_s)
        clock_ns = clock_of(row.execution, execution["status"], reader.now_ns)
        writer = TreeWriter(nested=shape == "nested", without_parent=root_id)
        following: str | None = None
        if limit is not None or after is not None:
            following = await _write_page(reader, key, shown, after, limit or 10_000, writer, clock_ns)
        else:
            await _write_all(reader, key, shown, writer, clock_ns)
    return json_parts(writer.finish(execution, counts_of(row.execution), outline, following))


async def _write_all(reader: Reader, key: TraceKey, shown: NodeRange, writer: TreeWriter, clock_ns: int) -> None:
    whole = shown == WHOLE
    async for nodes in reader.node_chunks(key, shown):
        writer.add_nodes(node_answer(row.node, clock_ns) for row in nodes)
        if not whole:
            writer.add_edges(edge_answer(row.edge) for row in await reader.edges_to(key, nodes))
    if whole:
        async for edges in reader.edge_chunks(key):
            writer.add_edges(edge_answer(row.edge) for row in edges)


async def _write_page(
    reader: Reader,
    key: TraceKey,
    shown: NodeRange,
    after: SequenceCursor | None,
    limit: int,
    writer: TreeWriter,
    clock_ns: int,
) -> str | None:
    nodes, following = await node_page(reader, key, shown, after, limit)
    writer.add_nodes(node_answer(row.node, clock_ns) for row in nodes)
    writer.add_edges(edge_answer(row.edge) for row in await reader.edges_to(key, nodes))
    return following


async def node_page(
    reader: Reader, key: TraceKey, shown: NodeRange, after: SequenceCursor | None, limit: int
) -> tuple[list[NodeRow], str | None]:
    """Nodes after the cursor in sequence order, and the cursor of the next page."""
    start = shown.from_sequence
    if after is not None:
        start = max(after.sequence + 1, start or 0)
    rows = await reader.nodes(key, NodeRange(start, shown.to_sequence, shown.max_depth), limit + 1)
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], SequenceCursor(rows[limit - 1].node.sequence).encode()
