"""One set of conditions of TraceQL, `{ ... }`, parsed into searches of spans. Pure.

    spanset   = "{" [ all ] "}"
    all       = term { ( "&&" | "||" ) term }           from left to right: Tempo binds neither closer than the other
    term      = "(" all ")" | "true" | "false" | field [ operator value ]
    field     = intrinsic | scope ":" intrinsic | "." name | "scope." name         a name may be "quoted"
    operator  = "=" | "!=" | ">" | ">=" | "<" | "<=" | "=~" | "!~"
    value     = string | number | length of time | true | false | nil | ok, error, unset | server, client ...

https://grafana.com/docs/tempo/latest/traceql/. What is beyond it (arithmetic, negations, comparison of two fields) is
refused by name. Bounded: depth, terms, alternatives.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias, cast
from uuid import UUID

from spantree_api.span_search.go_pattern import whole_text_pattern
from spantree_api.span_search.query import Operator, Place, SpanQuery, Tag, bounded_ns, kind_number, status_number
from spantree_api.span_search.traceql_fields import TRACE, Field, field_of
from spantree_api.span_search.traceql_tokens import Tokens, nanoseconds, refused, unquoted
from spantree_exporter.span import JsonValue

TRACE_ID: Final = "trace:id"
_TERMS_MAX: Final = 64
_ALTERNATIVES_MAX: Final = 16
_DEPTH_MAX: Final = 16

_OPERATORS: Final = frozenset({"=", "!=", ">", ">=", "<", "<=", "=~", "!~"})
# Equal values of these are fields of the search.
_FIELDS: Final[dict[tuple[Place, str], str]] = {
    ("own", "name"): "operation",
    ("own", "kind"): "kind",
    ("own", "status"): "status",
    ("resource", "service.name"): "service",
}
_ID_DIGITS: Final = {"span_id": 16, "parent_id": 16, "link_span_id": 16, "link_trace_id": 32}
# What comes after an attribute that is to be true.
_ENDS: Final = frozenset({"}", ")", "&&", "||"})
_ORDERED: Final = frozenset({">", ">=", "<", "<="})


@dataclass(frozen=True, slots=True)
class TraceCondition:
    """What the trace as a whole has to be: its root's name or service, its duration."""

    field: str
    operator: Operator
    value: str | float

    def holds(self, held: str | float) -> bool:
        """Whether the trace's value is as asked."""
        if self.operator in ("=~", "!~"):
            matches = any(_is_like(part, str(held)) for part in str(self.value).split("|"))
            return matches == (self.operator == "=~")
        if self.operator in ("=", "!="):
            return (held == self.value) == (self.operator == "=")
        if isinstance(held, str) or isinstance(self.value, str):
            return False
        compared: dict[str, bool] = {
            ">": held > self.value,
            ">=": held >= self.value,
            "<": held < self.value,
            "<=": held <= self.value,
        }
        return compared[self.operator]


@dataclass(frozen=True, slots=True)
class Alternative:
    """One way to match: what one span, and the trace, has to be."""

    query: SpanQuery
    trace: tuple[TraceCondition, ...] = ()


@dataclass(frozen=True, slots=True)
class _Term:
    field: str
    operator: Operator
    value: JsonValue
    is_length: bool = False
    is_word: bool = False


# A sum of products: any of these, each of which is all of its terms.
_Sum: TypeAlias = list[tuple[_Term, ...]]


def filter_of(tokens: Tokens, base: SpanQuery) -> tuple[list[Alternative], list[Field]]:
    """The ways to match the `{ ... }` that comes next, each with the range and limit of `base`, and its fields.

    Raises InvalidParameter.
    """
    parser = _Parser(tokens)
    found = [one for product in parser.spanset() if (one := _alternative(product, base)) is not None]
    return found, [field_of(name) for name in parser.names if name not in TRACE and name != TRACE_ID]


