"""Sentry's SDKs, whose spans are OpenTelemetry's in JavaScript and come by its exporters elsewhere.

A status of Sentry's own is the message of an error, or an attribute. A span of a page or a screen that nobody waited
for is OK, and an attribute says why it ended (getsentry/sentry#48971, getsentry/sentry-dart#3840).
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, text_of
from spantree_exporter.facts.vocabulary import Facts, Status
from spantree_exporter.span import STATUS_ERROR, Span

_OPERATION: Final = "sentry.op"
_ORIGIN: Final = "sentry.origin"
_STATUSES: Final = ("sentry.status.message", "sentry.status")
_STATED: Final[dict[str, Status]] = {"cancelled": "cancelled", "deadline_exceeded": "timed_out"}
_FINISHED: Final = "sentry.idle_span_finish_reason"
_LEFT: Final = frozenset({"cancelled", "documentHidden", "interactionInterrupted"})
_CANCELLED: Final = "sentry.cancellation_reason"


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    if span.status_code == STATUS_ERROR:
        told = next((word for key in _STATUSES if (word := text_of(a.get(key)))), None) or span.status_message
        if status := _STATED.get(told):
            facts.setdefault("status", status)
    elif text_of(a.get(_FINISHED)) in _LEFT or _CANCELLED in a:
        facts.setdefault("status", "cancelled")


CONVENTION = Convention("sentry", _read, keys=(_OPERATION, _ORIGIN, *_STATUSES, _FINISHED, _CANCELLED))
