"""What is put into the spool and taken out of it, for processes that have no spool themselves, too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Body:
    """One request body as it came in.

    `encoding` tells its signal, too (spantree_exporter.otlp.signals); `compression` is a value of
    decompress.ENCODINGS, "" for none; `tenant_id` says whose it is.
    """

    payload: bytes
    encoding: str
    compression: str
    received_ns: int
    tenant_id: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """Spans `first` to `end` of a body. With a `verdict` they become dead letters for that reason, unwritten.

    Without spans it says: read the body and write nothing, or, with a verdict, make one dead letter of it, unread.
    """

    first: int
    end: int
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class SpooledBody:
    """A body with its place in the queue; ids grow in the order of acknowledgement. `part` None: all of it."""

    id: int
    body: Body
    part: Part | None = None
