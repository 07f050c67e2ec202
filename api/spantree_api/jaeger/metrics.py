"""Calls, errors and latencies of services over time, as Jaeger's page "Monitor" asks for them. Pure.

https://www.jaegertracing.io/docs/2.13/architecture/spm/#api. Each point tells of the spans that began in the `ratePer`
before it. Jaeger estimates them from counters and buckets in Prometheus; here they are counted, quantiles are exact.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

from spantree_api.errors import InvalidParameter
from spantree_api.jaeger.http_params import whole
from spantree_api.span_search.query import NS_MAX, SpanQuery, kind_number
from spantree_api.span_search.spansets import FoundSpan
from spantree_api.span_search.traceql import Filter, TraceQuery
from spantree_api.span_search.traceql_filter import Alternative
from spantree_exporter.span import STATUS_ERROR

# When it began, how long it took, whether it failed.
_Call: TypeAlias = tuple[int, int, bool]
What: TypeAlias = Literal["calls", "errors", "latencies"]

_NS_PER_MS: Final = 1_000_000
_NS_PER_S: Final = 10**9
# What Jaeger takes where it is told nothing, in ms.
_LOOKBACK_MS, _STEP_MS, _RATE_MS = 3_600_000, 5_000, 600_000
_SERVICES_MAX: Final = 20
_POINTS_MAX: Final = 11_000
_SERIES_MAX: Final = 1_000
_ALL_POINTS_MAX: Final = 300_000
# Durations that are sorted for all points of an answer together: a second or two.
_SORTED_MAX: Final = 5_000_000
_TOLD: Final[Mapping[What, tuple[str, str]]] = {
    "calls": ("call_rate", "calls/sec"),
    "errors": ("error_rate", "error rate, a fraction of the calls"),
    "latencies": ("latencies", "{:.2f}th quantile latency, in ms"),
}


@dataclass(frozen=True, slots=True)
class MetricsParams:
    """What is asked for: points from `from_ns` to `to_ns`, `step_ns` apart, each of the `rate_ns` before it."""

    services: tuple[str, ...]
    kinds: frozenset[int]
    by_operation: bool
    from_ns: int
    to_ns: int
    step_ns: int
    rate_ns: int
    quantile: float = 0.0

    def search(self) -> TraceQuery:
        """The spans that are counted."""
        kind = next(iter(self.kinds)) if len(self.kinds) == 1 else None
        from_ns, to_ns = max(0, self.from_ns - self.rate_ns + 1), self.to_ns
        queries = [SpanQuery(service=one, kind=kind, from_ns=from_ns, to_ns=to_ns) for one in self.services]
        return TraceQuery(Filter(1, tuple(Alternative(query) for query in queries)))


def metrics_params(what: What, values: Mapping[str, Sequence[str]], now_ns: int) -> MetricsParams:
    """What `/api/metrics/...` is asked for. Raises InvalidParameter."""
    services = tuple(dict.fromkeys(text for text in values.get("service", ()) if text))
    if not 0 < len(services) <= _SERVICES_MAX:
        raise InvalidParameter("service", f"wanted the name of a service, of {_SERVICES_MAX} at most")
    kinds = [kind_number(text) for text in values.get("spanKind", ()) or ("server",)]
    if None in kinds:
        raise InvalidParameter("spanKind", "spanKind is none: wanted server, client, producer, consumer or internal")
    end_ms = whole(values, "endTs", now_ns // _NS_PER_MS)
    lookback_ms, step_ms, rate_ms = (
        whole(values, name, default)
        for name, default in (("lookback", _LOOKBACK_MS), ("step", _STEP_MS), ("ratePer", _RATE_MS))
    )
    if min(lookback_ms, step_ms, rate_ms) <= 0 or not 0 < end_ms <= NS_MAX // _NS_PER_MS:
        raise InvalidParameter("lookback", "endTs, lookback, step and ratePer are milliseconds, more than none")
    if lookback_ms // step_ms > _POINTS_MAX:
        raise InvalidParameter("step", f"these are {lookback_ms // step_ms} points: {_POINTS_MAX} is the most")
    return MetricsParams(
        services,
        frozenset(kind for kind in kinds if kind is not None),
        by_operation=next(iter(values.get("groupByOperation", ())), "").lower() in ("true", "1", "t"),
        from_ns=max(0, end_ms - lookback_ms) * _NS_PER_MS,
        to_ns=end_ms * _NS_PER_MS,
        step_ns=step_ms * _NS_PER_MS,
        rate_ns=min(rate_ms * _NS_PER_MS, NS_MAX),
        quantile=_quantile_of(values) if what == "latencies" else 0.0,
    )


def _quantile_of(values: Mapping[str, Sequence[str]]) -> float:
    text = next(iter(values.get("quantile", ())), "")
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found <= 1:
        raise InvalidParameter("quantile", f"quantile is {text[:40]!r}: wanted a number such as 0.95")
    return found


@dataclass(slots=True)
class CallMetrics:
    """Points in the making: spans are observed in any order."""

    params: MetricsParams
    _series: dict[tuple[str, str], list[_Call]] = field(default_factory=dict)

    def observe(self, span: FoundSpan) -> None:
        """Count a span. Raises InvalidParameter for more operations than are told."""
        if span.kind not in self.params.kinds:
            return
        key = span.service, span.name if self.params.by_operation else ""
        found = self._series.get(key)
        if found is None:
            if len(self._series) >= _SERIES_MAX:
                raise InvalidParameter("groupByOperation", f"these are more than {_SERIES_MAX} operations")
            found = self._series[key] = []
        found.append((span.start_ns, max(0, span.duration_ns), span.status_code == STATUS_ERROR))

    def family(self, what: What) -> dict[str, Any]:
        """The answer. Raises InvalidParameter where it is too much to be told."""
        params = self.params
        points = list(range(params.from_ns, params.to_ns + 1, params.step_ns))
        if len(points) * len(self._series) > _ALL_POINTS_MAX:
            raise InvalidParameter("step", f"these are {len(points) * len(self._series)} points: take a longer step")
        name, text = _TOLD[what]
        by, grouped = ("operation_", "service & operation") if params.by_operation else ("", "service")
        metrics: list[dict[str, Any]] = []
        for (service, operation), calls in sorted(self._series.items()):
            labels = [{"name": "service_name", "value": service}]
            if params.by_operation:
                labels.append({"name": "operation", "value": operation})
            told = [
                {"timestamp": _moment(at), "gaugeValue": {"doubleValue": value}}
                for at, value in self._points(what, calls, points)
            ]
            metrics.append({"labels": labels, "metricPoints": told})
        return {
            "name": f"service_{by}{name}",
            "type": "GAUGE",
            "help": f"{text.format(params.quantile)}, grouped by {grouped}",
            "metrics": metrics,
        }

    def _points(self, what: What, calls: list[_Call], points: Sequence[int]) -> Iterator[tuple[int, float]]:
        calls.sort()
        starts = [start_ns for start_ns, _, _ in calls]
        bounds = [(at, bisect_right(starts, at - self.params.rate_ns), bisect_right(starts, at)) for at in points]
        if what == "calls":
            yield from ((at, (end - first) * _NS_PER_S / self.params.rate_ns) for at, first, end in bounds)
        elif what == "errors":
            failed = [0]
            for _, _, is_error in calls:
                failed.append(failed[-1] + is_error)
            yield from ((at, (failed[end] - failed[first]) / (end - first)) for at, first, end in bounds if end > first)
        else:
            if sum(end - first for _, first, end in bounds) > _SORTED_MAX:
                raise InvalidParameter(
                    "ratePer",
                    "these are too many spans for a quantile of each point: take a longer step or a shorter ratePer",
                )
            for at, first, end in bounds:
                if end > first:
                    ordered = sorted(duration_ns for _, duration_ns, _ in calls[first:end])
                    yield at, ordered[math.ceil(self.params.quantile * len(ordered)) - 1] / _NS_PER_MS


def _moment(at_ns: int) -> str:
    seconds, rest_ns = divmod(at_ns, _NS_PER_S)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest_ns // _NS_PER_MS:03}Z" if rest_ns else f"{text}Z"
