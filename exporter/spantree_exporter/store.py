"""PostgreSQL as the pump, the projector and the in-process exporter see it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Final

import orjson

from spantree_exporter.assemble import assemble as default_assemble
from spantree_exporter.changes import ChangePruner
from spantree_exporter.connection import StoreConnection
from spantree_exporter.dead_letters import DeadLetterLimits
from spantree_exporter.decode import JSON, decode_request
from spantree_exporter.distribution import by_worker
from spantree_exporter.errors import BatchRejected, OperatorError, SpantreeError
from spantree_exporter.facts import read_facts as default_read_facts
from spantree_exporter.log_record import LogRecord
from spantree_exporter.log_writer import LogWriter
from spantree_exporter.migrate import check_version
from spantree_exporter.partitions import PartitionWindow, day_of
from spantree_exporter.projection import Assemble, ReadFacts, TolerantReader
from spantree_exporter.projector import Projected, Projector, due_tenants
from spantree_exporter.rollup_store import RollupFolder
from spantree_exporter.span import Span
from spantree_exporter.writer import Writer, Written

if TYPE_CHECKING:
    from spantree_exporter.decode import DeadLetter

__all__ = ["Projected", "Store", "Written"]

# Tenants of which it is remembered what is stored; beyond this many they are forgotten together.
_KNOWN_TENANTS: Final = 200


class Store:
    """One connection's worth of writing and projecting. Not for use by two threads at once: give each its own.

    `tenant_id` is whose rows are written where a call names nobody else. Connects when first used and again after the
    connection broke. Every method raises StoreUnavailable (try again), OperatorError (somebody has to act; try again
    slowly) and nothing else, `write` also BatchRejected.
    """

    def __init__(
        self,
        database_url: str,
        *,
        tenant_id: int = 0,
        application_name: str = "spantree",
        window: PartitionWindow | None = None,
        read_facts: ReadFacts = default_read_facts,
        assemble: Assemble = default_assemble,
        dead_letters: DeadLetterLimits | None = None,
    ) -> None:
        self._reader = TolerantReader(read_facts, assemble)
        self._connection = StoreConnection(database_url, application_name, window)
        self._tenant_id = tenant_id
        self._dead_letters = dead_letters or DeadLetterLimits()
        self._writers: dict[int, tuple[Writer, LogWriter]] = {}
        self._projectors: dict[int, tuple[Projector, ChangePruner]] = {}
        self._due_tenants: deque[int] = deque()
        self._folder = RollupFolder(self._connection)

    def write(
        self, items: Sequence[Span | LogRecord], dead: Sequence[DeadLetter] = (), *, tenant_id: int | None = None
    ) -> Written:
        """Store all of `items` and `dead` for one tenant; returns after the commits: of log records, then of the rest.

        Idempotent, whatever order, split or repetition they come in. Raises BatchRejected where PostgreSQL refuses
        something in the batch for its content: a part of it may pass, and the log records may be stored.
        """
        if not items and not dead:
            return Written(0, 0, 0)
        records = [item for item in items if isinstance(item, LogRecord)]
        spans = [item for item in items if not isinstance(item, LogRecord)] if records else items
        writer, log_writer = self._writers_of(self._tenant_id if tenant_id is None else tenant_id)
        try:
            with self._connection.errors():
                # Before the spans: a trace that is whole in a batch is then projected once, with its records.
                stored = log_writer.write(records) if records else 0
                if not spans and not dead:
                    return Written(0, 0, 0, stored, len(records) - stored)
                written = writer.write(spans, dead)  # type: ignore[arg-type]  # no log record is left in it
                return replace(written, log_records=stored, duplicate_log_records=len(records) - stored)
        except SpantreeError:
            # What they believe to be stored may have been rolled back, or another server may answer next.
            self._forget()
            raise

    def by_worker(self, trace_ids: Collection[bytes]) -> list[set[bytes]]:
        """`trace_ids` by the worker of a Citus cluster that has them; all together where there is no cluster."""
        with self._connection.errors():
            return by_worker(self._connection.open(), trace_ids)

    def project_due(self, limit_spans: int = 20_000) -> Projected:
        """Bring the rows of traces that are due up to date, some `limit_spans` spans' worth.

        Tenants take turns: each call goes on with the next one that has something due. Now and then it folds rollups
        and drops changes of more than a day ago. A trace that cannot be projected stays pending, with the reason in
        pending_projection.error.
        """
        with self._connection.errors():
            projected = Projected(0, 0, more=False)
            if not self._due_tenants:
                self._due_tenants.extend(due_tenants(self._connection))
            if self._due_tenants:
                projector, pruner = self._projector(self._due_tenants.popleft())
                of_one = projector.project_due(limit_spans)
                projected = replace(of_one, more=of_one.more or bool(self._due_tenants))
                pruner.prune_when_due()
            self._folder.fold_when_due()
            return projected

    def still_pending(self, trace_ids: Collection[bytes]) -> set[bytes]:
        """Those of `trace_ids` that wait for a projection, due or not: for whoever wants to see them projected."""
        with self._connection.errors():
            return self._projector(self._tenant_id)[0].still_pending(trace_ids)

    def days_without_partition(self, days: Collection[int]) -> set[int]:
        """Those of `days` whose spans would be stored under 1970-01-01; partitions that the window allows are made."""
        with self._connection.errors():
            return {day for day, placed in self._connection.place_days(days).items() if placed != day}

    def hold_days(self, days: Collection[int], until: date) -> None:
        """Let `days` have partitions although retention dropped them, and keep it from them up to `until`."""
        with self._connection.errors():
            self._connection.days.hold(self._connection.open(), days, until)

    def check(self) -> None:
        """Raise if the database is away or its schema is not at this build's version."""
        with self._connection.errors():
            check_version(self._connection.open())

    def check_tables(self) -> None:
        """Raise OperatorError where PostgreSQL refuses even a span that has nothing special; keeps nothing of it.

        For whoever has had a batch refused: a table that somebody changed refuses every span, and no span is to blame.
        """
        self.check()
        now_ns = time.time_ns()
        try:
            with self._connection.errors():
                # Making a partition commits on its own, so it is made before.
                self._connection.place_days({day_of(now_ns)})
                with self._connection.open().transaction(force_rollback=True):
                    self._writers_of(self._tenant_id)[0].write(_plain_spans(now_ns), ())
        except BatchRejected as error:
            raise OperatorError(
                f"PostgreSQL refuses even a plain span, so its tables are not those of this build: {error}; undo what "
                "was changed in the schema spantree"
            ) from error
        finally:
            # What is believed to be there, a temporary table for example, was rolled back.
            self._forget()
            self._connection.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _forget(self) -> None:
        for writer, _ in self._writers.values():
            writer.forget()

    def _projector(self, tenant_id: int) -> tuple[Projector, ChangePruner]:
        if (projector := self._projectors.get(tenant_id)) is None:
            if len(self._projectors) >= _KNOWN_TENANTS:
                self._projectors.clear()
            pruner = ChangePruner(self._connection, tenant_id)
            projector = self._projectors[tenant_id] = Projector(self._connection, tenant_id, self._reader), pruner
        return projector

    def _writers_of(self, tenant_id: int) -> tuple[Writer, LogWriter]:
        if (writers := self._writers.get(tenant_id)) is None:
            if len(self._writers) >= _KNOWN_TENANTS:
                self._writers.clear()
            writer = Writer(self._connection, tenant_id, self._reader, self._dead_letters)
            writers = writer, LogWriter(self._connection, tenant_id, writer.insert_resources)
            self._writers[tenant_id] = writers
        return writers


def _plain_spans(now_ns: int) -> list[Span]:
    """One span of now, which every database with this build's tables takes."""
    span = {
        "traceId": "0" * 31 + "1",
        "spanId": "0" * 15 + "1",
        "name": "a plain span",
        "startTimeUnixNano": now_ns,
        "endTimeUnixNano": now_ns,
    }
    body = orjson.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
    return decode_request(body, JSON, now_ns).spans
