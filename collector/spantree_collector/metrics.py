"""What the collector counts, for Prometheus. No label ever takes a value that a client chose (CVE-2023-45142).

What is told of single tenants stands apart (tenant_metrics): it is not for everybody who reaches the port.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from spantree_collector.metrics_delta import CounterName, MetricsDelta
from spantree_collector.tenant_metrics import TenantMetrics
from spantree_exporter.hot_path import hot_path

CONTENT_TYPE = CONTENT_TYPE_LATEST
_ACK_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_OF_TENANTS: Final[dict[CounterName, str]] = {
    "tenant_stored_spans": "stored_spans",
    "tenant_projected_traces": "projected_traces",
}
_WRITE_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class CollectorMetrics:
    """All metrics of one collector, in a registry of its own, so that several can live in one process."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.tenants = TenantMetrics()
        Gauge(
            "spantree_collector_hot_path",
            "1 for the way that decoding and row bytes take: compiled or python.",
            ["path"],
            registry=registry,
        ).labels(hot_path()).set(1)
        self.accepted = Counter(
            "spantree_collector_requests_accepted", "Requests answered with success.", ["transport"], registry=registry
        )
        self.refused = Counter(
            "spantree_collector_requests_refused",
            "Requests answered with an error, by its reason.",
            ["transport", "reason"],
            registry=registry,
        )
        self.disconnected = Counter(
            "spantree_collector_requests_disconnected",
            "Requests whose client went away before its body had come.",
            ["transport"],
            registry=registry,
        )
        self.connections_refused = Counter(
            "spantree_collector_connections_refused", "HTTP connections cut, by reason.", ["reason"], registry=registry
        )
        self.received_spans = Counter(
            "spantree_collector_received_spans", "Spans in accepted requests.", ["transport"], registry=registry
        )
        self.rejected_spans = Counter(
            "spantree_collector_rejected_spans",
            "Spans in accepted requests whose ids cannot be stored; they become dead letters.",
            ["transport"],
            registry=registry,
        )
        self.received_log_records = Counter(
            "spantree_collector_received_log_records",
            "Log records in accepted requests.",
            ["transport"],
            registry=registry,
        )
        self.rejected_log_records = Counter(
            "spantree_collector_rejected_log_records",
            "Log records in accepted requests that belong to no span; they are not kept.",
            ["transport"],
            registry=registry,
        )
        self.received_bytes = Counter(
            "spantree_collector_received_bytes", "Bytes of accepted bodies as sent.", ["transport"], registry=registry
        )
        self.redacted = Counter(
            "spantree_collector_redacted",
            "Secrets that were redacted in accepted requests, by the kind that the rules name.",
            ["kind"],
            registry=registry,
        )
        self.ack_s = Histogram(
            "spantree_collector_ack_seconds",
            "From a complete body to its acknowledgement, fsync included.",
            ["transport"],
            buckets=_ACK_BUCKETS_S,
            registry=registry,
        )
        self.spool_commit_s = Histogram(
            "spantree_collector_spool_commit_seconds",
            "One group commit of the spool.",
            buckets=_ACK_BUCKETS_S,
            registry=registry,
        )
        self.spool_group_bodies = Histogram(
            "spantree_collector_spool_group_bodies",
            "Requests that shared one fsync.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=registry,
        )
        self.write_s = Histogram(
            "spantree_collector_write_seconds",
            "One committed batch, from the call to the commit.",
            buckets=_WRITE_BUCKETS_S,
            registry=registry,
        )
        self.stored_spans = Counter("spantree_collector_stored_spans", "Spans stored, new ones.", registry=registry)
        self.duplicate_spans = Counter(
            "spantree_collector_duplicate_spans", "Spans that were stored already.", registry=registry
        )
        self.outside_spans = Counter(
            "spantree_collector_outside_spans",
            "Spans under 1970-01-01: of days too old or new to get a partition, or that retention has dropped.",
            registry=registry,
        )
        self.stored_log_records = Counter(
            "spantree_collector_stored_log_records", "Log records stored, new ones.", registry=registry
        )
        self.duplicate_log_records = Counter(
            "spantree_collector_duplicate_log_records", "Log records that were stored already.", registry=registry
        )
        self.dead_letters = Counter(
            "spantree_collector_dead_letters",
            "What cannot be stored as a span and is kept with its bytes: one span, or a body.",
            ["reason"],
            registry=registry,
        )
        self.left_bodies = Counter(
            "spantree_collector_left_bodies",
            "Bodies left in the spool because not even their dead letter could be stored.",
            registry=registry,
        )
        self.projected_traces = Counter(
            "spantree_collector_projected_traces",
            "Traces projected onto executions, nodes and edges.",
            registry=registry,
        )
        self.failed_projections = Counter(
            "spantree_collector_failed_projections",
            "Projections of a trace that failed; pending_projection.error says why, and it is tried later again.",
            registry=registry,
        )
        self.store_errors = Counter(
            "spantree_collector_store_errors",
            "Attempts that PostgreSQL did not take, by thread and kind.",
            ["thread", "kind"],
            registry=registry,
        )

        self.writer_restarts = Counter(
            "spantree_collector_writer_restarts",
            "Writer processes that died and were started again.",
            registry=registry,
        )
        self.examiner_restarts = Counter(
            "spantree_collector_examiner_restarts",
            "Processes that examine large requests and ended over one.",
            registry=registry,
        )
        self._counters: dict[CounterName, Counter] = {
            "stored_spans": self.stored_spans,
            "duplicate_spans": self.duplicate_spans,
            "outside_spans": self.outside_spans,
            "stored_log_records": self.stored_log_records,
            "duplicate_log_records": self.duplicate_log_records,
            "projected_traces": self.projected_traces,
            "failed_projections": self.failed_projections,
            "dead_letters": self.dead_letters,
            "left_bodies": self.left_bodies,
            "store_errors": self.store_errors,
        }

    def count(self, counter: CounterName, amount: int = 1, labels: Sequence[str] = ()) -> None:
        """Add `amount` to the counter with these label values; that of a tenant's is its number."""
        if counter in _OF_TENANTS:
            self.tenants.count(_OF_TENANTS[counter], int(labels[0]), amount)
            return
        found = self._counters[counter]
        (found.labels(*labels) if labels else found).inc(amount)

    def observe_write(self, elapsed_s: float) -> None:
        """One committed batch."""
        self.write_s.observe(elapsed_s)

    def add(self, delta: MetricsDelta) -> None:
        """What a writer process has counted."""
        for (counter, labels), amount in delta.counts.items():
            self.count(counter, amount, labels)
        for elapsed_s in delta.writes_s:
            self.observe_write(elapsed_s)
        if delta.lag_s is not None:
            self.note_lags(delta.lag_s)

    def note_lags(self, lag_s: Mapping[int, float]) -> None:
        """How long the trace of each tenant that is due for longest has been."""
        self.tenants.lags(lag_s)

    def observe_commit(self, bodies: int, elapsed_s: float) -> None:
        """One group commit of the spool."""
        self.spool_commit_s.observe(elapsed_s)
        self.spool_group_bodies.observe(bodies)

    def gauge(self, name: str, documentation: str, read: Callable[[], float]) -> None:
        """Show what `read` returns at each scrape."""
        Gauge(name, documentation, registry=self._registry).set_function(read)

    def exposition(self, *, with_tenants: bool = False) -> bytes:
        """The text that GET /metrics answers; `with_tenants`: to whoever may know of them all."""
        return generate_latest(self._registry) + (self.tenants.exposition() if with_tenants else b"")
