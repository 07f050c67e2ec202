"""Kong's own tracing (read from its `tracing/instrumentation.lua`): each try of the balancer is a span of one name.

Kong tries another target where one did not answer, whatever the method; only the number of the try says so.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_ERROR, Span

_TRY: Final = "try_count"
_BALANCER: Final = "kong.balancer"
_DOMAIN: Final = "dns.record.domain"
_DNS: Final = "kong.dns"


def _read(span: Span, facts: Facts) -> None:
    if span.name == _BALANCER:
        attempt = whole_number(span.attributes.get(_TRY))
        if attempt is not None and attempt > 0:
            facts.setdefault("attempt", attempt)
            facts.setdefault("retry_expected", True)
    elif span.name == _DNS and span.status_code != STATUS_ERROR:
        facts.setdefault("fold", "parent")


CONVENTION = Convention("kong", _read, keys=(_TRY, _DOMAIN))
