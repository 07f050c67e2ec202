"""`spantree up`, `collector`, `api` and `jaeger`: servers that run until a signal.

What the servers are made of is imported by the command that needs it: `spantree run` and `env` are to start quickly.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from spantree_deploy import console
from spantree_deploy import options as opt
from spantree_deploy.background import Address, Background
from spantree_deploy.database import postgres_of
from spantree_deploy.ports import check_otlp_ports, listen_for_api
from spantree_deploy.postgres.embedded import EmbeddedPostgres
from spantree_deploy.running import announced
from spantree_deploy.service_env import otel_settings
from spantree_deploy.settings import Settings, default_data_dir
from spantree_deploy.signals import StopSignals
from spantree_exporter.errors import ConfigError
from spantree_exporter.postgres.migrate import migrate
from spantree_exporter.rules import facts_reader

if TYPE_CHECKING:
    from spantree_deploy.up import Running


def up(
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    host: opt.Host = None,
    api_port: opt.ApiPort = None,
    otlp_http_port: opt.OtlpHttpPort = None,
    otlp_grpc_port: opt.OtlpGrpcPort = None,
    config: opt.Config = None,
    set_: opt.Set = None,
    verbose: opt.Verbose = False,
) -> None:
    """Run everything by one command: PostgreSQL, collector and API, until Ctrl-C."""
    settings = opt.settings_of(
        config,
        set_,
        data_dir=data,
        database_url=database_url,
        host=host,
        api_port=api_port,
        otlp_http_port=otlp_http_port,
        otlp_grpc_port=otlp_grpc_port,
    )
    console.log_to_stderr(logging.INFO if verbose else logging.WARNING, with_pool=verbose)
    with StopSignals() as signals, run_all(settings, signals) as running:
        until_signalled(settings, running, signals)


def collector(
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    host: opt.Host = None,
    otlp_http_port: opt.OtlpHttpPort = None,
    otlp_grpc_port: opt.OtlpGrpcPort = None,
    drain: Annotated[
        bool, typer.Option("--drain", help="take nothing in: write what the spool holds, and end; for drain_s at most")
    ] = False,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Run the collector alone: OTLP in, rows out. It ends with 3 where its spool still holds requests."""
    from spantree_collector.app import LEFT, Collector

    settings = opt.settings_of(
        config,
        set_,
        data_dir=data,
        database_url=database_url,
        host=host,
        otlp_http_port=otlp_http_port,
        otlp_grpc_port=otlp_grpc_port,
    )
    console.log_to_stderr(logging.INFO)
    facts_reader(settings.rules)  # a fault in the rules is to be told before anything is started
    faults = [] if drain else check_otlp_ports(settings)
    if faults:
        raise ConfigError(faults)
    with StopSignals() as signals, postgres_of(settings, console.step, partial(_at_once, signals)) as url:
        if settings.is_embedded:
            migrate(url)
        if drain:
            left = _drained(settings, url, signals)
        else:
            server = Collector(settings.collector_config(url))
            _serve(Background("spantree-collector", server.serve, signals.wake), signals)
            left = server.left_bodies
    if left:
        raise typer.Exit(LEFT)


def _drained(settings: Settings, url: str, signals: StopSignals) -> int:
    """Write what the spool holds; how many requests are left."""
    from spantree_collector.write.drain import drain

    signals.interrupts = False
    left = drain(settings.collector_config(url), settings.drain_s, signals.stopped)
    console.step(f"{left} requests are left in the spool" if left else "the spool is empty: all is written")
    return left


