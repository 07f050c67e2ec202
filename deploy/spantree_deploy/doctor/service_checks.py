"""What `spantree doctor -- COMMAND` looks at: which libraries of that service will be traced, which not and why."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from spantree_deploy.doctor.finding import Finding
from spantree_deploy.injection import INSTRUMENTATION, NEEDED, Injection, injection_for, normalised
from spantree_deploy.interpreter import Interpreter, interpreter_of
from spantree_deploy.wrappers import behind_which, meant_by
from spantree_exporter.errors import SpantreeError

# Instrumented by packages that are no part of opentelemetry-python-contrib.
_OTHERS: Final[Mapping[str, str]] = {
    "anthropic": "openinference-instrumentation-anthropic",
    "crewai": "openinference-instrumentation-crewai",
    "dspy": "openinference-instrumentation-dspy",
    "langchain-core": "openinference-instrumentation-langchain",
    "litellm": "openinference-instrumentation-litellm",
    "llama-index-core": "openinference-instrumentation-llama-index",
    "openai": "openinference-instrumentation-openai",
    "openai-agents": "openinference-instrumentation-openai-agents",
}
# Of use to few: metrics, template rendering, what is below another library that is traced. Not worth a problem.
_MINOR: Final = frozenset({"asgiref", "asyncclick", "click", "jinja2", "psutil", "starlette", "structlog", "urllib3"})
# There because of who sends or takes in spans, whether or not the service itself ever uses it.
_BROUGHT_BY: Final[Mapping[str, Sequence[str]]] = {"grpcio": ("opentelemetry-exporter-otlp-proto-grpc", "spantree")}
_GRPC_PORT, _HTTP_PORT = 4317, 4318
_PATH: Final = "/v1/traces"
_REPLACED: Final = "start it by `spantree run`, which replaces it, or "


def diagnose_service(command: Sequence[str], environ: Mapping[str, str]) -> Iterator[Finding]:
    """Findings about `command` as it would start in `environ`; starts nothing but its Python, to be asked."""
    yield from variables(environ)
    try:
        python = interpreter_of(command, environ)
    except SpantreeError as error:
        yield Finding("service", str(error), "activate its environment, or give the path of its program")
        return
    if python is None and (behind := behind_which(command)):
        yield Finding(
            "service", f"{command[0]} runs it in an environment that cannot be asked from here", f"write {behind}"
        )
        return
    if python is None:
        yield Finding(
            "service",
            f"{command[0]} is no Python program that can be looked into; Python programs that it starts are "
            f"instrumented where they have {NEEDED[2]} and {NEEDED[3]}, one in another language has to be by its own "
            "SDK, to which the variables are handed (docs/your-service.md)",
        )
        return
    yield Finding("service", f"{meant_by(command)[0]} is run by {python}")
    injection: Injection | None = None
    try:
        injection = injection_for(python, environ)
    except SpantreeError as error:
        found, _, remedy = str(error).rpartition(": ")
        yield Finding("instrumentation", found.removesuffix(": install what it lacks there"), remedy)
    else:
        yield Finding("instrumentation", _where(python, injection))
    yield from libraries(python, injection, environ)


def _where(python: Interpreter, injection: Injection) -> str:
    version = python.packages.get("opentelemetry-sdk")
    needed = [name for name in injection.lent if name in NEEDED]
    if version is not None and not needed:
        return f"OpenTelemetry {version} of its own"
    return f"lent to it by this environment: {', '.join(needed)}"


def libraries(python: Interpreter, injection: Injection | None, environ: Mapping[str, str]) -> Iterator[Finding]:
    """A finding for each library of the service that somebody has an instrumentation for."""
    from packaging.requirements import Requirement

    disabled = {word.strip() for word in environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")}
    lent = set(injection.lent) if injection is not None else set()
    told: set[str] = set()
    for text, instrumentation in _known():
        requirement = Requirement(text)
        library, wanted = normalised(requirement.name), normalised(instrumentation)
        version = python.packages.get(library)
        if version is None or library in told:
            continue
        told.add(library)
        name = wanted.removeprefix(INSTRUMENTATION)
        installed = python.packages.get(wanted) or (importlib.metadata.version(wanted) if wanted in lent else None)
        install = f"{python.path} -m pip install {wanted}"
        if disabled & {"*", name, name.replace("-", "_")}:
            yield Finding(library, f"{version}: not traced, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS names it")
        elif installed is None:
            said = f"{version}: not traced, {wanted} is not installed"
            brought_by = next((one for one in _BROUGHT_BY.get(library, ()) if one in python.packages), None)
            if brought_by is not None:
                yield Finding(library, f"{said}; {brought_by} needs {library}, install it if your service uses it, too")
            else:
                yield Finding(library, said, None if library in _MINOR else install)
        elif not requirement.specifier.contains(version, prereleases=True):
            yield Finding(
                library,
                f"{version}: not traced, {wanted} {installed} instruments {requirement.specifier} only",
                f'install "{text.replace(" ", "")}" there, or a newer {wanted} that knows it',
            )
        else:
            yield Finding(library, f"{version}: traced by {wanted} {installed}" + (" (lent)" if wanted in lent else ""))
    if not told:
        yield Finding(
            "libraries", "none that is known: the process's own span, and those of its code, are all there will be"
        )


def _known() -> Iterator[tuple[str, str]]:
    """(requirement of the library, instrumentation)."""
    from opentelemetry.instrumentation.bootstrap_gen import libraries as known

    others = dict(_OTHERS)
    for one in known:
        library, instrumentation = one["library"], one["instrumentation"]
        # pydantic is named as a part of Tortoise ORM
        if normalised(library) not in others and normalised(library) != "pydantic":
            yield library, instrumentation
    yield from others.items()


def variables(environ: Mapping[str, str]) -> Iterator[Finding]:
    """What in the OTEL_* variables keeps spans from being made, or from arriving."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        yield Finding("OTEL_SDK_DISABLED", "true: no span is made at all", "unset it")
    sampler = environ.get("OTEL_TRACES_SAMPLER", "")
    if "always_off" in sampler or (
        "ratio" in sampler and environ.get("OTEL_TRACES_SAMPLER_ARG", "1").strip() in ("0", "0.0")
    ):
        yield Finding(
            "OTEL_TRACES_SAMPLER", f"{sampler}: no span is sent", "unset it, or sample by parentbased_always_on"
        )
    if environ.get("OTEL_PROPAGATORS", "").strip() == "none":
        yield Finding("OTEL_PROPAGATORS", "none: each service makes traces of its own", "unset it")
    exporters = environ.get("OTEL_TRACES_EXPORTER", "otlp")
    if not {one.strip() for one in exporters.split(",")} & {"otlp", "otlp_proto_http", "otlp_proto_grpc", "spantree"}:
        yield Finding("OTEL_TRACES_EXPORTER", f"{exporters}: nothing is sent over OTLP", f"{_REPLACED}set it to otlp")
    yield from _endpoints(environ)


