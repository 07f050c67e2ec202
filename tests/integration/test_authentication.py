"""Who may ask what: every path of the API by every kind of token; each tenant sees its own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from queue import Queue

import grpc
import httpx
import psycopg
import pytest
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from tests.api_paths import paths_of_the_api
from tests.api_server import api_over, ok, refused
from tests.factories import span, trace_id
from tests.jaeger_storage import jaeger_over
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, Provider, oidc_provider, unsigned
from tests.postgres import new_database
from tests.waiting import wait_until

from spantree_api import authentication
from spantree_api.config import ApiConfig
from spantree_api.people.people import People
from spantree_api.people.sessions import Sessions, key_of
from spantree_api.people.settings import people_settings
from spantree_api.streams import listeners as streams
from spantree_exporter.postgres.store import Store
from spantree_exporter.tokens import Identity, KnownTokens, TokenBook, digest_of

TRACE = trace_id(1).hex()
SERVICE = "shop of blue"


@dataclass
class Tokens:
    """One of each kind; blue has an execution, green has none."""

    read: str
    admin: str
    ingest: str
    of_another: str
    expired: str
    revoked: str


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def _is_known(client: httpx.Client, token: str) -> bool:
    return client.get("/account", headers=_bearer(token)).is_success


@pytest.fixture(scope="module")
def module_url(postgres_url: str, _migrated_template: str) -> Iterator[str]:
    with new_database(postgres_url, _migrated_template) as url:
        yield url


@pytest.fixture(scope="module")
def tokens(module_url: str) -> Tokens:
    with TokenBook(module_url) as book:
        blue = book.add_tenant("blue")
        book.add_tenant("green")
        made = Tokens(
            book.create_token("blue", "read"),
            book.create_token("blue", "admin"),
            book.create_token("blue", "ingest"),
            book.create_token("green", "admin"),
            book.create_token("blue", "admin", datetime.now(UTC) - timedelta(seconds=1)),
            book.create_token("blue", "admin"),
        )
        book.revoke_token(made.revoked)
    store = Store(module_url)
    store.write([span(1, service=SERVICE)], tenant_id=blue)
    store.close()
    return made


@pytest.fixture(scope="module")
def client(module_url: str, tokens: Tokens) -> Iterator[httpx.Client]:
    with api_over(module_url, token_interval_s=0.05) as client:
        yield client


def _asked(client: httpx.Client, method: str, path: str, token: str | None) -> int:
    headers = {} if token is None else _bearer(token)
    # Of a stream only the beginning is read.
    with client.stream(method, path, headers=headers) as response:
        return response.status_code


CALLERS = ("none", "wrong", "malformed", "expired", "revoked", "ingest", "of_another", "read", "admin")
# What tells of all tenants is the default tenant's.
OF_ALL_TENANTS = {"/metrics", "/api/v1/health/storage"}
ADMINS = {"/api/v1/audit/own", "/api/v1/export/audit/own"}


def _wanted(method: str, path: str, caller: str) -> set[int]:
    """The cell of the matrix; a route that is added stands in it by its method and path."""
    if caller in {"none", "wrong", "malformed", "expired", "revoked"}:
        return {401}
    is_change = method not in {"GET", "OPTIONS"} and not path.endswith("/analyze")
    may = caller not in {"ingest"} and path not in OF_ALL_TENANTS
    if caller == "read":
        may &= not is_change and path not in ADMINS
    if not may:
        return {403}
    if caller == "of_another" and TRACE in path and not path.endswith("/stream"):
        # As if it were not there: an empty list, or nothing.
        return {200, 400, 404, 422}
    return {200, 204, 303, 307, 400, 404, 409, 422}


def test_every_path_answers_every_caller_as_the_matrix_says(
    client: httpx.Client, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "_SLOWED_S", 0.0)
    paths = paths_of_the_api(TRACE)
    assert len(paths) > 60
    shown = {"none": None, "wrong": "spt_" + "x" * 43, "malformed": "x" * 5000, **vars(tokens)}
    assert set(shown) == set(CALLERS)
    told = {(caller, *one): _asked(client, *one, shown[caller]) for one in paths for caller in CALLERS}
    assert {key: status for key, status in told.items() if status not in _wanted(*key[1:], key[0])} == {}
    assert told["read", "GET", f"/api/v1/executions/{TRACE}"] == 200
    assert told["of_another", "GET", f"/api/v1/executions/{TRACE}"] == 404


def test_nothing_of_another_tenant_is_in_any_answer(client: httpx.Client, tokens: Tokens) -> None:
    """By what the paths say without an id of it: lists, figures, searches, pages, exports, documentation."""
    read = {
        path
        for method, path in paths_of_the_api(TRACE)
        if method == "GET" and TRACE not in path and not path.endswith("/stream")
    }
    answers = {path: client.get(path, headers=_bearer(tokens.of_another)).text for path in read}
    # What one has asked for oneself is in the own audit.
    assert {
        path for path, text in answers.items() if SERVICE in text or (TRACE in text and path not in ADMINS)
    } == set()
    own = {path for path in read if SERVICE in client.get(path, headers=_bearer(tokens.read)).text}
    assert own >= {"/api/v1/executions", "/jaeger/api/services", "/executions", "/api/v1/export/executions"}


def test_no_cache_keeps_what_was_told_and_no_browser_guesses_what_it_is(client: httpx.Client, tokens: Tokens) -> None:
    """A cache in front tells requests apart by their address, not by cookies or by what a proxy says of who asks."""
    kept = {}
    guessed = set()
    for method, path in paths_of_the_api(TRACE):
        if method == "GET":
            with client.stream("GET", path, headers=_bearer(tokens.admin)) as answer:
                kept[path] = answer.headers.get("cache-control")
            # Nor does a browser take for HTML what is something else: texts out of spans are in all of it.
            if answer.headers.get_list("x-content-type-options") != ["nosniff"]:
                guessed.add(path)
    assert guessed == set()
    assert {path: said for path, said in kept.items() if said not in ("no-store", "no-store, no-transform")} == {}
    page = client.get("/executions", headers=_bearer(tokens.admin)).text
    style = page.partition('rel="stylesheet" href="')[2].partition('"')[0]
    assert client.get(style).headers["cache-control"] == "public, max-age=31536000, immutable"


def test_people_are_answered_as_tokens_of_their_role_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "_SLOWED_S", 0.0)
    roles = {"viewers": "read", "admins": "admin", "strangers": None}
    with oidc_provider() as provider:
        config = ApiConfig(
            oidc_issuer=provider.issuer,
            oidc_client_id=CLIENT_ID,
            oidc_client_secret=CLIENT_SECRET,
            oidc_audience="api",
            trusted_proxies="10.0.0.1",
            roles="viewers=blue:read,admins=blue:admin",
        )
        answered = asyncio.run(_answers(config, provider))
    assert len(answered["nobody"]) > 30
    for who in ("nobody", "forged session", "session of another key", "untrusted proxy", "ID token", "unsigned"):
        assert set(answered[who].values()) == {401}, who
    for role, scope in roles.items():
        for kind in ("session", "proxy", "bearer"):
            told = answered[f"{kind} of {role}"]
            if scope is None:
                assert set(told.values()) == {403}, kind
            else:
                assert told == answered[f"token to {scope}"] == answered[f"token's cookie to {scope}"], (kind, role)
    assert {204, 403} == set(answered["token to read"].values())
    assert {key for key, status in answered["token to admin"].items() if status != 204} == {("GET", "/metrics")}


class _TwoTokens:
    known: KnownTokens | None = KnownTokens(
        {
            digest_of("spt_read"): Identity(1, "blue", "read", "spt_read"),
            digest_of("spt_admin"): Identity(1, "blue", "admin", "spt_admin"),
        },
        True,
        {"default": 0, "blue": 1},
    )
    failure = ""

    def used(self, identity: Identity) -> None:
        """Nothing to note."""


async def _answers(config: ApiConfig, provider: Provider) -> dict[str, dict[tuple[str, str], int]]:
    """What each kind of caller is answered on every path by what stands before the routes; 204: it may ask them."""

    async def routes(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(status_code=204)(scope, receive, send)

    guarded = authentication.Authentication(
        routes,
        authentication.Authenticator(_TwoTokens(), anonymous=True, people=True),
        People(people_settings(config)),
    )
    sessions, others = Sessions(key_of("", CLIENT_SECRET), 100), Sessions("k" * 32, 100)
    claims = provider.id_claims(sub="u", groups=["admins"])
    session = sessions.session_cookie("u", "ada", ("admins",))
    spoofed = {"x-forwarded-user": "ada", "x-forwarded-groups": "admins"}
    callers: dict[str, dict[str, str]] = {
        "nobody": {},
        "forged session": {"cookie": f"spantree_session={session[:-3]}AAA"},
        "session of another key": {"cookie": f"spantree_session={others.session_cookie('u', 'ada', ('admins',))}"},
        "untrusted proxy": spoofed | {"x-forwarded-for": "10.0.0.1"},
        "ID token": _bearer(provider.signed(claims)),
        "unsigned": _bearer(unsigned(claims | {"aud": "api"})),
    }
    for scope in ("read", "admin"):
        callers[f"token to {scope}"] = _bearer(f"spt_{scope}")
        callers[f"token's cookie to {scope}"] = {"cookie": f"spantree_token=spt_{scope}"}
    for role in ("viewers", "admins", "strangers"):
        callers[f"session of {role}"] = {"cookie": f"spantree_session={sessions.session_cookie('u', 'ada', (role,))}"}
        callers[f"proxy of {role}"] = {"x-forwarded-user": "ada", "x-forwarded-groups": role}
        callers[f"bearer of {role}"] = _bearer(provider.signed(claims | {"aud": "api", "groups": [role]}))
    paths = paths_of_the_api(TRACE)

    async def asked(who: str, method: str, path: str) -> int:
        statuses: list[int] = []
        headers = {"host": "spantree.example", "sec-fetch-site": "same-origin", **callers[who]}
        scope = {
            "type": "http",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "client": ("10.0.0.1" if who.startswith("proxy") else "127.0.0.1", 1),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }

        async def receive() -> Message:
            return {"type": "http.request", "body": b""}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        await guarded(scope, receive, send)
        return statuses[0]

    return {who: {one: await asked(who, *one) for one in paths} for who in callers}


def test_what_is_anothers_looks_as_if_it_were_not_there(client: httpx.Client, tokens: Tokens) -> None:
    def answer(token: str, path: str) -> httpx.Response:
        return client.get(path, headers=_bearer(token))

    for path in [
        path for method, path in paths_of_the_api(TRACE) if method == "GET" and TRACE in path and "/stream" not in path
    ]:
        unknown = answer(tokens.of_another, path.replace(TRACE, "f" * 32))
        foreign = answer(tokens.of_another, path)
        assert (foreign.status_code, foreign.text.replace(TRACE, "f" * 32)) == (unknown.status_code, unknown.text), path
    listed = {name: ok(answer(token, "/api/v1/executions"))["executions"] for name, token in vars(tokens).items()
              if name in {"read", "of_another"}}  # fmt: skip
    assert [one["execution_id"] for one in listed["read"]] == [TRACE]
    assert listed["of_another"] == []


def test_a_browser_shows_its_token_once_and_changes_nothing_for_other_sites(
    client: httpx.Client, tokens: Tokens
) -> None:
    page = client.get("/", headers={"accept": "text/html"})
    assert (page.status_code, page.headers["location"]) == (303, "/login")
    assert client.get("/login").status_code == 200
    assert client.post("/login", data={"token": "spt_wrong"}).status_code == 401
    assert client.post("/login", data={"token": tokens.ingest}).status_code == 401
    assert client.post("/login", data={str(number): "x" for number in range(10)}).status_code == 401
    shown = client.post("/login", data={"token": tokens.admin})
    assert (shown.status_code, shown.headers["location"]) == (303, "/")
    cookie = shown.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie, cookie
    client.cookies.clear()
    sent = {"cookie": cookie.partition(";")[0]}
    assert client.get("/api/v1/executions", headers=sent).status_code == 200
    change = "/api/v1/failures/groups/x"
    status, code, message = refused(client.patch(change, headers=sent, json={"state": "resolved"}))
    assert (status, code) == (403, "forbidden") and "another site" in message
    own = sent | {"sec-fetch-site": "same-origin"}
    assert client.patch(change, headers=own, json={"state": "resolved"}).status_code in {404, 422}


def test_a_wrong_token_waits_for_its_answer_wherever_it_is_shown(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than an answer takes, however busy the machine is.
    monkeypatch.setattr(authentication, "_SLOWED_S", 1.5)

    def took_s(answer: httpx.Response) -> float:
        return answer.elapsed.total_seconds()

    assert took_s(client.get("/api/v1/executions", headers=_bearer("spt_wrong"))) >= 1.5
    assert took_s(client.post("/login", data={"token": "spt_wrong"})) >= 1.5


def test_while_there_is_no_token_only_the_own_machine_is_answered(migrated_url: str) -> None:
    with api_over(migrated_url, token_interval_s=0.05) as client:
        assert client.get("/api/v1/executions").status_code == 200
        with TokenBook(migrated_url) as book:
            token = book.create_token("default", "read")
        wait_until(lambda: client.get("/api/v1/executions").status_code == 401, 10, "the first token is wanted")
        assert client.get("/api/v1/executions", headers=_bearer(token)).status_code == 200
        with psycopg.connect(migrated_url, autocommit=True) as connection:
            connection.execute("UPDATE spantree.tenant SET dropped_at = now()")
        wait_until(
            lambda: client.get("/api/v1/executions", headers=_bearer(token)).status_code == 401, 10, "it is dropped"
        )


def test_an_open_stream_ends_when_its_token_is_revoked_or_the_first_one_is_made(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_HEARTBEAT_S", 0.2)
    store = Store(migrated_url)
    with (
        api_over(migrated_url, token_interval_s=0.05) as client,
        TokenBook(migrated_url) as book,
        ThreadPoolExecutor() as pool,
        contextlib.closing(store),
    ):

        def hear(token: str | None, told: Queue[str]) -> None:
            headers = {} if token is None else _bearer(token)
            with client.stream("GET", "/api/v1/stream", headers=headers) as response:
                for line in response.iter_lines():
                    if line.startswith("event: "):
                        told.put(line)
            told.put("the end")

        def listen(token: str | None) -> Queue[str]:
            told: Queue[str] = Queue()
            pool.submit(hear, token, told)
            assert told.get(timeout=20) == "event: position"
            return told

        anonymous = listen(None)
        admin, token = book.create_token("default", "admin"), book.create_token("default", "read")
        assert anonymous.get(timeout=20) == "the end"
        for one in (admin, token):
            wait_until(partial(_is_known, client, one), 10, "it is known")
        ends, goes_on = listen(token), listen(admin)
        book.revoke_token(token)
        assert ends.get(timeout=20) == "the end"
        store.write([span(1, service=SERVICE)])
        assert goes_on.get(timeout=20) == "event: execution"
        book.revoke_token(admin)
        assert list(iter(lambda: goes_on.get(timeout=20), "the end")) == ["event: node"]


def test_beyond_the_own_machine_nobody_is_answered_until_there_is_a_token(migrated_url: str) -> None:
    with api_over(migrated_url, host="192.0.2.1") as client:
        status, code, message = refused(client.get("/api/v1/executions"))
        assert (status, code) == (403, "forbidden") and "spantree token create" in message
    with api_over(migrated_url, host="192.0.2.1", insecure=True) as client:
        assert client.get("/api/v1/executions").status_code == 200


def test_every_call_of_jaegers_storage_api_answers_every_caller_as_the_matrix_says(
    module_url: str, tokens: Tokens
) -> None:
    code = grpc.StatusCode
    shown = {"none": None, "wrong": "spt_" + "x" * 43, "malformed": "x", **vars(tokens)}
    with jaeger_over(module_url, time.time_ns()) as jaeger:
        (open_to_all,) = {method for method in jaeger.methods if method.endswith("/GetCapabilities")}
        asked = [method for method in jaeger.methods if method != open_to_all]
        assert len(asked) == 7
        told: dict[str, set[object]] = {}
        for caller in CALLERS:
            token = shown[caller]
            asking = jaeger.with_metadata(*([] if token is None else [("authorization", f"Bearer {token}")]))
            told[caller] = {asking.outcome(method) for method in asked}
            # It says what spantree can do, and nothing of anybody.
            assert asking.outcome(open_to_all) == code.OK
            if caller in {"read", "admin"}:
                assert (asking.services(), len(asking.traces(TRACE))) == ([SERVICE], 1)
            if caller == "of_another":
                assert (asking.services(), asking.traces(TRACE)) == ([], [])
    assert told == {
        caller: {code.OK}
        if caller in {"of_another", "read", "admin"}
        else {code.PERMISSION_DENIED if caller == "ingest" else code.UNAUTHENTICATED}
        for caller in CALLERS
    }
