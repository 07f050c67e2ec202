"""What an execution is found by: words, and `key:value` of attributes, as the lexemes of a tsvector. Pure.

The words are made here and not by PostgreSQL's parser, so that search takes a text apart exactly as storing did, in any
language and by whatever locale the server has:

    "charge_card: CardError 402"  ->  charge card carderror error 402
    http.route = "/chat"          ->  =http.route:/chat  chat
    a span "GET /chat" of "api"   ->  @api:GET /chat
    a longest span of 90 ms       ->  ~7, as 90 has seven binary digits
    a span whose status is error  ->  ^error

An attribute's lexeme begins with a sign that no word does: a search for what begins with "http" is then not led
through every value of http.route. The root's attributes are told
(`facts_of_span`, and the statement span_facts); those of all spans are found by their terms (terms/of_span.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Final

from spantree_exporter.rows import Execution, Node, SpanFacts
from spantree_exporter.span import STATUS_ERROR

# More is cut: a trace of 100,000 names would otherwise have a row of megabytes. Its first words are of the execution.
TERMS_MAX: Final = 600
WORD_CHARS: Final = 64
_BEGINNING_CHARS: Final = 3
_VALUE_CHARS: Final = 200
_LEXEME_BYTES: Final = 2_000
_ATTRIBUTES_MAX: Final = 64
# A trace of more names of spans says so instead, and whoever looks for one looks at its spans.
_OPERATIONS_MAX: Final = 200
MANY_OPERATIONS: Final = "@"
_LONGEST_BITS: Final = 45
ERROR_SPAN: Final = "^error"
# Of a message, more is seldom what somebody looks for.
_MESSAGE_CHARS: Final = 1_000
_CACHED_TEXTS: Final = 20_000
_CACHED_CHARS: Final = 200

_WORD: Final = re.compile(r"[^\W_]+")
# Where camel case begins a new word: aB, and the last capital of ABc.
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def words_of(text: str) -> tuple[str, ...]:
    """The words of `text` in lower case, each once; a word in camel case also as its parts."""
    return _cached_words(text) if len(text) <= _CACHED_CHARS else _words(text)


def attribute_term(key: str, value: str) -> str:
    """The lexeme of an attribute with this value, written as text."""
    return f"={key}:{value[:_VALUE_CHARS]}"


def operation_term(service: str, name: str) -> str:
    """The lexeme of a trace with a span of this service and name."""
    return f"@{service[:_VALUE_CHARS]}:{name[:_VALUE_CHARS]}"


def longest_term(duration_ns: int) -> str:
    """The lexeme of a trace whose longest span took so long, to a factor of two."""
    return f"~{min(max(0, duration_ns // 1_000_000).bit_length(), _LONGEST_BITS)}"


def at_least_terms(duration_ns: int) -> list[str]:
    """The lexemes of all traces that may have a span that took so long or longer."""
    return [f"~{bits}" for bits in range(int(longest_term(duration_ns)[1:]), _LONGEST_BITS + 1)]


def text_of_value(value: object) -> str | None:
    """The text that a value is found by; None for what is no id or name (lists, objects, bytes, fractions)."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else None


def search_terms(execution: Execution, nodes: Iterable[Node] = (), spans: Iterable[SpanFacts] = ()) -> list[str]:
    """The lexemes of an execution's row, sorted by their bytes as a tsvector is; equal rows give equal ones."""
    spans = list(spans)
    found: list[str] = []
    _add_execution(found, execution)
    _add_spans(found, spans)
    told = [span for span in spans if span.attributes]
    for span in sorted(told, key=lambda span: (span.start_ns, span.span_id, span.fingerprint)):
        _add_attributes(found, span.attributes)
    terms = dict.fromkeys(found)
    for text in _texts_of(nodes):
        if len(terms) >= TERMS_MAX:
            break
        terms.update(dict.fromkeys(words_of(text)))
    # By code points, which is the order of the bytes of UTF-8.
    return sorted(terms if len(terms) <= TERMS_MAX else islice(terms, TERMS_MAX))


