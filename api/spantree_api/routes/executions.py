"""Lists of executions, one execution, its tree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query, Response

from spantree_api.answers.executions import ExecutionAnswer, ExecutionPage, SearchedAnswer, TreeAnswer
from spantree_api.cursor import ExecutionCursor, SequenceCursor
from spantree_api.elsewhere import elsewhere
from spantree_api.errors import InvalidParameter
from spantree_api.filters import ExecutionFilter
from spantree_api.http.filter_params import FilterOf
from spantree_api.http.params import (
    CursorQuery,
    LimitQuery,
    RootQuery,
    TraceIdPath,
    node_key_of,
    trace_id_of,
)
from spantree_api.http.responses import error_answers, json_answer, json_parts
from spantree_api.reader import WHOLE, NodeRange, Reader, TraceKey, TreeRows
from spantree_api.reads import lists
from spantree_api.reads.analysis import stored_analysis
from spantree_api.reads.diff import last_good
from spantree_api.reads.lists import ExecutionList
from spantree_api.reads.resumed import resumed
from spantree_api.rendering import clock_of, counts_of, execution_answer, rfc3339
from spantree_api.routes.api_router import api_router
from spantree_api.service import ServiceOf
from spantree_api.stored_rows import ExecutionRow, NodeRow
from spantree_api.tree import edge_answer, node_answer, outline_of
from spantree_api.tree_json import TreeWriter
from spantree_exporter.ids import node_id
from spantree_exporter.statuses import FAILED_EXECUTION

router = api_router("executions")
# Nodes read at once of a subtree or of upper levels that are told whole.
_AT_ONCE = 2_000


@router.get("/executions", response_model=ExecutionPage, responses=error_answers(422, 503))
async def list_executions(
    service: ServiceOf, wanted: FilterOf, limit: LimitQuery = 50, cursor: CursorQuery = None
) -> Response:
    """Executions, newest first."""
    return await execution_page(service, wanted, limit, cursor)


async def execution_page(service: ServiceOf, wanted: ExecutionFilter, limit: int, cursor: str | None) -> Response:
    """One page of a list of executions."""
    after = None if cursor is None else ExecutionCursor.decode(cursor)
    async with service.reader() as reader:
        found = await lists.executions(reader, wanted, limit, after)
        hidden_count = await lists.count_hidden(reader, wanted, after, found.following)
    page: ExecutionPage = {
        "executions": execution_answers(found.rows, reader, found.resumed),
        "hidden_count": hidden_count,
        "next_cursor": None if found.following is None else found.following.encode(),
        "searched": searched_answer(wanted, found),
    }
    return json_answer(page)


def execution_answers(rows: Iterable[ExecutionRow], reader: Reader, over: Mapping[UUID, UUID]) -> list[ExecutionAnswer]:
    """Executions as answers, by the reader's clock; `over`: which were taken up, and by which (reads/resumed.py)."""
    return [execution_answer(row, reader.now_ns, reader.config.lost_after_s, resumed=over) for row in rows]


def searched_answer(wanted: ExecutionFilter, found: ExecutionList) -> SearchedAnswer | None:
    """How far was looked, where that is not everything that the filters say; None where it is."""
    if wanted.q is None and found.looked_back_to_ns is None:
        return None
    return {
        "back_to": None if found.looked_back_to_ns is None else rfc3339(found.looked_back_to_ns),
        "text_back_to": None if found.text_back_to_ns is None else rfc3339(found.text_back_to_ns),
    }


@router.get("/executions/{trace_id}", response_model=ExecutionAnswer, responses=error_answers(404, 422, 503))
async def get_execution(service: ServiceOf, trace_id: TraceIdPath) -> Response:
    """One execution, without its nodes."""
    wanted = trace_id_of(trace_id)
    async with service.reader(wanted) as reader:
        row = await reader.execution(reader.key(wanted))
        execution = await _told(reader, row)
        if row.execution.status in FAILED_EXECUTION or row.execution.first_failed_span_id is not None:
            good = await last_good(reader, row)
            execution = {**execution, "last_good": None if good is None else good.trace_id.hex}
    return json_answer(execution)


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
    wanted = trace_id_of(trace_id)
    whole = root is None and depth is None and limit is None and after is None
    async with service.reader(wanted) as reader:
        key = reader.key(wanted)
        if whole:
            tree = await _whole(reader, await reader.tree(key), key, nested=shape == "nested")
        else:
            page = None if limit is None and after is None else limit or 10_000
            tree = await _part(reader, key, root, depth, after, page, nested=shape == "nested")
    return json_parts(tree)


