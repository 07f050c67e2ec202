"""TraceQL becomes searches of spans and what their sets have to do with each other; the rest is refused by name."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spantree_api.errors import InvalidParameter
from spantree_api.span_search.query import NS_MAX, SpanQuery, Tag
from spantree_api.span_search.traceql import Aggregated, Coalesced, Filter, Grouped, Operation, Piped, TraceQuery, parse
from spantree_api.span_search.traceql_fields import Field
from spantree_api.span_search.traceql_filter import Alternative, TraceCondition
from spantree_api.span_search.traceql_tokens import CHARS_MAX

BASE = SpanQuery(from_ns=1, to_ns=2, limit=3)


def parsed(text: str) -> list[Alternative]:
    """The alternatives of a query that is one set."""
    root = parse(text, BASE).root
    assert isinstance(root, Filter)
    return list(root.alternatives)


def written(text: str) -> object:
    """How sets are combined: each filter as its number, each operation as its two sides around it."""

    def one(node: object) -> object:
        if isinstance(node, Filter):
            return node.number
        if isinstance(node, Operation):
            return (one(node.left), node.operator, one(node.right))
        assert isinstance(node, Piped)
        return (one(node.source), *(one(stage) if isinstance(stage, Filter) else stage for stage in node.stages))

    return one(parse(text, BASE).root)


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
    (one,) = parsed("{duration>1.5s && duration<1m0s}")
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
    assert [one.query.operation for one in parsed('{name="a" || name="b" && true || false}')] == ["a", "b"]
    # From left to right, as Tempo's grammar has it: neither binds closer.
    found = parsed('{name="a" || name="b" && resource.service.name="s"}')
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
        "{} | count()",
        "{} | count() > `a`",
        "{} | avg() > 1",
        "{} | by(event:name)",
        "{} | by(.a, .b)",
        "{} | by()",
        "{} | nothing()",
        "{} + {}",
        "{} {}",
        "({} >> {}",
        "{} with (most_recent=true",
        " && ".join(["{}"] * 9),
        "{}" + " | coalesce()" * 17,
        "(" * 9 + "{}" + ")" * 9,
        "{name=}",
        '{name="a"',
        '{"a"=name}',
        "{span.a=span.b}",
        '{name=~"(a)\\\\1"}',
        '{name=~"(a{1,200}){1,200}"}',
        "{nestedSetParent>5}",
        "{nestedSetLeft>0}",
        "{duration=nil}",
        "{trace:id>`a`}",
        "{trace:id=`x`}",
        "{trace:status=error}",
        "{.a && }",
        "{name}",
        '{name=~"("}',
        '{rootName=~"(a+)+$"}',
        "{duration>fast}",
        '{kind="nobody"}',
        '{span.a>"x"}',
        "{unknown=1}",
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


def test_whether_an_attribute_is_there_at_all_is_asked() -> None:
    (one,) = parsed("{.a!=nil && span.b=nil && resource.c && .d && resource.service.name!=nil}")
    assert one.query.tags == (
        Tag("a", operator="there"),
        Tag("b", place="span", operator="missing"),
        Tag("c", value=True, place="resource"),
        Tag("d", value=True),
    )


def test_fields_of_the_span_and_of_its_trace_are_asked() -> None:
    (one,) = parsed('{span:id="AB" && link:traceID="1" && instrumentation:name=~"a.*" && trace:id="0A3"}')
    assert one.query.tags == (
        Tag("span_id", text="00000000000000ab", place="own"),
        Tag("link_trace_id", text="1".zfill(32), place="own"),
        Tag("scope_name", text="^(?:a.*)$", place="own", operator="=~"),
    )
    assert one.query.trace_id is not None and one.query.trace_id.hex == "a3".zfill(32)


@pytest.mark.parametrize(
    ("condition", "of_roots"),
    [
        ("nestedSetParent<0", True), ("nestedSetParent=-1", True), ('span:parentID=""', True),
        ("nestedSetParent>=0", False), ("nestedSetParent!=-1", False), ("nestedSetParent>0", False),
    ],
)  # fmt: skip
def test_roots_are_those_without_a_parent(condition: str, of_roots: bool) -> None:
    (one,) = parsed("{" + condition + "}")
    assert (one.query.is_root, one.query.tags) == (of_roots, ())
    (one,) = parsed('{span:parentID="ab"}')
    assert one.query.tags == (Tag("parent_id", text="00000000000000ab", place="own"),)


def test_sets_are_combined_as_tempos_grammar_has_it() -> None:
    assert written("{} && {} >> {} || {} !~ {}") == (((1, "&&", (2, ">>", 3)), "||", (4, "!~", 5)))
    assert written("{} > ({} && {}) &<< {}") == ((1, ">", (2, "&&", 3)), "&<<", 4)
    assert written("({} | count() > 1) >> {}") == ((1, Aggregated("count", None, ">", 1)), ">>", 2)
    assert written("{} with (most_recent=true)") == 1


def test_what_becomes_of_sets_is_told_stage_by_stage() -> None:
    service = Field("service.name", "resource", "service.name")
    assert written("{} | by(resource.service.name) | avg(duration) >= 1m30s | {} | coalesce() | select(.x)") == (
        1,
        Grouped(service),
        Aggregated("avg", Field("duration", "own", "duration_ns"), ">=", 90 * 10**9),
        2,
        Coalesced(),
    )
    assert written("max(span.n) < -1.5") == (1, Aggregated("max", Field("n", "span", "n"), "<", -1.5))


def test_answers_tell_what_is_compared_and_what_is_selected() -> None:
    found = parse(
        '{span.a=1 && status=error && trace:id="1"} >> {event.e=1} | select(."x y", span:kind) | by(.b)', BASE
    )
    assert found.told == (
        Field("a", "span", "a"),
        Field("status", "own", "status"),
        Field("e", "event", "e"),
        Field("x y", "any", "x y"),
        Field("kind", "own", "kind"),
    )
    assert found.compared == (Field("b", "any", "b"),)


def leads_of(text: str) -> list[int]:
    """The filters, by their numbers, by whose spans traces are found."""
    query: TraceQuery = parse(text, BASE)
    leads = query.leads()
    return [one.number for one in query.filters if one.alternatives and one.alternatives[0] in leads]


def test_traces_are_found_by_the_set_that_fewer_have() -> None:
    assert leads_of("{} >> {.a=1}") == [2]
    assert leads_of("{.a=1} >> {}") == [1]
    assert leads_of("{name=`a`} >> {name=`b` && .c=1}") == [2]
    assert leads_of("{resource.service.name=`a`} && {}") == [1]
    assert leads_of("{.a=1} !>> {.b!=1}") == [2], "none of the left side need be there"
    assert leads_of("{.a=1} || {.b=1}") == [1, 2]
    assert leads_of("({.a=1} | count() > 1) && {name=~`x`} | {.b=1}") == [1]


@given(st.text(alphabet='{}()&|=!<>~".`\\ amnps1.:,by', max_size=40))
def test_no_text_does_anything_else(text: str) -> None:
    with contextlib.suppress(InvalidParameter):
        parsed(text)
