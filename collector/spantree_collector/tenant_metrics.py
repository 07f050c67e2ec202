"""What the collector counts of each tenant, for whoever runs it: no tenant is to see another's name or load.

Tenants are made by operators and never by a client, and all the same their number has no bound: so many have a label of
their own, in the order in which they first showed, the others share one. A tenant keeps its label, for a counter that
goes back would be taken for a restart; what is counted is by its number, so that a new name is shown at once.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

# Eight metrics each, and one more for each reason of refusal: some thousand series.
TENANTS_NAMED: Final = 50
OTHER_TENANTS: Final = "(other)"
_OTHER: Final = -1
_PREFIX: Final = "spantree_collector_tenant_"

_COUNTERS: Final = {
    "received_spans": "Spans and log records in accepted requests.",
    "received_bytes": "Bytes of accepted bodies as sent.",
    "stored_spans": "Spans stored, new ones.",
    "projected_traces": "Traces projected onto executions, nodes and edges.",
}


class TenantMetrics(Collector):
    """The metrics by tenant of one collector. Any thread may use it."""

    def __init__(
        self,
        names: Callable[[], Mapping[str, int]] = dict,
        spooled_bytes: Callable[[], Mapping[int, int]] = dict,
        oldest_age_s: Callable[[Collection[int]], Mapping[int, float]] = lambda tenant_ids: {},
    ) -> None:
        """`names`: the tenants that there are; `spooled_bytes` and `oldest_age_s`: what of each waits in the spool."""
        self._names = names
        self._spooled_bytes = spooled_bytes
        self._oldest_age_s = oldest_age_s
        self._lock = threading.Lock()
        self._named: dict[int, None] = {}  # in the order in which they showed
        self._counts: dict[str, Counter[int]] = {name: Counter() for name in _COUNTERS}
        self._refused: Counter[tuple[int, str]] = Counter()
        self._lag_s: Mapping[int, float] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def read(
        self,
        names: Callable[[], Mapping[str, int]],
        spooled_bytes: Callable[[], Mapping[int, int]],
        oldest_age_s: Callable[[Collection[int]], Mapping[int, float]],
    ) -> None:
        """Show what these tell from now on."""
        self._names, self._spooled_bytes, self._oldest_age_s = names, spooled_bytes, oldest_age_s

    def count(self, name: str, tenant_id: int, amount: int) -> None:
        """Add to one of the counters."""
        with self._lock:
            self._counts[name][self._label_of(tenant_id)] += amount

    def refused(self, tenant_id: int, reason: str) -> None:
        """A request with a good token of the tenant was refused."""
        with self._lock:
            self._refused[self._label_of(tenant_id), reason] += 1

    def lags(self, lag_s: Mapping[int, float]) -> None:
        """How long the trace of each tenant that is due for longest has been; who is not in it has none."""
        with self._lock:
            self._lag_s = lag_s

    def exposition(self) -> bytes:
        """The lines that whoever runs the collector sees besides."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """No sample before the first scrape, which would ask the spool."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """All metrics, with the names that the tenants have now."""
        by_id = {tenant_id: name for name, tenant_id in self._names().items()}
        spooled = self._spooled_bytes()
        with self._lock:
            for tenant_id in spooled:
                self._label_of(tenant_id)
            for tenant_id in [one for one in self._named if by_id and one not in by_id and one not in spooled]:
                self._forget(tenant_id)
            named = list(self._named)
            counts = {name: dict(counter) for name, counter in self._counts.items()}
            refused = dict(self._refused)
            lag_s = self._lag_s
        labels = {tenant_id: by_id.get(tenant_id, f"number {tenant_id}") for tenant_id in named}
        labels[_OTHER] = OTHER_TENANTS
        for name, documentation in _COUNTERS.items():
            family = CounterMetricFamily(_PREFIX + name, documentation, labels=["tenant"])
            for tenant_id, count in counts[name].items():
                family.add_metric([labels[tenant_id]], count)
            yield family
        family = CounterMetricFamily(
            _PREFIX + "requests_refused",
            "Requests with a good token that were answered with an error, by its reason.",
            labels=["tenant", "reason"],
        )
        for (tenant_id, reason), count in refused.items():
            family.add_metric([labels[tenant_id], reason], count)
        yield family
        yield _gauge("spool_bytes", "Bytes that wait for PostgreSQL.", labels, _shared(spooled, named, sum))
        ages_s = self._oldest_age_s([tenant_id for tenant_id in named if tenant_id in spooled])
        yield _gauge("spool_oldest_age_seconds", "How long the oldest request has waited.", labels, ages_s)
        yield _gauge(
            "projection_lag_seconds",
            "How long a trace has been due for projection.",
            labels,
            _shared(lag_s, named, max),
        )

    def _label_of(self, tenant_id: int) -> int:
        if tenant_id in self._named or len(self._named) < TENANTS_NAMED:
            self._named[tenant_id] = None
            return tenant_id
        return _OTHER

    def _forget(self, tenant_id: int) -> None:
        """Of a tenant that was dropped: its series end, and another may have its place."""
        del self._named[tenant_id]
        for counter in self._counts.values():
            counter.pop(tenant_id, None)
        for key in [key for key in self._refused if key[0] == tenant_id]:
            del self._refused[key]


def _shared(
    values: Mapping[int, float], named: Collection[int], together: Callable[[list[float]], float]
) -> dict[int, float]:
    """A value for each that is `named`, 0 where there is none, and one for the others, if there are any."""
    shown = {tenant_id: float(values.get(tenant_id, 0)) for tenant_id in named}
    others = [float(value) for tenant_id, value in values.items() if tenant_id not in shown]
    return shown | ({_OTHER: together(others)} if others else {})


def _gauge(name: str, documentation: str, labels: Mapping[int, str], values: Mapping[int, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(_PREFIX + name, documentation, labels=["tenant"])
    for tenant_id, value in values.items():
        family.add_metric([labels[tenant_id]], value)
    return family
