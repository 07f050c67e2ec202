"""What Jaeger, Tempo and Grafana search traces by, and how it is put to the database. Pure.

A trace matches where one of its spans has all that is asked for: service, name, kind, status, start, duration and every
tag. A tag is looked for in the attributes of the span, its resource, its scope, its events and its links.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias
from uuid import UUID

import orjson

from spantree_exporter.search_text import ERROR_SPAN, MANY_OPERATIONS, all_of, at_least_terms, operation_term
from spantree_exporter.span import STATUS_ERROR, JsonValue
from spantree_exporter.stored import stored_key
from spantree_exporter.terms.of_span import attribute_term, error_term, name_term, text_terms
from spantree_exporter.terms.segment import duration_code

# Where a tag is looked for: in any set of attributes, in those of one of five, or among what every span has itself.
Place: TypeAlias = Literal["any", "span", "resource", "scope", "event", "link", "own"]
# How it is compared: `=~` and `!~` by a regular expression that has to match all of the text, "there" and "missing" by
# whether the attribute is there at all. Of a list any item may do, and none may be what `!=` names.
Operator: TypeAlias = Literal["=", "!=", ">", ">=", "<", "<=", "=~", "!~", "there", "missing"]
# What a Tag in place "own" can name.
OWN_FIELDS: Final = (
    "name", "service", "kind", "status", "status_message", "duration_ns", "event_name", "span_id",
    "parent_id", "scope_name", "scope_version", "link_trace_id", "link_span_id",
)  # fmt: skip

NS_MIN, NS_MAX = -(1 << 63), (1 << 63) - 1
_KINDS: Final = {"unspecified": 0, "internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
_STATUSES: Final = {"unset": 0, "ok": 1, "error": 2}
_TRUE: Final = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}


@dataclass(frozen=True, slots=True)
class Tag:
    """An attribute that a span has to have. `text` also finds a number or a bool that is written so.

    Numbers are compared by `value`, patterns are in `text`.
    """

    key: str
    value: JsonValue = None
    text: str | None = None
    place: Place = "any"
    operator: Operator = "="


@dataclass(frozen=True, slots=True)
class SpanQuery:
    """What one span of a trace has to be; None for anything. Times are UTC nanoseconds, both bounds inside.

    `limit` is how many traces are wanted, newest first.
    """

    service: str | None = None
    operation: str | None = None
    kind: int | None = None
    status: int | None = None
    failed: bool | None = None
    tags: tuple[Tag, ...] = ()
    from_ns: int = NS_MIN
    to_ns: int = NS_MAX
    min_duration_ns: int | None = None
    max_duration_ns: int | None = None
    scope_name: str | None = None
    scope_version: str | None = None
    # Whether it is below no other.
    is_root: bool | None = None
    # Only this trace is looked at.
    trace_id: UUID | None = None
    limit: int = 100

    def search(self) -> str | None:
        """The tsquery over `execution.search` that every match satisfies; None where it cannot narrow anything down."""
        groups: list[Sequence[str]] = []
        if self.operation is not None and self.service is not None:
            groups.append([operation_term(self.service, self.operation), MANY_OPERATIONS])
        if self.failed or self.status == STATUS_ERROR:
            groups.append([ERROR_SPAN])
        if self.min_duration_ns is not None and self.min_duration_ns > 0:
            groups.append(at_least_terms(self.min_duration_ns))
        return all_of(*groups)

    def conditions(self) -> list[TermCondition]:
        """What its terms say of each match (terms/of_span.py): one span has some term of each.

        Empty where neither a tag has a term (patterns, comparisons by size, what a span is itself) nor durations are
        bounded nor a name is asked for of any service: executions are then found by less.
        """
        found = [condition for tag in self.tags if (condition := _condition_of(tag)) is not None]
        if not found and not self.is_by_duration and (self.operation is None or self.service is not None):
            return []
        if self.operation is not None:
            found.append(TermCondition(frozenset({name_term(self.operation)})))
        if self.failed or self.status == STATUS_ERROR:
            found.append(TermCondition(frozenset({error_term()})))
        return found

    @property
    def is_of_any(self) -> bool:
        """Whether all spans of its range are what is asked for."""
        return self == SpanQuery(from_ns=self.from_ns, to_ns=self.to_ns, limit=self.limit)

    @property
    def is_by_duration(self) -> bool:
        """Whether not every span takes as long as is asked for."""
        return (self.min_duration_ns or 0) > 0 or self.max_duration_ns is not None

    def duration_codes(self) -> tuple[int, int]:
        """The codes (terms/segment.py) that the duration of each match is between."""
        longest_ns = NS_MAX if self.max_duration_ns is None else self.max_duration_ns
        return duration_code(self.min_duration_ns or 0), duration_code(longest_ns)

    def parameters(self) -> dict[str, object]:
        """For the part `where_matching`."""
        return {
            "service": self.service,
            "operation": self.operation,
            "kind": self.kind,
            "status": self.status,
            "failed": self.failed,
            "is_root": self.is_root,
            "from_ns": self.from_ns,
            "to_ns": self.to_ns,
            "min_duration_ns": self.min_duration_ns,
            "max_duration_ns": self.max_duration_ns,
            "scope_name": self.scope_name,
            "scope_version": self.scope_version,
            # Spans without it, and without events and links, need no closer look.
            "needed_key": next(
                (stored_key(tag.key) for tag in self.tags if tag.place != "own" and tag.operator != "missing"), None
            ),
            "tags_there": sum(tag.operator != "missing" for tag in self.tags),
            "tag_keys": [stored_key(tag.key) for tag in self.tags],
            "tag_operators": [tag.operator for tag in self.tags],
            "tag_numbers": [
                float(tag.value) if isinstance(tag.value, int | float) and not isinstance(tag.value, bool) else None
                for tag in self.tags
            ],
            "tag_places": [tag.place for tag in self.tags],
            "tag_texts": [tag.text for tag in self.tags],
            "tag_values": [None if tag.text is not None else orjson.dumps(tag.value).decode() for tag in self.tags],
        }


@dataclass(frozen=True, slots=True)
class TermCondition:
    """Terms of which a match has one, or whose resource has the attribute of `tag`."""

    terms: frozenset[int]
    tag: Tag | None = None


def _condition_of(tag: Tag) -> TermCondition | None:
    if tag.operator != "=" or tag.place == "own":
        return None
    key = stored_key(tag.key)
    terms = text_terms(key, tag.text) if tag.text is not None else {attribute_term(key, tag.value)}
    terms.add(attribute_term(key, []))  # an item of a list
    of_resource = tag if tag.place in ("any", "resource") else None
    return TermCondition(frozenset() if tag.place == "resource" else frozenset(terms), of_resource)


@dataclass(slots=True)
class QueryParts:
    """A SpanQuery in the making: what tags mean that stand for no attribute (`error`, `span.kind` ...).

    https://www.jaegertracing.io/docs/2.13/: those that Jaeger's own stores know.
    """

    kind: int | None = None
    status: int | None = None
    failed: bool | None = None
    scope_name: str | None = None
    scope_version: str | None = None
    tags: list[Tag] = field(default_factory=list)

    def add(self, key: str, value: JsonValue, *, is_text: bool) -> None:
        """Add one tag; `is_text`: the sender knows no types, so that its text may be any scalar's."""
        text = value if isinstance(value, str) else None
        if key == "error" and (wanted := _truth(value)) is not None:
            self.failed = wanted
        elif key == "span.kind" and text is not None and text.lower() in _KINDS:
            self.kind = _KINDS[text.lower()]
        elif key in ("span.status", "otel.status_code") and text is not None:
            self.status = _STATUSES.get(text.lower(), 0)
        elif key in ("scope.name", "otel.scope.name", "otel.library.name") and text is not None:
            self.scope_name = text
        elif key in ("scope.version", "otel.scope.version", "otel.library.version") and text is not None:
            self.scope_version = text
        else:
            place: Place = "any"
            if key.startswith("resource."):
                key, place = key.removeprefix("resource."), "resource"
            if is_text and text is not None:
                self.tags.append(Tag(key, text=text, place=place))
            else:
                self.tags.append(Tag(key, value=value, place=place))


def bounded_ns(number: float) -> int:
    """A number of nanoseconds that somebody asks for, as the nearest one that a stored time or duration can have."""
    # Not by min() of floats: the nearest float to NS_MAX is beyond it.
    if number >= NS_MAX:
        return NS_MAX
    return NS_MIN if number <= NS_MIN else round(number)


def status_number(name: str) -> int | None:
    """The status code of a name; None for one that there is not."""
    return _STATUSES.get(name.lower())


def kind_name(kind: int) -> str:
    """A span kind as Jaeger writes it; empty where none is told."""
    return next((name for name, number in _KINDS.items() if number == kind and kind), "")


def kind_number(name: str) -> int | None:
    """The span kind of a name; None for one that there is not."""
    return _KINDS.get(name.lower())


def _truth(value: JsonValue) -> bool | None:
    if isinstance(value, bool):
        return value
    return _TRUE.get(value.lower()) if isinstance(value, str) else None
