"""What PostgreSQL's errors mean for whoever holds the spans: wait, bisect or call somebody."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Final, TypeVar

import psycopg
import pytest
from psycopg import errors as pg

from spantree_exporter.errors import (
    BatchFailed,
    BatchRejected,
    ConfigError,
    OperatorError,
    SchemaVersionError,
    SpantreeError,
    StoreUnavailable,
    WorkerUnavailable,
    classify,
    denied,
    is_without_partition,
    staged_may_pass,
)

_Error = TypeVar("_Error", bound=psycopg.Error)
_ON_WORKER: Final = "while executing command on 127.0.0.1:5432"


@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError("connection refused"),
        psycopg.InterfaceError("the connection is closed"),
        pg.AdminShutdown(),
        pg.CannotConnectNow(),
        pg.ReadOnlySqlTransaction(),
        pg.DiskFull(),
        pg.TooManyConnections(),
        pg.SerializationFailure(),
        pg.DeadlockDetected(),
        pg.LockNotAvailable(),
        pg.IoError(),
    ],
)
def test_a_database_that_is_away_read_only_or_busy_is_waited_for(error: psycopg.Error) -> None:
    assert type(classify(error)) is StoreUnavailable


def test_a_connection_that_the_server_itself_has_lost_is_to_a_worker() -> None:
    error = _with(pg.ConnectionFailure, source_file="remote_commands.c")
    assert type(classify(error)) is WorkerUnavailable


def test_what_a_pooler_says_of_itself_is_waited_for_and_blames_no_table_and_no_worker() -> None:
    told = [classify(error) for error in (pg.ProtocolViolation("query_wait_timeout"), pg.ConnectionFailure("lost"))]
    assert [(type(error), str(error)) for error in told] == [
        (StoreUnavailable, "the connection pooler before PostgreSQL gives no connection (08P01): query_wait_timeout"),
        (StoreUnavailable, "the connection pooler before PostgreSQL gives no connection (08006): lost"),
    ]
    of_server = _with(pg.ProtocolViolation, source_file="pqformat.c")
    assert str(classify(of_server)).startswith("PostgreSQL's tables are not those that this build writes to (08P01)")


@pytest.mark.parametrize(
    "error",
    [
        psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes"),
        pg.UntranslatableCharacter(),
        pg.InvalidTextRepresentation(),
        pg.NumericValueOutOfRange(),
        pg.CheckViolation(),
        pg.UniqueViolation(),
        pg.ProgramLimitExceeded(),
        pg.StatementTooComplex(),
    ],
)
def test_content_that_is_refused_is_bisected(error: psycopg.Error) -> None:
    ours = classify(error)
    assert isinstance(ours, BatchRejected)
    assert ours.sqlstate == error.sqlstate


@pytest.mark.parametrize(
    ("error", "is_internal"),
    [
        (pg.QueryCanceled(), False),
        (pg.IdleInTransactionSessionTimeout(), False),
        (pg.OutOfMemory(), False),
        (pg.InternalError_(), True),
        (pg.DataCorrupted(), True),
    ],
)
def test_what_a_smaller_batch_may_pass_is_told_apart_and_blames_nobody_for_an_internal_error(
    error: psycopg.Error, is_internal: bool
) -> None:
    ours = classify(error)
    assert isinstance(ours, BatchFailed)
    assert (ours.sqlstate, ours.is_internal) == (error.sqlstate, is_internal)
    # Whoever knows no batches waits.
    assert isinstance(ours, StoreUnavailable)


class _Told(SimpleNamespace):
    """psycopg's Diagnostic, as far as it is looked at; what is not given is None."""

    def __getattr__(self, name: str) -> None:
        return None


def _with(error: type[_Error], **told: str) -> _Error:
    """An error that a server sent with these fields."""
    made: type[_Error] = type(error.__name__, (error,), {"diag": _Told(**told), "sqlstate": error.sqlstate})
    return made()


def test_what_a_worker_refuses_in_copy_loses_its_sqlstate_and_the_staged_way_decides() -> None:
    refused = _with(pg.InternalError_, source_function="ReportCopyError", message_primary="duplicate key value")
    assert isinstance(classify(refused), BatchRejected)
    errors: list[psycopg.Error] = [refused, pg.UniqueViolation(), pg.InternalError_(), pg.DiskFull()]
    assert [staged_may_pass(error) for error in errors] == [True, True, False, False]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"constraint_name": "no_poison"}, False),
        ({"message_primary": 'no partition of relation "span" found for row'}, True),
        (
            {"context": _ON_WORKER, "message_primary": 'new row for "span_1" violates check constraint "no_poison"'},
            False,
        ),
        ({"context": _ON_WORKER, "message_primary": 'no partition of relation "span_1" found for row'}, True),
    ],
)
def test_a_check_is_told_from_a_partition_that_is_not_there(told: dict[str, str], expected: bool) -> None:
    assert is_without_partition(_with(pg.CheckViolation, **told)) is expected


@pytest.mark.parametrize(
    "error",
    [
        pg.BadCopyFileFormat(),
        pg.InvalidBinaryRepresentation(),
        _with(pg.ProtocolViolation, source_file="pqformat.c"),
        pg.UndefinedTable(),
        pg.UndefinedColumn(),
        pg.InsufficientPrivilege(),
        pg.InvalidPassword(),
        pg.InvalidCatalogName(),
        pg.InvalidSchemaName(),
    ],
)
def test_a_database_that_is_not_set_up_needs_somebody(error: psycopg.Error) -> None:
    assert type(classify(error)) is OperatorError


def test_a_right_that_is_missing_is_told_with_what_to_do() -> None:
    refused = _with(
        pg.InsufficientPrivilege, message_primary="permission denied for table token", source_function="aclcheck_error"
    )
    assert str(classify(refused)) == (
        "PostgreSQL does not let this role do it (42501): permission denied for table token; connect as the role that "
        "owns the tables, or grant it (docs/security.md, Roles of spantree itself)"
    )
    ours = _with(pg.InsufficientPrivilege, message_primary="let x do it", source_function="exec_stmt_raise")
    assert denied(ours) == "let x do it"


def test_a_message_is_one_line_and_names_the_state() -> None:
    told = classify(pg.DiskFull('could not extend file "base/1":\n  No space left on device\nHINT:  Free some.'))
    assert str(told) == (
        "PostgreSQL cannot take writes now (53100): "
        'could not extend file "base/1": No space left on device HINT: Free some.'
    )
    assert str(classify(psycopg.OperationalError())) == "PostgreSQL cannot be reached: OperationalError"


def test_a_config_error_tells_all_faults_at_once() -> None:
    error = ConfigError(["a is 1, wanted 2", "b is unknown"])
    assert (str(error), error.faults) == ("a is 1, wanted 2; b is unknown", ["a is 1, wanted 2", "b is unknown"])


def test_every_error_can_be_caught_as_one() -> None:
    assert issubclass(SchemaVersionError, OperatorError)
    for error in (BatchRejected, ConfigError, OperatorError, StoreUnavailable):
        assert issubclass(error, SpantreeError)
