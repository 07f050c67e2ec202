"""Whose conversation a span belongs to, by the names that many conventions share (conventions.md 4.1).

Not among them, though they sound alike: `messaging.message.conversation_id` (Celery's task id) and
`langsmith.trace.session_name` (a project).
"""

from __future__ import annotations

from spantree_exporter.facts.reading import Convention, first_text
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_CONVERSATION = (
    "session.id",
    "gen_ai.conversation.id",
    "thread_id",
    "conversation.id",
    "conversation_id",
    "session_id",
    "sessionId",
    "thread.conversation_id",
    "group_id",
    "mcp.session.id",
)
_USER = ("user.id", "enduser.id", "user_id", "userId", "enduser.pseudo.id")


def _read(span: Span, facts: Facts) -> None:
    if conversation := first_text(span, _CONVERSATION):
        facts.setdefault("conversation_id", conversation)
    if user := first_text(span, _USER):
        facts.setdefault("user_id", user)


CONVENTION = Convention("identity", _read, keys=(*_CONVERSATION, *_USER))
