"""People: log-in at a provider of OpenID Connect as a browser does it, sessions, and what must let nobody in."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from itsdangerous import TimestampSigner, URLSafeTimedSerializer
from joserfc import jwk
from starlette.responses import Response
from tests.api_server import api_over, ok, refused
from tests.factories import span, trace_id
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, Claims, Provider, oidc_provider, unsigned
from tests.postgres import new_database
from tests.tables import query as tables_query
from tests.waiting import wait_until

from spantree_exporter.postgres.store import Store
from spantree_exporter.tokens import TokenBook

TRACE = trace_id(1).hex()
ROLES = "viewers=blue:read,blue-admins=blue:admin,viewers=green:read,ops=default:admin,ghosts=gone:admin"
AUDIENCE = "https://spantree.example/api"
CHANGE = "/api/v1/failures/groups/x"
OWN = {"sec-fetch-site": "same-origin"}


@pytest.fixture(scope="module")
def module_url(postgres_url: str, _migrated_template: str) -> Iterator[str]:
    with new_database(postgres_url, _migrated_template) as url:
        with TokenBook(url) as book:
            blue = book.add_tenant("blue")
            book.add_tenant("green")
        store = Store(url)
        store.write([span(1)], tenant_id=blue)
        store.close()
        yield url


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with oidc_provider() as provider:
        yield provider


@pytest.fixture
def provider(running: Provider) -> Provider:
    running.claims = {"sub": "u-1", "preferred_username": "ada", "groups": ["viewers"]}
    running.spoil = lambda claims: None
    running.user_info = {}
    running.is_away = False
    running.token_answer = None
    return running


def _settings(provider: Provider, **changes: Any) -> dict[str, Any]:
    return {
        "oidc_issuer": provider.issuer,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": CLIENT_SECRET,
        "oidc_audience": AUDIENCE,
        "roles": ROLES,
        "token_interval_s": 0.05,
        "audit_flush_s": 0.05,
        **changes,
    }


@pytest.fixture(scope="module")
def served(module_url: str, running: Provider) -> Iterator[str]:
    with api_over(module_url, **_settings(running)) as client:
        yield str(client.base_url)


@pytest.fixture
def browser(served: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served, timeout=30, headers={"accept": "text/html"}) as browser:
        yield browser


def _log_in(browser: httpx.Client, path: str = "/executions") -> httpx.Response:
    """From a page to the provider and back, following each step; the answer to the way back."""
    asked = browser.get(path)
    assert asked.status_code == 303, asked.text
    form = browser.get(asked.headers["location"])
    way = re.search(r'href="(/login/oidc[^"]*)"', form.text)
    assert way is not None, form.text
    to_provider = browser.get(way[1])
    assert to_provider.status_code == 303
    back = httpx.get(to_provider.headers["location"], timeout=30)
    return browser.get(back.headers["location"])


def _session(browser: httpx.Client) -> str | None:
    return browser.cookies.get("spantree_session")


def test_somebody_logs_in_looks_around_and_logs_out(browser: httpx.Client, provider: Provider, module_url: str) -> None:
    path = "/executions?status=failed&q=a%20b"
    came = _log_in(browser, path)
    assert (came.status_code, came.headers["location"]) == (303, path)
    cookie = next(one for one in came.headers.get_list("set-cookie") if one.startswith("spantree_session="))
    assert re.search(r"HttpOnly; Max-Age=28800; Path=/; SameSite=lax$", cookie), cookie
    assert browser.cookies.get("spantree_login") is None
    assert "<html" in ok_page(browser, path)
    assert ok(browser.get(f"/api/v1/executions/{TRACE}"))["execution_id"] == TRACE

    told = ok_page(browser, "/account")
    assert "<b>ada</b>: read of blue" in told and "green: read" in told
    # Not of another site's, nor of a page that does not say where it is from.
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
        assert browser.post("/login/tenant", data={"tenant": "green"}, headers=headers).status_code == 403
    assert browser.post("/login/tenant", data={"tenant": "green"}, headers=OWN).status_code == 303
    assert "read of green" in ok_page(browser, "/account")
    assert browser.get(f"/api/v1/executions/{TRACE}", headers={"accept": "*/*"}).status_code == 404
    browser.post("/login/tenant", data={"tenant": "default"}, headers=OWN)
    assert "read of blue" in ok_page(browser, "/account"), "a tenant that is not allowed was chosen"

    kept = _session(browser)
    assert browser.post("/logout", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    left = browser.post("/logout", headers=OWN)
    assert left.status_code == 200
    (link,) = re.findall(r'href="([^"]*)"', left.text)
    query = {"from": ["metadata"], "client_id": [CLIENT_ID], "post_logout_redirect_uri": [f"{browser.base_url}/login"]}
    assert link.startswith(f"{provider.issuer}/end?")
    assert parse_qs(urlsplit(link.replace("&amp;", "&")).query) == query
    assert _session(browser) is None
    assert browser.get("/executions").status_code == 303
    # Whoever has kept the cookie does not get in by it any more.
    assert _get(browser, cookie=f"spantree_session={kept}") == 401
    told_of = (
        "SELECT action, status FROM spantree.own_audit WHERE actor = 'oidc:u-1' AND action IN ('login', 'logout')"
        " ORDER BY at"
    )
    wait_until(lambda: len(tables_query(module_url, told_of)) >= 2, 20, "both are told")
    assert tables_query(module_url, told_of)[:2] == [("login", 303), ("logout", 200)]


def ok_page(browser: httpx.Client, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


def _get(browser: httpx.Client, path: str = "/api/v1/executions", **headers: str) -> int:
    return httpx.get(f"{browser.base_url}{path}", headers=headers, timeout=30).status_code


def test_a_log_in_costs_no_reading_of_all_authorities(
    browser: httpx.Client, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """40 ms in which nobody else is answered, and anybody may begin one."""
    assert _log_in(browser).status_code == 303
    browser.cookies.clear()

    def read(*_: Any, **__: Any) -> None:
        # The browser here reads some for each request.
        assert threading.current_thread() is threading.main_thread(), "authorities are read once more"

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", read)
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", read)
    assert _log_in(browser).status_code == 303


def test_roles_say_who_may_what(browser: httpx.Client, provider: Provider) -> None:
    assert _get(browser) == 401, "nobody is answered who is nobody, although no token was made"

    def change(**headers: str) -> tuple[int, str]:
        return refused(browser.patch(CHANGE, headers=headers, json={"state": "resolved"}))[:2]

    _log_in(browser)
    assert change(**OWN) == (403, "forbidden")
    provider.claims["groups"] = ["viewers", "blue-admins", "strangers"]
    browser.cookies.clear()
    _log_in(browser)
    assert change(**OWN)[0] in (404, 422)
    # What only a browser's cookie tells, a page of another site can make it send.
    origin = str(browser.base_url)
    sites = [{}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"sec-fetch-site": "none"},
             {"origin": "https://evil.example"}, {"origin": "null"},
             {"origin": origin, "sec-fetch-site": "cross-site"}]  # fmt: skip
    for headers in sites:
        assert change(**headers) == (403, "forbidden"), headers
    # Over plain HTTP browsers send no Sec-Fetch-Site.
    assert change(origin=origin)[0] in (404, 422)
    assert browser.get("/metrics").status_code == 403
    provider.claims["groups"] = "ops"
    browser.cookies.clear()
    _log_in(browser)
    assert browser.get("/metrics").status_code == 200
    assert "admin of default" in ok_page(browser, "/account")
    for groups in (["strangers"], ["ghosts"], [], None, {"viewers": True}, "view"):
        provider.claims["groups"] = groups
        browser.cookies.clear()
        came = _log_in(browser)
        assert (came.status_code, _session(browser)) == (403, None), groups
        assert "ada is known, and no role of that person allows anything here" in came.text
    del provider.claims["groups"]
    provider.user_info = {"sub": "u-1", "groups": ["viewers"]}
    assert _log_in(browser).status_code == 303, "the claim is in the user info only"
    browser.cookies.clear()
    provider.user_info = {"sub": "u-2", "groups": ["viewers"]}
    assert _log_in(browser).status_code == 403, "the user info is another's"


def _changed(**changes: Any) -> Any:
    def spoil(claims: Claims) -> None:
        claims.update(changes)
        for name in [name for name, value in changes.items() if value is None]:
            del claims[name]

    return spoil


def _by_hmac(claims: Claims, kid: str, key: bytes) -> str:
    head = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": kid}).encode()).rstrip(b"=")
    signed = head + b"." + base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    signature = base64.urlsafe_b64encode(hmac.new(key, signed, hashlib.sha256).digest()).rstrip(b"=")
    return (signed + b"." + signature).decode()


def test_nobody_gets_in_by_a_token_that_is_not_a_good_one(browser: httpx.Client, provider: Provider) -> None:
    own_key = jwk.RSAKey.generate_key(2048, {"kid": str(provider._keys[0].kid)}, auto_kid=False)
    public = provider._keys[0].as_pem(private=False)
    now_s = int(datetime.now(UTC).timestamp())
    spoilt: dict[str, Any] = {
        "no signature": unsigned,
        "an empty one": lambda claims: provider.signed(claims).rpartition(".")[0] + ".",
        "by a key of one's own": lambda claims: provider.signed(claims, own_key),
        "by a key that it brings": lambda claims: provider.signed(claims, own_key, jwk=own_key.as_dict(private=False)),
        "by HMAC with the public key": lambda claims: _by_hmac(claims, str(provider._keys[0].kid), public),
        "another audience": _changed(aud="another"),
        "others besides, issued to one of them": _changed(aud=[CLIENT_ID, "another"], azp="another"),
        "no audience": _changed(aud=None),
        "another issuer": _changed(iss="https://evil.example"),
        "out of date": _changed(exp=now_s - 3600, iat=now_s - 7200),
        "no end": _changed(exp=None),
        "of the future": _changed(iat=now_s + 3600),
        "another log-in's nonce": _changed(nonce="of-before"),
        "no nonce": _changed(nonce=None),
        "nobody": _changed(sub=None),
        "an empty name": _changed(sub=""),
        "no token": lambda claims: "not.a.token",
        "of another's keys": lambda claims: provider.signed(claims).replace(".", ".e30.", 1),
    }
    for what, spoil in spoilt.items():
        provider.spoil = spoil
        came = _log_in(browser)
        assert (came.status_code, _session(browser)) == (401, None), what
        assert "You are not logged in" in came.text, what
    provider.spoil = lambda claims: None
    assert _log_in(browser).status_code == 303


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, "no", 401), (401, "{}", 401), (429, "<html>", 401),
        (500, "<html>", 503), (502, "", 503), (302, "", 503),
        (200, "", 401), (200, "[]", 401), (200, "7", 401), (200, "{}", 401), (200, '{"id_token": 7}', 401),
        (200, "[" * 100_000, 503), (200, '{"id_token": "a.b.c", "expires_in": 1e400}', 503),
    ],
)  # fmt: skip
def test_an_answer_without_tokens_lets_nobody_in(
    browser: httpx.Client, provider: Provider, status: int, body: str, expected: int
) -> None:
    provider.token_answer = lambda: Response(body, status, {"location": "/elsewhere"}, "application/json")
    assert (_log_in(browser).status_code, _session(browser)) == (expected, None)
    provider.token_answer = None
    assert _log_in(browser).status_code == 303


def test_who_is_no_text_is_nobody(browser: httpx.Client, provider: Provider) -> None:
    def claims_with(**changed: Any) -> None:
        # As a provider may escape them: JSON has a form for what UTF-8 has none for.
        provider.spoil = lambda claims: provider.signed_text(json.dumps(claims | changed))

    for subject in ("u-\ud800", "u-\x00"):
        claims_with(sub=subject)
        assert (_log_in(browser).status_code, _session(browser)) == (401, None)
    claims_with(preferred_username="a\ud800\x00b", groups=["\ud800", "viewers"])
    assert _log_in(browser).status_code == 303
    assert "<b>a?\u2400b</b>: read of blue" in ok_page(browser, "/account")


def test_a_bearer_token_with_an_odd_head_is_no_good_one(browser: httpx.Client, provider: Provider) -> None:
    claims = json.dumps(provider.id_claims(aud=AUDIENCE)).encode()
    heads: list[Any] = [{"crit": 7}, {"crit": [["b64"]]}, {"alg": ["RS256"]}, {"kid": {}}, [], 7]
    for head in heads:
        of_token = {"alg": "RS256", "kid": "x", **head} if isinstance(head, dict) else head
        parts = (json.dumps(of_token).encode(), claims, b"x")
        token = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
        assert _get(browser, authorization=f"Bearer {token}") == 401, head


def _begun(browser: httpx.Client) -> tuple[str, str]:
    """(where the provider sends the browser back to, the log-in's cookie)."""
    to_provider = browser.get("/login/oidc")
    back: str = httpx.get(to_provider.headers["location"], timeout=30).headers["location"]
    return back, browser.cookies["spantree_login"]


def test_a_log_in_is_of_the_browser_that_began_it_and_once(browser: httpx.Client, provider: Provider) -> None:
    def came_back(url: str, cookie: str | None) -> int:
        headers = {} if cookie is None else {"cookie": f"spantree_login={cookie}"}
        answer = httpx.get(url, headers=headers, timeout=30)
        assert "spantree_session" not in answer.cookies or answer.status_code == 303
        return answer.status_code

    first, cookie = _begun(browser)
    second, other_cookie = _begun(browser)
    assert came_back(first, None) == 400, "no cookie"
    assert came_back(first, other_cookie) == 400, "another's state"
    assert came_back(re.sub("state=[^&]*", "state=", first), cookie) == 400
    assert came_back(first, cookie[:-2] + "AA") == 400, "a forged cookie"
    code = parse_qs(urlsplit(second).query)["code"][0]
    # A code that was given to another log-in: PKCE's verifier is not that one's.
    assert came_back(re.sub("code=[^&]*", f"code={code}", first), cookie) == 401
    first, cookie = _begun(browser)
    assert came_back(re.sub("iss=[^&]*", "iss=https%3A%2F%2Fevil.example", first), cookie) == 401, "another provider"
    assert came_back(f"{first}&error=x", cookie) == 401
    assert came_back(first, cookie) == 303
    assert came_back(first, cookie) == 401, "a code is taken once"
    provider.claims = {}
    back, cookie = _begun(browser)
    assert came_back(back, cookie) == 401, "the provider refuses"


def test_cookies_cannot_be_forged(browser: httpx.Client, provider: Provider) -> None:
    _log_in(browser)
    good = _session(browser)
    assert good is not None
    rest = good.partition(".")[2]
    mine = {"s": "u-1", "n": "ada", "r": ["ops"], "i": "x"}
    login = browser.get("/login/oidc").cookies.get("spantree_login") or browser.cookies["spantree_login"]
    real_key = hmac.new(CLIENT_SECRET.encode(), b"spantree sessions", hashlib.sha256).hexdigest()

    def made(key: str, salt: str = "spantree.session", age_s: int = 0) -> str:
        class Signer(TimestampSigner):
            def get_timestamp(self) -> int:
                return super().get_timestamp() - age_s

        how = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}
        return str(URLSafeTimedSerializer(key, salt=salt, signer=Signer, signer_kwargs=how).dumps(mine))

    assert _get(browser, cookie=f"spantree_session={made(real_key)}") == 200, "the test does not know how they are made"
    forged = {
        "another payload": base64.urlsafe_b64encode(b'{"r":["ops"]}').decode().rstrip("=") + "." + rest,
        "cut": good[:-5],
        "another key": made("0" * 64),
        "no key": made(""),
        "another salt": made(real_key, "spantree.login"),
        "a log-in's": login,
        "too old": made(real_key, age_s=8 * 3600 + 5),
        "too long": good + "A" * 5_000,
        "nothing": "",
        "text": "a",
    }
    assert {what: _get(browser, cookie=f"spantree_session={one}") for what, one in forged.items()} == dict.fromkeys(
        forged, 401
    )


