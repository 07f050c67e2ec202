"""Every error that spantree raises on purpose, and how PostgreSQL's errors become them.

SpantreeError
├── ConfigError            a setting is wrong; lists all faults at once
├── MalformedRequest       a body that is no ExportTraceServiceRequest; never worth a retry
├── BatchRejected          PostgreSQL refuses the batch for its content; the same batch will always be refused
├── StoreUnavailable       PostgreSQL is away, starting, read-only or overloaded; retry for ever
└── OperatorError          PostgreSQL answers, but somebody has to act: no schema, no rights, no such database
└── SchemaVersionError the schema is not the one that this build needs
"""

from __future__ import annotations

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


class OperatorError(SpantreeError):
    """PostgreSQL answers but is not set up for this build. Retrying helps only after somebody acted."""


class SchemaVersionError(OperatorError):
    """The schema's version is not the one this build needs."""


# SQLSTATE classes (https://www.postgresql.org/docs/current/errcodes-appendix.html) and single codes.
_UNAVAILABLE_CLASSES = frozenset({"08", "40", "53", "55", "57", "58"})
_READ_ONLY = "25006"  # a demoted primary: psycopg maps it to InternalError
_CONTENT_CLASSES = frozenset({"22", "23", "54"})
# Citus reports a duplicate key inside COPY as XX000 (measured on 13.2): it counts as content; the staged way decides.
_CONTENT_CODES = frozenset({"XX000"})


def classify(error: psycopg.Error) -> SpantreeError:
    """The error of ours that tells the caller what to do about `error`.

    SQLSTATE decides where there is one. Without one (the client side, or a connection that broke) OperationalError
    and InterfaceError mean that the database cannot be reached; anything else was refused for its content,
    for example a NUL in a string, which psycopg itself refuses.
    """
    sqlstate = error.sqlstate
    text = " ".join(str(error).split()) or type(error).__name__
    if sqlstate is None:
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            return StoreUnavailable(f"PostgreSQL cannot be reached: {text}")
        return BatchRejected(f"the PostgreSQL client refused the batch: {text}", None)
    if sqlstate == _READ_ONLY or sqlstate[:2] in _UNAVAILABLE_CLASSES:
        return StoreUnavailable(f"PostgreSQL cannot take writes now ({sqlstate}): {text}")
    if sqlstate[:2] in _CONTENT_CLASSES or sqlstate in _CONTENT_CODES:
        return BatchRejected(f"PostgreSQL refused the batch ({sqlstate}): {text}", sqlstate)
    return OperatorError(f"PostgreSQL is not set up for spantree ({sqlstate}): {text}")
