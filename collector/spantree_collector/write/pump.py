"""Spool -> decode -> PostgreSQL -> removal from the spool, in that order, so that a crash anywhere only repeats work.

Two plain threads, each with a connection of its own: the pump writes spans, the projector projects the traces that
have become due.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from spantree_collector.metrics_delta import Counts
from spantree_collector.receive.decompress import decompress
from spantree_collector.spool.spool import SpoolFailed
from spantree_collector.spool.spooled_body import SpooledBody
from spantree_collector.write.batch_writer import Batch, BatchWriter, DecodedBody
from spantree_collector.write.dispatcher import BodyQueue
from spantree_collector.write.retrying_store import RetryingStore, Stopped, StoreHealth, StoreLike
from spantree_collector.write.watchdog import WorkClock
from spantree_exporter.errors import MalformedRequest
from spantree_exporter.otlp.decode import DeadLetter
from spantree_exporter.otlp.signals import DecodedItems, decode_body, raw_items

log = logging.getLogger(__name__)

# How long the transaction in hand may take when stopping.
GRACE_S = 2.0
# How often the stop flag is looked at while there is nothing to do.
_IDLE_S = 0.25
# The projector looks for due traces this often: a person waits for an execution to appear. It pauses so many times as
# long as projecting took, a second at most: where a statement costs something however few the traces are, as on Citus,
# more of them come together.
_PROJECT_INTERVAL_S = 0.25
_PROJECT_INTERVAL_MAX_S = 1.0
_PROJECT_REST_FACTOR = 9.0
# After an error that no rule foresees.
_FAULT_PAUSE_S = 5.0
# Batches of which something waits for a worker of a Citus cluster that is away: how many full ones' bytes, and waiting
# spans, are kept in memory, and how often the oldest is tried.
_MOST_UNFINISHED = 8
_UNFINISHED_PAUSE_S = 2.0
# Bodies taken at a time; small ones are many.
_TAKE_BODIES = 512
# Only what makes up a batch is taken, as far as the spans before it tell, for another pump may have time for the rest.
_FIRST_SPAN_BYTES = 1000.0
_LEAST_TAKE_BYTES = 64 * 2**10


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
        self._batch_spans = batch_spans
        self._batch_bytes = batch_bytes
        self._stop = threading.Event()
        self._drain_until_s = float("inf")
        self._store = RetryingStore("pump", open_store, self._stop, counts)
        self._writer = BatchWriter(self._store, counts, batch_spans)
        self._span_bytes = _FIRST_SPAN_BYTES
        self._waiting: deque[SpooledBody] = deque()
        self._unfinished: deque[Batch] = deque()  # parts of which wait for a worker of a cluster
        self._unfinished_at_s = 0.0
        self._decoding = WorkClock()
        self._short_of_memory = False
        self._thread = threading.Thread(target=self._run, name="spantree-pump", daemon=True)

    @property
    def health(self) -> StoreHealth:
        """What PostgreSQL last said."""
        return self._store.health

    def spent_s(self) -> float:
        """Processor time of the piece of work in hand."""
        return max(self._decoding.spent_s(), self._store.work.spent_s())

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
                self._store.fault(error)
                self._waiting.clear()
                self._unfinished.clear()
                self._bodies.rewind()
                if self._stop.wait(_FAULT_PAUSE_S):
                    break
        self._store.close()

    def _move_bodies(self, decoder: ThreadPoolExecutor) -> None:
        # Before the first body, so that a wrong schema is told at once.
        self._store.run(lambda store: None)
        ahead = decoder.submit(self._next_batch)
        while not self._stop.is_set() or time.monotonic() < self._drain_until_s:
            batch = ahead.result()
            if self._short_of_memory and not batch.bodies:
                # Nothing else is in memory now.
                batch = decoder.submit(self._next_batch, alone=True).result()
                self._short_of_memory = False
            if batch.bodies:
                is_ordinary = batch.plain_bytes <= 2 * self._batch_bytes and not self._short_of_memory
                if is_ordinary:
                    # Decoded while PostgreSQL is busy with the one before.
                    ahead = decoder.submit(self._next_batch)
                self._settle(batch)
                if not is_ordinary:
                    del batch
                    ahead = decoder.submit(self._next_batch)
                continue
            if self._stop.is_set():
                break
            self._bodies.wait(_IDLE_S)
            self._write_unfinished()
            ahead = decoder.submit(self._next_batch)

    def _settle(self, batch: Batch) -> None:
        """Write `batch`, and let its bodies go from the spool when it is through."""
        self._writer.write(batch)
        if batch.waiting:
            self._unfinished.append(batch)
        else:
            self._let_go(batch)
        while self._has_too_much_unfinished():
            # A worker is away for long: now its traces hold up the others, for memory has an end.
            if self._stop.wait(_UNFINISHED_PAUSE_S):
                raise Stopped
            self._write_unfinished()
        self._write_unfinished()

    def _has_too_much_unfinished(self) -> bool:
        spans = sum(len(piece) for batch in self._unfinished for piece in batch.waiting)
        plain_bytes = sum(batch.plain_bytes for batch in self._unfinished)
        return spans > _MOST_UNFINISHED * self._batch_spans or plain_bytes > _MOST_UNFINISHED * self._batch_bytes

    def _write_unfinished(self) -> None:
        """Now and then, try again what is left of batches for a worker that was away."""
        if not self._unfinished or time.monotonic() < self._unfinished_at_s:
            return
        batch = self._unfinished.popleft()
        self._writer.write(batch)
        if batch.waiting:
            self._unfinished.appendleft(batch)
            self._unfinished_at_s = time.monotonic() + _UNFINISHED_PAUSE_S
        else:
            self._let_go(batch)

    def _let_go(self, batch: Batch) -> None:
        """Remove the bodies that are stored, and leave those of which something is not."""
        if batch.left:
            self._bodies.leave(sorted(batch.left))
        self._bodies.remove([body_id for body_id in batch.ids() if body_id not in batch.left])

    # ---- bodies -> spans ---------------------------------------------------------------------------------------

    def _next_batch(self, alone: bool = False) -> Batch:
        """The next bodies, decoded; `alone`: one, which becomes a dead letter if there is not memory enough for it."""
        batch = Batch()
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
            spooled = self._waiting.popleft()
            try:
                with self._decoding:
                    self._decode(spooled, batch)
            except MemoryError:
                if not alone:
                    # Again, with nothing beside it.
                    self._waiting.appendleft(spooled)
                    self._short_of_memory = True
                    break
                self._bury(spooled, batch, "decoding it takes more memory than a writer may use")
            if alone:
                break
        if batch.spans:
            self._span_bytes = sum(len(one.spooled.body.payload) for one in batch.bodies) / len(batch.spans)
        return batch

    def _decode(self, spooled: SpooledBody, batch: Batch) -> None:
        body, part = spooled.body, spooled.part
        if part is not None and part.verdict and part.first == part.end:
            self._bury(spooled, batch, part.verdict)
            return
        plain = b""
        try:
            plain = decompress(body.payload, body.compression)
            decoded = decode_body(plain, body.encoding, body.received_ns)
        except MemoryError:
            raise
        except Exception as error:
            # The receiver has examined it, so this is a fault of ours; the bytes wait for a better build.
            if not isinstance(error, MalformedRequest):
                log.exception("a body of the spool cannot be decoded; it becomes a dead letter")
            self._bury(spooled, batch, f"the body cannot be decoded: {error}", plain)
            return
        first, end = (0, len(decoded.items)) if part is None else (part.first, part.end)
        spans = decoded.items[first:end] if part is not None else decoded.items
        if part is not None and part.verdict:
            raws = raw_items(plain, body.encoding, range(first, first + len(spans)))
            batch.bury(
                spooled,
                [DeadLetter(part.verdict, raw, body.encoding, body.received_ns, "refused") for raw in raws],
            )
            batch.dead_counts["refused"] += len(spans)
            spans = []
        if part is None or first == 0 < end:
            self._note_unusable(spooled, decoded, batch)
        batch.bodies.append(DecodedBody(spooled, plain, first, len(spans)))
        batch.spans += spans
        batch.tenant_ids += [body.tenant_id] * len(spans)
        batch.plain_bytes += len(plain)

    def _note_unusable(self, spooled: SpooledBody, decoded: DecodedItems, batch: Batch) -> None:
        batch.bury(spooled, decoded.dead)
        if decoded.dead:
            batch.dead_counts["unreadable"] += len(decoded.dead)
        if decoded.unkept:
            batch.dead_counts["unkept"] += decoded.unkept
            log.error(
                "%d of %d unusable spans of one request are kept as dead letters; its sender was told of them all",
                len(decoded.dead),
                len(decoded.dead) + decoded.unkept,
            )

    def _bury(self, spooled: SpooledBody, batch: Batch, reason: str, plain: bytes = b"") -> None:
        """Make one dead letter of a body."""
        body = spooled.body
        if not plain:
            with contextlib.suppress(MalformedRequest):
                plain = decompress(body.payload, body.compression)
        letter = DeadLetter(reason, plain or body.payload, body.encoding, body.received_ns, "body")
        batch.bury(spooled, [letter])
        batch.dead_counts["body"] += 1
        batch.bodies.append(DecodedBody(spooled, letter.raw, 0, 0))
        batch.plain_bytes += len(letter.raw)


class ProjectorThread:
    """The thread that projects traces once they are due."""

    def __init__(self, open_store: Callable[[], StoreLike], counts: Counts) -> None:
        self._counts = counts
        self._stop = threading.Event()
        self._store = RetryingStore("projector", open_store, self._stop, counts)
        self._thread = threading.Thread(target=self._run, name="spantree-projector", daemon=True)

    @property
    def health(self) -> StoreHealth:
        """What PostgreSQL last said."""
        return self._store.health

    def spent_s(self) -> float:
        """Processor time of the projection in hand."""
        return self._store.work.spent_s()

    def start(self) -> None:
        """Begin to look for due traces."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End after the transaction in hand. What is pending is projected after the next start."""
        self._stop.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            began_s = time.monotonic()
            pause_s = _PROJECT_INTERVAL_S
            try:
                projected = self._store.run(lambda store: store.project_due())
            except Stopped:
                break
            except Exception as error:
                self._store.fault(error)
                pause_s = _FAULT_PAUSE_S
            else:
                if projected.traces:
                    self._counts.count("projected_traces", projected.traces)
                for tenant_id, traces in projected.by_tenant.items():
                    self._counts.count("tenant_projected_traces", traces, [str(tenant_id)])
                if projected.due_s is not None:
                    self._counts.note_lags(projected.due_s)
                if projected.failed:
                    self._counts.count("failed_projections", projected.failed)
                if projected.more:
                    continue
                if projected.traces:
                    pause_s = _pause_s(time.monotonic() - began_s)
            self._stop.wait(pause_s)
        self._store.close()


def _pause_s(took_s: float) -> float:
    """How long a projector pauses that projected what was due in `took_s`."""
    return min(max(_PROJECT_INTERVAL_S, _PROJECT_REST_FACTOR * took_s), _PROJECT_INTERVAL_MAX_S)
