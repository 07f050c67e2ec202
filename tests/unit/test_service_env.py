"""Names for services, and the environment that they are started in."""

from __future__ import annotations

import pytest

from spantree_deploy.service_env import docker_options, past_proxies, service_name_of, shell_lines


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
    ],
)
def test_a_service_is_called_after_what_it_runs(command: str, name: str) -> None:
    assert service_name_of(command.split()) == name


def test_values_are_quoted_for_the_shell() -> None:
    assert shell_lines({"A": "x", "B": "it's two words"}) == ["export A=x", "export B='it'\"'\"'s two words'"]


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
