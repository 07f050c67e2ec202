"""`spantree env` and `run`: getting a service's spans here."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from spantree_deploy import console, service_env
from spantree_deploy import options as opt
from spantree_deploy.interpreter import check_instrumentable
from spantree_exporter.errors import SpantreeError

Endpoint = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        metavar="URL",
        help="another spantree's OTLP/HTTP [default: http://127.0.0.1:4318]",
        show_default=False,
    ),
]


def env(
    service: Annotated[str, typer.Option(help="the service's name")] = "my-service",
    shell: Annotated[bool, typer.Option("--shell", help='for eval "$(spantree env --shell)"')] = False,
    docker: Annotated[bool, typer.Option("--docker", help="as options of docker run")] = False,
    endpoint: Endpoint = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Print the OTEL_* settings with which a service sends its spans here."""
    settings = opt.settings_of(config, set_, otlp_endpoint=endpoint)
    variables = service_env.otel_settings(settings, service)
    if docker:
        lines = service_env.docker_options(variables)
    elif shell:
        lines = service_env.shell_lines(variables)
    else:
        lines = [f"{name}={value}" for name, value in variables.items()]
    for line in lines:
        console.out.print(line)


def run(
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="how the service is started")],
    endpoint: Endpoint = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Start a Python service, instrumented without a change to it, live marks included."""
    settings = opt.settings_of(config, set_, otlp_endpoint=endpoint)
    try:
        from opentelemetry.instrumentation import auto_instrumentation
    except ImportError as error:
        raise SpantreeError(
            f'the OpenTelemetry instrumentation is not installed ({error}): pip install "spantree[run]"'
        ) from error
    environ, replaced = service_env.environment_of_service(settings, os.environ, command)
    # As if this environment were activated: the instrumentation is here, so the service's Python has to be, too.
    environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", os.defpath)])
    check_instrumentable(command[0], environ["PATH"])
    for name in replaced:
        console.step(f"{name} is replaced: the spans go to {settings.otlp_url}")
    os.environ.clear()
    os.environ.update(environ)
    # The official entry point has options of its own; without the dashes it takes a --config of the command for one.
    sys.argv = ["opentelemetry-instrument", "--", *command]
    auto_instrumentation.run()