async def _whole(reader: Reader, rows: TreeRows, key: TraceKey, *, nested: bool) -> list[bytes]:
    """All nodes and edges: those read with the execution, where these are all, else one chunk after another."""
    row = rows.execution
    execution = await _told(reader, row)
    clock_ns = clock_of(row.execution, execution["status"], reader.now_ns)
    ran = [one.node.name for one in rows.nodes if one.node.status != "skipped"] if rows.complete else None
    missed = await reader.never_run(key, row, rows.follows, ran)
    writer = TreeWriter(nested=nested)
    outline = rows.outline
    if rows.complete:
        writer.add_nodes(node_answer(one.node, clock_ns) for one in rows.nodes)
        writer.add_edges(edge_answer(one.edge) for one in rows.edges)
    else:
        outline = await reader.outline(key)
        async for nodes in reader.node_chunks(key, WHOLE):
            writer.add_nodes(node_answer(one.node, clock_ns) for one in nodes)
        async for edges in reader.edge_chunks(key):
            writer.add_edges(edge_answer(one.edge) for one in edges)
    return writer.finish(execution, counts_of(row.execution), outline_of(outline, missed), None)


async def _part(
    reader: Reader,
    key: TraceKey,
    root: str | None,
    depth: int | None,
    after: SequenceCursor | None,
    limit: int | None,
    *,
    nested: bool,
) -> list[bytes]:
    """A subtree, the upper levels, or a page of either; the head names no more than some hundred nodes."""
    top = None if root is None else await reader.node(key, *node_key_of(root))
    part = WHOLE if top is None else await reader.subtree(key, top)
    root_id = None if top is None else node_id(top.node.span_id, top.node.ordinal)
    max_depth = None if depth is None else depth + (0 if top is None else top.node.depth)
    shown = page_range(NodeRange(part.from_sequence, part.to_sequence, max_depth), after)
    at_once = _AT_ONCE if limit is None else limit + 1
    row, outline, nodes = await reader.execution_and_page(key, shown, at_once, part)
    execution = await _told(reader, row)
    clock_ns = clock_of(row.execution, execution["status"], reader.now_ns)
    writer = TreeWriter(nested=nested, without_parent=root_id)
    following: str | None = None
    if limit is not None:
        nodes, following = page_of_nodes(nodes, limit)
    while nodes:
        writer.add_nodes(node_answer(one.node, clock_ns) for one in nodes)
        writer.add_edges(edge_answer(one.edge) for one in await reader.edges_to(key, nodes))
        if limit is not None or len(nodes) < at_once:
            break
        rest = NodeRange(nodes[-1].node.sequence + 1, shown.to_sequence, shown.max_depth)
        nodes = await reader.nodes(key, rest, at_once)
    missed = await reader.never_run(key, row) if top is None else []
    return writer.finish(execution, counts_of(row.execution), outline_of(outline, missed, root_id), following)


async def _told(reader: Reader, row: ExecutionRow) -> ExecutionAnswer:
    """One execution with what only answers about one tell: its analysis, and where else its trace can be looked at."""
    analysis = await stored_analysis(reader, row)
    over = await resumed(reader, [row])
    execution = execution_answer(row, reader.now_ns, reader.config.lost_after_s, analysis, over)
    links = elsewhere(reader.config.jaeger_url, reader.config.grafana_url, execution["trace_id"])
    return {**execution, **links}


def page_range(shown: NodeRange, after: SequenceCursor | None) -> NodeRange:
    """What is left of `shown` after the cursor."""
    if after is None:
        return shown
    return replace(shown, from_sequence=max(after.sequence + 1, shown.from_sequence or 0))


def page_of_nodes(rows: list[NodeRow], limit: int) -> tuple[list[NodeRow], str | None]:
    """At most `limit` of `rows`, and the cursor of the next page where there are more."""
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], SequenceCursor(rows[limit - 1].node.sequence).encode()
