"""Conversations, newest turn first."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Path, Query, Response

from spantree_api.answers.conversations import ConversationAnswer, ConversationPage, SaidAnswer, TurnAnswer, TurnPage
from spantree_api.cursor import ExecutionCursor
from spantree_api.errors import InvalidParameter
from spantree_api.filters import ExecutionFilter
from spantree_api.http.any_text import any_text
from spantree_api.http.params import CursorQuery, LimitQuery, Moment, Text
from spantree_api.http.responses import error_answers, json_answer
from spantree_api.reads import lists
from spantree_api.reads.conversations import ConversationRow, conversations
from spantree_api.reads.turns import Said, Saying, said_in
from spantree_api.rendering import ns_of, rfc3339
from spantree_api.routes.api_router import api_router
from spantree_api.routes.executions import execution_answers
from spantree_api.service import ServiceOf
from spantree_exporter.ids import node_id

router = api_router("executions")
_DAY_NS: Final = 86_400_000_000_000
_DAYS: Final = 30
_DAYS_MAX: Final = 90
# Of a turn's texts each; whoever wants more asks for the step.
_SAID_CHARS: Final = 100_000
_TURNS_MAX: Final = 50


@router.get("/conversations", response_model=ConversationPage, responses=error_answers(422, 503))
async def list_conversations(
    service: ServiceOf,
    since: Annotated[Moment | None, Query(description="RFC 3339; 30 days ago, if not given, at most 90")] = None,
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> Response:
    """Conversations, sessions and threads with a turn in the range, the one of the newest turn first."""
    after = None if cursor is None else ExecutionCursor.decode(cursor)
    async with service.reader() as reader:
        since_ns = reader.now_ns - _DAYS * _DAY_NS if since is None else ns_of(since)
        if since_ns < reader.now_ns - _DAYS_MAX * _DAY_NS:
            raise InvalidParameter("since", f"since is not within the last {_DAYS_MAX} days")
        found = await conversations(reader, since_ns, limit, after)
    page: ConversationPage = {
        "conversations": [_answer(row) for row in found.rows],
        "since": rfc3339(since_ns),
        "next_cursor": None if found.following is None else found.following.encode(),
        "looked_back_to": None if found.following is None else rfc3339(found.following.started_ns),
    }
    return json_answer(page)


@router.get(
    f"/conversations/{any_text('conversation_id')}/turns", response_model=TurnPage, responses=error_answers(422, 503)
)
async def list_said(
    service: ServiceOf,
    conversation_id: Annotated[Text, Path(description="conversation, session or thread")],
    limit: Annotated[int, Query(ge=1, le=_TURNS_MAX, description="turns at most")] = 20,
    cursor: CursorQuery = None,
) -> Response:
    """The turns of a conversation with what was said in them, whole, newest first; none for one that is not known."""
    after = None if cursor is None else ExecutionCursor.decode(cursor)
    wanted = ExecutionFilter(conversation_id=conversation_id, hidden=True)
    async with service.reader() as reader:
        found = await lists.executions(reader, wanted, limit, after)
        said = await said_in(reader, found.rows, _SAID_CHARS)
    turns: list[TurnAnswer] = []
    for row, answer in zip(found.rows, execution_answers(found.rows, reader, found.resumed), strict=True):
        spoken = said.get(row.trace_id, Said())
        turns.append({**answer, "asked": _said(spoken.asked), "answered": _said(spoken.answered)})
    page: TurnPage = {
        "turns": turns,
        "next_cursor": None if found.following is None else found.following.encode(),
    }
    return json_answer(page)


def _said(saying: Saying | None) -> SaidAnswer | None:
    if saying is None:
        return None
    node = None if saying.node is None else saying.node.node
    return {
        "node_id": None if node is None else node_id(node.span_id, node.ordinal),
        "text": saying.text,
        "complete": saying.is_whole,
    }


def _answer(row: ConversationRow) -> ConversationAnswer:
    return {
        "conversation_id": row.conversation_id,
        "user_id": row.user_id,
        "turns": row.turns,
        "failed_turns": row.failed_turns,
        "last_status": row.last_status,
        "started_at": rfc3339(row.started_ns),
        "last_started_at": rfc3339(row.last_started_ns),
        "last_started_ns": row.last_started_ns,
        "last_seen_at": rfc3339(row.last_seen_ns),
        "first_input": row.first_input,
        "tokens": {"input": row.input_tokens, "output": row.output_tokens},
        "cost_usd": row.cost_usd,
    }