def test_a_link_leads_nowhere_else(browser: httpx.Client, provider: Provider) -> None:
    elsewhere = ["https://evil.example", "//evil.example", "/\\evil.example", "/\t/evil.example", "javascript:alert(1)",
                 "http:/evil.example", "executions", "", "/" + "a" * 3_000, "/\r\nset-cookie: a=b", "/é"]  # fmt: skip
    for path in elsewhere:
        browser.cookies.clear()
        to_provider = browser.get("/login/oidc", params={"next": path})
        back = httpx.get(to_provider.headers["location"], timeout=30)
        came = browser.get(back.headers["location"])
        assert (came.status_code, came.headers["location"]) == (303, "/"), path
        form = browser.get("/login", params={"next": path})
        assert 'name="next" value="/"' in form.text and "evil" not in form.text, path
    form = browser.get("/login", params={"next": '/executions?q="><script>'})
    assert "<script>" not in form.text
    assert browser.get("//evil.example").headers.get("location") in (None, "/login")


def test_keys_that_change_are_taken_and_strangers_do_not_make_us_ask(
    module_url: str, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spantree_api.people import provider as module

    with api_over(module_url, **_settings(provider)) as client:
        client.headers["accept"] = "text/html"
        assert _log_in(client).status_code == 303
        asked = provider.asked_for_keys
        client.cookies.clear()
        monkeypatch.setattr(module, "_KEYS_AGAIN_S", 0.0)
        provider.rotate()
        assert _log_in(client).status_code == 303
        client.cookies.clear()
        provider.rotate(jwk.ECKey.generate_key("P-256", {"kid": "curve"}, auto_kid=False))
        assert _log_in(client).status_code == 303
        assert provider.asked_for_keys == asked + 2
        monkeypatch.setattr(module, "_KEYS_AGAIN_S", 10.0)
        stranger = jwk.RSAKey.generate_key(2048, {"kid": "stranger"}, auto_kid=False)
        token = provider.signed(provider.id_claims(aud=AUDIENCE), stranger)
        for _ in range(3):
            assert _get(client, authorization=f"Bearer {token}") == 401
        assert provider.asked_for_keys == asked + 2
    provider.rotate()


def test_a_key_that_the_provider_takes_away_is_good_no_longer(
    module_url: str, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where others of its keys are still good nobody shows one that is not known, by which one would notice."""
    from spantree_api.people import provider as module

    with api_over(module_url, **_settings(provider)) as client:
        token = provider.signed(provider.id_claims(aud=AUDIENCE))
        assert _get(client, authorization=f"Bearer {token}") == 200
        provider.rotate()
        assert _get(client, authorization=f"Bearer {token}") == 200
        provider.is_away = True
        monkeypatch.setattr(module, "_KEYS_S", 0.0)
        assert _get(client, authorization=f"Bearer {token}") == 200, "nobody can tell while the provider is away"
        provider.is_away = False
        monkeypatch.setattr(module, "_KEYS_TRIED_AGAIN_S", 0.0)
        monkeypatch.setattr(module, "_AGAIN_S", 0.0)
        assert _get(client, authorization=f"Bearer {token}") == 401


def test_the_api_takes_access_tokens_that_were_issued_for_it(browser: httpx.Client, provider: Provider) -> None:
    def answered(**changes: Any) -> int:
        token = provider.signed(provider.id_claims(**{"aud": AUDIENCE} | changes))
        return _get(browser, authorization=f"Bearer {token}")

    # Keys are fetched anew only now and then, and another test may just have shown one that nobody knows.
    wait_until(lambda: answered() == 200, 60, "a token of the provider's newest key is taken")
    assert answered(aud=CLIENT_ID) == 401, "an ID token is none for the API"
    assert answered(exp=1) == 401
    assert answered(groups=["strangers"]) == 403
    assert _get(browser, authorization=f"Bearer {unsigned(provider.id_claims(aud=AUDIENCE))}") == 401
    # No browser sends it by itself, so nothing has to tell where it comes from.
    token = provider.signed(provider.id_claims(aud=AUDIENCE, groups=["blue-admins"]))
    shown = {"authorization": f"Bearer {token}"}
    asked = httpx.patch(f"{browser.base_url}{CHANGE}", headers=shown, json={"state": "x"}, timeout=30)
    assert asked.status_code == 422


def test_a_provider_that_is_away_is_told_and_sessions_go_on(module_url: str, provider: Provider) -> None:
    with api_over(module_url, **_settings(provider)) as client:
        client.headers["accept"] = "text/html"
        provider.is_away = True
        away = client.get("/login/oidc")
        assert away.status_code == 503 and "cannot be asked who you are" in away.text
        assert _get(client, authorization=f"Bearer {provider.signed(provider.id_claims(aud=AUDIENCE))}") == 503
        assert _get(client, "/readyz") == 200
    with api_over(module_url, **_settings(provider, oidc_issuer=provider.issuer + "/")) as client:
        provider.is_away = False
        away = client.get("/login/oidc")
        assert away.status_code == 503 and "it calls itself" in away.text, "another issuer speaks"


def _is_of_this_host(cookie: str) -> bool:
    """Whether browsers take it: they refuse __Host- without Secure, with another path, with a domain."""
    parts = cookie.split("; ")
    is_whole = {"Secure", "HttpOnly", "Path=/"} <= set(parts) and not any(one.startswith("Domain") for one in parts)
    return cookie.startswith("__Host-") and is_whole


def test_over_https_cookies_are_of_this_host_only(module_url: str, provider: Provider) -> None:
    # As a proxy on this machine says; whoever else says so is not believed (test_trusted_proxies).
    settings = _settings(provider, public_url="https://spantree.example")
    with api_over(module_url, **settings) as client:
        client.headers.update({"x-forwarded-proto": "https", "host": "spantree.example", "accept": "text/html"})
        began = client.get("/login/oidc")
        asked = parse_qs(urlsplit(began.headers["location"]).query)
        assert asked["redirect_uri"] == ["https://spantree.example/login/callback"]
        (cookie,) = began.headers.get_list("set-cookie")
        assert cookie.startswith("__Host-spantree_login=") and _is_of_this_host(cookie)
        back = urlsplit(httpx.get(began.headers["location"], timeout=30).headers["location"])
        began_here = cookie.partition(";")[0]
        tossed = {"cookie": began_here.removeprefix("__Host-")}
        refused = client.get(f"{back.path}?{back.query}", headers=tossed)
        assert refused.status_code == 400, "a host beside ours may have set it, to log the browser in as somebody else"
        came = client.get(f"{back.path}?{back.query}", headers={"cookie": began_here})
        session = next(one for one in came.headers.get_list("set-cookie") if "spantree_session" in one)
        assert session.startswith("__Host-spantree_session=") and _is_of_this_host(session)
        assert all(map(_is_of_this_host, came.headers.get_list("set-cookie")))
        value = session.partition(";")[0]
        client.cookies.clear()
        assert client.get("/api/v1/executions", headers={"cookie": value}).status_code == 200
        plain = value.removeprefix("__Host-")
        assert client.get("/executions", headers={"cookie": plain}).status_code == 303, "it may have been set over HTTP"
        own = {"cookie": value, "origin": "https://spantree.example"}
        assert client.patch(CHANGE, headers=own, json={"state": "resolved"}).status_code == 403
        assert "may not do this for blue" in client.patch(CHANGE, headers=own, json={"state": "resolved"}).text
