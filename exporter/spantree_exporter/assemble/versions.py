"""Which stored spans are versions of one span, and which of them speaks for it.

A span can be sent more than once: when it starts and when it has ended, with usage that grows, by two ways of which one
adds attributes. All versions stay stored; a projection has one step for them. Spans that only share an id (another
start, the two sides of one call, another declared attempt) are different spans.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.rows import SpanFacts
from spantree_exporter.span import KIND_CONSUMER, KIND_SERVER

# What a version says beside the one that speaks for all, where that one is silent. Nothing of how the span stands or
# ended: an earlier version knew less about that.
_LASTING: Final = (
    "boundary", "workflow_name", "grouped_as", "entry", "run_id", "conversation_id", "user_id", "project", "resumes",
    "lost_after_s", "name", "kind", "step", "input", "output", "task_key", "task_scope", "task_id", "attempt",
    "max_attempts", "retry_expected", "retry_policy", "input_digest", "iteration", "group", "order", "condition",
    "condition_from", "decision", "routes", "depends_on", "sources", "graph", "declared_steps", "emits", "consumes",
    "model",
    "input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens",
    "embedding_tokens", "cost_usd", "parent_remote", "declared_handled",
)  # fmt: skip
_TAKING_SIDE: Final = frozenset({KIND_SERVER, KIND_CONSUMER})


def one_of_each(spans: Sequence[SpanFacts]) -> tuple[list[SpanFacts], int]:
    """(the spans in an order that does not depend on how they came, each once and told by its best version; how many
    are stored).
    """
    once = {(span.span_id, span.fingerprint): span for span in spans}
    found = list(once.values())
    stored = len(found)
    if len({span.span_id for span in found}) < len(found):
        found = _merged(found)
    found.sort(key=_canonical)
    return found, stored


def _canonical(span: SpanFacts) -> tuple[int, int, int, int]:
    return span.start_ns, -span.end_ns, span.span_id, span.fingerprint


def _merged(spans: list[SpanFacts]) -> list[SpanFacts]:
    groups: dict[tuple[int, int, bool, bool], list[SpanFacts]] = {}
    for span in spans:
        mark = span.facts.get("fold") == "pending"
        groups.setdefault((span.span_id, span.start_ns, span.kind in _TAKING_SIDE, mark), []).append(span)
    merged: list[SpanFacts] = []
    for group in groups.values():
        if len(group) == 1:
            merged += group
            continue
        for versions in _told_apart(group):
            merged.append(_best(versions))
    return merged


def _told_apart(group: list[SpanFacts]) -> list[list[SpanFacts]]:
    """`group` by what tells spans of one id and start apart: a declared attempt; name and service together."""
    attempts = {span.facts["attempt"] for span in group if "attempt" in span.facts}
    if len(attempts) > 1:
        by_attempt: dict[int | None, list[SpanFacts]] = {}
        for span in group:
            by_attempt.setdefault(span.facts.get("attempt"), []).append(span)
        return list(by_attempt.values())
    names = {span.name for span in group}
    if len(names) > 1 and len({span.service for span in group}) > 1:
        by_name: dict[tuple[str, str], list[SpanFacts]] = {}
        for span in group:
            by_name.setdefault((span.name, span.service), []).append(span)
        return list(by_name.values())
    return [group]


def _best(versions: list[SpanFacts]) -> SpanFacts:
    """The latest and most complete version, with what only the others say."""
    ranked = sorted(versions, key=_completeness, reverse=True)
    best = ranked[0]
    facts: Facts = {**best.facts}
    parent, links, service = best.parent_span_id, best.links, best.service
    for other in ranked[1:]:
        parent = other.parent_span_id if parent is None else parent
        links = links or other.links
        service = service or other.service
        for key in _LASTING:
            if key in other.facts and key not in facts:
                facts[key] = other.facts[key]
                if key == "cost_usd" and "cost_estimated" in other.facts:
                    facts["cost_estimated"] = other.facts["cost_estimated"]
    return SpanFacts(
        best.span_id, parent, best.fingerprint, best.name, best.kind, best.status_code, best.status_message,
        best.start_ns, best.end_ns, best.received_ns, service, links, facts, best.anomalies,
    )  # fmt: skip


def _completeness(span: SpanFacts) -> tuple[int, int, float, int, int]:
    """Never by when it came in: that differs from one delivery to the next."""
    facts = span.facts
    usage = facts.get("input_tokens", 0) + facts.get("output_tokens", 0) + facts.get("cost_usd", 0.0)
    return span.end_ns, span.status_code, usage, len(facts), span.fingerprint
