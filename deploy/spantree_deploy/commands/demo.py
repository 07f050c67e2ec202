"""`spantree demo`: everything at once, two services that do something, and what spantree tells of it."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import httpx
import typer

from spantree_deploy import console
from spantree_deploy import options as opt
from spantree_deploy.client import ApiClient, NotAnswered, api_at
from spantree_deploy.commands.read import print_tree
from spantree_deploy.commands.serve import run_all, say_stopping, until_signalled
from spantree_deploy.service_env import otel_settings, past_proxies
from spantree_deploy.settings import Settings, default_data_dir
from spantree_deploy.signals import StopSignals
from spantree_exporter.errors import ConfigError, SpantreeError

if TYPE_CHECKING:
    from spantree_deploy.demo.scenario import Played
    from spantree_deploy.demo.services import Services
    from spantree_deploy.up import Running

# Spans leave the services within 0.2 s and are projected a second after they went quiet; a loaded machine is slower.
_SHOWN_WITHIN_S: Final = 15.0
_POLL_S: Final = 0.1
_ORDER: Final = '{"customer": "ada", "items": {"tea": 1}}'
_NO_TLS: Final[dict[str, Any]] = {
    f"{ports}tls_{what}": None for ports in ("", "api_") for what in ("certificate", "key", "client_ca")
}
_NEEDED: Final = ("fastapi", "sqlalchemy", "httpx", "opentelemetry.instrumentation.fastapi")


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="leave everything running until Ctrl-C")] = False,
    free_ports: Annotated[
        bool, typer.Option("--free-ports", help="take free ports instead of 8000, 4317, 4318")
    ] = False,
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
    """Start everything, let two instrumented services work, print the execution trees that come of it."""
    free = "0" if free_ports else None
    settings = opt.settings_of(
        config,
        set_,
        data_dir=data,
        database_url=database_url,
        host=host,
        api_port=api_port or free,
        otlp_http_port=otlp_http_port or free,
        otlp_grpc_port=otlp_grpc_port or free,
    )
    # Its services are on this machine, and know no certificate of yours.
    settings = replace(settings, **_NO_TLS)
    if settings.data_dir == default_data_dir(os.environ):
        # A shop's made-up orders do not belong beside what somebody's real services sent.
        settings = replace(settings, data_dir=settings.data_dir / "demo")
    missing = [name for name in _NEEDED if find_spec(name.split(".")[0]) is None or find_spec(name) is None]
    if missing:
        raise SpantreeError(f'the demo needs {", ".join(missing)}: pip install "spantree[server,demo]"')
    console.log_to_stderr(logging.INFO if verbose else logging.WARNING, with_pool=verbose)
    # For this process and the services that it starts: all of them talk over the loopback only.
    os.environ.update(past_proxies(os.environ))
    with StopSignals() as signals, _hinting(), run_all(settings, signals) as running:
        with _services(settings, settings.otlp_endpoint or running.otlp_http_url) as services:
            played = _play(services.orders_url, running.api_url, settings)
            if keep:
                until_signalled(
                    settings, running, signals, *_next_steps(settings, running, services.orders_url, played)
                )
                return
        say_stopping(settings)
    for line in _afterwards(settings, played):
        console.out.print(line)


@contextlib.contextmanager
def _hinting() -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        if not any("is in use" in fault for fault in error.faults):
            raise
        hint = "or let the demo take any free ports: --free-ports, make demo ARGS=--free-ports"
        raise ConfigError([*error.faults, hint]) from error


@contextlib.contextmanager
def _services(settings: Settings, otlp_url: str) -> Iterator[Services]:
    from spantree_deploy.demo.services import ServiceNotStartedError, running

    directory = settings.data_dir / "services"
    directory.mkdir(parents=True, exist_ok=True)
    # Each of the two services has a name of its own.
    otel = otel_settings(replace(settings, otlp_endpoint=otlp_url), "")
    del otel["OTEL_SERVICE_NAME"]
    console.step("starting the demo's services: orders and inventory")
    try:
        with running(directory, otel) as services:
            yield services
    except ServiceNotStartedError as error:
        raise SpantreeError(str(error)) from error


def _next_steps(settings: Settings, running: Running, orders_url: str, played: Sequence[Played]) -> list[str]:
    """Lines to be copied into another terminal; each works as it stands."""
    failed = _failed(played)
    here = f"--api-url {running.api_url}"
    spantree = _called_as(sys.argv[0])
    lines = [
        f"{spantree} list {here}",
        f"{spantree} failures --group {here}",
        f"{spantree} diff {failed} last-good {here}",
        f"{spantree} stats --nodes {here}",
        f"curl '{running.api_url}/api/v1/executions/{failed}/failure'",
        f"curl -d '{_ORDER}' -H 'content-type: application/json' {orders_url}/orders   # another order",
    ]
    if settings.is_embedded and shutil.which("psql") is not None:
        lines.append(f"psql '{running.database_url}' -c 'TABLE spantree.workflow_stats'")
    looked_at = f"look at what failed in a browser: {running.api_url}/executions/{failed}"
    return ["", looked_at, "", "what to try next, in another terminal:", *(f"  {line}" for line in lines)]


def _afterwards(settings: Settings, played: Sequence[Played]) -> list[str]:
    """What to do now that everything is stopped; the commands work as they stand."""
    spantree = _called_as(sys.argv[0])
    data = str(settings.data_dir.absolute())
    ports = " --api-port 0 --otlp-http-port 0 --otlp-grpc-port 0" if settings.api_port == 0 else ""
    up = f"{spantree} up --data {shlex.quote(data)}{ports}"
    if not settings.is_embedded:
        up = f"{up}   # with SPANTREE_DATABASE_URL as it was"
    return [
        f"what ran is kept in {data if settings.is_embedded else 'your PostgreSQL'}. To look at it in a browser:",
        f"  {up}",
        f"  and open /executions/{_failed(played)} at the address of its pages",
        "",
        "the same with services that go on working, and lines to try:",
        f"  {spantree} demo --keep{' --free-ports' if ports else ''}",
    ]


def _failed(played: Sequence[Played]) -> str:
    return next(one.trace_id for one in played if one.status == "failed")


def _called_as(program: str) -> str:
    """This command as a shell finds it: by name where that is on PATH, by its path, by its Python."""
    name = Path(program).name
    if name != "spantree":
        return f"{shlex.quote(sys.executable)} -m spantree_deploy"
    found = shutil.which(name)
    is_on_path = found is not None and Path(found).resolve() == Path(shutil.which(program) or program).resolve()
    return name if is_on_path else shlex.quote(program)


def _play(orders_url: str, api_url: str, settings: Settings) -> list[Played]:
    from spantree_deploy.demo.scenario import ScenarioError, play

    try:
        played = play(orders_url, console.step)
    except (ScenarioError, httpx.HTTPError) as error:
        raise SpantreeError(f"the demo's services do not answer as they should: {error}") from error
    console.step("reading the executions over the API")
    with api_at(api_url, settings) as api:
        _show(api, played)
    return played


def _show(api: ApiClient, played: Sequence[Played]) -> None:
    otherwise: list[str] = []
    for one in played:
        answer = _tree_of(api, one)
        console.out.print()
        console.out.print(f"{one.what[0].upper()}{one.what[1:]}", "bold")
        print_tree(answer)
        if answer["status"] != one.status:
            otherwise.append(f"{answer['execution_id']} is {answer['status']}, expected {one.status}: {one.what}")
    console.out.print()
    if otherwise:
        raise SpantreeError("; ".join(otherwise))


def _tree_of(api: ApiClient, played: Played) -> Any:
    """The execution's tree, as soon as it says what it should, else as it is at the end of the patience."""
    deadline_s = time.monotonic() + _SHOWN_WITHIN_S
    while True:
        late = time.monotonic() > deadline_s
        try:
            answer = api.get(f"executions/{played.trace_id}/tree")
        except NotAnswered as error:
            if late or error.status != 404:
                raise
        else:
            if late or answer["status"] == played.status:
                return answer
        time.sleep(_POLL_S)
