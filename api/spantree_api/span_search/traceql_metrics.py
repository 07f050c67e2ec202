"""TraceQL's metrics: how many of the spans of a search there were, and what they were like, over time. Pure.

    metrics   = search "|" function [ "by" "(" fields ")" ] { "|" ( "topk" | "bottomk" ) "(" number ")" } [ hints ]
    function  = ( "rate" | "count_over_time" ) "(" ")" | "quantile_over_time" "(" field { "," number } ")"
              | ( "min" | "max" | "avg" | "sum" | "histogram" ) "_over_time" "(" field ")"

https://grafana.com/docs/tempo/latest/metrics-from-traces/metrics-queries/functions/. Samples and labels are as
pkg/traceql of Tempo makes them: a sample is of all after the one before it, told by its end; what no span has is no
label.
Quantiles are exact, where Tempo's are estimated. compare(), arithmetic and comparisons are refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from spantree_api.span_search.query import SpanQuery
from spantree_api.span_search.spansets import FoundSpan
from spantree_api.span_search.traceql import COMPARISONS, SearchParser, TraceQuery
from spantree_api.span_search.traceql_fields import Field, field_of
from spantree_api.span_search.traceql_filter import number_of
from spantree_api.span_search.traceql_tokens import Tokens, refused
from spantree_exporter.span import JsonValue

SERIES_MAX: Final = 1_000
SAMPLES_MAX: Final = 11_000
_ALL_SAMPLES_MAX: Final = 300_000
_GROUPS_MAX: Final = 5
_QUANTILES_MAX: Final = 10
_NS_PER_S: Final = 10**9
_COUNTED: Final = frozenset({"rate", "count_over_time"})
_SUMMED_UP: Final = frozenset({"min_over_time", "max_over_time", "avg_over_time", "sum_over_time"})
_SPREAD: Final = frozenset({"quantile_over_time", "histogram_over_time"})
_RANKED: Final = frozenset({"topk", "bottomk"})

# What a series is told apart by: name and value of each label.
Labels: TypeAlias = tuple[tuple[str, JsonValue], ...]


@dataclass(frozen=True, slots=True)
class MetricsQuery:
    """What is counted, and how: `by` has the text of each field; `ranked` keep so many series of each sample."""

    search: TraceQuery
    function: str
    field: Field | None = None
    quantiles: tuple[float, ...] = ()
    by: tuple[tuple[str, Field], ...] = ()
    ranked: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Intervals:
    """Samples of one length from a start on, each of what is after its beginning and up to its end."""

    start_ns: int
    step_ns: int
    count: int

    @classmethod
    def of_range(cls, from_ns: int, to_ns: int, step_ns: int) -> Intervals:
        """Those that a range takes part in, at multiples of the step, and one before it."""
        start_ns = from_ns - from_ns % step_ns - step_ns
        return cls(start_ns, step_ns, -((start_ns - to_ns) // step_ns))

    @property
    def end_ns(self) -> int:
        """The end of the last one."""
        return self.start_ns + self.count * self.step_ns

    def number_of(self, at_ns: int) -> int | None:
        """Which one a moment is in; None for none."""
        number = -((self.start_ns - at_ns) // self.step_ns) - 1
        return number if 0 <= number < self.count else None


@dataclass(frozen=True, slots=True)
class Series:
    """Its labels, and a sample of each interval, None where there is none."""

    labels: Labels
    samples: Sequence[float | None]


def parse_metrics(text: str, base: SpanQuery) -> MetricsQuery:
    """The metrics query that `text` is; its filters have the range of `base`. Raises InvalidParameter."""
    tokens = Tokens(text)
    parser = SearchParser(tokens, base)
    root = parser.query()
    kind, function = tokens.next()
    if kind != "word" or function not in _COUNTED | _SUMMED_UP | _SPREAD:
        raise refused(f"{function!r} stands where a function such as rate() is wanted")
    of, quantiles = _arguments(tokens, function)
    by: list[tuple[str, Field]] = []
    if tokens.peek() == ("word", "by"):
        tokens.next()
        by = [(_label_of(one), field_of(one)) for one in _names(tokens)]
        if len(by) > _GROUPS_MAX or any(not one.is_told or one.is_nested for _, one in by):
            raise refused(f"by() wants up to {_GROUPS_MAX} fields that are told of a span")
    ranked: list[tuple[str, int]] = []
    while tokens.take("|"):
        ranked.append(_rank(tokens))
    if tokens.peek()[1] in COMPARISONS:
        raise refused("comparison of what metrics are is not served")
    parser.end()
    fields = tuple(dict.fromkeys(one for _, one in by)) + ((of,) if of is not None else ())
    return MetricsQuery(
        TraceQuery(root, (), (*parser.compared, *fields)), function, of, quantiles, tuple(by), tuple(ranked)
    )


def _arguments(tokens: Tokens, function: str) -> tuple[Field | None, tuple[float, ...]]:
    tokens.expect("(")
    if function in _COUNTED:
        tokens.expect(")")
        return None, ()
    _, name = tokens.next()
    found = field_of(name)
    if not found.is_told or found.is_nested:
        raise refused(f"{function}() wants a field that is told of a span")
    quantiles: list[float] = []
    while tokens.take(","):
        kind, text = tokens.next()
        if function != "quantile_over_time" or kind != "number" or not 0 <= number_of(text) <= 1:
            raise refused(f"{text!r} in {function}() is not served: wanted a quantile between 0 and 1")
        quantiles.append(float(text))
    tokens.expect(")")
    if function == "quantile_over_time" and not 0 < len(quantiles) <= _QUANTILES_MAX:
        raise refused(f"quantile_over_time() wants up to {_QUANTILES_MAX} quantiles, such as 0.9")
    return found, tuple(quantiles)


def _names(tokens: Tokens) -> Iterator[str]:
    tokens.expect("(")
    while True:
        yield tokens.next()[1]
        if not tokens.take(","):
            tokens.expect(")")
            return


def _rank(tokens: Tokens) -> tuple[str, int]:
    _, name = tokens.next()
    if name not in _RANKED:
        raise refused(f"| {name} after metrics is not served: topk() and bottomk() are")
    tokens.expect("(")
    kind, text = tokens.next()
    if kind != "number" or not text.isdigit() or not 0 < int(text) <= SERIES_MAX:
        raise refused(f"{name}() wants a number up to {SERIES_MAX}")
    tokens.expect(")")
    return name, int(text)


def _label_of(text: str) -> str:
    short = text.removeprefix("span:")
    return short if "." not in short else text


class Metrics:
    """The samples of a metrics query in the making: spans are observed in any order."""

    def __init__(self, query: MetricsQuery, intervals: Intervals) -> None:
        """Raises InvalidParameter for more samples than are told."""
        if intervals.count > SAMPLES_MAX:
            raise refused(f"these are {intervals.count} samples: {SAMPLES_MAX} is the most, take a longer step")
        self._query = query
        self._intervals = intervals
        self._series: dict[tuple[tuple[str, type, JsonValue], ...], _Observed] = {}

    def observe(self, span: FoundSpan) -> None:
        """Count a span. Raises InvalidParameter for more series than are told."""
        number = self._intervals.number_of(span.start_ns)
        if number is None:
            return
        query = self._query
        value = 1.0 if query.field is None else _number(span.value_of(query.field), query.field)
        if value is None:
            return
        labels = self._labels_of(span)
        if query.function == "histogram_over_time":
            labels = (*labels, ("__bucket", _bucket(value, query.field)))
        # By type, too: true, 1 and 1.0 are equal to Python.
        key = tuple((name, type(value), value) for name, value in labels)
        found = self._series.get(key)
        if found is None:
            if len(self._series) >= SERIES_MAX:
                raise refused(f"these are more than {SERIES_MAX} series: group by what has fewer values")
            found = self._series[key] = _Observed(labels)
        found.values.setdefault(number, []).append(value)

    def _labels_of(self, span: FoundSpan) -> Labels:
        by = self._query.by
        if not by:
            return ()
        found = tuple((label, value) for label, one in by if (value := span.value_of(one)) is not None)
        return found or ((by[0][0], "nil"),)

    def series(self) -> list[Series]:
        """All series, in order of their labels. Raises InvalidParameter for more samples than are told."""
        found = [series for observed in self._series.values() for series in self._told(observed)]
        if not found and not self._query.by and self._query.function in _COUNTED:
            found = list(self._told(_Observed(())))
        if len(found) * self._intervals.count > _ALL_SAMPLES_MAX:
            raise refused(f"these are {len(found) * self._intervals.count} samples: take a longer step or fewer groups")
        for name, kept in self._query.ranked:
            found = _ranked(found, kept, largest=name == "topk")
        return sorted(found, key=lambda one: [(label, str(type(value)), str(value)) for label, value in one.labels])

    def _told(self, observed: _Observed) -> Iterator[Series]:
        query, labels = self._query, observed.labels
        numbers = range(self._intervals.count)
        if query.function == "quantile_over_time":
            ordered = {number: sorted(values) for number, values in observed.values.items()}
            for quantile in query.quantiles:
                samples = [_quantile(ordered.get(number, ()), quantile) for number in numbers]
                yield Series((*labels, ("p", quantile)), samples)
            return
        told = labels or (("__name__", query.function),)
        yield Series(told, [self._sample(observed.values.get(number, ())) for number in numbers])

    def _sample(self, values: Sequence[float]) -> float | None:
        function = self._query.function
        if function == "rate":
            return len(values) * _NS_PER_S / self._intervals.step_ns
        if function in ("count_over_time", "histogram_over_time"):
            return float(len(values))
        if not values:
            return None
        if function == "min_over_time":
            return min(values)
        if function == "max_over_time":
            return max(values)
        return math.fsum(values) / (len(values) if function == "avg_over_time" else 1)


@dataclass(slots=True)
class _Observed:
    """The values of one series by the interval that they are of."""

    labels: Labels
    values: dict[int, list[float]] = field(default_factory=dict)


def _number(value: JsonValue, of: Field) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Lengths of time are told in seconds.
    return value / _NS_PER_S if of.key == "duration_ns" else float(value)


def _bucket(value: float, of: Field | None) -> float:
    """The end of the bucket that a value is in: powers of two, of nanoseconds where it is a length of time."""
    unit = _NS_PER_S if of is not None and of.key == "duration_ns" else 1
    whole = max(2, round(value * unit))
    return float(1 << (whole - 1).bit_length()) / unit


def _quantile(ordered: Sequence[float], quantile: float) -> float | None:
    return ordered[max(0, math.ceil(quantile * len(ordered)) - 1)] if ordered else None


def _ranked(series: Sequence[Series], kept: int, *, largest: bool) -> list[Series]:
    """Of each sample those of so many series, the largest or smallest; series without any are none."""
    if not series:
        return []
    columns: list[set[int]] = []
    for number in range(len(series[0].samples)):
        held = [(sample, -index) for index, one in enumerate(series) if (sample := one.samples[number]) is not None]
        held.sort(key=lambda pair: (-pair[0] if largest else pair[0], -pair[1]))
        columns.append({-index for _, index in held[:kept]})
    found = [
        Series(one.labels, [sample if index in columns[number] else None for number, sample in enumerate(one.samples)])
        for index, one in enumerate(series)
    ]
    return [one for one in found if any(sample is not None for sample in one.samples)]
