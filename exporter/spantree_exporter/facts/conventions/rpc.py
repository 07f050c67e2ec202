"""RPC semantic conventions (gRPC and others)."""

from __future__ import annotations

from spantree_exporter.facts.reading import Convention
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import KIND_SERVER, Span


def _read(span: Span, facts: Facts) -> None:
    facts.setdefault("kind", "rpc")
    if span.kind == KIND_SERVER:
        facts.setdefault("entry", span.name)


CONVENTION = Convention("rpc", _read, keys=("rpc.system", "rpc.system.name"))
