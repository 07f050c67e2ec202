"""Spool -> decode -> PostgreSQL -> removal from the spool, in that order, so that a crash anywhere only repeats work.

Two plain threads, each with a connection of its own: the pump writes spans, the projector projects the traces that
have become due.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise

from spantree_collector.decompress import decompress
from spantree_collector.session import SessionReport, Stopped, StoreLike, StoreSession
from spantree_collector.shares import BodyQueue
from spantree_collector.spool import Body, SpooledBody, SpoolFailed
from spantree_collector.tally import Counts
from spantree_exporter.decode import DeadLetter
from spantree_exporter.errors import BatchRejected, MalformedRequest
from spantree_exporter.signals import Item, decode_body, raw_item

log = logging.getLogger(__name__)

# How long the transaction in hand may take when stopping.
GRACE_S = 2.0
# How often the stop flag is looked at while there is nothing to do.
_IDLE_S = 0.25
# The projector looks for due traces this often: a person waits for an execution to appear.
_PROJECT_INTERVAL_S = 0.25
# After an error that no rule foresees.
_FAULT_PAUSE_S = 5.0
# Bodies taken at a time; small ones are many.
_TAKE_BODIES = 512
# Only what makes up a batch is taken, as far as the spans before it tell, for another pump may have time for the rest.
_FIRST_SPAN_BYTES = 1000.0
_LEAST_TAKE_BYTES = 64 * 2**10


@dataclass(slots=True)
class _Batch:
    """Whole bodies, decoded. `origins` holds, for each body, its spans' number: where a span came from, in order.

    Of a body of log records these are its "spans".
    """

    bodies: list[SpooledBody] = field(default_factory=list)
    plain: list[bytes] = field(default_factory=list)
    origins: list[int] = field(default_factory=list)
    spans: list[Item] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    plain_bytes: int = 0


class Pump:
    """The thread that moves bodies from the spool into PostgreSQL; several may, each with bodies of its own."""

    def __init__(
        self,
        bodies: BodyQueue,
        open_store: Callable[[], StoreLike],
        counts: Counts,
        *,
        batch_spans: int,
        batch_bytes: int,
    ) -> None:
        self._bodies = bodies
        self._counts = counts
        self._batch_spans = batch_spans
        self._batch_bytes = batch_bytes
        self._stop = threading.Event()
        self._drain_until_s = float("inf")
        self._session = StoreSession("pump", open_store, self._stop, counts)
        self._span_bytes = _FIRST_SPAN_BYTES
        self._waiting: deque[SpooledBody] = deque()
        self._thread = threading.Thread(target=self._run, name="spantree-pump", daemon=True)

    @property
    def report(self) -> SessionReport:
        """What PostgreSQL last said."""
        return self._session.report

    def start(self) -> None:
        """Begin with the oldest body."""
        self._thread.start()

    def stop(self, drain_s: float) -> None:
        """Write what the spool holds, for at most `drain_s` and while PostgreSQL takes it, then end."""
        self._drain_until_s = time.monotonic() + drain_s
        self._stop.set()
        # A transaction that hangs is left to the process's end: its bodies are still in the spool.
        self._thread.join(drain_s + _IDLE_S)

    def _run(self) -> None:
        while True:
            try:
                with ThreadPoolExecutor(max_workers=1, thread_name_prefix="spantree-decode") as decoder:
                    self._move_bodies(decoder)
                break
            except (Stopped, SpoolFailed) as error:
                log.debug("the pump ends: %s", error)
                break
            except Exception as error:
                # A pump that ended here would leave the spool to fill up. It begins again with the oldest body: what
                # was written before is recognised.
                self._session.fault(error)
                self._waiting.clear()
                self._bodies.rewind()
                if self._stop.wait(_FAULT_PAUSE_S):
                    break
        self._session.close()

    def _move_bodies(self, decoder: ThreadPoolExecutor) -> None:
        # Before the first body, so that a wrong schema is told at once.
        self._session.run(lambda store: None)
        ahead = decoder.submit(self._next_batch)
        while not self._stop.is_set() or time.monotonic() < self._drain_until_s:
            batch = ahead.result()
            if batch.bodies:
                # Decoded while PostgreSQL is busy with the one before.
                ahead = decoder.submit(self._next_batch)
                self._write(batch)
                continue
            if self._stop.is_set():
                break
            self._bodies.wait(_IDLE_S)
            ahead = decoder.submit(self._next_batch)

    # ---- bodies -> spans ---------------------------------------------------------------------------------------

    def _next_batch(self) -> _Batch:
        batch = _Batch()
        while len(batch.spans) < self._batch_spans and batch.plain_bytes < self._batch_bytes:
            if not self._waiting:
                wanted_bytes = int((self._batch_spans - len(batch.spans)) * self._span_bytes)
                self._waiting.extend(
                    self._bodies.take(
                        max_bodies=_TAKE_BODIES,
                        max_bytes=min(max(wanted_bytes, _LEAST_TAKE_BYTES), self._batch_bytes),
                    )
                )
                if not self._waiting:
                    break
            self._decode(self._waiting.popleft(), batch)
        if batch.spans:
            self._span_bytes = sum(len(spooled.body.payload) for spooled in batch.bodies) / len(batch.spans)
        return batch

    def _decode(self, spooled: SpooledBody, batch: _Batch) -> None:
        body = spooled.body
        plain = body.payload
        try:
            plain = decompress(body.payload, body.compression)
            decoded = decode_body(plain, body.encoding, body.received_ns)
        except Exception as error:
            # The receiver has examined it, so this is a fault of ours; the bytes wait for a better build.
            if not isinstance(error, MalformedRequest):
                log.exception("a body of the spool cannot be decoded; it becomes a dead letter")
            batch.dead.append(_dead_body(error, plain, body))
            self._counts.count("dead_letters", 1, ["body"])
            spans: list[Item] = []
        else:
            spans = decoded.items
            batch.dead += decoded.dead
            if decoded.dead:
                self._counts.count("dead_letters", len(decoded.dead), ["unreadable"])
        batch.bodies.append(spooled)
        batch.plain.append(plain)
        batch.origins.append(len(spans))
        batch.spans += spans
        batch.plain_bytes += len(plain)

    # ---- spans -> PostgreSQL -----------------------------------------------------------------------------------

    def _write(self, batch: _Batch) -> None:
        """Store all of `batch`, then drop its bodies. Bisects what PostgreSQL refuses for its content."""
        count = len(batch.spans)
        # Even pieces: a full one and a rest of a few spans would be two transactions for the work of one.
        parts = max(1, count // self._batch_spans)
        bounds = [count * part // parts for part in range(parts + 1)]
        pieces = [_Piece(first, end, ()) for first, end in pairwise(bounds)]
        pieces[0].dead = batch.dead
        pieces.reverse()
        left = False
        while pieces:
            piece = pieces.pop()
            try:
                self._write_piece(batch, piece)
            except BatchRejected as error:
                halves = piece.halves()
                if halves:
                    pieces.extend(reversed(halves))
                elif piece.first < piece.end:
                    self._counts.count("dead_letters", 1, ["refused"])
                    pieces.append(_Piece(piece.first, piece.first, (_dead_span(error, batch, piece.first),)))
                else:
                    left = True
                    self._counts.count("left_bodies")
                    log.error("a dead letter is refused too; its body stays in the spool: %s", error)
        ids = [spooled.id for spooled in batch.bodies]
        if left:
            self._bodies.leave(ids)
        else:
            self._bodies.remove(ids)

    def _write_piece(self, batch: _Batch, piece: _Piece) -> None:
        spans = batch.spans[piece.first : piece.end]
        started_s = time.perf_counter()
        try:
            written = self._session.run(lambda store: store.write(spans, piece.dead))
        except (Stopped, BatchRejected):
            raise
        except Exception as error:
            # A fault of ours. With a new connection it may pass; if not, one of these spans is behind it.
            self._session.fault(error)
            if piece.is_second_try:
                raise BatchRejected(f"writing it fails with {type(error).__name__}: {error}", None) from error
            piece.is_second_try = True
            self._write_piece(batch, piece)
            return
        self._counts.observe_write(time.perf_counter() - started_s)
        self._counts.count("stored_spans", written.spans)
        self._counts.count("duplicate_spans", written.duplicates)
        if written.log_records or written.duplicate_log_records:
            self._counts.count("stored_log_records", written.log_records)
            self._counts.count("duplicate_log_records", written.duplicate_log_records)
        self._counts.count("projected_traces", written.projected_traces)


@dataclass(slots=True)
class _Piece:
    """Spans `first` to `end` of a batch with dead letters, written in one transaction."""

    first: int
    end: int
    dead: Sequence[DeadLetter]
    is_second_try: bool = False

    def halves(self) -> list[_Piece]:
        """Two smaller pieces that make up this one; none when it cannot be cut."""
        if self.dead and self.first < self.end:
            return [_Piece(self.first, self.first, self.dead), _Piece(self.first, self.end, ())]
        if len(self.dead) > 1:
            middle = len(self.dead) // 2
            return [
                _Piece(self.first, self.first, self.dead[:middle]),
                _Piece(self.first, self.first, self.dead[middle:]),
            ]
        if self.end - self.first > 1:
            middle = (self.first + self.end) // 2
            return [_Piece(self.first, middle, ()), _Piece(middle, self.end, ())]
        return []


def _dead_body(error: Exception, plain: bytes, body: Body) -> DeadLetter:
    return DeadLetter(f"the body cannot be decoded: {error}", plain, body.encoding, body.received_ns, "body")


def _dead_span(error: BatchRejected, batch: _Batch, index: int) -> DeadLetter:
    """The letter for one span that PostgreSQL refuses, with its bytes out of the body that it came in."""
    first = 0
    for spooled, plain, count in zip(batch.bodies, batch.plain, batch.origins, strict=True):
        if index < first + count:
            body = spooled.body
            raw = raw_item(plain, body.encoding, index - first)
            return DeadLetter(str(error), raw, body.encoding, body.received_ns, "refused")
        first += count
    raise AssertionError(f"span {index} is of no body")


class Projector:
    """The thread that projects traces once they are due."""

    def __init__(self, open_store: Callable[[], StoreLike], counts: Counts) -> None:
        self._counts = counts
        self._stop = threading.Event()
        self._session = StoreSession("projector", open_store, self._stop, counts)
        self._thread = threading.Thread(target=self._run, name="spantree-projector", daemon=True)

    @property
    def report(self) -> SessionReport:
        """What PostgreSQL last said."""
        return self._session.report

    def start(self) -> None:
        """Begin to look for due traces."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End after the transaction in hand. What is pending is projected after the next start."""
        self._stop.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            pause_s = _PROJECT_INTERVAL_S
            try:
                projected = self._session.run(lambda store: store.project_due())
            except Stopped:
                break
            except Exception as error:
                self._session.fault(error)
                pause_s = _FAULT_PAUSE_S
            else:
                if projected.traces:
                    self._counts.count("projected_traces", projected.traces)
                if projected.more:
                    continue
            self._stop.wait(pause_s)
        self._session.close()
