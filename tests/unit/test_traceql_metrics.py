"""Metrics of TraceQL: what is counted of which spans, in which samples of which series."""

from __future__ import annotations

from uuid import UUID

import pytest

from spantree_api.errors import InvalidParameter
from spantree_api.span_search.query import SpanQuery
from spantree_api.span_search.spansets import FoundSpan
from spantree_api.span_search.traceql_fields import Field
from spantree_api.span_search.traceql_metrics import Intervals, Labels, Metrics, MetricsQuery, parse_metrics
from spantree_exporter.span import JsonValue

S = 10**9


def found_span(at_s: float, duration_s: float = 1.0, service: str = "a", tokens: JsonValue = None) -> FoundSpan:
    start_ns = round(at_s * S)
    values = [] if tokens is None else [{"id": 0, "key": "tokens", "value": tokens}]
    return FoundSpan(
        UUID(int=1), 1, None, "s", service, start_ns, start_ns + round(duration_s * S), 2, 0, None, values,
        [{"id": 0, "key": "service.name", "value": service}], None, None, None, "lib", None, 1,
    )  # fmt: skip


def parsed(text: str) -> MetricsQuery:
    return parse_metrics(text, SpanQuery())


def series_of(text: str, *spans: FoundSpan) -> dict[Labels, list[object]]:
    metrics = Metrics(parsed(text), Intervals(0, 10 * S, 3))
    for span in spans:
        metrics.observe(span)
    return {one.labels: list(one.samples) for one in metrics.series()}


def test_a_sample_is_of_what_is_after_the_one_before_up_to_its_end() -> None:
    intervals = Intervals.of_range(25 * S, 60 * S, 10 * S)
    assert intervals == Intervals(10 * S, 10 * S, 5)
    assert intervals.end_ns == 60 * S
    numbers = [intervals.number_of(at) for at in (10 * S, 10 * S + 1, 20 * S, 20 * S + 1, 60 * S, 60 * S + 1, 0)]
    assert numbers == [None, 0, 0, 1, 4, None, None]
    assert Intervals.of_range(25 * S, 61 * S, 10 * S).end_ns == 70 * S


def test_spans_are_counted_by_what_they_have() -> None:
    spans = [found_span(1), found_span(10), found_span(11, service="b"), found_span(29, service="b")]
    assert series_of("{} | count_over_time()", *spans) == {(("__name__", "count_over_time"),): [2.0, 1.0, 1.0]}
    assert series_of("{} | rate()", *spans) == {(("__name__", "rate"),): [0.2, 0.1, 0.1]}
    by_service = series_of("{} | rate() by (resource.service.name, span:kind)", *spans)
    assert by_service == {
        (("resource.service.name", "a"), ("kind", "server")): [0.2, 0.0, 0.0],
        (("resource.service.name", "b"), ("kind", "server")): [0.0, 0.1, 0.1],
    }
    assert series_of("{} | count_over_time() by (.none)", spans[0]) == {((".none", "nil"),): [1.0, 0.0, 0.0]}
    assert series_of("{} | rate()") == {(("__name__", "rate"),): [0.0, 0.0, 0.0]}
    assert series_of("{} | rate() by (name)") == {}


def test_values_of_different_types_are_series_of_their_own() -> None:
    metrics = Metrics(parsed("{} | count_over_time() by (.tokens)"), Intervals(0, 10 * S, 1))
    for value in (1, True, 1.0, True, "1", 0.0, False):
        metrics.observe(found_span(1, tokens=value))
    told = [(one.labels[0][1], list(one.samples)) for one in metrics.series()]
    assert [(type(value), value, samples) for value, samples in told] == [
        (bool, False, [1.0]), (bool, True, [2.0]), (float, 0.0, [1.0]), (float, 1.0, [1.0]), (int, 1, [1.0]),
        (str, "1", [1.0]),
    ]  # fmt: skip


