"""Facts of spans for tests of `assemble`, made in one line each."""

from __future__ import annotations

from spantree_exporter.facts import Facts
from spantree_exporter.rows import SpanFacts
from spantree_exporter.span import KIND_INTERNAL, STATUS_ERROR, STATUS_UNSET

TRACE = "0af7651916cd43dd8448eb211c80319c"


def span(
    span_id: int,
    parent: int | None = None,
    at: tuple[int, int] = (0, 0),
    name: str = "",
    *,
    failed: bool = False,
    kind: int = KIND_INTERNAL,
    fingerprint: int | None = None,
    links: list[tuple[str, str]] | None = None,
    service: str = "shop",
    facts: Facts | None = None,
) -> SpanFacts:
    """A span that ran from at[0] to at[1], in nanoseconds; named `span N` unless said otherwise."""
    return SpanFacts(
        span_id=span_id,
        parent_span_id=parent,
        fingerprint=span_id * 1000 if fingerprint is None else fingerprint,
        name=name or f"span {span_id}",
        kind=kind,
        status_code=STATUS_ERROR if failed else STATUS_UNSET,
        status_message="",
        start_ns=at[0],
        end_ns=at[1],
        received_ns=1_000_000,
        service=service,
        links=links or [],
        facts=facts or {},
    )


def step(span_id: int, parent: int | None, at: tuple[int, int], name: str, **more: object) -> SpanFacts:
    """A span that says it is a step of a workflow."""
    facts: Facts = {"step": True, "kind": "step", **more.pop("facts", {})}  # type: ignore[typeddict-item]
    return span(span_id, parent, at, name, facts=facts, **more)  # type: ignore[arg-type]


def edges_by_name(assembled: object) -> list[tuple[str, str, str, str | None, str]]:
    """(from, to, type, condition, provenance) of each edge, by node names, sorted."""
    nodes = {(n.span_id, n.ordinal): n.name for n in assembled.nodes}  # type: ignore[attr-defined]
    return sorted(
        (
            nodes[e.from_span_id, e.from_ordinal],
            nodes[e.to_span_id, e.to_ordinal],
            e.type,
            e.condition,
            e.provenance,
        )
        for e in assembled.edges  # type: ignore[attr-defined]
    )
