"""One batch into PostgreSQL, whatever is in it: divided by the cause where it does not pass as a whole.

    cause                               what is done
    content (BatchRejected)             quarters, down to the span; the span becomes a dead letter
    time, memory (BatchFailed)          the same again, then smaller pieces, down to the span; a span that fails alone
                                        time after time becomes a dead letter
    internal error (BatchFailed, XX)    the same, but nothing is blamed: its body stays in the spool
    a worker of a cluster away          the traces of each worker by themselves; what is left waits, others go on
    database away, schema, rights       RetryingStore waits; nothing is divided and nothing becomes a dead letter

A piece of several tenants is divided between them first, so that nobody's spans are blamed for another's.

Before anything is blamed, a plain span is tried (Store.check_tables): where that is refused too, it is the tables.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, pairwise

from spantree_collector.metrics_delta import Counts
from spantree_collector.spool.spooled_body import SpooledBody
from spantree_collector.write.retrying_store import RetryingStore, Stopped, StoreLike
from spantree_exporter.errors import BatchFailed, BatchRejected, WorkerUnavailable
from spantree_exporter.otlp.decode import DeadLetter
from spantree_exporter.otlp.signals import Item, raw_items
from spantree_exporter.postgres.store import TenantBatch, Written

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


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, and the body that it comes from."""

    spooled: SpooledBody
    letter: DeadLetter


@dataclass(slots=True)
class Batch:
    """Whole bodies, or parts of them, of any tenants, decoded.

    The spans, log records among them, are in the order of the bodies. `dead_counts`: how many of `dead`, and of what is
    not even kept, there are of each cause.
    """

    bodies: list[DecodedBody] = field(default_factory=list)
    spans: list[Item] = field(default_factory=list)
    tenant_ids: list[int] = field(default_factory=list)  # whose `spans` are
    dead: list[Letter] = field(default_factory=list)
    dead_counts: Counter[str] = field(default_factory=Counter)
    plain_bytes: int = 0
    tables_checked: bool = False
    refused: dict[int, str] = field(default_factory=dict)  # why, by the places of the spans
    waiting: list[Sequence[int]] = field(default_factory=list)  # places of spans whose worker is away, by worker
    left: set[int] = field(default_factory=set)  # ids of bodies of which something could not be stored

    def ids(self) -> list[int]:
        """The bodies' ids."""
        return [body.spooled.id for body in self.bodies]

    def bury(self, spooled: SpooledBody, letters: Sequence[DeadLetter]) -> None:
        """Have dead letters stored with the rest; `spooled` is the body that they come from."""
        self.dead += [Letter(spooled, letter) for letter in letters]

    def body_of(self, place: int) -> SpooledBody:
        """The body that has the span of this place."""
        for body in self.bodies:
            if place < body.count:
                return body.spooled
            place -= body.count
        raise IndexError(place)

    def shares(self, piece: Sequence[int]) -> list[TenantBatch]:
        """The spans of these places, tenant by tenant."""
        of_tenants: dict[int, list[Item]] = {}
        for place in piece:
            of_tenants.setdefault(self.tenant_ids[place], []).append(self.spans[place])
        return [TenantBatch(tenant_id, spans) for tenant_id, spans in of_tenants.items()]


