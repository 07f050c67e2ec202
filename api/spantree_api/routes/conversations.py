"""Conversations, newest turn first."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Query, Response

from spantree_api.answers_conversations import ConversationAnswer, ConversationPage
from spantree_api.cursor import ExecutionCursor
from spantree_api.errors import InvalidParameter
from spantree_api.params import CursorQuery, LimitQuery, Moment
from spantree_api.reads.conversations import ConversationRow, conversations
from spantree_api.rendering import ns_of, rfc3339
from spantree_api.responses import error_answers, json_answer
from spantree_api.routes.api_router import api_router
from spantree_api.service import ServiceOf

router = api_router("executions")
_DAY_NS: Final = 86_400_000_000_000
_DAYS: Final = 30
_DAYS_MAX: Final = 90


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
