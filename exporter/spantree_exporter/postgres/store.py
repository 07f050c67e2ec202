"""PostgreSQL as the pump, the projector and the in-process exporter see it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Final

import orjson

from spantree_exporter.assemble import assemble as default_assemble
from spantree_exporter.changes import ChangePruner
from spantree_exporter.errors import BatchRejected, OperatorError, SpantreeError
from spantree_exporter.facts import read_facts as default_read_facts
from spantree_exporter.log_record import LogRecord
from spantree_exporter.otlp.decode import JSON, decode_request
from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.postgres.dead_letters import DeadLetterLimits
from spantree_exporter.postgres.distribution import by_worker
from spantree_exporter.postgres.log_writer import LogWriter
from spantree_exporter.postgres.migrate import check_version
from spantree_exporter.postgres.partitions import PartitionWindow, day_of
from spantree_exporter.postgres.projector import Projected, Projector, due_tenants, recall_ahead, still_pending
from spantree_exporter.postgres.rollup_store import RollupFolder
from spantree_exporter.postgres.writer import Share, Writer, Written
from spantree_exporter.projection import Assemble, ReadFacts, TolerantReader
from spantree_exporter.span import Span
from spantree_exporter.terms.merger import TermMerger

if TYPE_CHECKING:
    from spantree_exporter.otlp.decode import DeadLetter

__all__ = ["Projected", "Store", "TenantBatch", "Written"]

# Tenants of which it is remembered when their old changes were dropped; beyond this many they are forgotten together.
_KNOWN_TENANTS: Final = 20_000
# Tenants whose traces are projected by one call: its statements are the same for one and for many.
_TENANTS_TOGETHER: Final = 50
# How often what a clock that was ahead has put off is looked for.
_RECALL_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class TenantBatch:
    """What one tenant has in a batch: spans and log records in any order, and dead letters."""

    tenant_id: int
    items: Sequence[Span | LogRecord]
    dead: Sequence[DeadLetter] = ()


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
        self._writer = Writer(self._connection, self._reader, dead_letters or DeadLetterLimits())
        self._log_writer = LogWriter(self._connection, self._writer.insert_resources)
        self._projector = Projector(self._connection, self._reader)
        self._pruners: dict[int, ChangePruner] = {}
        self._due_tenants: deque[int] = deque()
        self._recall_at_s = 0.0
        self._last_turn = -1  # of which tenant the last call that projected began
        self._folder = RollupFolder(self._connection)
        self._merger = TermMerger(self._connection)

    def write(
        self, items: Sequence[Span | LogRecord], dead: Sequence[DeadLetter] = (), *, tenant_id: int | None = None
    ) -> Written:
        """Store all of `items` and `dead` for one tenant; see write_shares."""
        return self.write_shares([TenantBatch(self._tenant_id if tenant_id is None else tenant_id, items, dead)])

    def write_shares(self, shares: Sequence[TenantBatch]) -> Written:
        """Store what some tenants sent, each in one share; returns after the commits: of log records, then of the rest.

        Idempotent, whatever order, split or repetition they come in. Raises BatchRejected where PostgreSQL refuses
        something in the batch for its content: a part of it may pass, and the log records may be stored.
        """
        records: dict[int, Sequence[LogRecord]] = {}
        others: list[Share] = []
        for share in shares:
            logs = [item for item in share.items if isinstance(item, LogRecord)]
            if logs:
                records[share.tenant_id] = logs
            spans = [item for item in share.items if not isinstance(item, LogRecord)] if logs else share.items
            if spans or share.dead:
                others.append(Share(share.tenant_id, spans, share.dead))  # type: ignore[arg-type]  # no log records
        given = sum(map(len, records.values()))
        if not others and not given:
            return Written(0, 0, 0)
        try:
            with self._connection.errors():
                # Before the spans: a trace that is whole in a batch is then projected once, with its records.
                stored = self._log_writer.write(records) if records else 0
                written = self._writer.write(others) if others else Written(0, 0, 0)
                return replace(written, log_records=stored, duplicate_log_records=given - stored)
        except SpantreeError:
            # What they believe to be stored may have been rolled back, or another server may answer next.
            self._writer.forget()
            raise

    def by_worker(self, trace_ids: Collection[bytes]) -> list[set[bytes]]:
        """`trace_ids` by the worker of a Citus cluster that has them; all together where there is no cluster."""
        with self._connection.errors():
            return by_worker(self._connection.open(), trace_ids)

    def project_due(self, limit_spans: int = 20_000) -> Projected:
        """Bring the rows of traces that are due up to date, some `limit_spans` spans' worth.

        Tenants take turns: a call is for some that have something due, the first of each before the second of any, and
        the next one goes on with others. Now and then it folds rollups, merges what spans are found by, and drops
        changes of more than a day ago. A trace that cannot be projected stays pending, with the reason in
        pending_projection.error.
        """
        with self._connection.errors():
            projected = Projected(0, 0, more=False)
            due: dict[int, float] | None = None
            if not self._due_tenants:
                if time.monotonic() >= self._recall_at_s:
                    self._recall_at_s = time.monotonic() + _RECALL_S
                    recall_ahead(self._connection)
                due = due_tenants(self._connection)
                # Who was first the last time is the last one now: of a tenant that comes first any trace is taken.
                self._due_tenants.extend(sorted(due, key=lambda tenant_id: (tenant_id <= self._last_turn, tenant_id)))
            if self._due_tenants:
                count = min(len(self._due_tenants), _TENANTS_TOGETHER)
                turns = [self._due_tenants.popleft() for _ in range(count)]
                self._last_turn = turns[0]
                of_some = self._projector.project_due(turns, limit_spans)
                projected = replace(of_some, more=of_some.more or bool(self._due_tenants))
                for tenant_id in turns:
                    self._pruner(tenant_id).prune_when_due()
            self._folder.fold_when_due()
            self._merger.merge_when_due()
            return replace(projected, due_s=due)

    def still_pending(self, trace_ids: Collection[bytes]) -> set[bytes]:
        """Those of `trace_ids` that wait for a projection, due or not: for whoever wants to see them projected."""
        with self._connection.errors():
            return still_pending(self._connection, self._tenant_id, trace_ids)

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
                    self._writer.write([Share(self._tenant_id, _plain_spans(now_ns))])
        except BatchRejected as error:
            raise OperatorError(
                f"PostgreSQL refuses even a plain span, so its tables are not those of this build: {error}; undo what "
                "was changed in the schema spantree"
            ) from error
        finally:
            # What is believed to be there, a temporary table for example, was rolled back.
            self._writer.forget()
            self._connection.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _pruner(self, tenant_id: int) -> ChangePruner:
        if (pruner := self._pruners.get(tenant_id)) is None:
            if len(self._pruners) >= _KNOWN_TENANTS:
                self._pruners.clear()
            pruner = self._pruners[tenant_id] = ChangePruner(self._connection, tenant_id)
        return pruner


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
