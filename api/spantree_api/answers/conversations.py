"""Conversations: the shape of the answers."""

from __future__ import annotations

from typing_extensions import TypedDict

from spantree_api.answers.executions import ExecutionAnswer, Tokens, documented


@documented
class ConversationAnswer(TypedDict):
    """A conversation, session or thread: its turns since `since`, of the newest 1,000, summed up."""

    conversation_id: str
    user_id: str | None
    """of the latest turn that names one"""
    turns: int
    """executions that are its turns"""
    failed_turns: int
    """failed, timed out or partial"""
    last_status: str
    """of the latest turn"""
    started_at: str
    """of the first of these turns"""
    last_started_at: str
    last_started_ns: int
    """start of the latest turn, UTC nanoseconds since 1970"""
    last_seen_at: str
    first_input: str | None
    """preview of what the first of these turns was given"""
    tokens: Tokens
    cost_usd: float | None


@documented
class ConversationPage(TypedDict):
    """Conversations, newest turn first."""

    conversations: list[ConversationAnswer]
    """each on the page of its newest turn"""
    since: str
    next_cursor: str | None
    looked_back_to: str | None
    """how far was looked where there is a next page: one may hold fewer than `limit`, or none"""


@documented
class SaidAnswer(TypedDict):
    """What was asked or answered in a turn."""

    node_id: str | None
    """the step that has it; null where none does"""
    text: str
    """as the step has it: text, or messages as JSON; 100,000 characters at most"""
    complete: bool
    """whether `text` is all of it"""


@documented
class TurnAnswer(ExecutionAnswer):
    """A turn of a conversation."""

    asked: SaidAnswer | None
    """what the execution was given; where it tells none, what its outermost agent or model was asked first"""
    answered: SaidAnswer | None
    """what the execution gave; where it tells none, what its outermost agent or model answered last"""


@documented
class TurnPage(TypedDict):
    """Turns of a conversation, newest first."""

    turns: list[TurnAnswer]
    next_cursor: str | None
