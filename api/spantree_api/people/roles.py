"""What a person may: values of a claim, or of a proxy's header, mapped to tenants and scopes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

PersonScope: TypeAlias = Literal["read", "admin"]
EVERYBODY: Final = "*"
DEFAULT_ROLES: Final = "spantree-read=default:read,spantree-admin=default:admin"


@dataclass(frozen=True, slots=True)
class Grant:
    """Something of a tenant that a role allows."""

    tenant: str
    scope: PersonScope


Roles: TypeAlias = Mapping[str, tuple[Grant, ...]]
"""By the value that a claim or header has; `*` is everybody who is known at all."""


def roles_of(text: str) -> Roles:
    """Read `VALUE=TENANT:SCOPE`, separated by commas, or by semicolons where one of these is in it.

    A value may hold commas and equal signs, as names of a directory do (`cn=ops,dc=example`). Raises ValueError.
    """
    found: dict[str, list[Grant]] = {}
    for part in filter(None, map(str.strip, text.split(";" if ";" in text else ","))):
        value, equals, grant = part.rpartition("=")
        tenant, colon, scope = grant.strip().partition(":")
        if not (equals and colon and value.strip() and tenant) or scope not in ("read", "admin"):
            raise ValueError(f'"{part[:80]}" is no role: wanted VALUE=TENANT:read or VALUE=TENANT:admin')
        found.setdefault(value.strip(), []).append(Grant(tenant, "admin" if scope == "admin" else "read"))
    if not found:
        raise ValueError("it names no role: wanted VALUE=TENANT:read or VALUE=TENANT:admin, separated by commas")
    return {value: tuple(grants) for value, grants in found.items()}


def matching(values: Iterable[str], roles: Roles) -> tuple[str, ...]:
    """Those of `values` that are roles, and `*` where it is one, in the order of `roles`."""
    held = {*values, EVERYBODY}
    return tuple(value for value in roles if value in held)


def grants_of(values: Iterable[str], roles: Roles) -> tuple[Grant, ...]:
    """What they allow: one grant a tenant, the widest, in the order of `roles`."""
    found: dict[str, Grant] = {}
    for value in matching(values, roles):
        for grant in roles[value]:
            if grant.tenant not in found or grant.scope == "admin":
                found[grant.tenant] = grant
    return tuple(found.values())


def values_of(claim: object) -> tuple[str, ...]:
    """The values of a claim: a list of texts, or one text with spaces or commas between them."""
    if isinstance(claim, str):
        return tuple(filter(None, claim.replace(",", " ").split()))
    if isinstance(claim, list):
        return tuple(value for value in claim if isinstance(value, str))
    return ()
