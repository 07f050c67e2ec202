"""How long an answer of PostgreSQL is waited for where nothing else ends the wait.

A server whose machine is gone is found by TCP. One that is stuck, or a balancer or pooler that goes on to hold a
connection whose other end is gone, is found by nothing: psycopg waits for ever. The server ends each statement in time
(`statement_timeout`), so that an answer which takes much longer will not come.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

import psycopg

# From psycopg 3.3 on; with an older one answers are waited for without a limit.
HAS_LIMIT: Final = "timeout" in inspect.signature(psycopg.Connection.wait).parameters


class NoAnswer(psycopg.OperationalError):
    """The server, or what is before it, holds a connection and does not answer."""

    def __init__(self, within_s: float) -> None:
        super().__init__(
            f"no answer for {within_s:g} s on a connection that is open: the server, or a pooler or balancer before "
            "it, is stuck"
        )


class PatientConnection(psycopg.Connection[Any]):
    """A connection that is given up where an answer takes longer than `answer_within_s`; None: it may take any time."""

    answer_within_s: float | None = None

    @classmethod
    def connect(cls, conninfo: str = "", **settings: Any) -> Self:
        """As psycopg's. Raises psycopg.Error, also where this process may have no more files open."""
        try:
            return super().connect(conninfo, **settings)
        except OSError as error:
            raise psycopg.OperationalError(f"no connection can be opened: {error.strerror or error}") from error

    def wait(self, gen: Any, *arguments: Any, **more: Any) -> Any:
        """As psycopg's. Raises OperationalError where it takes too long; the connection is broken then."""
        if self.answer_within_s is None or not HAS_LIMIT:
            return super().wait(gen, *arguments, **more)
        try:
            return super().wait(gen, *arguments, **{"timeout": self.answer_within_s, **more})
        except psycopg.errors._WaitTimeout as error:
            self.pgconn.finish()
            raise NoAnswer(self.answer_within_s) from error


@contextmanager
def any_time(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Around statements that may take any time."""
    if not isinstance(connection, PatientConnection):
        yield
        return
    within_s, connection.answer_within_s = connection.answer_within_s, None
    try:
        yield
    finally:
        connection.answer_within_s = within_s