class _Parser:
    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._terms = 0
        self.names: dict[str, None] = {}

    def spanset(self) -> _Sum:
        self._tokens.expect("{")
        products: _Sum = [()] if self._tokens.peek() == ("sign", "}") else self._all(0)
        self._tokens.expect("}")
        return products

    def _all(self, depth: int) -> _Sum:
        found = self._term(depth)
        while True:
            if self._tokens.take("||"):
                found = found + self._term(depth)
            elif self._tokens.take("&&"):
                right = self._term(depth)
                found = [one + other for one in found for other in right]
            else:
                return found
            if len(found) > _ALTERNATIVES_MAX or sum(map(len, found)) > _TERMS_MAX * _ALTERNATIVES_MAX:
                raise refused(f"it has more than {_ALTERNATIVES_MAX} alternatives")

    def _term(self, depth: int) -> _Sum:
        if depth > _DEPTH_MAX:
            raise refused(f"parentheses nest deeper than {_DEPTH_MAX}")
        kind, text = self._tokens.next()
        if (kind, text) == ("sign", "("):
            found = self._all(depth + 1)
            self._tokens.expect(")")
            return found
        if kind == "word" and text in ("true", "false") and self._tokens.peek()[1] not in _OPERATORS:
            return [()] if text == "true" else []
        if kind != "word":
            raise refused(f"{text!r} stands where a field such as resource.service.name is wanted")
        self._terms += 1
        if self._terms > _TERMS_MAX:
            raise refused(f"it has more than {_TERMS_MAX} conditions")
        self.names[text] = None
        if self._tokens.peek()[1] in _ENDS and "." in text:
            return [(_Term(text, "=", value=True),)]
        _, operator = self._tokens.next()
        if operator not in _OPERATORS:
            raise refused(f"{operator!r} after {text} is not served: wanted one of {' '.join(sorted(_OPERATORS))}")
        return [(self._value(text, cast("Operator", operator)),)]

    def _value(self, field: str, operator: Operator) -> _Term:
        kind, text = self._tokens.next()
        if kind == "string":
            return _Term(field, operator, unquoted(text))
        if kind == "length":
            return _Term(field, operator, nanoseconds(text), is_length=True)
        if kind == "number":
            return _Term(field, operator, number_of(text))
        if kind == "word" and text in ("true", "false"):
            return _Term(field, operator, text == "true")
        if kind == "word" and text == "nil":
            return _Term(field, operator, None)
        if kind == "word" and "." not in text:
            return _Term(field, operator, text, is_word=True)
        raise refused(f"{text!r} after {field} {operator} is not served: wanted a value")


def number_of(text: str) -> int | float:
    """A number as it is written."""
    return int(text) if re.fullmatch(r"-?\d{1,18}", text) else float(text)


def _alternative(terms: tuple[_Term, ...], base: SpanQuery) -> Alternative | None:
    """One product as a search; None where no span can be all of it."""
    fields: dict[str, Any] = {}
    tags = list(base.tags)
    trace: list[TraceCondition] = []

    def put(name: str, value: object) -> bool:
        # Two values of one field: no span has both.
        return bool(fields.setdefault(name, value) == value)

    for term in terms:
        if term.field in TRACE:
            trace.append(_trace_condition(term))
        elif term.field == TRACE_ID:
            if not put("trace_id", _trace_id(term)):
                return None
        elif _is_of_parents(term):
            if not put("is_root", _is_of_roots(term)):
                return None
        else:
            tag = _tag(term)
            if (tag.place, tag.key, tag.operator) == ("resource", "service.name", "there"):
                continue  # every span has one, as Tempo has it: Grafana asks so of whatever it groups by
            name = _FIELDS.get((tag.place, tag.key)) if tag.operator == "=" else None
            value = tag.value if tag.text is None else tag.text
            if name is None or (name == "service" and tag.text is None):
                tags.append(tag)
            elif not put(name, value):
                return None
    # An attribute may be called so, too.
    own = [tag for tag in tags if (tag.place, tag.key) == ("own", "duration_ns")]
    shortest = [bounded_ns(cast("float", tag.value)) for tag in own if tag.operator in (">", ">=", "=")]
    if shortest:
        # Beside the tag, for the index.
        fields["min_duration_ns"] = max(shortest)
    return Alternative(replace(base, **fields, tags=tuple(tags)), tuple(trace))


