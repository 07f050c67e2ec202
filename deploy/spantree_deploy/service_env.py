"""What a service needs in its environment to send its spans here, and starting one that has it."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final, Protocol

from spantree_deploy.wrappers import meant_by

if TYPE_CHECKING:
    from spantree_deploy.injection import Injection

RUN: Final = "SPANTREE_RUN"
"""What run_site/sitecustomize.py is to do, as JSON."""

# They belong to whatever the service sent to before: a vendor's key must not go to another server.
_SIGNAL_SETTINGS: Final = tuple(
    f"OTEL_EXPORTER_OTLP_{signal}{what}"
    for signal in ("", "TRACES_")
    for what in ("ENDPOINT", "PROTOCOL", "HEADERS", "CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE", "INSECURE")
)
# The SDK's default of 5 s is long for somebody who watches.
_EXPORT_DELAY_MS: Final = "1000"
# module:attribute, as uvicorn, gunicorn, hypercorn and others take it; no address, no URL, no option.
_APPLICATION: Final = re.compile(r"([A-Za-z_][\w.]*):[A-Za-z_][\w.]*(?:\(.*\))?")
CERTIFICATE: Final = "OTEL_EXPORTER_OTLP_CERTIFICATE"
# requests prefers them to what the exporter was given (https://github.com/psf/requests/issues/3829).
_OTHER_AUTHORITIES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
# Whether opentelemetry-instrumentation-logging gives the root logger a handler.
_LOG_HANDLER: Final = "OTEL_PYTHON_LOG_AUTO_INSTRUMENTATION"
# uvicorn ends a worker that does not answer within 5 s of its start, and starts another, for ever. One that instruments
# itself first takes two or three seconds of CPU, of which a small container has a fraction in each second.
_UVICORN_PATIENCE: Final = ("UVICORN_TIMEOUT_WORKER_HEALTHCHECK", "30")
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class NamesEndpoint(Protocol):
    """What these functions want of the settings."""

    @property
    def otlp_url(self) -> str:
        """Where services send OTLP/HTTP, without /v1/traces."""
        ...

    @property
    def token(self) -> str | None:
        """What they show there."""
        ...

    @property
    def ca(self) -> Path | None:
        """Whom they trust over https; None: public authorities."""
        ...

    @property
    def client_certificate(self) -> Path | None:
        """What they show over https."""
        ...

    @property
    def client_key(self) -> Path | None:
        """Its key; None: in the same file."""
        ...


def otel_settings(settings: NamesEndpoint, service_name: str) -> dict[str, str]:
    """The official variables that send a service's spans here."""
    return {
        "OTEL_SERVICE_NAME": service_name,
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_ENDPOINT": settings.otlp_url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        # Percent-encoded, as a W3C baggage value (specification/protocol/exporter.md of OpenTelemetry).
        **({"OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{settings.token}"} if settings.token else {}),
        **(_tls_settings(settings) if settings.otlp_url.startswith("https:") else {}),
    }


def other_authorities(environ: Mapping[str, str]) -> str:
    """The variable that names authorities to everything that uses requests, the exporter over HTTP too; "" for none."""
    return next((name for name in _OTHER_AUTHORITIES if environ.get(name)), "")


def _tls_settings(settings: NamesEndpoint) -> dict[str, str]:
    files = {CERTIFICATE: settings.ca}
    if settings.client_certificate is not None:
        files["OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"] = settings.client_certificate
        files["OTEL_EXPORTER_OTLP_CLIENT_KEY"] = settings.client_key or settings.client_certificate
    # Absolute: the service may be started from elsewhere.
    return {name: str(path.absolute()) for name, path in files.items() if path is not None}


