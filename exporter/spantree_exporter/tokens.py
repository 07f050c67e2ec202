"""Who may send and who may read: tenants, tokens, what a token allows. The checks are pure, `TokenBook` is the tables.

A token is `spt_` and 256 random bits. Only its SHA-256 is stored: of so many random bits nothing can be guessed from
that, so no slow hash is needed, and a lookup by the digest tells nothing by the time that it takes.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from types import TracebackType
from typing import Any, Final, Literal, Protocol, TypeAlias, get_args

import psycopg

from spantree_exporter.errors import OperatorError, classify, denied
from spantree_exporter.own_audit import write
from spantree_exporter.own_audit_event import Event, local_actor
from spantree_exporter.postgres.connection import connect
from spantree_exporter.postgres.row_security import guard_tables
from spantree_exporter.sql import statements

Scope: TypeAlias = Literal["ingest", "read", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
DEFAULT_TENANT: Final = 0
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
"""Where nobody but this machine can come from: no token is wanted until there is one."""

_SQL: Final = statements("tokens")
_PREFIX: Final = "spt_"
_RANDOM_BYTES: Final = 32
# What is shown in lists and names a token; 48 bits of it are random, so none is guessed from them.
_ID_CHARS: Final = len(_PREFIX) + 8
# Each is some 300 bytes in every process.
_TOKENS_MAX: Final = 100_000
# A token is 47 characters; a longer header is no token of ours and is not hashed.
_LONGEST: Final = 200


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a request comes from. `expires_ns` None: never."""

    tenant_id: int = DEFAULT_TENANT
    tenant: str = "default"
    scope: Scope = "admin"
    token_id: str = ""
    expires_ns: int | None = None
    spans_per_s_max: int | None = None
    spool_bytes_max: int | None = None
    person: str = ""
    """How somebody without a token is known, and the id there: `oidc:...`, `proxy:...`."""
    person_name: str = ""

    def may(self, wanted: Scope) -> bool:
        """Whether it is allowed what `wanted` names: admins may everything, the others what they are made for."""
        return self.scope == "admin" or self.scope == wanted


ANYONE: Final = Identity()
"""Who a request comes from where no token was ever made: one tenant, and everything is allowed."""


@dataclass(frozen=True, slots=True)
class KnownTokens:
    """All tokens that are good, by their digests, as they were at one moment."""

    by_digest: Mapping[bytes, Identity] = field(default_factory=dict)
    required: bool = False
    """Whether there has ever been a token: from then on nothing is answered without one."""
    tenants: Mapping[str, int] = field(default_factory=dict)
    """The number of each tenant that was not dropped, by its name."""
    many_senders: bool = field(init=False)
    """Whether more than one tenant has a token that sends. Known from the beginning, for requests ask it."""

    def __post_init__(self) -> None:
        senders = {identity.tenant_id for identity in self.by_digest.values() if identity.may("ingest")}
        object.__setattr__(self, "many_senders", len(senders) > 1)

    def identity_of(self, token: str | None, now_ns: int) -> Identity | None:
        """Whom `token` names; `ANYONE` where none is required and none is shown, None where it is refused."""
        if token is None:
            return None if self.required else ANYONE
        if len(token) > _LONGEST:
            return None
        identity = self.by_digest.get(digest_of(token))
        if identity is None or (identity.expires_ns is not None and identity.expires_ns <= now_ns):
            return None
        return identity


class Watch(Protocol):
    """What those who check tokens need of token_watch.TokenWatch."""

    known: KnownTokens | None
    failure: str
    """Why nothing is known; "" where nobody has looked yet."""

    def used(self, identity: Identity) -> None:
        """Note that it was used."""
        ...


def open_to_all(setting: str, host: str, scope: Scope) -> str:
    """The sentence that refuses to listen on a network while no token was made."""
    return (
        f"{setting} is {host}, and no token has been made: everybody who reaches it could use it; make one with "
        f'"spantree token create --scope {scope}", listen on 127.0.0.1, or say SPANTREE_INSECURE=true'
    )


