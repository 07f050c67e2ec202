"""Cloudflare's own traces of Workers, Durable Objects and what they are woken for: how an invocation ended.

The span of a handler tells it by `cloudflare.outcome`, whatever its status is (developers.cloudflare.com, "Spans and
attributes"; outcomes are those of workerd's `outcome.capnp`).
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_UNSET, Span

_OUTCOME: Final = "cloudflare.outcome"
# The client went away, before there was an answer or while it was sent.
_GONE: Final = frozenset({"canceled", "responseStreamDisconnected"})
_FAILED: Final = frozenset(
    {
        "exception",
        "internalError",
        "exceededCpu",
        "exceededWallTime",
        "exceededMemory",
        "killSwitch",
        "daemonDown",
        "scriptNotFound",
        "loadShed",
    }
)


def _read(span: Span, facts: Facts) -> None:
    outcome = span.attributes.get(_OUTCOME)
    if not isinstance(outcome, str) or span.status_code != STATUS_UNSET:
        return
    if outcome in _GONE:
        facts.setdefault("weak_status", "cancelled")
    elif outcome in _FAILED:
        facts.setdefault("weak_status", "failed")
        if outcome != "exception":
            facts.setdefault("error_type", outcome)


CONVENTION = Convention("cloudflare", _read, keys=(_OUTCOME,))
