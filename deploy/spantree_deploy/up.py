"""The composition root of everything on one machine: PostgreSQL, schema, collector and API.

start:  ports -> PostgreSQL -> schema -> collector -> API
stop:   collector (drains) -> API -> PostgreSQL
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from spantree_collector.app import Addresses, Collector
from spantree_deploy.api_server import serve_api
from spantree_deploy.background import Background
from spantree_deploy.database import PostgresWatch, Report, postgres_of, remedy_of
from spantree_deploy.named_files import check_all
from spantree_deploy.ports import take_ports
from spantree_deploy.running import announced, refuse_twice
from spantree_deploy.settings import Settings, url_of
from spantree_exporter.errors import SpantreeError, StoreUnavailable
from spantree_exporter.postgres.migrate import migrate

log = logging.getLogger(__name__)

_MIGRATE_AGAIN_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Running:
    """Where everything is, with the ports that were really taken."""

    api_url: str
    otlp_http_url: str
    otlp_grpc_url: str
    database_url: str


@dataclass(frozen=True, slots=True)
class Watch:
    """What the owner of the running servers is told."""

    server_ended: Callable[[], None] = lambda: None
    """Called from the server's thread."""
    postgres: PostgresWatch = lambda postgres: None


@contextmanager
def all_in_one(settings: Settings, report: Report, watch: Watch | None = None) -> Iterator[Running]:
    """Everything, running for the time of the block.

    A PostgreSQL of the user's own may be away: spans are then taken into the spool, and the schema is made as soon as
    it answers. Raises ConfigError for ports that cannot be taken, OperatorError, EmbeddedPostgresError, SpoolFailed.
    """
    watch = watch or Watch()
    check_all(settings)
    refuse_twice(settings)
    with ExitStack() as stack:
        listener = stack.enter_context(contextlib.closing(take_ports(settings)))
        database_url = stack.enter_context(postgres_of(settings, report, watch.postgres))
        try:
            report("making the schema")
            migrate(database_url)
        except StoreUnavailable as error:
            if settings.is_embedded:
                raise
            report(f"{error}; {remedy_of(error.__cause__)}; spans are taken all the same and wait on disk until then")
            stack.enter_context(_migrating(database_url))
        report("starting collector and API")
        # The API stops after the collector, although it is made after it: it tells where the collector really is.
        api_stack = stack.enter_context(ExitStack())
        collector = Background[Addresses](
            "spantree-collector", Collector(settings.collector_config(database_url)).serve, watch.server_ended
        )
        # Stopped first: it has requests to answer and spans to drain while everything else is still there.
        stack.callback(collector.stop)
        addresses = collector.start()
        config = settings.api_config(database_url)
        # One that asks for certificates of clients answers none of ours.
        if not config.collector_urls and settings.tls_client_ca is None:
            url = url_of(addresses.host, addresses.otlp_http_port, is_tls=addresses.is_tls)
            config = replace(config, collector_urls=url)
        api = Background(
            "spantree-api",
            partial(serve_api, config, listener, allowed_hosts=settings.allowed_hosts),
            watch.server_ended,
        )
        api_stack.callback(api.stop)
        api_url = api.start()
        listening = replace(
            settings,
            api_port=urlsplit(api_url).port or settings.api_port,
            otlp_http_port=addresses.otlp_http_port,
            otlp_grpc_port=addresses.otlp_grpc_port,
        )
        stack.enter_context(announced(settings, api_url, listening))
        yield Running(
            api_url=api_url,
            otlp_http_url=url_of(addresses.host, addresses.otlp_http_port, is_tls=addresses.is_tls),
            otlp_grpc_url=url_of(addresses.host, addresses.otlp_grpc_port, is_tls=addresses.is_tls),
            database_url=database_url,
        )
        for server in (collector, api):
            if server.error is not None:
                raise server.error


@contextmanager
def _migrating(database_url: str) -> Iterator[None]:
    """Makes the schema as soon as PostgreSQL answers."""
    stop = threading.Event()

    def until_done() -> None:
        said = ""
        while not stop.wait(_MIGRATE_AGAIN_S):
            try:
                migrate(database_url)
            except StoreUnavailable:
                continue
            except SpantreeError as error:
                if str(error) != said:
                    said = str(error)
                    log.error("the schema cannot be made: %s", error)
            else:
                log.warning("PostgreSQL answers; the schema is there")
                return

    thread = threading.Thread(target=until_done, name="spantree-migrate", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        # Not joined: it may be waiting for a server that does not answer, and owns nothing that must be closed.
