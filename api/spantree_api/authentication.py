"""Who asks: a token or a person.

    Authorization: Bearer    a token of ours, or an access token of the provider where such are taken
    headers of a proxy       that is trusted (SPANTREE_TRUSTED_PROXIES): the person whom it names
    a session's cookie       the person who has logged in with this browser
    a token's cookie         a browser that showed its token once

Where no token was ever made and people are not known otherwise, everybody is the one tenant's admin, on a loopback
address; beyond it nothing is answered unless SPANTREE_INSECURE says so. From the first token on, everything but the
probes wants one. What is not allowed and what is not there look alike to another tenant, for every read is of the
tenant of whoever asks.

Cookies, and what a proxy knows a browser by, are sent whoever makes the browser ask. So they may change something only
where the browser says that the page that asks is our own (https://owasp.org/www-community/attacks/csrf).
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Annotated, Any, Final, TypeAlias
from urllib.parse import quote

from fastapi import Depends, Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spantree_api.errors import RETRY_AFTER_S, ApiError, Forbidden, Unauthorized, Unavailable
from spantree_api.http.error_answers import error_answer
from spantree_api.people.origin import comes_from_own_page, own_path
from spantree_api.people.people import TENANT_COOKIE, Known, People, cookie_name, cookies_of
from spantree_exporter.origins import ANY_ORIGIN
from spantree_exporter.tokens import ANYONE, DEFAULT_TENANT, Identity, KnownTokens, Watch, bearer_of
from spantree_exporter.tokens import Scope as TokenScope

COOKIE: Final = "spantree_token"
LOGIN_PATH: Final = "/login"
# Answered to everybody: whether the process lives, and how one becomes somebody.
_OPEN: Final = frozenset({"/healthz", "/readyz", LOGIN_PATH, "/logout"})
_OPEN_BELOW: Final = ("/static/", f"{LOGIN_PATH}/")
# Who asked for what is not every reader's to see.
_FOR_ADMINS: Final = frozenset({"/api/v1/audit/own", "/api/v1/export/audit/own"})
# What the process and the whole installation do is the default tenant's to see.
_METRICS: Final = "/metrics"
# Told without the database, which then has nothing in it to tell.
_OF_THE_PROCESS: Final = frozenset({"/api/v1/health", "/api/v1/openapi.json", "/api/v1/docs", _METRICS})
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# Asking for an analysis changes nothing that anybody sent.
_READ_BY_POST: Final = re.compile(r"/api/v1/executions/[^/]+/analyze")
# How long a wrong token waits for its answer; so many at a time, others are answered at once.
_SLOWED_S: Final = 0.5
_SLOWED_MAX: Final = 200


class Authenticator:
    """Tells who asks."""

    def __init__(self, watch: Watch, *, anonymous: bool, people: bool = False) -> None:
        """`anonymous`: everybody is answered while there has never been a token; not where `people` are known."""
        self._watch = watch
        self._anonymous = anonymous
        self._people = people
        self._slowed = 0

    def identify(self, token: str | None, wanted: TokenScope) -> Identity:
        """Whom `token` names, if that one may do what `wanted` says. Raises Unauthorized, Forbidden, Unavailable."""
        known = self.known
        if not known.required and not self._anonymous and not self._people:
            raise Forbidden(
                'no token has been made, and this API listens beyond its own machine: "spantree token create --scope '
                'read" makes one, SPANTREE_INSECURE=true answers everybody'
            )
        identity = known.identity_of(token, time.time_ns())
        if token is None and (identity is None or self._people):
            told = "log in, or send" if self._people else "a token is wanted: send"
            raise Unauthorized(f"{told} Authorization: Bearer TOKEN", guessed=False)
        if identity is None:
            raise Unauthorized("the token is unknown, out of date or revoked: ask for another", guessed=True)
        self._watch.used(identity)
        return allowed(identity, wanted)

    @property
    def known(self) -> KnownTokens:
        """The tokens and tenants that there are. Raises Unavailable."""
        known = self._watch.known
        if known is None:
            raise Unavailable(
                "database_unavailable",
                "no connection to PostgreSQL yet, which knows the tokens: "
                f"{self._watch.failure or 'it is away'}; try again",
            )
        return known

    async def slow_down(self) -> None:
        """Wait, before a wrong token is answered: so trying is slow."""
        if self._slowed < _SLOWED_MAX:
            self._slowed += 1
            try:
                await asyncio.sleep(_SLOWED_S)
            finally:
                self._slowed -= 1

    @property
    def is_required(self) -> bool:
        """Whether nobody is answered who is nobody: there has been a token, or people are known otherwise."""
        return self._people or (self._watch.known is not None and self._watch.known.required)

    @property
    def is_blind(self) -> bool:
        """Whether the database has not said yet which tokens there are."""
        return self._watch.known is None


def allowed(identity: Identity, wanted: TokenScope) -> Identity:
    """`identity`, where it may do that. Raises Forbidden."""
    if identity.may(wanted):
        return identity
    if identity.person:
        raise Forbidden(
            f"{identity.person_name} may not do this for {identity.tenant}: the role {wanted} does", identity
        )
    raise Forbidden(f"the token does not allow this: one of scope {wanted} does", identity)


class Authentication:
    """ASGI middleware: `scope["state"]["identity"]` is who asks; or a refusal in the one shape."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator, people: People) -> None:
        self._app = app
        self._authenticator = authenticator
        self._people = people

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the application's start and stop."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        headers = {name: value for name, value in scope["headers"] if name in _READ}
        state = scope.setdefault("state", {})
        scope["scheme"] = self._people.take_scheme_of_proxy(scope, headers)
        if path in _OPEN or path.startswith(_OPEN_BELOW):
            await self._app(scope, receive, send)
            return
        asked: Scope = {**scope, "state": dict(state)}
        try:
            identity = await self._identify(scope, path, headers)
        except ApiError as error:
            if isinstance(error, Unauthorized | Forbidden):
                # For the own audit.
                scope.setdefault("state", {})["refused"] = error.identity if isinstance(error, Forbidden) else None
            if isinstance(error, Unauthorized) and error.guessed:
                await self._authenticator.slow_down()
            await _answer(error, scope, headers)(scope, receive, send)
            return
        state["identity"] = identity
        state["may_go_on"] = partial(self._may_go_on, asked, headers, identity)
        scope["client"] = self._people.client(scope)

        async def send_to_this_one(message: Message) -> None:
            if message["type"] == "http.response.start":
                # What is told to somebody is nobody else's: a cache between us knows no cookies and no proxy's headers.
                MutableHeaders(scope=message).setdefault("cache-control", "no-store")
            await send(message)

        await self._app(scope, receive, send_to_this_one)

    async def _may_go_on(self, asked: Scope, headers: Mapping[bytes, bytes], identity: Identity) -> bool:
        """Whether what `asked` showed is still good, for the same tenant; where that cannot be told now, it is."""
        try:
            again = await self._identify({**asked, "state": dict(asked["state"])}, asked["path"], headers)
        except Unavailable:
            return True
        except ApiError:
            return False
        return again.tenant_id == identity.tenant_id

    async def _identify(self, scope: Scope, path: str, headers: Mapping[bytes, bytes]) -> Identity:
        method: str = scope["method"]
        reads = path not in _FOR_ADMINS and (method in _SAFE or _READ_BY_POST.fullmatch(path) is not None)
        wanted: TokenScope = "read" if reads else "admin"
        if (identity := scope["state"].get("identity")) is not None:
            # A page asks the API for the one who asked for the page.
            return allowed(identity, wanted)
        if path in _OF_THE_PROCESS and self._authenticator.is_blind:
            # All that can be told without the database is that it is away.
            return ANYONE
        cookies = cookies_of(headers)
        sent = headers.get(b"authorization")
        token = None if sent is None else bearer_of(sent.decode("latin-1"))
        known: Known | None = None
        if token is not None:
            known = await self._people.by_bearer(token) if self._people.takes_bearer(token) else None
        else:
            known = self._people.through_proxy(scope) or self._people.by_session(cookies, scope["scheme"])
        token_cookie = cookie_name(COOKIE, scope["scheme"])
        is_cookie = token is None and known is None and token_cookie in cookies
        scope["state"]["known"] = known
        if known is not None:
            tenants = self._authenticator.known.tenants
            chosen = cookies.get(cookie_name(TENANT_COOKIE, scope["scheme"]))
            identity = allowed(self._people.identity(known, tenants, chosen), wanted)
        else:
            identity = self._authenticator.identify(cookies[token_cookie] if is_cookie else token, wanted)
        if token is None and method not in _SAFE:
            self._refuse_other_sites(scope, headers, is_known=known is not None or is_cookie)
        if path == _METRICS and identity.tenant_id != DEFAULT_TENANT:
            raise Forbidden("figures of the whole installation are for tokens of the default tenant", identity)
        return identity

    def _refuse_other_sites(self, scope: Scope, headers: Mapping[bytes, bytes], *, is_known: bool) -> None:
        """Raise Forbidden for a change that a page of another site may have made the browser ask for.

        Where the browser shows who asks it has to say that it is our own page; where nobody has to be known it must
        not say that it is another's, but for the origins that CORS is allowed for.
        """
        own = self._people.own_origins(scope["scheme"], headers)
        is_own = comes_from_own_page(headers, own)
        if not is_known:
            origins = self._people.settings.cors_origins
            is_own = (
                is_own is not False or ANY_ORIGIN in origins or headers.get(b"origin", b"").decode("latin-1") in origins
            )
        if not is_own:
            raise Forbidden(
                "a page of another site, or a browser too old to tell, asks for a change: send the token itself"
            )


