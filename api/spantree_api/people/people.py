"""Who a person is, by a session's cookie or a trusted proxy's headers, and what that one may."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import cookie_parser

from spantree_api.errors import Forbidden, Unauthorized
from spantree_api.people.origin import origin_of
from spantree_api.people.roles import Grant, grants_of, matching
from spantree_api.people.settings import LOOPBACK, PeopleSettings, ProxySettings
from spantree_exporter.errors import ConfigError
from spantree_exporter.tokens import Identity

if TYPE_CHECKING:
    from spantree_api.people.provider import Person, Provider
    from spantree_api.people.sessions import Session, Sessions

SESSION_COOKIE: Final = "spantree_session"
TENANT_COOKIE: Final = "spantree_tenant"
"""Which of several tenants a person looks at: no secret, and no right to it."""
_COOKIES_MAX: Final = 8_192
_NAME_MAX: Final = 255


@dataclass(frozen=True, slots=True)
class Known:
    """A person who is known. `person` names it in audits: how it is known, and its id there."""

    person: str
    name: str
    values: tuple[str, ...]


class People:
    """What the settings say of people. Within one event loop."""

    def __init__(self, settings: PeopleSettings, spoofed: Callable[[], None] = lambda: None) -> None:
        """`spoofed` is called for each request with the headers of a proxy that is not trusted.

        Raises ConfigError where the libraries for OpenID Connect are not installed.
        """
        self.settings = settings
        self._spoofed = spoofed
        self.provider: Provider | None = None
        self.sessions: Sessions | None = None
        if settings.oidc is not None:
            try:
                from spantree_api.people.provider import Provider
                from spantree_api.people.sessions import Sessions, key_of
            except ModuleNotFoundError as error:
                missing = f"SPANTREE_API_OIDC_ISSUER is set, and {error.name} is not installed"
                raise ConfigError([f'{missing}: pip install "spantree[oidc]"']) from error
            self.provider = Provider(settings.oidc)
            self.sessions = Sessions(key_of(settings.session_key, settings.oidc.client_secret), settings.session_s)

    def take_scheme_of_proxy(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> str:
        """How the browser reached us: what a trusted proxy, or one on this machine, says of that, else how it came."""
        sent = headers.get(b"x-forwarded-proto", b"").decode("latin-1").strip().lower()
        host = _peer(scope)
        if sent in ("http", "https") and (host in LOOPBACK or self._is_trusted(host)):
            return sent
        return str(scope.get("scheme", "http"))

    def client(self, scope: Mapping[str, Any]) -> tuple[str, int] | None:
        """Who is at the other end: behind trusted proxies the last address before them, which they saw themselves."""
        peer: tuple[str, int] | None = scope.get("client")
        if not self._is_trusted(_peer(scope)):
            return peer
        sent = b",".join(_header(scope, b"x-forwarded-for")).decode("latin-1").split(",")
        for address in map(str.strip, reversed(sent)):
            if not _is_address(address):
                break
            peer = (address, 0)
            if not self._is_trusted(address):
                break
        return peer

    def base_url(self, scheme: str, host: str) -> str:
        """Where browsers reach us."""
        return self.settings.public_url or origin_of(scheme, host)

    def own_origins(self, scheme: str, headers: Mapping[bytes, bytes]) -> frozenset[str]:
        """Where our own pages are from."""
        here = origin_of(scheme, headers.get(b"host", b"").decode("latin-1"))
        public = self.settings.public_url.removesuffix(self.settings.prefix)
        return frozenset({here, public.lower()} - {""})

    def through_proxy(self, scope: Mapping[str, Any]) -> Known | None:
        """Who a trusted proxy says asks. Raises Unauthorized for headers that come twice."""
        proxy = self.settings.proxy
        if proxy is None:
            return None
        users = _header(scope, proxy.user_header)
        roles = _header(scope, proxy.roles_header)
        if not users and not roles:
            return None
        if not self._is_trusted(_peer(scope)):
            self._spoofed()
            return None
        if len(users) != 1 or len(roles) > 1:
            # One of two may be the client's own.
            raise Unauthorized("the proxy's headers about who asks have to come once each", guessed=False)
        user = users[0].decode("utf-8", "replace").strip()
        if not 0 < len(user) <= _NAME_MAX:
            raise Unauthorized("the proxy names nobody", guessed=False)
        named = roles[0].decode("utf-8", "replace").split(",") if roles else []
        return Known(f"proxy:{user}", user, tuple(value.strip() for value in named))

    def by_session(self, cookies: Mapping[str, str], scheme: str) -> Known | None:
        """Who has logged in with this browser."""
        session = self.session(cookies, scheme)
        return None if session is None else Known(f"oidc:{session.subject}", session.name, session.values)

    def session(self, cookies: Mapping[str, str], scheme: str) -> Session | None:
        """The session of this browser, where it is a good one."""
        cookie = cookies.get(cookie_name(SESSION_COOKIE, scheme))
        return None if cookie is None or self.sessions is None else self.sessions.session_of(cookie)

    def takes_bearer(self, token: str) -> bool:
        """Whether this may be an access token of the provider's."""
        oidc = self.settings.oidc
        return oidc is not None and bool(oidc.audience) and token.count(".") == 2

    async def by_bearer(self, token: str) -> Known:
        """Who an access token is of. Raises Unauthorized, Unavailable."""
        from spantree_api.people.provider import LoginRefused

        assert self.provider is not None  # noqa: S101  # takes_bearer says so
        try:
            return known_of(await self.provider.person_of_bearer(token))
        except LoginRefused as error:
            raise Unauthorized(f"the access token is not a good one: {error}", guessed=True) from error

    def grants(self, known: Known, tenants: Iterable[str]) -> list[Grant]:
        """What that person may, of the tenants that there are."""
        there = set(tenants)
        return [grant for grant in grants_of(known.values, self.settings.roles) if grant.tenant in there]

    def roles(self, known: Known) -> tuple[str, ...]:
        """Those of its values that mean something here."""
        return matching(known.values, self.settings.roles)

    def identity(self, known: Known, tenants: Mapping[str, int], chosen: str | None) -> Identity:
        """Who asks, for the tenant `chosen` where that is allowed, else the first. Raises Forbidden."""
        grants = self.grants(known, tenants)
        if not grants:
            raise Forbidden(
                f"{known.name} is known, and no role of that person allows anything here: SPANTREE_API_ROLES says "
                "which roles there are"
            )
        grant = next((one for one in grants if one.tenant == chosen), grants[0])
        return Identity(
            tenant_id=tenants[grant.tenant],
            tenant=grant.tenant,
            scope=grant.scope,
            person=known.person,
            person_name=known.name,
        )

    def _is_trusted(self, host: str) -> bool:
        return self.settings.proxy is not None and _is_within(host, self.settings.proxy)


def known_of(person: Person) -> Known:
    """Somebody whom the provider knows."""
    return Known(f"oidc:{person.subject}", person.name, person.values)


def cookie_name(name: str, scheme: str) -> str:
    """What a cookie is called; over https as no other host and no plain HTTP can have set it (RFC 6265bis, 4.1.3.2).

    Whoever has a host beside ours could otherwise log a browser in as himself. Such a cookie is of the path `/`.
    """
    return f"__Host-{name}" if scheme == "https" else name


def cookies_of(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """The cookies of a request; none of a header that is longer than ours make it."""
    sent = headers.get(b"cookie", b"")
    return cookie_parser(sent.decode("latin-1")) if len(sent) <= _COOKIES_MAX else {}


def _header(scope: Mapping[str, Any], wanted: bytes) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == wanted]


def _peer(scope: Mapping[str, Any]) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=1_000)
def _is_within(host: str, proxy: ProxySettings) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in proxy.networks)
