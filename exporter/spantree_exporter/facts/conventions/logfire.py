"""Logfire (scope `logfire` and those of its integrations), read from logfire 5.2: span types, messages, levels.

Logs are spans without duration that belong to the span around them. The span of a call whose answer is streamed ends
with the answer's beginning; a log beside it has the rest, and what was used (`integrations/llm_providers/
llm_provider.py`, record_streaming; logfire#315, #1280). A process that ends by `os._exit` ends its open
spans in order first, which then look completed.
"""

from __future__ import annotations

from spantree_exporter.facts.conventions.own import put_pending
from spantree_exporter.facts.reading import Convention, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

# logfire/_internal/constants.py: level numbers as OpenTelemetry's severity numbers.
_WARN, _ERROR = 13, 17
_STREAMED = "streaming response from "
_SCOPE = "logfire."
# The schema of attributes where nothing was given, and where only what was returned is recorded (record_return).
_NO_ARGUMENTS = '{"type":"object","properties":{}}'
_ONLY_RETURN = '{"type":"object","properties":{"return":{}}}'


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    span_type = a.get("logfire.span_type")
    if span_type == "pending_span":
        put_pending(span, facts, a.get("logfire.pending_parent_id"))
    elif span_type == "log":
        streamed = span.name.startswith(_STREAMED) and span.scope.name.startswith(_SCOPE)
        facts.setdefault("fold", "answer" if streamed else "event")
        if span.parent_span_id is None:
            # A log outside of any span is no execution.
            facts.setdefault("hidden", True)
    if (message := text_of(a.get("logfire.msg"))) and message != span.name:
        # The span's name is the message's template, the same for all runs.
        facts.setdefault("name", message)
        facts.setdefault("grouped_as", span.name)
    template, schema = text_of(a.get("logfire.msg_template")), a.get("logfire.json_schema", _NO_ARGUMENTS)
    if span_type == "span" and template and "{" not in template and schema in (_NO_ARGUMENTS, _ONLY_RETURN):
        # Logfire sends the arguments of what it instruments: where there are none, calls of one name are equal.
        facts.setdefault("input_digest", "no arguments")
    level = whole_number(a.get("logfire.level_num"))
    if level is not None and level >= _WARN:
        facts.setdefault("level", "error" if level >= _ERROR else "warning")


CONVENTION = Convention("logfire", _read, keys=("logfire.span_type", "logfire.msg"))