def test_values_are_summed_up_and_lengths_of_time_are_seconds() -> None:
    spans = [found_span(1, 0.5, tokens=3), found_span(2, 1.5, tokens=4), found_span(21, 2)]
    told = {
        function: series_of(f"{{}} | {function}_over_time(duration)", *spans)[(("__name__", f"{function}_over_time"),)]
        for function in ("min", "max", "avg", "sum")
    }
    assert told == {
        "min": [0.5, None, 2.0], "max": [1.5, None, 2.0], "avg": [1.0, None, 2.0], "sum": [2.0, None, 2.0],
    }  # fmt: skip
    assert series_of("{} | sum_over_time(span.tokens)", *spans) == {(("__name__", "sum_over_time"),): [7.0, None, None]}


def test_quantiles_are_those_of_the_spans() -> None:
    spans = [found_span(5, number / 100) for number in range(1, 101)]
    told = series_of("{} | quantile_over_time(duration, .5, 0.99, 1) by (name)", *spans, found_span(15, 0.25))
    assert told == {
        (("name", "s"), ("p", 0.5)): [0.5, 0.25, None],
        (("name", "s"), ("p", 0.99)): [0.99, 0.25, None],
        (("name", "s"), ("p", 1.0)): [1.0, 0.25, None],
    }


def test_histograms_have_buckets_of_powers_of_two() -> None:
    spans = [found_span(1, 1024e-9), found_span(1, 1025e-9), found_span(1, 2e-6), found_span(1, 0)]
    assert series_of("{} | histogram_over_time(duration)", *spans) == {
        (("__bucket", 2e-9),): [1.0, 0.0, 0.0],
        (("__bucket", 1024e-9),): [1.0, 0.0, 0.0],
        (("__bucket", 2048e-9),): [2.0, 0.0, 0.0],
    }


def test_the_largest_and_smallest_series_of_each_sample_are_kept() -> None:
    spans = [found_span(1), found_span(2), found_span(3, service="b"), found_span(12, service="b")]
    a, b = ((("resource.service.name", one),) for one in "ab")
    ranked = "{} | count_over_time() by (resource.service.name)"
    assert series_of(f"{ranked} | topk(1)", *spans) == {a: [2.0, None, 0.0], b: [None, 1.0, None]}
    assert series_of(f"{ranked} | bottomk(1) with (sample=true)", *spans) == {a: [None, 0.0, 0.0], b: [1.0, None, None]}


def test_what_is_counted_is_any_search() -> None:
    found = parsed("{.a=1} >> {.b=1} | count() > 1 | quantile_over_time(span.n, 0.9) by (.c)")
    assert len(found.search.filters) == 2
    assert (found.function, found.field, found.quantiles) == ("quantile_over_time", Field("n", "span", "n"), (0.9,))
    assert found.by == ((".c", Field("c", "any", "c")),)
    assert found.search.fields == (Field("c", "any", "c"), Field("n", "span", "n"))


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "{} | count() > 1", "{} | rate(duration)", "{} | rate() by ()", "{} | rate() by (event:name)",
        "{} | min_over_time()", "{} | quantile_over_time(duration)", "{} | quantile_over_time(duration, 2)",
        "{} | compare({status=error})", "{} | rate() > 5", "{} | rate() | topk(0)", "{} | rate() | select(.a)",
        "({} | rate()) / ({} | rate())", "{} | rate() by (.a,.b,.c,.d,.e,.f)", "{} | rate() {}",
        "{} | histogram_over_time(duration, 0.5)",
    ],
)  # fmt: skip
def test_what_is_not_served_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="this TraceQL is not understood"):
        parsed(text)


def test_no_answer_is_larger_than_what_a_page_draws() -> None:
    with pytest.raises(InvalidParameter, match="11001 samples"):
        Metrics(parsed("{} | rate()"), Intervals(0, S, 11_001))
    metrics = Metrics(parsed("{} | rate() by (span.tokens)"), Intervals(0, S, 1_000))
    for number in range(1_000):
        metrics.observe(found_span(1, tokens=number))
    with pytest.raises(InvalidParameter, match="more than 1000 series"):
        metrics.observe(found_span(1, tokens=1_000))
    with pytest.raises(InvalidParameter, match="1000000 samples"):
        metrics.series()
