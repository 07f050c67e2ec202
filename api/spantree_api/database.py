"""PostgreSQL as the API sees it: consistent, read-only snapshots out of a pool that heals by itself.

The pool opens without waiting, so the API starts, and stays up, while the database is away: a request then waits
`pool_wait_s` for a connection and is answered 503, and the next one tries anew.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString, TypeAlias, TypeVar

import psycopg
from psycopg import AsyncConnection, AsyncCursor, IsolationLevel
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from spantree_api.config import ApiConfig
from spantree_api.errors import InvalidParameter, Unavailable
from spantree_api.statements import load_statements
from spantree_exporter.errors import BatchRejected, StoreUnavailable, classify

_QUERY_CANCELED = "57014"
# The pool doubles its pause after each failed attempt; giving up early lets the next request try at once instead.
_RECONNECT_TIMEOUT_S = 3.0
_CONNECT_TIMEOUT_S = "5"
# Rows taken from a large result at once: some 20 ms of the event loop.
_STREAM_ROWS = 2_000

Row = TypeVar("Row")
# Given a result's column names: the function that makes a row of the values, in their order.
RowMaker: TypeAlias = Callable[[Sequence[str]], Callable[[Sequence[Any]], Row]]


class Snapshot:
    """One read-only transaction: everything read through it is of one moment."""

    def __init__(self, connection: AsyncConnection[Any], statements: Mapping[str, LiteralString]) -> None:
        self._connection = connection
        self._statements = statements

    async def all(
        self, statement: str, parameters: Mapping[str, object], make: RowMaker[Row], *, prepare: bool = False
    ) -> list[Row]:
        """Every row of the named statement. `prepare`: plan it once a connection, for statements of one shape."""
        async with self._connection.cursor(row_factory=_factory(make)) as cursor:
            await cursor.execute(self._statements[statement], parameters, prepare=prepare)
            return await cursor.fetchall()

    async def first(
        self, statement: str, parameters: Mapping[str, object], make: RowMaker[Row], *, prepare: bool = False
    ) -> Row | None:
        """The first row of the named statement, None when it has none."""
        async with self._connection.cursor(row_factory=_factory(make)) as cursor:
            await cursor.execute(self._statements[statement], parameters, prepare=prepare)
            return await cursor.fetchone()

    async def chunks(
        self, statement: str, parameters: Mapping[str, object], make: RowMaker[Row]
    ) -> AsyncIterator[list[Row]]:
        """The rows of the named statement in lists of bounded length, never all of them at once."""
        async with self._connection.cursor("chunks", row_factory=_factory(make)) as cursor:
            await cursor.execute(self._statements[statement], parameters)
            while rows := await cursor.fetchmany(_STREAM_ROWS):
                yield rows


class Database:
    """The pool. Open it in the server's event loop, close it when the server stops."""

    def __init__(self, config: ApiConfig) -> None:
        self._statement_timeout_ms = config.statement_timeout_ms
        self._pool_wait_s = config.pool_wait_s
        self._statements = load_statements()
        self._pool: AsyncConnectionPool[AsyncConnection[Any]] = AsyncConnectionPool(
            config.database_url,
            kwargs={
                "application_name": "spantree-api",
                "client_encoding": "UTF8",
                "connect_timeout": _CONNECT_TIMEOUT_S,
                "options": f"-c statement_timeout={config.statement_timeout_ms} -c TimeZone=UTC",
                # Lists have optional filters: only a plan made for their values leaves the unused ones out.
                "prepare_threshold": None,
            },
            min_size=1,
            max_size=config.pool_max,
            timeout=config.pool_wait_s,
            reconnect_timeout=_RECONNECT_TIMEOUT_S,
            configure=_configure,
            check=AsyncConnectionPool.check_connection,
            open=False,
            name="spantree-api",
        )

    async def open(self) -> None:
        """Start connecting. Returns at once, whether the database is there or not."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    @asynccontextmanager
    async def snapshot(self, wait_s: float | None = None) -> AsyncIterator[Snapshot]:
        """A read-only transaction at REPEATABLE READ.

        Raises Unavailable when no connection comes within `wait_s` (default: the setting), when a statement takes
        longer than its timeout or the database goes away; InvalidParameter when it refuses a parameter.
        """
        try:
            async with self._pool.connection(timeout=wait_s) as connection, connection.transaction():
                yield Snapshot(connection, self._statements)
        except PoolTimeout as error:
            waited_s = self._pool_wait_s if wait_s is None else wait_s
            raise Unavailable(
                "database_unavailable",
                f"no connection to PostgreSQL within {waited_s:g} s: it is away or every connection is busy; try again",
            ) from error
        except psycopg.Error as error:
            raise self._told(error) from error

    def _told(self, error: psycopg.Error) -> Unavailable | InvalidParameter:
        if error.sqlstate == _QUERY_CANCELED:
            return Unavailable(
                "query_timeout",
                f"the query took longer than {self._statement_timeout_ms} ms: narrow it down, "
                "for example with since and until",
            )
        reason = classify(error)
        if isinstance(reason, StoreUnavailable):
            return Unavailable("database_unavailable", f"PostgreSQL is away or overloaded: {_line(error)}; try again")
        if isinstance(reason, BatchRejected):
            return InvalidParameter("unknown", f"PostgreSQL refuses a value of the request: {_line(error)}")
        return Unavailable(
            "database_not_ready",
            f'PostgreSQL is not set up for spantree ({error.sqlstate}: {_line(error)}): run "spantree migrate"',
        )


async def _configure(connection: AsyncConnection[Any]) -> None:
    await connection.set_autocommit(True)
    await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
    await connection.set_read_only(True)


def _factory(make: RowMaker[Row]) -> Callable[[AsyncCursor[Any]], Callable[[Sequence[Any]], Row]]:
    def of_cursor(cursor: AsyncCursor[Any]) -> Callable[[Sequence[Any]], Row]:
        return make([column.name for column in cursor.description or ()])

    return of_cursor


def _line(error: psycopg.Error) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
