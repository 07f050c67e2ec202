"""PostgreSQL as the API sees it: consistent, read-only snapshots out of a pool that heals by itself.

The pool opens without waiting, so the API starts, and stays up, while the database is away: a request then waits
`pool_wait_s` for a connection and is answered 503, and the next one tries anew.

Round trips: BEGIN is sent together with the first statement and shows whether the connection is alive, so nothing is
asked of it before; statements that do not need each other's answers go together; COMMIT is one more.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from copy import copy
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar
from weakref import WeakSet

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import PipelineStatus
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from spantree_api.config import ApiConfig
from spantree_api.errors import InvalidParameter, Unavailable
from spantree_api.pooled_connection import Attempts, PooledConnection
from spantree_api.statements import Name, Statements, load_statements
from spantree_exporter.errors import BatchRejected, StoreUnavailable, WorkerUnavailable, classify
from spantree_exporter.postgres.connection import KEEPALIVES
from spantree_exporter.postgres.session import primary_first

_QUERY_CANCELED = "57014"
# What reads one moment, or writes at READ COMMITTED, never meets it otherwise: a standby gave the read up, or its
# connection, because it stood in the way of what the primary had done (ProcessRecoveryConflictInterrupt).
_RECOVERY_CONFLICT = "40001"
_READ_ONLY = "25006"
_NOT_SUPPORTED = "0A000"
# BEGIN READ WRITE is refused on a standby as a setting that cannot be had.
_OF_A_SETTING = "guc.c"
# The pool doubles its pause after each failed attempt; giving up early lets the next request try at once instead.
_RECONNECT_TIMEOUT_S = 3.0
_CONNECT_TIMEOUT_S = "5"
# Beyond the timeout of statements: a server that has not answered then does not do anything at all.
_SILENT_S = 5.0
# More of them, each with its timeout, go to the server at once nowhere.
_STATEMENTS_TOGETHER = 10
_A_WORKER = (
    "this is a worker of a Citus cluster, wanted the coordinator, which alone has the queues and the figures: name the "
    "coordinator in SPANTREE_DATABASE_URL or SPANTREE_API_DATABASE_URL"
)
# Rows taken from a large result at once: some 20 ms of the event loop.
_STREAM_ROWS = 2_000

Row = TypeVar("Row")
# Given a result's column names: the function that makes a row of the values, in their order.
RowMaker: TypeAlias = Callable[[Sequence[str]], Callable[[Sequence[Any]], Row]]


@dataclass(frozen=True, slots=True)
class Query(Generic[Row]):
    """A statement, or parts of one, with its parameters and what its rows become."""

    statement: Name
    parameters: Mapping[str, object]
    make: RowMaker[Row]


# Statements that take the first few rows of each of some traces. Citus asks every shard for the first few, which is
# right here, for a trace is on one shard, and wrong elsewhere, so that it has to be told for each (docs/adr/015). Of
# lists the parts that look spans up: each shard then walks as many executions as all together otherwise, and what is
# found further back is found all the same.
_FEW_OF_EACH = frozenset(
    {
        "new_nodes",
        "changed_matching_attribute",
        "conversation_sums",
        "conversations_with_later_turns",
        "next_nodes",
        "next_spans",
        "nodes_asked",
        "nodes_that_answered",
        "failure_group_examples",
        "failed_nodes_of_traces",
        "later_of_conversations",
        "where_matching",
        "parents_of_traces",
        "attributes_of_traces",
        "roots_of_traces",
        "where_span_attribute",
    }
)
# Statements that take the newest of how many there may be of something, which an index gives in their order. Of one
# conversation or workflow PostgreSQL expects as few as of others: it would read all of them, and sort.
IN_ORDER: Final = frozenset(
    {
        "alert_figures",
        "conversation_sums",
        "health",
        "last_good_before",
        "later_of_conversations",
        "of_turns",
        "recent_executions",
        "same_cause",
    }
)


def is_in_order(statement: Name, parameters: Mapping[str, object]) -> bool:
    """Whether a statement is one of IN_ORDER, or a list that begins within a day."""
    parts = _parts(statement)
    return not IN_ORDER.isdisjoint(parts) or ("in_order" in parts and bool(parameters["from_inside"]))


def _parts(statement: Name) -> Sequence[str]:
    return (statement,) if isinstance(statement, str) else statement


class Snapshot:
    """One read-only transaction: everything read through it is of one moment, until it is renewed.

    `opened` are the rows of the query that it was opened with.
    """

    def __init__(
        self,
        connection: AsyncConnection[Any],
        statements: Statements,
        opened: list[Any],
        tenant_id: int | None,
        *,
        on_citus: bool = False,
    ) -> None:
        self._connection = connection
        self._statements = statements
        self._tenant_id = tenant_id
        self._on_citus = on_citus
        self._begins_anew = False
        self.opened = opened

    async def all(self, statement: Name, parameters: Mapping[str, object], make: RowMaker[Row]) -> list[Row]:
        """Every row of the named statement."""
        if self._begins_anew or is_in_order(statement, parameters):
            return (await self.together(Query(statement, parameters, make)))[0]
        async with self._connection.cursor(row_factory=_factory(make)) as cursor:
            async with self._told_apart(statement, parameters):
                await cursor.execute(self._statements[statement], parameters)
            return await cursor.fetchall()

    async def first(self, statement: Name, parameters: Mapping[str, object], make: RowMaker[Row]) -> Row | None:
        """The first row of the named statement, None when it has none."""
        if self._begins_anew or is_in_order(statement, parameters):
            return next(iter(await self.all(statement, parameters, make)), None)
        async with self._connection.cursor(row_factory=_factory(make)) as cursor:
            await cursor.execute(self._statements[statement], parameters)
            return await cursor.fetchone()

    async def together(self, *queries: Query[Any]) -> list[list[Any]]:
        """Every row of each query, in order, for one round trip."""
        cursors: list[AsyncCursor[Any]] = []
        async with self._connection.pipeline():
            if self._begins_anew:
                await self._begin_anew()
            for query in queries:
                cursor = self._connection.cursor(row_factory=_factory(query.make))
                cursors.append(cursor)
                async with self._told_apart(query.statement, query.parameters):
                    await cursor.execute(self._statements[query.statement], query.parameters)
        return [await cursor.fetchall() for cursor in cursors]

    async def chunks(
        self, statement: Name, parameters: Mapping[str, object], make: RowMaker[Row], rows_at_once: int = _STREAM_ROWS
    ) -> AsyncGenerator[list[Row], None]:
        """The rows of the named statement in lists of bounded length, never all of them at once."""
        if self._begins_anew:
            await self.together()
        async with self._connection.cursor("chunks", row_factory=_factory(make)) as cursor:
            async with self._told_apart(statement, parameters):
                await cursor.execute(self._statements[statement], parameters)
            while rows := await cursor.fetchmany(rows_at_once):
                yield rows

    @asynccontextmanager
    async def _told_apart(self, statement: Name, parameters: Mapping[str, object]) -> AsyncIterator[None]:
        """Around a statement of _FEW_OF_EACH or IN_ORDER: PostgreSQL is told that it is one, and the next is none."""
        few_of_each = self._on_citus and not _FEW_OF_EACH.isdisjoint(_parts(statement))
        in_order = is_in_order(statement, parameters)
        if few_of_each:
            await self._connection.execute(self._statements["push_limits"], {"pushed": "on"})
        if in_order:
            await self._connection.execute(self._statements["allow_sort"], {"allowed": "off"})
        yield
        if in_order:
            await self._connection.execute(self._statements["allow_sort"], {"allowed": "on"})
        if few_of_each:
            await self._connection.execute(self._statements["push_limits"], {"pushed": "off"})

    def renew(self) -> None:
        """Go on in a new transaction, which sees what was written since; it begins with what is asked next.

        The locks on partitions and indexes that were read go with the old one: a search over all days would otherwise
        hold some thousands, of which PostgreSQL's lock table has few.
        """
        self._begins_anew = True

    async def _begin_anew(self) -> None:
        self._begins_anew = False
        await self._connection.execute(self._statements["commit"])
        await self._connection.execute(self._statements["begin"])
        if self._tenant_id is not None:
            await self._connection.execute(self._statements["name_tenant"], {"tenant_id": self._tenant_id})


class Database:
    """The pool. Open it in the server's event loop, close it when the server stops.

    `of` tells whose rows are read: the database itself sees to it where the API connects as spantree_reader.
    """

    def __init__(self, config: ApiConfig, database_url: str | None = None) -> None:
        """Of `database_url`, by default the settings' own; `config` says how it is used."""
        self._tenant_id: int | None = None
        # Those of the pool that are to a Citus cluster; like the pool, one set for all that `of` binds.
        self._on_citus: WeakSet[AsyncConnection[Any]] = WeakSet()
        self._to_workers: WeakSet[AsyncConnection[Any]] = WeakSet()
        self._statement_timeout_ms = config.statement_timeout_ms
        self._pool_wait_s = config.pool_wait_s
        self._statements = Statements(load_statements())
        self._connections_max = config.pool_max
        url = config.database_url if database_url is None else database_url
        given = conninfo_to_dict(url)
        self._attempts = Attempts()
        self._pool: AsyncConnectionPool[PooledConnection] = AsyncConnectionPool(
            url,
            connection_class=PooledConnection,
            kwargs={
                **{name: value for name, value in KEEPALIVES.items() if name not in given},
                "application_name": "spantree-api",
                "client_encoding": "UTF8",
                "connect_timeout": _CONNECT_TIMEOUT_S,
                # Transactions begin with a statement of ours, in one round trip with what is asked first.
                "autocommit": True,
                "attempts": self._attempts,
                "set_up": (self._statements["set_up"], {"statement_timeout_ms": config.statement_timeout_ms}),
                "answer_within_s": config.statement_timeout_ms / 1_000 * _STATEMENTS_TOGETHER + _SILENT_S,
                # What only reads may be pointed at a standby; what has to write is of no use there.
                "primary_first": primary_first(url) if database_url is None else {},
            },
            min_size=1,
            max_size=config.pool_max,
            timeout=config.pool_wait_s,
            reconnect_timeout=_RECONNECT_TIMEOUT_S,
            configure=self._configure,
            open=False,
            name="spantree-api",
        )

    def of(self, tenant_id: int) -> Database:
        """The same pool, whose transactions are bound to one tenant."""
        bound = copy(self)
        bound._tenant_id = tenant_id
        return bound

    async def open(self) -> None:
        """Start connecting. Returns at once, whether the database is there or not."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    def snapshot(
        self, wait_s: float | None = None, opening: Query[Any] | None = None
    ) -> AbstractAsyncContextManager[Snapshot]:
        """A read-only transaction at REPEATABLE READ. `opening` is asked together with BEGIN.

        Raises Unavailable, InvalidParameter (`_transaction` says when).
        """
        return self._transaction("begin", wait_s, opening)

    def transaction(self) -> AbstractAsyncContextManager[Snapshot]:
        """A transaction that may write, at READ COMMITTED, committed at the end of the block. Raises as `snapshot`."""
        return self._transaction("begin_writing", None, None)

    @asynccontextmanager
    async def _transaction(
        self, begin: str, wait_s: float | None, opening: Query[Any] | None
    ) -> AsyncIterator[Snapshot]:
        """A transaction that the statement `begin` begins.

        Raises Unavailable when no connection comes within `wait_s` (default: the setting), when a statement takes
        longer than its timeout or the database goes away; InvalidParameter when it refuses a parameter.
        """
        try:
            connection, rows = await self._begin(begin, wait_s, opening)
            try:
                async with connection:
                    on_citus = connection in self._on_citus
                    yield Snapshot(connection, self._statements, rows, self._tenant_id, on_citus=on_citus)
            except psycopg.Error as error:
                await self._leave_standby(connection, error)
                raise
            finally:
                await self._give_back(connection)
        except PoolTimeout as error:
            waited_s = self._pool_wait_s if wait_s is None else wait_s
            why = self._attempts.why() or "it is away or every connection is busy"
            raise Unavailable(
                "database_unavailable", f"no connection to PostgreSQL within {waited_s:g} s: {why}; try again"
            ) from error
        except psycopg.Error as error:
            raise self._told(error) from error

    async def _begin(
        self, begin: str, wait_s: float | None, opening: Query[Any] | None
    ) -> tuple[PooledConnection, list[Any]]:
        # The server ends a statement in time, if it still does anything; a probe waits for no statement.
        within_s = self._statement_timeout_ms / 1_000 + _SILENT_S if wait_s is None else wait_s
        # After a restart of the server every pooled connection is dead; each is given up as it is found to be.
        for left in reversed(range(self._connections_max + 1)):
            connection = await self._pool.getconn(wait_s)
            if connection in self._to_workers:
                await self._pool.putconn(connection)
                raise Unavailable("database_not_ready", _A_WORKER)
            silence = _Silence(connection, within_s)
            try:
                async with silence, connection.pipeline():
                    await connection.execute(self._statements[begin])
                    if self._tenant_id is not None:
                        await connection.execute(self._statements["name_tenant"], {"tenant_id": self._tenant_id})
                    cursor = None
                    if opening is not None:
                        cursor = connection.cursor(row_factory=_factory(opening.make))
                        await cursor.execute(self._statements[opening.statement], opening.parameters)
                return connection, [] if cursor is None else await cursor.fetchall()
            except BaseException as error:
                alive = not connection.broken
                await self._leave_standby(connection, error)
                await self._give_back(connection)
                if silence.is_cut:
                    # Others would be silent as well, each as long.
                    raise Unavailable(
                        "database_unavailable",
                        f"PostgreSQL has taken a connection and does not answer on it, for {within_s:g} s: its machine "
                        "or the network is stuck; try again",
                    ) from error
                if alive or not left or not isinstance(error, psycopg.OperationalError):
                    raise
        raise AssertionError  # the last turn of the loop returns or raises

    async def _leave_standby(self, connection: PooledConnection, error: BaseException) -> None:
        # Where the primary's name or address is another server's now, the next connection finds that.
        if isinstance(error, psycopg.Error) and _is_read_only(error):
            await connection.close()

    async def _give_back(self, connection: PooledConnection) -> None:
        # Cancelled as it began or ended a pipeline, psycopg leaves the connection in one: no cursor of the next works.
        if connection.info.pipeline_status != PipelineStatus.OFF or time.monotonic() >= connection.leave_at_s:
            await connection.close()
        await self._pool.putconn(connection)

    async def _configure(self, connection: PooledConnection) -> None:
        if await self._is(connection, "is_citus"):
            self._on_citus.add(connection)
            if await self._is(connection, "is_worker"):
                self._to_workers.add(connection)

    async def _is(self, connection: AsyncConnection[Any], statement: Name) -> bool:
        cursor = await connection.execute(self._statements[statement])
        row = await cursor.fetchone()
        return bool(row and row[0])

    def _told(self, error: psycopg.Error) -> Unavailable | InvalidParameter:
        if error.sqlstate == _RECOVERY_CONFLICT:
            return Unavailable(
                "replica_conflict",
                "the standby gave the query up to go on following its primary: try again; hot_standby_feedback = on "
                "in its settings avoids it",
                passes=True,
            )
        if error.sqlstate == _NOT_SUPPORTED and error.diag.source_function == "RevalidateCachedQuery":
            return Unavailable("schema_changed", "a table has gained a column meanwhile: try again", passes=True)
        if _is_read_only(error):
            return Unavailable(
                "database_read_only",
                "the PostgreSQL of SPANTREE_DATABASE_URL takes no changes now, it is a standby or read-only: name the "
                "primary there, and the standby in SPANTREE_API_DATABASE_URL",
            )
        if error.sqlstate == _QUERY_CANCELED:
            return Unavailable(
                "query_timeout",
                f"the query took longer than {self._statement_timeout_ms} ms: narrow it down, "
                "for example with since and until",
            )
        reason = classify(error)
        if isinstance(reason, WorkerUnavailable):
            return Unavailable(
                "database_unavailable",
                "a worker of the Citus cluster is away: lists and the traces that it has cannot be read, single traces "
                f"of the other workers can; try again: {_line(error)}",
            )
        if isinstance(reason, StoreUnavailable):
            return Unavailable("database_unavailable", f"PostgreSQL is away or overloaded: {_line(error)}; try again")
        if isinstance(reason, BatchRejected):
            return InvalidParameter("unknown", f"PostgreSQL refuses a value of the request: {_line(error)}")
        return Unavailable(
            "database_not_ready",
            f'PostgreSQL is not set up for spantree ({error.sqlstate}: {_line(error)}): run "spantree migrate"',
        )


def _is_read_only(error: psycopg.Error) -> bool:
    return error.sqlstate == _READ_ONLY or (
        error.sqlstate == _NOT_SUPPORTED and error.diag.source_file == _OF_A_SETTING
    )


class _Silence:
    """Cuts a connection that nothing comes from for so long: psycopg waits for ever, also where it is cancelled."""

    def __init__(self, connection: AsyncConnection[Any], within_s: float) -> None:
        self._connection = connection
        self._within_s = within_s
        self.is_cut = False

    async def __aenter__(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._within_s, self._cut)

    async def __aexit__(self, *_: object) -> None:
        self._timer.cancel()

    def _cut(self) -> None:
        with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(self._connection.fileno())) as link:
            try:
                link.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                self.is_cut = True
                # Not closed, for libpq reads from it; it finds its end.
                link.shutdown(socket.SHUT_RDWR)
            # Else there is an answer, which this process was too busy to read.


def _factory(make: RowMaker[Row]) -> Callable[[AsyncCursor[Any]], Callable[[Sequence[Any]], Row]]:
    def of_cursor(cursor: AsyncCursor[Any]) -> Callable[[Sequence[Any]], Row]:
        return make([column.name for column in cursor.description or ()])

    return of_cursor


def _line(error: psycopg.Error) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