def _endpoints(environ: Mapping[str, str]) -> Iterator[Finding]:
    name = next(
        (
            f"OTEL_EXPORTER_OTLP_{one}"
            for one in ("TRACES_ENDPOINT", "ENDPOINT")
            if environ.get(f"OTEL_EXPORTER_OTLP_{one}")
        ),
        None,
    )
    protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or ""
    if protocol == "http/json":
        yield Finding(
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "http/json: Python's SDK has no such exporter",
            f"{_REPLACED}set http/protobuf",
        )
    if name is None:
        return
    url = environ[name]
    try:
        target = urlsplit(url)
        port = target.port
    except ValueError:
        yield Finding(name, "is no URL", f"{_REPLACED}set it as `spantree env` prints it")
        return
    # What the Python distribution falls back to.
    is_grpc = (protocol or "grpc") == "grpc"
    path = target.path.rstrip("/")
    if is_grpc and port == _HTTP_PORT:
        said = (
            "OTEL_EXPORTER_OTLP_PROTOCOL is grpc"
            if protocol
            else "without OTEL_EXPORTER_OTLP_PROTOCOL Python sends gRPC"
        )
        yield Finding(
            name, f"port {port} takes HTTP, and {said}", f"{_REPLACED}set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
        )
    elif not is_grpc and port == _GRPC_PORT:
        yield Finding(
            name, f"port {port} takes gRPC, and the protocol is {protocol}", f"{_REPLACED}use port {_HTTP_PORT}"
        )
    elif not is_grpc and name.endswith("TRACES_ENDPOINT") and not path.endswith(_PATH):
        yield Finding(name, f"{url} is used as it is, and the path of traces is {_PATH}", f"{_REPLACED}add {_PATH}")
    elif not is_grpc and name.endswith("OTLP_ENDPOINT") and path.endswith(_PATH):
        yield Finding(name, f"{url}: the SDK adds {_PATH} once more", f"{_REPLACED}leave the path out")
