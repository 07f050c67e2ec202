"""TraceQL's searches: sets of spans, what they have to do with each other, and what becomes of them. Pure.

    query     = all { "|" stage } [ "with" "(" ... ")" ]          hints are passed over: the newest are always found
    all       = related { ( "&&" | "||" ) related }
    related   = set { ( ">" | ">>" | "<" | "<<" | "~", each also after "!" or "&" ) set }       from left to right
    set       = "{" ... "}" | "(" all { "|" stage } ")"
    stage     = "{" ... "}" | "by" "(" field ")" | "coalesce" "(" ")" | "select" "(" field { "," field } ")"
              | ( "count" "(" ")" | ( "avg" | "max" | "min" | "sum" ) "(" field ")" ) ( "=" | "!=" | ">" ... ) number

https://grafana.com/docs/tempo/latest/traceql/. A query that begins with a stage has all spans before it. Metrics and
arithmetic are refused by name. Bounded: characters, sets, stages, depth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from spantree_api.span_search.query import SpanQuery
from spantree_api.span_search.traceql_fields import Field, field_of
from spantree_api.span_search.traceql_filter import Alternative, filter_of, number_of
from spantree_api.span_search.traceql_tokens import CHARS_MAX as CHARS_MAX
from spantree_api.span_search.traceql_tokens import Tokens, nanoseconds, refused

_SETS_MAX: Final = 8
_STAGES_MAX: Final = 16
_DEPTH_MAX: Final = 8
# What the spans of the right side have to be to some of the left; "!": to none; "&": those of the left are told, too.
RELATIONS: Final = frozenset({">", ">>", "<", "<<", "~"})
_STRUCTURAL: Final = RELATIONS | {"!" + one for one in RELATIONS} | {"&" + one for one in RELATIONS}
COMPARISONS: Final = frozenset({"=", "!=", ">", ">=", "<", "<="})
_AGGREGATES: Final = frozenset({"count", "avg", "max", "min", "sum"})
METRICS: Final = frozenset({
    "rate", "count_over_time", "min_over_time", "max_over_time", "avg_over_time", "sum_over_time",
    "quantile_over_time", "histogram_over_time", "compare", "topk", "bottomk",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Filter:
    """Spans that match in any of some ways; `number` tells filters of one query apart."""

    number: int
    alternatives: tuple[Alternative, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """Two sets and what they have to do with each other: &&, ||, or one of the structural operators."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Grouped:
    """A stage: a set for each value of a field."""

    field: Field


@dataclass(frozen=True, slots=True)
class Coalesced:
    """A stage: one set again."""


@dataclass(frozen=True, slots=True)
class Aggregated:
    """A stage: sets of whose spans this holds. `field` is None for their count."""

    function: str
    field: Field | None
    operator: str
    value: float


Stage: TypeAlias = Filter | Grouped | Coalesced | Aggregated


@dataclass(frozen=True, slots=True)
class Piped:
    """A set and what becomes of it, stage by stage."""

    source: Node
    stages: tuple[Stage, ...]


Node: TypeAlias = Filter | Operation | Piped


@dataclass(frozen=True, slots=True)
class TraceQuery:
    """What is searched for, and which fields answers tell of each span."""

    root: Node
    told: tuple[Field, ...] = ()
    # What sets are grouped and summed up by.
    compared: tuple[Field, ...] = ()

    @property
    def fields(self) -> tuple[Field, ...]:
        """All that has to be known of each span."""
        return (*self.told, *self.compared)

    @property
    def filters(self) -> list[Filter]:
        """Every filter of it."""
        return _filters(self.root)

    @property
    def is_of_single_spans(self) -> bool:
        """Whether spans alone decide, one by one."""
        return isinstance(self.root, Filter)

    def leads(self) -> list[Alternative]:
        """Ways to match of which each trace that is found has a span: by whichever find fewer."""
        return _leads(self.root)


def parse(text: str, base: SpanQuery) -> TraceQuery:
    """The search that `text` is; each of its filters has the range and limit of `base`. Raises InvalidParameter."""
    parser = SearchParser(Tokens(text), base)
    root = parser.query()
    parser.end()
    return TraceQuery(root, tuple(parser.told), tuple(parser.compared))


