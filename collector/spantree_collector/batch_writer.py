"""One batch into PostgreSQL, whatever is in it: divided by the cause where it does not pass as a whole.

    cause                               what is done
    content (BatchRejected)             quarters, down to the span; the span becomes a dead letter
    time, memory (BatchFailed)          the same again, then smaller pieces, down to the span; a span that fails alone
                                        time after time becomes a dead letter
    internal error (BatchFailed, XX)    the same, but nothing is blamed: its body stays in the spool
    a worker of a cluster away          the traces of each worker by themselves; what is left waits, others go on
    database away, schema, rights       RetryingStore waits; nothing is divided and nothing becomes a dead letter

Before anything is blamed, a plain span is tried (Store.check_tables): where that is refused too, it is the tables.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise

from spantree_collector.metrics_delta import Counts
from spantree_collector.retrying_store import RetryingStore, Stopped, StoreLike
from spantree_collector.spool import SpooledBody
from spantree_exporter.decode import DeadLetter
from spantree_exporter.errors import BatchFailed, BatchRejected, WorkerUnavailable
from spantree_exporter.signals import Item, raw_items
from spantree_exporter.store import Written

log = logging.getLogger(__name__)

# Of four, one bad span costs as many transactions as of two, and many bad ones cost two thirds of them.
_PARTS = 4
# A bad span of n costs some 4 * log4(n) transactions, n bad ones n * 4/3. Beyond so many in one batch, a piece that is
# refused becomes dead letters whole: what else is in it can be written again from there.
_MOST_REFUSED = 2_000
# A time limit may be the server's bad minute, so a piece is tried again before it is divided, and a span before it is
# blamed.
_PIECE_TRIES = 2
_SPAN_TRIES = 3
# Dead letters that go into one transaction.
_LETTERS = 500
_LETTER_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class DecodedBody:
    """A body of a batch: which of its spans are in it, `first` and on, `count` of them."""

    spooled: SpooledBody
    plain: bytes
    first: int
    count: int


@dataclass(slots=True)
class Batch:
    """Whole bodies of one tenant, or parts of them, decoded.

    The spans, log records among them, are in the order of the bodies. `dead_counts`: how many of `dead`, and of what is
    not even kept, there are of each cause.
    """

    bodies: list[DecodedBody] = field(default_factory=list)
    spans: list[Item] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    dead_counts: Counter[str] = field(default_factory=Counter)
    plain_bytes: int = 0
    tenant_id: int = 0
    tables_checked: bool = False
    refused: dict[int, str] = field(default_factory=dict)  # why, by the places of the spans
    waiting: list[Sequence[int]] = field(default_factory=list)  # places of spans whose worker is away, by worker

    def ids(self) -> list[int]:
        """The bodies' ids."""
        return [body.spooled.id for body in self.bodies]


