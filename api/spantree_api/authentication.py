"""Who asks: a token in `Authorization: Bearer`, or in the cookie of a browser that showed it once.

Where no token was ever made, everybody is the one tenant's admin, on a loopback address; beyond it nothing is answered
unless SPANTREE_INSECURE says so. From the first token on, everything but the probes wants one. What is not allowed and
what is not there look alike to another tenant, for every read is of the tenant of the token.

A cookie is sent by the browser whoever asks it to, so it may change something only where the browser says that the
page that asks is our own (https://owasp.org/www-community/attacks/csrf; Fetch Metadata Request Headers, W3C).
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from spantree_api.error_answers import error_answer
from spantree_api.errors import RETRY_AFTER_S, ApiError, Forbidden, Unauthorized, Unavailable
from spantree_exporter.tokens import ANYONE, DEFAULT_TENANT, Identity, Watch, bearer_of
from spantree_exporter.tokens import Scope as TokenScope

COOKIE: Final = "spantree_token"
LOGIN_PATH: Final = "/login"
# Answered to everybody: whether the process lives, and how one becomes somebody.
_OPEN: Final = frozenset({"/healthz", "/readyz", LOGIN_PATH, "/logout"})
_OPEN_BELOW: Final = ("/static/",)
# What the process and the whole installation do is the default tenant's to see.
_METRICS: Final = "/metrics"
# Told without the database, which then has nothing in it to tell.
_OF_THE_PROCESS: Final = frozenset({"/api/v1/health", "/api/v1/openapi.json", "/api/v1/docs", _METRICS})
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# Asking for an analysis changes nothing that anybody sent.
_READ_BY_POST: Final = re.compile(r"/api/v1/executions/[^/]+/analyze")
# A wrong token is answered slowly, so that trying is slow; so many at a time, then at once.
_SLOWED_S: Final = 0.5
_SLOWED_MAX: Final = 200


class Authenticator:
    """Tells who asks."""

    def __init__(self, watch: Watch, *, anonymous: bool) -> None:
        """`anonymous`: everybody is answered while there has never been a token."""
        self._watch = watch
        self._anonymous = anonymous

    def identify(self, token: str | None, wanted: TokenScope) -> Identity:
        """Whom `token` names, if that one may do what `wanted` says. Raises Unauthorized, Forbidden, Unavailable."""
        known = self._watch.known
        if known is None:
            raise Unavailable(
                "database_unavailable",
                "no connection to PostgreSQL yet, which knows the tokens: it is away; try again",
            )
        if not known.required and not self._anonymous:
            raise Forbidden(
                'no token has been made, and this API listens beyond its own machine: "spantree token create --scope '
                'read" makes one, SPANTREE_INSECURE=true answers everybody'
            )
        identity = known.identity_of(token, time.time_ns())
        if identity is None and token is None:
            raise Unauthorized("a token is wanted: send Authorization: Bearer TOKEN", guessed=False)
        if identity is None:
            raise Unauthorized("the token is unknown, out of date or revoked: ask for another", guessed=True)
        self._watch.used(identity)
        if not identity.may(wanted):
            raise Forbidden(f"the token does not allow this: one of scope {wanted} does")
        return identity

    @property
    def is_required(self) -> bool:
        """Whether there has ever been a token."""
        return self._watch.known is not None and self._watch.known.required

    @property
    def is_blind(self) -> bool:
        """Whether the database has not said yet which tokens there are."""
        return self._watch.known is None


class Authentication:
    """ASGI middleware: `scope["state"]["identity"]` is who asks; or a refusal in the one shape."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self._app = app
        self._authenticator = authenticator
        self._slowed = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the application's start and stop."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if path in _OPEN or path.startswith(_OPEN_BELOW):
            await self._app(scope, receive, send)
            return
        headers = {name: value for name, value in scope["headers"] if name in _READ}
        try:
            identity = self._identify(scope["method"], path, headers)
        except ApiError as error:
            if isinstance(error, Unauthorized) and error.guessed:
                await self._slow_down()
            await _answer(error, scope, headers)(scope, receive, send)
            return
        scope.setdefault("state", {})["identity"] = identity
        await self._app(scope, receive, send)

    def _identify(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> Identity:
        if path in _OF_THE_PROCESS and self._authenticator.is_blind:
            # All that can be told without the database is that it is away.
            return ANYONE
        token, is_cookie = token_of(headers)
        reads = method in _SAFE or _READ_BY_POST.fullmatch(path) is not None
        identity = self._authenticator.identify(token, "read" if reads else "admin")
        if is_cookie and method not in _SAFE and headers.get(b"sec-fetch-site") != b"same-origin":
            raise Forbidden(
                "a page of another site, or a browser too old to tell, asks for a change: send the token itself"
            )
        if path == _METRICS and identity.tenant_id != DEFAULT_TENANT:
            raise Forbidden("figures of the whole installation are for tokens of the default tenant")
        return identity

    async def _slow_down(self) -> None:
        if self._slowed < _SLOWED_MAX:
            self._slowed += 1
            try:
                await asyncio.sleep(_SLOWED_S)
            finally:
                self._slowed -= 1


_READ: Final = frozenset({b"authorization", b"cookie", b"sec-fetch-site", b"accept"})


def token_of(headers: Mapping[bytes, bytes]) -> tuple[str | None, bool]:
    """(the token that a request shows, whether it is the cookie's); a header goes before a cookie."""
    if (sent := headers.get(b"authorization")) is not None:
        return bearer_of(sent.decode("latin-1")), False
    if (cookies := headers.get(b"cookie")) is not None and len(cookies) <= 8192:
        try:
            morsel = SimpleCookie(cookies.decode("latin-1")).get(COOKIE)
        except CookieError:
            morsel = None
        if morsel is not None and morsel.value:
            return morsel.value, True
    return None, False


def identity_of(state: Mapping[str, Any]) -> Identity:
    """Who asks, out of a request's state."""
    identity = state.get("identity", ANYONE)
    assert isinstance(identity, Identity)  # noqa: S101  # as the middleware put it
    return identity


def _answer(error: ApiError, scope: Scope, headers: Mapping[bytes, bytes]) -> ASGIApp:
    sent: dict[str, str] = {"cache-control": "no-store"}
    status = error.status_code
    if isinstance(error, Unauthorized):
        sent["www-authenticate"] = "Bearer"
        if b"text/html" in headers.get(b"accept", b"") and scope["method"] in {"GET", "HEAD"}:
            # A person is led to where the token can be shown.
            status, sent = 303, sent | {"location": LOGIN_PATH}
    elif isinstance(error, Unavailable):
        sent["retry-after"] = str(RETRY_AFTER_S)
    return error_answer(status, error.code, str(error), {}, sent)
