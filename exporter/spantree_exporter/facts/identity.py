"""Whose conversation a span belongs to, by the names that many conventions share (conventions.md 4.1).

Not among them, though they sound alike: `messaging.message.conversation_id` (Celery's task id) and
`langsmith.trace.session_name` (a project).
"""

from __future__ import annotations

from spantree_exporter.facts.reading import Convention, first_text, json_of, text_of
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
    "gcp.vertex.agent.session_id",
    "mcp.session.id",
)
_USER = ("user.id", "enduser.id", "user_id", "userId", "enduser.pseudo.id")


def _read(span: Span, facts: Facts) -> None:
    if conversation := first_text(span, _CONVERSATION):
        facts.setdefault("conversation_id", conversation)
    if user := first_text(span, _USER):
        facts.setdefault("user_id", user)
    metadata = span.attributes.get("metadata")
    if isinstance(metadata, str) and ("conversation_id" not in facts or "user_id" not in facts):
        parsed = json_of(metadata)
        if isinstance(parsed, dict):
            for key in _CONVERSATION:
                if value := text_of(parsed.get(key)):
                    facts.setdefault("conversation_id", value)
            for key in _USER:
                if value := text_of(parsed.get(key)):
                    facts.setdefault("user_id", value)


CONVENTION = Convention("identity", _read, keys=("metadata", *_CONVERSATION, *_USER))
