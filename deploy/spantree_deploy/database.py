"""The PostgreSQL that the settings name: one of the user's own, or the embedded one for as long as it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from spantree_deploy.postgres.embedded import EmbeddedPostgres
from spantree_deploy.running import has_data, no_data
from spantree_deploy.settings import Settings
from spantree_exporter.errors import OperatorError, classify, without_passwords
from spantree_exporter.postgres.connection import connect

CONNECT_S: Final = 5
_CORRECT: Final = "--database-url or SPANTREE_DATABASE_URL"
_TOO_MANY: Final = (
    "raise max_connections, or the CONNECTION LIMIT of the user or the database, or lower SPANTREE_API_POOL_MAX and "
    "SPANTREE_WRITERS"
)
# What a connection pooler says of itself -> what to do; the first that fits.
_OF_POOLERS: Final = (
    ("query_wait_timeout", "give it as many connections to PostgreSQL as spantree has to it (default_pool_size)"),
    (
        "no answer for",
        "see whether the server does anything, and whether a pooler has a connection to lend (default_pool_size)",
    ),
    ("max_client_conn", "raise its max_client_conn"),
    (
        "unsupported startup parameter",
        "take `options` out of the URL and PGOPTIONS, or have it pass over them (ignore_startup_parameters)",
    ),
    ("server login", "see its log: it does not reach PostgreSQL"),
    ("cannot connect to server", "see its log: it does not reach PostgreSQL"),
    ("such database", f"add the database to its settings, or correct {_CORRECT}"),
    ("such user", f"add the user to its settings (auth_file), or correct {_CORRECT}"),
)
# What PostgreSQL and libpq say -> what to do; the first that fits. A refused connection has no SQLSTATE on the client's
# side (psycopg 3.2); of a server that speaks another language than English, its own words are all there is.
_REMEDIES: Final = (
    ("starting up", "wait until it has started"),
    ("not yet accepting", "wait until it has started"),
    ("recovery mode", "wait until it has recovered"),
    ("shutting down", "wait until it has started again"),
    ("too many clients", _TOO_MANY),
    ("too many connections", _TOO_MANY),
    ("connection slots are reserved", _TOO_MANY),
    ("not currently accepting", "let it accept some (ALTER DATABASE ... ALLOW_CONNECTIONS true)"),
    ("permission denied for database", "let this user in (GRANT CONNECT ON DATABASE)"),
    ("not permitted to log in", f"let it log in (ALTER ROLE ... LOGIN), or name another one in {_CORRECT}"),
    ("password", f"correct the password in {_CORRECT}, PGPASSWORD or ~/.pgpass"),
    ("authentication failed", f"correct the user or its password in {_CORRECT}"),
    ("pg_hba.conf", "let this host and user in by pg_hba.conf"),
    ("role ", f"create the user, or name another one in {_CORRECT}"),
    ("database ", f"create the database (createdb), or name another one in {_CORRECT}"),
)
_AWAY: Final = f"start it, or correct {_CORRECT}"

Report = Callable[[str], None]
"""Told in a few words about each step that may take longer than a blink."""
PostgresWatch = Callable[[EmbeddedPostgres | None], None]
"""Told of the embedded server when it runs, and None when it is about to be stopped."""


@contextmanager
def postgres_of(
    settings: Settings, report: Report = lambda step: None, watch: PostgresWatch = lambda postgres: None
) -> Iterator[str]:
    """The URL of the settings' PostgreSQL; spantree's own one runs at least for the time of the block."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    with EmbeddedPostgres(settings.data_dir, pg_bin=settings.pg_bin, report=report) as postgres:
        watch(postgres)
        try:
            yield postgres.url
        finally:
            watch(None)


@contextmanager
def stored_data_of(settings: Settings, report: Report) -> Iterator[str]:
    """As `postgres_of`, for work on what is stored: where there is nothing yet, no PostgreSQL is made for it.

    Raises SpantreeError there.
    """
    if not has_data(settings):
        raise no_data(settings, "--data or SPANTREE_DATA_DIR, as it has it, or with --database-url")
    with postgres_of(settings, report) as url:
        yield url


def remedy_of(error: BaseException | None) -> str:
    """What to do about a connection that could not be made."""
    text = " ".join(str(error).split())
    if of_pooler := next((remedy for sign, remedy in _OF_POOLERS if sign in text), None):
        return of_pooler
    if "FATAL" not in text and "no password supplied" not in text:
        return _AWAY
    said = text.partition("FATAL")[2] or text
    return next((remedy for sign, remedy in _REMEDIES if sign in said), f"see its log, or correct {_CORRECT}")


def check_connection(database_url: str) -> None:
    """Raise SpantreeError, with the reason and what to do, where no connection can be made now."""
    try:
        connect(database_url, "spantree", connect_timeout=CONNECT_S).close()
    except psycopg.Error as error:
        raise refused(error) from error


def refused(error: psycopg.Error) -> OperatorError:
    """The sentence about a connection that could not be made."""
    text = without_passwords(" ".join(str(error).split()))
    found = f"PostgreSQL answers and refuses: {text}" if "FATAL" in text else str(classify(error))
    return OperatorError(f"{found}; {remedy_of(error)}")
