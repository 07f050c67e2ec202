"""Live marks: a pending span for every span that is still open after a moment, so that running work is visible.

OTLP carries ended spans only. A mark is a small span of its own: new id, the real span as parent, start = end = the
real start, ``spantree.span_type=pending_span``, and the real span's own parent in ``spantree.pending_parent_id``.
Readers that know marks show the real span as running until it arrives; for all others it is one more zero-length span.

    on_start --> fresh --> middle --> old --> still open? --> mark --> exporter, in batches, on a thread of its own
    on_end   --> forgotten: a short span costs nothing on the wire, and its caller two entries of a dict

A span that declares steps (``spantree.steps``) is announced at once: what is to run is to be seen before it does.

What is watched moves on by a generation every half delay, all of it by exchanging three dicts.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import weakref
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

_TICK_S: Final = 0.005


def pending_mark(span: ReadableSpan, mark_id: int) -> ReadableSpan:
    """The mark that announces `span` as running, with the attributes it has by now."""
    context = span.get_span_context()
    if context is None:
        raise ValueError("a span without a context cannot be announced")
    attributes = span.attributes or {}
    # The host may be setting attributes at this moment: a copy of the dict behind them is one step.
    copied = attributes.copy() if hasattr(attributes, "copy") else dict(attributes)
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
        self.exporter = exporter
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
        # Dicts that are touched by single operations that are atomic: a lock here would be taken inside the host's
        # every span, also from signal handlers and finalizers that interrupt its holder.
        self._fresh: dict[int, Span] = {}
        self._middle: dict[int, Span] = {}
        self._old: dict[int, Span] = {}
        # Never exchanged for another: what is put in here is found by whoever sends next.
        self._urgent: dict[int, Span] = {}
        self._marked: dict[int, Span] = {}
        self._is_asleep = True
        self._wake = threading.Event()
        self._export_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._thread_lock = threading.Lock()

    def on_start(self, span: Span, parent_context: otel_context.Context | None = None) -> None:
        """Watch the span."""
        fresh = self._fresh
        if len(fresh) >= self._max_waiting:
            self._complain("%d spans begun within %g s are more than can be watched; some get no live mark")
            return
        if names.DECLARED_STEPS in (span.attributes or ()):
            self._urgent[span.get_span_context().span_id] = span
            self._rouse()
            return
        fresh[span.get_span_context().span_id] = span
        if self._is_asleep:
            self._rouse()

    def on_end(self, span: ReadableSpan) -> None:
        """Forget the span."""
        context = span.get_span_context()
        if context is None:
            return
        span_id = context.span_id
        # In the order in which a dict changes its name, so that none is missed while they are exchanged.
        if self._fresh.pop(span_id, None) is None:
            for watched in (self._urgent, self._middle, self._old, self._marked):
                if watched.pop(span_id, None) is not None:
                    return

    def open_spans(self) -> list[Span]:
        """The spans that have begun and not ended, the oldest first; of very many that were marked not all."""
        return [
            span
            for watched in (self._marked, self._old, self._middle, self._urgent, self._fresh)
            for span in list(watched.values())
            if span.end_time is None
        ]

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Mark what is open now without waiting for the delay; False when that took longer than allowed or failed."""
        deadline_s = time.monotonic() + timeout_millis / 1000
        if not self._send((self._urgent, self._old, self._middle, self._fresh), deadline_s):
            return False
        left_ms = max(0, int((deadline_s - time.monotonic()) * 1000))
        # the type says bool, exporters that have nothing to flush return None
        return self.exporter.force_flush(left_ms) is not False

    def shutdown(self) -> None:
        """Mark what is open now, then close the exporter."""
        if self._closed:
            return
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(SHUTDOWN_S)
        # closing it also breaks off an export that is still retrying
        self.exporter.shutdown()

    def _rouse(self) -> None:
        if self._thread is not None:
            self._wake.set()
        elif not self._closed:
            self._start_thread()

    def _start_thread(self) -> None:
        with self._thread_lock:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._watch, name="spantree-live", daemon=True)
            self._is_asleep = False
            try:
                thread.start()
            except RuntimeError:
                # no more threads, or the interpreter is on its way out
                self._is_asleep = True
                self._complain_of_failure("could not start the thread that sends live marks")
                return
            self._thread = thread

    def _watch(self) -> None:
        wake = self._wake
        tick_s = max(self._delay_s / 2, _TICK_S)
        while not self._closed:
            if not (self._fresh or self._middle or self._old or self._urgent):
                wake.clear()
                self._is_asleep = True
                # a span begun before the line above is seen here; one begun after it sets the event
                if not self._fresh and not self._urgent and not self._closed:
                    wake.wait()
                self._is_asleep = False
                continue
            tick_ends_s = time.monotonic() + tick_s
            while not self._closed:
                wake.clear()
                if self._urgent:
                    self._send((self._urgent,), float("inf"))
                left_s = tick_ends_s - time.monotonic()
                if left_s <= 0 or self._closed:
                    break
                wake.wait(left_s)
            if not self._closed:
                due, self._old = self._old, self._middle
                self._middle = self._fresh
                self._fresh = {}
                if due:
                    self._send((due,), float("inf"))
        self._send((self._urgent, self._old, self._middle, self._fresh), time.monotonic() + SHUTDOWN_S)

    def _send(self, watched: tuple[dict[int, Span], ...], deadline_s: float) -> bool:
        """Export a mark of every span of `watched` that is still open. False: no time, or it failed."""
        with self._locked_until(deadline_s) as locked:
            if not locked:
                return False
            sent_all = True
            # what begins while this runs waits for its own turn, else a busy host would keep a flush going for ever
            for spans in watched:
                waiting = list(spans)
                for first in range(0, len(waiting), self._max_batch_spans):
                    if time.monotonic() > deadline_s:
                        return False
                    marks = self._take(spans, waiting[first : first + self._max_batch_spans])
                    if marks:
                        sent_all = self._export(marks) and sent_all
            return sent_all

    def _take(self, spans: dict[int, Span], span_ids: list[int]) -> list[ReadableSpan]:
        marks: list[ReadableSpan] = []
        for span_id in span_ids:
            span = spans.pop(span_id, None)
            if span is None or span.end_time is not None or not span.get_span_context().trace_flags.sampled:
                continue
            try:
                marks.append(pending_mark(span, self._ids.generate_span_id()))
            except Exception:
                self._complain_of_failure("could not make a live mark")
            if len(self._marked) < self._max_waiting:
                self._marked[span_id] = span
                self._forget_if_ended(span_id, span)
        return marks

    def _forget_if_ended(self, span_id: int, span: Span) -> None:
        # It may have ended while it was in no dict, so that `on_end` missed it.
        if span.end_time is not None:
            self._marked.pop(span_id, None)

    def _export(self, marks: list[ReadableSpan]) -> bool:
        token = otel_context.attach(otel_context.set_value(_SUPPRESS_KEY, True))
        try:
            return self.exporter.export(marks).name == "SUCCESS"
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
