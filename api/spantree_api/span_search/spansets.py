"""Sets of spans of one trace, as TraceQL makes them of the spans that its filters match. Pure.

https://grafana.com/docs/tempo/latest/traceql/construct-traceql-queries/#combine-spansets-using-operators. What is not
said there is as Tempo's pkg/traceql does it: structural operators tell spans of their right side, a set without spans
is none, a span without the value that is summed up does not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from spantree_api.span_search.query import Place, kind_name
from spantree_api.span_search.traceql import Aggregated, Coalesced, Filter, Grouped, Node, Operation, Stage
from spantree_api.span_search.traceql_fields import Field
from spantree_exporter.ids import span_id_to_hex
from spantree_exporter.span import STATUS_ERROR, STATUS_OK, JsonValue
from spantree_exporter.stored import stored_key

_STATUSES: Final = {STATUS_OK: "ok", STATUS_ERROR: "error"}
_INVERSE: Final = {">": "<", "<": ">", ">>": "<<", "<<": ">>", "~": "~"}


@dataclass(frozen=True, slots=True)
class FoundSpan:
    """A span that a filter matches, with the values of the fields that are picked (`keyvalue()` of jsonpath)."""

    trace_id: UUID
    span_id: int
    parent_span_id: int | None
    name: str
    service: str
    start_ns: int
    end_ns: int
    kind: int
    status_code: int
    status_message: str | None
    span_values: Sequence[Mapping[str, Any]]
    resource_values: Sequence[Mapping[str, Any]]
    scope_values: Sequence[Mapping[str, Any]] | None
    event_values: Sequence[Mapping[str, Any]] | None
    link_values: Sequence[Mapping[str, Any]] | None
    scope_name: str | None
    scope_version: str | None
    # Spans of the trace that match, of which only the first may have been read.
    matched: int

    @property
    def duration_ns(self) -> int:
        """How long it took."""
        return self.end_ns - self.start_ns

    def value_of(self, wanted: Field) -> JsonValue:
        """Its value of a field, the first where it has several; None for none; lengths of time in nanoseconds."""
        if wanted.place == "own":
            return _own_value(self, wanted.key)
        places: dict[Place, Sequence[Mapping[str, Any]] | None] = {
            "span": self.span_values,
            "resource": self.resource_values,
            "scope": self.scope_values,
            "event": self.event_values,
            "link": self.link_values,
        }
        looked_at = [pairs or () for place, pairs in places.items() if wanted.place in ("any", place)]
        key = stored_key(wanted.key)
        return next((pair["value"] for pairs in looked_at for pair in pairs if pair["key"] == key), None)


def _own_value(span: FoundSpan, key: str) -> JsonValue:
    if key == "kind":
        return kind_name(span.kind) or "unspecified"
    if key == "status":
        return _STATUSES.get(span.status_code, "unset")
    if key == "span_id":
        return span_id_to_hex(span.span_id)
    if key == "parent_id":
        return None if span.parent_span_id is None else span_id_to_hex(span.parent_span_id)
    own: dict[str, JsonValue] = {
        "name": span.name,
        "duration_ns": span.duration_ns,
        "status_message": span.status_message or "",
        "scope_name": span.scope_name,
        "scope_version": span.scope_version,
    }
    return own.get(key)


@dataclass(frozen=True, slots=True)
class Spanset:
    """Spans of one trace, by their ids, and what was found of all of them together: name -> value, for answers."""

    spans: Mapping[int, FoundSpan]
    told: tuple[tuple[str, JsonValue], ...] = ()

    def first(self, each: int) -> ToldSet:
        """What answers tell of it."""
        spans = sorted(self.spans.values(), key=lambda span: (span.start_ns, span.span_id))
        return ToldSet(spans[:each], len(spans), self.told)


@dataclass(frozen=True, slots=True)
class ToldSet:
    """The first spans of a set in order, how many it has, and what was found of all of them together."""

    spans: Sequence[FoundSpan]
    matched: int
    told: tuple[tuple[str, JsonValue], ...] = ()


@dataclass(slots=True)
class TraceSpans:
    """Of one trace what each filter matches, and, where anything asks for it, the parent of each of all its spans."""

    matched: dict[int, dict[int, FoundSpan]] = field(default_factory=dict)
    parents: dict[int, int | None] = field(default_factory=dict)

    def ancestors(self, of: Iterable[int]) -> set[int]:
        """All spans above some, which may be among them where they are above others."""
        found: set[int] = set()
        for span_id in of:
            at = self.parents.get(span_id)
            while at is not None and at not in found:
                found.add(at)
                at = self.parents.get(at)
        return found

    def below(self, some: Iterable[int], of: Iterable[int]) -> set[int]:
        """Those of `of` that are somewhere below one of `some`."""
        over = set(some)
        is_below: dict[int, bool] = {}
        for span_id in of:
            way: list[int] = []
            at: int | None = span_id
            known = False
            while at is not None and at not in is_below:
                is_below[at] = False  # a cycle ends here
                way.append(at)
                at = self.parents.get(at)
                if at in over:
                    known = True
                    break
            else:
                known = at is not None and is_below[at]
            for one in way:
                is_below[one] = known
        return {span_id for span_id in of if is_below[span_id]}


@dataclass(frozen=True, slots=True)
class NestedSet:
    """Where a span is in its trace: all that is below it has numbers between its own two; roots have the parent -1."""

    left: int
    right: int
    parent: int

    def value_of(self, key: str) -> int:
        """Its number that a field names."""
        return {"nested_left": self.left, "nested_right": self.right}.get(key, self.parent)


def nested_sets(parents: Mapping[int, int | None]) -> dict[int, NestedSet]:
    """Where each span is, by the parents of all; those of a cycle have no place."""
    children: dict[int | None, list[int]] = {}
    for span_id, parent in parents.items():
        children.setdefault(parent if parent in parents else None, []).append(span_id)
    found: dict[int, NestedSet] = {}
    begun: dict[int, int] = {}
    number = 0
    waiting = list(children.get(None, ()))
    while waiting:
        span_id = waiting[-1]
        number += 1
        if span_id not in begun:
            begun[span_id] = number
            waiting += children.get(span_id, ())
        else:
            waiting.pop()
            above = parents[span_id]
            parent = begun.get(above, -1) if above is not None else -1
            found[span_id] = NestedSet(begun[span_id], number, parent)
    return found


def needs_parents(node: Node) -> bool:
    """Whether only the parents of all spans decide; a span's own parent is told with it."""
    if isinstance(node, Operation):
        is_far = node.operator.lstrip("!&") in (">>", "<<") and node.operator != "&&"
        return is_far or needs_parents(node.left) or needs_parents(node.right)
    return not isinstance(node, Filter) and needs_parents(node.source)


