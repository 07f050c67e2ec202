"""What both receivers do with a body: bound it, redact it, examine it, put it on disk. No transport here."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from spantree_collector.metrics import CollectorMetrics
from spantree_collector.receive.authenticate import NO_TOKENS, Authenticator
from spantree_collector.receive.decompress import Decompression, decompress, decompression
from spantree_collector.receive.examination import Examination
from spantree_collector.receive.examiners import Examiners
from spantree_collector.receive.inflate import too_large
from spantree_collector.receive.object_budget import frames_at_most
from spantree_collector.receive.refusal_audit import RefusalAudit
from spantree_collector.receive.refusal_log import RefusalLog
from spantree_collector.receive.status import Forbidden, Overloaded, Refusal
from spantree_collector.receive.tenant_quota import TenantQuota
from spantree_collector.spool.spool import Spool
from spantree_collector.spool.spooled_body import Body, SpooledBody
from spantree_exporter.errors import SpantreeError
from spantree_exporter.otlp.decode import Examined
from spantree_exporter.otlp.signals import examine, is_json, is_logs
from spantree_exporter.tokens import ANYONE, Identity

# Inflating or examining this much takes about a millisecond; what is larger goes elsewhere, so that it does not hold up
# every other request: inflation to a thread, examining to what does without the interpreter's lock (examiners.py).
_INLINE_BYTES = 512 * 2**10
# JSON takes twenty times as long to examine, and most of that is one call.
_INLINE_JSON_BYTES = 128 * 2**10
_INFLATE_STEP_BYTES = 2**20
# A body that may hold a secret is read field by field: some ten microseconds for each span that does.
_INLINE_REDACTED_BYTES = 32 * 2**10
# Examining takes up to four microseconds a frame, and half a megabyte can be 200,000 of them.
_INLINE_FRAMES = 8_000


# Whoever has sent a part of a body and not the rest for so long may be cut for the sake of others.
_SLOW_S = 1.0


class InFlight:
    """The bytes of all bodies that are in memory and not yet on disk, bounded. Any thread may use it."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._receiving: dict[Reservation, Callable[[], None]] = {}  # the one that has been coming longest first
        self.bytes = 0

    def reserve(self) -> Reservation:
        """A share for one request, empty at first."""
        return Reservation(self)

    @contextlib.contextmanager
    def receiving(self, reservation: Reservation, cut: Callable[[], None]) -> Iterator[None]:
        """While a body comes: `cut` is called, from any thread, where it has come for long and others need its room."""
        with self._lock:
            self._receiving[reservation] = cut
        try:
            yield
        finally:
            with self._lock:
                self._receiving.pop(reservation, None)

    def add(self, size_bytes: int) -> None:
        """Count `size_bytes` more. Raises Overloaded, and counts nothing, beyond the limit."""
        with self._lock:
            if self.bytes + size_bytes > self.max_bytes:
                before_s = time.monotonic() - _SLOW_S
                slow = [one for one in self._receiving if one.began_s < before_s and one.held_bytes]
                if slow:
                    # Its room is there when the refused one tries again.
                    self._receiving.pop(max(slow, key=lambda one: one.held_bytes))()
                raise Overloaded(
                    f"requests of {self.bytes} bytes are being received, of at most {self.max_bytes}; send it again "
                    "a little later (SPANTREE_MAX_IN_FLIGHT_BYTES sets the limit)"
                )
            self.bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Those bytes are gone."""
        with self._lock:
            self.bytes -= size_bytes


class Reservation:
    """What one request holds of the bytes in flight; leaving the block gives all of it back."""

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self.began_s = time.monotonic()
        self.held_bytes = 0

    def add(self, size_bytes: int) -> None:
        """Hold `size_bytes` more, or raise Overloaded."""
        self._in_flight.add(size_bytes)
        self.held_bytes += size_bytes

    def __enter__(self) -> Reservation:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.give_back()

    def give_back(self) -> None:
        """Hold nothing any more."""
        self._in_flight.give_back(self.held_bytes)
        self.held_bytes = 0


def count_spans(spooled: SpooledBody) -> int:
    """How many spans a body of the spool has. Raises as `decompress` and `examine` do."""
    body = spooled.body
    return examine(decompress(body.payload, body.compression), body.encoding).spans


class Intake:
    """The way of a complete body onto the disk."""

    def __init__(
        self,
        spool: Spool,
        metrics: CollectorMetrics,
        examiners: Examiners,
        *,
        max_body_bytes: int,
        max_in_flight_bytes: int,
        authenticator: Authenticator | None = None,
        refusal_audit: RefusalAudit | None = None,
    ) -> None:
        self.refusal_audit = refusal_audit or RefusalAudit("")
        self.authenticator = authenticator or Authenticator(NO_TOKENS, anonymous=True)
        self.max_body_bytes = max_body_bytes
        self.examiners = examiners
        self.in_flight = InFlight(max_in_flight_bytes)
        self.metrics = metrics
        self.refusals = RefusalLog()
        self._spool = spool
        self._quota = TenantQuota(spool.tenant_bytes, spool.free_bytes, lambda: self.authenticator.has_many_senders)
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="spantree-intake")

    async def accept(
        self,
        payload: bytes,
        encoding: str,
        compression: str,
        reservation: Reservation,
        transport: str,
        sender: Identity = ANYONE,
    ) -> Examined:
        """Return once `payload` is on disk, redacted; what was examined tells whether some of its spans are rejected.

        `encoding` is one of spantree_exporter.otlp.signals, `sender` whose spans they are.

        Raises MalformedRequest, BodyTooLarge, Overloaded, QuotaExceeded, SpoolFull or SpoolFailed: nothing of it was
        kept.
        A request without spans is a success and is not kept either.
        """
        started_s = time.perf_counter()
        received_ns = time.time_ns()
        received_bytes = len(payload)
        if len(payload) > self.max_body_bytes:
            raise too_large(self.max_body_bytes)
        plain = await self._decompressed(payload, compression, reservation) if compression else payload
        examination = await self._examined(plain, encoding)
        examined = examination.examined
        if examination.body is not plain:
            reservation.add(len(examination.body))
            payload, compression = examination.body, ""
        # A log record that belongs to no span is refused for good, a span that cannot be stored becomes a dead letter.
        if examined.spans > (examined.rejected_spans if is_logs(encoding) else 0):
            self._quota.check(sender, examined.spans, len(payload))
            await self._spool.append(Body(payload, encoding, compression, received_ns, sender.tenant_id))
        self.metrics.ack_s.labels(transport).observe(time.perf_counter() - started_s)
        self.metrics.accepted.labels(transport).inc()
        self.refusals.accepted()
        self.metrics.received_bytes.labels(transport).inc(received_bytes)
        self.metrics.tenants.count("received_bytes", sender.tenant_id, received_bytes)
        self.metrics.tenants.count("received_spans", sender.tenant_id, examined.spans)
        for kind, count in examination.redacted.items():
            self.metrics.redacted.labels(kind).inc(count)
        received, rejected = self.metrics.received_spans, self.metrics.rejected_spans
        if is_logs(encoding):
            received, rejected = self.metrics.received_log_records, self.metrics.rejected_log_records
        received.labels(transport).inc(examined.spans)
        if examined.rejected_spans:
            rejected.labels(transport).inc(examined.rejected_spans)
        return examined

    def refused(
        self,
        transport: str,
        refusal: Refusal,
        error: Exception | None = None,
        sender: Identity | None = None,
        address: str | None = None,
    ) -> None:
        """Count and log an answer other than success; `error` is behind it, with its traceback if it is our fault.

        `sender` and `address` say who asked, as far as that is known.
        """
        if sender is None and isinstance(error, Forbidden):
            sender = error.identity
        self.metrics.refused.labels(transport, refusal.reason).inc()
        if sender is not None:
            self.metrics.tenants.refused(sender.tenant_id, refusal.reason)
        self.refusal_audit.refused(transport, refusal, sender, address)
        self.refusals.refused(transport, refusal, None if isinstance(error, SpantreeError) else error)

    def close(self) -> None:
        """Stop the threads, and the processes that examine."""
        self.examiners.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _decompressed(self, payload: bytes, compression: str, reservation: Reservation) -> bytes:
        work = decompression(payload, compression, self.max_body_bytes)
        done = work.advance(_INLINE_BYTES)
        reservation.add(work.size_bytes)
        if not done:
            await asyncio.get_running_loop().run_in_executor(self._threads, _decompress_rest, work, reservation)
        return work.result()

    async def _examined(self, plain: bytes, encoding: str) -> Examination:
        if len(plain) > (_INLINE_JSON_BYTES if is_json(encoding) else _INLINE_BYTES):
            return await self.examiners.examine_large(plain, encoding)
        here = self.examiners.here
        is_quick = frames_at_most(plain, encoding) <= _INLINE_FRAMES
        if is_quick and (len(plain) <= _INLINE_REDACTED_BYTES or not here.may_hold_secrets(plain, encoding)):
            return here.examine(plain, encoding)
        return await asyncio.get_running_loop().run_in_executor(self._threads, here.examine, plain, encoding)


def _decompress_rest(work: Decompression, reservation: Reservation) -> None:
    done = False
    while not done:
        before_bytes = work.size_bytes
        done = work.advance(_INFLATE_STEP_BYTES)
        reservation.add(work.size_bytes - before_bytes)
