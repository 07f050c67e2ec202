"""Looking at dead letters, trying them again, dropping them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg.rows import class_row

from spantree_deploy.sql import statements
from spantree_deploy.tenants import tenant_id_of
from spantree_exporter.errors import BatchRejected, MalformedRequest, SpantreeError, classify
from spantree_exporter.otlp.signals import decode_body
from spantree_exporter.own_audit import write
from spantree_exporter.own_audit_event import Event, local_actor
from spantree_exporter.postgres.connection import connect
from spantree_exporter.postgres.migrate import check_version
from spantree_exporter.postgres.store import Store
from spantree_exporter.stored import NUL_SIGN

_SQL: Final = statements("dead_letters")
_PAGE: Final = 50
_DIGEST_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter as it is listed; times are UTC nanoseconds."""

    digest: bytes
    cause: str
    encoding: str
    count: int
    received_ns: int
    last_received_ns: int
    bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class WholeLetter(Letter):
    """A letter with what was sent."""

    raw: bytes


@dataclass(frozen=True, slots=True)
class Cause:
    """The letters of one cause together."""

    cause: str
    letters: int
    count: int
    bytes: int


@dataclass(slots=True)
class Retried:
    """What came of trying letters again: `spans` are new rows, `passed` and `kept` are letters."""

    passed: int = 0
    kept: int = 0
    spans: int = 0


class DeadLetterBox:
    """The dead letters of one tenant. Every method raises StoreUnavailable or OperatorError."""

    def __init__(self, database_url: str, connection: psycopg.Connection[Any], tenant_id: int) -> None:
        self._database_url = database_url
        self._connection = connection
        self._tenant_id = tenant_id

    def listed(self, cause: str | None, letters: int) -> list[Letter]:
        """The newest, of one cause or of all."""
        with _errors(), self._connection.cursor(row_factory=class_row(Letter)) as cursor:
            return cursor.execute(_SQL["listed"], self._asked(cause=cause, letters=letters)).fetchall()

    def causes(self) -> list[Cause]:
        """What there is of each cause."""
        with _errors(), self._connection.cursor(row_factory=class_row(Cause)) as cursor:
            return cursor.execute(_SQL["causes"], self._asked()).fetchall()

    def one(self, digest: str) -> WholeLetter:
        """The letter whose digest begins with these hex digits. Raises SpantreeError where none or several do."""
        try:
            start = bytes.fromhex(digest if len(digest) % 2 == 0 else digest + "0")
        except ValueError:
            raise SpantreeError(f'"{digest}" is no digest: wanted hex digits, as `dead-letter list` shows') from None
        if not start or len(start) > _DIGEST_BYTES:
            raise SpantreeError(f'"{digest}" is no digest: wanted 1 to 64 hex digits, as `dead-letter list` shows')
        last = bytearray(start.ljust(_DIGEST_BYTES, b"\xff"))
        if len(digest) % 2:
            last[len(start) - 1] |= 0x0F
        first = start.ljust(_DIGEST_BYTES, b"\x00")
        with _errors(), self._connection.cursor(row_factory=class_row(WholeLetter)) as cursor:
            found = cursor.execute(_SQL["found"], self._asked(first=first, last=bytes(last))).fetchall()
        if not found:
            raise SpantreeError(f"no dead letter begins with {digest}")
        if len(found) > 1:
            raise SpantreeError(f"several dead letters begin with {digest}: give more digits")
        return found[0]

    def drop(self, letter: Letter) -> None:
        """Delete one."""
        with _errors(), self._connection.transaction():
            came = self._asked(digest=letter.digest, last_received_ns=letter.last_received_ns)
            self._connection.execute(_SQL["delete"], came)
            self._record("drop", letter.digest.hex())

    def drop_all(self, cause: str | None) -> int:
        """Delete all, or all of a cause; how many."""
        with _errors(), self._connection.transaction():
            count = self._connection.execute(_SQL["delete_all"], self._asked(cause=cause)).rowcount
            self._record("drop", None, {"cause": cause, "letters": count})
            return count

    def all(self, cause: str | None) -> Iterator[WholeLetter]:
        """Every letter, of one cause or of all, in order of the digest."""
        digest = b""
        while True:
            with _errors(), self._connection.cursor(row_factory=class_row(WholeLetter)) as cursor:
                asked = self._asked(digest=digest, cause=cause, letters=_PAGE)
                page = cursor.execute(_SQL["after"], asked).fetchall()
            yield from page
            if len(page) < _PAGE:
                return
            digest = page[-1].digest

    def _asked(self, **values: object) -> dict[str, object]:
        return {"tenant_id": self._tenant_id, **values}

    def _record(self, action: str, digest: str | None, details: dict[str, Any] | None = None) -> None:
        event = Event(local_actor(), "command", action, self._tenant_id, "dead_letter", digest, details=details or {})
        write(self._connection, event)

    def retry(self, letters: Iterator[WholeLetter], open_store: Callable[[str], Store]) -> Retried:
        """Read and write `letters` again, as if they came now; what passes is dropped, the rest keeps its reason.

        Each is written before it is dropped, so one that is interrupted is written again, which changes nothing.
        """
        done = Retried()
        store = open_store(self._database_url)
        try:
            for letter in letters:
                self._retry(letter, store, done)
        finally:
            store.close()
        return done

    def _retry(self, letter: WholeLetter, store: Store, done: Retried) -> None:
        try:
            decoded = decode_body(letter.raw, letter.encoding, letter.received_ns)
            if decoded.dead and not decoded.items:
                reason, cause = decoded.dead[0].reason, decoded.dead[0].cause
            else:
                # Of a body that is readable now, what is still unusable becomes letters of its own.
                written = store.write(decoded.items, decoded.dead, tenant_id=self._tenant_id)
                done.spans += written.spans + written.log_records
                self.drop(letter)
                done.passed += 1
                return
        except MalformedRequest as error:
            reason, cause = f"the body cannot be decoded: {error}", "body"
        except BatchRejected as error:
            reason, cause = str(error), "refused"
        except KeyError:
            reason, cause = f"this build does not know the encoding {letter.encoding}; a newer one may", letter.cause
        done.kept += 1
        with _errors():
            noted = self._asked(digest=letter.digest, reason=reason.replace("\x00", NUL_SIGN), cause=cause)
            self._connection.execute(_SQL["note_reason"], noted)


@contextmanager
def box_of(database_url: str, tenant: str) -> Iterator[DeadLetterBox]:
    """The dead letters of the tenant of this name, in a database of this build's schema.

    Raises StoreUnavailable, OperatorError; SpantreeError where there is no such tenant.
    """
    with _errors():
        connection = connect(database_url, "spantree dead-letter")
    with connection:
        with _errors():
            check_version(connection)
            tenant_id = tenant_id_of(connection, tenant)
        yield DeadLetterBox(database_url, connection, tenant_id)


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise classify(error) from error
