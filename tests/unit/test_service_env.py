"""Names for services, and the environment that they are started in."""

from __future__ import annotations

from pathlib import Path

import pytest

from spantree_deploy.service_env import (
    docker_options,
    environment_of_service,
    otel_settings,
    other_authorities,
    past_proxies,
    service_name_of,
    shell_lines,
)
from spantree_deploy.settings import Settings


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("uvicorn shop:app --port 8000", "shop"),
        ("uvicorn --factory acme.shop.web:create_app", "web"),
        ("gunicorn -w 4 -b 0.0.0.0:80 shop.wsgi:application", "wsgi"),
        ("python jobs/nightly.py --day 2026-11-20", "nightly"),
        ("python3.12 -m acme.jobs.nightly", "nightly"),
        ("python -u manage.py runserver", "manage"),
        ("/opt/shop/bin/worker --url http://127.0.0.1:1/x", "worker"),
        ("celery -A shop worker", "celery"),
        ("python", "python"),
        ("env -u HOME TZ=UTC timeout -k 5 --preserve-status 20m python nightly.py", "nightly"),
        ("tini -s -- nice -n 10 /opt/bin/uvicorn shop:app", "shop"),
        ("nohup stdbuf -oL python -m acme.nightly", "nightly"),
        ("env", "env"),
    ],
)
def test_a_service_is_called_after_what_it_runs(command: str, name: str) -> None:
    assert service_name_of(command.split()) == name


def test_values_are_quoted_for_the_shell() -> None:
    assert shell_lines({"A": "x", "B": "it's two words"}) == ["export A=x", "export B='it'\"'\"'s two words'"]


@pytest.mark.parametrize(
    ("environ", "handler"),
    [
        ({}, "false"),
        ({"OTEL_LOGS_EXPORTER": "none"}, "false"),
        ({"OTEL_LOGS_EXPORTER": "otlp"}, None),
        ({"OTEL_PYTHON_LOG_AUTO_INSTRUMENTATION": "true"}, "true"),
    ],
)
def test_logs_that_go_nowhere_keep_their_way_to_the_screen(environ: dict[str, str], handler: str | None) -> None:
    found, _ = environment_of_service(Settings(), environ, ["python", "job.py"])
    assert found.get("OTEL_PYTHON_LOG_AUTO_INSTRUMENTATION") == handler


@pytest.mark.parametrize(("environ", "seconds"), [({}, "30"), ({"UVICORN_TIMEOUT_WORKER_HEALTHCHECK": "9"}, "9")])
def test_uvicorn_waits_for_workers_that_instrument_themselves(environ: dict[str, str], seconds: str) -> None:
    found, replaced = environment_of_service(Settings(), environ, ["uvicorn", "shop:app", "--workers", "2"])
    assert (found["UVICORN_TIMEOUT_WORKER_HEALTHCHECK"], replaced) == (seconds, [])


@pytest.mark.parametrize(
    ("environ", "hosts"),
    [
        ({}, "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "a.example, localhost"}, "a.example,localhost,127.0.0.1,::1"),
        ({"no_proxy": "b.example", "NO_PROXY": "a.example"}, "b.example,127.0.0.1,localhost,::1"),
    ],
)
def test_the_loopback_is_reached_past_proxies(environ: dict[str, str], hosts: str) -> None:
    assert past_proxies(environ) == {"NO_PROXY": hosts, "no_proxy": hosts}


def test_a_container_reaches_the_hosts_loopback_as_its_platform_allows() -> None:
    here = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    assert docker_options(here, "linux") == [
        "--network=host",
        "--env=OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318",
    ]
    assert docker_options(here, "darwin") == ["--env=OTEL_EXPORTER_OTLP_ENDPOINT=http://host.docker.internal:4318"]
    elsewhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://spantree.example:4318"}
    assert docker_options(elsewhere, "linux") == ["--env=OTEL_EXPORTER_OTLP_ENDPOINT=http://spantree.example:4318"]


def _tls_of(settings: Settings) -> dict[str, str]:
    names = {"CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"}
    found = {name.removeprefix("OTEL_EXPORTER_OTLP_"): value for name, value in otel_settings(settings, "a").items()}
    return {name: value for name, value in found.items() if name in names}


def test_a_service_is_told_whom_to_trust_and_what_to_show_where_it_sends_over_https() -> None:
    secure = "https://spantree.example:4318"
    ca, client, key = Path("/etc/ca.pem"), Path("/etc/client.pem"), Path("/etc/client.key")
    assert _tls_of(Settings(otlp_endpoint=secure)) == {}
    assert _tls_of(Settings(ca=ca)) == {}
    assert _tls_of(Settings(otlp_endpoint=secure, ca=ca)) == {"CERTIFICATE": "/etc/ca.pem"}
    assert _tls_of(Settings(tls_certificate=Path("/etc/tls.crt"), ca=Path("ca.pem"))) == {
        "CERTIFICATE": str(Path.cwd() / "ca.pem")
    }
    assert _tls_of(Settings(otlp_endpoint=secure, client_certificate=client)) == {
        "CLIENT_CERTIFICATE": "/etc/client.pem",
        "CLIENT_KEY": "/etc/client.pem",
    }
    assert _tls_of(Settings(otlp_endpoint=secure, ca=ca, client_certificate=client, client_key=key)) == {
        "CERTIFICATE": "/etc/ca.pem",
        "CLIENT_CERTIFICATE": "/etc/client.pem",
        "CLIENT_KEY": "/etc/client.key",
    }
    assert otel_settings(Settings(tls_certificate=Path("/etc/tls.crt")), "a")["OTEL_EXPORTER_OTLP_ENDPOINT"] == (
        "https://127.0.0.1:4318"
    )
    assert other_authorities({"REQUESTS_CA_BUNDLE": "/etc/all.pem"}) == "REQUESTS_CA_BUNDLE"
    assert other_authorities({}) == ""
