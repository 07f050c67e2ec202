"""Work that was cancelled, by the attribute of a library whose spans then have a status that says nothing, or OK.

There is no convention for it (open-telemetry/semantic-conventions#560). Java's agent leaves the status unset
(opentelemetry-java-instrumentation#3153, #3175), Effect's tracer says OK (Effect-TS/opentelemetry#39), Dagger's engine
says an error. That also tells what it had in its cache and did not do again.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_KEYS: Final = (
    "reactor.canceled",
    "rxjava.canceled",
    "guava.canceled",
    "jaxrs.canceled",
    "grpc.canceled",
    "status.interrupted",
    "dagger.io/dag.canceled",
)
_CACHED: Final = "dagger.io/dag.cached"


def _read(span: Span, facts: Facts) -> None:
    if any(span.attributes.get(key) is True for key in _KEYS):
        facts.setdefault("status", "cancelled")
    elif span.attributes.get(_CACHED) is True:
        facts.setdefault("status", "skipped")
        facts.setdefault("status_reason", "cached")


CONVENTION = Convention("cancelled", _read, keys=(*_KEYS, _CACHED))