def api(
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    host: opt.Host = None,
    api_port: opt.ApiPort = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Run the API alone."""
    settings = opt.settings_of(config, set_, data_dir=data, database_url=database_url, host=host, api_port=api_port)
    _serve_api(settings, "the API answers on {}", for_jaeger=False)


def jaeger(
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    host: opt.Host = None,
    api_port: opt.ApiPort = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Run what Jaeger and Grafana read from in a process of its own, and nothing else.

    Jaeger's storage API (gRPC, SPANTREE_API_JAEGER_PORT), and over HTTP the APIs of Jaeger and Tempo.
    """
    settings = opt.settings_of(config, set_, data_dir=data, database_url=database_url, host=host, api_port=api_port)
    _serve_api(settings, "Jaeger's and Tempo's APIs answer on {}", for_jaeger=True)


def _serve_api(settings: Settings, sentence: str, *, for_jaeger: bool) -> None:
    from spantree_deploy.api_server import serve_api

    console.log_to_stderr(logging.INFO)
    with (
        contextlib.closing(listen_for_api(settings)) as listener,
        StopSignals() as signals,
        postgres_of(settings, console.step, partial(_at_once, signals)) as url,
    ):
        if settings.is_embedded:
            migrate(url)
        serve = partial(
            serve_api,
            settings.api_config(url),
            listener,
            allowed_hosts=settings.allowed_hosts,
            for_jaeger=for_jaeger,
        )
        server = Background("spantree-jaeger" if for_jaeger else "spantree-api", serve, signals.wake)
        with contextlib.ExitStack() as told:

            def say(where: str) -> None:
                if not for_jaeger:
                    told.enter_context(announced(settings, where))
                console.step(sentence.format(where))

            _serve(server, signals, say)


def run_all(settings: Settings, signals: StopSignals) -> contextlib.AbstractContextManager[Running]:
    """Everything in this process, woken and hurried by `signals`."""
    from spantree_deploy.up import Watch, all_in_one

    return all_in_one(settings, console.step, Watch(signals.wake, partial(_at_once, signals)))


def until_signalled(settings: Settings, running: Running, signals: StopSignals, *more: str) -> None:
    """Say where everything is; return at the first signal, or when a server has ended by itself."""
    # First: whoever reads that it is running may stop it at once, and that is an orderly end.
    signals.interrupts = False
    for line in (addresses(settings, running), *more, "", "running; Ctrl-C stops it"):
        console.out.tell(line)
    signals.wait()
    console.out.leave_unwritten()
    say_stopping(settings)


def say_stopping(settings: Settings) -> None:
    """A line for somebody who pressed Ctrl-C and waits."""
    console.step("stopping: collector, API, PostgreSQL" if settings.is_embedded else "stopping: collector, API")


def addresses(settings: Settings, running: Running) -> str:
    """Where everything is, for a person."""
    # What was really taken, where any free port was asked for.
    sent_to = replace(settings, otlp_endpoint=settings.otlp_endpoint or running.otlp_http_url)
    otel = otel_settings(sent_to, "NAME")
    data = str(settings.data_dir.absolute())
    lines = {
        "pages": running.api_url,
        "API": f"{running.api_url}/api/v1/executions",
        "its docs": f"{running.api_url}/api/v1/docs",
        "OTLP/HTTP": f"{running.otlp_http_url}/v1/traces",
        "OTLP/gRPC": running.otlp_grpc_url,
        "a service": " ".join(
            f"{name}={otel[name]}" for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL")
        ),
        "SQL": f"psql '{running.database_url}'" if settings.is_embedded else "in the PostgreSQL of --database-url",
        "data": data,
    }
    if settings.is_embedded and settings.data_dir != default_data_dir(os.environ):
        # Commands in another shell would look for it in the usual place.
        lines["a command"] = f"--data {shlex.quote(data)}, or export SPANTREE_DATA_DIR={shlex.quote(data)}"
    return "\n".join(f"{name:<10} {value}" for name, value in lines.items())


def _serve(
    server: Background[Address], signals: StopSignals, say: Callable[[Address], None] = lambda where: None
) -> None:
    signals.interrupts = False
    try:
        say(server.start())
        signals.wait()
    finally:
        server.stop()
    if server.error is not None:
        raise server.error


def _at_once(signals: StopSignals, postgres: EmbeddedPostgres | None) -> None:
    # While it is being stopped there is nothing left to hurry: it has been told, and ends by itself.
    signals.at_once = postgres.stop if postgres is not None else lambda: None
