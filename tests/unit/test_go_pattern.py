"""Patterns as Go reads them are written as PostgreSQL reads them, or refused by what they have."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spantree_api.span_search.go_pattern import whole_text_pattern


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("", "^(?:)$"),
        ("GET .*|POST", "^(?:GET .*|POST)$"),
        ("(?i)get", "(?i)^(?:get)$"),
        ("(?is)a.b", "(?is)^(?:a.b)$"),
        (r"\bSELECT\B", r"^(?:\ySELECT\Y)$"),
        (r"\Ax\z", r"^(?:\Ax\Z)$"),
        (r"\x53ELECT\x{e9}\x2e", r"^(?:SELECTé\.)$"),
        (r"\Qa.b(\E+", r"^(?:a\.b\(+)$"),
        (r"\Qa|b", r"^(?:a\|b)$"),
        (r"(?P<verb>GET)(?<path>/\w+)?(x)", r"^(?:(?:GET)(?:/\w+)?(?:x))$"),
        ("a{2}b{1,3}?c{4,}d*?", "^(?:a{2}b{1,3}?c{4,}d*?)$"),
        ("{id}{,5}a{x", r"^(?:\{id\}\{,5\}a\{x)$"),
        ("/items/{id}", r"^(?:/items/\{id\})$"),
        ("x]", r"^(?:x\])$"),
        (r"[^\d\]a-z.][]a][[:alpha:]_][[.x]", r"^(?:[^\d\]a-z.][\]a][[:alpha:]_][\[.x])$"),
        (r"[\x41-\x43\-]", r"^(?:[A-C\-])$"),
        (r"a\/b\.c\"", r'^(?:a/b\.c")$'),
    ],
)
def test_patterns_are_written_as_postgresql_reads_them(pattern: str, wanted: str) -> None:
    assert whole_text_pattern(pattern) == wanted


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(?i:get)", "'(?i:g' is not served"),
        ("a(?i)b", "is not served"),
        ("(?=a)", "is not served"),
        ("(?<!a)b", "is not served"),
        (r"(a)\1", r"\\1 is not served"),
        (r"\pL", r"\\p is not served"),
        (r"[\D]", r"\\D is not served"),
        ("[[:^alpha:]]", "is not served"),
        ("a{1,300}", r"\{1,300\} is not served: 255 is the most"),
        ("a{3,2}", "is not served"),
        ("(a{1,200}){1,200}", "come to more than 1000"),
        ("((a{30}b){5}c){10}", "come to more than 1000"),
        ("a**", "nothing to repeat"),
        ("a{2}{2}", "nothing to repeat"),
        ("|*", "nothing to repeat"),
        ("(", "not closed"),
        (")", "not opened"),
        ("[a", "not closed"),
        ("[]", "not closed"),
        ("\\", "is not served"),
        (r"\x00", "no character"),
        (r"\x{110000}", "no character"),
        ("(" * 40 + ")" * 40, "nest deeper than 32"),
        ("x" * 257, "256 is the most"),
        ("***=a", "nothing to repeat"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_what_it_is(pattern: str, why: str) -> None:
    with pytest.raises(ValueError, match=why.replace("(?", r"\(\?")):
        whole_text_pattern(pattern)


@given(st.text(alphabet=r"\()[]{}?*+|^$.:<>Pi=!a1,-dbxQE", max_size=30))
def test_no_pattern_does_anything_else(pattern: str) -> None:
    with contextlib.suppress(ValueError):
        whole_text_pattern(pattern)
