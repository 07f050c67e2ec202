"""Behind a proxy that knows people: its headers are believed, those of everybody else are not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.api_server import api_over, refused
from tests.postgres import new_database

from spantree_exporter.tokens import TokenBook

CHANGE = "/api/v1/failures/groups/x"
ROLES = "viewers=blue:read,blue admins=blue:admin,ops=default:admin,*=green:read"
ADA = {"x-forwarded-user": "ada", "x-forwarded-groups": "viewers, strangers"}
ADMIN = {"x-forwarded-user": "grace", "x-forwarded-groups": "blue admins"}
OWN = {"sec-fetch-site": "same-origin"}


@pytest.fixture(scope="module")
def module_url(postgres_url: str, _migrated_template: str) -> Iterator[str]:
    with new_database(postgres_url, _migrated_template) as url:
        with TokenBook(url) as book:
            book.add_tenant("blue")
            book.add_tenant("green")
        yield url


@pytest.fixture(scope="module")
def proxy(module_url: str) -> Iterator[httpx.Client]:
    """From 127.0.0.1, which is trusted."""
    settings: dict[str, Any] = {"trusted_proxies": "127.0.0.1, 10.0.0.0/8", "roles": ROLES, "token_interval_s": 0.05}
    with api_over(module_url, None, **settings) as client:
        yield client


@pytest.fixture
def stranger(proxy: httpx.Client) -> Iterator[httpx.Client]:
    """From another address, which is not."""
    transport = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(base_url=proxy.base_url, transport=transport, timeout=30) as client:
        yield client


def _tenant(client: httpx.Client, **headers: str) -> str:
    answer = client.get("/account", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.text.partition("<p>")[2].partition(".</p>")[0]


def test_a_trusted_proxy_says_who_asks(proxy: httpx.Client) -> None:
    assert _tenant(proxy, **ADA) == "You are <b>ada</b>: read of blue"
    assert _tenant(proxy, **ADMIN) == "You are <b>grace</b>: admin of blue"
    assert _tenant(proxy, **ADA, cookie="spantree_tenant=green") == "You are <b>ada</b>: read of green"
    assert _tenant(proxy, **ADA, cookie="spantree_tenant=default") == "You are <b>ada</b>: read of blue"
    assert _tenant(proxy, **{"x-forwarded-user": "<b>x"}) == "You are <b>&lt;b&gt;x</b>: read of green", "everybody"
    assert refused(proxy.patch(CHANGE, headers=ADA | OWN, json={"state": "resolved"}))[:2] == (403, "forbidden")
    assert proxy.patch(CHANGE, headers=ADMIN | OWN, json={"state": "resolved"}).status_code == 404
    # A browser is known to the proxy by a cookie, whoever makes it ask.
    for headers in ({}, {"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
        assert refused(proxy.patch(CHANGE, headers=ADMIN | headers, json={"state": "resolved"}))[:2] == (
            403,
            "forbidden",
        )


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("x-forwarded-groups", "ops")],
        [("x-forwarded-user", "")],
        [("x-forwarded-user", "a" * 300)],
        [("x-forwarded-user", "eve"), ("x-forwarded-user", "ada"), ("x-forwarded-groups", "viewers")],
        [("x-forwarded-user", "ada"), ("x-forwarded-groups", "ops"), ("x-forwarded-groups", "viewers")],
    ],
)
def test_nobody_is_known_by_what_a_proxy_does_not_say_once(proxy: httpx.Client, headers: list[tuple[str, str]]) -> None:
    assert refused(proxy.get("/api/v1/executions", headers=headers))[:2] == (401, "unauthorized")


def test_headers_from_elsewhere_are_ignored_and_counted(proxy: httpx.Client, stranger: httpx.Client) -> None:
    def counted() -> float:
        text = proxy.get("/metrics", headers={"x-forwarded-user": "ops", "x-forwarded-groups": "ops"}).text
        (line,) = [one for one in text.splitlines() if one.startswith("spantree_api_untrusted_identity_headers_total")]
        return float(line.rpartition(" ")[2])

    before = counted()
    spoofed = [
        ADMIN,
        # That it came through the proxy is nothing that a client can say.
        ADMIN | {"x-forwarded-for": "127.0.0.1"},
        ADMIN | {"x-forwarded-for": "10.0.0.1, 127.0.0.1", "x-real-ip": "127.0.0.1", "forwarded": "for=127.0.0.1"},
    ]
    for headers in spoofed:
        assert refused(stranger.get("/api/v1/executions", headers=headers))[:2] == (401, "unauthorized")
    assert counted() == before + len(spoofed)
    # Nor that it came by https: the form's cookie would be one that plain HTTP cannot send back.
    assert "location" in stranger.get("/", headers={"accept": "text/html", "x-forwarded-proto": "https"}).headers


def test_a_token_goes_before_the_proxys_word(proxy: httpx.Client, module_url: str) -> None:
    with TokenBook(module_url) as book:
        token = book.create_token("green", "admin")
    headers = {"authorization": f"Bearer {token}"}
    deadline_told = proxy.get("/account", headers=ADA | headers)
    # Until the token is known it is refused, never taken for the person.
    while deadline_told.status_code == 401:
        deadline_told = proxy.get("/account", headers=ADA | headers)
    assert "admin of green" in deadline_told.text
    assert refused(proxy.get("/account", headers=ADA | {"authorization": "Bearer spt_no"}))[0] == 401
    assert refused(proxy.get("/account", headers=ADA | {"authorization": "Basic YTpi"}))[0] == 401
