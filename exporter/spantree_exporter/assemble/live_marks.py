"""Live marks: spans sent when another one starts, which stand for it until it comes."""

from __future__ import annotations

from spantree_exporter.assemble.parents import SpanIndex
from spantree_exporter.assemble.step import Step
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.rows import SpanFacts


def announce(marks: list[SpanFacts], index: SpanIndex, steps: list[Step], parent_ids: list[int | None]) -> None:
    """Let `marks` stand for spans that have not come; those of spans that have are folded into them."""
    for mark in marks:
        announced = span_id_of(mark.facts.get("pending_of"))
        known = index.first(announced) if announced is not None else None
        if known is not None:
            known.folded.append(mark)
            continue
        facts: Facts = {**mark.facts}
        facts.pop("fold", None)
        facts.pop("status", None)
        step = Step(
            announced if announced is not None else mark.span_id,
            None,
            facts,
            facts.get("name") or mark.name or "(unnamed)",
            facts.get("kind") or "function",
            mark.start_ns,
            None,
            mark.service,
            len(steps) + len(marks),
            folded=[mark],
        )
        steps.append(step)
        index.add(step)
        parent_ids.append(span_id_of(mark.facts.get("pending_parent")))


def span_id_of(hex_id: str | None) -> int | None:
    """The id of 16 hex digits as it is stored; None for None."""
    return None if hex_id is None else int.from_bytes(bytes.fromhex(hex_id), "big", signed=True)
