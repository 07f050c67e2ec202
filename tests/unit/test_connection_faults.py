"""What is said when PostgreSQL does not let a command in: the reason, what to do about that one, and no password."""

from __future__ import annotations

import psycopg
import pytest

from spantree_deploy.database import refused, remedy_of
from spantree_exporter.errors import without_passwords

REFUSED = 'connection failed: connection to server at "127.0.0.1", port 5432 failed: FATAL:  {}'


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        (REFUSED.format('password authentication failed for user "ada"'), "correct the password in "),
        (
            'connection failed: connection to server at "db", port 5432 failed: fe_sendauth: no password supplied',
            "correct",
        ),
        (REFUSED.format('database "shop" does not exist'), "create the database (createdb), or name another one in "),
        (REFUSED.format('role "ada" does not exist'), "create the user, or name another one in "),
        (
            REFUSED.format('no pg_hba.conf entry for host "10.0.0.7", user "ada"'),
            "let this host and user in by pg_hba.conf",
        ),
        (REFUSED.format("sorry, too many clients already"), "raise max_connections"),
        (REFUSED.format('too many connections for role "ada"'), "raise max_connections"),
        (REFUSED.format('too many connections for database "shop"'), "raise max_connections"),
        (
            REFUSED.format("remaining connection slots are reserved for roles with the SUPERUSER attribute"),
            "raise max_connections",
        ),
        (REFUSED.format("the database system is starting up"), "wait until it has started"),
        (REFUSED.format("the database system is shutting down"), "wait until it has started again"),
        (REFUSED.format("the database system is in recovery mode"), "wait until it has recovered"),
        (REFUSED.format("the database system is not yet accepting connections"), "wait until it has started"),
        (REFUSED.format('database "shop" is not currently accepting connections'), "let it accept some"),
        (REFUSED.format('permission denied for database "shop"'), "let this user in (GRANT CONNECT"),
        (REFUSED.format('role "ada" is not permitted to log in'), "let it log in (ALTER ROLE"),
        (REFUSED.format("Passwort-Authentifizierung fehlgeschlagen"), "see its log, or correct "),
        ('connection to server at "127.0.0.1", port 1 failed: Connection refused', "start it, or correct "),
        ("query_wait_timeout", "give it as many connections to PostgreSQL as spantree has to it"),
        ("no answer for 30 s on a connection that is open: the server, or", "see whether the server does anything"),
        (REFUSED.format("no more connections allowed (max_client_conn)"), "raise its max_client_conn"),
        (REFUSED.format("unsupported startup parameter: options"), "take `options` out of the URL"),
        (
            REFUSED.format("server login has been failing, try again later (server_login_retry)"),
            "see its log: it does not reach PostgreSQL",
        ),
        (REFUSED.format("no such database: shop"), "add the database to its settings, or correct "),
        (REFUSED.format("no such user: ada"), "add the user to its settings (auth_file), or correct "),
        ('failed to resolve host "nowhere": Name or service not known', "start it, or correct "),
    ],
)
def test_each_refusal_has_its_own_remedy(said: str, remedy: str) -> None:
    assert remedy_of(psycopg.OperationalError(said)).startswith(remedy)


def test_a_server_that_answers_is_not_called_away() -> None:
    error = psycopg.OperationalError(REFUSED.format('password authentication failed for user "ada"'))
    assert str(refused(error)).startswith("PostgreSQL answers and refuses: connection failed: ")
    away = psycopg.OperationalError('connection to server at "127.0.0.1", port 1 failed: Connection refused')
    assert str(refused(away)).startswith("PostgreSQL cannot be reached: connection to server ")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("missing = after mysql://ada:se@cret@db/x in it", "missing = after mysql://ada:***@cret@db/x in it"),
        ("http://ada:secret@127.0.0.1:1/x", "http://ada:***@127.0.0.1:1/x"),
        ("http://127.0.0.1:1/x and a@b", "http://127.0.0.1:1/x and a@b"),
        ("host=db password=secret user=ada", "host=db password=*** user=ada"),
        ("host=db password = 'a \\' b' user=ada", "host=db password = *** user=ada"),
        (
            'FATAL: password authentication failed for user "ada"',
            'FATAL: password authentication failed for user "ada"',
        ),
    ],
)
def test_passwords_are_left_out(text: str, shown: str) -> None:
    assert without_passwords(text) == shown
