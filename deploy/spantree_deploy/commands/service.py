"""`spantree env` and `run`: getting a service's spans here."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from spantree_deploy import console, service_env
from spantree_deploy import options as opt
from spantree_deploy.ports import refusal
from spantree_deploy.running import as_it_runs
from spantree_deploy.wrappers import behind_which


def env(
    service: Annotated[str, typer.Option(help="the service's name")] = "my-service",
    shell: Annotated[bool, typer.Option("--shell", help='for eval "$(spantree env --shell)"')] = False,
    docker: Annotated[bool, typer.Option("--docker", help="as options of docker run")] = False,
    endpoint: opt.Endpoint = None,
    data: opt.DataDir = None,
    ca: opt.Ca = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Print the OTEL_* settings with which a service sends its spans here."""
    settings = as_it_runs(opt.settings_of(config, set_, otlp_endpoint=endpoint, data_dir=data, ca=ca))
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
    service: Annotated[
        str | None,
        typer.Option(help="the service's name [default: OTEL_SERVICE_NAME, else the program's]", show_default=False),
    ] = None,
    endpoint: opt.Endpoint = None,
    data: opt.DataDir = None,
    ca: opt.Ca = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Start a Python service, instrumented without a change to it, live marks included.

    The Python that runs it is the one that would run it without `spantree run`: it is asked what it has.
    """
    settings = as_it_runs(opt.settings_of(config, set_, otlp_endpoint=endpoint, data_dir=data, ca=ca))
    given = dict(os.environ) if service is None else {**os.environ, "OTEL_SERVICE_NAME": service}
    program, environ, messages = prepared(settings, command, given)
    for message in [*messages, *unheard(settings.otlp_url)]:
        console.step(message)
    sys.stdout.flush()
    os.execve(program, command, environ)  # noqa: S606  the service takes this process's place


def unheard(url: str) -> Iterator[str]:
    """What to tell a person where nothing listens at `url`: the SDK says it later, and at length."""
    # `spantree env` needs none of it.
    from urllib.request import getproxies

    parts = urlsplit(url)
    if parts.hostname is None or (parts.hostname not in service_env.LOOPBACK and getproxies()):
        return  # through a proxy, which may reach it
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return
    if reason := refusal(parts.hostname, port):
        yield (
            f"nothing takes spans at {url} ({reason}): the program runs without; start `spantree up` there, or name "
            "another place with --endpoint"
        )


def prepared(
    settings: service_env.NamesEndpoint, command: Sequence[str], environ: Mapping[str, str]
) -> tuple[Path, dict[str, str], list[str]]:
    """(the program, the environment to run it in, what to tell a person). Raises SpantreeError."""
    # `spantree env` needs none of them.
    from spantree_deploy.doctor.service_checks import libraries
    from spantree_deploy.injection import injection_for
    from spantree_deploy.interpreter import found_program, interpreter_of

    given = {name: value for name, value in environ.items() if name != service_env.RUN}
    # What is first on PATH wins; what only this environment has is found all the same.
    given["PATH"] = os.pathsep.join([given.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    program = found_program(command[0], given["PATH"])
    python = interpreter_of(command, given)
    injection = injection_for(python, given)
    wanted, replaced = service_env.environment_of_service(settings, given, command)
    messages = [f"{name} is replaced: the spans go to {settings.otlp_url}" for name in replaced]
    if wanted.get(service_env.CERTIFICATE) and (others := service_env.other_authorities(given)):
        messages.append(
            f"{others} is set, and Python's exporter trusts what it names, not {wanted[service_env.CERTIFICATE]}: "
            "the authority has to be in the former, too"
        )
    if python is None and (behind := behind_which(command)):
        messages.append(
            f"{command[0]} runs it in an environment that cannot be asked from here, and is lent nothing; where it "
            f"lacks spantree[run] write {behind}"
        )
    untraced = [one.subject for one in libraries(python, injection, given) if one.remedy] if python else []
    if untraced:
        messages.append(f"not traced: {', '.join(untraced)}; `spantree doctor -- {command[0]} ...` says why")
    return program, service_env.instrumented(wanted, injection), messages
