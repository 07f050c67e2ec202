"""TraceQL of Grafana's builder becomes searches of spans; the rest is refused by name."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spantree_api.errors import InvalidParameter
from spantree_api.span_query import NS_MAX, SpanQuery, Tag
from spantree_api.traceql import CHARS_MAX, Alternative, TraceCondition, parse

BASE = SpanQuery(from_ns=1, to_ns=2, limit=3)


def parsed(text: str) -> list[Alternative]:
    return parse(text, BASE)


def test_equal_names_and_services_are_fields_of_the_search() -> None:
    assert parsed('{ resource.service.name = "shop" && name = "a \\"b\\"" && status = error && kind = client }') == [
        Alternative(
            SpanQuery(from_ns=1, to_ns=2, limit=3, service="shop", operation='a "b"', status=2, kind=3),
        )
    ]


def test_other_comparisons_are_tags() -> None:
    (one,) = parsed('{span."odd name"!=`x` && .n>=1.5 && resource.a=~"x|y" && instrumentation.b=true}')
    assert one.query.tags == (
        Tag("odd name", text="x", place="span", operator="!="),
        Tag("n", value=1.5, place="any", operator=">="),
        Tag("a", text="^(?:x|y)$", place="resource", operator="=~"),
        Tag("b", value=True, place="scope"),
    )


def test_a_shortest_duration_is_for_the_index_too() -> None:
    (one,) = parsed("{duration>1.5s && duration<1m}")
    assert one.query.min_duration_ns == 1_500_000_000
    assert one.query.tags == (
        Tag("duration_ns", value=1_500_000_000, place="own", operator=">"),
        Tag("duration_ns", value=60_000_000_000, place="own", operator="<"),
    )


def test_an_attribute_may_be_called_as_a_field_of_ours_is() -> None:
    (one,) = parsed('{.duration_ns="x" && span.duration_ns>5 && .status=1}')
    assert one.query.min_duration_ns is None
    assert one.query.tags == (
        Tag("duration_ns", text="x", place="any"),
        Tag("duration_ns", value=5, place="span", operator=">"),
        Tag("status", value=1, place="any"),
    )


def test_strings_are_those_of_go() -> None:
    escaped = r'{name="\u00e9\U0001F642\x41\n\\\"\.b"}'
    assert [one.query.operation for one in parsed(escaped)] == ['é🙂A\n\\".b']
    assert [one.query.operation for one in parsed(r"{name=`\u00e9`}")] == [r"\u00e9"]


def test_a_pattern_may_begin_with_flags() -> None:
    (one,) = parsed('{name=~"(?i)get .*" && .a!~"(?is)x|y"}')
    assert [tag.text for tag in one.query.tags] == ["(?i)^(?:get .*)$", "(?is)^(?:x|y)$"]


def test_alternatives_are_searches_of_their_own() -> None:
    found = parsed('{(name="a" || name="b") && resource.service.name="s"}')
    assert [(one.query.operation, one.query.service) for one in found] == [("a", "s"), ("b", "s")]
    assert parsed('{name="a" && name="b"}') == []
    assert parsed("{false}") == []
    assert parsed("{}") == parsed("") == parsed("{true}") == [Alternative(BASE)]


def test_the_trace_as_a_whole_is_compared_apart() -> None:
    (one,) = parsed('{rootName=~"GET .*|x" && traceDuration>=1s}')
    like, longer = one.trace
    assert longer == TraceCondition("duration_ns", ">=", 1_000_000_000)
    assert [like.holds(name) for name in ("GET /", "x", "GET", "POST /GET ", "xx")] == [True, True, False, False, False]
    assert [longer.holds(ns) for ns in (10**9, 10**9 - 1)] == [True, False]


@pytest.mark.parametrize("longest", ["9" * 400 + "h", "1e999", "999999999999999h", "1e30"])
def test_lengths_beyond_any_are_the_longest(longest: str) -> None:
    (one,) = parsed("{duration>" + longest + "}")
    assert one.query.min_duration_ns == NS_MAX
    (one,) = parsed("{traceDuration>" + longest + "}")
    assert not one.trace[0].holds(NS_MAX)


@pytest.mark.parametrize(
    "text",
    [
        "{name=5}",
        r'{name="\ud800"}',
        r'{name="\u0000"}',
        r'{name="\UFFFFFFFF"}',
        "{name!=true}",
        "{event:name=5}",
        "{statusMessage>5}",
        "{} | rate()",
        "{} && {}",
        "{} >> {}",
        "{name=}",
        '{name="a"',
        '{"a"=name}',
        "{span.a=span.b}",
        '{name=~"(a)\\\\1"}',
        '{name=~"("}',
        '{rootName=~"(a+)+$"}',
        "{duration>fast}",
        '{kind="nobody"}',
        '{span.a>"x"}',
        "{unknown=1}",
        "{.a=nil}",
        "{" + "(" * 40 + "true" + ")" * 40 + "}",
        "{" + " && ".join(f"(.a{n}=1 || .b{n}=1)" for n in range(20)) + "}",
        "{" + " || ".join(f".a{n}=1" for n in range(50)) + "}",
        "x" * (CHARS_MAX + 1),
        "{name='a'}",
    ],
)
def test_what_is_not_served_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="this TraceQL is not understood"):
        parsed(text)


@given(st.text(alphabet='{}()&|=!<>~".`\\ amnps1.:', max_size=40))
def test_no_text_does_anything_else(text: str) -> None:
    with contextlib.suppress(InvalidParameter):
        parsed(text)