@dataclass(slots=True)
class SearchParser:
    """Reads a search from its tokens on; `told` and `compared` are the fields that it names."""

    tokens: Tokens
    base: SpanQuery
    sets: int = 0
    stages: int = 0
    told: dict[Field, None] = field(default_factory=dict)
    compared: dict[Field, None] = field(default_factory=dict)

    def query(self) -> Node:
        """The sets of the search, up to its end or the function of a metrics query. Raises InvalidParameter."""
        kind, text = self.tokens.peek()
        if kind == "end":
            return Filter(0, (Alternative(self.base),))
        if kind == "word" and text != "with":
            return self._piped(Filter(self._one_more_set(), (Alternative(self.base),)), self._stage())
        return self._piped(self._all(0))

    def end(self) -> None:
        """Nothing but hints is left, which are passed over. Raises InvalidParameter."""
        self._pass_over_hints()
        _, text = self.tokens.peek()
        if text in METRICS:
            raise refused(f"{text} is of a metrics query, which is no search")
        if not self.tokens.is_over:
            raise refused(f"{text!r} is not served where it stands")

    def _all(self, depth: int) -> Node:
        found = self._related(depth)
        while self.tokens.peek()[1] in ("&&", "||"):
            _, operator = self.tokens.next()
            found = Operation(operator, found, self._related(depth))
        return found

    def _related(self, depth: int) -> Node:
        found = self._set(depth)
        while self.tokens.peek()[1] in _STRUCTURAL:
            _, operator = self.tokens.next()
            found = Operation(operator, found, self._set(depth))
        return found

    def _set(self, depth: int) -> Node:
        if depth > _DEPTH_MAX:
            raise refused(f"parentheses nest deeper than {_DEPTH_MAX}")
        if self.tokens.take("("):
            found = self._piped(self._all(depth + 1))
            self.tokens.expect(")")
            return found
        return self._filter()

    def _filter(self) -> Filter:
        number = self._one_more_set()
        alternatives, fields = filter_of(self.tokens, self.base)
        self.told.update(dict.fromkeys(one for one in fields if one.is_told))
        return Filter(number, tuple(alternatives))

    def _one_more_set(self) -> int:
        self.sets += 1
        if self.sets > _SETS_MAX:
            raise refused(f"it has more than {_SETS_MAX} sets of spans")
        return self.sets

    def _piped(self, source: Node, *stages: Stage | None) -> Node:
        found = [*stages]
        while self.tokens.take("|") and self.tokens.peek()[1] not in METRICS:
            found.append(self._stage())
        kept = tuple(one for one in found if one is not None)
        return Piped(source, kept) if kept else source

    def _stage(self) -> Stage | None:
        self.stages += 1
        if self.stages > _STAGES_MAX:
            raise refused(f"it has more than {_STAGES_MAX} stages")
        if self.tokens.peek() == ("sign", "{"):
            return self._filter()
        _, name = self.tokens.next()
        if name == "select":
            self.told.update(dict.fromkeys(one for one in self._fields() if one.is_told))
            return None
        if name == "coalesce":
            self._no_fields()
            return Coalesced()
        if name == "by":
            return Grouped(self._one_told(name))
        if name in _AGGREGATES:
            return self._aggregated(name)
        raise refused(f"| {name} is not served: select, by, coalesce, count, avg, max, min and sum are")

    def _aggregated(self, name: str) -> Aggregated:
        if name == "count":
            self._no_fields()
            wanted = None
        else:
            wanted = self._one_told(name)
        _, operator = self.tokens.next()
        if operator not in COMPARISONS:
            raise refused(f"{operator!r} after {name}() is not served: wanted one of {' '.join(sorted(COMPARISONS))}")
        kind, text = self.tokens.next()
        if kind not in ("number", "length"):
            raise refused(f"{text!r} after {name}() {operator} is not served: wanted a number or a length of time")
        return Aggregated(name, wanted, operator, nanoseconds(text) if kind == "length" else number_of(text))

    def _one_told(self, name: str) -> Field:
        fields = self._fields()
        if len(fields) != 1 or not fields[0].is_told:
            raise refused(f"{name}() wants one field that is told of a span")
        self.compared[fields[0]] = None
        return fields[0]

    def _no_fields(self) -> None:
        self.tokens.expect("(")
        self.tokens.expect(")")

    def _fields(self) -> list[Field]:
        self.tokens.expect("(")
        found: list[Field] = []
        while True:
            _, name = self.tokens.next()
            found.append(field_of(name))
            if not self.tokens.take(","):
                self.tokens.expect(")")
                return found

    def _pass_over_hints(self) -> None:
        if self.tokens.peek() != ("word", "with"):
            return
        self.tokens.next()
        self.tokens.expect("(")
        while not self.tokens.take(")"):
            if self.tokens.is_over:
                raise refused("the hints after with are not closed")
            self.tokens.next()


def _filters(node: Node) -> list[Filter]:
    if isinstance(node, Filter):
        return [node]
    if isinstance(node, Operation):
        return _filters(node.left) + _filters(node.right)
    return _filters(node.source) + [stage for stage in node.stages if isinstance(stage, Filter)]


def _leads(node: Node) -> list[Alternative]:
    if isinstance(node, Filter):
        return list(node.alternatives)
    if isinstance(node, Piped):
        return _leads(node.source)
    left, right = _leads(node.left), _leads(node.right)
    if node.operator == "||":
        return list(dict.fromkeys(left + right))
    # None of the left side need be there for what is no relation to it.
    return right if node.operator.startswith("!") else min(left, right, key=_breadth)


def _breadth(alternatives: list[Alternative]) -> tuple[bool, bool, int, int]:
    queries = [one.query for one in alternatives]
    by_walking = any(not one.conditions() and not one.is_by_duration and one.trace_id is None for one in queries)
    of_any_service = any(one.service is None and one.search() is None and one.trace_id is None for one in queries)
    return by_walking, of_any_service, len(queries), -min((len(one.conditions()) for one in queries), default=0)
