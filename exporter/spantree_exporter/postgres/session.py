"""How a session begins: on a server that takes writes where the URL leads to one, set up, and lent to nobody else.

A pooler that lends a session of PostgreSQL for one transaction at a time (PgBouncer: `pool_mode = transaction`) gives
whoever comes next the settings, the temporary tables and the locks of whoever came before: traces would be claimed for
ever, and somebody else's statements planned by our settings. So each session is marked when it begins, and one that has
a mark already is somebody's. A pooler is told by the process that it names, which is not the one that answers; behind
one a session is begun twice, one after the other, so that the first of all finds its own mark; and the mark is there
in the next statement, unless that is in another session or a pooler has reset it (Odyssey).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from spantree_exporter.errors import OperatorError, classify
from spantree_exporter.postgres.patience import NoAnswer, PatientConnection
from spantree_exporter.sql import statements

SESSION: Final = statements("connect")["session"]
"""The statement that sets a session up; `shared` reads its row."""
KEPT: Final = statements("connect")["is_kept"]
"""Asked of a pooler's session once it is set up; `check_kept` reads its row."""
PRIMARY_FIRST: Final[dict[str, Any]] = {"target_session_attrs": "read-write"}
_SHARED: Final = (
    "a connection pooler lends one session of PostgreSQL to several clients, wanted sessions of spantree's own, for it "
    "has settings, temporary tables and locks in them: let the pooler have pool_mode = session and "
    "server_reset_query = DISCARD ALL for this user or database, or name PostgreSQL itself"
)
BEGIN_WITHIN_S: Final = 30.0
"""A pooler that has no session to lend takes the connection, and keeps its first statement waiting."""
_READ_ONLY: Final = "session is read-only"


def shared(row: tuple[Any, ...] | None, named_pid: int) -> bool:
    """Whether a session is to begin once more; `row` is what SESSION answered, `named_pid` as the connection has it.

    Raises OperatorError where somebody else has the session, too.
    """
    *_, is_marked, pid = row or (False, named_pid)
    if is_marked:
        raise OperatorError(_SHARED)
    return bool(pid != named_pid)


def check_kept(row: tuple[Any, ...] | None) -> None:
    """Raise OperatorError where the next statement of a session is in another one, or its settings are gone."""
    if row != (True,):
        raise OperatorError(_SHARED)


def without_address(error: psycopg.Error | OperatorError) -> str:
    """Why there was no connection, for those who need not know where PostgreSQL is."""
    if not isinstance(error, psycopg.Error) or isinstance(error, NoAnswer):
        return str(error)
    if error.sqlstate:
        return str(classify(error))
    before, _, reason = " ".join(str(error).split()).rpartition("failed: ")
    return reason if before else "it is away"


def any_server_is_next(error: psycopg.OperationalError) -> bool:
    """Whether it was by PRIMARY_FIRST alone that there was no connection, so that a server to read from may do."""
    return _READ_ONLY in str(error)


def primary_first(database_url: str) -> dict[str, Any]:
    """PRIMARY_FIRST where the URL does not say itself which of its servers it means."""
    return {} if "target_session_attrs" in conninfo_to_dict(database_url) else PRIMARY_FIRST


def begin(attempt: Callable[[], PatientConnection]) -> PatientConnection:
    """A connection of `attempt`, which is in autocommit mode, with its session. Raises psycopg.Error, OperatorError."""
    connection = attempt()
    try:
        connection.answer_within_s = BEGIN_WITHIN_S
        if shared(connection.execute(SESSION).fetchone(), connection.info.backend_pid):
            connection.close()
            connection = attempt()
            connection.answer_within_s = BEGIN_WITHIN_S
            shared(connection.execute(SESSION).fetchone(), connection.info.backend_pid)
            check_kept(connection.execute(KEPT).fetchone())
    except BaseException:
        connection.close()
        raise
    return connection
