"""Live marks: a pending span for every span that is still open after a moment, so that running work is visible.

OTLP carries ended spans only. A mark is a small span of its own: new id, the real span as parent, start = end = the
real start, ``spantree.span_type=pending_span``, and the real span's own parent in ``spantree.pending_parent_id``.
Readers that know marks show the real span as running until it arrives; for all others it is one more zero-length span.

    on_start --> waiting (bounded) --delay--> still open? --> mark --> exporter, in batches, on a thread of its own
    on_end   --> forgotten: a short span costs nothing on the wire
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from spantree_exporter import attributes as names

logger = logging.getLogger(__name__)

DELAY_S: Final = 0.5
"""Most spans are shorter: they need no mark. Longer ones are seen within a second of their start."""
MAX_WAITING: Final = 20_000
"""Spans begun within one delay that can be watched; some 10 MB at most. A busier process gets fewer marks."""
MAX_BATCH_SPANS: Final = 512
"""As many as the SDK's batch processor puts into one request."""
SHUTDOWN_S: Final = 2.0
"""A mark is not worth holding up a process that wants to end; one request to a collector nearby takes milliseconds."""
_LOG_EVERY_S: Final = 60.0

# Spans of the exporter's own HTTP or gRPC calls would be marked and exported in turn, for ever. The SDK's processors
# set the same key; it has no public name.
_SUPPRESS_KEY: Final[str] = getattr(otel_context, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation")

_SpanKey = tuple[int, int]


def pending_mark(span: ReadableSpan, mark_id: int) -> ReadableSpan:
    """The mark that announces `span` as running, with the attributes it has by now."""
    context = span.get_span_context()
    if context is None:
        raise ValueError("a span without a context cannot be announced")
    attributes = span.attributes or {}
    # the host may be setting attributes at this moment: take what is there, key by key
    copied = {key: value for key in list(attributes) if (value := attributes.get(key)) is not None}
    parent_id = span.parent.span_id if span.parent is not None else 0
    return ReadableSpan(
        name=span.name,
        context=trace.SpanContext(
            context.trace_id,
            mark_id,
            is_remote=False,
            trace_flags=context.trace_flags,
            trace_state=context.trace_state,
        ),
        parent=context,
        resource=span.resource,
        attributes={
            **copied,
            names.SPAN_TYPE: names.PENDING_SPAN,
            names.PENDING_PARENT_ID: trace.format_span_id(parent_id),
        },
        kind=span.kind,
        instrumentation_scope=span.instrumentation_scope,
        start_time=span.start_time,
        end_time=span.start_time,
    )


class LiveSpanProcessor(SpanProcessor):
    """Sends a mark for each sampled span that is still open `delay_s` after its start, through `exporter`.

        provider.add_span_processor(LiveSpanProcessor(OTLPSpanExporter()))

    The exporter is its own: give another one to the batch processor that sends the ended spans. Nothing here raises
    into the host or makes it wait, except `force_flush` (as long as its caller allows) and `shutdown` (2 s at most, and
    what the exporter's own shutdown takes). After a fork the child marks its own spans only.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        *,
        delay_s: float = DELAY_S,
        max_waiting: int = MAX_WAITING,
        max_batch_spans: int = MAX_BATCH_SPANS,
    ) -> None:
        self._exporter = exporter
        self._delay_s = delay_s
        self._max_waiting = max_waiting
        self._max_batch_spans = max_batch_spans
        self._ids = RandomIdGenerator()
        self._quiet_until_s = 0.0
        self._closed = False
        self._begin_empty()
        if hasattr(os, "register_at_fork"):
            weak_self = weakref.ref(self)

            def forget_in_child() -> None:
                if (processor := weak_self()) is not None:
                    processor._begin_empty()

            os.register_at_fork(after_in_child=forget_in_child)

    def _begin_empty(self) -> None:
        # One dict and one deque, each touched by single operations that are atomic: a lock here would be taken inside
        # the host's every span, also from signal handlers and finalizers that interrupt its holder.
        self._open: dict[_SpanKey, Span] = {}
        self._due: deque[tuple[float, _SpanKey]] = deque()
        self._idle = False
        self._wake = threading.Event()
        self._export_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._thread_lock = threading.Lock()

    def on_start(self, span: Span, parent_context: otel_context.Context | None = None) -> None:
        """Watch the span."""
        context = span.get_span_context()
        if self._closed or not context.trace_flags.sampled:
            return
        if len(self._due) >= self._max_waiting:
            self._complain("%d spans begun within %g s are more than can be watched; some get no live mark")
            return
        key = (context.trace_id, context.span_id)
        self._open[key] = span
        self._due.append((time.monotonic() + self._delay_s, key))
        if self._thread is None:
            self._start_thread()
        elif self._idle:
            self._wake.set()

    def on_end(self, span: ReadableSpan) -> None:
        """Forget the span."""
        context = span.get_span_context()
        if context is not None:
            self._open.pop((context.trace_id, context.span_id), None)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Mark what is open now without waiting for the delay; False when that took longer than allowed or failed."""
        deadline_s = time.monotonic() + timeout_millis / 1000
        if not self._send_due(by_s=float("inf"), deadline_s=deadline_s):
            return False
        left_ms = max(0, int((deadline_s - time.monotonic()) * 1000))
        # the type says bool, exporters that have nothing to flush return None
        return self._exporter.force_flush(left_ms) is not False

    def shutdown(self) -> None:
        """Mark what is open now, then close the exporter."""
        if self._closed:
            return
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(SHUTDOWN_S)
        # closing it also breaks off an export that is still retrying
        self._exporter.shutdown()

    def _start_thread(self) -> None:
        with self._thread_lock:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._watch, name="spantree-live", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # no more threads, or the interpreter is on its way out
                self._complain_of_failure("could not start the thread that sends live marks")
                return
            self._thread = thread

    def _watch(self) -> None:
        wake = self._wake
        while not self._closed:
            try:
                wait_s = self._due[0][0] - time.monotonic()
            except IndexError:
                self._idle = True
                wake.clear()
                # a span begun before the line above saw nobody idle; one begun after it sets the event
                if not self._due and not self._closed:
                    wake.wait()
                self._idle = False
                continue
            if wait_s > 0:
                wake.clear()
                if not self._closed:
                    wake.wait(wait_s)
                continue
            self._send_due(by_s=time.monotonic(), deadline_s=float("inf"))
        self._send_due(by_s=float("inf"), deadline_s=time.monotonic() + SHUTDOWN_S)

    def _send_due(self, *, by_s: float, deadline_s: float) -> bool:
        """Export a mark of every watched span that is due by `by_s` and still open. False: no time, or it failed."""
        with self._locked_until(deadline_s) as locked:
            if not locked:
                return False
            sent_all = True
            # what begins while this runs waits for its own turn, else a busy host would keep a flush going for ever
            left = len(self._due)
            while left > 0 and time.monotonic() <= deadline_s:
                marks, taken = self._take(by_s, left)
                if marks:
                    sent_all = self._export(marks) and sent_all
                if taken < self._max_batch_spans:
                    return sent_all
                left -= taken
            return sent_all and left <= 0

    def _take(self, by_s: float, limit: int) -> tuple[list[ReadableSpan], int]:
        marks: list[ReadableSpan] = []
        taken = 0
        while taken < min(limit, self._max_batch_spans):
            try:
                if self._due[0][0] > by_s:
                    break
                _, key = self._due.popleft()
            except IndexError:
                break
            taken += 1
            span = self._open.pop(key, None)
            if span is None or span.end_time is not None:
                continue
            try:
                marks.append(pending_mark(span, self._ids.generate_span_id()))
            except Exception:
                self._complain_of_failure("could not make a live mark")
        return marks, taken

    def _export(self, marks: list[ReadableSpan]) -> bool:
        token = otel_context.attach(otel_context.set_value(_SUPPRESS_KEY, True))
        try:
            return self._exporter.export(marks).name == "SUCCESS"
        except Exception:
            self._complain_of_failure("could not send live marks")
            return False
        finally:
            otel_context.detach(token)

    @contextlib.contextmanager
    def _locked_until(self, deadline_s: float) -> Iterator[bool]:
        # exporters need not be safe for two threads at once
        lock = self._export_lock
        wait_s = -1.0 if deadline_s == float("inf") else max(0.0, deadline_s - time.monotonic())
        locked = lock.acquire(timeout=wait_s)
        try:
            yield locked
        finally:
            if locked:
                lock.release()

    def _complain(self, message: str) -> None:
        if self._may_log():
            logger.warning(message, self._max_waiting, self._delay_s)

    def _complain_of_failure(self, message: str) -> None:
        if self._may_log():
            logger.exception("%s; running work may not show as running", message)

    def _may_log(self) -> bool:
        now_s = time.monotonic()
        if now_s < self._quiet_until_s:
            return False
        self._quiet_until_s = now_s + _LOG_EVERY_S
        return True