def _add_execution(found: list[str], execution: Execution) -> None:
    for text in (execution.name, execution.workflow_name, execution.entry, execution.service, *execution.services):
        if text:
            found += words_of(text)
    for key, value in (
        ("run_id", execution.run_id),
        ("conversation_id", execution.conversation_id),
        ("user_id", execution.user_id),
        ("project", execution.project),
    ):
        if value:
            _add_attribute(found, key, value)
    for text in (execution.error_category, execution.first_failed_error_type, execution.error_summary):
        if text:
            found += words_of(text[:_MESSAGE_CHARS])


def _texts_of(nodes: Iterable[Node]) -> Iterable[str]:
    """What nodes say of their failures, then their names; each once."""
    texts: dict[str, None] = {}
    names: dict[str, None] = {}
    for node in nodes:
        names[node.name] = None
        if node.error_type:
            texts[node.error_type] = None
        if node.error_message:
            texts[node.error_message[:_MESSAGE_CHARS]] = None
    texts.update(names)
    return texts


def _add_spans(found: list[str], spans: Sequence[SpanFacts]) -> None:
    if not spans:
        return
    found.append(longest_term(max([span.end_ns - span.start_ns for span in spans])))
    if STATUS_ERROR in {span.status_code for span in spans}:
        found.append(ERROR_SPAN)
    operations = {(span.service, span.name) for span in spans}
    if len(operations) > _OPERATIONS_MAX:
        found.append(MANY_OPERATIONS)
        return
    for service, name in sorted(operations):
        term = operation_term(service, name)
        if _storable(term):
            found.append(term)


def _add_attributes(found: list[str], attributes: Mapping[str, object]) -> None:
    # In order of the keys: jsonb keeps another order than the one in which they were sent.
    for key in sorted(attributes)[:_ATTRIBUTES_MAX]:
        value = text_of_value(attributes[key])
        if value:
            _add_attribute(found, key, value)


def _add_attribute(found: list[str], key: str, value: str) -> None:
    value = value[:_VALUE_CHARS]
    term = f"={key}:{value}"
    if "\x00" not in term and _storable(term):
        found.append(term)
    found += words_of(value)


def _storable(term: str) -> bool:
    # A lone surrogate has no UTF-8; a tsvector's lexeme has less than 2 KiB.
    if term.isascii():
        return len(term) < _LEXEME_BYTES
    try:
        return len(term.encode()) < _LEXEME_BYTES
    except UnicodeEncodeError:
        return False


def _words(text: str) -> tuple[str, ...]:
    runs = _WORD.findall(text)
    if text == text.lower():
        return tuple(dict.fromkeys([run[:WORD_CHARS] for run in runs]))
    found: dict[str, None] = {}
    for run in runs:
        lower = run.lower()
        found[lower if len(run) <= WORD_CHARS else run[:WORD_CHARS].lower()] = None
        if run != lower and len(parts := _HUMP.split(run)) > 1:
            for part in parts:
                found[part[:WORD_CHARS].lower()] = None
    return tuple(found)


_cached_words = lru_cache(_CACHED_TEXTS)(_words)


def tsquery_of(q: str, attributes: Sequence[str] = ()) -> str | None:
    """The tsquery that finds what has every word of `q`, or one of the `attributes` terms.

    A word of three characters or more also finds those that it begins.

    None where `q` has no word and there is no attribute: nothing in the index can match it.
    """
    found = [_quoted(term) for term in attributes if _storable(term)]
    words = words_of(q)
    if words:
        found.append("(" + " & ".join(_word_query(word) for word in words) + ")")
    return " | ".join(found) or None


def all_of(*groups: Sequence[str]) -> str | None:
    """The tsquery that finds what has one term at least of each group; None where there is no group."""
    found = ["(" + " | ".join(_quoted(term) for term in group if _storable(term)) + ")" for group in groups]
    return " & ".join(found) or None


def _word_query(word: str) -> str:
    return _quoted(word) + (":*" if len(word) >= _BEGINNING_CHARS else "")


def _quoted(lexeme: str) -> str:
    return "'" + lexeme.replace("\\", "\\\\").replace("'", "''") + "'"