def set_up_look(connection: psycopg.Connection[Any]) -> None:
    """Bound the statements of a connection that looks at tokens. Raises psycopg.Error."""
    connection.execute(_SQL["look_settings"])


def new_token() -> str:
    """A token nobody has had before."""
    return _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def digest_of(token: str) -> bytes:
    """What is stored of `token`."""
    return sha256(token.encode(errors="surrogatepass")).digest()


def bearer_of(authorization: str | None) -> str | None:
    """The token of an Authorization header: `Bearer TOKEN`, in any case; "" for another scheme, None for no header."""
    if authorization is None:
        return None
    scheme, _, token = authorization.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def load(connection: psycopg.Connection[Any]) -> KnownTokens:
    """What the tables say now; nothing where they are not there yet. Raises psycopg.Error."""
    try:
        rows = connection.execute(_SQL["tokens"], {"most": _TOKENS_MAX}).fetchall()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        # Not migrated: there are no tokens, and no rows to keep from anybody.
        return KnownTokens()
    by_digest = {
        digest: Identity(tenant_id, tenant, scope, token_id, expires_ns, spans_per_s_max, spool_bytes_max)
        for digest, token_id, tenant_id, tenant, scope, expires_ns, spans_per_s_max, spool_bytes_max in rows
    }
    found = True if by_digest else connection.execute(_SQL["any_token"]).fetchone() == (True,)
    tenants: dict[str, int] = dict(connection.execute(_SQL["tenant_numbers"], {"most": _TOKENS_MAX}).fetchall())
    return KnownTokens(by_digest, found, tenants)


