"""One connection to PostgreSQL, opened when first needed and again after it broke, set up for writes."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final, LiteralString

import orjson
import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import set_json_loads

from spantree_exporter.errors import OperatorError, classify
from spantree_exporter.postgres.distribution import check_coordinator
from spantree_exporter.postgres.partitions import PartitionDays, PartitionWindow, days_to_keep_ready
from spantree_exporter.postgres.patience import PatientConnection
from spantree_exporter.postgres.session import PRIMARY_FIRST, any_server_is_next, begin, primary_first
from spantree_exporter.sql import statements
from spantree_exporter.trace_key import TraceKey, key_arrays

log = logging.getLogger(__name__)

KEEPALIVES: Final = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""They find a server that vanished without a word in about a minute instead of two hours; a URL may override them."""
# What a URL may override. A standby that took a primary's address is no place to write to.
_DEFAULTS: Final[dict[str, str | int]] = {
    "connect_timeout": 10,
    **PRIMARY_FIRST,
    # Whatever PGCLIENTENCODING or the locale say.
    "client_encoding": "UTF8",
    **KEEPALIVES,
}
_STATEMENT_TIMEOUT: Final = "60s"
# Beyond the limit of a statement.
_ANSWER_WITHIN_S: Final = 90.0
_LOCK_TIMEOUT: Final = "10s"
_KEEP_AHEAD_INTERVAL_S: Final = 3600.0
_KEEP_AHEAD_RETRY_S: Final = 60.0
_SQL: Final = statements("connect")
_SETTINGS: Final = _SQL["settings"]
# A worker sorts the ids anew for each trace that it looks up, so that the work grows with the square of their number.
_SHARD_IDS: Final = 500


def connect(
    database_url: str, application_name: str, *, answer_within_s: float | None = None, **settings: Any
) -> psycopg.Connection[Any]:
    """A connection in autocommit mode for one command; `settings` are psycopg's. Raises psycopg.Error, OperatorError.

    Of several servers to the one that takes writes, where there is one.
    """
    given = conninfo_to_dict(database_url)
    settings = {
        **{name: value for name, value in KEEPALIVES.items() if name not in given},
        "autocommit": True,
        "client_encoding": "UTF8",
        "application_name": application_name,
        **settings,
    }

    def attempt() -> PatientConnection:
        try:
            return PatientConnection.connect(database_url, **primary_first(database_url), **settings)
        except psycopg.OperationalError as error:
            if not any_server_is_next(error):
                raise
            return PatientConnection.connect(database_url, **settings)

    connection = begin(attempt)
    connection.answer_within_s = answer_within_s
    return connection


class StoreConnection:
    """A connection that reopens, and what is true for one connection only: temporary tables, partitions it knows."""

    def __init__(self, database_url: str, application_name: str, window: PartitionWindow | None = None) -> None:
        self.days = PartitionDays(window or PartitionWindow())
        self._database_url = database_url
        self._application_name = application_name
        self._connection: psycopg.Connection[Any] | None = None
        self._temporary: set[str] = set()
        self._keep_ahead_at_s = 0.0
        self._on_citus = False

    def open(self) -> psycopg.Connection[Any]:
        """The open connection, in autocommit mode. Raises psycopg.Error, OperatorError."""
        if self._connection is not None and not self._connection.closed:
            return self._connection
        self.close()
        given = conninfo_to_dict(self._database_url)
        settings: dict[str, Any] = {name: value for name, value in _DEFAULTS.items() if name not in given}
        settings.setdefault("application_name", given.get("application_name") or self._application_name)
        connection = begin(lambda: PatientConnection.connect(self._database_url, autocommit=True, **settings))
        connection.answer_within_s = _ANSWER_WITHIN_S
        limits = {"statement_timeout": _STATEMENT_TIMEOUT, "lock_timeout": _LOCK_TIMEOUT}
        *_, self._on_citus = connection.execute(_SETTINGS, limits).fetchone() or (False,)
        set_json_loads(orjson.loads, connection)
        self._connection = connection
        return connection

    @property
    def on_citus(self) -> bool:
        """Whether the database of the open connection has Citus."""
        return self._on_citus

    def close(self) -> None:
        """Close; the next `open` opens a new one."""
        connection, self._connection = self._connection, None
        self._temporary.clear()
        self.days.forget()
        self._keep_ahead_at_s = 0.0
        if connection is not None:
            connection.close()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn psycopg's errors into ours; a connection that broke is closed, so that the next use opens another."""
        try:
            yield
        except psycopg.Error as error:
            if self._connection is not None and self._connection.broken:
                self.close()
            ours = classify(error)
            if error.sqlstate in ("42P01", "3F000", "42883"):  # undefined table, schema, function
                with suppress(psycopg.Error):
                    check_coordinator(self.open())
                raise OperatorError(f'{ours}; if the schema is not there, run "spantree migrate"') from error
            raise ours from error

    def trace_keys(self, keys: Iterable[TraceKey]) -> dict[str, Any]:
        """`key_arrays` of `keys` for a look-up of distributed rows, with `shard_ids`.

        Citus asks those shards alone that a condition names by its values; a join with a list of traces asks every one,
        and fails while any worker is away. None, of which no plan has anything, on plain PostgreSQL and for many.
        """
        arrays = key_arrays(keys)
        ids = arrays["trace_ids"]
        return arrays | {"shard_ids": ids if self._on_citus and len(ids) <= _SHARD_IDS else None}

    def temporary_table(self, name: str, create: LiteralString) -> None:
        """Create the temporary table `name` by the statement `create`, once a connection; inside a transaction."""
        if name not in self._temporary:
            self.open().execute(create)

    def temporary_tables_kept(self, names: Iterable[str]) -> None:
        """Note, after the commit, that these temporary tables exist from now on."""
        self._temporary.update(names)

    def place_days(self, days: Collection[int]) -> dict[int, int]:
        """Day -> the day whose partition takes its rows (PartitionDays.place); now and then those to come are made.

        Outside of a transaction: making partitions commits on its own. Raises psycopg.Error only for `days`.
        """
        connection = self.open()
        placed = self.days.place(connection, days)
        if time.monotonic() >= self._keep_ahead_at_s:
            self._keep_ahead(connection)
        return placed

    def _keep_ahead(self, connection: psycopg.Connection[Any]) -> None:
        ahead = days_to_keep_ready(datetime.now(UTC))
        try:
            self.days.make(connection, ahead)
        except psycopg.errors.LockNotAvailable:
            # Nothing needs them yet, and a batch of today must not wait for a lock that somebody holds on the tables.
            log.info("making partitions ahead is put off: the tables are locked by somebody")
            self._keep_ahead_at_s = time.monotonic() + _KEEP_AHEAD_RETRY_S
        else:
            self._keep_ahead_at_s = time.monotonic() + _KEEP_AHEAD_INTERVAL_S
