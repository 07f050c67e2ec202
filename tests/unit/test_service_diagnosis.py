"""What a service's environment says of what will be traced, and what keeps spans from arriving."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from spantree_deploy.doctor.finding import Finding
from spantree_deploy.doctor.service_checks import diagnose_service, libraries, variables
from spantree_deploy.injection import NEEDED, Injection
from spantree_deploy.interpreter import Interpreter

INSTRUMENTATION = version("opentelemetry-instrumentation-sqlalchemy")


def findings(packages: dict[str, str], injection: Injection | None = None, **environ: str) -> list[Finding]:
    python = Interpreter(Path("/opt/shop/bin/python"), (3, 12, 1), "abi", "/opt/shop", packages)
    return list(libraries(python, injection or Injection(), environ))


def test_a_library_beyond_its_instrumentation_is_said_not_to_be_traced() -> None:
    name = "opentelemetry-instrumentation-sqlalchemy"
    found = findings({"sqlalchemy": "2.1.3", name: INSTRUMENTATION})
    assert found == [
        Finding(
            "sqlalchemy",
            f"2.1.3: not traced, {name} {INSTRUMENTATION} instruments <2.1.0,>=1.0.0 only",
            f'install "sqlalchemy>=1.0.0,<2.1.0" there, or a newer {name} that knows it',
        )
    ]


def test_what_is_traced_and_what_lacks_its_instrumentation() -> None:
    lent = Injection(("/cache",), ["opentelemetry-instrumentation-sqlalchemy"])
    packages = {"sqlalchemy": "2.0.1", "redis": "5.0", "langchain-core": "0.3", "click": "8.1.7", "attrs": "25.1"}
    assert {finding.subject: (finding.found, finding.remedy) for finding in findings(packages, lent)} == {
        "sqlalchemy": (f"2.0.1: traced by opentelemetry-instrumentation-sqlalchemy {INSTRUMENTATION} (lent)", None),
        "redis": (
            "5.0: not traced, opentelemetry-instrumentation-redis is not installed",
            "/opt/shop/bin/python -m pip install opentelemetry-instrumentation-redis",
        ),
        "langchain-core": (
            "0.3: not traced, openinference-instrumentation-langchain is not installed",
            "/opt/shop/bin/python -m pip install openinference-instrumentation-langchain",
        ),
        "click": ("8.1.7: not traced, opentelemetry-instrumentation-click is not installed", None),
    }


@pytest.mark.parametrize("brought_by", ["spantree", "opentelemetry-exporter-otlp-proto-grpc"])
def test_the_grpc_that_telemetry_itself_brings_along_is_no_problem(brought_by: str) -> None:
    said = "1.85.1: not traced, opentelemetry-instrumentation-grpc is not installed"
    (own,) = findings({"grpcio": "1.85.1"})
    assert (own.found, own.remedy) == (
        said,
        "/opt/shop/bin/python -m pip install opentelemetry-instrumentation-grpc",
    )
    (brought,) = findings({"grpcio": "1.85.1", brought_by: "1"})
    assert brought == Finding(
        "grpcio", f"{said}; {brought_by} needs grpcio, install it if your service uses it, too", None
    )


def test_what_is_switched_off_is_no_problem() -> None:
    packages = {"redis": "5.0", "opentelemetry-instrumentation-redis": "0.66b1"}
    (found,) = findings(packages, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="sqlalchemy, redis")
    assert found == Finding("redis", "5.0: not traced, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS names it")


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4317"}, None),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318"},
            "port 4318 takes HTTP, and without OTEL_EXPORTER_OTLP_PROTOCOL Python sends gRPC",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            "port 4317 takes gRPC, and the protocol is http/protobuf",
        ),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            "http://h:4318 is used as it is, and the path of traces is /v1/traces",
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318/v1/traces",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            },
            "http://h:4318/v1/traces: the SDK adds /v1/traces once more",
        ),
        ({"OTEL_SDK_DISABLED": "true"}, "true: no span is made at all"),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, "parentbased_always_off: no span is sent"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}, None),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console: nothing is sent over OTLP"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "http/json: Python's SDK has no such exporter"),
    ],
)
def test_variables_that_keep_spans_from_arriving_are_named(environ: dict[str, str], found: str | None) -> None:
    assert [finding.found for finding in variables(environ)] == ([] if found is None else [found])


def test_a_command_is_followed_to_its_python(tmp_path: Path) -> None:
    environ = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(tmp_path)}
    first, second, *rest = diagnose_service(["uvicorn", "shop:app"], environ)
    assert first.found.startswith(f"uvicorn is run by {Path(sys.executable).parent}/python")
    assert second == Finding("instrumentation", f"OpenTelemetry {version('opentelemetry-sdk')} of its own")
    assert {finding.subject for finding in rest} >= {"fastapi", "httpx", "sqlalchemy"}
    (missing,) = diagnose_service(["no-such-program"], environ)
    assert (missing.subject, missing.remedy is not None) == ("service", True)


def test_a_program_in_another_language_is_told_to_need_its_own_sdk() -> None:
    (found,) = diagnose_service(["/bin/sh", "-c", "true"], {"PATH": os.environ["PATH"]})
    assert found.remedy is None
    assert "one in another language has to be by its own SDK" in found.found


def test_what_has_to_be_there_is_named_by_its_distribution() -> None:
    assert all(version(name) for name in NEEDED)