_READ: Final = frozenset(
    {b"authorization", b"cookie", b"host", b"sec-fetch-site", b"origin", b"accept", b"x-forwarded-proto"}
)


def identity_of(state: Mapping[str, Any]) -> Identity:
    """Who asks, out of a request's state."""
    identity = state.get("identity", ANYONE)
    assert isinstance(identity, Identity)  # noqa: S101  # as the middleware put it
    return identity


async def _identity_of_request(request: Request) -> Identity:
    return identity_of(request.scope.get("state", {}))


IdentityOf = Annotated[Identity, Depends(_identity_of_request)]
"""Who asks, for a route."""


async def _may_go_on_of_request(request: Request) -> MayGoOn:
    found: MayGoOn = request.scope.get("state", {}).get("may_go_on", _always)
    return found


async def _always() -> bool:
    return True


MayGoOn: TypeAlias = Callable[[], Awaitable[bool]]
MayGoOnOf = Annotated[MayGoOn, Depends(_may_go_on_of_request)]
"""Whether who asked may still be answered, for a route whose answer does not end by itself."""


def _answer(error: ApiError, scope: Scope, headers: Mapping[bytes, bytes]) -> ASGIApp:
    sent: dict[str, str] = {"cache-control": "no-store"}
    status = error.status_code
    if isinstance(error, Unauthorized):
        sent["www-authenticate"] = "Bearer"
        if b"text/html" in headers.get(b"accept", b"") and scope["method"] in {"GET", "HEAD"}:
            # A person is led to where one logs in, and from there back.
            asked = b"?".join(filter(None, (scope.get("raw_path", b""), scope["query_string"])))
            back = own_path(asked.decode("latin-1"))
            query = "" if back == "/" else f"?next={quote(back, safe='/')}"
            status, sent = 303, sent | {"location": f"{LOGIN_PATH}{query}"}
    elif isinstance(error, Unavailable):
        sent["retry-after"] = str(RETRY_AFTER_S)
    return error_answer(status, error.code, str(error), {}, sent)