def spansets_of(node: Node, trace: TraceSpans) -> list[Spanset]:
    """The sets that `node` makes of a trace, none of them empty."""
    if isinstance(node, Filter):
        spans = trace.matched.get(node.number)
        return [Spanset(spans)] if spans else []
    if isinstance(node, Operation):
        spans = _operated(node, trace)
        return [Spanset(spans)] if spans else []
    found = spansets_of(node.source, trace)
    for stage in node.stages:
        found = _staged(stage, found, trace)
    return found


def _operated(node: Operation, trace: TraceSpans) -> dict[int, FoundSpan]:
    left = _all_of(spansets_of(node.left, trace))
    right = _all_of(spansets_of(node.right, trace))
    if node.operator == "||":
        return left | right
    if node.operator == "&&":
        return left | right if left and right else {}
    relation = node.operator.lstrip("!&")
    related = _related(relation, left, right, trace)
    if node.operator.startswith("!"):
        return {span_id: span for span_id, span in right.items() if span_id not in related}
    found = {span_id: right[span_id] for span_id in related}
    if node.operator.startswith("&"):
        found |= {span_id: left[span_id] for span_id in _related(_INVERSE[relation], right, left, trace)}
    return found


def _related(
    relation: str, left: Mapping[int, FoundSpan], right: Mapping[int, FoundSpan], trace: TraceSpans
) -> set[int]:
    """The spans of the right side that are to some span of the left what `relation` says."""
    if not left:
        return set()
    if relation == ">":
        return {span_id for span_id, span in right.items() if span.parent_span_id in left}
    if relation == "<":
        return right.keys() & {span.parent_span_id for span in left.values()}
    if relation == ">>":
        return trace.below(left, right)
    if relation == "<<":
        return right.keys() & trace.ancestors(left)
    children: dict[int, set[int]] = {}
    for span_id, span in left.items():
        if span.parent_span_id is not None:
            children.setdefault(span.parent_span_id, set()).add(span_id)
    # A span is no sibling of itself.
    return {
        span_id
        for span_id, span in right.items()
        if span.parent_span_id is not None and children.get(span.parent_span_id, {span_id}) != {span_id}
    }


def _all_of(sets: Sequence[Spanset]) -> dict[int, FoundSpan]:
    return {span_id: span for one in sets for span_id, span in one.spans.items()}


def _staged(stage: Stage, sets: Sequence[Spanset], trace: TraceSpans) -> list[Spanset]:
    if isinstance(stage, Coalesced):
        spans = _all_of(sets)
        return [Spanset(spans)] if spans else []
    found: list[Spanset] = []
    for one in sets:
        if isinstance(stage, Filter):
            matched = trace.matched.get(stage.number, {})
            if spans := {span_id: span for span_id, span in one.spans.items() if span_id in matched}:
                found.append(Spanset(spans, one.told))
        elif isinstance(stage, Grouped):
            found += _grouped(stage, one)
        elif (value := _aggregate(stage, one)) is not None and _compared(value, stage.operator, stage.value):
            found.append(Spanset(one.spans, (*one.told, (_title(stage), value))))
    return found


def _grouped(stage: Grouped, of: Spanset) -> list[Spanset]:
    groups: dict[str, dict[int, FoundSpan]] = {}
    values: dict[str, JsonValue] = {}
    for span_id, span in of.spans.items():
        value = span.value_of(stage.field)
        key = f"{type(value).__name__}:{value}"
        values[key] = value
        groups.setdefault(key, {})[span_id] = span
    return [
        Spanset(groups[key], (*of.told, (f"by({stage.field.name})", values[key])))
        for key in sorted(groups, key=lambda key: (-len(groups[key]), key))
    ]


def _aggregate(stage: Aggregated, of: Spanset) -> float | None:
    if stage.field is None:
        return len(of.spans)
    values = [
        value
        for span in of.spans.values()
        if isinstance(value := span.value_of(stage.field), int | float) and not isinstance(value, bool)
    ]
    if not values:
        return None
    if stage.function in ("max", "min"):
        return max(values) if stage.function == "max" else min(values)
    return sum(values) / (len(values) if stage.function == "avg" else 1)


def _title(stage: Aggregated) -> str:
    return f"{stage.function}({'' if stage.field is None else stage.field.name})"


def _compared(value: float, operator: str, wanted: float) -> bool:
    return {
        "=": value == wanted,
        "!=": value != wanted,
        ">": value > wanted,
        ">=": value >= wanted,
        "<": value < wanted,
        "<=": value <= wanted,
    }[operator]
