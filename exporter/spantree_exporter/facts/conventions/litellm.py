"""LiteLLM's guardrails: `guardrail` or `execute_guardrail <name>`, with how each ended as `guardrail_status`.

Source: `types/utils.py` (GuardrailStatus), `integrations/opentelemetry.py`; litellm#28364. One that intervened did its
work; one that did not respond failed, whatever its span's status, and the request may have gone on without it.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_STATUS: Final = "guardrail_status"
_NAME: Final = "guardrail_name"
_GOOD: Final = "success"


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    status = text_of(a.get(_STATUS))
    if status is None:
        return
    facts.setdefault("kind", "guardrail")
    if name := text_of(a.get(_NAME)):
        facts.setdefault("name", name)
    if status == "guardrail_failed_to_respond":
        facts.setdefault("weak_status", "failed")
        facts.setdefault("error_message", status.replace("_", " "))
    elif status == "not_run":
        facts.setdefault("status", "skipped")
    if status != _GOOD:
        facts.setdefault("status_reason", status)


CONVENTION = Convention("litellm", _read, keys=(_STATUS,))