def environment_of_service(
    settings: NamesEndpoint, environ: Mapping[str, str], command: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """(the environment to run `command` in, the names that were set in `environ` and are replaced or left out).

    Where it sends to is ours; its name, its sampling and the pace of its exports stay what they were.
    """
    wanted = otel_settings(settings, service_name_of(command)) | {
        "OTEL_BSP_SCHEDULE_DELAY": _EXPORT_DELAY_MS,
        "SPANTREE_LIVE": "1",
        _UVICORN_PATIENCE[0]: _UVICORN_PATIENCE[1],
    }
    for name in (
        _UVICORN_PATIENCE[0],
        "OTEL_SERVICE_NAME",
        "OTEL_BSP_SCHEDULE_DELAY",
        "OTEL_METRICS_EXPORTER",
        "OTEL_LOGS_EXPORTER",
        "SPANTREE_LIVE",
    ):
        if environ.get(name):
            wanted[name] = environ[name]
    if wanted["OTEL_LOGS_EXPORTER"] == "none" and not environ.get(_LOG_HANDLER):
        # Its handler would take the root logger's place for whatever the program logs without having set up logging,
        # and make basicConfig do nothing: nobody would see a line.
        wanted[_LOG_HANDLER] = "false"
    if "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "") and not environ.get("OTEL_SERVICE_NAME"):
        del wanted["OTEL_SERVICE_NAME"]
    result = {name: value for name, value in environ.items() if name not in _SIGNAL_SETTINGS} | wanted
    result |= past_proxies(environ)
    replaced = sorted(name for name in environ if name.startswith("OTEL_") and environ[name] != result.get(name))
    return result, replaced


def instrumented(environ: Mapping[str, str], injection: Injection) -> dict[str, str]:
    """`environ` for a process whose Python instruments itself before it begins."""
    paths = [path for path in environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != injection.site]
    wanted = {"package": injection.package, "append": list(injection.append)}
    return {**environ, "PYTHONPATH": os.pathsep.join([injection.site, *paths]), RUN: json.dumps(wanted)}


def past_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """NO_PROXY with the loopback in it: OTLP exporters and HTTP clients would ask a proxy for 127.0.0.1, too."""
    named = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    hosts = ",".join(dict.fromkeys([*filter(None, (host.strip() for host in named.split(","))), *LOOPBACK]))
    # Some programs read one spelling, some the other.
    return {"NO_PROXY": hosts, "no_proxy": hosts}


def service_name_of(command: Sequence[str]) -> str:
    """A name for a service by how it is started: `uvicorn shop:app` is `shop`, `python jobs/nightly.py` `nightly`."""
    command = meant_by(command)
    program = PurePath(command[0]).name
    words = list(command[1:])
    if program.startswith("python"):
        if "-m" in words[:-1]:
            return words[words.index("-m") + 1].rpartition(".")[2]
        program = next((word for word in words if not word.startswith("-")), program)
    application = next((match for match in map(_APPLICATION.fullmatch, words) if match), None)
    if application is not None:
        return application[1].rpartition(".")[2]
    return PurePath(program).stem


def shell_lines(variables: Mapping[str, str]) -> list[str]:
    """Lines for `eval "$(spantree env --shell)"`."""
    return [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]


def docker_options(variables: Mapping[str, str], platform: str = sys.platform) -> list[str]:
    """Options of `docker run` by which a container on this machine reaches what listens on its loopback.

    On Linux only the host's own network has the host's 127.0.0.1: host.docker.internal is the bridge's address there,
    on which `spantree up` does not listen. Docker Desktop leads that name to the loopback.
    """
    outside = {name: _from_container(value) for name, value in variables.items()}
    network: list[str] = []
    if outside != variables:
        network = ["--network=host"] if platform == "linux" else []
        outside = dict(variables) if platform == "linux" else outside
    return network + [f"--env={name}={shlex.quote(value)}" for name, value in outside.items()]


def _from_container(value: str) -> str:
    for loopback in ("//127.0.0.1:", "//localhost:", "//[::1]:"):
        value = value.replace(loopback, "//host.docker.internal:")
    return value