class BatchWriter:
    """Writes batches by the store of one pump."""

    def __init__(self, store: RetryingStore, counts: Counts, batch_spans: int) -> None:
        self._store = store
        self._counts = counts
        self._batch_spans = batch_spans

    def write(self, batch: Batch) -> bool:
        """Store all of `batch`, as rows or as dead letters. False where some of it must stay in the spool.

        What has `waiting` afterwards is not through: to be written again later, which goes on with that. Raises Stopped
        when PostgreSQL does not take it while stopping.
        """
        is_whole = self._write_spans(batch)
        if batch.waiting:
            return False
        refused = batch.refused
        letters: list[DeadLetter] = []
        letters_bytes = 0
        for letter in chain(batch.dead, _letters(batch, refused)):
            letters.append(letter)
            letters_bytes += len(letter.raw)
            if len(letters) >= _LETTERS or letters_bytes >= _LETTER_BYTES:
                is_whole &= self._write_letters(batch.tenant_id, letters)
                letters, letters_bytes = [], 0
        if letters:
            is_whole &= self._write_letters(batch.tenant_id, letters)
        # Only now: a batch that is not written whole because something failed is decoded, and would be counted, again.
        batch.dead_counts["refused"] += len(refused)
        for reason, count in batch.dead_counts.items():
            if count:
                self._counts.count("dead_letters", count, [reason])
        if not is_whole:
            self._counts.count("left_bodies", len(batch.bodies))
        return is_whole

    def _write_spans(self, batch: Batch) -> bool:
        """Whether all that is neither refused nor waiting is stored."""
        count = len(batch.spans)
        refused = batch.refused
        is_whole = True
        # Even pieces: a full one and a rest of a few spans would be two transactions for the work of one.
        pieces = [(piece, False) for piece in _divided(range(count), max(1, count // self._batch_spans))]
        if batch.waiting:
            pieces, batch.waiting = [(piece, True) for piece in batch.waiting], []
        while pieces:
            piece, is_of_worker = pieces.pop()
            is_single = len(piece) == 1
            try:
                self._write_piece(batch, piece, 1 if is_of_worker else _SPAN_TRIES if is_single else _PIECE_TRIES)
            except BatchRejected as error:
                if is_single or len(refused) >= _MOST_REFUSED:
                    refused.update(dict.fromkeys(piece, str(error)))
                else:
                    pieces += [(part, is_of_worker) for part in _divided(piece, _PARTS)]
            except (BatchFailed, MemoryError) as error:
                if not is_single:
                    pieces += [(part, is_of_worker) for part in _divided(piece, _PARTS)]
                elif isinstance(error, BatchFailed) and error.is_internal:
                    is_whole = False
                    log.error("PostgreSQL fails on a span; its body stays in the spool until the next start: %s", error)
                else:
                    refused[piece[0]] = str(error) or "writing it takes more memory than a writer may use"
            except WorkerUnavailable:
                if is_of_worker:
                    batch.waiting.append(piece)
                else:
                    pieces += [(part, True) for part in self._by_worker(batch, piece)]
        return is_whole

    def _by_worker(self, batch: Batch, piece: Sequence[int]) -> list[Sequence[int]]:
        trace_ids = {batch.spans[place].trace_id for place in piece}
        sets = self._store.run(lambda store: store.by_worker(trace_ids))
        return [[place for place in piece if batch.spans[place].trace_id in of_worker] for of_worker in sets]

    def _write_piece(self, batch: Batch, piece: Sequence[int], tries: int) -> None:
        spans = [batch.spans[place] for place in piece]

        def write(store: StoreLike) -> Written:
            try:
                return store.write(spans, tenant_id=batch.tenant_id)
            except BatchRejected:
                if not batch.tables_checked:
                    # Raises OperatorError, upon which the store waits and calls this again.
                    store.check_tables()
                    batch.tables_checked = True
                raise

        started_s = time.perf_counter()
        try:
            written = self._store.run(write, tries)
        except (Stopped, BatchRejected, BatchFailed, WorkerUnavailable, MemoryError):
            raise
        except Exception as error:
            # A fault of ours. With a new connection it may pass; if not, one of these spans is behind it.
            self._store.fault(error)
            try:
                written = self._store.run(write)
            except (Stopped, BatchRejected, BatchFailed, WorkerUnavailable, MemoryError):
                raise
            except Exception as again:
                self._store.fault(again)
                raise BatchRejected(f"writing it fails with {type(again).__name__}: {again}", None) from again
        self._counts.observe_write(time.perf_counter() - started_s)
        self._counts.count("stored_spans", written.spans)
        self._counts.count("duplicate_spans", written.duplicates)
        self._counts.count("projected_traces", written.projected_traces)
        if written.outside:
            self._counts.count("outside_spans", written.outside)
        if written.log_records or written.duplicate_log_records:
            self._counts.count("stored_log_records", written.log_records)
            self._counts.count("duplicate_log_records", written.duplicate_log_records)

    def _write_letters(self, tenant_id: int, letters: Sequence[DeadLetter]) -> bool:
        """Whether all of them are stored."""
        try:
            self._store.run(lambda store: store.write((), letters, tenant_id=tenant_id), tries=_PIECE_TRIES)
        except Stopped:
            raise
        except Exception as error:
            if len(letters) > 1:
                middle = len(letters) // 2
                first = self._write_letters(tenant_id, letters[:middle])
                return self._write_letters(tenant_id, letters[middle:]) and first
            log.error("a dead letter cannot be stored; its body stays in the spool until the next start: %s", error)
            return False
        return True


def _divided(piece: Sequence[int], parts: int) -> list[Sequence[int]]:
    """`piece` in even pieces, the last one first: the next to be popped is the first."""
    count = len(piece)
    parts = min(parts, count)
    bounds = [count * part // parts for part in range(parts + 1)] if parts else []
    return [piece[first:end] for first, end in pairwise(bounds)][::-1]


def _letters(batch: Batch, refused: dict[int, str]) -> Iterator[DeadLetter]:
    """For each refused span a letter with its bytes; each body is read once for all of its own."""
    offset = 0
    for decoded in batch.bodies:
        body = decoded.spooled.body
        places = [place for place in range(offset, offset + decoded.count) if place in refused] if refused else []
        if places:
            shift = decoded.first - offset
            raws = raw_items(decoded.plain, body.encoding, [place + shift for place in places])
            for place, raw in zip(places, raws, strict=True):
                yield DeadLetter(refused[place], raw, body.encoding, body.received_ns, "refused")
        offset += decoded.count