def _trace_condition(term: _Term) -> TraceCondition:
    field = TRACE[term.field]
    if (field == "duration_ns") != term.is_length and not (field == "duration_ns" and _is_number(term.value)):
        raise refused(f"{term.field} cannot be compared with {term.value!r}")
    if term.operator in ("=~", "!~"):
        _pattern_of(term)
        if re.search(r"[\\^$?+\[\](){}]", cast("str", term.value).replace(".*", "")):
            # Python would run it, which may take for ever on the wrong one.
            raise refused(f"the pattern of {term.field} is more than texts, | and .*")
    return TraceCondition(field, term.operator, cast("str | float", term.value))


def _trace_id(term: _Term) -> UUID:
    if term.operator != "=" or not isinstance(term.value, str) or not re.fullmatch("[0-9a-fA-F]{1,32}", term.value):
        raise refused(f"{term.field} {term.operator} {term.value!r} is not served: wanted = and up to 32 hex digits")
    return UUID(hex=term.value.zfill(32))


def _tag(term: _Term) -> Tag:
    field = field_of(term.field)
    key, value = field.key, term.value
    if field.is_nested:
        raise refused(
            f"{term.field} {term.operator} {value!r} is not served: of these only nestedSetParent is compared"
        )
    if field.place != "own":
        return _compared(key, term, field.place)
    if key in ("kind", "status"):
        number = (kind_number if key == "kind" else status_number)(str(value))
        if number is None or term.operator not in ("=", "!="):
            raise refused(f"{term.field} {term.operator} {value!r} is not served: wanted = or != and a known {key}")
        return Tag(key, value=number, place="own", operator=term.operator)
    if key == "duration_ns":
        if not _is_number(value):
            raise refused(f"{term.field} is compared with {value!r}: wanted a length of time such as 100ms")
        return Tag(key, value=value, place="own", operator=term.operator)
    if not isinstance(value, str):
        raise refused(f"{term.field} {term.operator} {value!r}: wanted a text")
    if digits := _ID_DIGITS.get(key):
        term = replace(term, value=value.lower().zfill(digits))
    return _compared(key, term, "own")


def _is_of_parents(term: _Term) -> bool:
    """Whether a condition is on there being a parent."""
    return term.field == "nestedSetParent" or (term.field == "span:parentID" and term.value == "")


def _is_of_roots(term: _Term) -> bool:
    """Whether a condition on the parent wants roots, whose nestedSetParent is -1, or all others (1 and up)."""
    of_roots = {("=", -1), ("=", ""), ("<=", -1), ("<", 0), ("<=", 0), ("<", 1)}
    of_others = {("!=", -1), ("!=", ""), (">", -1), (">=", 0), (">", 0), (">=", 1)}
    if (term.operator, term.value) in of_roots:
        return True
    if (term.operator, term.value) in of_others:
        return False
    raise refused(f"{term.field} {term.operator} {term.value!r} is not served: roots are those of nestedSetParent < 0")


def _compared(key: str, term: _Term, place: Place) -> Tag:
    if term.operator in ("=~", "!~"):
        return Tag(key, text=_pattern_of(term), place=place, operator=term.operator)
    if term.value is None and term.operator in ("=", "!="):
        return Tag(key, place=place, operator="missing" if term.operator == "=" else "there")
    if term.operator in _ORDERED and not _is_number(term.value):
        raise refused(f"{term.field} {term.operator} {term.value!r}: wanted a number")
    if isinstance(term.value, str):
        return Tag(key, text=term.value, place=place, operator=term.operator)
    return Tag(key, value=term.value, place=place, operator=term.operator)


def _pattern_of(term: _Term) -> str:
    if not isinstance(term.value, str) or term.is_word:
        raise refused(f"{term.field} {term.operator} wants a text")
    try:
        return whole_text_pattern(term.value)
    except ValueError as error:
        raise refused(f"the pattern of {term.field}: {error}") from None


def _is_like(pattern: str, text: str) -> bool:
    """Whether all of `text` is like `pattern`, in which only .* means more than itself."""
    first, *rest = pattern.split(".*")
    if not rest:
        return text == first
    if not text.startswith(first):
        return False
    at = len(first)
    for part in rest[:-1]:
        at = text.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return text.endswith(rest[-1]) and len(text) - len(rest[-1]) >= at


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
