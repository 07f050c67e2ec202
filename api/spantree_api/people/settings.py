"""The settings of people, read out of the API's and checked whole. Reads nothing else."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from spantree_api.config import ApiConfig
from spantree_api.people.roles import Roles, roles_of
from spantree_exporter.errors import ConfigError
from spantree_exporter.origins import is_origin, origins_of
from spantree_exporter.setting_values import listed

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_HEADER: Final = re.compile(r"[a-z0-9-]+")
_SHORTEST_KEY: Final = 32
# A path after a host: names that need no quoting, and that no address resolves to something else.
_PREFIX: Final = re.compile(r"(?<=[^/:])(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)+$")
# How our own paths begin: below one of these nobody could tell whether a proxy took the prefix off.
_OWN_PATHS: Final = frozenset(
    {
        "account", "alerts", "api", "compare", "conversations", "executions", "failures", "healthz", "jaeger", "login",
        "logout", "metrics", "readyz", "runs", "static", "stuck", "system", "tempo", "usage", "workflows",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """A provider, and who we are there."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    scopes: str
    roles_claim: str
    audience: str
    """Of bearer tokens for the API; empty: none is taken."""


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Whose headers tell who asks."""

    networks: tuple[Network, ...]
    user_header: bytes
    roles_header: bytes


@dataclass(frozen=True, slots=True)
class PeopleSettings:
    """How people are known; neither way: they show tokens."""

    oidc: OidcSettings | None
    proxy: ProxySettings | None
    roles: Roles
    session_s: float
    session_key: str = field(repr=False)
    public_url: str
    """Where browsers find us: an origin, with `prefix` after it; empty: where they look."""
    prefix: str
    """The path below which we are there, such as /spantree; empty: the root."""
    cors_origins: tuple[str, ...]

    @property
    def are_known(self) -> bool:
        """Whether people are known otherwise than by tokens, so that nobody is answered who is nobody."""
        return self.oidc is not None or self.proxy is not None


def people_settings(config: ApiConfig) -> PeopleSettings:
    """Raises ConfigError with every fault at once."""
    faults: list[str] = []
    roles: Roles = {}
    try:
        roles = roles_of(config.roles)
    except ValueError as error:
        faults.append(f"SPANTREE_API_ROLES: {error}")
    if config.session_key and len(config.session_key) < _SHORTEST_KEY:
        faults.append(f"SPANTREE_API_SESSION_KEY is too short: wanted {_SHORTEST_KEY} random characters or more")
    public_url = config.public_url.rstrip("/")
    prefix = "".join(_PREFIX.findall(public_url))
    if public_url and not is_origin(public_url.removesuffix(prefix)):
        faults.append(
            f"SPANTREE_API_PUBLIC_URL is {config.public_url[:80]!r}: wanted scheme, host and port, such as "
            "https://spantree.example, and at most a path after it, such as /spantree"
        )
    elif not _OWN_PATHS.isdisjoint(prefix.split("/")[1:2]):
        faults.append(
            f"SPANTREE_API_PUBLIC_URL ends with {prefix[:80]!r}, as paths of spantree begin: wanted another name there"
        )
    origins: tuple[str, ...] = ()
    try:
        origins = origins_of(config.cors_origins)
    except ValueError as error:
        faults.append(f"SPANTREE_API_CORS_ORIGINS: {error}")
    oidc, proxy = _oidc(config, faults), _proxy(config, faults)
    if faults:
        raise ConfigError(faults)
    return PeopleSettings(oidc, proxy, roles, config.session_s, config.session_key, public_url, prefix, origins)


def is_safe(url: str) -> bool:
    """Whether what is said to `url` stays between the two: https, or this machine."""
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    except ValueError:
        return False


def _oidc(config: ApiConfig, faults: list[str]) -> OidcSettings | None:
    if not config.oidc_issuer:
        if config.oidc_client_id or config.oidc_client_secret:
            faults.append("SPANTREE_API_OIDC_CLIENT_ID or _SECRET is set, and SPANTREE_API_OIDC_ISSUER is not")
        return None
    if not is_safe(config.oidc_issuer) or urlsplit(config.oidc_issuer).query:
        faults.append(
            f"SPANTREE_API_OIDC_ISSUER is {config.oidc_issuer[:80]!r}: wanted the https URL of a provider "
            "(http only on this machine)"
        )
    if not config.oidc_client_id:
        faults.append("SPANTREE_API_OIDC_ISSUER is set, and SPANTREE_API_OIDC_CLIENT_ID is not: the provider gives one")
    if "openid" not in config.oidc_scopes.split():
        faults.append("SPANTREE_API_OIDC_SCOPES lacks openid, without which a provider does not say who logs in")
    return OidcSettings(
        config.oidc_issuer,
        config.oidc_client_id,
        config.oidc_client_secret,
        config.oidc_scopes,
        config.oidc_roles_claim,
        config.oidc_audience,
    )


def _proxy(config: ApiConfig, faults: list[str]) -> ProxySettings | None:
    networks: list[Network] = []
    for part in listed(config.trusted_proxies):
        try:
            networks.append(ipaddress.ip_network(part, strict=False))
        except ValueError:
            faults.append(
                f"SPANTREE_TRUSTED_PROXIES has {part[:80]!r}: wanted addresses or networks such as 10.0.0.0/24"
            )
    headers = (config.proxy_user_header.lower(), config.proxy_roles_header.lower())
    for name, header in zip(("USER", "ROLES"), headers, strict=True):
        if not _HEADER.fullmatch(header):
            faults.append(f"SPANTREE_API_PROXY_{name}_HEADER is {header[:80]!r}: wanted a header's name")
    if not networks:
        return None
    return ProxySettings(tuple(networks), headers[0].encode(), headers[1].encode())
