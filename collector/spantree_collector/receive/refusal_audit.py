"""Who was not let in, and who sent more than they may, for the own audit: a line for each minute, cause and sender.

A flood of refused requests is a count: beyond some senders in a minute the others are one line for each cause. While
PostgreSQL is away the lines wait, so many of them. Metrics count every request; a full spool and bodies that are none
are no matter of who may what, and are not in it.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias, cast

import psycopg

from spantree_collector.receive.status import Refusal
from spantree_exporter.own_audit import write
from spantree_exporter.own_audit_event import Actor, Event
from spantree_exporter.postgres.patience import PatientConnection
from spantree_exporter.tokens import Identity

log = logging.getLogger(__name__)

Transport: TypeAlias = Literal["http", "grpc"]

INTERVAL_S: Final = 60.0
_REASONS: Final = frozenset({"unauthenticated", "forbidden", "quota"})
# Of one minute; what comes after these is told without its sender.
_SENDERS_MAX: Final = 100
# Some hours' worth of many senders.
_WAITING_MAX: Final = 5_000
_CONNECT_TIMEOUT_S: Final = 5
_NOBODY: Final = Actor("nobody")


@dataclass(frozen=True, slots=True)
class _Cause:
    transport: str
    reason: str
    status: int
    tenant_id: int = 0
    actor: Actor = _NOBODY
    address: str | None = None
    many: bool = False


@dataclass(slots=True)
class _Minute:
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    counts: Counter[_Cause] = field(default_factory=Counter)


class RefusalAudit:
    """Counts refusals and writes what they came to by a thread of its own. Any thread may call it."""

    def __init__(self, database_url: str, interval_s: float = INTERVAL_S) -> None:
        """Without `database_url` nothing is counted."""
        self._database_url = database_url
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._minute = _Minute()
        self._waiting: list[Event] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spantree-refusals", daemon=True)

    def refused(self, transport: str, refusal: Refusal, sender: Identity | None, address: str | None) -> None:
        """Count one refusal, if it is one that the audit tells. Returns at once."""
        if refusal.reason not in _REASONS or not self._database_url:
            return
        cause = _Cause(transport, refusal.reason, refusal.http_status, address=address)
        if sender is not None:
            actor = Actor("token", sender.token_id, sender.scope) if sender.token_id else Actor("anyone")
            cause = _Cause(transport, refusal.reason, refusal.http_status, sender.tenant_id, actor, address)
        with self._lock:
            counts = self._minute.counts
            if cause not in counts and len(counts) >= _SENDERS_MAX:
                cause = _Cause(transport, refusal.reason, refusal.http_status, many=True)
            counts[cause] += 1

    def start(self) -> None:
        """Begin to write, once a minute."""
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, if PostgreSQL is there, and end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_CONNECT_TIMEOUT_S + 1)

    def events(self) -> list[Event]:
        """What was counted since the last call, as lines of the audit."""
        with self._lock:
            minute, self._minute = self._minute, _Minute()
        return [
            Event(
                cause.actor,
                cast("Transport", cause.transport),
                "refused",
                cause.tenant_id,
                "ingest",
                method="POST",
                status=cause.status,
                address=cause.address,
                details={"reason": cause.reason} | ({"senders": "many"} if cause.many else {}),
                times=times,
                at=minute.began,
            )
            for cause, times in minute.counts.items()
        ]

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._write()
        self._write()

    def _write(self) -> None:
        self._waiting += self.events()
        if not self._waiting:
            return
        if len(self._waiting) > _WAITING_MAX:
            lost = len(self._waiting) - _WAITING_MAX
            log.warning("%d lines of the own audit on refused requests are lost: PostgreSQL is away for too long", lost)
            del self._waiting[:lost]
        try:
            with PatientConnection.connect(
                self._database_url, connect_timeout=_CONNECT_TIMEOUT_S, application_name="spantree-refusals"
            ) as connection:
                write(connection, *self._waiting)
        except psycopg.Error as error:
            # The ids are known: what was stored before the answer was lost is left alone the next time.
            log.info("the own audit of refused requests is written later: %s", str(error).partition("\n")[0])
        else:
            self._waiting = []
