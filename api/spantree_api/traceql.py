"""The part of TraceQL that Grafana's search builder writes, parsed into searches of spans. Pure.

    query     = spanset [ "|" "select" "(" ... ")" ]
    spanset   = "{" [ or ] "}"
    or        = and { "||" and }
    and       = term { "&&" term }
    term      = "(" or ")" | "true" | "false" | field operator value
    field     = intrinsic | scope ":" intrinsic | "." name | scope "." name         a name may be "quoted"
    operator  = "=" | "!=" | ">" | ">=" | "<" | "<=" | "=~" | "!~"
    value     = string | number | length of time | true | false | nil | ok, error, unset | server, client ...

https://grafana.com/docs/tempo/latest/traceql/. What is beyond it (several spansets, structural operators, aggregates,
arithmetic, comparison of two fields) is refused by name. Bounded: characters, depth, terms, alternatives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias, cast

from spantree_api.errors import InvalidParameter
from spantree_api.span_query import Operator, Place, SpanQuery, Tag, bounded_ns, kind_number, status_number
from spantree_exporter.span import JsonValue

CHARS_MAX: Final = 4_096
_TERMS_MAX: Final = 64
_ALTERNATIVES_MAX: Final = 16
_DEPTH_MAX: Final = 16
_PATTERN_CHARS: Final = 256

_TOKEN: Final = re.compile(
    r"""\s*(?:
    (?P<string>"(?:[^"\\]|\\.)*"|`[^`]*`)
    |(?P<length>\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h)(?![\w.]))
    |(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    |(?P<word>[A-Za-z_][\w.:/-]*(?:"(?:[^"\\]|\\.)*")?|\.[\w./-]*(?:"(?:[^"\\]|\\.)*")?)
    |(?P<sign>&&|\|\||=~|!~|!=|>=|<=|>>|<<|=|>|<|[{}()|!+*/%^~,-])
    )""",
    re.VERBOSE,
)
# As Go's strings have them, in which Tempo writes its language.
_ESCAPE: Final = re.compile(r"\\(?:(?P<code>u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|x[0-9A-Fa-f]{2})|(?P<sign>.))", re.DOTALL)
_ESCAPED: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_UNIT_NS: Final = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3_600 * 10**9}
_SCOPES: Final[dict[str, Place]] = {
    "span": "span",
    "resource": "resource",
    "event": "event",
    "link": "link",
    "instrumentation": "scope",
}
# Field -> what it is among a span's own values (span_query.OWN_FIELDS).
_OWN: Final = {
    "name": "name",
    "span:name": "name",
    "duration": "duration_ns",
    "span:duration": "duration_ns",
    "status": "status",
    "span:status": "status",
    "statusMessage": "status_message",
    "span:statusMessage": "status_message",
    "kind": "kind",
    "span:kind": "kind",
    "event:name": "event_name",
}
# Fields of the whole trace: compared with its summary.
_TRACE: Final = {
    "rootName": "root_name",
    "trace:rootName": "root_name",
    "rootServiceName": "root_service",
    "trace:rootService": "root_service",
    "traceDuration": "duration_ns",
    "trace:duration": "duration_ns",
}
_OPERATORS: Final = frozenset({"=", "!=", ">", ">=", "<", "<=", "=~", "!~"})
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


def parse(text: str, base: SpanQuery) -> list[Alternative]:
    """The ways to match `text`, each with the range and limit of `base`. Raises InvalidParameter."""
    if len(text) > CHARS_MAX:
        raise _refused(f"it has {len(text)} characters: {CHARS_MAX} is the most")
    products = _Parser(text).query()
    return [found for product in products if (found := _alternative(product, base)) is not None]


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0
        self._terms = 0

    def query(self) -> _Sum:
        if not self._tokens:
            return [()]
        self._expect("{")
        products: _Sum = [()] if self._peek() == ("sign", "}") else self._or(0)
        self._expect("}")
        if self._peek() == ("sign", "|"):
            self._at += 1
            kind, name = self._next()
            if (kind, name) != ("word", "select"):
                raise _refused(f"| {name} is not served: only | select(...) is")
            self._at = len(self._tokens)  # which attributes are shown is ours to say
        if self._at < len(self._tokens):
            raise _refused(f"{self._peek()[1]!r} after the first {{ }} is not served: one set of conditions is")
        return products

    def _or(self, depth: int) -> _Sum:
        found = self._and(depth)
        while self._peek() == ("sign", "||"):
            self._at += 1
            found = found + self._and(depth)
            _bound(found)
        return found

    def _and(self, depth: int) -> _Sum:
        found = self._term(depth)
        while self._peek() == ("sign", "&&"):
            self._at += 1
            right = self._term(depth)
            found = [one + other for one in found for other in right]
            _bound(found)
        return found

    def _term(self, depth: int) -> _Sum:
        if depth > _DEPTH_MAX:
            raise _refused(f"parentheses nest deeper than {_DEPTH_MAX}")
        kind, text = self._next()
        if (kind, text) == ("sign", "("):
            found = self._or(depth + 1)
            self._expect(")")
            return found
        if kind == "word" and text in ("true", "false") and self._peek()[1] not in _OPERATORS:
            return [()] if text == "true" else []
        if kind != "word":
            raise _refused(f"{text!r} stands where a field such as resource.service.name is wanted")
        self._terms += 1
        if self._terms > _TERMS_MAX:
            raise _refused(f"it has more than {_TERMS_MAX} conditions")
        _, operator = self._next()
        if operator not in _OPERATORS:
            raise _refused(f"{operator!r} after {text} is not served: wanted one of {' '.join(sorted(_OPERATORS))}")
        return [(self._value(text, cast("Operator", operator)),)]

    def _value(self, field: str, operator: Operator) -> _Term:
        kind, text = self._next()
        if kind == "string":
            return _Term(field, operator, _unquoted(text))
        if kind == "length":
            number = text.rstrip("nsuµmh")
            return _Term(field, operator, bounded_ns(float(number) * _UNIT_NS[text[len(number) :]]), is_length=True)
        if kind == "number":
            number_value: JsonValue = int(text) if re.fullmatch(r"-?\d{1,18}", text) else float(text)
            return _Term(field, operator, number_value)
        if kind == "word" and text in ("true", "false"):
            return _Term(field, operator, text == "true")
        if kind == "word" and text == "nil":
            return _Term(field, operator, None)
        if kind == "word" and "." not in text:
            return _Term(field, operator, text, is_word=True)
        raise _refused(f"{text!r} after {field} {operator} is not served: wanted a value")

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "the end")

    def _next(self) -> tuple[str, str]:
        token = self._peek()
        self._at += 1
        return token

    def _expect(self, sign: str) -> None:
        found = self._next()
        if found != ("sign", sign):
            raise _refused(f"{found[1]!r} stands where {sign} is wanted")


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise _refused(f"{text[at : at + 20]!r} cannot be read")
        yield found.lastgroup, found[found.lastgroup]
        at = found.end()


def _bound(products: _Sum) -> None:
    if len(products) > _ALTERNATIVES_MAX or sum(map(len, products)) > _TERMS_MAX * _ALTERNATIVES_MAX:
        raise _refused(f"it has more than {_ALTERNATIVES_MAX} alternatives")


def _alternative(terms: tuple[_Term, ...], base: SpanQuery) -> Alternative | None:
    """One product as a search; None where no span can be all of it."""
    fields: dict[str, Any] = {}
    tags = list(base.tags)
    trace: list[TraceCondition] = []

    def put(name: str, value: object) -> bool:
        # Two values of one field: no span has both.
        return bool(fields.setdefault(name, value) == value)

    for term in terms:
        if term.field in _TRACE:
            trace.append(_trace_condition(term))
        elif term.field in ("nestedSetParent", "span:parentID"):
            # What Grafana writes for "root spans only": nestedSetParent<0.
            tags.append(Tag("is_root", value=term.operator in ("<", "<=", "="), place="own"))
        elif term.field in _OWN:
            tag = _own_tag(_OWN[term.field], term)
            if tag.operator == "=" and tag.key in ("name", "kind", "status"):
                name = {"name": "operation"}.get(tag.key, tag.key)
                if not put(name, tag.text if tag.key == "name" else tag.value):
                    return None
            else:
                tags.append(tag)
        else:
            found = _attribute_tag(term)
            if (found.place, found.key, found.operator) == ("resource", "service.name", "=") and found.text is not None:
                if not put("service", found.text):
                    return None
            else:
                tags.append(found)
    # An attribute may be called so, too.
    own = [tag for tag in tags if (tag.place, tag.key) == ("own", "duration_ns")]
    shortest = [bounded_ns(cast("float", tag.value)) for tag in own if tag.operator in (">", ">=", "=")]
    if shortest:
        # Beside the tag, for the index.
        fields["min_duration_ns"] = max(shortest)
    return Alternative(replace(base, **fields, tags=tuple(tags)), tuple(trace))


def _trace_condition(term: _Term) -> TraceCondition:
    field = _TRACE[term.field]
    if (field == "duration_ns") != term.is_length and not (field == "duration_ns" and _is_number(term.value)):
        raise _refused(f"{term.field} cannot be compared with {term.value!r}")
    if term.operator in ("=~", "!~") and re.search(r"[\\^$?+\[\](){}]", _check_pattern(term).replace(".*", "")):
        # Python would run it, which may take for ever on the wrong one.
        raise _refused(f"the pattern of {term.field} is more than texts, | and .*")
    return TraceCondition(field, term.operator, cast("str | float", term.value))


def _own_tag(key: str, term: _Term) -> Tag:
    value = term.value
    if key in ("kind", "status"):
        number = (kind_number if key == "kind" else status_number)(str(value))
        if number is None or term.operator not in ("=", "!="):
            raise _refused(f"{term.field} {term.operator} {value!r} is not served: wanted = or != and a known {key}")
        return Tag(key, value=number, place="own", operator=term.operator)
    if key == "duration_ns":
        if not _is_number(value):
            raise _refused(f"{term.field} is compared with {value!r}: wanted a length of time such as 100ms")
        return Tag(key, value=value, place="own", operator=term.operator)
    if not isinstance(value, str):
        raise _refused(f"{term.field} {term.operator} {value!r}: wanted a text")
    return _compared(key, term, "own")


def _attribute_tag(term: _Term) -> Tag:
    scope, _, name = term.field.partition(".")
    if scope == "" and name:
        return _compared(_name(name), term, "any")
    if scope in _SCOPES and name:
        return _compared(_name(name), term, _SCOPES[scope])
    raise _refused(
        f"{term.field} is no field that is served: wanted .name, span.name, resource.name, name, duration ..."
    )


def _compared(key: str, term: _Term, place: Place) -> Tag:
    if term.operator in ("=~", "!~"):
        # PostgreSQL takes flags at the very beginning only, and has Go's i and s.
        pattern = _check_pattern(term)
        flags = re.match(r"(?:\(\?[is]+\))?", pattern)
        assert flags is not None  # noqa: S101  # nothing matches as well
        return Tag(key, text=f"{flags[0]}^(?:{pattern[flags.end() :]})$", place=place, operator=term.operator)
    if term.operator in _ORDERED and not _is_number(term.value):
        raise _refused(f"{term.field} {term.operator} {term.value!r}: wanted a number")
    if term.value is None:
        raise _refused(f"{term.field} {term.operator} nil is not served")
    if isinstance(term.value, str):
        return Tag(key, text=term.value, place=place, operator=term.operator)
    return Tag(key, value=term.value, place=place, operator=term.operator)


def _check_pattern(term: _Term) -> str:
    pattern = term.value
    if not isinstance(pattern, str) or term.is_word or len(pattern) > _PATTERN_CHARS:
        raise _refused(f"{term.field} {term.operator} wants a text of {_PATTERN_CHARS} characters at most")
    try:
        re.compile(pattern)
    except re.error as error:
        raise _refused(f"the pattern of {term.field} cannot be read: {error}") from None
    # Back references and look-around, which TraceQL has not, are what can take for ever.
    if re.search(r"\\[1-9]|\(\?[=!<]", pattern):
        raise _refused(f"the pattern of {term.field} has a back reference or looks around")
    return pattern


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


def _name(name: str) -> str:
    return _unquoted(name) if name.startswith('"') else name


def _unquoted(text: str) -> str:
    return text[1:-1] if text.startswith("`") else _ESCAPE.sub(_unescaped, text[1:-1])


def _unescaped(found: re.Match[str]) -> str:
    if found["code"] is None:
        return _ESCAPED.get(found["sign"], found["sign"])
    try:
        character = chr(int(found["code"].lstrip("uUx"), 16))
        character.encode()
    except (ValueError, OverflowError):
        raise _refused(f"{found[0]} is no character") from None
    if character == "\x00":
        raise _refused(f"{found[0]} is in no stored text")
    return character


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refused(why: str) -> InvalidParameter:
    return InvalidParameter("q", f"this TraceQL is not understood: {why}")
