"""Calls, errors and latencies of services, at points of time, each of the calls before it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from spantree_api.errors import InvalidParameter
from spantree_api.jaeger.metrics import CallMetrics, MetricsParams, What, metrics_params
from spantree_api.span_search.query import SpanQuery
from spantree_api.span_search.spansets import FoundSpan

S, MS = 10**9, 10**6
ASKED = {"service": ["shop"], "endTs": ["40000"], "lookback": ["30000"], "step": ["10000"], "ratePer": ["20000"]}


def call(at_s: float, duration_ms: float = 1.0, name: str = "GET", kind: int = 2, status: int = 0) -> FoundSpan:
    start_ns = round(at_s * S)
    return FoundSpan(
        UUID(int=1), 1, None, name, "shop", start_ns, start_ns + round(duration_ms * MS), kind, status, None, (), (),
        None, None, None, None, None, 1,
    )  # fmt: skip


def family(what: What, *calls: FoundSpan, **asked: str) -> Any:
    metrics = CallMetrics(metrics_params(what, ASKED | {name: [text] for name, text in asked.items()}, 0))
    for one in calls:
        metrics.observe(one)
    return metrics.family(what)


def points(told: Any) -> list[tuple[str, float]]:
    (metric,) = told["metrics"]
    return [(one["timestamp"][-3:], one["gaugeValue"]["doubleValue"]) for one in metric["metricPoints"]]


def test_calls_are_those_a_second_of_the_time_before_each_point() -> None:
    told = family("calls", call(5), call(20), call(21), call(31), call(20, kind=3))
    assert told == {
        "name": "service_call_rate",
        "type": "GAUGE",
        "help": "calls/sec, grouped by service",
        "metrics": [
            {
                "labels": [{"name": "service_name", "value": "shop"}],
                "metricPoints": [
                    {"timestamp": f"1970-01-01T00:00:{at}Z", "gaugeValue": {"doubleValue": value}}
                    for at, value in ((10, 0.05), (20, 0.1), (30, 0.1), (40, 0.1))
                ],
            }
        ],
    }
    assert family("calls")["metrics"] == []


def test_errors_are_a_part_of_the_calls_where_there_are_any() -> None:
    assert points(family("errors", call(5, status=2), call(15), call(31))) == [
        ("10Z", 1.0),
        ("20Z", 0.5),
        ("30Z", 0.0),
        ("40Z", 0.0),
    ]
    assert points(family("errors", call(31, status=2))) == [("40Z", 1.0)]


def test_latencies_are_quantiles_in_milliseconds() -> None:
    calls = [call(15, number) for number in range(1, 101)]
    assert points(family("latencies", *calls, quantile="0.95")) == [("20Z", 95.0), ("30Z", 95.0)]
    told = family("latencies", call(15, 2, "GET"), call(16, 4, "PUT"), quantile="0.5", groupByOperation="true")
    assert told["name"] == "service_operation_latencies"
    assert [[label["value"] for label in one["labels"]] for one in told["metrics"]] == [
        ["shop", "GET"],
        ["shop", "PUT"],
    ]


def test_spans_of_the_services_are_looked_for_as_far_back_as_the_first_point_needs() -> None:
    found = metrics_params("calls", {**ASKED, "spanKind": ["client", "producer"], "service": ["a", "b"]}, 0)
    assert found == MetricsParams(
        ("a", "b"), frozenset({3, 4}), by_operation=False, from_ns=10 * S, to_ns=40 * S, step_ns=10 * S, rate_ns=20 * S
    )
    (one,) = found.search().filters
    assert [two.query for two in one.alternatives] == [
        SpanQuery(service=name, from_ns=0, to_ns=40 * S) for name in ("a", "b")
    ]
    of_defaults = metrics_params("calls", {"service": ["a"]}, 7_200 * S)
    assert (of_defaults.from_ns, of_defaults.kinds) == (3_600 * S, frozenset({2}))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("service", ""), ("spanKind", "nobody"), ("step", "0"), ("step", "x"), ("lookback", "-1"), ("ratePer", "0"),
        ("endTs", str(2**62)), ("step", "1"), ("quantile", ""), ("quantile", "nan"), ("quantile", "1.5"),
    ],
)  # fmt: skip
def test_what_is_no_such_parameter_is_refused(name: str, text: str) -> None:
    with pytest.raises(InvalidParameter):
        metrics_params("latencies", {**ASKED, "quantile": ["0.5"], name: [text]}, 0)
