"""Bodies of OTLP -> rows, by the writer that the collector has: what is stored already is recognised and not doubled.

The collector is not asked: a file is no sender that has to be answered within a second, and what comes of each span can
be told at once. Nothing waits in a spool; the file itself is there to be read again.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from spantree_deploy.importing.files import Bad, Body
from spantree_exporter.errors import BatchRejected, MalformedRequest
from spantree_exporter.ids import InvalidId, span_id_from_hex, span_id_to_hex
from spantree_exporter.log_record import LogRecord
from spantree_exporter.otlp.encode_json import FINGERPRINTS, RECEIVED_NS
from spantree_exporter.otlp.signals import Item, decode_body
from spantree_exporter.postgres.partitions import SENTINEL_DAY, date_of, day_of
from spantree_exporter.postgres.store import Store
from spantree_exporter.redaction import Redactor

# Written at once, as a collector's writers do.
_BATCH_ITEMS: Final = 4096
_BATCH_BYTES: Final = 16 * 2**20
# What is wrong is named so often, and then only counted.
_NAMED: Final = 20
# Traces whose rows are waited for at the end: the last ones, so that whoever looks sees what was imported.
_WAITED_TRACES: Final = 10_000
_WAIT_S: Final = 60.0
_WAIT_STEP_S: Final = 0.2


@dataclass(slots=True)
class Progress:
    """What came of the files so far.

    `outside` are spans of days that may get no partition, by day; `redacted` are secrets, by kind.
    """

    spans: int = 0
    duplicates: int = 0
    log_records: int = 0
    duplicate_log_records: int = 0
    bad: int = 0
    outside: Counter[str] = field(default_factory=Counter)
    redacted: Counter[str] = field(default_factory=Counter)

    @property
    def found(self) -> bool:
        """Whether there was anything, or anything that could not be read."""
        known = self.spans + self.duplicates + self.log_records + self.duplicate_log_records
        return bool(known or self.bad or self.outside)

    @property
    def stored(self) -> int:
        """Spans and log records that are new."""
        return self.spans + self.log_records


class Importer:
    """Writes what files hold. `say` is told of what is wrong, a sentence each, twenty times at most.

    With `hold_until` every day of theirs gets a partition, and retention leaves it alone up to that day.
    """

    def __init__(
        self, store: Store, say: Callable[[str], None], hold_until: date | None = None, redactor: Redactor | None = None
    ) -> None:
        self._redactor = redactor
        self.progress = Progress()
        self._hold_until = hold_until
        self._store = store
        self._say = say
        self._items: list[Item] = []
        self._bytes = 0
        self._held: set[int] = {SENTINEL_DAY}
        self._written: deque[bytes] = deque(maxlen=_WAITED_TRACES)

    def add(self, file: str, parts: Iterable[Body | Bad]) -> None:
        """Take in a file. Raises StoreUnavailable, OperatorError: what was written until then is stored."""
        for part in parts:
            if isinstance(part, Bad):
                self._complain(f"{file}: {part.where}: {part.reason}")
                continue
            try:
                body = part.body
                if self._redactor is not None:
                    body, kinds = self._redactor.body(body, part.encoding)
                    self.progress.redacted.update(kinds)
                decoded = decode_body(body, part.encoding, time.time_ns())
            except MalformedRequest as error:
                self._complain(f"{file}: {part.where}: {error}")
                continue
            for letter in decoded.dead:
                self._complain(f"{file}: {part.where}: {letter.reason}")
            self.progress.bad += decoded.unkept
            if part.ours is not None and not decoded.dead:
                _restore(decoded.items, part.ours)
            self._items += decoded.items
            self._bytes += len(part.body)
            if len(self._items) >= _BATCH_ITEMS or self._bytes >= _BATCH_BYTES:
                # What is held here would be held while large traces are projected.
                del part, body, decoded
                self.flush()

    def flush(self) -> None:
        """Write what was taken in. Raises as `add`."""
        items, self._items, self._bytes = self._items, [], 0
        items = self._within_window(items)
        for first in range(0, len(items), _BATCH_ITEMS):
            self._write(items[first : first + _BATCH_ITEMS])
        self._store.project_due()

    def project(self) -> int:
        """Wait until what was written shows, a minute at most; how many traces are still to be projected."""
        deadline_s = time.monotonic() + _WAIT_S
        waiting = set(self._written)
        while waiting and time.monotonic() < deadline_s:
            if not self._store.project_due().more:
                waiting = self._store.still_pending(waiting)
                if waiting:
                    time.sleep(_WAIT_STEP_S)
        return len(waiting)

    def _within_window(self, items: list[Item]) -> list[Item]:
        """Those whose day has, or may get, a partition: others would lose it, and come twice when it has one later."""
        days = {_day(item) for item in items}
        if self._hold_until is not None and (new := days - self._held):
            self._store.hold_days(new, self._hold_until)
            self._held |= new
        outside = self._store.days_without_partition(days)
        if not outside:
            return items
        self.progress.outside.update(date_of(_day(item)).isoformat() for item in items if _day(item) in outside)
        return [item for item in items if _day(item) not in outside]

    def _write(self, items: list[Item]) -> None:
        try:
            written = self._store.write(items)
        except BatchRejected as error:
            if len(items) == 1:
                [one] = items
                self._complain(f"span {span_id_to_hex(one.span_id)} of trace {one.trace_id.hex()} is refused: {error}")
                return
            middle = len(items) // 2
            self._write(items[:middle])
            self._write(items[middle:])
            return
        progress = self.progress
        progress.spans += written.spans
        progress.duplicates += written.duplicates
        progress.log_records += written.log_records
        progress.duplicate_log_records += written.duplicate_log_records
        if written.spans or written.log_records:
            self._written.extend({item.trace_id for item in items})

    def _complain(self, sentence: str) -> None:
        self.progress.bad += 1
        if self.progress.bad <= _NAMED:
            self._say(sentence)
        elif self.progress.bad == _NAMED + 1:
            self._say("more is wrong, and counted only")


def _day(item: Item) -> int:
    return day_of(item.at_ns if isinstance(item, LogRecord) else item.start_ns)


def _restore(items: Iterable[Item], ours: dict[str, Any]) -> None:
    """Give spans and records back what the collector made of them when they came first, so that they are the same.

    Where that is not told for each of them in its form, somebody has changed the line: it is as any other.
    """
    found = list(items)
    fingerprints, received = ours.get(FINGERPRINTS), ours.get(RECEIVED_NS)
    if not isinstance(fingerprints, list) or not isinstance(received, list):
        return
    if not len(fingerprints) == len(received) == len(found):
        return
    try:
        told = [(span_id_from_hex(one), int(ns)) for one, ns in zip(fingerprints, received, strict=True)]
    except (InvalidId, TypeError, ValueError):
        return
    for item, (fingerprint, received_ns) in zip(found, told, strict=True):
        item.fingerprint = fingerprint
        item.received_ns = max(0, min(received_ns, 2**63 - 1))
