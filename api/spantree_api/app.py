"""The composition root: settings in, an ASGI application out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from spantree_api.alerts.rules_file import file_rules
from spantree_api.alerts.watch import AlertWatch
from spantree_api.analysis.analyst import analyst_of
from spantree_api.analysis.model_answer import Analyst
from spantree_api.authentication import Authentication, Authenticator
from spantree_api.config import ApiConfig
from spantree_api.database import Database
from spantree_api.failures.known_errors_file import load_known_errors
from spantree_api.http.body_limit import BodyLimit
from spantree_api.http.compression import Compression
from spantree_api.http.cors import Cors
from spantree_api.http.error_answers import install_error_answers
from spantree_api.http.head_requests import HeadRequests
from spantree_api.http.no_sniffing import NoSniffing
from spantree_api.http.openapi_texts import complete
from spantree_api.http.path_prefix import PathPrefix
from spantree_api.metrics import ApiMetrics, RequestMetrics
from spantree_api.own_audit import OwnAudit, OwnAuditing
from spantree_api.pages.site import install_pages
from spantree_api.people.people import People
from spantree_api.people.settings import people_settings
from spantree_api.repeat import RepeatReads
from spantree_api.replica import ReplicationLag, ReplicaWatch
from spantree_api.routes import alerts as alert_routes
from spantree_api.routes import (
    analysis,
    audit,
    conversations,
    diff,
    docs,
    execution_stats,
    executions,
    export,
    failure_groups,
    failures,
    health,
    jaeger,
    jaeger_metrics,
    login,
    nodes,
    otlp,
    own_audit,
    runs,
    stats,
    streams,
    tempo,
    tempo_metrics,
    timeline,
    trends,
    workflows,
)
from spantree_api.routes import metrics as metrics_route
from spantree_api.routes.api_router import BASE
from spantree_api.service import Service
from spantree_api.streams.listeners import TenantStreams
from spantree_api.thresholds import keep_thresholds
from spantree_exporter.own_audit_event import local_actor
from spantree_exporter.tls.certificate import ServerTls
from spantree_exporter.token_watch import TokenWatch
from spantree_exporter.tokens import LOOPBACK

# Until it is known which tokens there are, requests are answered 503.
_FIRST_LOOK_S = 3.0
_ENDING_S = 1.0
# Jaeger's and Tempo's APIs, each with parameters, errors and documentation of its own.
_OF_OTHERS = (jaeger.router, jaeger_metrics.router, tempo.router, tempo_metrics.router, jaeger.beside)
ROUTERS = tuple(
    module.router
    for module in (
        executions,
        nodes,
        timeline,
        execution_stats,
        analysis,
        diff,
        export,
        otlp,
        streams,
        alert_routes,
        failures,
        failure_groups,
        conversations,
        runs,
        stats,
        trends,
        workflows,
        audit,
        own_audit,
        health,
    )
)


def create_app(
    config: ApiConfig,
    clock: Callable[[], int] = time.time_ns,
    analyst: Analyst | None = None,
    *,
    alerts: bool = False,
    trusted: bool = False,
    tls: ServerTls | None = None,
    for_jaeger: bool = False,
) -> FastAPI:
    """The API over the database that `config` names. It starts, and stays up, whether that is there or not.

    `clock` answers UTC nanoseconds since 1970; it decides what is `lost`, `stuck` and how long a run lasts so far.
    `analyst` analyses failures, the one that the settings name where none is given. With `alerts` it looks after the
    rules of alerts as well, together with all other processes that do. `trusted`: whoever asks has the database's own
    password and needs no token. `tls`: what its server shakes hands with, whose end /health and /metrics tell.
    `for_jaeger`: only the APIs of Jaeger and Tempo are served, beside health and metrics; thresholds are not kept.
    Raises ConfigError for known errors or rules of alerts that cannot be read, a model that cannot be used, or faults
    in how people are known.
    """
    rules = None if config.alerts_file is None else file_rules(config.alerts_file, config.private_hosts)
    metrics = ApiMetrics(tls)
    people = People(people_settings(config), metrics.spoofed)
    known_errors = load_known_errors(config.known_errors)
    analyst = analyst or analyst_of(config)
    recorded = OwnAudit(config.audit, config.audit_flush_s, metrics.count_lost_events)
    tokens = TokenWatch(config.database_url, interval_s=config.token_interval_s, standby_url=config.read_database_url)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Made here: a pool belongs to the event loop that it is made in.
        primary = Database(config)
        database = Database(config, config.read_database_url) if config.read_database_url else primary
        listeners = TenantStreams(primary, config, clock)
        app.state.service = Service(
            config, database.of(config.tenant_id), primary.of(config.tenant_id), clock, listeners, known_errors, analyst
        )
        app.state.figures = metrics_route.DatabaseFigures(metrics)
        replica = app.state.replica = ReplicaWatch(database)
        await primary.open()
        recorded.start(primary)
        if database is not primary:
            await database.open()
            replica.start()
        thresholds = asyncio.create_task(
            asyncio.sleep(0) if for_jaeger else keep_thresholds(primary.of(config.tenant_id), config)
        )
        watch = AlertWatch(primary, config, clock, rules)
        if alerts:
            watch.start()
        if not trusted:
            tokens.start()
            await asyncio.to_thread(tokens.wait_for_first_look, _FIRST_LOOK_S)
        try:
            yield
        finally:
            # It is done at once where the database is there; cancelled in its midst, the driver complains.
            await asyncio.wait((thresholds,), timeout=_ENDING_S)
            thresholds.cancel()
            await watch.close()
            await listeners.close()
            await replica.close()
            if database is not primary:
                await database.close()
            await recorded.stop()
            await primary.close()
            await asyncio.to_thread(tokens.stop)

    app = _Described(
        title="spantree",
        summary="Executions, nodes and edges out of OpenTelemetry traces.",
        version="1",
        lifespan=lifespan,
        openapi_url=f"{BASE}/openapi.json",
        # FastAPI's own page loads its scripts from another server; routes/docs.py has ours.
        docs_url=None,
        redoc_url=None,
        servers=[{"url": people.settings.prefix}] if people.settings.prefix else None,
    )
    install_error_answers(app)
    app.state.tokens = tokens
    app.state.audit = recorded
    app.state.metrics = metrics
    app.state.tls = tls
    app.add_middleware(BodyLimit)
    app.state.people = people
    app.state.authenticator = Authenticator(
        tokens, anonymous=config.host in LOOPBACK or config.insecure, people=people.settings.are_known
    )
    if not trusted:
        app.add_middleware(Authentication, authenticator=app.state.authenticator, people=people)
    app.add_middleware(
        OwnAuditing,
        audit=recorded,
        base=BASE,
        templates=lambda: templates_of(app),
        channel="command" if trusted else "http",
        actor=local_actor() if trusted else None,
    )
    app.add_middleware(RepeatReads)
    app.add_middleware(ReplicationLag, state=app.state)
    app.add_middleware(RequestMetrics, metrics=metrics)
    app.add_middleware(Compression)
    if people.settings.cors_origins:
        app.add_middleware(Cors, origins=people.settings.cors_origins)
    app.add_middleware(HeadRequests)
    app.add_middleware(PathPrefix, prefix=people.settings.prefix)
    app.add_middleware(NoSniffing)
    # Not included: FastAPI would analyse every route a second time, at the first request, for most of a second.
    for router in (*_OF_OTHERS, health.probes, metrics_route.router):
        app.routes.extend(router.routes)
    if for_jaeger:
        return app
    for router in (login.router, *ROUTERS, docs.router):
        app.routes.extend(router.routes)
    install_pages(app)
    return app


class _Described(FastAPI):
    """Says in OpenAPI what each parameter and field is."""

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if not self.openapi_schema:
            self.openapi_schema = complete(super().openapi())
        return self.openapi_schema


def templates_of(app: FastAPI) -> Iterator[str]:
    """The path of every route, as it was declared; the same one may come again."""
    for route in app.routes:
        path = getattr(route, "path", None)
        if isinstance(path, str):
            yield path


async def end_streams(app: FastAPI) -> None:
    """End what would go on for ever, before the server waits for open requests to come to an end."""
    service: Service | None = getattr(app.state, "service", None)
    if service is not None:
        await service.tenant_streams.close()
