"""Every error that spantree raises on purpose, and how PostgreSQL's errors become them.

SpantreeError
├── ConfigError            a setting is wrong; lists all faults at once
├── MalformedRequest       a body that is no ExportTraceServiceRequest; never worth a retry
├── BatchRejected          PostgreSQL refuses the batch for its content; the same batch will always be refused
├── StoreUnavailable       PostgreSQL is away, starting, read-only or overloaded; retry for ever
│   ├── BatchFailed        PostgreSQL gave up on this batch: time, memory, an internal error; a smaller one may pass
│   └── WorkerUnavailable  one worker of a Citus cluster is away: what is not for it may pass
└── OperatorError          PostgreSQL answers, but somebody has to act: no schema, no rights, no such database
    └── SchemaVersionError the schema is not the one that this build needs
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg


class SpantreeError(Exception):
    """Root of all errors of spantree; its text is a sentence for the person who can act."""


class ConfigError(SpantreeError):
    """A setting is unknown or wrong. `faults` holds one sentence for each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class MalformedRequest(SpantreeError):
    """The body is no ExportTraceServiceRequest in the encoding it claims. Retrying cannot help."""


class BatchRejected(SpantreeError):
    """PostgreSQL refused the batch for its content. Retrying the same batch cannot help; a part of it may pass."""

    def __init__(self, message: str, sqlstate: str | None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class StoreUnavailable(SpantreeError):
    """PostgreSQL cannot take writes now. Retrying helps, sooner or later."""


class BatchFailed(StoreUnavailable):
    """PostgreSQL gave up on this work: its time limit, its memory, an error of its own. A smaller batch may pass.

    It may be the server's state or what is in the batch, so the same batch is tried again before it is divided.
    """

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate

    @property
    def is_internal(self) -> bool:
        """Whether it is an error inside PostgreSQL, which nobody may blame on a span."""
        return self.sqlstate[:2] == _INTERNAL_CLASS


class WorkerUnavailable(StoreUnavailable):
    """The coordinator of a Citus cluster answers, and a worker does not. What other workers have to take may pass."""


class OperatorError(SpantreeError):
    """PostgreSQL answers but is not set up for this build. Retrying helps only after somebody acted."""


class SchemaVersionError(OperatorError):
    """The schema's version is not the one this build needs."""


# SQLSTATE classes (https://www.postgresql.org/docs/current/errcodes-appendix.html) and single codes.
_UNAVAILABLE_CLASSES = frozenset({"08", "40", "53", "55", "57", "58"})
_NO_RIGHT = "42501"
_RAISED = "exec_stmt_raise"  # where PostgreSQL runs RAISE of PL/pgSQL
_READ_ONLY = "25006"  # a demoted primary: psycopg maps it to InternalError
# 38, 39, 44 and P0 come from triggers, rules and functions that somebody added. Whether a plain span is refused, too,
# tells the content from the tables (Store.check_tables).
_CONTENT_CLASSES = frozenset({"22", "23", "38", "39", "44", "54", "P0"})
# What COPY BINARY says where a table has other columns or types than this build's: no span can be blamed. 08P01 is
# "insufficient data left in message", which a server sends when a column has become wider.
_SCHEMA_CODES = frozenset({"22P03", "22P04", "08P01"})
# PostgreSQL names the place in its source with each error. A pooler before it does not, and gives all of its own this
# class: a server that is away, a client that waited too long for one (PgBouncer 1.18 to 1.24: 08P01).
_CONNECTION_CLASS = "08"
# Time limits (57014 statement, 25P03 idle in transaction, 25P04 transaction) and memory (53200; locks are memory, too).
_FAILED_CODES = frozenset({"57014", "25P03", "25P04", "53200"})
_INTERNAL_CLASS = "XX"
# An error of _CONNECTION_CLASS of the server itself is about a connection of its own: of a coordinator's to a worker.
# What a worker says of itself comes with this context (measured on 13.2).
_OF_WORKER = "while executing command on "
# What a worker refuses inside COPY reaches us with its message and without its SQLSTATE, by this function of the
# coordinator (multi_copy.c of 13.2). Other ways to write the same rows keep the SQLSTATE, and are what decides.
_CITUS_COPY_REFUSED = "ReportCopyError"
# How a row that a CHECK forbids is told from one without a partition where the constraint's name is lost on the way.
_OF_A_CHECK = "violates check constraint"
# libpq repeats the connection string that it cannot read: user:password@ of a URL, password=... of its own form.
_PASSWORD = re.compile(r"(://[^:/@\s\"]*:)[^@\s\"]*(?=@)|(\bpassword\s*=\s*)(?:'(?:[^'\\]|\\.)*'|[^\s\"]+)")


def without_passwords(text: str) -> str:
    """`text` with *** where a URL or a connection string in it has a password."""
    return _PASSWORD.sub(lambda match: f"{match[1] or match[2]}***", text)


def classify(error: psycopg.Error) -> SpantreeError:
    """The error of ours that tells the caller what to do about `error`.

    SQLSTATE decides where there is one. Without one (the client side, or a connection that broke) OperationalError
    and InterfaceError mean that the database cannot be reached; anything else was refused for its content,
    for example a NUL in a string, which psycopg itself refuses.
    """
    # Here: services that send spans, and commands that ask the API, import this module without a driver.
    import psycopg

    sqlstate = error.sqlstate
    text = without_passwords(" ".join(str(error).split())) or type(error).__name__
    if sqlstate is None:
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            return StoreUnavailable(f"PostgreSQL cannot be reached: {text}")
        return BatchRejected(f"the PostgreSQL client refused the batch: {text}", None)
    if sqlstate[:2] == _CONNECTION_CLASS and error.diag.source_file is None:
        return StoreUnavailable(f"the connection pooler before PostgreSQL gives no connection ({sqlstate}): {text}")
    if sqlstate in _SCHEMA_CODES:
        return OperatorError(
            f"PostgreSQL's tables are not those that this build writes to ({sqlstate}): {text}; undo what was changed "
            "in the schema spantree, or run the build that belongs to it"
        )
    if is_refused_in_copy(error):
        return BatchRejected(f"a worker of the cluster refused the batch: {text}", sqlstate)
    if sqlstate in _FAILED_CODES or sqlstate[:2] == _INTERNAL_CLASS:
        return BatchFailed(f"PostgreSQL gave up on the batch ({sqlstate}): {text}", sqlstate)
    is_of_worker = sqlstate[:2] == _CONNECTION_CLASS or _OF_WORKER in (error.diag.context or "")
    if is_of_worker and sqlstate[:2] in _UNAVAILABLE_CLASSES:
        return WorkerUnavailable(f"a worker of the cluster cannot take writes now ({sqlstate}): {text}")
    if sqlstate == _READ_ONLY or sqlstate[:2] in _UNAVAILABLE_CLASSES:
        return StoreUnavailable(f"PostgreSQL cannot take writes now ({sqlstate}): {text}")
    if sqlstate[:2] in _CONTENT_CLASSES:
        return BatchRejected(f"PostgreSQL refused the batch ({sqlstate}): {text}", sqlstate)
    if sqlstate == _NO_RIGHT:
        return OperatorError(f"PostgreSQL does not let this role do it ({sqlstate}): {denied(error)}")
    return OperatorError(f"PostgreSQL is not set up for spantree ({sqlstate}): {text}")


def denied(error: psycopg.Error) -> str:
    """What PostgreSQL says of a right that is missing, and what to do; functions of ours say that themselves."""
    said = without_passwords(error.diag.message_primary or " ".join(str(error).split()))
    if error.diag.source_function == _RAISED:
        return said
    return f"{said}; connect as the role that owns the tables, or grant it (docs/security.md, Roles of spantree itself)"


def is_refused_in_copy(error: psycopg.Error) -> bool:
    """Whether a worker of a Citus cluster refused COPY: a duplicate, a CHECK, or whatever else it has against it.

    What it is, the staging table and the projector find out, which write by INSERT or trace by trace.
    """
    return error.diag.source_function == _CITUS_COPY_REFUSED and (error.sqlstate or "")[:2] == _INTERNAL_CLASS


def is_without_partition(error: psycopg.errors.CheckViolation) -> bool:
    """Whether it is "no partition of relation", which has the SQLSTATE of a CHECK, and not a CHECK that somebody added.

    Where in doubt it is: then the same is tried again. The coordinator of a Citus cluster leaves out the constraint's
    name of what a worker refused, so that there its message decides.
    """
    if _OF_WORKER in (error.diag.context or ""):
        return _OF_A_CHECK not in (error.diag.message_primary or "")
    return not error.diag.constraint_name


def staged_may_pass(error: psycopg.Error) -> bool:
    """Whether what straight COPY met may pass by way of the staging table, which skips what is there already."""
    return isinstance(classify(error), BatchRejected)
