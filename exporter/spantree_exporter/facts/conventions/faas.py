"""Functions as a service (AWS Lambda and others), by the semantic conventions `faas.*`.

An invocation that fails is made again by the platform under the same id: twice by Lambda where nobody waits for it.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, first_text
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import KIND_CONSUMER, KIND_SERVER, Span

_INVOCATIONS: Final = ("faas.invocation_id", "faas.execution")
_TAKING: Final = frozenset({KIND_SERVER, KIND_CONSUMER})


def _read(span: Span, facts: Facts) -> None:
    if span.kind not in _TAKING:
        return
    if invocation := first_text(span, _INVOCATIONS):
        facts.setdefault("task_key", f"invocation {invocation}")
        facts.setdefault("entry", span.name)


CONVENTION = Convention("faas", _read, keys=_INVOCATIONS)