class BatchWriter:
    """Writes batches by the store of one pump."""

    def __init__(self, store: RetryingStore, counts: Counts, batch_spans: int) -> None:
        self._store = store
        self._counts = counts
        self._batch_spans = batch_spans

    def write(self, batch: Batch) -> None:
        """Store all of `batch`, as rows or as dead letters; bodies of which some must stay in the spool are its `left`.

        What has `waiting` afterwards is not through: to be written again later, which goes on with that. Raises Stopped
        when PostgreSQL does not take it while stopping.
        """
        self._write_spans(batch)
        if batch.waiting:
            return
        refused = batch.refused
        letters: list[Letter] = []
        letters_bytes = 0
        for letter in chain(batch.dead, _letters(batch, refused)):
            letters.append(letter)
            letters_bytes += len(letter.letter.raw)
            if len(letters) >= _LETTERS or letters_bytes >= _LETTER_BYTES:
                self._write_letters(batch, letters)
                letters, letters_bytes = [], 0
        if letters:
            self._write_letters(batch, letters)
        # Only now: a batch that is not written whole because something failed is decoded, and would be counted, again.
        batch.dead_counts["refused"] += len(refused)
        for reason, count in batch.dead_counts.items():
            if count:
                self._counts.count("dead_letters", count, [reason])
        if batch.left:
            self._counts.count("left_bodies", len(batch.left))

    def _write_spans(self, batch: Batch) -> None:
        """Store all that is neither refused nor waiting."""
        count = len(batch.spans)
        refused = batch.refused
        refused_of = Counter(batch.tenant_ids[place] for place in refused)
        # Even pieces: a full one and a rest of a few spans would be two transactions for the work of one.
        in_order = sorted(range(count), key=batch.tenant_ids.__getitem__)
        pieces = [(piece, False) for piece in _divided(in_order, max(1, count // self._batch_spans))]
        if batch.waiting:
            pieces, batch.waiting = [(piece, True) for piece in batch.waiting], []
        while pieces:
            piece, is_of_worker = pieces.pop()
            is_single = len(piece) == 1
            tenant_id = batch.tenant_ids[piece[0]]
            try:
                self._write_piece(batch, piece, 1 if is_of_worker else _SPAN_TRIES if is_single else _PIECE_TRIES)
            except BatchRejected as error:
                is_too_many = refused_of[tenant_id] >= _MOST_REFUSED and len(_tenants(batch, piece)) == 1
                if is_single or is_too_many:
                    refused.update(dict.fromkeys(piece, str(error)))
                    refused_of[tenant_id] += len(piece)
                else:
                    pieces += [(part, is_of_worker) for part in _parts(batch, piece)]
            except (BatchFailed, MemoryError) as error:
                if not is_single:
                    pieces += [(part, is_of_worker) for part in _parts(batch, piece)]
                elif isinstance(error, BatchFailed) and error.is_internal:
                    batch.left.add(batch.body_of(piece[0]).id)
                    log.error("PostgreSQL fails on a span; its body stays in the spool until the next start: %s", error)
                else:
                    refused[piece[0]] = str(error) or "writing it takes more memory than a writer may use"
                    refused_of[tenant_id] += 1
            except WorkerUnavailable:
                if is_of_worker:
                    batch.waiting.append(piece)
                else:
                    pieces += [(part, True) for part in self._by_worker(batch, piece)]

    def _by_worker(self, batch: Batch, piece: Sequence[int]) -> list[Sequence[int]]:
        trace_ids = {batch.spans[place].trace_id for place in piece}
        sets = self._store.run(lambda store: store.by_worker(trace_ids))
        return [[place for place in piece if batch.spans[place].trace_id in of_worker] for of_worker in sets]

    def _write_piece(self, batch: Batch, piece: Sequence[int], tries: int) -> None:
        shares = batch.shares(piece)

        def write(store: StoreLike) -> Written:
            try:
                return store.write_shares(shares)
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
        for tenant_id, spans in written.by_tenant.items():
            self._counts.count("tenant_stored_spans", spans, [str(tenant_id)])
        for tenant_id, traces in written.projected_by_tenant.items():
            self._counts.count("tenant_projected_traces", traces, [str(tenant_id)])
        if written.outside:
            self._counts.count("outside_spans", written.outside)
        if written.log_records or written.duplicate_log_records:
            self._counts.count("stored_log_records", written.log_records)
            self._counts.count("duplicate_log_records", written.duplicate_log_records)

    def _write_letters(self, batch: Batch, letters: Sequence[Letter]) -> None:
        """Store them; the bodies of those that cannot be stored are left."""
        of_tenants: dict[int, list[DeadLetter]] = {}
        for one in letters:
            of_tenants.setdefault(one.spooled.body.tenant_id, []).append(one.letter)
        shares = [TenantBatch(tenant_id, (), dead) for tenant_id, dead in of_tenants.items()]
        try:
            self._store.run(lambda store: store.write_shares(shares), tries=_PIECE_TRIES)
        except Stopped:
            raise
        except Exception as error:
            if len(letters) > 1:
                middle = len(letters) // 2
                self._write_letters(batch, letters[:middle])
                self._write_letters(batch, letters[middle:])
                return
            log.error("a dead letter cannot be stored; its body stays in the spool until the next start: %s", error)
            batch.left.add(letters[0].spooled.id)


def _tenants(batch: Batch, piece: Sequence[int]) -> list[int]:
    """How many spans of `piece` each of its tenants has; those of one follow each other."""
    return list(Counter(batch.tenant_ids[place] for place in piece).values())


def _parts(batch: Batch, piece: Sequence[int]) -> list[Sequence[int]]:
    """`piece` in some parts, the last one first: between its tenants where it is of several."""
    counts = _tenants(batch, piece)
    if len(counts) == 1:
        return _divided(piece, _PARTS)
    ends = list(accumulate(counts))
    # The end of a tenant's that is next to each even one.
    wanted = [len(piece) * part / _PARTS for part in range(1, _PARTS)]
    chosen = sorted({min(ends[:-1], key=lambda end: abs(end - want)) for want in wanted})
    bounds = [0, *chosen, len(piece)]
    return [piece[first:end] for first, end in pairwise(bounds)][::-1]


def _divided(piece: Sequence[int], parts: int) -> list[Sequence[int]]:
    """`piece` in even pieces, the last one first: the next to be popped is the first."""
    count = len(piece)
    parts = min(parts, count)
    bounds = [count * part // parts for part in range(parts + 1)] if parts else []
    return [piece[first:end] for first, end in pairwise(bounds)][::-1]


def _letters(batch: Batch, refused: dict[int, str]) -> Iterator[Letter]:
    """For each refused span a letter with its bytes; each body is read once for all of its own."""
    offset = 0
    for decoded in batch.bodies:
        body = decoded.spooled.body
        places = [place for place in range(offset, offset + decoded.count) if place in refused] if refused else []
        if places:
            shift = decoded.first - offset
            raws = raw_items(decoded.plain, body.encoding, [place + shift for place in places])
            for place, raw in zip(places, raws, strict=True):
                letter = DeadLetter(refused[place], raw, body.encoding, body.received_ns, "refused")
                yield Letter(decoded.spooled, letter)
        offset += decoded.count