def note_use(connection: psycopg.Connection[Any], token_ids: Iterable[str]) -> None:
    """Write down that these were used about now. Raises psycopg.Error."""
    connection.execute(_SQL["note_use"], {"token_ids": sorted(token_ids)})


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant, and how many of its tokens are good."""

    tenant_id: int
    name: str
    spans_per_s_max: int | None
    spool_bytes_max: int | None
    created_at: datetime
    tokens: int


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token; the token itself is not."""

    token_id: str
    tenant: str
    scope: Scope
    note: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class TokenBook:
    """Reads and changes tenants and tokens over one connection. Every method raises OperatorError with a sentence."""

    def __init__(self, database_url: str) -> None:
        """Raises psycopg.OperationalError where no connection can be made."""
        self._connection = connect(database_url, "spantree token")

    def __enter__(self) -> TokenBook:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()

    def add_tenant(self, name: str, spans_per_s_max: int | None = None, spool_bytes_max: int | None = None) -> int:
        """Its number."""
        limits: dict[str, object] = {"spans_per_s_max": spans_per_s_max, "spool_bytes_max": spool_bytes_max}
        return self._changed("add_tenant", limits | {"name": name}, name, "create", limits)

    def tenants(self) -> list[Tenant]:
        """All that are not dropped, in the order in which they were added."""
        return [Tenant(*row) for row in self._run("tenants")]

    def rename_tenant(self, name: str, new_name: str) -> None:
        """Rows keep their tenant: they carry its number."""
        self._changed("rename_tenant", {"name": name, "new_name": new_name}, name, "rename", {"name": new_name})

    def limit_tenant(self, name: str, spans_per_s_max: int | None, spool_bytes_max: int | None) -> None:
        """Set both limits; None lifts one."""
        limits: dict[str, object] = {"spans_per_s_max": spans_per_s_max, "spool_bytes_max": spool_bytes_max}
        self._changed("limit_tenant", limits | {"name": name}, name, "limit", limits)

    def drop_tenant(self, name: str) -> None:
        """Refuse its tokens from now on; what it has stored stays until retention takes it."""
        if name == "default":
            raise OperatorError('the tenant "default" cannot be dropped: it owns what came without a token')
        self._changed("drop_tenant", {"name": name}, name, "drop")

    def make_role(self, name: str) -> str:
        """The role of PostgreSQL whose members read this tenant's rows only, made where it is missing. Idempotent.

        The first one of all makes PostgreSQL forget its statistics of texts (sql/idempotent/008_row_security.sql).
        """
        tenant_id = self._tenant_of(name)
        with self._recorded(Event(local_actor(), "command", "create", tenant_id, "role")) as event:
            ((role,),) = self._run("make_role", {"name": name})
            event(object_id=str(role))
        with self._errors():
            guard_tables(self._connection)
        return str(role)

    def create_token(self, tenant: str, scope: Scope, expires_at: datetime | None = None, note: str = "") -> str:
        """The token, which nobody can see again."""
        tenant_id = self._tenant_of(tenant)
        token = new_token()
        details = {"scope": scope, "note": note, "expires_at": None if expires_at is None else expires_at.isoformat()}
        with self._recorded(
            Event(local_actor(), "command", "create", tenant_id, "token", token[:_ID_CHARS], details=details)
        ):
            self._run(
                "add_token",
                {
                    "token_id": token[:_ID_CHARS],
                    "tenant_id": tenant_id,
                    "scope": scope,
                    "digest": digest_of(token),
                    "note": note,
                    "expires_at": expires_at,
                },
            )
        return token

    def tokens(self) -> list[Token]:
        """All that were ever made, in that order."""
        return [Token(*row) for row in self._run("list_tokens")]

    def revoke_token(self, token_id: str) -> None:
        """Refuse it from now on: within seconds everywhere. Idempotent."""
        token_id = token_id[:_ID_CHARS]
        with self._recorded(Event(local_actor(), "command", "revoke", 0, "token", token_id)) as event:
            found = self._run("revoke_token", {"token_id": token_id})
            if not found:
                raise OperatorError(f'there is no token "{token_id}": "spantree token list" shows all')
            event(tenant_id=found[0][1])

    def _changed(
        self,
        statement: str,
        parameters: Mapping[str, object],
        name: str,
        action: str,
        details: Mapping[str, object] | None = None,
    ) -> int:
        with self._recorded(Event(local_actor(), "command", action, 0, "tenant", name, details=details or {})) as event:
            found = self._run(statement, parameters)
            if not found:
                raise self._unknown(name)
            event(tenant_id=found[0][0])
        return int(found[0][0])

    @contextmanager
    def _recorded(self, event: Event) -> Iterator[Callable[..., None]]:
        """A change and its line in the own audit, both or neither; what it yields completes the line."""
        told = event

        def change(**changes: Any) -> None:
            nonlocal told
            told = replace(told, **changes)

        with self._errors(), self._connection.transaction():
            yield change
            write(self._connection, told)

    def _tenant_of(self, name: str) -> int:
        found = self._run("tenant_of_name", {"name": name})
        if not found:
            raise self._unknown(name)
        return int(found[0][0])

    def _unknown(self, name: str) -> OperatorError:
        known = ", ".join(tenant.name for tenant in self.tenants())
        return OperatorError(f'there is no tenant "{name}": there are {known}; "spantree tenant add" adds one')

    def _run(self, statement: str, parameters: Mapping[str, object] | None = None) -> list[Any]:
        with self._errors():
            cursor = self._connection.execute(_SQL[statement], parameters)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.errors.UniqueViolation as error:
            raise OperatorError("a tenant of this name is there already") from error
        except psycopg.errors.CheckViolation as error:
            raise OperatorError(
                "a tenant's name is 1 to 63 lower-case letters, digits, - and _, and begins with one of the first two; "
                "its limits are above 0"
            ) from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise OperatorError(denied(error)) from error
        except psycopg.Error as error:
            raise OperatorError(str(classify(error))) from error
