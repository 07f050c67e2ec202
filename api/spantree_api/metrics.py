"""What the API counts and what it reads of the database, for Prometheus.

No label takes a value that a client chose: a route is its template, a method one of HTTP's, a tenant is made by
operators. Names of workflows come out of spans; so only the workflows with most runs have a label of their own
(CVE-2023-45142 is what happens otherwise).
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client import Counter as CounterMetric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spantree_exporter.rollup_names import SUBJECTS
from spantree_exporter.tls.certificate import ServerTls
from spantree_exporter.tokens import Identity

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
MAX_WORKFLOWS: Final = 50
MAX_TENANTS: Final = 50
OTHER_TENANTS: Final = "(other)"
OTHER_WORKFLOWS: Final = "(other)"
NO_WORKFLOW: Final = "(none)"
_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class BacklogRow:
    """What waits for projection."""

    traces: int
    lag_s: float
    failing: int


@dataclass(frozen=True, slots=True)
class CauseRow:
    """Dead letters of one cause."""

    cause: str
    letters: int
    count: int


@dataclass(frozen=True, slots=True)
class RunsRow:
    """Executions of the last hour, of one workflow and status; the workflow of those that have none is empty."""

    workflow: str
    status: str
    count: int


class ApiMetrics:
    """All metrics of one API server, in a registry of its own."""

    def __init__(self, tls: ServerTls | None = None) -> None:
        self._registry = registry = CollectorRegistry()
        self._connections_refused = CounterMetric(
            "spantree_api_connections_refused", "Connections cut, by reason.", ["reason"], registry=registry
        )
        self._spoofed = CounterMetric(
            "spantree_api_untrusted_identity_headers",
            "Requests with headers that say who asks, from an address that is no trusted proxy's; they are ignored.",
            registry=registry,
        )
        self._logins = CounterMetric(
            "spantree_api_logins", "People who came back from the provider, by outcome.", ["outcome"], registry=registry
        )
        if tls is not None:
            days = Gauge(
                "spantree_api_certificate_days_left", "Days until the certificate in use ends.", registry=registry
            )
            days.set_function(lambda: tls.days_left)
            well = Gauge(
                "spantree_api_certificate_ok",
                "1 while what is in the certificate's files is in use and good.",
                registry=registry,
            )
            well.set_function(lambda: float(tls.problem is None))
        self._request_s = Histogram(
            "spantree_api_request_seconds",
            "From a request's headers to the end of its answer.",
            ["method", "route", "status"],
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._of_tenants = CounterMetric(
            "spantree_api_tenant_requests",
            f"Answered requests by whose token they came with; the first {MAX_TENANTS} tenants by name.",
            ["tenant", "status"],
            registry=registry,
        )
        self._tenants: dict[int, str] = {}  # those with a label of their own, by their names of now
        self._in_flight = Gauge("spantree_api_requests_in_flight", "Requests being answered.", registry=registry)
        self._database_up = Gauge(
            "spantree_api_database_up", "1 while the database answers; what is read of it is absent else.",
            registry=registry,
        )  # fmt: skip
        self._pending = Gauge(
            "spantree_pending_traces", "Traces whose spans are stored and that wait for projection.", ["state"],
            registry=registry,
        )  # fmt: skip
        self._lag_s = Gauge(
            "spantree_projection_lag_seconds", "How long the oldest of them has waited.", ["state"], registry=registry
        )
        self._letters = Gauge(
            "spantree_dead_letters", "Dead letters that are kept, equal ones once, by reason.", ["reason"],
            registry=registry,
        )  # fmt: skip
        self._letters_seen = Gauge(
            "spantree_dead_letters_seen", "How often the dead letters that are kept have come, by reason.", ["reason"],
            registry=registry,
        )  # fmt: skip
        self._lost_events = CounterMetric(
            "spantree_api_audit_events_lost", "Events of the own audit that could not be written.", registry=registry
        )
        self._runs = Gauge(
            "spantree_workflow_runs_last_hour",
            f"Executions that started within the last hour; the {MAX_WORKFLOWS} workflows with most of them by name.",
            ["workflow", "status"],
            registry=registry,
        )
        self._gathered = Gauge(
            "spantree_names_gathered",
            "1 while this hour or the one before has more names of a subject than figures keep.",
            ["subject"],
            registry=registry,
        )

    def observe(self, method: str, route: str | None, status: int, elapsed_s: float) -> None:
        """One answered request; `route` is its template, None where there is none."""
        labels = (method if method in _METHODS else "OTHER", route or "(none)", str(status))
        self._request_s.labels(*labels).observe(elapsed_s)

    def observe_tenant(self, identity: Identity, status: int) -> None:
        """One answered request of a tenant, counted by the class of its status: 2xx, 4xx."""
        known = self._tenants.get(identity.tenant_id)
        if known is None and len(self._tenants) >= MAX_TENANTS:
            label = OTHER_TENANTS
        else:
            label = self._tenants[identity.tenant_id] = identity.tenant
            if known is not None and known != label:
                for status_class in range(1, 6):
                    with contextlib.suppress(KeyError):
                        self._of_tenants.remove(known, f"{status_class}xx")
        self._of_tenants.labels(label, f"{status // 100}xx").inc()

    def spoofed(self) -> None:
        """A request had the headers of a proxy, and did not come from one that is trusted."""
        self._spoofed.inc()

    def logged_in(self, outcome: str) -> None:
        """Somebody came back from the provider: `ok`, `refused`, `no_role` or `unavailable`."""
        self._logins.labels(outcome).inc()

    def connection_refused(self, reason: str) -> None:
        """One was cut, or never became one; any thread may call this."""
        self._connections_refused.labels(reason).inc()

    def away(self) -> None:
        """The database does not answer: what was read of it is not true any more."""
        self._database_up.set(0)
        for gauge in (self._pending, self._lag_s, self._letters, self._letters_seen, self._runs, self._gathered):
            gauge.clear()

    def show(
        self, backlog: BacklogRow, causes: Iterable[CauseRow], runs: Sequence[RunsRow], gathered: Iterable[str]
    ) -> None:
        """What was read of the database just now."""
        self.away()
        self._database_up.set(1)
        self._pending.labels("waiting").set(backlog.traces - backlog.failing)
        self._pending.labels("failing").set(backlog.failing)
        self._lag_s.labels("oldest").set(backlog.lag_s)
        for cause in causes:
            self._letters.labels(cause.cause).set(cause.letters)
            self._letters_seen.labels(cause.cause).set(cause.count)
        for (workflow, status), count in bounded(runs).items():
            self._runs.labels(workflow, status).set(count)
        for subject in SUBJECTS:
            self._gathered.labels(subject).set(0)
        for subject in gathered:
            self._gathered.labels(subject).set(1)

    def exposition(self) -> bytes:
        """The text that GET /metrics answers."""
        return generate_latest(self._registry)

    def count_lost_events(self, events: int) -> None:
        """So many more events of the own audit could not be written."""
        self._lost_events.inc(events)

    def request_began(self) -> None:
        """One more request is being answered."""
        self._in_flight.inc()

    def request_ended(self) -> None:
        """One less is."""
        self._in_flight.dec()


def bounded(runs: Iterable[RunsRow]) -> dict[tuple[str, str], int]:
    """(workflow, status) -> executions, with the workflows that have fewest put together."""
    totals: Counter[str] = Counter()
    rows = list(runs)
    for row in rows:
        totals[row.workflow or NO_WORKFLOW] += row.count
    named = {workflow for workflow, _ in sorted(totals.items(), key=lambda one: (-one[1], one[0]))[:MAX_WORKFLOWS]}
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        workflow = row.workflow or NO_WORKFLOW
        counts[workflow if workflow in named else OTHER_WORKFLOWS, row.status] += row.count
    return dict(counts)


class RequestMetrics:
    """ASGI middleware that times every request of `app`."""

    def __init__(self, app: ASGIApp, metrics: ApiMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # What ends without an answer is one of ours that failed.
        status = 500
        started_s = time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.request_began()
        try:
            await self._app(scope, receive, noting)
        finally:
            self._metrics.request_ended()
            route: Any = scope.get("route")
            elapsed_s = time.perf_counter() - started_s
            self._metrics.observe(scope["method"], getattr(route, "path", None), status, elapsed_s)
            identity = scope.get("state", {}).get("identity")
            if isinstance(identity, Identity):
                self._metrics.observe_tenant(identity, status)
