"""Whose conversation a span belongs to, by the names that many conventions share.

Not among them, though they sound alike: `messaging.message.conversation_id` (Celery's task id) and
`langsmith.trace.session_name` (a project). `mcp.session.id` is mcp.py's to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from spantree_exporter.facts.reading import Convention, json_of, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import JsonValue, Span

_CONVERSATION = (
    "session.id",
    "gen_ai.conversation.id",
    "gen_ai.session.id",
    "thread_id",
    "conversation.id",
    "conversation_id",
    "session_id",
    "sessionId",
    "thread.conversation_id",
    "group_id",
    "langfuse.session.id",
    "traceloop.association.properties.session_id",
    "traceloop.association.properties.thread_id",
    "traceloop.association.properties.conversation_id",
    "traceloop.association.properties.chat_id",
    "lmnr.association.properties.session_id",
    "microsoft.session.id",
    "gcp.vertex.agent.session_id",
)
_USER = (
    "user.id",
    "enduser.id",
    "gen_ai.user.id",
    "user_id",
    "userId",
    "langfuse.user.id",
    "traceloop.association.properties.user_id",
    "lmnr.association.properties.user_id",
    "enduser.pseudo.id",
)

# What OpenAI calls its responses. The next one is told the last one's id, which some take for a conversation's
# (microsoft/agent-framework#5992): each turn would be a conversation of its own.
RESPONSE_ID: Final = "resp_"


def _read(span: Span, facts: Facts) -> None:
    _put(span.attributes, facts)
    metadata = span.attributes.get("metadata")
    if isinstance(metadata, str) and ("conversation_id" not in facts or "user_id" not in facts):
        parsed = json_of(metadata)
        if isinstance(parsed, dict):
            _put(parsed, facts)


def _put(named: Mapping[str, JsonValue], facts: Facts) -> None:
    for key in _CONVERSATION:
        if key in named and (told := text_of(named[key])) and not _says_nothing(told):
            facts.setdefault("conversation_id", told)
            break
    for key in _USER:
        if key in named and (told := text_of(named[key])) and not _says_nothing(told):
            facts.setdefault("user_id", told)
            break


def _says_nothing(told: str) -> bool:
    """Whether a value is None, as Logfire writes it, or what it puts in the place of what might be secret.

    An id of one of OpenAI's responses is none of a conversation.
    """
    return told == "null" or told.startswith(("[Scrubbed due to ", RESPONSE_ID))


CONVENTION = Convention("identity", _read, keys=("metadata", *_CONVERSATION, *_USER))
