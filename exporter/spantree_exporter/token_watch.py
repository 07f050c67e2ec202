"""The tokens of the database in this process's memory, looked at again every other second by a thread of its own.

A request is then checked without asking PostgreSQL, whatever it shows; what was revoked is refused some seconds later,
everywhere. While PostgreSQL is away the last state goes on to hold; with a file it outlives a restart, too (digests
only, readable by this account alone).
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any, Final

import psycopg

from spantree_exporter.errors import OperatorError
from spantree_exporter.postgres.connection import connect
from spantree_exporter.postgres.session import without_address
from spantree_exporter.tokens import Identity, KnownTokens, load, note_use, set_up_look

log = logging.getLogger(__name__)

INTERVAL_S: Final = 2.0
_NOTE_USE_S: Final = 60.0
_LOG_INTERVAL_S: Final = 60.0
_CONNECT_TIMEOUT_S: Final = 5
# Beyond the limit of its statements.
_ANSWER_WITHIN_S: Final = 15.0


class TokenWatch:
    """`known` is what the database said last; None until it said anything. Any thread may use it.

    `standby_url` is looked at while `database_url` is away.
    """

    def __init__(
        self, database_url: str, path: Path | None = None, interval_s: float = INTERVAL_S, standby_url: str = ""
    ) -> None:
        self._database_url = database_url
        self._standby_url = standby_url
        self._path = path
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._looked = threading.Condition()
        self._looks = 0
        self._used: set[str] = set()
        self._used_lock = threading.Lock()
        self._noted_at_s = time.monotonic()
        self._logged_at_s = float("-inf")
        self._thread = threading.Thread(target=self._run, name="spantree-tokens", daemon=True)
        self.failure = ""
        self.known: KnownTokens | None = None if path is None else _read(path)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End. Idempotent."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(self._interval_s + _CONNECT_TIMEOUT_S)

    def wait_for_first_look(self, timeout_s: float) -> None:
        """Wait, for at most so long, until it has looked once, successfully or not."""
        with self._looked:
            self._looked.wait_for(lambda: self._looks > 0, timeout_s)

    def used(self, identity: Identity) -> None:
        """Note that it was used, for `last_used_at`."""
        if identity.token_id:
            with self._used_lock:
                self._used.add(identity.token_id)

    def _run(self) -> None:
        connection: psycopg.Connection[Any] | None = None
        while True:
            try:
                if connection is None or connection.closed:
                    connection = _connect(self._database_url)
                self._look(connection)
            except (psycopg.Error, OperatorError) as error:
                if connection is not None:
                    connection.close()
                self._complain(error)
                self._look_at_standby()
            with self._looked:
                self._looks += 1
                self._looked.notify_all()
            if self._stop.wait(self._interval_s):
                break
        if connection is not None:
            connection.close()

    def _look_at_standby(self) -> None:
        if self._standby_url:
            try:
                with contextlib.closing(_connect(self._standby_url)) as connection:
                    self._note(load(connection))
            except (psycopg.Error, OperatorError) as error:
                self._complain(error)

    def _note(self, known: KnownTokens) -> None:
        if known != self.known:
            self.known = known
            if self._path is not None:
                _write(self._path, known)

    def _look(self, connection: psycopg.Connection[Any]) -> None:
        self._note(load(connection))
        if time.monotonic() - self._noted_at_s >= _NOTE_USE_S:
            with self._used_lock:
                used, self._used = self._used, set()
            if used:
                note_use(connection, used)
            self._noted_at_s = time.monotonic()

    def _complain(self, error: psycopg.Error | OperatorError) -> None:
        self.failure = without_address(error)
        # That PostgreSQL is away is told by those whose work stands still.
        if time.monotonic() - self._logged_at_s >= _LOG_INTERVAL_S:
            self._logged_at_s = time.monotonic()
            log.info("tokens cannot be looked at now, the last ones go on to hold: %s", str(error).partition("\n")[0])


def _connect(database_url: str) -> psycopg.Connection[Any]:
    connection = connect(
        database_url, "spantree-tokens", answer_within_s=_ANSWER_WITHIN_S, connect_timeout=_CONNECT_TIMEOUT_S
    )
    try:
        set_up_look(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _write(path: Path, known: KnownTokens) -> None:
    content = {
        "required": known.required,
        "tenants": dict(known.tenants),
        "tokens": [
            [
                base64.b64encode(digest).decode(), one.tenant_id, one.tenant, one.scope, one.token_id, one.expires_ns,
                one.spans_per_s_max, one.spool_bytes_max,
            ]
            for digest, one in known.by_digest.items()
        ],
    }  # fmt: skip
    new = path.with_name(f"{path.name}.new")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file)
        new.replace(path)
    except OSError as error:
        log.warning("%s cannot be written (%s): after a restart without PostgreSQL tokens are not known", path, error)


def _read(path: Path) -> KnownTokens | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(path.read_text())
        by_digest = {base64.b64decode(digest): Identity(*rest) for digest, *rest in content["tokens"]}
        # A file of a version before has no tenants: they are known with the first look.
        return KnownTokens(by_digest, content["required"], dict(content.get("tenants", {})))
    return None
