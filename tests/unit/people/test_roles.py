"""What roles allow, where browsers may be led, which settings of people there can be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spantree_api.config import ApiConfig
from spantree_api.people.origin import comes_from_own_page, origin_of, own_path
from spantree_api.people.people import People
from spantree_api.people.roles import DEFAULT_ROLES, Grant, grants_of, matching, roles_of, values_of
from spantree_api.people.settings import people_settings
from spantree_exporter.errors import ConfigError


def test_roles_are_read_in_their_order() -> None:
    assert ApiConfig().roles == DEFAULT_ROLES
    assert roles_of(DEFAULT_ROLES) == {
        "spantree-read": (Grant("default", "read"),),
        "spantree-admin": (Grant("default", "admin"),),
    }
    assert roles_of(" a=blue:read , a=green:admin,*=blue:read ") == {
        "a": (Grant("blue", "read"), Grant("green", "admin")),
        "*": (Grant("blue", "read"),),
    }
    directory = "cn=ops,dc=example=blue:admin; cn=dev,dc=example=blue:read"
    assert roles_of(directory) == {
        "cn=ops,dc=example": (Grant("blue", "admin"),),
        "cn=dev,dc=example": (Grant("blue", "read"),),
    }


@pytest.mark.parametrize("text", ["", " , ", "a", "a=b", "a=b:write", "a=b:ingest", "=b:read", "a=:read", "a=b:read,x"])
def test_what_is_no_role_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="wanted VALUE=TENANT:read"):
        roles_of(text)


def test_the_widest_grant_of_a_tenant_counts() -> None:
    roles = roles_of("view=blue:read,admin=blue:admin,view=green:read,*=public:read")
    assert grants_of(["admin", "view"], roles) == (
        Grant("blue", "admin"), Grant("green", "read"), Grant("public", "read"),
    )  # fmt: skip
    assert grants_of(["view"], roles) == (Grant("blue", "read"), Grant("green", "read"), Grant("public", "read"))
    assert grants_of([], roles) == (Grant("public", "read"),)
    assert grants_of(["Admin", "adm", "admin "], roles_of("admin=blue:admin")) == ()
    assert matching(["x", "view"], roles) == ("view", "*")


@pytest.mark.parametrize(
    ("claim", "values"),
    [
        (["a", "b c"], ("a", "b c")),
        ("a b,c", ("a", "b", "c")),
        (["a", 1, None, ["b"]], ("a",)),
        (None, ()),
        (7, ()),
        ({"a": True}, ()),
    ],
)
def test_values_of_a_claim(claim: object, values: tuple[str, ...]) -> None:
    assert values_of(claim) == values


@given(st.one_of(st.text(), st.from_regex(r"[/\\a-z:.@\t\n ]{1,20}", fullmatch=True)))
def test_a_browser_is_led_nowhere_else(wanted: str) -> None:
    led = urlsplit(urljoin("https://spantree.example/login", own_path(wanted)))
    assert (led.scheme, led.netloc) == ("https", "spantree.example")


@pytest.mark.parametrize("path", ["/", "/executions", "/executions?q=a%20b&x=//y", "/a//b", "/login?next=https://x"])
def test_own_paths_are_kept(path: str) -> None:
    assert own_path(path) == path


@pytest.mark.parametrize("path", ["//x", "/\\x", "\\\\x", "https://x", "", None, "/\tx", "/ä", "x", "/" + "a" * 2_000])
def test_other_paths_are_not(path: str | None) -> None:
    assert own_path(path) == "/"


@pytest.mark.parametrize(
    ("headers", "is_own"),
    [
        ({}, None),
        ({b"sec-fetch-site": b"same-origin"}, True),
        ({b"sec-fetch-site": b"same-site"}, False),
        ({b"sec-fetch-site": b"none"}, False),
        ({b"origin": b"https://a.example"}, True),
        ({b"origin": b"https://a.example:444"}, False),
        ({b"origin": b"null"}, False),
        ({b"sec-fetch-site": b"cross-site", b"origin": b"https://a.example"}, False),
    ],
)
def test_browsers_say_where_a_request_is_from(headers: dict[bytes, bytes], is_own: bool | None) -> None:
    assert comes_from_own_page(headers, {origin_of("https", "A.example:443")}) is is_own


OIDC = ApiConfig(oidc_issuer="https://id.example", oidc_client_id="spantree", oidc_client_secret="s" * 40)


def _faults(config: ApiConfig) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        people_settings(config)
    return caught.value.faults


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"oidc_issuer": "http://id.example"}, "wanted the https URL of a provider"),
        ({"oidc_issuer": "id.example"}, "wanted the https URL of a provider"),
        ({"oidc_issuer": ""}, "SPANTREE_API_OIDC_ISSUER is not"),
        ({"oidc_client_id": ""}, "SPANTREE_API_OIDC_CLIENT_ID is not"),
        ({"oidc_scopes": "profile"}, "lacks openid"),
        ({"roles": "everybody"}, "SPANTREE_API_ROLES"),
        ({"session_key": "short"}, "SPANTREE_API_SESSION_KEY is too short"),
        ({"public_url": "https://a.example/executions"}, "SPANTREE_API_PUBLIC_URL"),
        ({"trusted_proxies": "10.0.0.0/8,proxy"}, "SPANTREE_TRUSTED_PROXIES has 'proxy'"),
        ({"proxy_user_header": "x user"}, "SPANTREE_API_PROXY_USER_HEADER"),
        ({"cors_origins": "a.example"}, "SPANTREE_API_CORS_ORIGINS"),
    ],
)
def test_settings_that_cannot_be_are_told(changes: dict[str, Any], fault: str) -> None:
    (told,) = _faults(replace(OIDC, **changes))
    assert fault in told


def test_all_faults_are_told_at_once_and_secrets_are_not() -> None:
    assert len(_faults(replace(OIDC, oidc_issuer="x", roles="y", cors_origins="z"))) == 3
    shown = repr(people_settings(replace(OIDC, session_key="k" * 32))) + repr(OIDC)
    assert "s" * 40 not in shown and "k" * 32 not in shown


def test_clients_are_those_before_the_proxies_that_are_trusted() -> None:
    people = People(people_settings(ApiConfig(trusted_proxies="10.0.0.0/8,::1")))

    def client(peer: str, *forwarded: str) -> str:
        headers = [(b"x-forwarded-for", one.encode()) for one in forwarded]
        found = people.client({"client": (peer, 1), "headers": headers})
        assert found is not None
        return found[0]

    assert client("192.0.2.1", "198.51.100.7") == "192.0.2.1"
    assert client("10.0.0.1") == "10.0.0.1"
    assert client("10.0.0.1", "198.51.100.7") == "198.51.100.7"
    assert client("::ffff:10.0.0.1", "198.51.100.7") == "198.51.100.7"
    assert client("10.0.0.1", "203.0.113.9, 198.51.100.7, 10.0.0.2") == "198.51.100.7"
    assert client("::1", "203.0.113.9", "198.51.100.7") == "198.51.100.7"
    assert client("10.0.0.1", "<script>") == "10.0.0.1"
